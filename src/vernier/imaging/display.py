"""Cubes and linear light as people see them on a screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vernier.errors import InputError

if TYPE_CHECKING:
    from vernier.imaging.simulation import SpectralResponse

__all__ = ["cube_as_rgb", "shown_bands", "to_display"]

_RED_GREEN_BLUE = (650.0, 550.0, 450.0)


def shown_bands(count: int, wavelengths: Sequence[float] | None = None) -> list[int]:
    """The bands of a cube that are shown as red, green and blue, counted from 0.

    Those nearest to 650, 550 and 450 nm. Where wavelengths are unknown, the last, the middle and
    the first, as wavelengths usually ascend.

    Args:
        count: of the cube's bands, 1 or more.
        wavelengths: the centre of each band, nanometres.
    """
    if wavelengths is None:
        return [count - 1, count // 2, 0]
    return [
        min(range(count), key=lambda band: abs(wavelengths[band] - wanted))
        for wanted in _RED_GREEN_BLUE
    ]


def cube_as_rgb(
    cube: NDArray[Any],
    *,
    wavelengths: Sequence[float] | None = None,
    camera: SpectralResponse | None = None,
) -> NDArray[Any]:
    """What a cube looks like: its `shown_bands`, or what a camera sees of all bands.

    Args:
        cube: (bands, H, W), linear light, any range.
        wavelengths: the centre of each band, nanometres.
        camera: spectral responses in the order red, green, blue.

    Returns:
        (3, H, W), linear light in the range of ``cube``; see `to_display`.

    Raises:
        InputError: a camera that has not three channels, or does not cover the bands.
    """
    if camera is None:
        return cube[shown_bands(len(cube), wavelengths)]
    if len(camera.channels) != 3:
        raise InputError(f"response {camera.name}: has {len(camera.channels)} channels, not 3")
    weights = camera.for_bands(len(cube), wavelengths).numpy()
    return np.asarray(np.einsum("cb,bhw->chw", weights, cube))


def to_display(light: NDArray[Any], *, white: float = 99.5) -> NDArray[np.uint8]:
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
