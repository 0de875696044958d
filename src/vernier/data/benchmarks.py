"""Benchmark folders as the field lays them out, as pairs of LR and HR pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from vernier.data.folders import read_uint8
from vernier.errors import InputError
from vernier.imaging import imresize_uint8
from vernier.io import PICTURE_SUFFIXES, picture_size
from vernier.io.files import check_folder, is_hidden, visible_files

__all__ = ["Benchmark", "LoadedPair", "LrSource", "Pair", "find_benchmark"]

LrSource = Literal["files", "made"]

_HR_FOLDERS = ("HR", "GTmod12")


class LoadedPair(NamedTuple):
    """``hr`` (C, scale h, scale w) and ``lr`` (C, h, w) in [0, 1]; C = 1 (gray) or 3 (RGB).

    ``notes`` says what of the files was left out, for people.
    """

    hr: Tensor
    lr: Tensor
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """One picture of a benchmark, read when asked; without ``lr_path`` the LR is made from the HR.

    The HR is cropped at the right and the bottom to a multiple of the scale, as the papers do.
    """

    name: str
    scale: int
    hr_path: Path
    lr_path: Path | None

    def load(self) -> LoadedPair:
        """Read the files.

        Raises:
            InputError: a file cannot be read, or the two pictures do not belong together.
        """
        hr = read_uint8(self.hr_path)
        channels, height, width = hr.shape
        rows, columns = height // self.scale, width // self.scale
        if min(rows, columns) < 1:
            raise InputError(f"{self.hr_path}: {width}x{height} is too small for x{self.scale}")
        hr = hr[:, : rows * self.scale, : columns * self.scale]
        if self.lr_path is None:
            lr = imresize_uint8(hr, 1 / self.scale)
        else:
            lr = read_uint8(self.lr_path)
            if lr.shape[1:] != (rows, columns):
                raise InputError(
                    f"{self.lr_path}: is {lr.shape[2]}x{lr.shape[1]}, but {self.hr_path} "
                    f"({width}x{height}) needs {columns}x{rows} for x{self.scale}"
                )
            if lr.shape[0] != channels:
                kinds = {1: "gray", 3: "RGB"}
                raise InputError(
                    f"{self.lr_path}: is {kinds[lr.shape[0]]}, but {self.hr_path} is "
                    f"{kinds[channels]}; save both alike"
                )
        notes = tuple(
            f"{path.name}: alpha left out"
            for path in (self.hr_path, self.lr_path)
            if path is not None and picture_size(path)[2] in (2, 4)
        )
        return LoadedPair(hr.float() / 255, lr.float() / 255, notes)


@dataclass(frozen=True)
class Benchmark:
    """A named set of pairs; ``lr_source`` says whether the LR are files or made from the HR."""

    name: str
    scale: int
    lr_source: LrSource
    pairs: tuple[Pair, ...]


def find_benchmark(
    folder: str | Path, scale: int, *, lr: Literal["auto", "files", "made"] = "auto"
) -> Benchmark:
    """Recognise a benchmark by its folders; only names are looked at, no picture is read.

    * ``Set5/HR`` with ``Set5/LR_bicubic/X4``, LR names with or without the suffix ``x4``;
    * ``DIV2K_valid_HR`` with ``DIV2K_valid_LR_bicubic/X4`` beside it;
    * ``Set5/GTmod12`` with ``Set5/LRbicx4``;
    * any folder of HR pictures; the LR are then made as the benchmarks' own were: MATLAB bicubic,
      rounded to 8 bit after each dimension.

    Args:
        folder: the benchmark's folder, or its folder of HR pictures.
        scale: upscaling factor, 1 or more.
        lr: "auto" takes LR files where there are some for this scale, "files" insists on them,
            "made" ignores them.

    Raises:
        InputError: no such folder, no pictures, several HR folders, no LR files where they are
            asked for, or an HR picture without its LR.
    """
    folder = Path(folder)
    if scale < 1:
        raise InputError(f"scale must be at least 1, got {scale}")
    check_folder(folder, cure="name one that holds pictures")
    hr_folder = _hr_folder(folder)
    hr_paths = _pictures(hr_folder)
    if not hr_paths:
        suffixes = " ".join(sorted(PICTURE_SUFFIXES))
        raise InputError(f"{hr_folder}: no pictures in it (looked for {suffixes})")
    candidates = _lr_folders(hr_folder, scale)
    lr_folder = next((path for path in candidates if path.is_dir()), None)
    if lr == "files" and lr_folder is None:
        looked = f" (looked for {candidates[0]})" if candidates else ""
        raise InputError(f"{folder}: no LR files for x{scale}{looked}")
    name = _name(hr_folder.resolve())
    if lr == "made" or lr_folder is None:
        made = tuple(Pair(path.stem, scale, path, None) for path in hr_paths)
        return Benchmark(name, scale, "made", made)
    by_stem = {path.stem: path for path in _pictures(lr_folder)}
    pairs = []
    for path in hr_paths:
        partner = by_stem.get(f"{path.stem}x{scale}", by_stem.get(path.stem))
        if partner is None:
            raise InputError(
                f"{path}: no LR picture {path.stem}x{scale} or {path.stem} in {lr_folder}"
            )
        pairs.append(Pair(path.stem, scale, path, partner))
    return Benchmark(name, scale, "files", tuple(pairs))


def _hr_folder(folder: Path) -> Path:
    for name in _HR_FOLDERS:
        if (folder / name).is_dir():
            return folder / name
    inside = sorted(
        path for path in folder.glob("*_HR") if path.is_dir() and not is_hidden(Path(path.name))
    )
    if len(inside) > 1:
        names = ", ".join(path.name for path in inside)
        raise InputError(f"{folder}: has several HR folders ({names}); name one of them")
    return inside[0] if inside else folder


def _lr_folders(hr_folder: Path, scale: int) -> list[Path]:
    """Where the LR pictures of this HR folder would be."""
    hr_folder = hr_folder.resolve()
    if hr_folder.name == "GTmod12":
        return [hr_folder.with_name(f"LRbicx{scale}")]
    if hr_folder.name == "HR" or hr_folder.name.endswith("_HR"):
        lr_folder = hr_folder.with_name(f"{hr_folder.name[:-2]}LR_bicubic")
        return [lr_folder / f"X{scale}", lr_folder / f"x{scale}"]
    return []


def _name(hr_folder: Path) -> str:
    if hr_folder.name in _HR_FOLDERS:
        return hr_folder.parent.name
    return hr_folder.name.removesuffix("_HR")


def _pictures(folder: Path) -> list[Path]:
    return [path for path in visible_files(folder) if path.suffix.lower() in PICTURE_SUFFIXES]
