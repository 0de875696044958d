"""Vernier: image super-resolution, measured exactly as the papers measure.

The names below are imported on first use, so that ``import vernier`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vernier.evaluation import evaluate
    from vernier.explanation.lam import explain
    from vernier.upscaling import Upscaler, upscale
    from vernier.zoo import create_model, list_models, load_model

__version__ = "0.1.0"

_HOMES = {
    "create_model": "vernier.zoo",
    "load_model": "vernier.zoo",
    "list_models": "vernier.zoo",
    "Upscaler": "vernier.upscaling",
    "upscale": "vernier.upscaling",
    "evaluate": "vernier.evaluation",
    "explain": "vernier.explanation.lam",
}

__all__ = [
    "Upscaler",
    "create_model",
    "evaluate",
    "explain",
    "list_models",
    "load_model",
    "upscale",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vernier' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
