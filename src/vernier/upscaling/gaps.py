"""Pixels without data: filled while a network looks, empty again in the larger picture.

Maps, elevation models and mosaics say by a value, or by NaN, that they know nothing of a place. A
network that saw the value would spread it over what lies beside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vernier.upscaling.alpha import spread

__all__ = ["fill_gaps", "find_gaps", "put_gaps_back"]


def find_gaps(
    pixels: NDArray[Any], *, has_alpha: bool, no_data: float | None = None
) -> NDArray[np.bool_] | None:
    """Where a picture has no data.

    Args:
        pixels: (H, W, C).
        has_alpha: whether the last channel is alpha, which is left out.
        no_data: the value that says so. Of integers all channels of a pixel must have it: in one
            of them it is an ordinary number. Floats have no data where they are not finite, too,
            each channel by itself.

    Returns:
        (H, W, C), or None where there are no gaps.
    """
    values = pixels[..., :-1] if has_alpha else pixels
    if pixels.dtype.kind == "f":
        gaps: NDArray[np.bool_] = ~np.isfinite(values)
        if no_data is not None:
            gaps |= values == np.float32(no_data)
    elif no_data is None:
        return None
    else:
        equal: NDArray[np.bool_] = values == no_data
        gaps = equal.all(2, keepdims=True).repeat(values.shape[2], 2)
    if not gaps.any():
        return None
    if not has_alpha:
        return gaps
    return np.concatenate([gaps, np.zeros_like(gaps[..., :1])], 2)


def fill_gaps(pixels: NDArray[Any], gaps: NDArray[np.bool_]) -> NDArray[Any]:
    """The pixels with each gap taken from what lies around it; 0 where there is nothing at all."""
    filled = pixels.copy()
    for channel in range(pixels.shape[2]):
        gap = gaps[..., channel]
        if not gap.any():
            continue
        if gap.all():
            filled[..., channel] = 0
            continue
        weight = (~gap).astype(np.float32)[..., None]
        known = np.where(gap, 0, pixels[..., channel]).astype(np.float32)[..., None]
        around = spread(known, weight)[..., 0][gap]
        if pixels.dtype.kind in "iu":
            around = np.rint(around)
        filled[..., channel][gap] = around
    return filled


def put_gaps_back(
    result: NDArray[Any],
    pixels: NDArray[Any],
    gaps: NDArray[np.bool_],
    scale: float | tuple[float, float],
    *,
    no_data: float | None = None,
) -> NDArray[Any]:
    """The larger picture without data where the nearest pixel has none; changed in place.

    Integers that became ``no_data`` though there is data are moved by one.

    Args:
        result: (H', W', C).
        pixels: (H, W, C), as they were before the gaps were filled.
        gaps: (H, W, C).
        scale: pixels of the result per pixel, vertical and horizontal where they may differ.
        no_data: as in `find_gaps`.
    """
    factors = scale if isinstance(scale, tuple) else (scale, scale)
    rows, columns = (
        np.minimum(((np.arange(larger) + 0.5) / factor).astype(np.intp), length - 1)
        for larger, length, factor in zip(result.shape[:2], pixels.shape[:2], factors)
    )
    for row, source in enumerate(rows):
        nearest = gaps[source, columns]
        if no_data is not None and result.dtype.kind in "iu":
            # Of alpha, whatever it is, there are no gaps.
            colours = result[row][:, gaps.any((0, 1))]
            taken = (colours == no_data).all(1) & ~nearest.any(1)
            step = -1 if no_data == np.iinfo(result.dtype).max else 1
            result[row][taken, 0] = int(no_data) + step
        if nearest.any():
            result[row][nearest] = pixels[source, columns][nearest]
    return result
