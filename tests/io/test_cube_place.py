"""Where a cube lies on the ground: told for the pixels that are written, or a note."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from vernier.io.cubes import Cube, read_cube, write_cube
from vernier.io.cubes.place import finer_pixels

UTM = ["UTM", "1", "1", "500000", "4500000", "30", "30", "33", "North", "WGS-84", "units=Meters"]
KEYS = [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633]
TAGS = {
    "33550": [30.0, 30.0, 0.0],
    "33922": [0.0, 0.0, 0.0, 500000.0, 4500000.0, 0.0],
    "34735": KEYS,
}


def cube(**metadata: Any) -> Cube:
    return Cube(np.zeros((3, 4, 5), np.uint16), 255.0, metadata=metadata)


def test_envi_fields_are_told_for_the_new_pixels() -> None:
    finer, notes = finer_pixels(
        {
            "map info": ["UTM", "1.5", "2", "5", "6", "30", "15", "33", "South", "WGS-84"],
            "pixel size": ["30", "15", "units=Meters"],
            "x start": "101",
            "y start": "1",
            "geo points": ["1", "1", "45.0", "10.0", "5", "3", "45.1", "10.1"],
            "projection info": ["3", "6378137.0"],
            "sensor": "x",
        },
        4,
    )
    assert finer == {
        "map info": ["UTM", "3", "5", "5", "6", "7.5", "3.75", "33", "South", "WGS-84"],
        "pixel size": ["7.5", "3.75", "units=Meters"],
        "x start": "401",
        "y start": "1",
        "geo points": ["1", "1", "45.0", "10.0", "17", "9", "45.1", "10.1"],
        "projection info": ["3", "6378137.0"],
        "sensor": "x",
    }
    assert notes == ()


@pytest.mark.parametrize(
    "field",
    [
        {"map info": "none"},
        {"map info": ["UTM", "1"]},
        {"map info": 7},
        {"pixel size": ["wide", "high"]},
        {"x start": "left"},
        {"rpc info": ["1"] * 90},
        {"geotiff": {"33550": ["wide"]}},
        {"geotiff": "none"},
    ],
)
def test_what_cannot_be_told_is_left_out_with_a_note(field: dict[str, Any]) -> None:
    finer, notes = finer_pixels({**field, "sensor": "x"}, 2)
    assert finer == {"sensor": "x"}
    assert [next(iter(field)) in note for note in notes] == [True]


def test_the_ground_under_the_corners_stays_where_it_is() -> None:
    """Pixel scale and tie point, a matrix, and positions of pixels' centres, checked by corners."""
    matrix = [20.0, 5.0, 0.0, 1000.0, 5.0, -20.0, 0.0, 2000.0, *[0.0] * 4, 0.0, 0.0, 0.0, 1.0]
    for raster in (1, 2):
        keys = [*KEYS[:11], raster, *KEYS[12:]]
        before = {**TAGS, "34264": matrix, "34735": keys}
        after = finer_pixels({"geotiff": before}, 3)[0]["geotiff"]
        inset = 0.5 if raster == 2 else 0.0
        for column, row in ((0.0, 0.0), (5.0, 4.0)):
            places = []
            for tags, factor in ((before, 1), (after, 3)):
                at = (column * factor - inset, row * factor - inset)
                m = np.array(tags["34264"]).reshape(4, 4)
                tie, scale = tags["33922"], tags["33550"]
                places.append(
                    (
                        *(m @ (*at, 0, 1))[:2],
                        tie[3] + (at[0] - tie[0]) * scale[0],
                        tie[4] - (at[1] - tie[1]) * scale[1],
                    )
                )
            np.testing.assert_allclose(places[0], places[1])
        assert after["33550"] == [10.0, 10.0, 0.0]


def test_a_geotiff_comes_back_as_one_that_others_read(tmp_path: Path) -> None:
    keys = {"34736": [6378137.0, 298.25], "34737": "WGS 84 / UTM zone 33N|", "42112": "<GDAL/>"}
    stated = cube(geotiff={**TAGS, **keys}, sensor="x")
    assert write_cube(stated, tmp_path / "a.tif") == ()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        meta = file.geotiff_metadata
        assert meta is not None
        assert meta["ModelPixelScale"] == [30.0, 30.0, 0.0]
        assert meta["ProjectedCSTypeGeoKey"] == 32633
        assert "geotiff" not in file.pages.first.description
    assert read_cube(tmp_path / "a.tif").metadata == stated.metadata


def test_zones_of_utm_and_degrees_go_from_one_format_to_the_other(tmp_path: Path) -> None:
    write_cube(cube(geotiff=TAGS), tmp_path / "a.hdr")
    assert read_cube(tmp_path / "a.hdr").metadata == {"map info": UTM}
    for place in (
        UTM,
        ["UTM", "2.5", "1", "500000", "4500000", "30", "20", "1", "South", "WGS-84"],
        ["Geographic Lat/Lon", "1", "1", "10.5", "45.25", "0.001", "0.002", "WGS-84"],
    ):
        write_cube(cube(**{"map info": place}), tmp_path / "b.tif")
        metadata = read_cube(tmp_path / "b.tif").metadata
        write_cube(cube(geotiff=metadata["geotiff"]), tmp_path / "c.hdr")
        back = read_cube(tmp_path / "c.hdr").metadata["map info"]
        assert back[: len(place)] == place


@pytest.mark.parametrize(
    ("metadata", "name", "told"),
    [
        ({"map info": UTM}, "a.h5", "other programs do not look"),
        ({"geotiff": TAGS}, "a.mat", "other programs do not look"),
        ({"map info": UTM}, "a.npy", "NPY holds no georeference"),
        ({"map info": UTM}, "bands", "other programs do not look"),
        ({"map info": ["Lambert", *UTM[1:7], "WGS-84"]}, "a.tif", "cannot be written"),
        ({"map info": [*UTM, "rotation=30"]}, "a.tif", "cannot be written"),
        ({"geotiff": {**TAGS, "34735": [*KEYS[:15], 3857]}}, "a.hdr", "cannot be written"),
    ],
)
def test_a_format_that_cannot_hold_a_place_says_so(
    tmp_path: Path, metadata: dict[str, Any], name: str, told: str
) -> None:
    (note,) = write_cube(cube(**metadata), tmp_path / name)
    assert told in note
    assert write_cube(cube(sensor="x", geotiff={"42112": "<GDAL/>"}), tmp_path / "b.h5") == ()
