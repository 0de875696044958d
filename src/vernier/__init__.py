"""Vernier: image super-resolution, measured exactly as the papers measure.

All names below, and the packages they come from (``vernier.metrics``, ``vernier.zoo``, ...), are
imported on first use, so that ``import vernier`` costs nothing. What a command can do, one call
here can do, with the same checks:

========================  =====================================================================
`upscale`, `Upscaler`     pictures and folders, larger
`fuse`, `Fuser`           a coarse cube and a sharp guide, made one sharp cube
`evaluate`                models measured on benchmarks, of pictures and of cubes
`explain`, `compare`      which pixels a model uses; what several models make of one window
`train`, `ablate`         a recipe, run; several under equal budget
`export`                  a trained model as a file for other tools
========================  =====================================================================
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vernier import (
        ablation,
        cli,
        data,
        devices,
        drawing,
        engines,
        errors,
        evaluation,
        explanation,
        exporting,
        extras,
        fusion,
        imaging,
        io,
        metrics,
        models,
        progress,
        tables,
        training,
        upscaling,
        zoo,
    )
    from vernier.ablation import ablate
    from vernier.errors import InputError, MissingPackageError, VernierError
    from vernier.evaluation import evaluate
    from vernier.explanation.comparison import compare
    from vernier.explanation.lam import explain
    from vernier.exporting import export
    from vernier.fusion import Fuser, fuse
    from vernier.io import Picture, read_picture, write_picture
    from vernier.io.cubes import Cube, read_cube, write_cube
    from vernier.training import train
    from vernier.upscaling import Upscaler, upscale
    from vernier.zoo import create_model, list_models, load_model

__version__ = "0.1.0"

_HOMES = {
    "Cube": "vernier.io.cubes",
    "Fuser": "vernier.fusion",
    "InputError": "vernier.errors",
    "MissingPackageError": "vernier.errors",
    "Picture": "vernier.io",
    "Upscaler": "vernier.upscaling",
    "VernierError": "vernier.errors",
    "ablate": "vernier.ablation",
    "compare": "vernier.explanation.comparison",
    "create_model": "vernier.zoo",
    "evaluate": "vernier.evaluation",
    "explain": "vernier.explanation.lam",
    "export": "vernier.exporting",
    "fuse": "vernier.fusion",
    "list_models": "vernier.zoo",
    "load_model": "vernier.zoo",
    "read_cube": "vernier.io.cubes",
    "read_picture": "vernier.io",
    "train": "vernier.training",
    "upscale": "vernier.upscaling",
    "write_cube": "vernier.io.cubes",
    "write_picture": "vernier.io",
}

_ROOMS = (
    "ablation",
    "cli",
    "data",
    "devices",
    "drawing",
    "engines",
    "errors",
    "evaluation",
    "explanation",
    "exporting",
    "extras",
    "fusion",
    "imaging",
    "io",
    "metrics",
    "models",
    "progress",
    "tables",
    "training",
    "upscaling",
    "zoo",
)

__all__ = [
    "Cube",
    "Fuser",
    "InputError",
    "MissingPackageError",
    "Picture",
    "Upscaler",
    "VernierError",
    "ablate",
    "ablation",
    "cli",
    "compare",
    "create_model",
    "data",
    "devices",
    "drawing",
    "engines",
    "errors",
    "evaluate",
    "evaluation",
    "explain",
    "explanation",
    "export",
    "exporting",
    "extras",
    "fuse",
    "fusion",
    "imaging",
    "io",
    "list_models",
    "load_model",
    "metrics",
    "models",
    "progress",
    "read_cube",
    "read_picture",
    "tables",
    "train",
    "training",
    "upscale",
    "upscaling",
    "write_cube",
    "write_picture",
    "zoo",
]

# Type checkers see the names above, and tell one that is misspelt.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name, f"vernier.{name}" if name in _ROOMS else None)
        if home is None:
            raise AttributeError(f"module 'vernier' has no attribute {name!r}")
        from vernier.extras import named_extras

        with named_extras():
            module = import_module(home)
            return getattr(module, name) if name in _HOMES else module


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
