"""A cube, and what a file says of it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vernier.errors import InputError
from vernier.io.cubes.gaps import fill_gaps, find_gaps

__all__ = [
    "Cube",
    "CubeError",
    "StoredCube",
    "check_declared",
    "description_of",
    "stated_metadata",
    "stated_number",
    "stated_object",
    "stated_value",
]


# A number with commas between thousands.
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
# Bytes that any file may declare, and how many times its own size beyond: deflate packs zeros a
# thousand times, and nothing that was measured half as well.
_FREE = 2**26
_MOST_PACKED = 500


class CubeError(InputError):
    """A cube cannot be read or written; the message is one line."""


@dataclass(frozen=True, eq=False)
class Cube:
    """A cube as its file holds it, bands first.

    Attributes:
        values: (bands, H, W), integer or floating point, as stored.
        peak: the value that stands for 1 (full light, or a reflectance of 1); None where nothing
            tells.
        wavelengths: centre of each band in nanometres; None where the file is silent.
        metadata: what else the file says, for people and for the next file.
        notes: what was recognised rather than stated, for people.
        no_data: the value that stands for no data, beside NaN; None where there is none.

    Raises:
        CubeError: values that are no cube, another number of wavelengths than of bands, a peak
            that is not above 0.

    Example:
        >>> values = np.full((3, 8, 9), 2048, np.uint16)
        >>> cube = Cube(values, peak=4095.0, wavelengths=(450.0, 550.0, 650.0))
        >>> cube.bands, cube.height, cube.width
        (3, 8, 9)
        >>> round(float(cube.unit()[0, 0, 0]), 3)
        0.5
    """

    values: np.ndarray = field(repr=False)
    peak: float | None = None
    wavelengths: tuple[float, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    no_data: float | None = None

    def __post_init__(self) -> None:
        shape, kind = self.values.shape, self.values.dtype.kind
        if len(shape) != 3 or 0 in shape or kind not in "uif":
            raise CubeError(
                f"an array of shape {shape} and type {self.values.dtype} is no cube; "
                "give (bands, height, width) of real numbers"
            )
        if self.wavelengths is not None and len(self.wavelengths) != shape[0]:
            raise CubeError(f"{len(self.wavelengths)} wavelengths for {shape[0]} bands")
        if self.peak is not None and not (math.isfinite(self.peak) and self.peak > 0):
            raise CubeError(f"peak {self.peak}: give a number above 0")

    @property
    def bands(self) -> int:
        return int(self.values.shape[0])

    @property
    def height(self) -> int:
        return int(self.values.shape[1])

    @property
    def width(self) -> int:
        return int(self.values.shape[2])

    def gaps(self) -> NDArray[np.bool_] | None:
        """Where there is no data, (bands, H, W); None where there is data everywhere."""
        return find_gaps(self.values, self.no_data)

    def filled(self) -> Cube:
        """A cube without gaps: each takes the value of the nearest pixel that has data.

        Raises:
            CubeError: there is no data at all.
        """
        gaps = self.gaps()
        if gaps is None:
            return self
        if gaps.all():
            raise CubeError(f"has no data at all: {self._gap_names()} everywhere")
        return replace(self, values=fill_gaps(self.values, gaps), no_data=None)

    def limits(self) -> tuple[float, float]:
        """The lowest and the highest value where there is data; NaN where there is none."""
        gaps = self.gaps()
        if gaps is None:
            return float(self.values.min()), float(self.values.max())
        known = self.values[~gaps]
        return (float(known.min()), float(known.max())) if known.size else (math.nan, math.nan)

    def told_gaps(self) -> str | None:
        """How much is without data, in words; None where nothing is."""
        gaps = self.gaps()
        if gaps is None:
            return None
        share = 100 * np.count_nonzero(gaps) / gaps.size
        return f"{self._gap_names()} at {share:.2g} % of the values"

    def _gap_names(self) -> str:
        named = [] if self.no_data is None else [f"{self.no_data:g}"]
        if self.values.dtype.kind == "f" and np.isnan(self.values.min()) and "nan" not in named:
            named.append("NaN")
        return " and ".join(named)

    def unit(self) -> np.ndarray:
        """The values divided by the peak: (bands, H, W) float32, not clipped.

        Raises:
            CubeError: the peak is not known, or a value is no number or stands for no data.
        """
        lowest, highest = self.limits()
        if self.peak is None and math.isfinite(lowest) and math.isfinite(highest):
            raise CubeError(
                f"values go from {lowest:g} to {highest:g} and nothing says "
                "which one stands for full light; pass --peak, such as 1, 1023, 4095 or 65535"
            )
        if told := self.told_gaps():
            raise CubeError(
                f"has no data ({told}): fill these first, or cut the part out that has data"
            )
        unit = np.empty(self.values.shape, np.float32)
        # Band by band: of integers the quotient is in float64, twice the cube.
        with np.errstate(over="ignore", invalid="ignore"):
            for band, stored in zip(unit, self.values, strict=True):
                band[...] = stored / (self.peak or 1.0)
        if not np.isfinite(unit).all():
            if np.isfinite(self.values).all():
                raise CubeError("holds values too large for their peak; pass the right --peak")
            raise CubeError("holds values that are not finite: fill or mask them")
        return unit


@dataclass(frozen=True)
class StoredCube:
    """What a file says, before it is known which axis holds the bands.

    Attributes:
        array: as stored; three axes make a cube.
        axes: their order, a permutation of "chw", where the file or its format tells.
        peak, wavelengths, metadata, notes, no_data: as those of `Cube`.
    """

    array: np.ndarray
    axes: str | None = None
    peak: float | None = None
    wavelengths: tuple[float, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    no_data: float | None = None


def description_of(cube: Cube, *, peak: bool = True) -> str:
    """What is known of a cube beside its values, as JSON, for formats without fields for it."""
    stated: dict[str, Any] = {"peak": cube.peak} if peak else {}
    stated |= {"wavelengths": cube.wavelengths, "metadata": dict(cube.metadata)}
    return json.dumps(stated, default=str)


def stated_object(text: str | None) -> dict[str, Any]:
    """The object that a file states as JSON; empty where it states none."""
    try:
        found = json.loads(text or "")
    # Text of a file may be nested as deep as it likes.
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def stated_metadata(stated: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata among what `description_of` has stated; empty where there are none."""
    metadata = stated.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def stated_number(value: object) -> float | None:
    """The finite number above 0 that a file states, such as a peak; None where it states none."""
    number = stated_value(value)
    return number if number is not None and math.isfinite(number) and number > 0 else None


def stated_value(value: object) -> float | None:
    """The number that a file states, which may be NaN; None where it states none.

    Text may have braces around it, as ENVI's lists have, and commas between thousands.
    """
    item = value
    if isinstance(value, np.ndarray | np.generic):
        item = value.item() if value.size == 1 else None
    if isinstance(item, bytes):
        item = item.decode(errors="replace")
    if isinstance(item, str):
        item = item.strip().strip("\0{}[]() \t")
        if _THOUSANDS.fullmatch(item):
            item = item.replace(",", "")
    if isinstance(item, bool) or not isinstance(item, str | int | float):
        return None
    try:
        return float(item)
    except (ValueError, OverflowError):
        return None


def check_declared(path: Path, declared: int) -> None:
    """Refuse a file that declares far more than it can hold, before memory is taken for it.

    Args:
        path: the file.
        declared: bytes that its arrays would take.

    Raises:
        CubeError: so it is.
    """
    if declared > max(_FREE, _MOST_PACKED * path.stat().st_size):
        raise CubeError(
            f"{path}: declares {declared / 2**20:,.0f} MiB of values, which its "
            f"{path.stat().st_size / 2**20:.3g} MiB cannot hold: the file is damaged, or empty"
        )
