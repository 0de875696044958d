"""A cube, and what a file says of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vernier.errors import InputError

__all__ = [
    "Cube",
    "CubeError",
    "StoredCube",
    "description_of",
    "stated_metadata",
    "stated_number",
    "stated_object",
]


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

    def unit(self) -> np.ndarray:
        """The values divided by the peak: (bands, H, W) float32, not clipped.

        Raises:
            CubeError: the peak is not known, or a value is not a number.
        """
        if self.peak is None and np.isfinite(self.values).all():
            raise CubeError(
                f"values go from {self.values.min():g} to {self.values.max():g} and nothing says "
                "which one stands for full light; pass --peak, such as 1, 1023, 4095 or 65535"
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
        peak, wavelengths, metadata, notes: as those of `Cube`.
    """

    array: np.ndarray
    axes: str | None = None
    peak: float | None = None
    wavelengths: tuple[float, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


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
    item = value
    if isinstance(value, np.ndarray | np.generic):
        item = value.item() if value.size == 1 else None
    if isinstance(item, bytes):
        item = item.decode(errors="replace")
    if isinstance(item, bool) or not isinstance(item, str | int | float):
        return None
    try:
        number = float(item)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
