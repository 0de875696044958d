"""Linear light as people see it on a screen."""

from __future__ import annotations

import numpy as np

__all__ = ["to_display"]


def to_display(light: np.ndarray, *, white: float = 99.5) -> np.ndarray:
    """Three channels of linear light -> an sRGB picture.

    Args:
        light: (3, H, W), R, G, B, linear, any range; below 0 is black.
        white: the percentile of all values that becomes white; what is brighter is clipped.

    Returns:
        (H, W, 3) uint8.

    Source: IEC 61966-2-1, the sRGB transfer function.
    """
    light = np.nan_to_num(light.astype(np.float64))
    level = np.percentile(light, white)
    unit = np.clip(light / level if level > 0 else light, 0, 1)
    encoded = np.where(unit <= 0.0031308, 12.92 * unit, 1.055 * unit ** (1 / 2.4) - 0.055)
    return np.ascontiguousarray(np.rint(encoded * 255).astype(np.uint8).transpose(1, 2, 0))
