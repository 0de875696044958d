"""Where on the ground a picture lies, before and after it is made larger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from vernier import Upscaler
from vernier.io import Picture, encode_picture, losses_in, read_picture, write_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
SCALE, POINTS, MATRIX, KEYS, NUMBERS, TEXT = 33550, 33922, 34264, 34735, 34736, 34737
GDAL, RPC = 42112, 50844
AREA, POINT = 1, 2
XML = "<GDALMetadata><Item name='AREA'>x</Item></GDALMetadata>"


def keys(raster_type: int) -> tuple[int, ...]:
    return (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, raster_type, 3072, 0, 1, 32632)


def geotiff(
    path: Path, *, raster_type: int = AREA, byteorder: Any = "<", big: bool = False, **tags: Any
) -> Path:
    named = {
        "scale": (SCALE, 12, 3),
        "points": (POINTS, 12, None),
        "matrix": (MATRIX, 12, 16),
        "polynomials": (RPC, 12, 92),
    }
    extra: list[tuple[Any, ...]] = [
        (KEYS, 3, 16, keys(raster_type), True),
        (NUMBERS, 12, 1, (6378137.0,), True),
        (TEXT, 2, 0, "UTM 32N|", True),
        (GDAL, 2, 0, XML, True),
    ]
    for name, values in tags.items():
        code, kind, count = named[name]
        extra.append((code, kind, count or len(values), tuple(values), True))
    with tifffile.TiffWriter(path, byteorder=byteorder, bigtiff=big) as file:
        file.write(PIXELS, photometric="rgb", extratags=extra, metadata=None)
    return path


def tags_of(path: Path) -> dict[int, Any]:
    with tifffile.TiffFile(path) as file:
        return {tag.code: tag.value for tag in file.pages.first.tags.values()}


def ground(tags: dict[int, Any], across: float, down: float) -> np.ndarray:
    """Where a place of the picture, in pixels from its upper left corner, is on the ground."""
    inset = 0.5 if tags[KEYS][11] == POINT else 0.0
    x, y = across - inset, down - inset
    if MATRIX in tags:
        return (np.reshape(tags[MATRIX], (4, 4)) @ [x, y, 0, 1])[:2]
    i, j, _, east, north, _ = tags[POINTS][:6]
    return np.array([east + (x - i) * tags[SCALE][0], north - (y - j) * tags[SCALE][1]])


TURNED = (29.0, 3.0, 0.0, 500_000.0, 3.0, -29.0, 0.0, 4_600_000.0, *(0.0,) * 7, 1.0)
KINDS: dict[str, dict[str, Any]] = {
    "scale": {"scale": (30.0, 20.0, 0.0), "points": (0, 0, 0, 500_000, 4_600_000, 0)},
    "middle": {"scale": (30.0, 20.0, 0.0), "points": (4, 3, 0, 500_000, 4_600_000, 0)},
    "matrix": {"matrix": TURNED},
}


@pytest.mark.parametrize("scale", [2, 1.5])
@pytest.mark.parametrize("raster_type", [AREA, POINT])
@pytest.mark.parametrize("kind", KINDS)
def test_the_ground_stays_where_it_is(
    kind: str, raster_type: int, scale: float, tmp_path: Path
) -> None:
    source = geotiff(tmp_path / "a.tif", raster_type=raster_type, **KINDS[kind])
    larger = Upscaler("sesr-m3", scale=scale).upscale(read_picture(source)).picture
    write_picture(larger, tmp_path / "b.tif")
    before, after = tags_of(source), tags_of(tmp_path / "b.tif")
    for across, down in ((0, 0), (8, 0), (3, 6)):
        moved = ground(after, across * scale, down * scale)
        assert moved == pytest.approx(ground(before, across, down), abs=1e-6)
    assert [after[tag] for tag in (KEYS, NUMBERS, TEXT, GDAL)] == [
        before[tag] for tag in (KEYS, NUMBERS, TEXT, GDAL)
    ]
    assert losses_in(larger, ".tif") == ()
    assert (tmp_path / "b.tif").read_bytes() == encode_picture(larger, "tif")


def test_pixels_that_cover_areas_keep_their_tie_point(tmp_path: Path) -> None:
    picture = read_picture(geotiff(tmp_path / "a.tif", **KINDS["scale"]))
    write_picture(picture.with_pixels(np.zeros((18, 24, 3), np.uint8)), tmp_path / "b.tif")
    after = tags_of(tmp_path / "b.tif")
    assert after[SCALE] == pytest.approx((10, 20 / 3, 0))
    assert after[POINTS] == (0, 0, 0, 500_000, 4_600_000, 0)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_any_byte_order_and_bigtiff(byteorder: str, big: bool, tmp_path: Path) -> None:
    source = geotiff(tmp_path / "a.tif", byteorder=byteorder, big=big, **KINDS["scale"])
    picture = read_picture(source.read_bytes())
    write_picture(picture.with_pixels(np.zeros((12, 16, 3), np.uint8)), tmp_path / "b.tif")
    assert tags_of(tmp_path / "b.tif")[SCALE] == (15, 10, 0)
    assert tags_of(tmp_path / "b.tif")[KEYS] == keys(AREA)


def test_several_tie_points_and_polynomials(tmp_path: Path) -> None:
    terms = np.zeros(92)
    terms[2:9] = (3.0, 4.0, 51.0, 9.0, 100.0, 6.0, 8.0)
    points = (1, 2, 0, 9.0, 51.0, 0, 8, 6, 0, 9.1, 50.9, 0)
    source = geotiff(tmp_path / "a.tif", points=points, polynomials=terms)
    picture = read_picture(source).with_pixels(np.zeros((12, 16, 3), np.uint8))
    write_picture(picture, tmp_path / "b.tif")
    after = tags_of(tmp_path / "b.tif")
    assert after[POINTS] == (2, 4, 0, 9.0, 51.0, 0, 16, 12, 0, 9.1, 50.9, 0)
    # The middle of a pixel is its number: the corner before line 3 is at 2.5, then at 5.
    assert after[RPC][2:4] == (6.5, 8.5)
    assert after[RPC][4:9] == (51.0, 9.0, 100.0, 12.0, 16.0)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif"])
def test_formats_without_a_place_say_so(suffix: str, tmp_path: Path) -> None:
    picture = read_picture(geotiff(tmp_path / "a.tif", **KINDS["scale"]))
    (note,) = losses_in(picture, suffix)
    assert "GeoTIFF" in note
    assert "TIFF does" in note


def test_a_turned_picture_loses_its_place_and_says_so(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    tags = [(274, 3, 1, 6, True), (SCALE, 12, 3, (30.0, 20.0, 0.0), True)]
    tags.append((POINTS, 12, 6, (0, 0, 0, 5.0, 4.0, 0), True))
    tifffile.imwrite(source, PIXELS, photometric="rgb", extratags=tags, metadata=None)
    picture = read_picture(source)
    assert (picture.width, picture.height) == (6, 8)
    assert "georeference" not in picture.metadata
    assert any("place on the ground" in note for note in picture.notes)


def test_damaged_tags_are_left_alone(tmp_path: Path) -> None:
    for block in (b"", b"II*\0", b"II*\0\x08\0\0\0\xff\xff"):
        picture = Picture(PIXELS, metadata={"georeference": block})
        larger = picture.with_pixels(np.zeros((12, 16, 3), np.uint8))
        write_picture(larger, tmp_path / "a.tif")
        assert SCALE not in tags_of(tmp_path / "a.tif")
    geotiff(tmp_path / "b.tif", points=(1, 2, 3))
    picture = read_picture(tmp_path / "b.tif").with_pixels(np.zeros((12, 16, 3), np.uint8))
    write_picture(picture, tmp_path / "c.tif")
    assert tags_of(tmp_path / "c.tif")[POINTS] == (1, 2, 3)


@pytest.mark.parametrize("name", ["a.tfw", "a.tifw", "a.wld", "a.TFW"])
def test_a_world_file_is_told_and_left_alone(name: str, tmp_path: Path) -> None:
    write_picture(Picture(PIXELS), tmp_path / "a.tif")
    assert read_picture(tmp_path / "a.tif").notes == ()
    (tmp_path / name).write_text("30\n0\n0\n-30\n500000\n4600000\n", encoding="ascii")
    (note,) = read_picture(tmp_path / "a.tif").notes
    assert "world file" in note
    assert read_picture((tmp_path / "a.tif").read_bytes()).notes == ()


def test_the_place_is_that_of_the_page_that_is_read(tmp_path: Path) -> None:
    """A preview comes first, with a place of its own."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for pixels, kind, side in ((PIXELS[::2, ::2], 1, 60.0), (PIXELS, 0, 30.0)):
            tags = [
                (SCALE, 12, 3, (side, side, 0.0), True),
                (POINTS, 12, 6, (0, 0, 0, 5.0, 4.0, 0), True),
            ]
            file.write(pixels, photometric="rgb", subfiletype=kind, extratags=tags, metadata=None)
    picture = read_picture(tmp_path / "a.tif")
    assert picture.width == PIXELS.shape[1]
    write_picture(picture, tmp_path / "b.tif")
    assert tags_of(tmp_path / "b.tif")[SCALE] == (30, 30, 0)
