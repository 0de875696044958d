"""Benchmark folders as the field lays them out, as pairs of LR and HR pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from vernier.data.benchmark_names import (
    LR_FOLDER,
    SCALE_FOLDER,
    SHARED_FOLDER,
    HrAndLr,
    holds_lr,
    lr_partners,
    sort_by_kind,
)
from vernier.data.folders import read_uint8
from vernier.errors import InputError
from vernier.imaging import imresize_uint8
from vernier.io import PICTURE_SUFFIXES, picture_size
from vernier.io.files import check_folder, is_hidden, shown, visible_files

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
    """A named set of pairs; ``lr_source`` says whether the LR are files or made from the HR.

    ``notes`` says what of the folder was left out, for people.
    """

    name: str
    scale: int
    lr_source: LrSource
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()


def find_benchmark(
    folder: str | Path, scale: int, *, lr: Literal["auto", "files", "made"] = "auto"
) -> Benchmark:
    """Recognise a benchmark by the names of its folders and files.

    Where names leave it open which picture is the LR of which, sizes decide; no pixel is read.

    * ``Set5/HR`` with ``Set5/LR_bicubic/X4``, ``Set5/LR/X4``, ``Set5/X4`` or ``Set5/LR_x4``;
    * ``DIV2K_valid_HR`` with ``DIV2K_valid_LR_bicubic/X4`` beside it;
    * ``Set5/GTmod12`` with ``Set5/LRbicx4``;
    * ``HR/Set5/x4`` with ``LR/LRBI/Set5/x4``;
    * ``Set5/image_SRF_4``, or any folder, in which HR and LR lie beside each other and their names
      tell them apart: ``img_001_SRF_4_HR`` and ``img_001_SRF_4_LR``, ``baby`` and ``babyx4``. What
      else lies beside an HR picture, such as other methods' results, is left out with a note;
    * any folder of HR pictures; the LR are then made as the benchmarks' own were: MATLAB bicubic,
      rounded to 8 bit after each dimension.

    The LR of ``baby.png`` may be named ``baby``, ``babyx4``, ``baby_x4``, ``baby_LR``,
    ``baby_bicLRx4``, ``baby_LRBI_x4``, ``baby_x4_bic`` and the like.

    Args:
        folder: the benchmark's folder, or its folder of HR pictures.
        scale: upscaling factor, 1 or more.
        lr: "auto" takes LR files where there are some for this scale, "files" insists on them,
            "made" ignores them.

    Raises:
        InputError: no such folder, no pictures, LR pictures alone, several HR folders, no LR files
            where they are asked for, or an HR picture without its LR.
    """
    folder = Path(folder)
    if scale < 1:
        raise InputError(f"scale must be at least 1, got {scale}")
    check_folder(folder, cure="name one that holds pictures")
    hr_folder = _hr_folder(folder, scale)
    place = hr_folder.resolve()
    if holds_lr(place):
        raise InputError(
            f"{shown(folder)}: holds LR pictures, by its name; name the HR folder, or rename it"
        )
    pictures = _pictures(hr_folder)
    if not pictures:
        suffixes = " ".join(sorted(PICTURE_SUFFIXES))
        raise InputError(f"{hr_folder}: no pictures in it (looked for {suffixes})")
    found = sort_by_kind(hr_folder, pictures, scale)
    name = _name(place)
    notes: tuple[str, ...] = ()
    if found.left:
        others = "1 other picture" if len(found.left) == 1 else f"{len(found.left)} other pictures"
        notes = (f"{others} beside HR left out, such as {found.left[0].name}",)
    lr_folder, partners = _partners(place, found, scale)
    if lr == "files" and lr_folder is None:
        looked = next(iter(_usual_lr_folders(place, scale)), None)
        told = f" (looked for {looked})" if looked else ""
        raise InputError(f"{folder}: no LR files for x{scale}{told}")
    if lr == "auto" and lr_folder is None:
        notes += _passed_over(place, found, scale)
    if lr == "made" or lr_folder is None:
        made = tuple(Pair(path.stem, scale, path, None) for path in found.hr)
        return Benchmark(name, scale, "made", made, notes)
    pairs = []
    for path in found.hr:
        partner = partners.get(path)
        if partner is None:
            raise InputError(
                f"{path}: no LR picture {path.stem}x{scale} or {path.stem} in {lr_folder}"
            )
        pairs.append(Pair(path.stem, scale, path, partner))
    return Benchmark(name, scale, "files", tuple(pairs), notes)


def _hr_folder(folder: Path, scale: int) -> Path:
    for name in _HR_FOLDERS:
        if (folder / name).is_dir():
            return folder / name
    inside = [path for path in _folders(folder) if path.name.endswith("_HR")]
    shared = {
        int(found[1]): path
        for path in _folders(folder)
        if (found := SHARED_FOLDER.fullmatch(path.name))
    }
    if not inside and shared:
        if scale in shared:
            return shared[scale]
        inside = list(shared.values())
    if len(inside) > 1:
        names = ", ".join(path.name for path in inside)
        raise InputError(f"{folder}: has several HR folders ({names}); name one of them")
    return inside[0] if inside else folder


def _partners(hr_folder: Path, found: HrAndLr, scale: int) -> tuple[Path | None, dict[Path, Path]]:
    """Where the LR pictures of this scale lie, and the LR of each HR; None: there are none."""
    if found.lr:
        return hr_folder, lr_partners(found.hr, found.lr, scale)
    for folder in _usual_lr_folders(hr_folder, scale):
        if folder.is_dir():
            return folder, lr_partners(found.hr, _pictures(folder), scale)
    for folder in _other_lr_folders(hr_folder, scale):
        partners = lr_partners(found.hr, _pictures(folder), scale)
        # Their names do not say for sure what is in them.
        if any(_fits(hr, lr, scale) for hr, lr in list(partners.items())[:1]):
            return folder, partners
    return None, {}


def _usual_lr_folders(hr_folder: Path, scale: int) -> list[Path]:
    """Where the LR pictures of this HR folder would be, in the layouts that papers use."""
    name = hr_folder.name
    if name == "GTmod12":
        return [hr_folder.with_name(f"LRbicx{scale}")]
    if name == "HR" or name.endswith("_HR"):
        lr_folder = hr_folder.with_name(f"{name[:-2]}LR_bicubic")
        return [lr_folder / f"X{scale}", lr_folder / f"x{scale}"]
    for above in list(hr_folder.parents)[:2]:
        if above.name == "HR":
            inside = hr_folder.relative_to(above)
            return [above.with_name("LR") / kind / inside for kind in ("LRBI", "")]
    return []


def _other_lr_folders(hr_folder: Path, scale: int) -> list[Path]:
    """Folders that hold LR pictures of this scale by their names: beside HR, or inside it."""
    place, prefix = hr_folder, ""
    if hr_folder.name in _HR_FOLDERS or hr_folder.name.endswith("_HR"):
        place = hr_folder.parent
        prefix = "" if hr_folder.name in _HR_FOLDERS else hr_folder.name[:-2]
    folders: list[Path] = []
    for folder in _folders(place):
        kind = LR_FOLDER.fullmatch(folder.name.removeprefix(prefix))
        if folder == hr_folder or kind is None or not folder.name.startswith(prefix):
            continue
        stated = kind["scale"] or kind["times"]
        if stated is not None:
            folders += [folder] if int(stated) == scale else []
        elif kind["word"]:
            inside = [
                path
                for path in _folders(folder)
                if (found := SCALE_FOLDER.fullmatch(path.name))
                and int(found["scale"] or found["times"]) == scale
            ]
            folders += [*inside, folder]
    return folders


def _passed_over(hr_folder: Path, found: HrAndLr, scale: int) -> tuple[str, ...]:
    """A note for each folder that is named like one of LR pictures and holds other sizes."""
    return tuple(
        f"{folder.relative_to(hr_folder.parent)} left out: its pictures are not 1/{scale} of HR's "
        "size"
        for folder in _other_lr_folders(hr_folder, scale)
        if lr_partners(found.hr, _pictures(folder), scale)
    )


def _fits(hr: Path, lr: Path, scale: int) -> bool:
    (width, height, _), (columns, rows, _) = picture_size(hr), picture_size(lr)
    return (columns, rows) == (width // scale, height // scale)


def _name(hr_folder: Path) -> str:
    while hr_folder.name in _HR_FOLDERS or (
        SHARED_FOLDER.fullmatch(hr_folder.name) or SCALE_FOLDER.fullmatch(hr_folder.name)
    ):
        hr_folder = hr_folder.parent
    return hr_folder.name.removesuffix("_HR")


def _pictures(folder: Path) -> list[Path]:
    return [path for path in visible_files(folder) if path.suffix.lower() in PICTURE_SUFFIXES]


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not is_hidden(Path(p.name)))
