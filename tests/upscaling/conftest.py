"""Small networks with random weights, and pictures with structure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vernier.models.sesr import SESR
from vernier.zoo import create_model, new_card, save_weights


def random_sesr(scale: int) -> SESR:
    """A deployed sesr-m3 that adds a visible, not overwhelming, amount of detail."""
    generator = torch.Generator().manual_seed(scale)
    model = create_model("sesr-m3", scale=scale, expansion=16)
    assert isinstance(model, SESR)
    model = model.deploy()
    with torch.no_grad():
        for parameter in model.parameters():
            size = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / size**0.5)
        model.last.weight.mul_(0.3)
    return model.eval()


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Weight files of random networks for x2, x3 and x4."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {}
    for scale in (2, 3, 4):
        model = random_sesr(scale)
        paths[scale] = folder / f"sesr-m3-x{scale}.safetensors"
        save_weights(model, paths[scale], new_card(model, "sesr-m3"))
    return paths


@pytest.fixture(scope="session")
def photo() -> Callable[..., NDArray[Any]]:
    """(H, W, C) pixels: waves, edges and noise over the whole range; alpha in 1..peak."""

    def make(height: int, width: int, channels: int, dtype: Any = np.uint8) -> NDArray[Any]:
        rng = np.random.default_rng(height * 1000 + width)
        y, x = np.mgrid[:height, :width][..., None]
        phase = np.arange(channels)
        values = 0.5 + 0.3 * np.sin(x / 3.1 + phase) * np.cos(y / 4.3 - phase)
        values = values + 0.15 * ((x + 2 * y) % 23 > 11) + rng.normal(0, 0.04, values.shape)
        values = np.clip(values, 0, 1)
        if dtype == np.float32:
            return values.astype(np.float32)
        pixels = np.rint(values * np.iinfo(dtype).max).astype(dtype)
        if channels in (2, 4):
            pixels[..., -1] = np.maximum(pixels[..., -1], 1)
        return pixels

    return make
