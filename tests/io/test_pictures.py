"""Pictures: every awkward file reads exactly or is refused in one line; nothing is lost on the way.

Independent witnesses: files built here byte by byte, and Pillow as the ordinary reader.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageOps, IptcImagePlugin

from vernier.errors import InputError, VernierError
from vernier.io import (
    DEFAULT_MAX_PIXELS,
    PICTURE_SUFFIXES,
    Picture,
    PictureError,
    encode_picture,
    picture_size,
    read_picture,
    write_picture,
)
from vernier.io.pictures import losses_in
from vernier.io.xmp import fitted_xmp

# What is refused, and a word from the one line that says so.
REFUSED = {
    "broken/broken.png": "no details",
    "broken/broken_data_stream.png": "read error",
    "broken/decompression_bomb.gif": "end of GIF",
    "broken/decompression_bomb.ico": "is no PNG",
    "broken/not_enough_data.jp2": "JP2 file is damaged",
    "broken/truncated_image.png": "read error",
    "broken/zero_width.gif": "end of GIF",
    "other/hopper.ico": "is no PNG",
    "other/ultrahdr.jpg": "premature end",
    "pngsuite_corrupt/xc1n0g08.png": "no details",
    "pngsuite_corrupt/xc9n2c08.png": "no details",
    "pngsuite_corrupt/xcrn0g04.png": "is no PNG",
    "pngsuite_corrupt/xd0n2c08.png": "no details",
    "pngsuite_corrupt/xd3n2c08.png": "no details",
    "pngsuite_corrupt/xd9n2c08.png": "no details",
    "pngsuite_corrupt/xhdn0g08.png": "no details",
    "pngsuite_corrupt/xlfn0g04.png": "is no PNG",
    "pngsuite_corrupt/xs1n0g01.png": "is no PNG",
    "pngsuite_corrupt/xs4n0g01.png": "is no PNG",
    "pngsuite_corrupt/xs7n0g01.png": "is no PNG",
    "pngsuite_iphone/iphone_basi0g01.png": "no details",
    "pngsuite_iphone/iphone_basi3p02.png": "no details",
    "pngsuite_iphone/iphone_bgwn6a08.png": "no details",
    "pngsuite_iphone/iphone_bgyn6a16.png": "no details",
    "pngsuite_iphone/iphone_z06n2c08.png": "no details",
    "tiff/10ct_32bit_128.tiff": "required field 262 missing",
}
# Channels where the ordinary reader's mode does not tell them: palettes with transparency, colour
# keys, gray and alpha in 16 bits, GIF.
CHANNELS = {
    "anim/no_palette.gif": 3,
    "png_palette/chi.gif": 4,
    "png_palette/pil123p.png": 4,
    "pngsuite_16bit/bgai4a16.png": 2,
    "pngsuite_16bit/tbbn2c16.png": 4,
    "pngsuite_16bit/tbgn2c16.png": 4,
    "pngsuite_primary/tbbn3p08.png": 4,
    "pngsuite_primary/tbgn3p08.png": 4,
    "pngsuite_primary/tbrn2c08.png": 4,
    "pngsuite_primary/tbyn3p08.png": 4,
    "pngsuite_primary/tm3n3p02.png": 4,
    "pngsuite_primary/tp1n3p08.png": 4,
}
MODES = {"1": 1, "L": 1, "I;16": 1, "I;16B": 1, "LA": 2, "RGB": 3, "P": 3, "RGBA": 4}
MODES |= {"CMYK": 3, "LAB": 3}
SIXTEEN_BIT = {
    "other/16bit.cropped.jp2",
    "cmyk/tiff_strip_cmyk_16l_jpeg.tif",
    "tiff/16bit.MM.cropped.tif",
    "tiff/16bit.cropped.tif",
    "tiff/tiff_16bit_RGB.tiff",
    "tiff/tiff_tiled_planar_16bit_RGB.tiff",
}
# Decoded otherwise than Pillow does: colour spaces that Pillow converts without profiles, chroma
# interpolation, and two files that Pillow gives up on.
NOT_AS_PILLOW = {
    "anim/chunk_no_fctl.png",
    "broken/truncated_end_chunk.png",
    "cmyk/pil_sample_cmyk.jpg",
    "cmyk/tiff_strip_cmyk_16l_jpeg.tif",
    "other/hopper.avif",
    "tiff/hopper.Lab.tif",
}
# A file whose profile is not one, or is for other channels than it has.
UNFIT_PROFILES = {"icc/icc-after-SOF.jpg"}

PILLOW_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
SRGB = pyvips.Image.profile_load("srgb")
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"'
    b"/></rdf:RDF></x:xmpmeta>"
)
IPTC = b"8BIM\x04\x04\0\0\0\0\0\x0a\x1c\x02\x78\0\x05hello"


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def tricky(shared: Path) -> dict[Path, str]:
    """Each awkward file with what the ordinary reader says about it."""
    folder = shared / "data" / "tricky"
    with (folder / "MANIFEST.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 159
    # HEIC is read or refused as the extra "formats" is there: tests/io/test_other_formats.py.
    return {
        folder / row["file"]: row["what an ordinary reader says"]
        for row in rows
        if not row["file"].endswith(".heif")
    }


def key(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def exif(orientation: int, order: str = "<") -> bytes:
    """EXIF with an orientation, a maker, wrong pixel dimensions, and a thumbnail directory."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    pack = lambda *values: struct.pack(order + "HHI", *values)  # noqa: E731
    short = lambda value: struct.pack(order + "HH", value, 0)  # noqa: E731
    long = lambda value: struct.pack(order + "I", value)  # noqa: E731
    main = pack(0x010F, 2, 4) + b"Ver\0" + pack(0x0112, 3, 1) + short(orientation)
    main += pack(0x8769, 4, 1) + long(50)
    dimensions = pack(0xA002, 4, 1) + long(999) + pack(0xA003, 4, 1) + long(999)
    thumbnail = pack(0x0103, 3, 1) + short(6)
    return b"".join(
        [
            *(head, long(8)),
            *(struct.pack(order + "H", 3), main, long(80)),
            *(struct.pack(order + "H", 2), dimensions, long(0)),
            *(struct.pack(order + "H", 1), thumbnail, long(0)),
        ]
    )


