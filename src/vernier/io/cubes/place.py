"""Where a cube lies on the ground: what its file says, for finer pixels and for other formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vernier.io.exif import Field
from vernier.io.georeference import scaled_tags

__all__ = ["GEOTIFF", "finer_pixels", "geotiff_of", "has_place", "map_info_of"]

GEOTIFF = "geotiff"
"""The metadata's name for the tags of GeoTIFF and GDAL: their numbers, as text, and values."""

_PIXEL_SCALE, _TIEPOINTS, _MATRIX, _POLYNOMIALS = "33550", "33922", "34264", "50844"
_LOCATING = frozenset({_PIXEL_SCALE, _TIEPOINTS, _MATRIX, _POLYNOMIALS})
_KEYS = "34735"
# Of the directory of keys.
_MODEL, _RASTER, _GEOGRAPHIC, _PROJECTED = 1024, 1025, 2048, 3072
_WGS84 = 4326
# EPSG's codes of the zones of UTM on WGS 84.
_UTM = {"north": 32600, "south": 32700}


def has_place(metadata: Mapping[str, Any]) -> bool:
    """Whether metadata say where the pixels lie."""
    tags = metadata.get(GEOTIFF)
    located = isinstance(tags, Mapping) and not _LOCATING.isdisjoint(tags)
    return located or "map info" in metadata


