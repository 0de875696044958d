"""Formats beside libvips' own: what is written is read again, by us and by the usual readers."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vernier.io import (
    PICTURE_SUFFIXES,
    Picture,
    PictureError,
    encode_picture,
    losses_in,
    picture_size,
    read_picture,
    write_picture,
)
from vernier.io.picture_formats import FORMATS, OTHER_FORMATS
from vernier.upscaling.files import upscale_files

ROOT = Path(__file__).parents[2]
WRITTEN = [each for each in FORMATS if each.key in OTHER_FORMATS and each.is_written]
NEEDS = {"exr": "OpenEXR", "jxl": "imagecodecs", "jp2": "imagecodecs"}


def pixels_of(dtype: np.dtype, channels: int) -> np.ndarray:
    random = np.random.default_rng(channels)
    if dtype == np.float32:
        return random.random((13, 17, channels), np.float32) + np.float32(0.01)
    return random.integers(1, np.iinfo(dtype).max + 1, (13, 17, channels), dtype)


@pytest.mark.parametrize("each", WRITTEN, ids=lambda each: each.name)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_bit_comes_back(each: object, channels: int, tmp_path: Path) -> None:
    assert isinstance(each, type(FORMATS[0]))
    pytest.importorskip(NEEDS.get(each.key, "PIL"))
    for dtype in each.dtypes:
        pixels = pixels_of(dtype, channels)
        for suffix in each.suffixes:
            path = tmp_path / f"a{suffix}"
            if each.key == "jp2" and channels == 2:
                continue
            write_picture(Picture(pixels), path, quality=100)
            picture = read_picture(path)
            size = picture.width, picture.height, picture.pixels.shape[2]
            assert picture_size(path) == picture_size(path.read_bytes()) == size
            np.testing.assert_array_equal(picture.pixels, read_picture(path.read_bytes()).pixels)
            assert picture.source_format == each.key
            assert picture.pixels.dtype == dtype
            expected = pixels
            if channels in (2, 4) and not each.alpha:
                expected = np.asarray(read_picture(path).pixels)
                peak = 1 if dtype == np.float32 else np.iinfo(dtype).max
                share = pixels[..., -1:] / peak
                laid = pixels[..., :-1] * share + peak * (1 - share)
                assert np.abs(expected - laid).max() <= 0.51 * (dtype != np.float32) + 1e-6
                assert any("laid over white" in told for told in losses_in(Picture(pixels), suffix))
            if each.key == "exr":
                np.testing.assert_allclose(picture.pixels, expected, rtol=1e-6)
            else:
                np.testing.assert_array_equal(picture.pixels, expected)
            content = encode_picture(Picture(pixels), suffix, quality=100)
            np.testing.assert_array_equal(read_picture(content).pixels, picture.pixels)


@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".tga", ".jp2"])
def test_usual_readers_read_it(suffix: str, tmp_path: Path) -> None:
    pixels = pixels_of(np.dtype(np.uint8), 3)
    write_picture(Picture(pixels), tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as opened:
        np.testing.assert_array_equal(np.asarray(opened), pixels)


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        *((".bmp", mode) for mode in ("1", "L", "P", "RGB")),
        *((".ppm", mode) for mode in ("1", "L", "RGB")),
        *((".tga", mode) for mode in ("1", "L", "P", "RGB", "RGBA")),
        *((".jp2", mode) for mode in ("L", "RGB", "RGBA")),
    ],
)
def test_what_usual_writers_write_is_read(suffix: str, mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(pixels_of(np.dtype(np.uint8), 4)).convert(mode)
    image.save(tmp_path / f"a{suffix}")
    channels = {"1": 1, "L": 1, "P": 3, "RGB": 3, "RGBA": 4}[mode]
    expected = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
    picture = read_picture(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.pixels, expected.reshape(13, 17, channels))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"P1\n# bits\n3 2\n1 0 1\n010\n", [[0, 255, 0], [255, 0, 255]]),
        (b"P4\n3 2\n\xa0\x40", [[0, 255, 0], [255, 0, 255]]),
        (b"P2 3 1 15 # deep\n0 5 15\n", [[0, 85, 255]]),
        (b"P2 2 1 1023\n0 1023\n", [[0, 65535]]),
        (b"P5\n#c\n2 1\n# d\n1000\n\x00\x00\x01\xf4", [[0, 32768]]),
        (b"Pf\n1 2\n1.0\n\x3f\x80\x00\x00\x40\x00\x00\x00", [[2], [1]]),
    ],
)
def test_netpbm(content: bytes, expected: list[list[float]]) -> None:
    assert read_picture(content).pixels[..., 0].tolist() == expected


@pytest.mark.parametrize(
    ("content", "word"),
    [
        *((b"P6\n4 4\n255\n1234", "its end is missing"), (b"P2 2 2 255\n1 2 3", "end is missing")),
        *((b"P5\n2 1\n70000\n1234", "70000"), (b"P2 1 1 7\n9\n", "holds 9"), (b"P6\n4", "header")),
        *((b"P5\n0 4\n255\n", "no pixels"), (b"P7\nWIDTH 2\n", "no end"), (b"P5\nx y\n255\n", "")),
        *((b"\xff\x0a", "JXL file is damaged"), (b"8BPS\0\1" + bytes(60), "PSD file is damaged")),
    ],
)
def test_damage_is_one_line(content: bytes, word: str) -> None:
    with pytest.raises(PictureError) as caught:
        read_picture(content)
    assert str(caught.value).isprintable()
    assert word in str(caught.value)


@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".tga", ".jp2", ".jxl", ".pam", ".pfm"])
def test_truncated_files_are_refused(suffix: str) -> None:
    dtype = np.dtype(np.float32 if suffix == ".pfm" else np.uint8)
    content = encode_picture(Picture(pixels_of(dtype, 3)), suffix)
    for length in (2, 12, len(content) // 2, len(content) * 9 // 10):
        with pytest.raises(PictureError) as caught:
            read_picture(content[:length])
        assert str(caught.value).isprintable()


def test_how_large_a_picture_is_is_known_before_it_is_decoded() -> None:
    for suffix in (".bmp", ".ppm", ".tga", ".jp2"):
        content = encode_picture(Picture(pixels_of(np.dtype(np.uint8), 3)), suffix)
        with pytest.raises(PictureError, match="17 x 13 pixels, more than the limit"):
            read_picture(content, max_pixels=200)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 24), (13, 17), (600, 800), (300, 7)])
def test_the_size_of_a_jpeg_xl(height: int, width: int) -> None:
    flat = Picture(np.full((height, width, 3), 99, np.uint8))
    picture = read_picture(encode_picture(flat, ".jxl"))
    assert (picture.height, picture.width) == (height, width)
    assert np.abs(picture.pixels.astype(int) - 99).max() <= 1
    assert any("is not read" in note for note in picture.notes)
    content = encode_picture(flat, ".jxl")
    for data in (content, content[:40]):  # whether or not there is anything to decode
        with pytest.raises(PictureError, match="more than the limit"):
            read_picture(data, max_pixels=height * width - 1)


def test_photoshop_files_are_read_merged() -> None:
    pixels = pixels_of(np.dtype(np.uint8), 3)
    head = b"8BPS\0\1" + bytes(6) + (3).to_bytes(2, "big") + (13).to_bytes(4, "big")
    head += (17).to_bytes(4, "big") + b"\0\x08\0\x03" + bytes(12) + b"\0\0"
    picture = read_picture(head + np.moveaxis(pixels, -1, 0).tobytes())
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.source_format == "psd"


def test_open_exr_is_light(tmp_path: Path) -> None:
    pytest.importorskip("OpenEXR")
    pixels = pixels_of(np.dtype(np.float32), 3)
    pixels[3, 3] = 20
    write_picture(Picture(pixels), tmp_path / "a.exr")
    picture = read_picture(tmp_path / "a.exr")
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert b"gAMA" in picture.metadata["colour"]
    assert not losses_in(picture, ".exr")
    assert read_picture(encode_picture(picture, ".tif")).icc_profile is not None
    with pytest.raises(PictureError, match="holds floats alone"):
        write_picture(Picture(np.zeros((3, 3, 3), np.uint8)), tmp_path / "b.exr")


def test_heic_is_read_where_its_decoder_is(shared: Path) -> None:
    path = shared / "data/tricky/other/HMD_Nokia_8.3_5G.heif"
    pytest.importorskip("pillow_heif")
    picture = read_picture(path)
    assert picture.source_format == "heif"
    assert picture.pixels.shape == (3456, 4608, 3) or picture.pixels.shape == (4608, 3456, 3)
    assert "exif" in picture.metadata
    assert picture.pixels.std() > 5


def test_what_is_beside_the_pixels_is_told() -> None:
    picture = Picture(np.zeros((4, 4, 3), np.uint8), metadata={"exif": b"II*\0", "xmp": b"<x/>"})
    (told,) = losses_in(picture, ".bmp")
    assert "EXIF, XMP" in told


def test_folders_with_such_pictures_are_upscaled(tmp_path: Path, weights: dict[int, Path]) -> None:
    picture = Picture(pixels_of(np.dtype(np.uint8), 3))
    for suffix in (".bmp", ".ppm", ".tga", ".jp2"):
        write_picture(picture, tmp_path / f"{suffix[1:]}{suffix}")
    done = upscale_files([tmp_path], tmp_path / "out", model=weights[2])
    assert not done.errors
    assert {file.suffix for file in (tmp_path / "out").iterdir()} == {
        ".bmp",
        ".ppm",
        ".tga",
        ".jp2",
    }


def test_the_readme_names_every_format() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"(?ms)^Reads PNG.*?\n\n", text)
    for each in FORMATS:
        assert each.name in told, each.name
    assert {".bmp", ".heic", ".jxl", ".exr"} <= PICTURE_SUFFIXES


def test_what_is_always_read_needs_no_package() -> None:
    code = """
