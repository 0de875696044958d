"""Tiles: bounded memory, and where the model's reach is finite, the very same picture.

A tile's window is its core plus a halo as wide as the receptive radius, so that every pixel of the
core sees all it would see in the whole picture. Networks pad with zeros where the picture ends,
which is no pixel value (SESR pads after subtracting mid-gray): windows are never padded, a window
at the border is moved inward instead. All windows have one shape, and none is smaller than
`MIN_WINDOW` where the picture allows: convolution libraries choose other kernels, with another
order of summation, for small images, and the last bit would differ.
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

__all__ = ["MIN_WINDOW", "Tile", "available_memory", "plan_tiles", "run_tiles", "tile_side"]

MIN_WINDOW = 128
# Nothing is known of what the system has: assume a small machine.
_ASSUMED_MEMORY = 2 * 1024**3
# Of the memory that is free, what the tiles may take.
_SHARE = 0.5


@dataclass(frozen=True)
class Tile:
    """LR rectangles as (top, left, bottom, right): what the model sees, and what is kept."""

    window: tuple[int, int, int, int]
    core: tuple[int, int, int, int]


def plan_tiles(height: int, width: int, side: int, halo: int) -> list[Tile]:
    """Tiles whose cores cover the picture without overlap, row by row.

    Args:
        height, width: of the picture, LR pixels.
        side: of a core; at the right and the bottom cores may be smaller.
        halo: LR pixels that a window reaches beyond its core, except where the picture ends.
    """
    return [
        Tile(window=(top, left, bottom, right), core=(y0, x0, y1, x1))
        for (top, bottom), (y0, y1) in _cut(height, side, halo)
        for (left, right), (x0, x1) in _cut(width, side, halo)
    ]


def _cut(length: int, side: int, halo: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """One dimension: (start, end) of each window and of its core."""
    window = min(length, max(side + 2 * halo, MIN_WINDOW))
    for start in range(0, length, side):
        left = min(max(start - halo, 0), length - window)
        yield (left, left + window), (start, min(start + side, length))


def run_tiles(
    run: Callable[[NDArray[Any]], NDArray[Any]],
    pixels: NDArray[Any],
    result: NDArray[Any],
    tiles: list[Tile],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Run every window and paste its core.

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
        result[y0 * scale : y1 * scale, x0 * scale : x1 * scale] = upscaled[
            (y0 - top) * scale : (y1 - top) * scale, (x0 - left) * scale : (x1 - left) * scale
        ]
        if progress:
            progress(done, len(tiles))


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
