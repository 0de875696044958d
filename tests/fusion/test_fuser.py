from __future__ import annotations

import numpy as np
import pytest
import torch

from vernier.errors import InputError
from vernier.fusion.fuser import Fuser
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


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(height * 1000 + width)
    lr = rng.random((5, height, width), np.float32)
    return lr, rng.random((3, 4 * height, 4 * width), np.float32)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("size", [(1, 1), (9, 5), (16, 24)])
def test_the_result_is_the_network_s_clipped(engine: str, size: tuple[int, int]) -> None:
    model = psrt()
    lr, guide = scene(*size)
    with torch.inference_mode():
        expected = model(torch.from_numpy(lr)[None], torch.from_numpy(guide)[None])[0]
    assert float((expected - expected.clamp(0, 1)).abs().max()) > 0 or size == (1, 1)
    result = Fuser(model, engine=engine).fuse(lr, guide)  # type: ignore[arg-type]
    np.testing.assert_allclose(result, expected.clamp(0, 1).numpy(), atol=2e-5)


@pytest.mark.parametrize("name", ["psrt", "psrt-noshuffle"])
@pytest.mark.parametrize(("size", "tile"), [((41, 50), 70), ((10, 50), 16)])
def test_tiles_are_the_whole_cube(name: str, size: tuple[int, int], tile: int) -> None:
    model = psrt(name)
    lr, guide = scene(*size)
    whole = Fuser(model, engine="torch", tile=None).fuse(lr, guide)
    seen: list[tuple[int, int]] = []
    fuser = Fuser(model, engine="torch", tile=tile)
    tiled = fuser.fuse(lr, guide, progress=lambda *done: seen.append(done))
    assert fuser.exact_tiles
    assert len(seen) == seen[-1][0] == seen[-1][1] > 1
    np.testing.assert_allclose(tiled, whole, atol=3e-6)


def test_an_upsampled_cube_of_one_s_own_is_used() -> None:
    model = psrt()
    lr, guide = scene(8, 8)
    nearest = lr.repeat(4, 1).repeat(4, 2)
    with torch.inference_mode():
        expected = model(*(torch.from_numpy(a)[None] for a in (lr, guide, nearest)))[0]
    result = Fuser(model, engine="torch").fuse(lr, guide, nearest)
    np.testing.assert_allclose(result, expected.clamp(0, 1).numpy(), atol=1e-5)


def test_bf16_rounds_the_correction_and_not_the_cube() -> None:
    lr, guide = scene(16, 16)
    model = psrt()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.1)
    exact, rounded = (
        Fuser(model, engine="openvino", precision=p).fuse(lr, guide) for p in ("fp32", "bf16")
    )
    # A cube in bfloat16 would be off by up to 2e-3.
    assert 0 < np.abs(exact - rounded).max() < 5e-4


@pytest.mark.parametrize(
    ("lr", "guide", "message"),
    [
        (np.zeros((4, 8, 8)), np.zeros((3, 32, 32)), "the cube has 4 bands"),
        (np.zeros((5, 8, 8)), np.zeros((1, 32, 32)), "the guide has 1 bands"),
        (np.zeros((5, 8, 8)), np.zeros((3, 32, 33)), "needs a guide of 32x32 pixels, not 33x32"),
        (np.full((5, 8, 8), np.nan), np.zeros((3, 32, 32)), "the cube has values that are not"),
        (np.zeros((8, 8)), np.zeros((3, 32, 32)), "a cube is"),
        (np.zeros((5, 0, 8)), np.zeros((3, 32, 32)), "a cube is"),
    ],
)
def test_what_does_not_fit_is_refused(lr: np.ndarray, guide: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Fuser(psrt(), engine="torch").fuse(lr, guide)


def test_settings_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InputError, match="use vernier upscale"):
        Fuser("sesr-m5", scale=2)
    with pytest.raises(InputError, match="unknown device 'abacus'"):
        Fuser(psrt(), device="abacus")
    with pytest.raises(InputError, match="runs on the CPU"):
        Fuser(psrt(), device="cuda", engine="openvino")
