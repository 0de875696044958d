"""Spectral metrics: other libraries, definitions, empty cubes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import (
    error_relative_global_dimensionless_synthesis as torchmetrics_ergas,
)
from torchmetrics.functional.image import spectral_angle_mapper as torchmetrics_sam
from torchmetrics.functional.image import universal_image_quality_index as torchmetrics_uqi

from vernier.metrics.spectral import (
    band_cc,
    band_psnr,
    band_rmse,
    band_ssim,
    band_uqi,
    cc,
    cube_psnr,
    cube_ssim,
    ergas,
    q2n,
    rmse,
    sam,
    scc,
    spectral_angle,
    uqi,
)


def test_agrees_with_torchmetrics_on_noise() -> None:
    target = torch.rand(2, 6, 40, 36, dtype=torch.float64) + 0.1
    prediction = target + 0.05 * torch.randn_like(target)
    for b in range(2):
        theirs = torchmetrics_sam(prediction[b : b + 1], target[b : b + 1]).item()
        assert sam(prediction, target)[b].item() == pytest.approx(math.degrees(theirs), rel=1e-12)
        theirs = torchmetrics_ergas(prediction[b : b + 1], target[b : b + 1], ratio=8).item()
        assert ergas(prediction, target, ratio=8)[b].item() == pytest.approx(theirs, rel=1e-12)
        theirs = torchmetrics_uqi(prediction[b : b + 1], target[b : b + 1]).item()
        ours = uqi(prediction, target, window="gaussian")[b].item()
        assert ours == pytest.approx(theirs, rel=1e-9)


def test_angles_that_can_be_drawn() -> None:
    target = torch.zeros(2, 1, 3, dtype=torch.float64)
    prediction = torch.zeros(2, 1, 3, dtype=torch.float64)
    target[:, 0, 0] = torch.tensor([1.0, 0.0])
    prediction[:, 0, 0] = torch.tensor([0.0, 3.0])
    target[:, 0, 1] = torch.tensor([2.0, 2.0])
    prediction[:, 0, 1] = torch.tensor([0.5, 0.0])
    angles = spectral_angle(prediction, target)
    assert angles[0, :2].tolist() == pytest.approx([90, 45])
    assert angles[0, 2].isnan()
    assert sam(prediction, target).item() == pytest.approx(67.5)


def test_bands_and_means() -> None:
    target = torch.rand(3, 5, 40, 34, dtype=torch.float64)
    prediction = (target + 0.1 * torch.randn_like(target)).clamp(0, 1)
    for bands, whole in (
        (band_psnr, cube_psnr),
        (band_ssim, cube_ssim),
        (band_uqi, uqi),
        (band_cc, cc),
    ):
        each = bands(prediction, target)
        assert each.shape == (3, 5)
        alone = bands(prediction[1, 2:3], target[1, 2:3])
        torch.testing.assert_close(each[1, 2:3], alone, rtol=1e-12, atol=0)
        torch.testing.assert_close(whole(prediction, target), each.mean(-1), rtol=1e-12, atol=0)
    pearson = np.corrcoef(prediction[0, 0].flatten(), target[0, 0].flatten())[0, 1]
    assert band_cc(prediction, target)[0, 0].item() == pytest.approx(pearson, rel=1e-9)
    assert (cube_psnr(prediction, target, pooling="global") < cube_psnr(prediction, target)).all()
    mse = (prediction - target).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(rmse(prediction, target), mse.sqrt())
    assert band_rmse(prediction, target).shape == (3, 5)
    for one_each in (sam, scc, q2n):
        stacked = one_each(prediction, target)
        alone = torch.stack([one_each(p, t) for p, t in zip(prediction, target, strict=True)])
        torch.testing.assert_close(stacked, alone, rtol=1e-12, atol=0)


def test_q2n_of_quaternions_by_the_definition() -> None:
    """Four bands, one block, with quaternion products written out."""
    target = torch.rand(4, 32, 32, dtype=torch.float64) + 0.5
    prediction = target + 0.2 * torch.randn_like(target)
    mean, spread = target.mean(dim=(1, 2)), target.std(dim=(1, 2), correction=0)
    z = [((c.flatten(1).T - mean) / spread + 1).numpy() for c in (target, prediction)]

    def product(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        a, b, c, d = p.T
        e, f, g, h = q.T
        return np.stack(
            [
                a * e - b * f - c * g - d * h,
                a * f + b * e + c * h - d * g,
                a * g - b * h + c * e + d * f,
                a * h + b * g - c * f + d * e,
            ]
        ).T

    z1, z2 = z[0], z[1] * [1, -1, -1, -1]
    m1, m2 = z1.mean(0), z2.mean(0)
    covariance = product(z1, z2).mean(0) - product(m1[None], m2[None])[0]
    v1, v2 = ((m**2).sum(1).mean() - (mm**2).sum() for m, mm in ((z1, m1), (z2, m2)))
    l1, l2 = np.linalg.norm(m1), np.linalg.norm(m2)
    expected = np.linalg.norm(covariance) * 2 / (v1 + v2) * 2 * l1 * l2 / (l1**2 + l2**2)
    assert q2n(prediction, target).item() == pytest.approx(expected, rel=1e-12)


def test_q2n_takes_any_size_and_any_unit() -> None:
    target = torch.rand(5, 45, 70, dtype=torch.float64)
    prediction = (target + 0.1 * torch.randn_like(target)).clamp(0, 1)
    score = q2n(prediction, target)
    assert 0.5 < score < 1
    torch.testing.assert_close(q2n(2047 * prediction, 2047 * target), score, rtol=1e-9, atol=0)
    mirrored_p, mirrored_t = (torch.cat([c, c.flip(-2)[:, :19]], -2) for c in (prediction, target))
    mirrored_p, mirrored_t = (
        torch.cat([c, c.flip(-1)[..., :26]], -1) for c in (mirrored_p, mirrored_t)
    )
    torch.testing.assert_close(q2n(mirrored_p, mirrored_t), score, rtol=1e-12, atol=0)


def test_light_in_an_empty_band_counts() -> None:
    target = torch.rand(3, 16, 16)
    target[1] = 0
    prediction = target.clone()
    prediction[1] = 0.1
    assert band_psnr(prediction, target)[1].item() == pytest.approx(20, abs=1e-5)
    assert ergas(prediction, target, ratio=4).item() == 0
    assert band_cc(prediction, target).tolist() == pytest.approx([1, 1, 1])


def test_a_black_scene() -> None:
    black = torch.zeros(3, 48, 48)
    light = torch.full((3, 48, 48), 0.1)
    assert sam(black, black).isnan()
    assert ergas(light, black, ratio=4).isnan()
    assert cube_psnr(black, black).item() == math.inf
    assert cube_psnr(light, black).item() == pytest.approx(20, abs=1e-5)
    assert [metric(black, black).item() for metric in (uqi, scc, cc, q2n)] == [1, 1, 1, 1]
    assert scc(light, black).item() == 0
    assert uqi(light, black).item() == 0


def test_one_constant_band_has_no_correlation() -> None:
    target = torch.rand(1, 16, 16)
    assert cc(torch.full_like(target, 0.3), target).item() == 0
    assert cc(target, torch.full_like(target, 0.3)).item() == 0


@pytest.mark.parametrize("metric", [sam, cube_psnr, cube_ssim, uqi, q2n, scc, cc, rmse])
def test_refuses_what_cannot_be_compared(metric) -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        metric(torch.rand(3, 48, 48), torch.rand(4, 48, 48))
    with pytest.raises(ValueError, match="expected cubes"):
        metric(torch.rand(48, 48), torch.rand(48, 48))
    with pytest.raises(ValueError, match="expected cubes"):
        metric(torch.rand(3, 0, 48), torch.rand(3, 0, 48))
    with pytest.raises(TypeError, match="floating-point"):
        metric(torch.ones(3, 48, 48, dtype=torch.int32), torch.rand(3, 48, 48))


def test_small_images_are_refused_where_the_window_does_not_fit() -> None:
    cube = torch.rand(3, 10, 40)
    with pytest.raises(ValueError, match="11x11"):
        cube_ssim(cube, cube, border="same")
    with pytest.raises(ValueError, match="32x32"):
        uqi(cube, cube)
