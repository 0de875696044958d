"""The formats of pictures: one table, from which suffixes, messages and what is lost follow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "FORMATS",
    "PICTURE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "PictureFormat",
    "format_of_suffix",
    "names_of",
]

_EIGHT, _SIXTEEN, _FLOAT = np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32)


@dataclass(frozen=True)
class PictureFormat:
    """What a format is called and what its files can hold.

    Attributes:
        key: as in `vernier.io.Picture.source_format`.
        name: for people.
        suffixes: of its files, lower case, the usual one first.
        dtypes: of the pixels that it is written with, the deepest last; none where it is only read.
        alpha: whether it holds transparency.
        extra_band: whether it holds a band that is neither colour nor transparency.
    """

    key: str
    name: str
    suffixes: tuple[str, ...]
    dtypes: tuple[np.dtype[Any], ...] = ()
    alpha: bool = True
    extra_band: bool = False

    @property
    def is_written(self) -> bool:
        return bool(self.dtypes)


FORMATS = (
    PictureFormat("png", "PNG", (".png",), (_EIGHT, _SIXTEEN)),
    PictureFormat("jpeg", "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), (_EIGHT,), alpha=False),
    PictureFormat("webp", "WebP", (".webp",), (_EIGHT,)),
    PictureFormat("tiff", "TIFF", (".tif", ".tiff"), (_EIGHT, _SIXTEEN, _FLOAT), extra_band=True),
    PictureFormat("gif", "GIF", (".gif",)),
    PictureFormat("heif", "AVIF", (".avif",), (_EIGHT, _SIXTEEN)),
    PictureFormat("heif", "HEIF", (".heic", ".heif")),
)

PICTURE_SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes)
"""Of files that are read: what a folder is searched for."""

WRITABLE_SUFFIXES = frozenset(
    suffix for each in FORMATS for suffix in each.suffixes if each.is_written
)


def format_of_suffix(suffix: str) -> PictureFormat | None:
    """The format whose files end so, capitals or not."""
    return next((each for each in FORMATS if suffix.lower() in each.suffixes), None)


def names_of(formats: Iterable[PictureFormat] = FORMATS) -> str:
    """For people, as in: PNG, JPEG or TIFF."""
    *most, last = (each.name for each in formats)
    return f"{', '.join(most)} or {last}" if most else last
