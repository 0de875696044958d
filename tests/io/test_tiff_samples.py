"""TIFF files whose samples are not plain gray or RGB: right pixels, or a refusal in one line.

tifffile writes most of them and is the witness of what they hold; colours are held against their
definitions.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile

from vernier.data.folders import read_uint8
from vernier.data.subimages import cut_subimages
from vernier.fusion.pair import read_pair
from vernier.io import Picture, PictureError, encode_picture, picture_size, read_picture
from vernier.io import write_picture as write
from vernier.io.pictures import losses_in
from vernier.upscaling import Upscaler, upscale

Photo = Callable[..., np.ndarray]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.tif"


def read(path: Path) -> Picture:
    """The picture of a file; its bytes give the same."""
    picture, other = read_picture(path), read_picture(path.read_bytes())
    np.testing.assert_array_equal(picture.pixels, other.pixels)
    assert (picture.has_extra_band, picture.notes) == (other.has_extra_band, other.notes)
    size = picture.width, picture.height, picture.pixels.shape[2]
    assert picture_size(path) == picture_size(path.read_bytes()) == size
    return picture


def refusal(path: Path) -> str:
    messages = []
    for source in (path, path.read_bytes()):
        with pytest.raises(PictureError) as caught:
            read_picture(source)
        messages.append(str(caught.value).split(": ", 1)[1])
    assert messages[0] == messages[1]
    assert messages[0].isprintable()
    return messages[0]


# Planes


@pytest.mark.parametrize("samples", [2, 3, 4])
@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int16", "float64"])
def test_planes_are_the_bands(
    photometric: str, samples: int, dtype: str, path: Path, random: np.random.Generator
) -> None:
    if photometric == "rgb" and samples == 2:
        pytest.skip("RGB has three")
    planes = (random.random((samples, 40, 48)) * 200).astype(dtype)
    stored: list[dict[str, Any]] = [
        {"rowsperstrip": 40},
        {"rowsperstrip": 1, "compression": "lzw"},
        {"rowsperstrip": 7, "compression": "deflate", "byteorder": ">"},
        {"rowsperstrip": 16, "bigtiff": True},
        {"tile": (16, 16), "compression": "deflate"},
        {"rowsperstrip": 9, "compression": "zstd"},
    ]
    if dtype.startswith("u"):
        stored.append({"rowsperstrip": 11, "compression": "lzw", "predictor": 2})
    if dtype == "uint8":
        stored.append({"rowsperstrip": 11, "compression": "packbits"})
    for options in stored:
        tifffile.imwrite(path, planes, photometric=photometric, planarconfig="separate", **options)
        np.testing.assert_array_equal(
            read(path).pixels, np.moveaxis(planes, 0, -1).astype(read(path).pixels.dtype)
        )


def test_planes_of_white_is_zero_cmyk_and_premultiplied_alpha(
    path: Path, random: np.random.Generator
) -> None:
    inks = random.integers(0, 256, (4, 20, 30), np.uint8)
    contiguous = np.ascontiguousarray(np.moveaxis(inks, 0, -1))
    tifffile.imwrite(path, contiguous, photometric="separated")
    expected = read(path).pixels
    tifffile.imwrite(path, inks, photometric="separated", planarconfig="separate")
    np.testing.assert_array_equal(read(path).pixels, expected)

    tifffile.imwrite(path, inks[:2], photometric="miniswhite", planarconfig="separate")
    np.testing.assert_array_equal(read(path).pixels, 255 - contiguous[..., :2])

    straight = np.full((8, 8, 4), (200, 100, 50, 128), np.uint8)
    multiplied = np.round(straight * [128 / 255, 128 / 255, 128 / 255, 1]).astype(np.uint8)
    planes = np.ascontiguousarray(np.moveaxis(multiplied, -1, 0))
    tifffile.imwrite(
        path, planes, photometric="rgb", planarconfig="separate", extrasamples=["assocalpha"]
    )
    picture = read(path)
    assert picture.has_alpha
    assert np.abs(picture.pixels.astype(int) - straight).max() <= 1


def test_planes_in_training_fusion_and_sub_images(
    tmp_path: Path, random: np.random.Generator
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    planes = random.integers(0, 256, (4, 40, 48), np.uint8)
    tifffile.imwrite(folder / "a.tif", planes, photometric="minisblack", planarconfig="separate")
    np.testing.assert_array_equal(read_uint8(folder / "a.tif").numpy(), planes[:3])
    assert cut_subimages(folder, tmp_path / "cut", size=40, step=40) == 2
    np.testing.assert_array_equal(
        read_picture(tmp_path / "cut" / "a_s001.png").pixels, np.moveaxis(planes[:3, :, :40], 0, -1)
    )
    cube = random.random((5, 10, 12), dtype=np.float32)
    pair = read_pair(cube, folder / "a.tif")
    np.testing.assert_allclose(pair.guide, planes / np.float32(255), atol=1e-7)


# Bands that are no alpha


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("extra", ["unspecified", "absent"])
def test_a_band_that_is_no_alpha_stays_a_band(
    extra: str, colours: int, dtype: str, path: Path, photo: Photo, weights: dict[int, Path]
) -> None:
    pixels = photo(20, 24, 4, np.dtype(dtype).type)[..., [0, 1, 2, 3] if colours == 3 else [0, 3]]
    pixels[:, 12:, -1] = 0
    pixels = np.ascontiguousarray(pixels)
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb" if colours == 3 else "minisblack",
        planarconfig="contig",
        extrasamples=["unspecified"],
    )
    if extra == "absent":
        with tifffile.TiffFile(path, mode="r+b") as file:
            entry = file.pages[0].tags["ExtraSamples"].offset
        data = bytearray(path.read_bytes())
        struct.pack_into("<H", data, entry, 65000)  # a tag that means nothing
        path.write_bytes(data)
    picture = read(path)
    assert picture.has_extra_band
    assert not picture.has_alpha
    assert (picture.colour_channels, picture.bands.shape[2]) == (colours, colours + 1)

    larger = upscale(picture, path.with_name("b.tif"), model=weights[2])
    alone = Upscaler(weights[2]).upscale_array(np.ascontiguousarray(pixels[..., :-1]))
    np.testing.assert_array_equal(larger.picture.pixels[..., :-1], alone)
    band = Upscaler(weights[2]).upscale_array(np.ascontiguousarray(pixels[..., -1]))
    np.testing.assert_array_equal(larger.picture.pixels[..., -1], band)
    assert not larger.notes
    for file in (path.with_name("b.tif"), path.with_name("c.tif")):
        if file.name == "c.tif":
            file.write_bytes(encode_picture(larger.picture, "tif"))
        with tifffile.TiffFile(file) as written:
            assert tuple(written.pages[0].extrasamples) == (0,)
            np.testing.assert_array_equal(written.pages[0].asarray(), larger.picture.pixels)
        assert read(file).has_extra_band
    guide = read_pair(np.full((3, 10, 12), 0.5, np.float32), picture).guide
    assert guide.shape == (colours + 1, 20, 24)
    if dtype == "float32":
        return
    for suffix in (".png", ".jpg", ".webp", ".avif"):
        write(picture, path.with_suffix(suffix), quality=100)
        told = losses_in(picture, suffix)
        assert "no place" in told[0]
        fewer_bits = dtype == "uint16" and suffix != ".png"
        assert len(told) == 1 + fewer_bits
        again = read_picture(path.with_suffix(suffix))
        assert not again.has_alpha
        if suffix == ".png":
            np.testing.assert_array_equal(again.pixels, pixels[..., :-1])


def test_alpha_stays_alpha(path: Path, photo: Photo) -> None:
    tifffile.imwrite(path, photo(20, 24, 4), photometric="rgb", extrasamples=["unassalpha"])
    picture = read(path)
    assert picture.has_alpha
    write(picture, path)
    with tifffile.TiffFile(path) as written:
        assert tuple(written.pages[0].extrasamples) == (2,)
    guide = read_pair(np.full((3, 10, 12), 0.5, np.float32), picture)
    assert guide.guide.shape[0] == 3
    assert guide.notes == ("the guide: its transparency is left out",)


def test_alpha_among_other_bands_is_refused(path: Path, photo: Photo) -> None:
    pixels = photo(20, 24, 4)
    for extras in (["unassalpha", "unspecified", "unspecified"], ["unspecified", "assocalpha"]):
        channels = len(extras) + 1
        tifffile.imwrite(
            path,
            np.ascontiguousarray(pixels[..., :channels]),
            photometric="minisblack",
            planarconfig="contig",
            extrasamples=extras,
        )
        assert "transparency among other bands" in refusal(path)
    tifffile.imwrite(path, np.dstack([pixels, pixels]), photometric="rgb", planarconfig="contig")
    assert "8 channels" in refusal(path)


# Colour spaces


def ycbcr_of(rgb: np.ndarray, coefficients: tuple[float, float, float]) -> np.ndarray:
    """CCIR Recommendation 601-1 as TIFF 6.0, section 21 has it; not rounded, 8 bits."""
    red, green, blue = coefficients
    y = rgb.astype(float) @ [red, green, blue]
    cb = (rgb[..., 2] - y) / (2 - 2 * blue) + 128
    cr = (rgb[..., 0] - y) / (2 - 2 * red) + 128
    return np.stack([y, cb, cr], -1)


@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
@pytest.mark.parametrize(("across", "down"), [(1, 1), (2, 1), (2, 2), (4, 2), (1, 2)])
def test_ycbcr_becomes_rgb(
    across: int, down: int, compression: str | None, path: Path, photo: Photo
) -> None:
    rgb = photo(24, 32, 3)
    # Blocks of one colour, so that subsampling loses nothing.
    rgb = rgb[::4, ::4].repeat(4, 0).repeat(4, 1)
    codes = np.round(ycbcr_of(rgb, (0.299, 0.587, 0.114))).astype(np.uint8)
    if (across, down) == (1, 1):
        stored, options = codes, {"photometric": "ycbcr", "subsampling": (1, 1)}
    else:
        y = codes[..., 0].reshape(24 // down, down, 32 // across, across).swapaxes(1, 2)
        y = y.reshape(24 // down, 32 // across, across * down)
        blocks = np.dstack([y, codes[::down, ::across, 1:]])
        stored, options = blocks.reshape(24 // down, -1), {"photometric": "minisblack"}
    tifffile.imwrite(path, stored, compression=compression, rowsperstrip=8 // down, **options)
    if (across, down) != (1, 1):
        patch(path, {256: 32, 257: 24, 278: 8, 277: 3, 262: 6})
        set_shorts(path, "Software", 530, (across, down))
    picture = read(path)
    assert picture.pixels.shape == (24, 32, 3)
    assert np.abs(picture.pixels.astype(int) - rgb).max() <= 3
    assert picture.pixels.dtype == np.uint8


def patch(path: Path, values: dict[int, int], page: int = 0) -> None:
    """Change single values in a directory."""
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        places = {tag.code: tag.offset for tag in file.pages[page].tags.values()}
    for code, value in values.items():
        struct.pack_into("<HII", data, places[code] + 2, 4, 1, value)
    path.write_bytes(data)


def set_shorts(path: Path, place: str, code: int, values: tuple[int, int]) -> None:
    """Put a tag in the place of another one."""
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].tags[place].offset
    struct.pack_into("<HHIHH", data, offset, code, 3, 2, *values)
    path.write_bytes(data)


def test_ycbcr_with_black_and_white_of_video_and_own_coefficients(path: Path) -> None:
    rgb = np.array([[[0, 0, 0], [255, 255, 255], [200, 30, 90], [20, 180, 60]]], np.uint8)
    rgb = rgb.repeat(8, 0).repeat(2, 1)
    coefficients = (0.2126, 0.7152, 0.0722)
    full = ycbcr_of(rgb, coefficients) - [0, 128, 128]
    codes = np.round(full * [219 / 255, 224 / 255, 224 / 255] + [16, 128, 128]).astype(np.uint8)
    tags = [
        (529, 5, 3, (2126, 10000, 7152, 10000, 722, 10000), True),
        (532, 5, 6, (16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1), True),
    ]
    tifffile.imwrite(path, codes, photometric="ycbcr", subsampling=(1, 1), extratags=tags)
    assert np.abs(read(path).pixels.astype(int) - rgb).max() <= 3


def test_ycbcr_that_cannot_be_read_is_refused(path: Path, photo: Photo) -> None:
    tifffile.imwrite(path, photo(32, 32, 3), photometric="ycbcr", subsampling=(1, 1), tile=(16, 16))
    assert read(path).pixels.shape == (32, 32, 3)
    set_shorts(path, "YCbCrSubSampling", 530, (2, 2))
    assert "YCbCr" in refusal(path)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("space", ["separated", "cielab"])
@pytest.mark.parametrize("alpha", ["unassalpha", "unspecified"])
def test_alpha_beside_cmyk_and_lab(space: str, dtype: str, alpha: str, path: Path) -> None:
    peak = np.iinfo(dtype).max
    colour = {"separated": (0.1, 0.5, 0.3, 0.0), "cielab": (0.6, 0.05, 0.1)}[space]
    flat = np.round(np.array(colour) * peak).astype(dtype) * np.ones((8, 16, 1), dtype)
    tifffile.imwrite(path, flat, photometric=space, planarconfig="contig")
    expected = read(path).pixels
    assert expected.dtype == dtype
    ramp = np.broadcast_to(np.linspace(0, peak, 16).round().astype(dtype), (8, 16))
    both = np.dstack([flat, ramp])
    for planarconfig in ("contig", "separate"):
        stored = both if planarconfig == "contig" else np.moveaxis(both, -1, 0)
        tifffile.imwrite(
            path,
            np.ascontiguousarray(stored),
            photometric=space,
            planarconfig=planarconfig,
            extrasamples=[alpha],
        )
        picture = read(path)
        assert picture.has_alpha == (alpha == "unassalpha")
        np.testing.assert_array_equal(picture.pixels[..., 3], ramp)
        np.testing.assert_array_equal(picture.pixels[..., :3], expected)
        assert picture.icc_profile == pyvips.Image.profile_load("srgb")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_lab_is_the_colour_that_it_names(dtype: str, path: Path) -> None:
    """sRGB (255, 0, 0) is Lab (53.2, 80.1, 67.2) for D65; both variants of the encoding."""
    lab = np.array([54.3, 80.8, 69.9])  # the same red for D50, as profiles have it
    peak, step = np.iinfo(dtype).max, 1 if dtype == "uint8" else 256
    lightness = round(lab[0] / 100 * peak)
    for photometric, zero in (("cielab", 0), ("icclab", 128)):
        a, b = (round((value + zero) * step) for value in lab[1:])
        pixels = np.full((4, 4, 3), (lightness, a, b), dtype)
        tifffile.imwrite(path, pixels, photometric=photometric)
        red = read(path).pixels[0, 0] / peak * 255
        assert np.abs(red - (255, 0, 0)).max() < 8, photometric


# Previews, masks, camera raws


def test_the_first_page_that_is_no_preview_is_read(path: Path, photo: Photo) -> None:
    full = photo(40, 48, 3)
    with tifffile.TiffWriter(path) as file:
        file.write(full[::4, ::4], photometric="rgb", subfiletype=1)
        file.write(full[..., 0], photometric="minisblack", subfiletype=1)
        file.write(full, photometric="rgb")
        file.write(full[::2, ::2], photometric="rgb", subfiletype=1)
    patch(path, {254: 4}, page=1)  # a mask
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, full)
    assert picture.frames == 1
    with tifffile.TiffWriter(path) as file:
        file.write(full[::4, ::4], photometric="rgb", subfiletype=1)
        for _ in range(2):
            planes = np.moveaxis(full, -1, 0)
            file.write(planes, photometric="minisblack", planarconfig="separate")
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, full)
    assert picture.frames == 2


def test_a_picture_beneath_its_preview_is_refused(path: Path, photo: Photo) -> None:
    full = photo(40, 48, 3)
    with tifffile.TiffWriter(path) as file:
        file.write(full[::4, ::4], photometric="rgb", subfiletype=1, subifds=1)
        file.write(full, photometric="rgb")
    assert "begins with a small preview" in refusal(path)


def test_smaller_copies_beneath_the_picture_are_passed_over(path: Path, photo: Photo) -> None:
    full = photo(40, 48, 3)
    with tifffile.TiffWriter(path) as file:
        file.write(full, photometric="rgb", subifds=1)
        file.write(full[::2, ::2], photometric="rgb", subfiletype=1)
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, full)
    assert not picture.notes


def test_a_lone_preview_is_read_with_a_note(path: Path, photo: Photo) -> None:
    tifffile.imwrite(path, photo(10, 12, 3), photometric="rgb", subfiletype=1)
    picture = read(path)
    assert picture.pixels.shape == (10, 12, 3)
    assert picture.notes == ("is marked as a small preview, and its file holds no larger one",)


def raw_with(
    path: Path, preview: np.ndarray, inner: dict[str, Any], seen: np.ndarray | None = None
) -> None:
    with tifffile.TiffWriter(path) as file:
        file.write(preview, photometric="rgb", subfiletype=1, subifds=1)
        file.write(np.zeros((40, 48), np.uint16) if seen is None else seen, **inner)


@pytest.mark.parametrize("kind", ["dng", "filters inside", "linear raw", "pattern", "CR2", "Nikon"])
def test_camera_raws_are_refused(kind: str, path: Path, photo: Photo) -> None:
    preview = photo(12, 16, 3)
    pattern = (33421, 3, 2, (2, 2), True)
    dng = (50706, 1, 4, b"\x01\x04\0\0", True)
    plain: dict[str, Any] = {"photometric": "minisblack"}
    if kind == "dng":
        tifffile.imwrite(path, preview, photometric="rgb", extratags=[dng])
    elif kind == "filters inside":
        raw_with(path, preview, {"photometric": "cfa"})
    elif kind == "linear raw":
        raw_with(path, preview, {"photometric": 34892}, np.zeros((40, 48, 3), np.uint16))
    elif kind == "pattern":
        raw_with(path, preview, {**plain, "extratags": [pattern]})
    elif kind == "CR2":
        width = struct.pack("<HHHII", 1, 256, 3, 1, 16)
        path.write_bytes(b"II*\0\x10\0\0\0CR\x02\0\0\0\0\0" + width + bytes(4))
    else:
        tifffile.imwrite(path, preview, photometric="rgb")
        patch(path, {259: 34713})
    assert "camera raw" in refusal(path)
    assert "develop it first" in refusal(path)


@pytest.mark.parametrize(
    "head",
    [
        *(b"IIRO\x08\0\0\0", b"IIRS\x08\0\0\0", b"MMOR\0\0\0\x08", b"IIU\0\x18\0\0\0"),
        *(b"FUJIFILMCCD-RAW 0201", b"\0\0\0\x18ftypcrx \0\0\0\x01", b"FOVb\0\0\0\0"),
        *(b"II\x1a\0\0\0HEAPCCDR", b"\0MRM\0\0\0\0"),
    ],
)
def test_raws_of_their_own_signature_are_refused(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(head + bytes(200))
    assert "camera raw" in refusal(path)


# Numbers


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "float64", "int64"])
def test_other_numbers_become_floats(dtype: str, path: Path) -> None:
    values = np.array([[0, 1, 100], [5, 90, 127]]).astype(dtype)
    if not dtype.startswith("u"):
        values[0, 0] = -100
    tifffile.imwrite(path, values)
    picture = read(path)
    assert picture.pixels.dtype == np.float32
    np.testing.assert_array_equal(picture.pixels[..., 0], values)
    (note,) = picture.notes
    assert "kept as 32-bit floats" in note


@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_numbers_of_cameras_fill_16_bits(
    bits: int, white_is_zero: bool, path: Path, random: np.random.Generator
) -> None:
    values = random.integers(0, 2**bits, (6, 8))
    values[0, :2] = 0, 2**bits - 1
    shown = 2**bits - 1 - values if white_is_zero else values
    packed = np.packbits((values[..., None] >> np.arange(bits)[::-1] & 1).reshape(6, -1), axis=1)
    photometric = "miniswhite" if white_is_zero else "minisblack"
    tifffile.imwrite(path, packed.astype(np.uint8), photometric=photometric)
    patch(path, {256: 8, 258: bits})
    pixels = read(path).pixels[..., 0]
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, np.rint(shown * (65535 / (2**bits - 1))))


def test_integers_that_floats_cannot_hold_are_refused(path: Path) -> None:
    tifffile.imwrite(path, np.array([[2**24 + 1, 0]], np.uint32))
    assert refusal(path).startswith("holds integers up to 16777217, more than 32-bit floats")
    tifffile.imwrite(path, np.zeros((4, 4), np.complex64))
    assert refusal(path)


def test_what_tifffile_decodes_names_it_where_it_is_missing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(path, np.zeros((8, 8), np.float64))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    assert "this needs the package tifffile: pip install" in refusal(path)


@pytest.mark.parametrize("compression", ["zstd", "lzma"])
def test_compressions_that_tifffile_knows(compression: str, path: Path, photo: Photo) -> None:
    pixels = photo(30, 20, 3, np.uint16)
    tifffile.imwrite(path, pixels, photometric="rgb", compression=compression, predictor=2)
    np.testing.assert_array_equal(read(path).pixels, pixels)


def test_damage_never_escapes(path: Path, random: np.random.Generator) -> None:
    """Flipped bytes in odd files read, or are refused in one line."""
    pixels = random.integers(0, 256, (24, 32, 4), np.uint8)
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    colours = np.ascontiguousarray(pixels[..., :3])
    seeds = []
    for stored, options in (
        (planes, {"photometric": "minisblack", "planarconfig": "separate"}),
        (planes, {"photometric": "rgb", "planarconfig": "separate", "tile": (16, 16)}),
        (colours, {"photometric": "ycbcr", "subsampling": (1, 1)}),
        (colours, {"photometric": "cielab"}),
        (pixels, {"photometric": "separated"}),
        (pixels.astype(np.float64), {"photometric": "rgb", "extrasamples": ["unspecified"]}),
        (colours, {"photometric": "rgb", "compression": "zstd", "bigtiff": True}),
    ):
        tifffile.imwrite(path, stored, **options)
        seeds.append(path.read_bytes())
    read_whole, messages = 0, []
    for data in seeds:
        for _ in range(150):
            broken = bytearray(data)
            for place in random.integers(0, random.choice([400, len(data)]), 3):
                broken[place] = random.integers(256)
            try:
                read_whole += read_picture(bytes(broken), max_pixels=10**6).pixels.size > 0
            except PictureError as error:
                messages.append(str(error))
    assert read_whole > 100
    assert len(messages) > 100
    assert all(message.isprintable() for message in messages)
