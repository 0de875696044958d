from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vernier.engines.tiles import (
    MIN_WINDOW,
    cut_evenly,
    plan_blended_tiles,
    plan_tiles,
    run_tiles,
    tile_side,
)
from vernier.errors import InputError
from vernier.upscaling import Upscaler
from vernier.upscaling import upscaler as upscaler_module


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (129, 131), (300, 257), (128, 500)])
@pytest.mark.parametrize(("side", "halo"), [(1, 9), (7, 9), (64, 9), (100, 3), (130, 32), (999, 9)])
def test_cores_cover_the_picture_once_and_windows_hold_their_halo(
    size: tuple[int, int], side: int, halo: int
) -> None:
    side = max(side, max(size) // 40)
    height, width = size
    covered = np.zeros(size, int)
    shapes = set()
    for tile in plan_tiles(height, width, side, halo):
        top, left, bottom, right = tile.window
        y0, x0, y1, x1 = tile.core
        covered[y0:y1, x0:x1] += 1
        shapes.add((bottom - top, right - left))
        assert 0 <= top <= max(y0 - halo, 0)
        assert 0 <= left <= max(x0 - halo, 0)
        assert min(y1 + halo, height) <= bottom <= height
        assert min(x1 + halo, width) <= right <= width
    assert (covered == 1).all()
    assert len(shapes) == 1
    assert min(shapes.pop()) >= min(height, width, MIN_WINDOW)


@pytest.mark.parametrize(
    ("scale", "size", "sides"),
    [
        (2, (150, 203), (33, 100)),
        (3, (141, 137), (29, 64)),
        (2, (20, 150), (16, 20)),
        (4, (129, 150), (64,)),
    ],
)
def test_tiles_in_torch_float32_equal_the_whole_picture_bit_for_bit(
    scale: int,
    size: tuple[int, int],
    sides: tuple[int, ...],
    weights: dict[int, Path],
    photo: Callable[..., np.ndarray],
) -> None:
    pixels = photo(*size, 3, np.float32)
    whole = Upscaler(weights[scale], engine="torch", tile=None).upscale_array(pixels)
    for side in sides:
        tiled = Upscaler(weights[scale], engine="torch", tile=side).upscale_array(pixels)
        np.testing.assert_array_equal(tiled, whole, err_msg=f"tile {side}")


def test_a_halo_below_the_receptive_radius_would_show(
    weights: dict[int, Path], photo: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = photo(20, 400, 1, np.float32)
    whole = Upscaler(weights[2], engine="torch", tile=None).upscale_array(pixels)

    def starved(height: int, width: int, side: int, halo: int) -> object:
        return plan_tiles(height, width, side, halo - 1)

    monkeypatch.setattr(upscaler_module, "plan_tiles", starved)
    tiled = Upscaler(weights[2], engine="torch", tile=128).upscale_array(pixels)
    assert not np.array_equal(tiled, whole)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiles_in_openvino_are_within_one_level(
    dtype: type, weights: dict[int, Path], photo: Callable[..., np.ndarray]
) -> None:
    pixels = photo(150, 203, 4, dtype)
    whole = Upscaler(weights[2], engine="openvino", precision="fp32", tile=0).upscale_array(pixels)
    tiled = Upscaler(weights[2], engine="openvino", precision="fp32", tile=50).upscale_array(pixels)
    difference = np.abs(tiled.astype(int) - whole)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.005


def test_run_tiles_holds_no_second_picture() -> None:
    pixels = np.zeros((600, 600, 3), np.uint8)
    result = np.empty((2400, 2400, 3), np.uint8)
    seen = []
    tracemalloc.start()
    run_tiles(
        lambda window: window.repeat(4, 0).repeat(4, 1) + np.uint8(1),
        pixels,
        result,
        plan_tiles(600, 600, 100, 9),
        lambda *call: seen.append(call),
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (result == 1).all()
    assert seen == [(i, 36, "") for i in range(1, 37)]
    assert peak < result.nbytes / 3


def test_auto_tiles_only_when_the_estimate_does_not_fit() -> None:
    def side(memory: float) -> int | None:
        return tile_side(1000, 1000, tile="auto", halo=9, bytes_per_pixel=500, memory=memory)

    assert side(2 * 500 * 1000**2) is None
    limited = side(2 * 500 * 600**2)
    assert limited == 600 - 18
    assert (limited + 18) ** 2 * 500 <= 500 * 600**2
    assert side(0) == MIN_WINDOW - 18


def test_an_explicit_tile_is_taken_as_it_is() -> None:
    def side(tile: object) -> int | None:
        return tile_side(500, 400, tile=tile, halo=9, bytes_per_pixel=1e9, memory=1)  # type: ignore[arg-type]

    assert side(100) == 100
    assert side(0) is None
    assert side(None) is None
    assert side(500) is None
    for wrong in (-1, "many", 3.5):
        with pytest.raises(InputError, match="tile must be"):
            side(wrong)


def test_scarce_memory_makes_auto_tile_and_the_picture_stays_the_same(
    weights: dict[int, Path], photo: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = photo(150, 203, 3, np.float32)
    upscaler = Upscaler(weights[2], engine="torch")
    whole = upscaler.upscale_array(pixels)
    monkeypatch.setattr(upscaler_module, "available_memory", lambda *_: 4_000_000)
    calls: list[tuple[int, int, str]] = []
    tiled = upscaler.upscale_array(pixels, progress=lambda *call: calls.append(call))
    assert len(calls) > 1
    np.testing.assert_array_equal(tiled, whole)


@pytest.mark.parametrize("size", [(1, 1), (40, 90), (129, 131)])
@pytest.mark.parametrize(("side", "halo", "multiple"), [(30, 10, 16), (64, 32, 16), (48, 5, 8)])
def test_blended_tiles_lie_on_the_grid_and_fade_within_their_windows(
    size: tuple[int, int], side: int, halo: int, multiple: int
) -> None:
    covered = np.zeros(size, int)
    for tile in plan_blended_tiles(*size, side, halo, multiple):
        top, left, bottom, right = tile.window
        y0, x0, y1, x1 = tile.core
        covered[y0:y1, x0:x1] += 1
        assert (top % multiple, left % multiple) == (0, 0)
        assert top <= max(y0 - tile.fade, 0)
        assert left <= max(x0 - tile.fade, 0)
        assert min(y1 + halo, size[0]) <= bottom <= size[0]
        assert min(x1 + halo, size[1]) <= right <= size[1]
    assert (covered == 1).all()


@pytest.mark.parametrize("multiple", [1, 8, 16])
@pytest.mark.parametrize("halo", [16, 32])
def test_windows_share_a_length_evenly(multiple: int, halo: int) -> None:
    for length in (1, 15, 64, 100, 129, 256, 257, 1000):
        for window in (1, 100, 144, 300):
            parts = cut_evenly(length, window, halo, multiple)
            most = max(window // multiple * multiple, 2 * halo + multiple)
            (starts, ends), cores = zip(*(w for w, _ in parts), strict=True), [c for _, c in parts]
            assert (starts[0], ends[-1]) == (0, length)
            assert [c[0] for c in cores] == [0, *(c[1] for c in cores[:-1])]
            assert cores[-1][1] == length
            lengths = {end - start for start, end in zip(starts, ends, strict=True)}
            assert max(lengths) <= most
            # But for what the last lacks of a multiple they are equal.
            assert max(lengths) - min(lengths) < multiple
            assert all(start % multiple == 0 for start in starts)
            for start, end, (first, last) in zip(starts, ends, cores, strict=True):
                assert first - start >= halo or start == 0
                assert end - last >= halo or end == length
                assert first < last
            # No fewer would do.
            assert len(parts) == 1 or (len(parts) - 1) * (most - 2 * halo) < length - 2 * halo


def test_blending_leaves_no_seam_and_changes_nothing_where_tiles_agree() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 130, 3)).astype(np.uint8)
    tiles = plan_blended_tiles(100, 130, 48, 16, 16)
    result = np.zeros((200, 260, 3), np.uint8)
    run_tiles(lambda window: window.repeat(2, 0).repeat(2, 1), pixels, result, tiles)
    np.testing.assert_array_equal(result, pixels.repeat(2, 0).repeat(2, 1))

    # Every tile returns another gray: in the result neighbours differ by one step of the fade.
    grays = iter(np.linspace(0, 1, len(tiles), dtype=np.float32))
    values = np.zeros((200, 260, 1), np.float32)

    def flat(window: np.ndarray) -> np.ndarray:
        height, width, _ = window.shape
        return np.full((2 * height, 2 * width, 1), next(grays), np.float32)

    run_tiles(flat, pixels.astype(np.float32)[..., :1], values, tiles)
    assert (np.ptp(values), tiles[0].fade, len(tiles)) == (1.0, 8, 6)
    # Grays of neighbours differ by 1/5, of those below each other by 3/5; fades are 16 pixels long.
    for axis, difference in ((0, 3 / 5), (1, 1 / 5)):
        assert np.abs(np.diff(values, axis=axis)).max() <= difference / 16 + 1e-6


def test_blending_takes_nothing_from_memory_that_was_never_written() -> None:
    pixels = np.random.default_rng(0).random((100, 130, 3), np.float32)
    expected = pixels.repeat(2, 0).repeat(2, 1)
    for garbage in (np.nan, np.inf, 1e30):
        result = np.full((200, 260, 3), garbage, np.float32)
        tiles = plan_blended_tiles(100, 130, 48, 16, 16)
        run_tiles(lambda window: window.repeat(2, 0).repeat(2, 1), pixels, result, tiles)
        np.testing.assert_array_equal(result, expected)


class _SmallMemory:
    """An engine that repeats pixels, and that only small windows fit into."""

    name = "torch"
    device = "cpu"

    def __init__(self, most: int) -> None:
        self.most = most
        self.refused = 0

    def precision(self, dtype: np.dtype) -> str:
        return "fp32"

    def bytes_per_pixel(self, channels: int) -> float:
        return 1.0

    def run(self, pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
        if pixels.shape[0] * pixels.shape[1] > self.most:
            self.refused += 1
            raise MemoryError("can't allocate memory")
        return pixels.repeat(2, 0).repeat(2, 1).astype(dtype)


@pytest.mark.parametrize("most", [256 * 256, 150 * 150])
def test_where_memory_runs_out_tiles_get_smaller_until_it_does_not(
    most: int, weights: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _SmallMemory(most)
    monkeypatch.setattr(upscaler_module, "create_pixel_engine", lambda *_: engine)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    result = Upscaler(weights[2]).upscale_array(pixels)
    np.testing.assert_array_equal(result, pixels.repeat(2, 0).repeat(2, 1))
    assert engine.refused >= 1


def test_memory_that_never_suffices_and_other_errors_are_errors(
    weights: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _SmallMemory(0)
    monkeypatch.setattr(upscaler_module, "create_pixel_engine", lambda *_: engine)
    pixels = np.zeros((300, 400, 3), np.uint8)
    with pytest.raises(InputError, match="out of memory even in tiles"):
        Upscaler(weights[2]).upscale_array(pixels)

    def broken(pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
        raise RuntimeError("an error in a tile")

    monkeypatch.setattr(engine, "run", broken)
    with pytest.raises(RuntimeError, match="an error in a tile"):
        Upscaler(weights[2]).upscale_array(pixels)
