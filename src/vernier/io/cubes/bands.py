"""A folder with a gray PNG a band, as CAVE is published."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vernier.imaging.wavelengths import VISIBLE_WAVELENGTHS
from vernier.io.cubes.axes import nanometres
from vernier.io.cubes.cube import (
    Cube,
    CubeError,
    StoredCube,
    description_of,
    stated_metadata,
    stated_object,
)
from vernier.io.files import visible_files
from vernier.io.pictures import Picture, read_picture, write_picture

__all__ = ["folder_of_bands", "read_band_folder", "write_band_folder"]

_BAND_FILE = re.compile(r"(?P<stem>.*?)(?P<number>\d+)\.png", re.IGNORECASE)
_SIDECAR = "cube.json"
# Missing bands that a message names.
_NAMED = 5


def folder_of_bands(folder: Path) -> Path | None:
    """The folder that holds the bands: this one, or the one of the same name inside, as in CAVE.

    Two numbered PNGs make a cube; one does where `write_band_folder` has left its note.
    """
    for place in (folder, folder / folder.name):
        if place.is_dir():
            count = len(_numbered(place))
            if count > 1 or (count == 1 and (place / _SIDECAR).is_file()):
                return place
    return None


def _numbered(folder: Path) -> list[tuple[re.Match[str], Path]]:
    """The files that may be bands, by their names."""
    files = ((_BAND_FILE.fullmatch(path.name), path) for path in visible_files(folder))
    return [(match, path) for match, path in files if match is not None]


def read_band_folder(folder: Path, key: str | None) -> StoredCube:
    place = folder_of_bands(folder)
    if place is None:
        raise CubeError(f"{folder}: holds no numbered PNGs, one a band; check the path")
    found = _numbered(place)
    numbered = {int(match["number"]): path for match, path in found}
    stems = {match["stem"] for match, _ in found}
    if len(stems) > 1 or len(numbered) != len(found):
        raise CubeError(
            f"{place}: the PNGs are not one numbered row ({', '.join(sorted(stems)[:3])}, ...); "
            "keep one cube a folder"
        )
    first, last = min(numbered), max(numbered)
    if last - first + 1 > len(numbered):
        # Pictures named by the time they were taken are billions apart.
        gaps = (n for a, b in pairwise(sorted(numbered)) for n in range(a + 1, b))
        missing = [str(number) for number in islice(gaps, _NAMED)]
        more = ", ..." if last - first + 1 > len(numbered) + _NAMED else ""
        raise CubeError(f"{place}: band {', '.join(missing)}{more} of {first} to {last} is missing")
    pictures = {number: read_picture(numbered[number]) for number in sorted(numbered)}
    kinds: dict[str, list[int]] = {}
    for number, picture in pictures.items():
        channels = picture.pixels.shape[2]
        kind = f"{picture.pixels.itemsize * 8}-bit with {channels} channel{'s' * (channels > 1)}"
        kinds.setdefault(f"{picture.width}x{picture.height}, {kind}", []).append(number)
    if len(kinds) > 1 or pictures[first].pixels.shape[2] != 1:
        listed = "; ".join(f"{_ranges(bands)}: {kind}" for kind, bands in kinds.items())
        raise CubeError(
            f"{place}: bands must be gray pictures of one size and depth, but are {listed}; "
            "leave this scene out, or save all bands as 16-bit gray"
        )
    values = np.stack([picture.pixels[..., 0] for picture in pictures.values()])
    wavelengths: tuple[float, ...] | None = None
    metadata: dict[str, Any] = {}
    peak = pictures[first].peak
    notes: tuple[str, ...] = (f"peak {peak:g}: the PNGs' depth",)
    if (place / _SIDECAR).is_file():
        stated = stated_object((place / _SIDECAR).read_text(encoding="utf-8", errors="replace"))
        metadata = stated_metadata(stated)
        wavelengths = nanometres(stated.get("wavelengths") or [], "nm")
    elif len(values) == 31 and next(iter(stems)).endswith("_ms_"):
        wavelengths = VISIBLE_WAVELENGTHS
        notes += ("400 to 700 nm: the names and the 31 bands are CAVE's",)
    return StoredCube(values, "chw", peak, wavelengths, metadata, notes)


def _ranges(numbers: Sequence[int]) -> str:
    """ "1-3, 5" for 1, 2, 3, 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)


def write_band_folder(cube: Cube, folder: Path) -> None:
    if cube.values.dtype == np.uint8 and cube.peak == 255:
        depth: type[np.uint8 | np.uint16] = np.uint8
        bands = cube.values
    else:
        depth = np.uint16
        gaps = cube.gaps()
        unit = cube.unit() if gaps is None else np.where(gaps, 0, cube.filled().unit())
        bands = np.rint(np.clip(unit, 0, 1).astype(np.float64) * 65535).astype(depth)
    folder.mkdir()
    for number, band in enumerate(bands, start=1):
        write_picture(Picture(band[..., None]), folder / f"band_{number:03d}.png")
    (folder / _SIDECAR).write_text(description_of(cube, peak=False), encoding="utf-8")
