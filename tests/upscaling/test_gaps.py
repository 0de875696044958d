"""Pixels without data: nothing of them spreads, and they are empty again in the larger picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from vernier.data.folders import read_uint8
from vernier.io import Picture, PictureError, encode_picture, losses_in, read_picture, write_picture
from vernier.upscaling import Upscaler, upscale
from vernier.upscaling.files import upscale_files
from vernier.upscaling.gaps import fill_gaps, find_gaps, put_gaps_back

Photo = Callable[..., np.ndarray]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.tif"


def heights(photo: Photo) -> np.ndarray:
    return 200 + 800 * photo(40, 48, 1, np.float32)


@pytest.mark.parametrize("no_data", [np.nan, -9999.0, 1e20, 0.0])
@pytest.mark.parametrize("tagged", [True, False])
def test_gaps_of_float_files_stay(
    no_data: float, tagged: bool, path: Path, photo: Photo, weights: dict[int, Path]
) -> None:
    if not tagged and no_data >= 0:
        pytest.skip("nothing says that it stands for no data")
    values = heights(photo)
    whole = values.copy()
    values[:, :12] = no_data
    values[20, 30] = no_data
    tags = [(42113, 2, 0, f"{no_data:g}", True)] if tagged and not np.isnan(no_data) else []
    tifffile.imwrite(path, values, extratags=tags, compression="deflate", predictor=3)
    picture = read_picture(path)
    told = [note for note in picture.notes if "without data" in note]
    assert len(told) == (not tagged and not np.isnan(no_data))

    upscale_files([path], path.with_name("b.tif"), model=weights[2])
    result = tifffile.imread(path.with_name("b.tif"))[..., None].reshape(80, 96)
    gone = np.isnan(values) if np.isnan(no_data) else values == np.float32(no_data)
    larger = gone[..., 0].repeat(2, 0).repeat(2, 1)
    found = np.isnan(result) if np.isnan(no_data) else result == np.float32(no_data)
    np.testing.assert_array_equal(found, larger)
    # What lies beside is as if there were no gap, but for what only the gap's own pixels told.
    rest = result[~larger]
    assert rest.min() > 150
    assert rest.max() <= whole.max()
    expected = Upscaler(weights[2]).upscale_array(whole)[..., 0]
    np.testing.assert_array_equal(result[:30, 40:], expected[:30, 40:])
    with tifffile.TiffFile(path.with_name("b.tif")) as file:
        tag = file.pages[0].tags.get(42113)
    assert (tag is None) if np.isnan(no_data) else float(tag.value) == pytest.approx(no_data)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_gaps_of_integers_are_pixels_with_the_value_in_all_channels(
    dtype: str, path: Path, photo: Photo, weights: dict[int, Path]
) -> None:
    unit = 1 if dtype == "uint8" else 100
    values = (unit * (40 + 150 * photo(30, 36, 3, np.float32))).astype(dtype)
    values[:, :9] = 0
    values[20, 20] = (90 * unit, 0, 90 * unit)
    tifffile.imwrite(path, values, photometric="rgb", extratags=[(42113, 2, 0, "0", True)])
    result = upscale(path, path.with_name("b.tif"), model=weights[2])
    assert result.picture.no_data == 0
    pixels = result.picture.pixels
    assert (pixels[:, :18] == 0).all()
    assert (pixels[:, 18:].max(2) > 0).all()
    seam, beside = pixels[:, 18:20].mean(), pixels[:, 20:30].mean()
    assert seam > 0.8 * beside  # beside black it would be half as bright
    if dtype != "int16":
        assert pixels[40, 40, 1] < 60 * unit
        losses = losses_in(result.picture, ".png")
        assert any("0 stands for pixels without data" in loss for loss in losses)
    again = read_picture(path.with_name("b.tif"))
    assert again.no_data == 0
    np.testing.assert_array_equal(again.pixels, pixels)
    assert read_picture(encode_picture(result.picture, "tif")).no_data == 0


def test_a_value_that_is_usual_for_no_data_may_be_a_value(path: Path) -> None:
    for values, expected in (
        ([-9999, -9998, 5], None),
        ([-9999, 3, 5], -9999),
        ([-32768, -100, 5], -32768),
        ([np.finfo(np.float32).min, 0, 1], float(np.finfo(np.float32).min)),
        ([-1, 3, 5], None),
    ):
        tifffile.imwrite(path, np.array([values], np.float32))
        assert read_picture(path).no_data == expected


@pytest.mark.parametrize("scale", [1.5, 2, 3, 4])
def test_gaps_are_filled_and_put_back(scale: float) -> None:
    pixels = np.array([[1, 5, 9], [np.nan, 5, 7]], np.float32)[..., None]
    gaps = find_gaps(pixels, has_alpha=False)
    assert gaps is not None
    filled = fill_gaps(pixels, gaps)
    assert filled[~gaps].tolist() == [1, 5, 9, 5, 7]
    assert 1 <= filled[1, 0, 0] <= 5
    larger = np.zeros((int(2 * scale), int(np.ceil(3 * scale)), 1), np.float32)
    put_gaps_back(larger, pixels, gaps, scale)
    empty = np.isnan(larger[..., 0])
    assert empty[-1, 0]
    assert not empty[0].any()
    assert not empty[:, -1].any()
    assert empty.sum() == round(scale) ** 2 if scale != 1.5 else empty.sum() in (1, 2, 4)


def test_a_dark_pixel_is_not_taken_for_a_gap() -> None:
    for no_data, beside in ((0, 1), (255, 254)):
        pixels = np.full((1, 2, 3), 100, np.uint8)
        pixels[0, 0] = no_data
        gaps = find_gaps(pixels, has_alpha=False, no_data=no_data)
        assert gaps is not None
        larger = np.full((2, 4, 3), no_data, np.uint8)
        put_gaps_back(larger, pixels, gaps, 2, no_data=no_data)
        assert (larger[:, :2] == no_data).all()
        assert (larger[:, 2:, 0] == beside).all()


def test_pictures_of_nothing_stay_nothing(weights: dict[int, Path]) -> None:
    empty = np.full((10, 12, 3), np.nan, np.float32)
    assert np.isnan(Upscaler(weights[2]).upscale_array(empty)).all()
    assert find_gaps(np.zeros((3, 3, 1), np.uint8), has_alpha=False) is None
    transparent = np.full((10, 12, 4), np.nan, np.float32)
    result = Upscaler(weights[2]).upscale_array(transparent)
    assert np.isfinite(result[..., 3]).all()


# Values that a format of integers does not hold


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif"])
def test_measurements_are_no_picture(suffix: str, path: Path, photo: Photo) -> None:
    picture = Picture(heights(photo))
    with pytest.raises(
        PictureError, match=r"values go from 3.* takes 0 to 1: write TIFF"
    ) as caught:
        write_picture(picture, path.with_suffix(suffix))
    assert str(caught.value).startswith(str(path.with_suffix(suffix)))
    assert not path.with_suffix(suffix).exists()
    with pytest.raises(PictureError, match="values go from"):
        encode_picture(picture, suffix)


def test_a_batch_goes_on_where_measurements_cannot_be_written(
    path: Path, photo: Photo, weights: dict[int, Path]
) -> None:
    tifffile.imwrite(path, heights(photo))
    tifffile.imwrite(path.with_name("b.tif"), photo(20, 20, 3), photometric="rgb")
    done = upscale_files([path.parent], path.parent / "out", suffix=".png", model=weights[2])
    (error,) = done.errors
    assert "values go from" in str(error)
    assert [outcome.job.target.name for outcome in done.written] == ["b.png"]


def test_what_is_cut_is_told(path: Path, photo: Photo, weights: dict[int, Path]) -> None:
    values = photo(20, 24, 3, np.float32)
    values[4:6, 4:6] = 3
    values[9, 9] = -0.5
    tifffile.imwrite(path, values, photometric="rgb")
    notes = upscale(path, path.with_suffix(".png"), model=weights[2]).notes
    assert any("are cut to 0 to 1, for PNG holds no others" in note for note in notes)
    assert not upscale(path, path.with_name("b.tif"), model=weights[2]).notes
    values[12, 12] = np.nan
    losses = losses_in(Picture(values), ".png")
    assert any("pixels without data are black" in loss for loss in losses)
    (told,) = losses_in(Picture(photo(20, 24, 3, np.float32)), ".png")
    assert "rounded to 16 bits" in told


def test_what_the_network_did_not_do_is_told(photo: Photo, weights: dict[int, Path]) -> None:
    (note,) = Upscaler(weights[2]).upscale(Picture(heights(photo))).notes
    assert "100% lie outside of 0 to 1" in note


def test_measurements_are_not_trained_on(path: Path, photo: Photo) -> None:
    tifffile.imwrite(path, heights(photo))
    with pytest.raises(PictureError, match="a picture to train or measure on takes 0 to 1"):
        read_uint8(path)
