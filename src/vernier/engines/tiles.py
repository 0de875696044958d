"""Tiles: bounded memory, and where the model's reach is finite, the very same picture.

A tile's window is its core plus a halo as wide as the receptive radius, so that every pixel of the
core sees all it would see in the whole picture. Networks pad with zeros where the picture ends,
which is no pixel value (SESR pads after subtracting mid-gray): windows are never padded, a window
at the border is moved inward instead. All windows have one shape, and none is smaller than
`MIN_WINDOW` where the picture allows: convolution libraries choose other kernels, with another
order of summation, for small images, and the last bit would differ.

A network that sees the whole picture (attention, pooled statistics) gives another result in every
tiling. Its windows start on the grid of its attention windows, share the picture evenly, and their
cores are faded into each other, so that no seam is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from vernier.errors import InputError
from vernier.progress import Progress

__all__ = [
    "MIN_WINDOW",
    "SMALLEST_TILE",
    "Tile",
    "check_tile",
    "cut_evenly",
    "in_smaller_tiles",
    "plan_blended_tiles",
    "plan_tiles",
    "run_tiles",
    "tile_side",
]

Result = TypeVar("Result")

MIN_WINDOW = 128
# A core of fewer pixels is nothing beside its halo.
SMALLEST_TILE = 16
# Of the memory that is free, what the tiles may take.
_SHARE = 0.5


@dataclass(frozen=True)
class Tile:
    """LR rectangles as (top, left, bottom, right): what the model sees, and what is kept.

    ``fade`` LR pixels above and to the left of the core, the result passes from the tiles before
    into this one.
    """

    window: tuple[int, int, int, int]
    core: tuple[int, int, int, int]
    fade: int = 0


def plan_tiles(height: int, width: int, side: int, halo: int, multiple: int = 1) -> list[Tile]:
    """Tiles whose cores cover the picture without overlap, row by row.

    Args:
        height, width: of the picture, LR pixels.
        side: of a core; at the right and the bottom cores may be smaller.
        halo: LR pixels that a window reaches beyond its core, except where the picture ends.
        multiple: windows begin at its multiples, where ``side`` and ``halo`` are such; a window
            that is moved inward then ends with the picture's last, unfinished multiple.
    """
    return [
        Tile(window=(top, left, bottom, right), core=(y0, x0, y1, x1))
        for (top, bottom), (y0, y1) in _cut(height, side, halo, multiple)
        for (left, right), (x0, x1) in _cut(width, side, halo, multiple)
    ]


def plan_blended_tiles(height: int, width: int, side: int, halo: int, multiple: int) -> list[Tile]:
    """The same for a network that sees everything: aligned to its grid, and faded.

    Args:
        height, width: as in `plan_tiles`.
        side: of a core, brought to a multiple; where the picture ends a core is as much longer as
            the halo there is missing.
        halo: LR pixels that a window reaches beyond its core, brought to a multiple; half of it
            is used for fading, the rest is context only.
        multiple: what the network pads sizes to, its attention window.
    """
    side, halo = (max(-(-length // multiple) * multiple, multiple) for length in (side, halo))
    return [
        Tile(window=(top, left, bottom, right), core=(y0, x0, y1, x1), fade=halo // 2)
        for (top, bottom), (y0, y1) in cut_evenly(height, side + 2 * halo, halo, multiple)
        for (left, right), (x0, x1) in cut_evenly(width, side + 2 * halo, halo, multiple)
    ]


def cut_evenly(
    length: int, window: int, halo: int, multiple: int
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """One dimension in windows of one length, which overlap by two halos or more.

    Args:
        length: pixels.
        window: the most that one may have; at least three halos, else it is made so.
        halo: pixels that a window reaches beyond its core, except where the picture ends.
        multiple: windows begin at its multiples; ``halo`` is one.

    Returns:
        (start, end) of each window and of its core. Only the last window may be shorter, by what
        ``length`` lacks of a multiple.
    """
    window = max(window // multiple * multiple, 2 * halo + multiple)
    count = max(1, -(-(length - 2 * halo) // (window - 2 * halo)))
    window = -(-(length + (count - 1) * 2 * halo) // (count * multiple)) * multiple
    last = -(-max(length - window, 0) // multiple) * multiple
    starts = [min(i * (window - 2 * halo), last) for i in range(count)]
    cores = [0, *(start + halo for start in starts[1:]), length]
    return [
        ((start, min(start + window, length)), (cores[i], cores[i + 1]))
        for i, start in enumerate(starts)
    ]


def _cut(
    length: int, side: int, halo: int, multiple: int
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """One dimension: (start, end) of each window and of its core."""
    window = min(length, max(side + 2 * halo, MIN_WINDOW))
    for start in range(0, length, side):
        left = min(max(start - halo, 0), -(-(length - window) // multiple) * multiple)
        yield (left, min(left + window, length)), (start, min(start + side, length))


def run_tiles(
    run: Callable[[NDArray[Any]], NDArray[Any]],
    pixels: NDArray[Any],
    result: NDArray[Any],
    tiles: list[Tile],
    progress: Progress | None = None,
) -> None:
    """Run every window and paste its core, faded where the plan says so.

    Args:
        run: (h, w, C) pixels to (h * scale, w * scale, C).
        pixels: (H, W, C).
        result: (H * scale, W * scale, C), overwritten; of other arrays the largest is as high as a
            tile.
        tiles: see `plan_tiles`.
        progress: told the tiles that are done.
    """
    scale = result.shape[0] // pixels.shape[0]
    done = 0
    for (y0, y1, fade), row in groupby(tiles, lambda t: (t.core[0], t.core[2], t.fade)):
        above = min(fade, y0)
        target = result[(y0 - above) * scale : y1 * scale]
        # A row is put together before it fades into the rows above: tile by tile a seam would be
        # left where four of them meet.
        strip = np.empty(target.shape, np.float32) if fade else target
        for tile in row:
            top, left, bottom, right = tile.window
            x0, x1 = tile.core[1], tile.core[3]
            before = min(fade, x0)
            upscaled = run(np.ascontiguousarray(pixels[top:bottom, left:right]))
            new = upscaled[
                (y0 - above - top) * scale : (y1 - top) * scale,
                (x0 - before - left) * scale : (x1 - left) * scale,
            ]
            place = strip[:, (x0 - before) * scale : x1 * scale]
            place[...] = _faded(place, new, before * scale, axis=1)
            done += 1
            if progress:
                progress(done, len(tiles), "")
        if fade:
            whole = _faded(target, strip, above * scale, axis=0)
            target[...] = np.rint(whole) if np.issubdtype(target.dtype, np.integer) else whole


def _faded(old: NDArray[Any], new: NDArray[Any], length: int, axis: int) -> NDArray[Any]:
    """From ``old`` to ``new`` over the first rows or columns."""
    if not length:
        return new
    share = np.ones(old.shape[axis], np.float32)
    share[:length] = (np.arange(length) + 0.5) / length
    share = np.expand_dims(share, (1 - axis, 2))
    # Beyond the fade nothing may have been written yet, not even a number.
    old = np.where(share < 1, old, new)
    faded: NDArray[Any] = old + share * (new - old)
    return faded


def tile_side(
    height: int,
    width: int,
    *,
    tile: int | Literal["auto"] | None,
    halo: int,
    bytes_per_pixel: float,
    memory: float,
) -> int | None:
    """Side of a tile's core in LR pixels; None runs the picture whole.

    Args:
        height, width: LR pixels.
        tile: a side, None or 0 for whole, or "auto": whole as long as the estimate fits.
        halo: as in `plan_tiles`.
        bytes_per_pixel: what running one LR pixel takes.
        memory: bytes available; the estimate may take half of it.

    Raises:
        InputError: see `check_tile`.
    """
    check_tile(tile)
    if tile is None or tile == 0:
        return None
    if tile != "auto":
        return None if tile >= max(height, width) else tile
    budget = _SHARE * memory
    if height * width * bytes_per_pixel <= budget:
        return None
    window = max(int(math.sqrt(budget / bytes_per_pixel)), MIN_WINDOW)
    return max(window - 2 * halo, MIN_WINDOW // 2)


def in_smaller_tiles(run: Callable[[int | None], Result], side: int | None, longest: int) -> Result:
    """Run, and where the memory does not suffice run again, each time in tiles half as large.

    Args:
        run: is given the side of the tiles, None for none; starts from the beginning.
        side: to begin with.
        longest: the longer side of what is run.

    Raises:
        InputError: the memory does not suffice for tiles of `SMALLEST_TILE` either.
    """
    while True:
        try:
            return run(side)
        except MemoryError as error:
            smaller = longest // 2 if side is None else side // 2
            if smaller < SMALLEST_TILE:
                raise InputError(f"out of memory even in tiles: {error}") from error
        side = smaller


def check_tile(tile: int | Literal["auto"] | None) -> None:
    """Refuse a size of tiles that `tile_side` cannot take.

    Raises:
        InputError: it is negative, no number, or so small that tiles are nothing but overlap.
    """
    if tile is None or tile == "auto":
        return
    if isinstance(tile, bool) or not isinstance(tile, int) or tile < 0:
        raise InputError(f"tile must be a number of pixels, 0 or 'auto', not {tile!r}")
    if 0 < tile < SMALLEST_TILE:
        raise InputError(
            f"tiles of {tile} pixels would spend nearly all time on overlaps: at least "
            f"{SMALLEST_TILE}, 0 for none, or auto"
        )
