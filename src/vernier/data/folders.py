"""Folders of pictures as tensors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vernier.errors import InputError
from vernier.io import PICTURE_SUFFIXES, PictureError, check_unit, read_picture
from vernier.io.files import check_folder, shown, visible_files

__all__ = ["Broken", "list_pictures", "read_or_note", "read_uint8", "refuse_broken"]

Broken = dict[Path, str]
"""Pictures that cannot be read, each with what is wrong with it."""


def list_pictures(folders: Iterable[str | Path]) -> list[Path]:
    """Every picture in the folders and below, sorted by path; a single file counts as itself.

    Hidden files and what lies in hidden folders are passed over.

    Raises:
        InputError: a folder does not exist or holds no picture.
    """
    found: list[Path] = []
    for folder in map(Path, folders):
        if folder.is_file():
            found.append(folder)
            continue
        check_folder(folder, cure="name one that holds pictures")
        files = visible_files(folder, recursive=True)
        inside = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
        if not inside:
            raise InputError(f"{folder}: no pictures in it (looked for png, jpg, webp, tiff, ...)")
        found += inside
    return found


def read_uint8(path: str | Path) -> Tensor:
    """A picture as (C, H, W) uint8, C = 1 (gray) or 3 (RGB); 16-bit rounds to 8, alpha is dropped.

    Raises:
        PictureError: the file cannot be read.
    """
    picture = read_picture(path)
    try:
        check_unit(picture, "a picture to train or measure on")
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from None
    pixels = picture.pixels[..., : picture.colour_channels]
    if pixels.dtype != np.uint8:
        pixels = np.rint(np.clip(pixels / picture.peak, 0, 1) * 255.0).astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def read_or_note(path: Path, broken: Broken | None) -> Tensor | None:
    """As `read_uint8`, but what cannot be read is noted in ``broken`` and gives None.

    Raises:
        PictureError: the file cannot be read, and ``broken`` is None.
    """
    try:
        return read_uint8(path)
    except PictureError as error:
        if broken is None:
            raise
        broken[path] = str(error)
        return None


def refuse_broken(broken: Broken) -> None:
    """Name all pictures that cannot be read, if there are any.

    Raises:
        InputError: there are.
    """
    if not broken:
        return
    first, *others = broken
    told = broken[first]
    if others:
        told += f"; nor can {', '.join(shown(path) for path in others)}"
    number = "1 picture" if not others else f"{len(broken)} pictures"
    raise InputError(
        f"{number} cannot be read: {told}; mend or remove them, or set data.skip_broken=true"
    )
