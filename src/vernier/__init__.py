"""Vernier: image super-resolution, measured exactly as the papers measure.

The names below are imported on first use, so that ``import vernier`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vernier.analysis.lam import explain
    from vernier.evaluation import evaluate
    from vernier.inference import Upscaler, upscale
    from vernier.models import create_model, list_models, load_model

__version__ = "0.1.0"

_HOMES = {
    "create_model": "vernier.models",
    "load_model": "vernier.models",
    "list_models": "vernier.models",
    "Upscaler": "vernier.inference",
    "upscale": "vernier.inference",
    "evaluate": "vernier.evaluation",
    "explain": "vernier.analysis.lam",
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