import io, sys
for name in ("PIL", "imagecodecs", "OpenEXR", "pillow_heif", "tifffile"):
    sys.modules[name] = None
from vernier.io import PictureError, read_picture
print(read_picture(b"P2 1 1 255 7").pixels.tolist())
for head in (b"8BPS\\0\\1", b"\\xff\\x0a", b"\\x76\\x2f\\x31\\x01"):
    try:
        read_picture(head + bytes(60))
    except PictureError as error:
        print("pip install" in str(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[[[7]]]\n" + "True\n" * 3


def test_a_gif_in_the_hand_is_not_a_targa() -> None:
    for content in (b"hello", b"\0\0\2" + bytes(30), io.BytesIO(b"x" * 40).getvalue()):
        with pytest.raises(PictureError, match="is no PNG"):
            read_picture(content)


def test_a_damaged_open_exr_is_refused_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("OpenEXR")
    ramp = np.linspace(0, 1, 64 * 64 * 3, dtype=np.float32).reshape(64, 64, 3)
    content = encode_picture(Picture(ramp), ".exr")
    for broken in (content[:-200] + bytes(100) + content[-100:], content[: len(content) // 2]):
        with pytest.raises(PictureError, match="EXR file is damaged"):
            read_picture(broken)
    assert capfd.readouterr() == ("", "")
