"""Colours that a PNG tells without a profile: kept in PNG, by a profile elsewhere, or told."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from vernier.io import encode_picture, losses_in, read_picture
from vernier.io.colour_chunks import colour_profile
from vernier.io.picture_formats import FORMATS
from vernier.io.png import chunk, png_with_chunks, read_chunks

PROFILED = sorted(
    suffix
    for each in FORMATS
    if each.is_written and each.metadata and each.key != "png"
    for suffix in each.suffixes
)
GAMMA_1 = (b"gAMA", struct.pack(">I", 100000))
GAMMA_SRGB = (b"gAMA", struct.pack(">I", 45455))
P3 = (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
SRGB_POINTS = (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
SRGB = (b"sRGB", b"\0")
PQ = (b"cICP", bytes([9, 16, 0, 1]))
HLG = (b"cICP", bytes([9, 18, 0, 1]))
DISPLAY_P3 = (b"cICP", bytes([12, 13, 0, 1]))
LIGHT = (b"mDCV", bytes(24))
RAMP = np.linspace(0, 255, 24 * 20 * 3).reshape(24, 20, 3).astype(np.uint8)


def png(*chunks: tuple[bytes, bytes], pixels: np.ndarray = RAMP) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return png_with_chunks(file.getvalue(), chunks)


def in_srgb(profile: bytes, colours: list[tuple[int, ...]], mode: str = "RGB") -> np.ndarray:
    """What colours are in sRGB, by a colour management of others' making."""
    values = np.array([colours], np.uint8)
    image = Image.fromarray(values[..., 0] if mode == "L" else values)
    done = ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
    )
    assert done is not None
    return np.asarray(done)[0].astype(int)


@pytest.mark.parametrize(
    "chunks",
    [[GAMMA_1], [GAMMA_SRGB, P3], [SRGB], [PQ, LIGHT], [DISPLAY_P3], [GAMMA_SRGB, SRGB_POINTS]],
)
def test_a_png_keeps_its_chunks(chunks: list[tuple[bytes, bytes]], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(*chunks))
    for source in (tmp_path / "a.png", png(*chunks)):
        picture = read_picture(source)
        np.testing.assert_array_equal(picture.pixels, RAMP)
        again = encode_picture(picture, "png")
        kept = list(read_chunks(again))
        assert [each for each in kept if each in chunks] == chunks
        names = [name for name, _ in kept]
        assert len(names) == len(set(names))
        assert max(names.index(name) for name, _ in chunks) < names.index(b"IDAT")
        np.testing.assert_array_equal(read_picture(again).pixels, RAMP)
        assert not losses_in(picture, ".png")


def test_a_profile_goes_before_all_but_its_own_kind() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = io.BytesIO()
    Image.fromarray(RAMP).save(file, "PNG", icc_profile=profile)
    picture = read_picture(png_with_chunks(file.getvalue(), [GAMMA_1, SRGB]))
    assert picture.icc_profile == profile
    names = [name for name, _ in read_chunks(encode_picture(picture, "png"))]
    assert b"gAMA" in names
    assert b"sRGB" not in names
    assert read_picture(encode_picture(picture, "jpg")).icc_profile == profile


@pytest.mark.parametrize("suffix", PROFILED)
def test_other_formats_get_a_profile_that_says_the_same(suffix: str) -> None:
    picture = read_picture(png(GAMMA_1))
    profile = read_picture(encode_picture(picture, suffix, quality=100)).icc_profile
    assert profile is not None
    assert not losses_in(picture, suffix)
    # Half of the light is 188 of 255 in sRGB.
    assert (
        np.abs(in_srgb(profile, [(0,) * 3, (128,) * 3, (255,) * 3])[:, 0] - (0, 188, 255)).max() < 3
    )
    for chunks in ([SRGB], [GAMMA_SRGB], [GAMMA_SRGB, SRGB_POINTS], []):
        plain = read_picture(png(*chunks))
        assert read_picture(encode_picture(plain, suffix)).icc_profile is None
        assert not losses_in(plain, suffix)


def test_profiles_are_what_the_chunks_say() -> None:
    for block in (chunk(*P3), chunk(*GAMMA_SRGB) + chunk(*P3), chunk(*DISPLAY_P3)):
        profile = colour_profile(block, gray=False)
        assert profile is not None
        white, gray, red, muted = in_srgb(
            profile, [(255,) * 3, (128,) * 3, (255, 0, 0), (200, 100, 100)]
        )
        assert np.abs(white - 255).max() <= 1
        assert np.abs(gray - 128).max() <= 2
        assert red.tolist() == [255, 0, 0]  # beyond sRGB
        # Display P3 (200, 100, 100) is sRGB (212, 94, 97): linear light through both matrices.
        assert np.abs(muted - (213, 94, 97)).max() <= 3
    video = colour_profile(chunk(b"cICP", bytes([1, 1, 0, 1])), gray=False)
    assert video is not None
    assert 128 < in_srgb(video, [(128,) * 3])[0, 0] < 150
    for mode, gray in (("L", True), ("RGB", False)):
        profile = colour_profile(chunk(*GAMMA_1), gray=gray)
        assert profile is not None
        assert profile[16:20] == (b"GRAY" if gray else b"RGB ")
        assert abs(in_srgb(profile, [(128,) * 3], mode)[0, 0] - 188) <= 2


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_a_gray_png_gets_a_gray_profile(suffix: str) -> None:
    picture = read_picture(png(GAMMA_1, pixels=RAMP[..., 0]))
    profile = read_picture(encode_picture(picture, suffix)).icc_profile
    assert profile is not None
    assert profile[16:20] == b"GRAY"


@pytest.mark.parametrize(
    ("chunks", "word"),
    [
        ([PQ], "HDR (PQ)"),
        ([HLG, GAMMA_SRGB], "HDR (HLG)"),
        ([(b"cICP", bytes([99, 13, 0, 1]))], "cICP"),
        ([(b"gAMA", bytes(4))], "gAMA"),
        ([(b"cHRM", bytes(32))], "cHRM"),
        ([(b"cHRM", struct.pack(">8I", *[30000, 30000] * 4))], "cHRM"),
    ],
)
def test_what_no_profile_tells_is_told(chunks: list[tuple[bytes, bytes]], word: str) -> None:
    picture = read_picture(png(*chunks))
    assert read_picture(encode_picture(picture, "jpg")).icc_profile is None
    (loss,) = losses_in(picture, ".jpg")
    assert word in loss
    assert "PNG does" in loss
