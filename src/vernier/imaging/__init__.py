"""Exact resize and colour conversion; what needs torch is imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vernier.imaging.bicubic import resized_length
    from vernier.imaging.colour import (
        as_luma,
        as_rgb,
        from_colour,
        rgb_to_luma,
        rgb_to_ycbcr,
        to_colour,
        ycbcr_to_rgb,
    )
    from vernier.imaging.resize import imresize, imresize_uint8

_HOMES = {
    "as_luma": "colour",
    "as_rgb": "colour",
    "from_colour": "colour",
    "imresize": "resize",
    "imresize_uint8": "resize",
    "resized_length": "bicubic",
    "rgb_to_luma": "colour",
    "rgb_to_ycbcr": "colour",
    "to_colour": "colour",
    "ycbcr_to_rgb": "colour",
}

__all__ = [
    "as_luma",
    "as_rgb",
    "from_colour",
    "imresize",
    "imresize_uint8",
    "resized_length",
    "rgb_to_luma",
    "rgb_to_ycbcr",
    "to_colour",
    "ycbcr_to_rgb",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
