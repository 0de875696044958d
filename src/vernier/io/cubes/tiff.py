"""TIFF: one image with a band a plane, a sample or a page."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vernier.extras import optional_module
from vernier.io.cubes.axes import Wavelengths, wavelengths_of
from vernier.io.cubes.cube import (
    Cube,
    CubeError,
    StoredCube,
    check_declared,
    description_of,
    stated_metadata,
    stated_number,
    stated_object,
    stated_value,
)
from vernier.io.cubes.place import GEOTIFF, geotiff_of
from vernier.io.exif import tells_of_layout

__all__ = ["read_tiff", "write_tiff"]

# Tags of GeoTIFF and GDAL, and how they are stored.
_PLACE = {
    **dict.fromkeys((33550, 33922, 34264, 34736, 50844), "d"),
    34735: "H",
    **dict.fromkeys((34737, 42112), "s"),
}
# GDAL's tag for what is known of each band, as XML, and the items that matter: ENVI's names, which
# GDAL keeps, and its own.
_ITEMS = "42112"
_ITEM = re.compile(r'<Item name="(\w+)" sample="(\d+)"[^>]*>([^<]*)</Item>')
_CENTRES = {"wavelength": "", "central_wavelength_um": "um"}
# GDAL's tag for the value that stands for no data.
_NO_DATA = 42113


def _tifffile() -> Any:
    # What is wrong with a file is an error or is of no importance; Python would print its log.
    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return optional_module("tifffile")


def read_tiff(path: Path, key: str | None) -> StoredCube:
    tifffile = _tifffile()
    try:
        with tifffile.TiffFile(path) as file:
            series = [each for each in file.series if not each.keyframe.is_reduced]
            check_declared(
                path, sum(math.prod(each.shape) * each.dtype.itemsize for each in series)
            )
            arrays = [each.asarray() for each in series]
            letters = series[0].axes if series else ""
            page = series[0].keyframe if series else file.pages.first
            description = page.description
            place, no_data = _place(page), stated_value(_tag(page, _NO_DATA))
    except CubeError:
        raise
    except Exception as error:  # tifffile and the codecs raise whatever a damaged file leads to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CubeError(f"{path}: is no TIFF, or a damaged one ({reason})") from None
    if letters == "YX" and len(arrays) == 1:
        arrays, letters = [arrays[0][None]], "CYX"
    if len(arrays) != 1 or arrays[0].ndim != 3 or not {"Y", "X"} <= set(letters):
        shapes = ", ".join("x".join(map(str, array.shape)) for array in arrays)
        raise CubeError(f"{path}: holds {shapes or 'nothing'}, not one cube; give a file with one")
    array, stated = arrays[0], stated_object(description)
    if stated.keys() != {"peak", "wavelengths", "metadata"}:
        stated = {}
    axes: str | None = "".join({"Y": "h", "X": "w"}.get(letter, "c") for letter in letters)
    # Some programs write an H x W x bands array as H pages of W x bands.
    if axes == "chw" and not stated and array.shape[2] < min(array.shape[:2]):
        axes = None
    told = bool(description) and not tells_of_layout(description.encode())
    other = {"description": description} if told else {}
    metadata = stated_metadata(stated) if stated else other
    found = (
        wavelengths_of(stated.get("wavelengths") or [], "nm")
        if stated
        else _centres(place, array.shape[axes.index("c")] if axes else 0)
    )
    return StoredCube(
        array,
        axes,
        stated_number(stated.get("peak")),
        found.centres,
        {**metadata, **place},
        found.notes,
        no_data,
    )


def _centres(place: Mapping[str, Any], bands: int) -> Wavelengths:
    """The wavelengths that GDAL knows, if it knows one of each band."""
    text = place.get(GEOTIFF, {}).get(_ITEMS, "")
    stated: dict[str, dict[int, str]] = {}
    for name, band, value in _ITEM.findall(text):
        stated.setdefault(name.lower(), {})[int(band)] = value.strip()
    for name, unit in _CENTRES.items():
        numbers = stated.get(name, {})
        if numbers.keys() == set(range(bands)):
            units = set(stated.get(f"{name}_units", {}).values())
            listed = [numbers[band] for band in range(bands)]
            return wavelengths_of(listed, unit or (units.pop() if len(units) == 1 else ""))
    return Wavelengths(None)


def _tag(page: Any, code: int) -> Any:
    tag = page.tags.get(code)
    return None if tag is None else tag.value


def _place(page: Any) -> dict[str, Any]:
    """The tags that say where the pixels lie, as metadata."""
    found: dict[str, Any] = {}
    for code, kind in _PLACE.items():
        value = _tag(page, code)
        if kind == "s" and isinstance(value, str):
            found[str(code)] = value
        elif kind != "s" and isinstance(value, tuple):
            found[str(code)] = list(value)
    return {GEOTIFF: found} if found else {}


def write_tiff(cube: Cube, path: Path) -> None:
    place = geotiff_of(cube.metadata)
    plain = {name: value for name, value in cube.metadata.items() if name != GEOTIFF}
    tags = _extra_tags(place)
    if cube.no_data is not None:
        text = f"{cube.no_data:.17g}"
        tags.append((_NO_DATA, "s", len(text) + 1, text, True))
    _tifffile().imwrite(
        path,
        cube.values,
        # One plane is not several.
        planarconfig="separate" if cube.bands > 1 else None,
        photometric="minisblack",
        tile=(128, 128),
        compression="zlib",
        description=description_of(replace(cube, metadata=plain)),
        metadata=None,
        extratags=tags,
    )


def _extra_tags(place: object) -> list[tuple[int, str, int, Any, bool]]:
    """As tifffile takes them; what stands in metadata may come from anywhere."""
    tags: list[tuple[int, str, int, Any, bool]] = []
    for code, kind in _PLACE.items():
        value = place.get(str(code)) if isinstance(place, Mapping) else None
        if kind == "s" and isinstance(value, str) and value.isascii():
            tags.append((code, kind, len(value) + 1, value, True))
        elif kind != "s" and isinstance(value, list) and value:
            number = int if kind == "H" else float
            try:
                tags.append((code, kind, len(value), tuple(number(each) for each in value), True))
            except (TypeError, ValueError):
                continue
    return tags
