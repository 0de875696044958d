"""EXIF in TIFF files, read back by Pillow and tifffile."""

from __future__ import annotations

import resource
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from vernier.io import Picture, read_picture, write_picture
from vernier.io.exif import (
    TiffStructure,
    add_metadata_to_tiff,
    exif_of_tiff,
    packed,
    take_orientation,
)

CAMERA, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
PIXELS = np.arange(8 * 9 * 3, dtype=np.uint16).reshape(8, 9, 3)


def block(order: str) -> bytes:
    """What a camera writes, with long and short values, fractions and all directories."""
    exif = Image.Exif()
    exif.endian = order
    exif[0x0100] = 4000  # the width that was stored: not the picture's any more
    exif[0x010E] = "a bridge"
    exif[0x0112] = 1
    exif[0x8298] = "me"
    exif[CAMERA] = {
        **{0x829A: 0.01, 0x9003: "2020:01:01 00:00:00", 0x927C: b"maker" * 9, 0xA002: 4000},
        **{0xA003: 3000, 0x9204: -1.5, INTEROPERABILITY: {1: "R98"}},
    }
    exif[GPS] = {1: "N", 2: (51.0, 30.0, 12.5)}
    return exif.tobytes().removeprefix(b"Exif\0\0")


def check(exif: Image.Exif) -> None:
    assert (exif[0x010E], exif[0x8298]) == ("a bridge", "me")
    camera = dict(exif.get_ifd(CAMERA))
    del camera[INTEROPERABILITY]
    assert camera == {
        **{0x829A: 0.01, 0x9003: "2020:01:01 00:00:00", 0x927C: b"maker" * 9, 0xA002: 9},
        **{0xA003: 8, 0x9204: -1.5},
    }
    assert exif.get_ifd(GPS) == {1: "N", 2: (51.0, 30.0, 12.5)}
    assert exif.get_ifd(INTEROPERABILITY) == {1: "R98"}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_exif_in_tiff(order: str, big: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pyvips.Image.new_from_array(PIXELS, interpretation="rgb16").tiffsave(str(path), bigtiff=big)
    add_metadata_to_tiff(path, block(order), b"\x1c\x02\x78\0\x05hello", 9, 8)
    with Image.open(path) as file:
        exif = file.getexif()
        check(exif)
        assert exif[0x0100] == 9
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff == big
        tags = tiff.pages[0].tags
        assert tags["ExifTag"].value["DateTimeOriginal"] == "2020:01:01 00:00:00"
        assert tags["GPSTag"].value["GPSLatitude"] == (51, 1, 30, 1, 25, 2)
        assert tags[33723].value == b"\x1c\x02\x78\0\x05hello"
        assert list(tags.keys()) == sorted(tags.keys())
        assert np.array_equal(tiff.asarray(), PIXELS)
    back = Image.Exif()
    back.load(exif_of_tiff(path))
    check(back)
    assert 0x0100 not in back


def test_exif_goes_from_tiff_to_other_formats(tmp_path: Path) -> None:
    write_picture(Picture(PIXELS, metadata={"exif": block(">")}), tmp_path / "a.tif")
    for suffix in (".tif", ".jpg", ".png", ".webp", ".avif"):
        picture = read_picture(tmp_path / "a.tif")
        write_picture(picture.with_pixels(PIXELS[:6, :7]), tmp_path / f"b{suffix}")
        with Image.open(tmp_path / f"b{suffix}") as file:
            exif = file.getexif()
            assert exif[0x010E] == "a bridge"
            camera = exif.get_ifd(CAMERA)
            assert (camera[0x829A], camera[0xA002], camera[0xA003]) == (0.01, 7, 6)
            assert exif.get_ifd(GPS)[2] == (51.0, 30.0, 12.5)


@pytest.mark.parametrize(
    ("shape", "written"),
    [
        ((20, 24, 3), {"photometric": "rgb"}),
        ((20, 24, 3), {"photometric": "rgb", "ome": True}),
        ((3, 20, 24), {"imagej": True, "metadata": {"axes": "CYX"}}),
    ],
    ids=["tifffile", "OME", "ImageJ"],
)
def test_what_programs_tell_of_sizes_and_pages_is_left_behind(
    shape: tuple[int, ...], written: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros(shape, np.uint8), software="a microscope", **written)
    larger = read_picture(path).with_pixels(PIXELS)
    write_picture(larger, tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.pages.first.description == ""
        assert tiff.pages.first.software == "a microscope"
        assert tiff.asarray().shape == PIXELS.shape


def test_a_description_in_words_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((20, 24), np.uint8), description="ImageJ and its shape")
    write_picture(read_picture(path), tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.pages.first.description == "ImageJ and its shape"


def test_a_file_that_says_nothing(tmp_path: Path) -> None:
    write_picture(Picture(PIXELS), tmp_path / "a.tif")
    before = (tmp_path / "a.tif").read_bytes()
    assert exif_of_tiff(tmp_path / "a.tif") is None
    for nonsense in (None, b"", b"hello", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff"):
        add_metadata_to_tiff(tmp_path / "a.tif", nonsense, None, 9, 8)
        assert (tmp_path / "a.tif").read_bytes() == before
        (tmp_path / "b.tif").write_bytes(nonsense or b"?")
        assert exif_of_tiff(tmp_path / "b.tif") is None


def test_damaged_directories_end(tmp_path: Path) -> None:
    """Pointers in circles and values that are not there are left out."""
    entries = [
        (0x010E, 2, 5000, 20),  # text beyond the end
        (0x010F, 99, 1, 0),  # a type that is none
        (0x0110, 2, 4, int.from_bytes(b"abc\0", "little")),
        (CAMERA, 4, 1, 8),  # the first directory itself
        (GPS, 4, 1, 10**9),
    ]
    table = b"".join(
        tag.to_bytes(2, "little")
        + kind.to_bytes(2, "little")
        + count.to_bytes(4, "little")
        + value.to_bytes(4, "little")
        for tag, kind, count, value in entries
    )
    data = b"II*\0\x08\0\0\0" + len(entries).to_bytes(2, "little") + table + bytes(4)
    tiff = TiffStructure.parse(data)
    assert tiff.fields(tiff.start) == {0x0110: (2, 4, b"abc\0")}


@pytest.mark.parametrize("tags", [50, 2000])
def test_values_told_of_many_times_do_not_multiply(tags: int, tmp_path: Path) -> None:
    """Every tag of the camera's directory is the same 65,535 bytes, and it refers to itself."""
    write_picture(Picture(PIXELS), tmp_path / "a.tif")
    many = dict.fromkeys(range(0x9000, 0x9000 + tags), (7, 65535, bytes(65535)))
    single = {0x9000: (7, 65535, bytes(65535))}
    data = bytearray(b"II*\0\x08\0\0\0" + packed({CAMERA: single}, "<", big=False, start=8))
    values, directory = len(data) - 65536, len(data)
    struct.pack_into("<I", data, 10 + 8, directory)
    data += struct.pack("<H", tags + 1)
    data += b"".join(struct.pack("<HHII", tag, 7, 65535, values) for tag in sorted(many))
    data += struct.pack("<HHIII", GPS, 4, 1, directory, 0)
    assert len(data) < 100_000
    start = time.process_time()
    block = exif_of_tiff(bytes(data))
    assert time.process_time() - start < 2
    assert block is not None
    assert 65535 < len(block) < 300_000


def test_a_directory_full_of_short_values_is_packed_at_once() -> None:
    many = {tag: (3, 1, struct.pack("<H", 7)) for tag in range(65000)}
    start = time.process_time()
    table = packed(dict(many), "<", big=False, start=8)
    assert time.process_time() - start < 2
    tiff = TiffStructure.parse(b"II*\0\x08\0\0\0" + table)
    assert len(tiff.entries(tiff.start)[0]) == 65000


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_never_escape(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    path = tmp_path / "a.tif"
    write_picture(Picture(PIXELS), path)
    plain = path.read_bytes()
    whole = block("<>"[seed % 2])
    for _ in range(40):
        broken = bytearray(whole)
        for place in random.integers(0, len(broken), 4):
            broken[place] = random.integers(256)
        take_orientation(bytes(broken))
        path.write_bytes(plain)
        add_metadata_to_tiff(path, bytes(broken), None, 9, 8)
        picture = read_picture(path)
        assert np.array_equal(picture.pixels, PIXELS)
        write_picture(picture, tmp_path / "b.jpg")


def test_a_full_disk_is_an_os_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_picture(Picture(PIXELS), path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            add_metadata_to_tiff(path, block("<"), None, 9, 8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
