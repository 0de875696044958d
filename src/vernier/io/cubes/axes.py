"""The order of the axes, the peak and the wavelengths: what is certain where a file is silent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vernier.io.cubes.cube import Cube, CubeError, StoredCube

__all__ = [
    "AXES",
    "Wavelengths",
    "bands_first",
    "nanometres",
    "wavelengths_of",
    "with_certain_peak",
]

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
    if cube.values.dtype.kind != "f":
        return cube
    lowest, highest = cube.limits()
    if lowest >= 0 and highest <= 1:
        return replace(cube, peak=1.0, notes=(*cube.notes, "peak 1: all values are in [0, 1]"))
    return cube


class Wavelengths(NamedTuple):
    """What numbers and their unit tell.

    Attributes:
        centres: in nanometres; None where the numbers cannot be wavelengths.
        factor: nanometres per stated unit, which widths of bands share; None where the unit is a
            frequency, or there are no wavelengths.
        notes: where the unit was not taken at its word, for people.
    """

    centres: tuple[float, ...] | None
    factor: float | None = None
    notes: tuple[str, ...] = ()


def nanometres(values: object, unit: str = "") -> tuple[float, ...] | None:
    """Wavelengths in nanometres; None where the numbers cannot be wavelengths."""
    return wavelengths_of(values, unit).centres


def wavelengths_of(values: object, unit: str = "") -> Wavelengths:
    """Wavelengths in nanometres, whatever unit they are stated in.

    A unit that leads out of what any instrument for light sees is not believed, with a note.

    Args:
        values: numbers, or texts of numbers, in any shape.
        unit: a length, "wavenumber" (per centimetre), a frequency, "index" (the numbers count
            bands), or anything else, which says nothing.
    """
    try:
        flat = np.asarray(values, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        return Wavelengths(None)
    if not len(flat) or not np.isfinite(flat).all() or flat.min() <= 0:
        return Wavelengths(None)
    word = unit.strip().lower()
    if word == "index":
        return Wavelengths(None)
    for names, factor, is_length in _UNITS:
        if word and word.startswith(names):
            stated = flat * factor if is_length else factor / flat
            if _are_light(stated):
                note = () if is_length else (f"wavelengths converted from {unit.strip()}",)
                return Wavelengths(_rounded(stated), factor if is_length else None, note)
            break
    else:
        guessed = _factor_of(flat)
        return Wavelengths(None if guessed is None else _rounded(flat * guessed), guessed)
    numbers = f"{flat.min():g} to {flat.max():g} {unit.strip()}"
    guessed = _factor_of(flat)
    if guessed is None or not _are_light(flat * guessed):
        return Wavelengths(None, None, (f"wavelengths left out: {numbers} cannot be light",))
    taken = "nanometres" if guessed == 1 else "micrometres"
    return Wavelengths(
        _rounded(flat * guessed),
        guessed,
        (f"wavelengths taken for {taken}: {numbers} cannot be light",),
    )


# How the name of a unit begins, nanometres per unit, and whether it is a length; of the others the
# wavelength is the number divided by the value.
_UNITS: tuple[tuple[tuple[str, ...], float, bool], ...] = (
    (("nano", "nm"), 1.0, True),
    (("micro", "um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m"), 1e3, True),
    (("angstrom", "\N{LATIN SMALL LETTER A WITH RING ABOVE}"), 0.1, True),
    (("wavenumber", "cm-1", "1/cm", "cm^-1"), 1e7, False),
    (("millim", "mm"), 1e6, True),
    (("centim", "cm"), 1e7, True),
    (("meter", "metre"), 1e9, True),
    (("ghz", "gigah"), 299792458.0, False),
    (("mhz", "megah"), 299792458e3, False),
)


def _are_light(flat: np.ndarray) -> bool:
    """Whether numbers can be wavelengths of light in nanometres: from X-rays to a tenth of a mm."""
    return bool(flat.min() >= 100 and flat.max() <= 1e5)


def _factor_of(flat: np.ndarray) -> float | None:
    """Nanometres per unit, where no unit is stated; None for numbers that count bands."""
    # Light of interest has 0.2 to 30 micrometres; whole numbers that small count bands.
    if flat.max() < 30 and not np.array_equal(flat, np.rint(flat)):
        return 1e3
    return None if flat.min() < 100 else 1.0


def _rounded(flat: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in flat)
