from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import pytest
import torch

from vernier.errors import InputError
from vernier.fusion.fuser import Fuser
from vernier.fusion.pair import Pair
from vernier.models.layers import FusionModel
from vernier.zoo import create_model


def psrt(name: str = "psrt-noshuffle") -> FusionModel:
    """A small network with random weights large enough to be seen in the result."""
    torch.manual_seed(0)
    model = create_model(name, scale=4, bands=5, embed=16, num_blocks=1, num_heads=4)
    assert isinstance(model, FusionModel)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.5 / parameter[0].numel() ** 0.5)
    return model


def scene(height: int, width: int) -> Pair:
    rng = np.random.default_rng(height * 1000 + width)
    lr = rng.random((5, height, width), np.float32)
    return Pair(lr, rng.random((3, 4 * height, 4 * width), np.float32))


def expected(model: FusionModel, pair: Pair) -> torch.Tensor:
    arrays = (pair.lr, pair.guide, pair.upsampled)
    with torch.inference_mode():
        result: torch.Tensor = model(*(torch.from_numpy(a)[None] for a in arrays if a is not None))
    return result[0]


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("size", [(1, 1), (9, 5), (16, 24)])
def test_the_result_is_the_network_s_clipped(
    engine: Literal["torch", "openvino"], size: tuple[int, int]
) -> None:
    model, pair = psrt(), scene(*size)
    wanted = expected(model, pair)
    assert float((wanted - wanted.clamp(0, 1)).abs().max()) > 0 or size == (1, 1)
    fused = Fuser(model, engine=engine).fuse(pair)
    np.testing.assert_allclose(fused.values, wanted.clamp(0, 1).numpy(), atol=2e-5)
    assert (fused.engine, fused.precision, fused.scale) == (engine, "fp32", 4)


@pytest.mark.parametrize("name", ["psrt", "psrt-noshuffle"])
@pytest.mark.parametrize(("size", "tile"), [((41, 50), 70), ((10, 50), 16)])
def test_tiles_are_the_whole_cube(name: str, size: tuple[int, int], tile: int) -> None:
    model, pair = psrt(name), scene(*size)
    whole = Fuser(model, engine="torch", tile=None).fuse(pair)
    seen: list[tuple[int, int]] = []
    fuser = Fuser(model, engine="torch", tile=tile)
    tiled = fuser.fuse(pair, progress=lambda done, total, what: seen.append((done, total)))
    assert fuser.exact_tiles
    assert len(seen) == seen[-1][0] == seen[-1][1] > 1
    np.testing.assert_allclose(tiled.values, whole.values, atol=3e-6)
    assert tiled.notes == whole.notes == ()


def test_an_upsampled_cube_of_one_s_own_is_used() -> None:
    model, pair = psrt(), scene(8, 8)
    pair = Pair(pair.lr, pair.guide, upsampled=pair.lr.repeat(4, 1).repeat(4, 2))
    result = Fuser(model, engine="torch").fuse(pair).values
    np.testing.assert_allclose(result, expected(model, pair).clamp(0, 1).numpy(), atol=1e-5)


def test_bf16_rounds_the_correction_and_not_the_cube() -> None:
    pair, model = scene(16, 16), psrt()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.1)
    exact, rounded = (
        Fuser(model, engine="openvino", precision=p).fuse(pair) for p in ("fp32", "bf16")
    )
    assert (exact.precision, rounded.precision) == ("fp32", "bf16")
    # A cube in bfloat16 would be off by up to 2e-3.
    assert 0 < np.abs(exact.values - rounded.values).max() < 5e-4


def half(*shape: int) -> np.ndarray:
    return np.full(shape, 0.5, np.float32)


@pytest.mark.parametrize(
    ("lr", "guide", "message"),
    [
        (half(4, 8, 8), half(3, 32, 32), "the cube has 4 bands"),
        (half(5, 8, 8), half(1, 32, 32), "the guide has 1 bands"),
        (half(5, 8, 8), half(3, 16, 16), "needs a guide of 32x32 pixels, not 16x16"),
    ],
)
def test_what_does_not_fit_is_refused(lr: np.ndarray, guide: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Fuser(psrt(), engine="torch").fuse(Pair(lr, guide))


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_values_beyond_the_peak_that_the_cube_has_are_kept(
    engine: Literal["torch", "openvino"],
) -> None:
    pair, model = scene(9, 9), psrt()
    bright = Pair(1.2 * pair.lr - 0.04, pair.guide)
    wanted = expected(model, bright).numpy()
    values = Fuser(model, engine=engine).fuse(bright).values
    np.testing.assert_allclose(values, wanted.clip(bright.lowest, bright.highest), atol=2e-5)
    assert values.max() == np.float32(bright.highest) > 1.1
    assert values.min() == np.float32(bright.lowest) < -0.03


class Hungry(FusionModel):
    """Runs out of memory, as torch tells it, for more than so many pixels."""

    scale, channels, guide_channels = 4, 5, 3
    size_multiple, receptive_radius = 8, 0
    architecture = "psrt"

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.weight = torch.nn.Parameter(torch.ones(5, 8) / 16)

    def forward_aligned(self, both: torch.Tensor) -> torch.Tensor:
        if both.shape[-1] * both.shape[-2] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return torch.einsum("oc,bchw->bohw", self.weight, both)


def test_tiles_get_smaller_until_torch_s_memory_suffices() -> None:
    pair = scene(48, 48)
    whole = Fuser(Hungry(192 * 192), engine="torch", tile=None).fuse(pair).values
    tiled = Fuser(Hungry(160 * 160), engine="torch", tile=None).fuse(pair).values
    np.testing.assert_allclose(tiled, whole, atol=1e-6)
    with pytest.raises(InputError, match="out of memory even in tiles"):
        Fuser(Hungry(100 * 100), engine="torch").fuse(pair)
    with pytest.raises(InputError, match="Hungry does not fit into the memory"):
        Fuser(Hungry(0), engine="torch")


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_threads_that_share_a_fuser_get_their_own_cubes(
    engine: Literal["torch", "openvino"],
) -> None:
    fuser = Fuser(psrt(), engine=engine)
    pairs = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        pairs.append(Pair(rng.random((5, 12, 12), np.float32), rng.random((3, 48, 48), np.float32)))
    alone = [fuser.fuse(pair).values for pair in pairs]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(fuser.fuse, pairs * 8))
    for index, fused in enumerate(together):
        np.testing.assert_array_equal(fused.values, alone[index % len(pairs)])
        assert fused.pair is pairs[index % len(pairs)]


def test_settings_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InputError, match="use vernier upscale"):
        Fuser("sesr-m5", scale=2)
    with pytest.raises(InputError, match="unknown device 'abacus'"):
        Fuser(psrt(), device="abacus")
    for tile in (-1, 8, 15):
        with pytest.raises(InputError, match="tile"):
            Fuser(psrt(), tile=tile)
    with pytest.raises(InputError, match="runs on the CPU"):
        Fuser(psrt(), device="cuda", engine="openvino")