def png(
    pixels: np.ndarray, *, chunks: dict[bytes, bytes] | None = None, palette: bool = False
) -> bytes:
    """A PNG file, unfiltered, with more chunks before the data."""
    height, width, channels = pixels.shape
    colour = 3 if palette else {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = pixels.astype(pixels.dtype.newbyteorder(">"))
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, colour, 0, 0, 0)
    return png_chunks({b"IHDR": header, **(chunks or {}), b"IDAT": zlib.compress(data)})


def png_chunks(chunks: dict[bytes, bytes]) -> bytes:
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in {**chunks, b"IEND": b""}.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def refusal(path: Path | str | bytes, **options: int) -> str:
    with pytest.raises(PictureError) as caught:
        read_picture(path, **options)
    message = str(caught.value)
    assert message.isprintable()
    return message


def random_picture(random: np.random.Generator, channels: int, dtype: str) -> Picture:
    shape = (7, 11, channels)
    if dtype == "float32":
        return Picture(random.random(shape, dtype=np.float32))
    return Picture(random.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype))


# The awkward files


def test_every_tricky_file_reads_as_expected_or_is_refused_in_one_line(
    tricky: dict[Path, str], capfd: pytest.CaptureFixture[str]
) -> None:
    wrong: dict[str, object] = {}
    refused = set()
    for path, says in tricky.items():
        try:
            picture = read_picture(path)
        except PictureError as error:
            refused.add(key(path))
            message = str(error)
            if not (message.isprintable() and REFUSED.get(key(path), "?") in message):
                wrong[key(path)] = message
            continue
        _, size, mode, *_ = says.split()
        width, height = map(int, size.split("x"))
        if re.search(r"orient=[5-8]", says):
            width, height = height, width
        channels = CHANNELS.get(key(path), MODES[mode])
        deep = "png-depth=16" in says or key(path) in SIXTEEN_BIT
        expected = (height, width, channels), np.uint16 if deep else np.uint8
        got = picture.pixels.shape, picture.pixels.dtype
        if got != expected:
            wrong[key(path)] = (got, expected)
        if picture_size(path) != (width, height, channels):
            wrong[key(path)] = picture_size(path)
        converted = key(path).startswith("cmyk/") or mode == "LAB"
        profiled = (" icc" in says or converted) and key(path) not in UNFIT_PROFILES
        if (picture.icc_profile is not None) != profiled:
            wrong[key(path)] = f"profile: {picture.icc_profile is not None}"
    assert not wrong
    assert refused == set(REFUSED)
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # one of the tricky files has such
def test_pixels_equal_what_an_ordinary_reader_gives(tricky: dict[Path, str]) -> None:
    compared, wrong = 0, {}
    for path in tricky:
        if key(path) in REFUSED or key(path) in NOT_AS_PILLOW:
            continue
        pixels = read_picture(path).pixels
        with Image.open(path) as file:
            other = ImageOps.exif_transpose(file)
        if pixels.dtype == np.uint8:
            other = other.convert(PILLOW_MODES[pixels.shape[2]])
        elif not other.mode.startswith("I;16"):
            continue  # Pillow cuts 16-bit colour to 8 bits
        compared += 1
        if not np.array_equal(pixels, np.asarray(other).reshape(pixels.shape)):
            wrong[key(path)] = other.mode
    assert not wrong
    assert compared == 108


