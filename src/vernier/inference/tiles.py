"""Tiles: bounded memory, and where the model's reach is finite, the very same picture.

A tile's window is its core plus a halo as wide as the receptive radius, so that every pixel of the
core sees all it would see in the whole picture. Networks pad with zeros where the picture ends,
which is no pixel value (SESR pads after subtracting mid-gray): windows are never padded, a window
at the border is moved inward instead. All windows have one shape, and none is smaller than
`MIN_WINDOW` where the picture allows: convolution libraries choose other kernels, with another
order of summation, for small images, and the last bit would differ.

A network that sees the whole picture (attention, pooled statistics) gives another result in every
tiling. Its windows start on the grid of its attention windows, are as wide as their place in the
picture allows, and their cores are faded into each other, so that no seam is seen.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vernier.errors import InputError

__all__ = [
    "MIN_WINDOW",
    "Tile",
    "available_memory",
    "plan_blended_tiles",
    "plan_tiles",
    "run_tiles",
    "tile_side",
]

MIN_WINDOW = 128
# Nothing is known of what the system has: assume a small machine.
_ASSUMED_MEMORY = 2 * 1024**3
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
        height, width, side: as in `plan_tiles`; ``side`` is brought to a multiple.
        halo: LR pixels that a window reaches beyond its core, brought to a multiple; half of it
            is used for fading, the rest is context only.
        multiple: what the network pads sizes to, its attention window.
    """
    side, halo = (max(-(-length // multiple) * multiple, multiple) for length in (side, halo))
    return [
        Tile(
            window=(
                max(y - halo, 0),
                max(x - halo, 0),
                min(y + side + halo, height),
                min(x + side + halo, width),
            ),
            core=(y, x, min(y + side, height), min(x + side, width)),
            fade=halo // 2,
        )
        for y in range(0, height, side)
        for x in range(0, width, side)
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
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Run every window and paste its core, faded where the plan says so.

    Args:
        run: (h, w, C) pixels to (h * scale, w * scale, C).
        pixels: (H, W, C).
        result: (H * scale, W * scale, C), overwritten; no other array is as large.
        tiles: see `plan_tiles`.
        progress: called with (tiles done, tiles).
    """
    scale = result.shape[0] // pixels.shape[0]
    for done, tile in enumerate(tiles, start=1):
        top, left, bottom, right = tile.window
        y0, x0, y1, x1 = tile.core
        upscaled = run(np.ascontiguousarray(pixels[top:bottom, left:right]))
        above, before = min(tile.fade, y0), min(tile.fade, x0)
        y0, x0 = y0 - above, x0 - before
        target = result[y0 * scale : y1 * scale, x0 * scale : x1 * scale]
        new = upscaled[
            (y0 - top) * scale : (y1 - top) * scale, (x0 - left) * scale : (x1 - left) * scale
        ]
        if tile.fade:
            new = _faded(target, new, above * scale, before * scale)
        target[...] = new
        if progress:
            progress(done, len(tiles))


def _faded(old: NDArray[Any], new: NDArray[Any], above: int, before: int) -> NDArray[Any]:
    """From ``old`` to ``new`` over the first rows and columns."""
    rows, columns = np.ones(old.shape[0], np.float32), np.ones(old.shape[1], np.float32)
    rows[:above] = (np.arange(above) + 0.5) / max(above, 1)
    columns[:before] = (np.arange(before) + 0.5) / max(before, 1)
    share = rows[:, None, None] * columns[None, :, None]
    # Beyond the fade nothing may have been written yet, not even a number.
    old = np.where(share < 1, old, new)
    mixed: NDArray[Any] = old + share * (new.astype(np.float32) - old)
    if np.issubdtype(old.dtype, np.integer):
        mixed = np.rint(mixed)
    faded: NDArray[Any] = mixed.astype(old.dtype)
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
        InputError: ``tile`` is negative or no number.
    """
    if tile is None or tile == 0:
        return None
    if tile != "auto":
        if not isinstance(tile, int) or tile < 0:
            raise InputError(f"tile must be a number of pixels, 0 or 'auto', not {tile!r}")
        return None if tile >= max(height, width) else tile
    budget = _SHARE * memory
    if height * width * bytes_per_pixel <= budget:
        return None
    window = max(int(math.sqrt(budget / bytes_per_pixel)), MIN_WINDOW)
    return max(window - 2 * halo, MIN_WINDOW // 2)


def available_memory() -> int:
    """Bytes that can be taken now without swapping, within the control group's limit."""
    free = _ASSUMED_MEMORY
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    elif "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            free = min(free, int(limit) - int((group / "memory.current").read_text()))
    except OSError:
        pass
    return max(free, 0)
