"""Which files an evaluation reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vernier.data.benchmarks import find_benchmark
from vernier.errors import InputError
from vernier.evaluation.cubes import is_fusion_data
from vernier.io.cubes import CUBE_SUFFIXES, find_cubes
from vernier.io.files import visible_files

__all__ = ["data_files"]


def data_files(data: Sequence[str | Path], scale: int) -> list[Path]:
    """The files behind the data of `vernier.evaluate`, in the order in which they are found.

    Args:
        data: benchmark folders, fusion files, cubes and folders of cubes.
        scale: at which they are evaluated.

    Raises:
        InputError: there is no such data.
    """
    found: list[Path] = []
    for path in map(Path, data):
        if is_fusion_data(path):
            found += _files_of_cubes(path)
            continue
        try:
            pairs = find_benchmark(path, scale).pairs
        except InputError:
            # A folder of cubes does not show by its name that it is one.
            if not path.is_dir():
                raise
            found += _files_of_cubes(path)
        else:
            found += [p for pair in pairs for p in (pair.hr_path, pair.lr_path) if p is not None]
    return found


def _files_of_cubes(path: Path) -> list[Path]:
    return [file for cube in find_cubes(path) for file in _files_of_cube(cube)]


def _files_of_cube(path: Path) -> list[Path]:
    """A band folder's files; of a file also those of its name that hold the values of ENVI."""
    if path.is_dir():
        return visible_files(path)
    beside = (path.with_suffix(suffix) for suffix in sorted(CUBE_SUFFIXES) if suffix != path.suffix)
    return [path, *(other for other in beside if other.is_file())]
