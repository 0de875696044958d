"""The order of the axes, the peak and the wavelengths: what is certain where a file is silent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vernier.io.cubes.cube import Cube, CubeError, StoredCube

__all__ = ["AXES", "bands_first", "nanometres", "with_certain_peak"]

AXES = ("chw", "hwc", "hcw", "cwh", "whc", "wch")


def bands_first(
    found: StoredCube, axes: str | None, wavelengths: Sequence[float] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The values with the bands first, and a note where their axis was recognised.

    Args:
        found: what the file holds.
        axes: their order as the caller states it.
        wavelengths: in nanometres, as far as they are known.

    Raises:
        CubeError: no three axes, or nothing tells which one holds the bands.
    """
    array = found.array
    note: tuple[str, ...] = ()
    if array.ndim != 3:
        raise CubeError(f"an array of shape {array.shape} is no cube; three axes are needed")
    axes = axes or found.axes
    if axes is None:
        axes, reason = _certain_axes(array.shape, wavelengths)
        note = (f"axes {axes}: {reason}",)
    ordered = array.transpose([axes.index(letter) for letter in "chw"])
    native = ordered.dtype.newbyteorder("=")
    return np.ascontiguousarray(ordered, dtype=native), note


def _certain_axes(shape: tuple[int, ...], wavelengths: Sequence[float] | None) -> tuple[str, str]:
    """Which axis holds the bands, if that is certain; the other two are rows, then columns."""
    layouts = ("chw", "hcw", "hwc")
    if wavelengths is not None:
        matching = [axis for axis in range(3) if shape[axis] == len(wavelengths)]
        if len(matching) == 1:
            return layouts[
                matching[0]
            ], f"this axis is as long as the {len(wavelengths)} wavelengths"
    elif shape[0] == shape[1] != shape[2]:
        return "hwc", "the first two are equal"
    elif shape[1] == shape[2] != shape[0]:
        return "chw", "the last two are equal"
    sizes = " x ".join(map(str, shape))
    raise CubeError(f"{sizes} does not tell which axis holds the bands; pass --axes, such as hwc")


def with_certain_peak(cube: Cube) -> Cube:
    """The cube with its peak, where type and values leave no doubt: 255, or 1."""
    if cube.values.dtype == np.uint8:
        return replace(cube, peak=255.0, notes=(*cube.notes, "peak 255: 8-bit values"))
    if cube.values.dtype.kind == "f" and cube.values.min() >= 0 and cube.values.max() <= 1:
        return replace(cube, peak=1.0, notes=(*cube.notes, "peak 1: all values are in [0, 1]"))
    return cube


def nanometres(values: object, unit: str = "") -> tuple[float, ...] | None:
    """Wavelengths in nanometres; None where the numbers cannot be wavelengths."""
    try:
        flat = np.asarray(values, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        return None
    if not len(flat) or not np.isfinite(flat).all() or flat.min() <= 0:
        return None
    if unit.lower().startswith("micro") or unit.lower() in ("um", "µm"):
        flat = flat * 1000
    elif not unit.lower().startswith("nano") and unit.lower() != "nm":
        # Light of interest has 0.2 to 30 micrometres; whole numbers that small count bands.
        if flat.max() < 30 and not np.array_equal(flat, np.rint(flat)):
            flat = flat * 1000
        elif flat.min() < 100:
            return None
    return tuple(round(float(value), 6) for value in flat)
