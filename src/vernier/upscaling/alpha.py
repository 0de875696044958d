"""Transparency: what lies under transparent pixels must not show after upscaling."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vernier.imaging.bicubic import peak_value, to_pixels

__all__ = ["bleed", "spread"]


def bleed(pixels: NDArray[Any]) -> NDArray[Any]:
    """Fill the colour of fully transparent pixels from the visible ones around them.

    Args:
        pixels: (H, W, 2 or 4), the last channel alpha, not premultiplied.

    Returns:
        The same shape and type; pixels with alpha > 0 are untouched. Without this, an encoder's
        black under transparent pixels becomes a dark seam around every object.
    """
    hidden = pixels[..., -1] == 0
    if not hidden.any() or hidden.all():
        return pixels
    values = pixels.astype(np.float32) / np.float32(peak_value(pixels.dtype))
    alpha = values[..., -1:]
    filled = spread(values[..., :-1] * alpha, alpha)
    result = pixels.copy()
    result[..., :-1][hidden] = to_pixels(filled[hidden], pixels.dtype)
    return result


def spread(colour: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """Colours made whole: those without weight take the mean of the smallest block around them.

    The blocks are of 2x2, 4x4, ... pixels (pull and push).

    Args:
        colour: (H, W, C), already times its weight.
        weight: (H, W, 1), 0 or more, somewhere above 0.
    """
    height, width = weight.shape[:2]
    filled = colour / np.where(weight > 0, weight, 1)
    if (weight > 0).all():
        return filled
    even = ((0, height % 2), (0, width % 2), (0, 0))
    coarse_colour, coarse_weight = (
        np.pad(a, even).reshape((height + 1) // 2, 2, (width + 1) // 2, 2, -1).sum((1, 3))
        for a in (colour, weight)
    )
    coarse = spread(coarse_colour, coarse_weight)
    around = coarse.repeat(2, 0).repeat(2, 1)[:height, :width]
    return np.where(weight > 0, filled, around)
