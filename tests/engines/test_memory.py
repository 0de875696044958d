"""What happens when memory runs out, on real engines under a limit that the system enforces."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from vernier.engines.tiles import SMALLEST_TILE, in_smaller_tiles
from vernier.errors import InputError
from vernier.upscaling import Upscaler, upscaler
from vernier.upscaling.pixels.pytorch import TorchPixels

# A picture run whole, which the limit does not allow; then again without a limit.
_LIMITED = """
import resource, sys
import numpy as np
import psutil
from vernier.errors import InputError
from vernier.upscaling import Upscaler

kind, engine, mebibytes, height, width = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
model = "sesr-m5"
if kind != "sesr":
    import torch
    from vernier.zoo import create_model
    torch.manual_seed(0)
    model = create_model("edsr-small", scale=2, num_blocks=2, num_features=32).eval()
y, x = np.mgrid[:height, :width][..., None]
pixels = np.rint(127.5 + 120 * np.sin((x + 2 * y) / 9 + np.arange(3))).astype(np.uint8)

def upscale(**settings):
    upscaler = Upscaler(model, engine=engine, precision="fp32", tile=None)
    upscaler.upscale_array(pixels[:64, :64])
    if settings.pop("limited", False):
        most = psutil.Process().memory_info().vms + mebibytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, -1))
    return upscaler.upscale_array(pixels, **settings)

tiles = []
try:
    limited = upscale(limited=True, progress=lambda *call: tiles.append(call))
except InputError as error:
    print("one line:", error)
    sys.exit()
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
whole = upscale().astype(int)
print("tiles:", len(tiles), "difference:", abs(whole - limited).max())
"""


def _limited(*arguments: object) -> str:
    command = [sys.executable, "-c", _LIMITED, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="other systems enforce no such limit")
@pytest.mark.parametrize(
    ("kind", "engine", "mebibytes", "size"),
    [
        ("sesr", "openvino", 200, (900, 1200)),
        ("edsr", "openvino", 200, (600, 800)),
        ("edsr", "torch", 200, (600, 800)),
    ],
)
def test_a_picture_too_large_for_the_memory_is_done_in_tiles(
    kind: str, engine: str, mebibytes: int, size: tuple[int, int]
) -> None:
    words = _limited(kind, engine, mebibytes, *size).split()
    assert words[0] == "tiles:", words
    assert int(words[1]) >= 4
    assert int(words[3]) <= 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems enforce no such limit")
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_too_little_memory_for_anything_is_one_line(engine: str) -> None:
    said = _limited("sesr", engine, 4, 900, 1200)
    assert said.startswith("one line: ")
    assert said.count("\n") == 1
    assert "memory" in said


@pytest.mark.parametrize("step", ["_tensor", "_matrix"])
def test_torch_may_run_out_of_memory_beside_the_network_too(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, sizes = getattr(TorchPixels, step), []

    def scarce(engine: TorchPixels, *arguments: Any) -> Any:
        size = max(max(a.shape) for a in arguments)
        sizes.append(size)
        if size > 160:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(engine, *arguments)

    pixels = np.random.default_rng(0).integers(0, 256, (140, 260, 3), dtype=np.uint8)
    made = Upscaler("sesr-m5", engine="torch", tile=None)
    whole = made.upscale_array(pixels)
    monkeypatch.setattr(TorchPixels, step, scarce)
    if step == "_tensor":
        np.testing.assert_array_equal(made.upscale_array(pixels), whole)
        assert max(sizes) > 160
    else:  # It sees the larger picture too, of which no window is small enough.
        with pytest.raises(InputError, match="out of memory even in tiles: CUDA out of memory"):
            made.upscale_array(pixels)


def test_tiles_are_planned_by_the_memory_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def available(device: str = "cpu") -> int:
        asked.append(device)
        return 2**40 if device == "cpu" else 2**22

    class Card:
        name = device = "cuda:1"

        def precision(self, _: Any) -> str:
            return "fp32"

        def bytes_per_pixel(self, _: int) -> float:
            return 1000.0

        def run(self, pixels: Any, dtype: Any) -> Any:
            windows.append(pixels.shape)
            return pixels.repeat(2, 0).repeat(2, 1).astype(dtype)

    windows: list[tuple[int, ...]] = []
    monkeypatch.setattr(upscaler, "available_memory", available)
    monkeypatch.setattr(upscaler, "create_pixel_engine", lambda *_: Card())
    Upscaler("sesr-m5").upscale_array(np.zeros((300, 300, 3), np.uint8))
    assert "cuda:1" in asked
    assert len(windows) > 1


def test_tiles_get_smaller_until_the_memory_suffices() -> None:
    tried: list[int | None] = []

    def run(side: int | None) -> str:
        tried.append(side)
        if side is None or side > 100:
            raise MemoryError("no more")
        return "done"

    assert in_smaller_tiles(run, None, 1000) == "done"
    assert tried == [None, 500, 250, 125, 62]
    tried.clear()
    assert in_smaller_tiles(run, 300, 1000) == "done"
    assert tried == [300, 150, 75]


def test_below_the_smallest_tile_it_is_one_line() -> None:
    tried: list[int | None] = []

    def run(side: int | None) -> None:
        tried.append(side)
        raise MemoryError("no more")

    with pytest.raises(InputError, match="out of memory even in tiles: no more"):
        in_smaller_tiles(run, None, 100)
    assert tried == [None, 50, 25]
    assert SMALLEST_TILE == 16


def test_what_a_failed_try_held_is_gone_when_the_next_begins() -> None:
    held: list[Any] = []

    class Large:
        def __init__(self) -> None:
            held.append(self)

        def __del__(self) -> None:
            freed.append(True)

    freed: list[bool] = []

    def run(side: int | None) -> bool:
        if side is None:
            large = Large()
            held.clear()
            raise MemoryError(np.shape(large))
        return bool(freed)

    assert in_smaller_tiles(run, None, 100)
