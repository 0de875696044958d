"""Guides whole, in numbers that are asked for and never guessed; cubes and guides with gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from vernier.errors import InputError
from vernier.fusion import fuse
from vernier.fusion.pair import Pair, read_pair
from vernier.fusion.plausibility import compare_guide
from vernier.io import Picture, write_picture
from vernier.io.cubes import Cube, read_cube, write_cube


def light(channels: int, height: int = 24, width: int = 32) -> NDArray[np.float64]:
    y, x = np.mgrid[:height, :width]
    phases = np.arange(channels)[:, None, None]
    return np.asarray(0.5 + 0.45 * np.sin(x / 5 + phases) * np.cos(y / 4 - phases))


# Where the light of the guide is, four times coarser.
LR = light(6).reshape(6, 6, 4, 8, 4).mean((2, 4)).astype(np.float32)


@pytest.mark.parametrize("channels", [2, 3, 4, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("layout", ["pages", "separate", "contig"])
def test_every_band_of_a_tiff_guide_is_a_channel(
    tmp_path: Path, channels: int, dtype: type[np.unsignedinteger], layout: str
) -> None:
    peak = np.iinfo(dtype).max
    values = np.rint(light(channels) * peak).astype(dtype)
    path = tmp_path / "guide.tif"
    if layout == "pages":
        tifffile.imwrite(path, values, photometric="minisblack")
    else:
        extra = ["unspecified"] * (channels - 1)
        stored = values if layout == "separate" else np.ascontiguousarray(values.transpose(1, 2, 0))
        tifffile.imwrite(
            path, stored, photometric="minisblack", planarconfig=layout, extrasamples=extra
        )
    pair = read_pair(LR, path)
    np.testing.assert_allclose(pair.guide, values / peak, rtol=1e-6)


def test_pages_that_are_no_bands_of_one_guide_are_refused(tmp_path: Path) -> None:
    rgb = np.rint(light(3) * 255).astype(np.uint8).transpose(1, 2, 0)
    frames = [Image.fromarray(np.roll(rgb, n, 1)) for n in range(3)]
    frames[0].save(tmp_path / "guide.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="holds 3 pictures; save the one that is the guide"):
        read_pair(LR, tmp_path / "guide.gif")
    with tifffile.TiffWriter(tmp_path / "guide.tif") as file:
        for n in range(2):
            file.write(np.roll(rgb, n, 1), photometric="rgb")
    with pytest.raises(InputError, match="not one cube"):
        read_pair(LR, tmp_path / "guide.tif")


@pytest.mark.parametrize("bits", [8, 10, 11, 12, 14])
@pytest.mark.parametrize("form", [".tif", ".png", "pages", "picture", "array"])
def test_the_peak_of_a_guide_of_fewer_bits_is_asked_for(
    tmp_path: Path, bits: int, form: str
) -> None:
    values = np.rint(light(3) * (2**bits - 1)).astype(np.uint16)
    values[0, 0, 0] = 2**bits - 1
    pixels = np.ascontiguousarray(values.transpose(1, 2, 0))
    guide: Path | Picture | NDArray[np.uint16] = values
    if form == "picture":
        guide = Picture(pixels)
    elif form != "array":
        guide = tmp_path / ("guide.tif" if form == "pages" else f"guide{form}")
        if form == "pages":
            tifffile.imwrite(guide, values, photometric="minisblack")
        else:
            write_picture(Picture(pixels), guide)
    with pytest.raises(InputError, match=r"largest of its 16-bit values.*pass --guide-peak"):
        read_pair(LR, guide)
    pair = read_pair(LR, guide, guide_peak=2**bits - 1)
    np.testing.assert_allclose(pair.guide, values / (2**bits - 1), rtol=1e-6)
    assert pair.notes == ()


@pytest.mark.parametrize(("peak", "notes"), [(65535, 0), (40000, 0), (30000, 1)])
def test_a_picture_of_all_sixteen_bits_needs_no_option(
    tmp_path: Path, peak: int, notes: int
) -> None:
    pixels = np.rint(light(3) * peak).astype(np.uint16).transpose(1, 2, 0)
    write_picture(Picture(np.ascontiguousarray(pixels)), tmp_path / "guide.png")
    pair = read_pair(LR, tmp_path / "guide.png")
    np.testing.assert_allclose(pair.guide.transpose(1, 2, 0), pixels / 65535, rtol=1e-6)
    # Within 15 bits another depth is possible.
    assert ["peak 65535" in note for note in pair.notes] == [True] * notes


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint32"])
def test_a_pan_band_of_other_integers_needs_its_peak(tmp_path: Path, dtype: str) -> None:
    values = np.rint(light(1)[0] * 9000).astype(dtype)
    tifffile.imwrite(tmp_path / "pan.tif", values)
    with pytest.raises(InputError, match="--guide-peak"):
        read_pair(LR, tmp_path / "pan.tif")
    pair = read_pair(LR, tmp_path / "pan.tif", guide_peak=10000)
    np.testing.assert_allclose(pair.guide[0], values / 10000, rtol=1e-6)


def test_a_cube_as_guide_is_told_its_own_option(tmp_path: Path) -> None:
    write_cube(Cube(np.rint(light(4) * 4000).astype(np.uint16)), tmp_path / "guide.h5")
    with pytest.raises(InputError, match=r"guide\.h5.* pass --guide-peak"):
        read_pair(LR, tmp_path / "guide.h5")


@pytest.mark.parametrize("method", ["bicubic", "guided-filter", "gsa"])
@pytest.mark.parametrize(
    ("dtype", "gap"),
    [("int16", -9999), ("uint16", 0), ("uint16", 65535), ("float32", np.nan), ("float32", -9999)],
)
def test_pixels_without_data_have_none_in_the_result(
    tmp_path: Path, method: str, dtype: str, gap: float
) -> None:
    values = np.rint(LR * 9000 + 1).astype(dtype)
    gaps = np.zeros(values.shape, bool)
    gaps[:, 2:4, 3:6] = gaps[4, 0, 0] = True
    values[gaps] = gap
    cube = Cube(values, 10000.0, no_data=None if np.isnan(gap) else gap)
    guide = light(3).astype(np.float32)
    write_cube(cube, tmp_path / "cube.hdr")
    found = fuse(tmp_path / "cube.hdr", guide, tmp_path / "sharp.hdr", model=method)
    assert not isinstance(found, list)
    assert any("filled for the fusion, and no data in the result" in n for n in found.notes)
    sharp = read_cube(tmp_path / "sharp.hdr")
    seen = sharp.gaps()
    assert seen is not None
    np.testing.assert_array_equal(seen, gaps.repeat(4, 1).repeat(4, 2))
    whole = fuse(Cube(np.rint(LR * 9000 + 1).astype(dtype), 10000.0), guide, model=method)
    assert not isinstance(whole, list)
    # Away from the gaps the result is that of the cube with data everywhere.
    far = np.s_[:, 20:, :8]
    np.testing.assert_allclose(sharp.values[far], whole.cube.values[far], atol=900)
    assert np.isfinite(found.values).all()


def test_a_measured_value_is_never_taken_for_no_data() -> None:
    for dtype, gap, other in (("uint16", 0, 1), ("uint8", 255, 254), ("float32", 0.0, 1e-30)):
        gaps = np.zeros((1, 2, 2), bool)
        gaps[0, 0, 0] = True
        pair = Pair(
            np.full((1, 2, 2), 0.5, np.float32),
            np.full((1, 4, 4), 0.5, np.float32),
            peak=1.0,
            dtype=np.dtype(dtype),
            gaps=gaps,
            no_data=float(gap),
        )
        cube = pair.as_cube(np.full((1, 4, 4), gap, np.float32))
        assert (cube.values[0, :2, :2] == gap).all()
        assert (cube.values[0, 2:] != gap).all()
        assert abs(float(cube.values[0, 3, 3]) - gap) <= other


def test_the_comparison_leaves_pixels_without_data_out() -> None:
    sharp = light(6).astype(np.float32)
    lr, guide = LR, sharp[:3].copy()
    right = compare_guide(Pair(lr, guide)).fit
    gaps = np.zeros(lr.shape, bool)
    gaps[:, :3, :4] = True
    spoilt = np.where(gaps, np.random.default_rng(0).random(lr.shape), lr).astype(np.float32)
    assert compare_guide(Pair(spoilt, guide)).fit < right - 0.1
    assert compare_guide(Pair(spoilt, guide, gaps=gaps)).fit > right - 0.05
    other = np.zeros(guide.shape[1:], bool)
    other[:12, :16] = True
    spoilt_guide = np.where(other, np.float32(0.5), guide)
    assert compare_guide(Pair(lr, spoilt_guide, guide_gaps=other)).fit > right - 0.05


def test_a_guide_with_gaps_is_filled_and_told(tmp_path: Path) -> None:
    values = np.rint(light(1)[0] * 60000 + 1).astype(np.uint16)
    values[:4, :4] = 0
    tag = [(42113, "s", 2, "0", True)]
    tifffile.imwrite(tmp_path / "pan.tif", values, extratags=tag)
    pair = read_pair(LR, tmp_path / "pan.tif")
    assert pair.guide_gaps is not None
    assert pair.guide_gaps.sum() == 16
    assert pair.guide.min() > 0
    assert any("no data (0 at" in note for note in pair.notes)


def test_wrong_masks_are_refused() -> None:
    guide = light(3).astype(np.float32)
    with pytest.raises(InputError, match="the cube's gaps must be"):
        Pair(LR, guide, gaps=np.zeros((6, 8), bool))
    with pytest.raises(InputError, match="the guide's gaps must be"):
        Pair(LR, guide, guide_gaps=np.zeros((3, 24, 32), bool))
