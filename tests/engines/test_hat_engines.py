"""HAT on the engines: one OpenVINO graph serves every size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vernier.engines.openvino import execution
from vernier.models.hat import HAT
from vernier.upscaling.pixels import PixelEngine, create_pixel_engine
from vernier.zoo import new_card, save_weights
from vernier.zoo.networks import Network, networks_of

UINT8 = np.dtype(np.uint8)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    model = HAT(
        scale=2, embed_dim=12, depths=(2,), num_heads=(2,), window_size=8, squeeze_factor=6
    ).eval()
    for parameter in model.parameters():
        parameter.data += 0.03 * torch.randn_like(parameter)
    (make,) = networks_of(model).values()
    return make()


@pytest.fixture(scope="module")
def engines(network: Network) -> tuple[PixelEngine, PixelEngine]:
    return create_pixel_engine(network, "openvino", "fp32", None), create_pixel_engine(
        network, "torch", "fp32", "cpu"
    )


@pytest.mark.parametrize("size", [(24, 32), (1, 1), (3, 2), (8, 8), (9, 40), (17, 8)])
def test_openvino_computes_what_torch_does(
    engines: tuple[PixelEngine, PixelEngine], size: tuple[int, int]
) -> None:
    """Also where groups of windows are empty, and where the reflection is longer than the side."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    ours, theirs = (engine.run(pixels, UINT8) for engine in engines)
    assert ours.shape == (2 * size[0], 2 * size[1], 3)
    assert len(np.unique(theirs)) > 4
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_the_first_picture_may_be_a_single_pixel(network: Network) -> None:
    """Its graph is compiled for that size, in which most groups of windows are empty."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, 1, 3), dtype=np.uint8)
    for precision in ("fp32", "bf16"):
        ours = create_pixel_engine(network, "openvino", precision, None).run(pixels, UINT8)
        theirs = create_pixel_engine(network, "torch", "fp32", "cpu").run(pixels, UINT8)
        assert np.abs(ours.astype(int) - theirs).max() <= (1 if precision == "fp32" else 3)


def test_a_file_tells_the_windows_of_its_network(network: Network, tmp_path: Path) -> None:
    """The family's are of 16 pixels, and what is extended to those is another picture."""
    model = network.module()
    save_weights(model, tmp_path / "hat.safetensors", new_card(model, "hat"))
    loaded = networks_of(tmp_path / "hat.safetensors")[2]()
    assert loaded.facts.size_multiple == 8
    pixels = np.random.default_rng(0).integers(0, 256, (17, 9, 3), dtype=np.uint8)
    ours = create_pixel_engine(loaded, "openvino", "fp32", None).run(pixels, UINT8)
    theirs = create_pixel_engine(network, "torch", "fp32", "cpu").run(pixels, UINT8)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_strips_see_all_that_the_reconstruction_sees(
    scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of 4 pixels leave strips a halo of 4, no more than they need."""
    torch.manual_seed(0)
    model = HAT(
        scale=scale, embed_dim=12, depths=(1,), num_heads=(2,), window_size=4, squeeze_factor=6
    ).eval()
    pixels = np.random.default_rng(0).random((38, 12, 3), np.float32)
    monkeypatch.setattr(execution, "_STRIP_BYTES", 1)
    engine = create_pixel_engine(networks_of(model)[scale](), "openvino", "fp32", None)
    ours = engine.run(pixels, np.dtype(np.float32))
    theirs = create_pixel_engine(networks_of(model)[scale](), "torch", "fp32", "cpu").run(
        pixels, np.dtype(np.float32)
    )
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