def test_tricky_files_survive_a_round_trip(tricky: dict[Path, str], tmp_path: Path) -> None:
    wrong = {}
    for path in tricky:
        if key(path) in REFUSED:
            continue
        before = read_picture(path)
        xmp = before.metadata.get("xmp", b"")
        for suffix in (".png", ".tif"):
            write_picture(before, tmp_path / f"out{suffix}")
            after = read_picture(tmp_path / f"out{suffix}")
            if not (
                np.array_equal(before.pixels, after.pixels)
                and before.pixels.dtype == after.pixels.dtype
                # What a PNG tells of its colours is a profile in TIFF.
                and (before.icc_profile == after.icc_profile or "colour" in before.metadata)
                and after.metadata.get("xmp", b"") == fitted_xmp(xmp, before.width, before.height)
            ):
                wrong[key(path), suffix] = after
    assert not wrong


# From memory and into memory


def outcome(source: Path | bytes | bytearray | memoryview, name: str) -> object:
    """Everything that reading gives, or what the refusal says behind the file's name."""
    try:
        picture = read_picture(source)
    except PictureError as error:
        return str(error).replace(f"{name}: ", "refused: ", 1)
    facts = {field.name: getattr(picture, field.name) for field in dataclasses.fields(picture)}
    pixels = facts.pop("pixels")
    return picture_size(source), pixels.shape, pixels.dtype, pixels.tobytes(), facts