def finer_pixels(
    metadata: Mapping[str, Any], factor: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Metadata of a cube for the same ground in smaller pixels.

    Args:
        metadata: as a `Cube` has them.
        factor: new pixels per old one, along each axis.

    Returns:
        The metadata, and a note for each field that cannot be told for the new pixels and is left
        out.
    """
    if factor == 1:
        return dict(metadata), ()
    finer: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    for name, value in metadata.items():
        change = _CHANGES.get(" ".join(name.lower().split()))
        if change is None:
            finer[name] = value
            continue
        try:
            finer[name] = change(value, factor)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, ArithmeticError):
            notes += (f"{name} left out: it does not say where the new pixels lie",)
    return finer, notes


def _moved(value: object, factor: int) -> float:
    """A position that counts pixels from 1, their upper left corners."""
    return (float(str(value)) - 1) * factor + 1


def _number(value: float) -> str:
    return f"{value:.15g}"


def _start(value: object, factor: int) -> str:
    return _number(_moved(value, factor))


def _map_info(value: Sequence[object], factor: int) -> list[object]:
    name, column, row, x, y, width, height, *rest = _listed(value)
    return [
        *(name, _start(column, factor), _start(row, factor), x, y),
        *(_number(float(str(side)) / factor) for side in (width, height)),
        *rest,
    ]


def _pixel_size(value: Sequence[object], factor: int) -> list[object]:
    width, height, *rest = _listed(value)
    return [*(_number(float(str(side)) / factor) for side in (width, height)), *rest]


def _geo_points(value: Sequence[object], factor: int) -> list[object]:
    # Column, row, latitude, longitude, and the next point.
    return [
        _start(each, factor) if index % 4 < 2 else each for index, each in enumerate(_listed(value))
    ]


def _listed(value: Sequence[object]) -> list[object]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{value!r} is no list")
    return list(value)


def _cannot(value: object, factor: int) -> object:
    raise ValueError("not known for other pixels")


def _geotiff(tags: Mapping[str, Any], factor: int) -> dict[str, Any]:
    fields: dict[int, Field] = {}
    for name, value in tags.items():
        if isinstance(value, list):
            numbers = np.array(value, "<u2" if name == _KEYS else "<f8")
            fields[int(name)] = (3 if name == _KEYS else 12, len(value), numbers.tobytes())
    scaled = scaled_tags(fields, "<", factor, factor)
    finer = {
        str(tag): np.frombuffer(content, "<u2" if kind == 3 else "<f8").tolist()
        for tag, (kind, _, content) in scaled.items()
    }
    return {**tags, **finer}


_CHANGES: Mapping[str, Callable[[Any, int], object]] = {
    "map info": _map_info,
    "pixel size": _pixel_size,
    "x start": _start,
    "y start": _start,
    "geo points": _geo_points,
    "rpc info": _cannot,
    "major frame offsets": _cannot,
    "minor frame offsets": _cannot,
    GEOTIFF: _geotiff,
}


def _geo_keys(tags: Mapping[str, Any]) -> dict[int, int]:
    """The keys whose values stand in the directory itself."""
    numbers = [int(each) for each in tags.get(_KEYS, ())]
    entries = (numbers[place : place + 4] for place in range(4, len(numbers) - 3, 4))
    return {key: value for key, where, _, value in entries if where == 0}


def map_info_of(metadata: Mapping[str, Any]) -> object:
    """ENVI's field, stated or converted from the tags of a GeoTIFF; None where neither can be."""
    return metadata.get("map info") or _as_map_info(metadata)


def geotiff_of(metadata: Mapping[str, Any]) -> object:
    """The tags of a GeoTIFF, stated or converted from ENVI's field; None where neither can be."""
    return metadata.get(GEOTIFF) or _as_geotiff(metadata)


def _as_map_info(metadata: Mapping[str, Any]) -> list[str] | None:
    """ENVI's field of what a GeoTIFF's tags say: of WGS 84 in degrees, or in a zone of UTM.

    None where they say something else, or nothing.
    """
    try:
        tags = metadata[GEOTIFF]
        width, height, _ = map(float, tags[_PIXEL_SCALE])
        column, row, _, x, y, *more = map(float, tags[_TIEPOINTS])
        keys = _geo_keys(tags)
    except (KeyError, TypeError, ValueError):
        return None
    if len(more) > 1 or _MATRIX in tags:
        return None
    to_centre = 0.5 if keys.get(_RASTER) == 2 else 0.0
    place = [
        *(_number(each + to_centre + 1) for each in (column, row)),
        *(_number(each) for each in (x, y, width, height)),
    ]
    code = keys.get(_PROJECTED, 0)
    for side, first in _UTM.items():
        if first < code <= first + 60:
            zone = str(code - first)
            return ["UTM", *place, zone, side.capitalize(), "WGS-84", "units=Meters"]
    if _PROJECTED not in keys and keys.get(_GEOGRAPHIC) == _WGS84:
        return ["Geographic Lat/Lon", *place, "WGS-84", "units=Degrees"]
    return None


def _as_geotiff(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """The tags of a GeoTIFF for what ENVI's ``map info`` says, where `_as_map_info` would say it.

    None where it says something else, or nothing.
    """
    try:
        name, *numbers = _listed(metadata["map info"])
        column, row, x, y, width, height = (float(str(each)) for each in numbers[:6])
    except (KeyError, TypeError, ValueError):
        return None
    rest = [str(each).strip().lower() for each in numbers[6:]]
    turned = any(each.startswith("rotation") and float(each[9:].strip("= ") or 0) for each in rest)
    if turned or "wgs-84" not in rest:
        return None
    kind = str(name).strip().lower()
    if kind == "utm" and len(rest) > 1 and rest[0].isdigit() and rest[1] in _UTM:
        keys = [_MODEL, 0, 1, 1, _RASTER, 0, 1, 1, _PROJECTED, 0, 1, _UTM[rest[1]] + int(rest[0])]
    elif kind == "geographic lat/lon":
        keys = [_MODEL, 0, 1, 2, _RASTER, 0, 1, 1, _GEOGRAPHIC, 0, 1, _WGS84]
    else:
        return None
    return {
        _PIXEL_SCALE: [width, height, 0.0],
        _TIEPOINTS: [column - 1, row - 1, 0.0, x, y, 0.0],
        _KEYS: [1, 1, 0, 3, *keys],
    }
