"""The second-order degradation: each part against its definition, the whole for repeatability."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pyvips
import torch
from torch import Tensor

from vernier.imaging import degradation, imresize
from vernier.imaging.degradation import REAL_WORLD, Stage, degrade, jpeg


def _picture(channels: int, height: int, width: int) -> Tensor:
    coarse = torch.rand(channels, height // 8 + 1, width // 8 + 1)
    return imresize(coarse, 8.0)[:, :height, :width].clamp(0, 1)


def _libjpeg(picture: Tensor, quality: int) -> Tensor:
    levels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
    image = pyvips.Image.new_from_array(np.ascontiguousarray(levels))
    coded = image.jpegsave_buffer(Q=quality, subsample_mode="on", optimize_coding=False)
    decoded = np.asarray(pyvips.Image.new_from_buffer(coded, ""))
    return torch.from_numpy(decoded.reshape(levels.shape)).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("quality", [10, 30, 60, 95])
@pytest.mark.parametrize("size", [(48, 64), (37, 45)])
def test_gray_jpeg_is_libjpegs(quality: int, size: tuple[int, int]) -> None:
    picture = _picture(1, *size)
    ours = jpeg(picture[None], torch.full((1, 1, 1, 1), float(quality)))[0]
    rows, columns = (side // 8 * 8 for side in size)
    # Inside whole blocks: how the last ones are filled is the coder's own affair. What is left are
    # coefficients between two steps, which its integer transform puts on the other side.
    difference = (ours - _libjpeg(picture, quality))[:, :rows, :columns].abs() * 255
    assert difference.mean() < 0.3
    assert (difference > 1.5).float().mean() < 0.05


@pytest.mark.parametrize("quality", [30, 90])
def test_colour_jpeg_is_libjpegs(quality: int) -> None:
    picture = _picture(3, 64, 64)
    ours = jpeg(picture[None], torch.full((1, 1, 1, 1), float(quality)))[0]
    theirs = _libjpeg(picture, quality)
    levels = 255 * (ours - theirs)
    assert levels.square().mean().sqrt() < 2
    loss, their_loss = ((picture - other).square().mean() for other in (ours, theirs))
    assert loss.item() == pytest.approx(their_loss.item(), rel=0.05)


def test_each_picture_has_its_own_jpeg_quality() -> None:
    pictures = _picture(3, 32, 32).expand(2, -1, -1, -1)
    both = jpeg(pictures, torch.tensor([30.0, 90.0]).view(2, 1, 1, 1))
    for i, quality in enumerate((30.0, 90.0)):
        assert torch.equal(both[i], jpeg(pictures[:1], torch.full((1, 1, 1, 1), quality))[0])
    assert not torch.equal(both[0], both[1])


def _draws(batch_size: int, seed: int = 0) -> degradation._Draws:
    return degradation._Draws(seed, batch_size, slice(None), torch.device("cpu"))


def test_blur_kernels_sum_to_one_and_a_tenth_of_them_rings() -> None:
    kernels = degradation._blur_kernels(REAL_WORLD[0], _draws(400))
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(400))
    assert 20 < int((kernels.flatten(1).min(1).values < -1e-4).sum()) < 60


def test_kernels_have_the_sides_that_are_drawn() -> None:
    kernels = degradation._sinc(_draws(200), degradation._sizes(_draws(200)))[:, 0]
    sides = [int((kernel.abs().sum(0) > 0).sum()) for kernel in kernels]
    assert set(sides) == set(range(7, 22, 2))


def test_an_isotropic_gaussian_has_its_sigma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(degradation, "_BLURS", ((1.0, False, "gaussian"),))
    monkeypatch.setattr(degradation, "_SINC_SHARE", 0.0)
    monkeypatch.setattr(degradation, "_KERNEL_SIZES", (21,))
    stage = Stage(1.0, (1.5, 1.5), (0, 0, 1), (1, 1), (0, 0), (0, 0), (95, 95))
    offsets = torch.arange(21.0) - 10
    for kernel in degradation._blur_kernels(stage, _draws(3)):
        expected = torch.exp(-offsets.square() / (2 * 1.5**2))
        expected = torch.outer(expected, expected)
        torch.testing.assert_close(kernel, expected / expected.sum())


def test_a_sinc_passes_what_is_below_its_cutoff() -> None:
    kernels = degradation._sinc(_draws(50), torch.full((50, 1, 1, 1), 21))
    response = torch.fft.fft2(kernels[:, 0], s=(64, 64)).abs()
    assert response[:, 0, 0].allclose(torch.ones(50))
    # The corner of the spectrum is beyond every cutoff, which is at most pi.
    assert response[:, 32, 32].max() < 0.15
    assert response[:, 2, 2].min() > 0.8


@pytest.mark.parametrize("gray", [False, True])
def test_noise_has_the_strength_of_its_definition(gray: bool) -> None:
    ramp = (torch.arange(256.0) / 255).expand(1, 3, 256, 256)
    chosen = torch.full((1, 1, 1, 1), gray)
    source = torch.Generator().manual_seed(0)
    gaussian = degradation._gaussian_noise(ramp, chosen, [source])
    assert gaussian.std().item() == pytest.approx(1 / 255, rel=0.02)
    poisson = degradation._poisson_noise(ramp, chosen, [source])
    # A count of mean n has the variance n: here n of 256 photons.
    torch.testing.assert_close(
        poisson[0, :, :, 64:].var((0, 1)), ramp[0, 0, 0, 64:] / 256, rtol=0.5, atol=0
    )
    for noise in (gaussian, poisson):
        assert bool((noise[:, 0] == noise[:, 1]).all()) is gray


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_batch_is_decided_by_its_seed_and_can_be_made_in_parts(scale: int) -> None:
    hr = torch.stack([_picture(3, 12 * scale, 16 * scale) for _ in range(4)])
    seen = set()
    for seed in range(3):
        whole = degrade(hr, scale, seed=seed)
        assert whole.shape == (4, 3, 12, 16)
        assert torch.equal((whole * 255).round() / 255, whole)
        assert 0 <= whole.min() <= whole.max() <= 1
        parts = [
            degrade(hr[part], scale, seed=seed, batch_size=4, part=part)
            for part in (slice(0, 2), slice(2, 4))
        ]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1.01 / 255)
        assert (torch.cat(parts) != whole).float().mean() < 0.01
        assert torch.equal(whole, degrade(hr, scale, seed=seed))
        seen.add(float(whole.sum()))
    assert len(seen) == 3


def test_it_still_shows_the_picture_and_is_worse_than_bicubic() -> None:
    hr = torch.stack([_picture(3, 48, 48) for _ in range(3)])
    bicubic = imresize(hr, 0.5)
    errors = [float((degrade(hr, 2, seed=seed) - bicubic).square().mean()) for seed in range(4)]
    assert max(errors) < 0.05
    assert min(errors) > 1e-5
    assert math.isfinite(sum(errors))


def test_tiny_pictures_and_bad_shapes() -> None:
    assert degrade(torch.rand(1, 3, 8, 8), 4, seed=1).shape == (1, 3, 2, 2)
    with pytest.raises(ValueError, match="multiple of the scale"):
        degrade(torch.rand(1, 3, 9, 8), 4, seed=1)
    with pytest.raises(ValueError, match="RGB"):
        degrade(torch.rand(1, 1, 8, 8), 4, seed=1)
