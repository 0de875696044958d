"""HAT on the engines: one OpenVINO graph serves every size."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
import torch

from vernier.inference.engines.conversion import activation_bytes, convert
from vernier.inference.engines.openvino import OpenVINOEngine
from vernier.inference.engines.pytorch import TorchEngine
from vernier.inference.networks import Network, networks_of
from vernier.models.hat import HAT

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
def engines(network: Network) -> tuple[OpenVINOEngine, TorchEngine]:
    return OpenVINOEngine(network, "fp32"), TorchEngine(network, "fp32", "cpu")


@pytest.mark.parametrize("size", [(24, 32), (1, 1), (3, 2), (8, 8), (9, 40), (17, 8)])
def test_openvino_computes_what_torch_does(
    engines: tuple[OpenVINOEngine, TorchEngine], size: tuple[int, int]
) -> None:
    """Also where groups of windows are empty, and where the reflection is longer than the side."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    ours, theirs = (engine.run(pixels, UINT8) for engine in engines)
    assert ours.shape == (2 * size[0], 2 * size[1], 3)
    assert len(np.unique(theirs)) > 4
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_memory_counts_the_logits_that_no_map_shows(network: Network) -> None:
    """Overlapping windows of 12 x 12 keys and two heads: logits and softmax, more than any map."""
    graph = convert(network, ov.Core())
    assert activation_bytes(graph, 3) == 2 * 4 * 2 * 144