def test_bytes_give_what_their_file_gives(
    tricky: dict[Path, str], shared: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    others = [shared / "cases" / name for name in ("exif-rating-lost/rated.jpg",)]
    wrong = [
        key(path)
        for path in (*tricky, *others)
        if outcome(path, str(path)) != outcome(path.read_bytes(), "picture in memory")
    ]
    assert not wrong
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_same_bytes_go_to_a_file_and_into_memory(
    suffix: str, channels: int, dtype: str, tmp_path: Path, random: np.random.Generator
) -> None:
    picture = Picture(
        random_picture(random, channels, dtype).pixels,
        icc_profile=SRGB if channels > 2 else None,
        metadata={"exif": exif(1), "xmp": XMP.replace(b'"6"', b'"1"'), "iptc": IPTC},
        density=(300 / 25.4, 300 / 25.4),
    )
    path = tmp_path / f"a{suffix}"
    write_picture(picture, path, quality=91, compression=3)
    content = encode_picture(picture, suffix, quality=91, compression=3)
    assert content == path.read_bytes()
    assert content == encode_picture(picture, suffix[1:].upper(), quality=91, compression=3)
    for form in (content, bytearray(content), memoryview(content)):
        assert outcome(form, "picture in memory") == outcome(path, str(path))


def test_damage_in_memory_is_refused_in_one_line(random: np.random.Generator) -> None:
    content = encode_picture(random_picture(random, 3, "uint8"), "png")
    for part, words in {
        b"": "the file is empty",
        b"hello": "is no PNG",
        content[:60]: "PNG file is damaged",
    }.items():
        assert words in refusal(part)
    assert "limit of 9" in refusal(content, max_pixels=9)


def test_what_cannot_be_encoded_is_said(random: np.random.Generator) -> None:
    picture = random_picture(random, 3, "uint8")
    wide = Picture(np.zeros((1, 70000, 1), np.uint8))
    for wrong, form, options, words in (
        (picture, "gif", {}, "cannot write gif; choose one of"),
        (picture, "", {}, "cannot write a format without name"),
        (picture, "png", {"quality": 0}, "quality 0"),
        (picture, "png", {"compression": 10}, "compression 10"),
        (wide, "jpg", {}, "65500"),
        (wide, "webp", {}, "too large"),
    ):
        with pytest.raises(PictureError, match=words) as caught:
            encode_picture(wrong, form, **options)
        assert str(caught.value).isprintable()


# Depth, channels, formats


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_is_read_exactly(
    channels: int, dtype: str, tmp_path: Path, random: np.random.Generator
) -> None:
    pixels = random_picture(random, channels, dtype).pixels
    picture = read_picture(saved(tmp_path / "a.png", png(pixels)))
    assert picture.pixels.dtype == dtype
    assert np.array_equal(picture.pixels, pixels)
    assert picture.source_format == "png"
    assert picture.peak == np.iinfo(dtype).max
    assert picture.has_alpha == (channels in (2, 4))
    assert picture.colour_channels == (1 if channels < 3 else 3)


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [
        (".png", "uint8"),
        (".png", "uint16"),
        (".tif", "uint8"),
        (".TIFF", "uint16"),
        (".tif", "float32"),
        (".webp", "uint8"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_lossless_formats_give_back_every_bit(
    suffix: str, dtype: str, channels: int, tmp_path: Path, random: np.random.Generator
) -> None:
    picture = random_picture(random, channels, dtype)
    path = tmp_path / f"a{suffix}"
    write_picture(picture, path, quality=100)
    back = read_picture(path).pixels
    if suffix == ".webp" and channels < 3:  # WebP has no gray
        assert np.array_equal(back[..., 0], back[..., 1])
        back = back[..., [0, 3] if channels == 2 else [0]]
    assert back.dtype == dtype
    assert np.array_equal(back, picture.pixels)


@pytest.mark.parametrize("compression", [0, 1, 9])
def test_compression_changes_the_size_and_nothing_else(compression: int, tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint16)[..., None] * 400
    write_picture(Picture(ramp), tmp_path / "a.png", compression=compression)
    assert np.array_equal(read_picture(tmp_path / "a.png").pixels, ramp)
    assert ((tmp_path / "a.png").stat().st_size > ramp.nbytes) == (compression == 0)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_sixteen_bits_are_rounded_to_eight(suffix: str, tmp_path: Path) -> None:
    # 200.6 in 8-bit steps: rounding gives 201, cutting 200.
    flat = Picture(np.full((16, 16, 3), round(200.6 * 257), np.uint16))
    write_picture(flat, tmp_path / f"a{suffix}", quality=100)
    back = read_picture(tmp_path / f"a{suffix}").pixels
    assert back.dtype == np.uint8
    assert np.all(back == 201)


def test_floats_are_clipped_and_rounded_to_sixteen_bits(tmp_path: Path) -> None:
    values = np.array([-0.5, 0, 0.25, 1, 1.5, np.nan], np.float32).reshape(1, 6, 1)
    write_picture(Picture(values), tmp_path / "a.png")
    back = read_picture(tmp_path / "a.png").pixels
    assert back.dtype == np.uint16
    assert back.ravel().tolist() == [0, 0, 16384, 65535, 65535, 0]


def test_jpeg_lays_transparency_over_white(tmp_path: Path) -> None:
    half_red = np.zeros((16, 16, 4), np.uint8)
    half_red[...] = (255, 0, 0, 51)
    half_red[:, 8:, 3] = 0
    write_picture(Picture(half_red), tmp_path / "a.jpg", quality=100)
    back = read_picture(tmp_path / "a.jpg").pixels.astype(int)
    assert back.shape == (16, 16, 3)
    assert np.abs(back[:, :8] - (255, 204, 204)).max() <= 2
    assert np.abs(back[:, 8:] - 255).max() <= 2


def test_straight_alpha_comes_back_from_a_premultiplied_tiff(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 4), (200, 100, 50, 128), np.uint8)
    image = pyvips.Image.new_from_array(pixels, interpretation="srgb")
    image.tiffsave(str(tmp_path / "a.tif"), premultiply=True)
    assert np.abs(read_picture(tmp_path / "a.tif").pixels.astype(int) - pixels).max() <= 1


def test_palette_with_transparency_becomes_rgba(tmp_path: Path) -> None:
    index = np.array([[[0], [1], [2]]], np.uint8)
    chunks = {b"PLTE": bytes([10, 20, 30, 40, 50, 60, 70, 80, 90]), b"tRNS": bytes([0, 128])}
    path = saved(tmp_path / "a.png", png(index, chunks=chunks, palette=True))
    expected = [[[10, 20, 30, 0], [40, 50, 60, 128], [70, 80, 90, 255]]]
    assert read_picture(path).pixels.tolist() == expected


def test_jpeg_and_avif_stay_close(tmp_path: Path) -> None:
    wave = 128 + 100 * np.sin(np.arange(64) / 9)[:, None] * np.cos(np.arange(48) / 7)
    pixels = np.stack([wave, wave[::-1], wave[:, ::-1]], -1).astype(np.uint8)
    for suffix, format_ in ((".jpg", "jpeg"), (".avif", "heif"), (".webp", "webp")):
        write_picture(Picture(pixels), tmp_path / f"a{suffix}")
        back = read_picture(tmp_path / f"a{suffix}")
        assert back.source_format == format_
        assert np.abs(back.pixels.astype(int) - pixels).mean() < 2


def test_one_pixel(tmp_path: Path) -> None:
    for suffix in (".png", ".tif", ".jpg", ".webp", ".avif"):
        write_picture(Picture(np.full((1, 1, 3), 128, np.uint8)), tmp_path / f"a{suffix}")
        assert np.abs(read_picture(tmp_path / f"a{suffix}").pixels.astype(int) - 128).max() <= 3
        assert picture_size(tmp_path / f"a{suffix}") == (1, 1, 3)


def test_contents_decide_not_the_suffix(tmp_path: Path, random: np.random.Generator) -> None:
    pixels = random_picture(random, 3, "uint8").pixels
    picture = read_picture(saved(tmp_path / "a.jpg", png(pixels)))
    assert picture.source_format == "png"
    assert np.array_equal(picture.pixels, pixels)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    for value in (10, 20):
        write_picture(Picture(np.full((3, 3, 1), value, np.uint8)), tmp_path / "a.png")
        assert read_picture(tmp_path / "a.png").pixels.max() == value


# Colour


def test_a_profile_is_carried_and_not_applied(shared: Path) -> None:
    path = shared / "data/tricky/icc/rgb-to-gbr-test.png"
    picture = read_picture(path)
    with Image.open(path) as file:
        assert picture.icc_profile == file.info["icc_profile"]
        assert np.array_equal(picture.pixels, np.asarray(file))


def test_cmyk_becomes_srgb_with_its_profile(shared: Path, tmp_path: Path) -> None:
    eight = read_picture(shared / "data/tricky/cmyk/pil_sample_cmyk.jpg")
    sixteen = read_picture(shared / "data/tricky/cmyk/tiff_strip_cmyk_16l_jpeg.tif")
    assert eight.icc_profile == sixteen.icc_profile == SRGB
    assert np.abs(eight.pixels - sixteen.pixels / 257).mean() < 2
    # Ink: none, all of cyan, magenta, yellow, black.
    inks = 255 * np.vstack([np.zeros((1, 4)), np.eye(4)]).astype(np.uint8)[None]
    image = pyvips.Image.new_from_array(inks, interpretation="cmyk")
    image.tiffsave(str(tmp_path / "a.tif"))
    white, cyan, magenta, yellow, black = read_picture(tmp_path / "a.tif").pixels[0].astype(int)
    assert white.min() >= 253
    assert black.max() < 60
    for ink, absorbed in ((cyan, 0), (magenta, 1), (yellow, 2)):
        assert ink.argmin() == absorbed


def test_the_profile_of_a_cmyk_file_is_used(tmp_path: Path) -> None:
    """A profile whose table says lightness 0 for every ink makes a light picture black."""
    black = bytearray(pyvips.Image.profile_load("cmyk"))
    for entry in range(132, 132 + 12 * struct.unpack_from(">I", black, 128)[0], 12):
        name, start, size = struct.unpack_from(">4sII", black, entry)
        if name == b"A2B1":  # ICC.1, lut16Type: the output tables for L, a, b come last
            (length,) = struct.unpack_from(">H", black, start + 50)
            table = start + size - 3 * 2 * length
            black[table : table + 2 * length] = bytes(2 * length)
    inks = np.full((4, 4, 4), (20, 30, 40, 0), np.uint8)
    image = pyvips.Image.new_from_array(inks, interpretation="cmyk")
    image.tiffsave(str(tmp_path / "without.tif"))
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", bytes(black))
    image.tiffsave(str(tmp_path / "with.tif"))
    assert read_picture(tmp_path / "without.tif").pixels.min() > 150
    picture = read_picture(tmp_path / "with.tif")
    assert picture.pixels.max() < 60
    assert picture.icc_profile == SRGB


def test_lab_matches_the_rgb_original(shared: Path) -> None:
    picture = read_picture(shared / "data/tricky/tiff/hopper.Lab.tif")
    ppm = (shared / "data/tricky/other/hopper.ppm").read_bytes()
    original = np.frombuffer(ppm[-3 * 128 * 128 :], np.uint8).reshape(128, 128, 3).astype(int)
    error = picture.pixels - original
    assert picture.pixels.dtype == np.uint8
    assert np.abs(error).mean() < 2.5
    assert np.abs(error.mean((0, 1))).max() < 0.5
    assert picture.icc_profile == SRGB


@pytest.mark.parametrize("space", ["lab", "labs"])
def test_float_and_16_bit_lab(space: str, tmp_path: Path) -> None:
    gray = np.full((3, 3, 3), 119, np.uint8)
    image = pyvips.Image.new_from_array(gray, interpretation="srgb").colourspace(space)
    image.tiffsave(str(tmp_path / "a.tif"))
    picture = read_picture(tmp_path / "a.tif")
    assert picture.pixels.dtype == np.uint16
    assert np.abs(picture.pixels / 257 - 119).max() < 1


def test_a_profile_for_other_channels_is_not_written(
    tmp_path: Path, random: np.random.Generator
) -> None:
    gray = Picture(random_picture(random, 1, "uint8").pixels, icc_profile=SRGB)
    write_picture(gray, tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").icc_profile is None
    write_picture(gray.with_pixels(np.repeat(gray.pixels, 3, axis=2)), tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").icc_profile == SRGB


# Orientation and metadata


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_applied_once(orientation: int, order: str, tmp_path: Path) -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3, 1) * 40
    # EXIF 2.3, tag 0x0112: where row 0 and column 0 of the file lie in the upright picture.
    upright = {
        1: pixels,
        2: np.fliplr(pixels),
        3: np.rot90(pixels, 2),
        4: np.flipud(pixels),
        5: np.swapaxes(pixels, 0, 1),
        6: np.rot90(pixels, -1),
        7: np.rot90(np.swapaxes(pixels, 0, 1), 2),
        8: np.rot90(pixels, 1),
    }[orientation]
    chunks = {b"eXIf": exif(orientation, order)}
    picture = read_picture(saved(tmp_path / "a.png", png(pixels, chunks=chunks)))
    assert picture.pixels.tolist() == upright.tolist()
    assert picture_size(tmp_path / "a.png") == (picture.width, picture.height, 1)

    image = Image.fromarray(pixels[..., 0])
    image.save(tmp_path / "a.tif", tiffinfo={274: orientation})
    assert read_picture(tmp_path / "a.tif").pixels.tolist() == upright.tolist()

    for suffix in (".png", ".jpg", ".webp", ".tif"):
        write_picture(picture, tmp_path / f"b{suffix}")
        again = read_picture(tmp_path / f"b{suffix}")
        assert (again.width, again.height) == (picture.width, picture.height)
        with Image.open(tmp_path / f"b{suffix}") as file:
            assert file.getexif().get(274, 1) == 1


def test_turned_photographs_look_the_same(shared: Path) -> None:
    folder = shared / "data/tricky/orientation"
    first = read_picture(folder / "landscape_1.jpg").pixels.astype(float)
    for orientation in (2, 3, 5, 6, 7):
        other = read_picture(folder / f"landscape_{orientation}.jpg").pixels
        assert other.shape == first.shape
        likeness = np.corrcoef(first.ravel(), other.ravel())[0, 1]
        wrong_way = np.corrcoef(first.ravel(), other[::-1].ravel())[0, 1]
        assert likeness > 0.95  # each was encoded by itself
        assert wrong_way < 0.9


def test_orientation_from_xmp_only_where_exif_is_silent(tmp_path: Path) -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    itxt = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP
    path = saved(tmp_path / "a.png", png(pixels, chunks={b"iTXt": itxt}))
    picture = read_picture(path)
    assert picture.pixels.tolist() == np.rot90(pixels, -1).tolist()
    assert picture.metadata["xmp"] == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    both = {b"eXIf": exif(1), b"iTXt": itxt}
    assert read_picture(saved(path, png(pixels, chunks=both))).pixels.tolist() == pixels.tolist()


def test_exif_that_imagemagick_keeps_in_text(tmp_path: Path) -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    digits = (b"Exif\0\0" + exif(8)).hex()
    lines = "\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    text = f"\nexif\n{len(digits) // 2:8}\n{lines}\n".encode()
    chunks = {
        b"tEXt": b"Titr\xe9\0na\xefve",  # Latin-1, as the standard has it
        b"zTXt": b"Raw profile type exif\0\0" + zlib.compress(text),
    }
    picture = read_picture(saved(tmp_path / "a.png", png(pixels, chunks=chunks)))
    assert picture.pixels.tolist() == np.rot90(pixels, 1).tolist()
    assert b"Ver\0" in picture.metadata["exif"]


def test_metadata_travels(tmp_path: Path, random: np.random.Generator) -> None:
    picture = Picture(
        random_picture(random, 3, "uint8").pixels,
        icc_profile=SRGB,
        metadata={"exif": exif(1), "xmp": XMP.replace(b'"6"', b'"1"'), "iptc": IPTC},
        density=(300 / 25.4, 300 / 25.4),
    )
    carried = {
        ".jpg": {"exif", "xmp", "iptc"},
        ".png": {"exif", "xmp", "iptc"},
        ".webp": {"exif", "xmp"},
        ".tif": {"exif", "xmp", "iptc"},
        ".avif": {"exif", "xmp"},
    }
    for suffix, names in carried.items():
        path = tmp_path / f"a{suffix}"
        write_picture(picture, path)
        back = read_picture(path)
        assert set(back.metadata) == names, suffix
        assert back.icc_profile == SRGB
        for name in names - {"exif"}:
            assert back.metadata[name] == picture.metadata[name], (suffix, name)
        if "exif" in names:
            with Image.open(path) as file:
                tags = file.getexif()
                sub = tags.get_ifd(0x8769)
            assert tags[0x010F] == "Ver"
            assert tags[0x0112] == 1
            assert (sub[0xA002], sub[0xA003]) == (picture.width, picture.height)
        if suffix in (".jpg", ".tif"):
            with Image.open(path) as file:
                assert IptcImagePlugin.getiptcinfo(file) == {(2, 120): b"hello"}
    with Image.open(tmp_path / "a.png") as file:
        kind, length, *digits = file.info["Raw profile type iptc"].split()
    assert (kind, int(length)) == ("iptc", len(IPTC))
    assert bytes.fromhex("".join(digits)) == IPTC


def test_bare_iptc_records_of_a_tiff(tmp_path: Path) -> None:
    """Readers other than Photoshop's write the records alone."""
    records = b"\x1c\x02\x78\0\x05hello"
    tag = (33723, 7, len(records), records, True)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.uint8), extratags=[tag])
    assert read_picture(tmp_path / "a.tif").metadata["iptc"] == IPTC


def test_resolution_travels(tmp_path: Path) -> None:
    picture = Picture(np.zeros((4, 4, 3), np.uint8), density=(300 / 25.4, 300 / 25.4))
    for suffix in (".png", ".jpg", ".tif"):
        write_picture(picture, tmp_path / f"a{suffix}")
        assert read_picture(tmp_path / f"a{suffix}").density == pytest.approx(picture.density, 1e-3)
        with Image.open(tmp_path / f"a{suffix}") as file:
            assert [float(dpi) for dpi in file.info["dpi"]] == pytest.approx([300, 300], abs=0.1)


def test_no_exif_is_made_up(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".webp", ".tif", ".avif"):
        write_picture(Picture(np.zeros((4, 4, 3), np.uint8)), tmp_path / f"a{suffix}")
        assert not read_picture(tmp_path / f"a{suffix}").metadata


def test_a_turned_thumbnail_goes(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3, 1), np.uint8)
    for orientation, kept in ((1, True), (6, False)):
        chunks = {b"eXIf": exif(orientation)}
        picture = read_picture(saved(tmp_path / "a.png", png(pixels, chunks=chunks)))
        block = picture.metadata["exif"]
        assert (struct.unpack_from("<I", block, 46)[0] == 80) is kept
        assert struct.unpack_from("<H", block, 30)[0] == 1


def test_frames_are_counted(tmp_path: Path) -> None:
    frame = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    more = [Image.fromarray(np.full((4, 4, 3), 80 * i, np.uint8)) for i in (1, 2)]
    for suffix in (".gif", ".webp", ".tif", ".png"):
        frame.save(tmp_path / f"one{suffix}")
        frame.save(tmp_path / f"three{suffix}", save_all=True, append_images=more)
        assert read_picture(tmp_path / f"one{suffix}").frames == 1
        three = read_picture(tmp_path / f"three{suffix}")
        assert three.frames == 3
        assert three.pixels[..., :3].max() < 10


# Refusals


def test_errors_are_input_errors() -> None:
    assert issubclass(PictureError, InputError)
    assert issubclass(PictureError, VernierError)


def test_a_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path = saved(
        tmp_path / "bomb.png", png_chunks({b"IHDR": header, b"IDAT": zlib.compress(bytes(99))})
    )
    message = refusal(path)
    assert "60000 x 60000" in message
    assert str(DEFAULT_MAX_PIXELS) in message
    assert "--max-pixels" in message
    assert picture_size(path) == (60000, 60000, 3)


def test_the_limit_is_a_limit(tmp_path: Path) -> None:
    write_picture(Picture(np.zeros((10, 10, 1), np.uint8)), tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", max_pixels=100).width == 10
    assert "99" in refusal(tmp_path / "a.png", max_pixels=99)


def test_files_that_are_none(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.png")
    assert "folder" in refusal(tmp_path)
    assert "empty" in refusal(saved(tmp_path / "empty.png", b""))
    assert "is no PNG" in refusal(saved(tmp_path / "text.png", b"hello"))
    assert "is no PNG" in refusal(saved(tmp_path / "a.svg", b"<svg width='9' height='9'/>"))
    assert "too long" in refusal(tmp_path / ("x" * 300 + ".png"))
    assert "null" in refusal("a\0b.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert "device" in refusal(tmp_path / "pipe.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", png(np.zeros((1, 1, 1), np.uint8)))
    path.chmod(0)
    assert "Permission denied" in refusal(path)


def test_a_strange_name_stays_one_line(tmp_path: Path) -> None:
    name = os.fsdecode(b"a[1]\n\xff \xc3\xa9.png")
    pixels = np.full((2, 2, 1), 7, np.uint8)
    write_picture(Picture(pixels), tmp_path / name)
    assert np.array_equal(read_picture(tmp_path / name).pixels, pixels)
    assert "\\n\\udcff é.png" in refusal(saved(tmp_path / name, b"hello"))
    cut = png(np.zeros((50, 50, 3), np.uint8))[:60]
    assert "PNG file is damaged" in refusal(saved(tmp_path / name, cut))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_a_truncated_file_is_refused(
    suffix: str, tmp_path: Path, random: np.random.Generator
) -> None:
    noise = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"a{suffix}"
    write_picture(Picture(noise), path)
    data = path.read_bytes()
    for length in (1, 20, 40, len(data) // 4, len(data) // 2, len(data) * 9 // 10):
        assert str(path) in refusal(saved(path, data[:length]))


def test_a_refusal_does_not_depend_on_worker_threads(tmp_path: Path) -> None:
    """Of many libvips workers, those that come after the one that failed say so on their own."""
    data = bytearray(png(np.zeros((32, 32, 1), np.uint8)))
    data[29] ^= 1  # the checksum of the header
    code = """
import sys
from vernier.io import PictureError, read_picture
for _ in range(400):
    try:
        read_picture(sys.argv[1])
    except PictureError as error:
        print(error)
"""
    command = [sys.executable, "-c", code, str(saved(tmp_path / "a.png", bytes(data)))]
    many = {**os.environ, "VIPS_CONCURRENCY": "32"}
    shown = subprocess.run(command, env=many, check=True, capture_output=True, text=True).stdout
    messages = shown.splitlines()
    assert len(messages) == 400
    assert set(messages) == {refusal(tmp_path / "a.png")}


def test_channels_and_types_that_are_no_picture(tmp_path: Path) -> None:
    image = pyvips.Image.black(4, 4, bands=7)
    image.tiffsave(str(tmp_path / "a.tif"))
    assert "7 channels" in refusal(tmp_path / "a.tif")
    for pixels in (np.zeros((2, 2)), np.zeros((2, 2, 3)), np.zeros((0, 2, 3), np.uint8)):
        with pytest.raises(PictureError, match="make no picture"):
            Picture(pixels)


def test_damage_never_escapes(tmp_path: Path, random: np.random.Generator) -> None:
    """Flipped bytes read, or are refused in one line."""
    read, messages = 0, []
    chunks = {b"eXIf": exif(6)}
    for suffix in (".png", ".jpg", ".webp", ".tif", ".avif"):
        path = tmp_path / f"a{suffix}"
        pixels = random.integers(0, 256, (24, 20, 3), dtype=np.uint8)
        source = read_picture(saved(tmp_path / "s.png", png(pixels, chunks=chunks)))
        write_picture(source, path)
        data = path.read_bytes()
        for _ in range(60):
            broken = bytearray(data)
            for place in random.integers(0, random.choice([40, len(data)]), 3):
                broken[place] = random.integers(256)
            try:
                assert read_picture(saved(path, bytes(broken)), max_pixels=10**6).pixels.size
                read += 1
            except PictureError as error:
                messages.append(str(error))
    assert read > 20
    assert len(messages) > 20
    assert all(message.isprintable() for message in messages)


# Writing whole or not at all


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_failed_write_changes_nothing(
    suffix: str, existing: bool, tmp_path: Path, random: np.random.Generator
) -> None:
    path = tmp_path / f"a{suffix}"
    if existing:
        path.write_bytes(b"precious")
    noise = Picture(random.integers(0, 256, (300, 300, 3), dtype=np.uint8))
    with full_disk(5000), pytest.raises(PictureError, match="cannot write 300 x 300") as caught:
        write_picture(noise, path)
    assert str(caught.value).isprintable()
    assert [file.name for file in tmp_path.iterdir()] == ([path.name] if existing else [])
    assert not existing or path.read_bytes() == b"precious"


def test_writes_that_cannot_be(tmp_path: Path) -> None:
    picture = Picture(np.zeros((1, 70000, 1), np.uint8))
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name, word in {
        "a.jpg": "65500",
        "a.webp": "too large",
        "a.xyz": "choose one of",
        "a": "suffix",
        "none/a.png": "no such folder",
        "folder.png": "folder or a device",
        "pipe.png": "folder or a device",
        "x" * 300 + ".png": "too long",
        "a\0.png": "null",
    }.items():
        with pytest.raises(PictureError, match=word) as caught:
            write_picture(picture, tmp_path / name)
        assert str(caught.value).isprintable()
    with pytest.raises(PictureError, match="quality 0"):
        write_picture(picture, tmp_path / "a.png", quality=0)
    with pytest.raises(PictureError, match="compression 10"):
        write_picture(picture, tmp_path / "a.png", compression=10)
    assert {file.name for file in tmp_path.iterdir()} == {"folder.png", "pipe.png"}


def test_a_written_file_has_ordinary_permissions(tmp_path: Path) -> None:
    write_picture(Picture(np.zeros((1, 1, 1), np.uint8)), tmp_path / "a.png")
    saved(tmp_path / "b", b"")
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_with_pixels_keeps_the_rest() -> None:
    picture = Picture(np.zeros((2, 3, 3), np.uint8), SRGB, {"xmp": XMP}, "png", (2.0, 3.0))
    larger = picture.with_pixels(np.zeros((4, 6, 3), np.uint16))
    assert (larger.height, larger.width, larger.peak) == (4, 6, 65535)
    assert (larger.icc_profile, larger.metadata) == (SRGB, {"xmp": XMP})
    assert (larger.source_format, larger.density) == ("png", (2.0, 3.0))


def test_suffixes_are_what_a_folder_should_pick_up() -> None:
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif"} <= PICTURE_SUFFIXES
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in PICTURE_SUFFIXES)


def test_reading_pictures_does_not_import_torch() -> None:
    code = "import sys, vernier.io; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("suffix", "bits"), [(".jpg", 8), (".webp", 8), (".avif", 12), (".png", None), (".tif", None)]
)
def test_what_a_format_holds_of_sixteen_bits_is_told(suffix: str, bits: int | None) -> None:
    told = losses_in(Picture(np.full((4, 5, 3), 40_000, np.uint16)), suffix)
    assert any(f"rounded to {bits} bits" in note for note in told) == (bits is not None)
    assert not losses_in(Picture(np.full((4, 5, 3), 200, np.uint8)), suffix)
