"""Values beyond white and black: one of them must not change the picture around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vernier.imaging import imresize
from vernier.upscaling import Upscaler

Photo = Callable[..., np.ndarray]
ENGINES = ("torch", "openvino")
# LR pixels that an sesr-m3 sees, and two that bicubic does.
_REACH = 7 + 2


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(a.astype(np.float64) - b).mean() + 1e-20))


def away_from(row: int, column: int, size: tuple[int, int]) -> np.ndarray:
    """(2 H, 2 W): what a pixel cannot reach."""
    rows, columns = (np.arange(2 * length) // 2 for length in size)
    near = (abs(rows - row) <= _REACH)[:, None] & (abs(columns - column) <= _REACH)
    return ~near


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("brightest", [1.5, 10.0, 100.0, 6e4])
def test_a_hot_pixel_leaves_a_flat_picture_as_it_is(
    engine: Any, brightest: float, weights: dict[int, Path]
) -> None:
    flat = np.full((60, 70, 3), 0.5, np.float32)
    hot = flat.copy()
    hot[30, 40] = brightest
    upscaler = Upscaler(weights[2], engine=engine)
    without, with_it = upscaler.upscale_array(flat), upscaler.upscale_array(hot)
    away = away_from(30, 40, (60, 70))
    np.testing.assert_array_equal(with_it[away], without[away])
    assert with_it.min() >= 0
    # Bicubic spreads a pixel over two: its light stays, and nothing is brighter than it was.
    assert 0.5 * brightest < with_it.max() <= brightest * 1.0001


@pytest.mark.parametrize("name", ["sesr-m5", "grla-s"])
def test_a_linear_photograph_with_a_hot_pixel_stays_itself(name: str, photo: Photo) -> None:
    linear = photo(64, 80, 3, np.float32) ** 2.2
    hot = linear.copy()
    hot[20, 30] = 100
    upscaler = Upscaler(name)
    without, with_it = upscaler.upscale_array(linear), upscaler.upscale_array(hot)
    away = away_from(20, 30, (64, 80))
    assert psnr(with_it[away], without[away]) > 60


def test_the_network_sees_white_and_bicubic_carries_the_rest(
    weights: dict[int, Path], photo: Photo
) -> None:
    bright = 3 * photo(30, 40, 3, np.float32)
    upscaler = Upscaler(weights[2])
    above = torch.from_numpy(np.maximum(bright - 1, 0)).permute(2, 0, 1)
    carried = imresize(above, 2.0).clamp(0, float(above.max())).permute(1, 2, 0).numpy()
    expected = upscaler.upscale_array(np.minimum(bright, 1)) + carried
    np.testing.assert_allclose(upscaler.upscale_array(bright), expected, atol=1e-5)


@pytest.mark.parametrize("scale", [1.5, 4, 5])
def test_light_goes_through_every_chain_of_networks(scale: float, weights: dict[int, Path]) -> None:
    """A large bright area keeps its value, whatever networks and resizing make the size."""
    pixels = np.full((40, 40, 1), 0.25, np.float32)
    pixels[10:30, 10:30] = 7.5
    result = Upscaler(weights[2], scale=scale).upscale_array(pixels)
    middle = result.shape[0] // 2
    assert result[middle, middle, 0] == pytest.approx(7.5, abs=0.5)
    assert result[0, 0, 0] < 1


def test_what_is_not_light_stays_out(weights: dict[int, Path]) -> None:
    """Alpha ends at 1, and transparent pixels shine on nothing."""
    pixels = np.full((30, 30, 4), 0.5, np.float32)
    pixels[10:15, 10:15] = (50, 50, 50, 0)
    pixels[20, 20, 3] = 9
    result = Upscaler(weights[2]).upscale_array(pixels)
    assert result.max() <= 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pixel_below_black_is_carried_like_one_above_white(
    engine: Any, weights: dict[int, Path]
) -> None:
    flat = np.full((60, 70, 3), 0.5, np.float32)
    dark = flat.copy()
    dark[30, 40] = -100
    upscaler = Upscaler(weights[2], engine=engine)
    without, with_it = upscaler.upscale_array(flat), upscaler.upscale_array(dark)
    away = away_from(30, 40, (60, 70))
    np.testing.assert_array_equal(with_it[away], without[away])
    assert -100.01 <= with_it.min() < -50
    assert with_it.max() < 1.01


def test_values_far_from_black_and_white_are_bicubic(
    weights: dict[int, Path], photo: Photo
) -> None:
    heights = 200 + 800 * photo(40, 50, 1, np.float32)
    result = Upscaler(weights[2]).upscale_array(heights)
    expected = imresize(torch.from_numpy(heights).permute(2, 0, 1), 2.0).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(result, expected.clip(0, heights.max()), atol=1)
    signed = 20 * photo(40, 50, 1, np.float32) - 10
    result = Upscaler(weights[2]).upscale_array(signed)
    assert result.min() == pytest.approx(signed.min(), abs=0.5)
    assert result.max() == pytest.approx(signed.max(), abs=0.5)


def test_pictures_up_to_white_and_the_callers_array_are_as_they_were(
    weights: dict[int, Path], photo: Photo
) -> None:
    pixels = photo(20, 30, 3, np.float32)
    hot = pixels.copy()
    hot[3, 4], hot[5, 6] = 9, np.nan
    given = hot.copy()
    Upscaler(weights[2]).upscale_array(hot)
    np.testing.assert_array_equal(hot, given)
