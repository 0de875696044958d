"""Where on the ground a TIFF picture lies: GeoTIFF's tags and GDAL's, for pictures made larger.

OGC GeoTIFF 1.1, annex B; GDAL's tag 42112; the tag of rational polynomials (RPC in GeoTIFF,
50844). A picture of twice the size has pixels of half the size: tags that are copied
unchanged would spread it over four times the ground.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vernier.io.exif import DAMAGE, Directory, Field, TiffStructure, packed

__all__ = [
    "GEOREFERENCE_TAGS",
    "has_place",
    "has_world_file",
    "scaled_georeference",
    "scaled_tags",
]

PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, POLYNOMIALS = 33550, 33922, 34264, 50844
_KEYS, _KEY_NUMBERS, _KEY_TEXT = 34735, 34736, 34737
_GDAL_METADATA = 42112
GEOREFERENCE_TAGS = frozenset(
    {
        *(PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, POLYNOMIALS, _KEYS, _KEY_NUMBERS, _KEY_TEXT),
        _GDAL_METADATA,
    }
)
"""The tags that are kept, from TIFF to TIFF."""

_DOUBLE = 12
_RASTER_TYPE, _IS_POINT = 1025, 2


def has_place(block: bytes) -> bool:
    """Whether a block says where the picture lies, and not only what GDAL adds to any picture."""
    try:
        tiff = TiffStructure.parse(block)
        tags = tiff.entries(tiff.start)[0].keys()
    except DAMAGE:
        return False
    return bool(tags & {PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, POLYNOMIALS})


def has_world_file(path: Path) -> bool:
    """Whether a text file beside a picture says where it lies: a.tfw, a.tifw or a.wld for a.tif."""
    suffix = path.suffix[1:]
    if not suffix:
        return False
    ends = {f"{suffix[0]}{suffix[-1]}w", f"{suffix}w", "wld"}
    return any(
        path.with_suffix(f".{each}").is_file()
        for each in sorted(ends | {end.upper() for end in ends})
    )


def scaled_georeference(block: bytes, across: float, down: float) -> bytes:
    """The tags of a picture, for the same picture with finer pixels.

    Args:
        block: a TIFF structure that holds the tags.
        across, down: how many of the new pixels there are to an old one.
    """
    try:
        tiff = TiffStructure.parse(block)
        tags = tiff.fields(tiff.start)
    except DAMAGE:
        return block
    values = {tag: field for tag, field in tags.items() if not isinstance(field, dict)}
    scaled: Directory = dict(scaled_tags(values, tiff.order, across, down))
    head = struct.pack(tiff.order + "2sHI", b"II" if tiff.order == "<" else b"MM", 42, 8)
    return head + packed(scaled, tiff.order, big=False, start=8)


def scaled_tags(
    tags: Mapping[int, Field], order: str, across: float, down: float
) -> dict[int, Field]:
    """The same for tags one by one.

    The ground under a corner of the picture stays where it is. Pixels that stand for points have
    their origin half a pixel inside of it, and so tie points of such pictures move in the raster.

    Args:
        order: the byte order of the values, "<" or ">".
    """
    scaled = dict(tags)
    # From the corner of the picture to the origin of its raster, in pixels of either size.
    inset = 0.5 if _stands_for_points(tags, order) else 0.0
    factors = np.array([across, down])
    shift = inset * factors - inset
    if (scale := _doubles(tags, PIXEL_SCALE, order)) is not None and len(scale) >= 2:
        scale[:2] /= factors
        scaled[PIXEL_SCALE] = _field(scale, order)
    if (points := _doubles(tags, TIE_POINTS, order)) is not None and len(points) % 6 == 0:
        points = points.reshape(-1, 6)
        points[:, :2] = points[:, :2] * factors + shift
        scaled[TIE_POINTS] = _field(points.ravel(), order)
    if (matrix := _doubles(tags, TRANSFORMATION, order)) is not None and len(matrix) == 16:
        matrix = matrix.reshape(4, 4)
        matrix[:, :2] /= factors
        matrix[:, 3] -= matrix[:, :2] @ shift
        scaled[TRANSFORMATION] = _field(matrix.ravel(), order)
    if (terms := _doubles(tags, POLYNOMIALS, order)) is not None and len(terms) >= 9:
        # Lines before samples, both counted from the middle of the first pixel.
        terms[2:4] = (terms[2:4] + 0.5) * factors[::-1] - 0.5
        terms[7:9] *= factors[::-1]
        scaled[POLYNOMIALS] = _field(terms, order)
    return scaled


def _stands_for_points(tags: Mapping[int, Field], order: str) -> bool:
    if _KEYS not in tags:
        return False
    _, _, value = tags[_KEYS]
    keys = np.frombuffer(value, order + "u2", len(value) // 2)
    rows = keys[4 : 4 + len(keys[4:]) // 4 * 4].reshape(-1, 4)
    return any(
        (key, place, number) == (_RASTER_TYPE, 0, _IS_POINT) for key, place, _, number in rows
    )


def _doubles(tags: Mapping[int, Field], tag: int, order: str) -> NDArray[np.float64] | None:
    if tag not in tags or tags[tag][0] != _DOUBLE:
        return None
    return np.frombuffer(tags[tag][2], order + "f8").astype(np.float64)


def _field(values: NDArray[np.float64], order: str) -> Field:
    return _DOUBLE, len(values), values.astype(order + "f8").tobytes()
