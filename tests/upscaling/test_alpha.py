from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vernier.upscaling import Upscaler
from vernier.upscaling import upscaler as upscaler_module
from vernier.upscaling.alpha import bleed


def white_disk(dtype: type = np.uint8) -> np.ndarray:
    """White and soft-edged on fully transparent black, as encoders store it."""
    y, x = np.mgrid[:41, :37]
    alpha = np.clip(14 - np.hypot(y - 20, x - 18), 0, 1)
    peak = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    pixels = np.zeros((41, 37, 4))
    pixels[..., :3] = (alpha > 0)[..., None]
    pixels[..., 3] = alpha
    return (pixels * peak).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_hidden_pixels_take_the_colour_around_them_and_visible_ones_stay(dtype: type) -> None:
    pixels = white_disk(dtype)
    filled = bleed(pixels)
    white = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    np.testing.assert_allclose(filled[..., :3], white, rtol=1e-6)
    np.testing.assert_array_equal(filled[..., 3], pixels[..., 3])


def test_the_nearest_colours_are_taken() -> None:
    pixels = np.zeros((16, 32, 4), np.uint8)
    pixels[:, :8] = (200, 10, 10, 255)
    pixels[:, 24:] = (10, 10, 200, 255)
    filled = bleed(pixels)
    np.testing.assert_array_equal(filled[:, :16, :3], np.broadcast_to((200, 10, 10), (16, 16, 3)))
    np.testing.assert_array_equal(filled[:, 16:, :3], np.broadcast_to((10, 10, 200), (16, 16, 3)))


def test_nothing_to_do_returns_the_same_pixels(photo: Callable[..., np.ndarray]) -> None:
    opaque = photo(9, 7, 2)
    assert bleed(opaque) is opaque
    hidden = opaque.copy()
    hidden[..., -1] = 0
    np.testing.assert_array_equal(bleed(hidden), hidden)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_no_dark_seam_around_a_transparent_object(
    engine: str, weights: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    upscaler = Upscaler(weights[2], engine=engine)  # type: ignore[arg-type]
    pixels = white_disk()
    solid = pixels.copy()
    solid[..., 3] = 255
    solid[..., :3] = 255

    def darkest_visible(result: np.ndarray) -> int:
        return int(result[result[..., 3] > 0][:, :3].min())

    # A white picture comes out as white as the network leaves it, border aside.
    reference = upscaler.upscale_array(solid)[16:-16, 16:-16, :3].min()
    seamless = upscaler.upscale_array(pixels)
    assert seamless[..., 3].min() == 0
    assert seamless[..., 3].max() == 255
    assert darkest_visible(seamless) >= reference - 1
    monkeypatch.setattr(upscaler_module, "bleed", lambda unfilled: unfilled)
    assert darkest_visible(upscaler.upscale_array(pixels)) < reference - 50
