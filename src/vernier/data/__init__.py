"""Folders, training sets and scenes: what models are trained and measured on."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vernier.data.benchmarks import find_benchmark
    from vernier.data.inspection import describe, preview
    from vernier.data.scene_files import simulate_fusion, write_fusion
    from vernier.data.scenes import FusionScene, FusionScenes, find_scenes, read_fusion
    from vernier.data.subimages import cut_subimages

_HOMES = {
    "FusionScene": "scenes",
    "FusionScenes": "scenes",
    "cut_subimages": "subimages",
    "describe": "inspection",
    "find_benchmark": "benchmarks",
    "find_scenes": "scenes",
    "preview": "inspection",
    "read_fusion": "scenes",
    "simulate_fusion": "scene_files",
    "write_fusion": "scene_files",
}

__all__ = [
    "FusionScene",
    "FusionScenes",
    "cut_subimages",
    "describe",
    "find_benchmark",
    "find_scenes",
    "preview",
    "read_fusion",
    "simulate_fusion",
    "write_fusion",
]


# Type checkers see the names above, and tell one that is misspelt.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
