"""Tiles whose sums are shared equal the whole picture; what does not have such sums is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vernier.errors import InputError
from vernier.models.dctlsa import DCTLSA
from vernier.models.edsr import EDSR
from vernier.models.grla import GRLA
from vernier.upscaling import Upscaler
from vernier.upscaling.exact_tiles import upscale_exactly

SMALL: dict[str, Any] = {"num_features": 6, "num_blocks": 2, "num_heads": 2, "window_size": 4}


def trained(model: GRLA) -> GRLA:
    """With norms and biases that are not what they start as."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.normal_(module.bias, std=0.3)
    return model.eval()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"attention": ["shifted", "grbf"], "order": 2},
        {"attention": ["grbf"], "key_prior": "raw", "aggregation": False},
        {"norms_per_block": 2, "colour": "luma", "input_skip": True},
    ],
)
@pytest.mark.parametrize(("size", "tile"), [((13, 22), 8), ((3, 5), 4), ((9, 9), 5), ((8, 8), 64)])
def test_equal_to_the_whole_picture(
    arguments: dict[str, Any], size: tuple[int, int], tile: int
) -> None:
    model = trained(GRLA(scale=2, **SMALL, **arguments))
    lr = torch.rand(1, model.channels, *size)
    with torch.inference_mode():
        expected = model(lr)
        for network in (model, model.deploy()):
            out = upscale_exactly(network, lr, tile=tile)
            torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    # It matters that the sums are shared: tiles by themselves are another function.
    if max(size) > 2 * tile:
        with torch.inference_mode():
            corner = model(lr[..., :tile, :tile])
        apart = (corner - expected[..., : 2 * tile, : 2 * tile]).abs()[..., :tile, :tile]
        assert apart.max() > 1e-4


def test_equal_in_float64_to_rounding() -> None:
    model = trained(GRLA(scale=3, **SMALL, key_prior="raw")).double()
    lr = torch.rand(1, 3, 11, 17, dtype=torch.float64)
    with torch.inference_mode():
        out = upscale_exactly(model, lr, tile=8)
        torch.testing.assert_close(out, model(lr), rtol=1e-11, atol=1e-12)


def test_feature_maps_in_files_leave_nothing_behind(tmp_path: Path) -> None:
    model = trained(DCTLSA(scale=2, **SMALL))
    lr = torch.rand(1, 3, 10, 14)
    out = upscale_exactly(model, lr, tile=4, folder=tmp_path)
    with torch.inference_mode():
        torch.testing.assert_close(out, model(lr), rtol=1e-4, atol=1e-5)
    assert not list(tmp_path.iterdir())


def test_what_is_refused(tmp_path: Path) -> None:
    model = GRLA(scale=2, **SMALL).eval()
    lr = torch.rand(1, 3, 8, 8)
    relu = GRLA(scale=2, attention=["relu"], **SMALL).eval()
    with pytest.raises(InputError, match="need attention in windows or of kind 'grbf'"):
        upscale_exactly(relu, lr)
    with pytest.raises(InputError, match="in eval mode"):
        upscale_exactly(GRLA(scale=2, **SMALL), lr)
    with pytest.raises(InputError, match="for a GRLA"):
        upscale_exactly(EDSR(scale=2), lr)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"expected one picture .* got \(2, 3, 8, 8\)"):
        upscale_exactly(model, lr.expand(2, -1, -1, -1))
    with pytest.raises(InputError, match="tile must be at least 1, not 0"):
        upscale_exactly(model, lr, tile=0)
    with pytest.raises(InputError, match="nowhere is not a folder"):
        upscale_exactly(model, lr, folder=tmp_path / "nowhere")


def test_upscaler_takes_them() -> None:
    pixels = np.random.default_rng(0).random((100, 110, 3), np.float32)
    whole = Upscaler("grla-s", engine="torch", tile=None).upscale_array(pixels)
    exact = Upscaler("grla-s", tile=16, exact_tiles=True).upscale_array(pixels)
    apart = Upscaler("grla-s", engine="torch", tile=16).upscale_array(pixels)
    assert np.abs(exact - whole).max() < 1e-5 < np.abs(apart - whole).max()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"model": "sesr-m5"}, "exact tiles are for GRLA, .* not for SESR"),
        ({"model": "grla-s", "engine": "openvino"}, "leave out engine and device"),
        ({"model": "grla-s", "device": "cuda"}, "leave out engine and device"),
        ({"model": "grla-s", "tile": -1}, "tile"),
    ],
)
def test_upscaler_refuses_them(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        Upscaler(**settings, exact_tiles=True)
