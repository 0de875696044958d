"""Large pictures cut into overlapping ones of equal size, which load fast and weigh alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vernier.data.folders import list_pictures
from vernier.errors import InputError
from vernier.io import Picture, read_picture, write_picture
from vernier.io.files import new_folders, protect, repeated, replacing
from vernier.progress import Progress

__all__ = ["cut_subimages"]


def cut_subimages(
    source: str | Path,
    target: str | Path,
    *,
    size: int = 480,
    step: int = 240,
    progress: Progress | None = None,
) -> int:
    """Write every picture of a folder as squares, as DF2K is prepared for training.

    The squares of ``photo.png`` are ``photo_s001.png``, ``photo_s002.png``, ..., row by row; the
    last of a row or column ends at the border. Pixels are copied, depth and all; alpha is left out.
    A picture with a side of less than ``size`` gives no squares.

    Args:
        source: folder of pictures, searched recursively.
        target: folder to write, a new or an empty one; it appears when all is done.
        size: side of a square in pixels.
        step: distance of neighbours in pixels.
        progress: told each picture's path.

    Returns:
        The number of squares.

    Raises:
        InputError: no pictures, two of one name, none as large as a square, or a target that is
            not empty.

    Source: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", 2017,
    train on such crops; sizes as in Wang et al., BasicSR.
    """
    if size < 1 or step < 1:
        raise InputError(f"size {size} and step {step} must be at least 1")
    source, target = Path(source), Path(target)
    paths = list_pictures([source])
    if (twice := repeated(path.stem for path in paths)) is not None:
        raise InputError(f"{source}: two pictures are named {twice}; rename one")
    protect([source], [target])
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise InputError(
            f"{target} lies in {source}, where its squares would be taken for pictures the next "
            "time; choose a folder outside"
        )
    if target.exists() and (target.is_file() or any(target.iterdir())):
        raise InputError(f"{target} is there already and not empty; choose a new folder")
    count = 0
    # Complete or not there: a folder with half of the squares would train as if it were whole.
    with new_folders(target.parent), replacing(target, empty_folder=True) as unfinished:
        unfinished.mkdir()
        for done, path in enumerate(paths):
            if progress is not None:
                progress(done, len(paths), str(path))
            count += _cut(path, unfinished, size, step)
        if progress is not None:
            progress(len(paths), len(paths), "")
        if not count:
            raise InputError(f"{source}: no picture is {size} pixels a side; give a smaller --size")
    return count


def _cut(path: Path, folder: Path, size: int, step: int) -> int:
    picture = read_picture(path)
    pixels = picture.pixels[..., : picture.colour_channels]
    places = [
        (top, left)
        for top in _starts(pixels.shape[0], size, step)
        for left in _starts(pixels.shape[1], size, step)
    ]
    for number, (top, left) in enumerate(places, start=1):
        square = np.ascontiguousarray(pixels[top : top + size, left : left + size])
        write_picture(Picture(square), folder / f"{path.stem}_s{number:03d}.png")
    return len(places)


def _starts(length: int, size: int, step: int) -> list[int]:
    """Where squares begin along a side; the last one ends at the border."""
    if length < size:
        return []
    starts = list(range(0, length - size + 1, step))
    return starts if starts[-1] == length - size else [*starts, length - size]
