"""Float maps in, float maps out: every engine computes what the network's own forward does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vernier.engines import Engine, create_engine
from vernier.errors import InputError
from vernier.models.layers import FusionModel, SRModel, pad_to_multiple, upsample_bicubic
from vernier.upscaling import Upscaler
from vernier.zoo import create_model
from vernier.zoo.networks import networks_of

ENGINES = ("torch", "openvino")


def scattered(model: Any) -> Any:
    """With weights that leave no layer silent."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.03 * torch.randn_like(parameter)
    return model.eval()


def tiny_psrt() -> FusionModel:
    model = create_model("psrt-s", scale=4, bands=5, embed=8, num_heads=2)
    assert isinstance(model, FusionModel)
    return scattered(model)


def tiny_sesr() -> SRModel:
    model = create_model("sesr-m3", scale=2, expansion=16)
    assert isinstance(model, SRModel)
    return scattered(model)


def tiny_edsr() -> SRModel:
    model = create_model("edsr-small", scale=2, num_blocks=1, num_features=8)
    assert isinstance(model, SRModel)
    return scattered(model)


def engine_of(model: torch.nn.Module, name: Any, precision: Any = "auto") -> Engine:
    ((_, load),) = networks_of(model).items()
    return create_engine(load(), name, precision, None)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("make", [tiny_sesr, tiny_edsr])
@pytest.mark.parametrize("size", [(24, 32), (1, 1), (7, 9)])
def test_a_pictures_network_runs_on_maps(
    name: str, make: Callable[[], SRModel], size: tuple[int, int]
) -> None:
    model = make()
    lr = torch.rand(1, model.channels, *size)
    with torch.inference_mode():
        expected = model(lr).numpy()
    engine = engine_of(model, name)
    assert (engine.name, engine.device, engine.precision) == (name, "cpu", "fp32")
    result = engine.run(lr.numpy())
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("size", [(8, 12), (5, 7), (1, 1)])
def test_a_fusion_network_runs_on_a_cube_and_a_guide(name: str, size: tuple[int, int]) -> None:
    """What it adds to the upsampled cube is the network's own result, at sizes of no window too."""
    model = tiny_psrt()
    lr, guide = torch.rand(1, 5, *size), torch.rand(1, 3, *(4 * side for side in size))
    upsampled = upsample_bicubic(lr, 4)
    with torch.inference_mode():
        expected = model(lr, guide).numpy()
    engine = engine_of(model, name)
    detail = engine.run(upsampled.numpy(), guide.numpy())
    assert (engine.name, detail.shape) == (name, tuple(upsampled.shape))
    assert np.abs(detail).max() > 0.01
    np.testing.assert_allclose(upsampled.numpy() + detail, expected, atol=1e-5)


@pytest.mark.parametrize("name", ENGINES)
def test_a_cube_and_its_guide_may_come_joined(name: str) -> None:
    model = tiny_psrt()
    both = torch.rand(1, 8, 32, 48)
    with torch.inference_mode():
        expected = model.forward_aligned(pad_to_multiple(both, model.size_multiple)).numpy()
    engine = engine_of(model, name)
    maps = both.numpy()
    np.testing.assert_array_equal(engine.run(maps), engine.run(maps[:, :5], maps[:, 5:]))
    np.testing.assert_allclose(engine.run(maps), expected, atol=1e-5)


@pytest.mark.parametrize("make", [tiny_sesr, tiny_edsr, tiny_psrt])
@pytest.mark.parametrize("name", ENGINES)
def test_bf16_rounds_and_is_not_taken_unasked(name: str, make: Callable[[], Any]) -> None:
    model = make()
    channels = model.channels + getattr(model, "guide_channels", 0)
    maps = torch.rand(1, channels, 32, 48).numpy()
    exact, rounded = (engine_of(model, name, precision) for precision in ("auto", "bf16"))
    assert (exact.precision, rounded.precision) == ("fp32", "bf16")
    difference = np.abs(exact.run(maps) - rounded.run(maps)).max()
    assert 1e-6 < difference < 0.05


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("make", [tiny_sesr, tiny_edsr, tiny_psrt])
def test_an_engine_tells_the_memory_of_a_pixel(name: str, make: Callable[[], Any]) -> None:
    """At least that of the widest layer's map."""
    model = make()
    widest = max(p.shape[0] for p in model.deploy().parameters() if p.ndim > 1)
    assert 4 * widest < engine_of(model, name).bytes_per_pixel < 4 * 40 * widest


def test_a_fusion_network_is_found_by_name_and_is_no_upscaler() -> None:
    (load,) = networks_of("psrt-s").values()
    facts = load().facts
    assert (facts.scale, facts.colour, facts.channels, facts.guide_channels) == (4, "cube", 31, 3)
    assert (facts.size_multiple, facts.receptive_radius) == (16, 17)
    with pytest.raises(InputError, match="psrt-s fuses a cube with a guide: use vernier fuse"):
        Upscaler("psrt-s")
