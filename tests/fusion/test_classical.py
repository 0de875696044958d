"""Fusion without training: exact where the model behind it is, and on real scenes better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vernier.errors import InputError
from vernier.fusion.classical import (
    CLASSICAL,
    ClassicalFuser,
    bicubic,
    component_substitution,
    guided_filter,
)
from vernier.fusion.pair import Pair
from vernier.imaging.resize import imresize
from vernier.imaging.simulation import find_response, simulate
from vernier.io.cubes import read_cube
from vernier.metrics import cube_psnr, sam

FUSIONS = (guided_filter, component_substitution)


def scene(bands: int = 6, channels: int = 3, height: int = 32, width: int = 48) -> Tensor:
    """Guide channels of which every band is a mixture, (bands, H, W), and the guide."""
    guide = torch.rand(channels, height, width, dtype=torch.float64)
    mixture = torch.rand(bands, channels, dtype=torch.float64)
    return torch.einsum("bc,chw->bhw", mixture, guide) + 0.1, guide


@pytest.mark.parametrize("fuse", FUSIONS)
def test_bands_that_are_mixtures_of_the_guide_come_back_exactly(fuse) -> None:
    cube, guide = scene()
    lr = imresize(cube, 1 / 4)
    settings = {"eps": 1e-14} if fuse is guided_filter else {}
    fused = fuse(lr, guide, **settings)
    assert (bicubic(lr, guide) - cube).abs().max() > 0.3
    torch.testing.assert_close(fused, cube, rtol=0, atol=1e-9)


def test_the_guided_filter_by_its_definition() -> None:
    """One window per pixel, written as loops; scale 1 leaves no resizing."""
    lr, guide = torch.rand(2, 7, 6, dtype=torch.float64), torch.rand(3, 7, 6, dtype=torch.float64)
    radius, eps = 2, 1e-2
    slopes, offsets = np.zeros((7, 6, 3, 2)), np.zeros((7, 6, 2))

    def window(array: np.ndarray, i: int, j: int) -> np.ndarray:
        part = array[..., max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1]
        return part.reshape(len(array), -1)

    for i in range(7):
        for j in range(6):
            g, y = window(guide.numpy(), i, j), window(lr.numpy(), i, j)
            dg, dy = g - g.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
            covariance = dg @ dg.T / g.shape[1] + eps * np.eye(3)
            slopes[i, j] = np.linalg.solve(covariance, dg @ dy.T / g.shape[1])
            offsets[i, j] = y.mean(1) - g.mean(1) @ slopes[i, j]
    expected = np.zeros((2, 7, 6))
    for i in range(7):
        for j in range(6):
            a = window(slopes.transpose(2, 3, 0, 1).reshape(6, 7, 6), i, j).mean(1).reshape(3, 2)
            b = window(offsets.transpose(2, 0, 1), i, j).mean(1)
            expected[:, i, j] = guide[:, i, j].numpy() @ a + b
    fused = guided_filter(lr, guide, radius=radius, eps=eps)
    np.testing.assert_allclose(fused.numpy(), expected, atol=1e-12)


def test_component_substitution_keeps_what_the_guide_does_not_see() -> None:
    cube, guide = scene()
    lr = imresize(cube, 1 / 4)
    flat = torch.full_like(guide, 0.5)
    torch.testing.assert_close(
        component_substitution(lr, flat), bicubic(lr, guide), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("fuse", CLASSICAL.values())
@pytest.mark.parametrize("channels", [1, 4])
def test_degenerate_input_stays_finite(fuse, channels: int) -> None:
    same = torch.rand(1, 8, 8).expand(channels, 8, 8)
    assert fuse(torch.rand(5, 2, 2), same).isfinite().all()
    assert fuse(torch.zeros(5, 2, 2), same).abs().max() < 1e-6
    assert fuse(torch.rand(5, 1, 1), same).shape == (5, 8, 8)
    fused = fuse(torch.rand(40, 2, 4), torch.zeros(channels, 8, 16))
    assert fused.isfinite().all()
    assert fused.shape == (40, 8, 16)
    assert fused.dtype == torch.float32


@pytest.mark.parametrize("fuse", CLASSICAL.values())
def test_refuses_shapes_that_do_not_belong_together(fuse) -> None:
    with pytest.raises(ValueError, match="no whole multiple"):
        fuse(torch.rand(5, 4, 4), torch.rand(3, 18, 16))
    with pytest.raises(ValueError, match="expected"):
        fuse(torch.rand(4, 4), torch.rand(3, 16, 16))


@pytest.mark.parametrize("name", ["balloons", "flowers"])
def test_real_scenes(shared: Path, name: str) -> None:
    """Quarter scenes: both methods are worth more than 7 dB."""
    cube = read_cube(shared / f"data/CAVE/test/{name}_ms")
    gt = torch.from_numpy(cube.unit()[:, 128:384, 128:384])
    lr, guide, _ = simulate(gt, response=find_response("a").weights, scale=4)
    scores = {n: cube_psnr(fuse(lr, guide), gt).item() for n, fuse in CLASSICAL.items()}
    assert scores["GSA"] > scores["bicubic"] + 7
    assert scores["guided filter"] > scores["bicubic"] + 7
    assert sam(guided_filter(lr, guide), gt) < 1.2 * sam(bicubic(lr, guide), gt)


@pytest.mark.parametrize("method", ["bicubic", "guided-filter", "gsa"])
def test_a_fuser_keeps_the_range_of_its_cube(method: str) -> None:
    cube, guide = scene()
    lr = imresize(cube, 1 / 4)
    for low, high in ((0.1, 0.9), (-0.03, 1.15)):
        stretched = low + (high - low) * (lr - lr.min()) / (lr.max() - lr.min())
        pair = Pair(stretched.numpy(), guide.numpy())
        fused = ClassicalFuser(method).fuse(pair)
        assert fused.method == method
        assert fused.values.min() >= min(0, np.float32(low))
        assert fused.values.max() == (
            np.float32(high) if high > 1 else fused.values.clip(0, 1).max()
        )


def test_another_method_and_too_little_memory_are_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(
        InputError, match="unknown method 'GSA'; known: bicubic, guided-filter, gsa"
    ):
        ClassicalFuser("GSA")

    def hungry(lr: Tensor, guide: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    fuser = ClassicalFuser("gsa")
    monkeypatch.setattr(fuser, "_run", hungry)
    cube, guide = scene()
    with pytest.raises(InputError, match=r"out of memory: .* fuse a smaller part of the cube"):
        fuser.fuse(Pair(imresize(cube, 1 / 4).numpy() / 4, guide.numpy()))
