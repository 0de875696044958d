"""Values that stand for no data: found, and filled from their neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vernier.extras import optional_module

__all__ = ["fill_gaps", "find_gaps", "stored_value", "usual_no_data"]

# By which programs mark pixels of which they know nothing, where the file does not say so.
_USUAL = frozenset({-9999.0, -99999.0, -32768.0, -32767.0, float(np.finfo(np.float32).min)})


def find_gaps(values: NDArray[Any], no_data: float | None) -> NDArray[np.bool_] | None:
    """Where there is no data; None where there is data everywhere.

    Args:
        values: of any shape; NaN is no data.
        no_data: another value that is none.
    """
    if values.dtype.kind == "f":
        # Of each row the minimum is NaN where one value is.
        gaps = np.isnan(values) if np.isnan(values.min()) else None
    else:
        gaps = None
    stored = stored_value(no_data, values.dtype)
    if stored is not None:
        equal = values == stored
        if gaps is not None:
            equal |= gaps
        gaps = equal if equal.any() else None
    return gaps


def stored_value(no_data: float | None, dtype: np.dtype[Any]) -> float | None:
    """The number that an array of this type holds for no data; None where it can hold none."""
    if no_data is None or not np.isfinite(no_data):
        return None
    if dtype.kind in "ui":
        limits = np.iinfo(dtype)
        held = no_data % 1 == 0 and limits.min <= no_data <= limits.max
        return int(no_data) if held else None
    with np.errstate(over="ignore"):
        stored = float(dtype.type(no_data))
    return stored if np.isfinite(stored) else None


def usual_no_data(values: NDArray[Any]) -> float | None:
    """The value that stands for no data in a file that names none, where there is no doubt.

    It is the lowest, one of those that are usual, and all others are far above it.
    """
    if values.dtype.kind not in "fi":
        return None
    known = np.isfinite(values)
    lowest = float(values.min(where=known, initial=0))
    if lowest not in _USUAL:
        return None
    others = known & (values != values.dtype.type(lowest))
    return lowest if float(values.min(where=others, initial=0)) > lowest / 2 else None


def fill_gaps(values: NDArray[Any], gaps: NDArray[np.bool_]) -> NDArray[Any]:
    """A copy where every gap has the value of the nearest pixel of its band that has data.

    A band without any data becomes that of the nearest band with some.

    Args:
        values: (bands, H, W).
        gaps: True where there is no data, of the same shape; not everywhere.
    """
    nearest = optional_module("scipy.ndimage").distance_transform_edt
    filled = values.copy()
    whole = gaps.all((1, 2))
    before: NDArray[np.bool_] | None = None
    place: NDArray[np.intp] | None = None
    for band, gap in zip(filled, gaps, strict=True):
        if gap.all() or not gap.any():
            continue
        # Most cubes have no data in the same pixels of all bands.
        if place is None or before is None or not np.array_equal(gap, before):
            place = nearest(gap, return_distances=False, return_indices=True)
            before = gap
        band[...] = band[tuple(place)]
    known = np.flatnonzero(~whole)
    for band_number in np.flatnonzero(whole):
        filled[band_number] = filled[known[np.abs(known - band_number).argmin()]]
    return filled
