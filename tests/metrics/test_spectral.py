"""Spectral metrics: every evaluator of the golden pairs, other libraries, empty cubes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import (
    error_relative_global_dimensionless_synthesis as torchmetrics_ergas,
)
from torchmetrics.functional.image import spectral_angle_mapper as torchmetrics_sam
from torchmetrics.functional.image import universal_image_quality_index as torchmetrics_uqi

from vernier.metrics import CONVENTIONS
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

FLOAT32 = 1e-3  # the evaluators that run in float32 lose digits in acos near 1
LOG10 = 1e-6  # torchmetrics' base of the logarithm is a float32 number


@pytest.fixture(scope="module")
def golden(shared: Path) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, dict[str, object]]]:
    folder = shared / "golden/psrt"
    arrays = np.load(folder / "metrics_pairs.npz")

    def cube(name: str) -> Tensor:
        return torch.from_numpy(arrays[name].astype(np.float64)).permute(2, 0, 1)

    pairs = {k: (cube(f"{k}_sr"), cube(f"{k}_gt")) for k in "ABD"}
    pairs["C"] = (cube("A_gt"), cube("A_gt"))
    return pairs, json.loads((folder / "metrics_values.json").read_text())


def find(values: dict[str, object], start: str) -> object:
    """The entry whose long name starts so; exactly one does."""
    (name,) = (name for name in values if name.startswith(start))
    return values[name]


# Start of the evaluator's name, preset, ratio, its keys -> ours, relative tolerance.
EVALUATORS = [
    (
        "psrt_official_metrics.py (float32",
        "psrt-official",
        4,
        {"psnr": "PSNR", "rmse": "RMSE", "ergas_ratio4": "ERGAS", "sam_deg": "SAM"},
        FLOAT32,
    ),
    (
        "psrt_official_metrics.py (float64)",
        "psrt-official",
        4,
        {"psnr": "PSNR", "rmse": "RMSE", "ergas_ratio4": "ERGAS", "sam_deg": "SAM"},
        1e-9,
    ),
    (
        "fork analysis_accu(gt,sr,4) default",
        "analysis-accu",
        4,
        {"SAM": "SAM", "ERGAS": "ERGAS", "PSNR": "PSNR"},
        FLOAT32,
    ),
    (
        "fork analysis_accu(gt,sr,4), float64",
        "analysis-accu",
        4,
        {"SAM": "SAM", "ERGAS": "ERGAS", "PSNR": "PSNR"},
        1e-9,
    ),
    (
        "fork analysis_accu(gt,sr,4,flag_cut_bounds=False)",
        "analysis-accu-uncut",
        4,
        {"SAM": "SAM", "ERGAS": "ERGAS", "PSNR": "PSNR"},
        1e-9,
    ),
    (
        "fork analysis_accu(gt,sr,8,flag_cut_bounds=False,choices=5)",
        "analysis-accu-uncut",
        8,
        {"SAM": "SAM", "ERGAS": "ERGAS", "PSNR": "PSNR", "CC": "CC"},
        1e-9,
    ),
    (
        "HyperSpectralCollection",
        "analysis-accu-uncut",
        4,
        {"SAM": "SAM", "ERGAS": "ERGAS", "PSNR": "PSNR", "SSIM": "SSIM"},
        1e-6,  # its SSIM is in float32
    ),
    (
        "Matlab package",
        "matlab",
        4,
        {k: k for k in ("SAM", "ERGAS", "PSNR", "SSIM", "Q", "SCC")},
        1e-9,
    ),
    (
        "torchmetrics",
        "torchmetrics",
        4,
        {
            "sam_deg": "SAM",
            "ergas_default_ratio4": "ERGAS",
            "psnr_global_dr1": "PSNR",
            "ssim_dr1": "SSIM",
            "uqi": "UQI",
        },
        LOG10,
    ),
    ("torchmetrics", "torchmetrics", 0.25, {"ergas_ratio_quarter": "ERGAS"}, 1e-9),
]


@pytest.mark.parametrize("pair", "ABC")
@pytest.mark.parametrize(("start", "preset", "ratio", "keys", "tolerance"), EVALUATORS)
def test_every_evaluator_is_met(golden, pair, start, preset, ratio, keys, tolerance) -> None:
    pairs, values = golden
    theirs = find(values[pair], start)
    ours = CONVENTIONS[preset].measure(*pairs[pair], ratio=ratio)
    assert {ours_key: theirs[key] for key, ours_key in keys.items()} == {
        key: pytest.approx(ours[key].item(), rel=tolerance, abs=1e-6, nan_ok=True)
        for key in keys.values()
    }


@pytest.mark.parametrize("pair", "ABC")
def test_what_the_evaluators_print_beside(golden, pair) -> None:
    pairs, values = golden
    prediction, target = pairs[pair]
    training = find(values[pair], "training-loss SSIM")
    assert cube_ssim(prediction, target, border="same").item() == pytest.approx(training, rel=1e-6)
    theirs = find(values[pair], "torchmetrics")
    radians = math.radians(sam(prediction, target, black="nan").item())
    assert radians == pytest.approx(theirs["sam_rad"], abs=1e-8, nan_ok=True)
    own_range = cube_psnr(prediction, target, pooling="global", peak="range").item()
    assert own_range == pytest.approx(theirs["psnr_default"], rel=LOG10)


def test_digital_numbers(golden) -> None:
    pairs, values = golden
    ours = CONVENTIONS["pansharpening"].measure(*pairs["D"], ratio=4)
    assert {key: value.item() for key, value in ours.items()} == {
        name: pytest.approx(find(values["D_8band_DN"], start), rel=1e-9)
        for name, start in {
            "Q2n": "PanCollection my_q2n",
            "Q": "Q avg",
            "SAM": "SAM",
            "ERGAS": "ERGAS4",
            "SCC": "SCC",
        }.items()
    }


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


SAFE = ("matlab", "analysis-accu", "analysis-accu-uncut", "pansharpening")
PERFECT = {"SAM": 0, "ERGAS": 0, "PSNR": math.inf, "SSIM": 1, "Q": 1, "Q2n": 1, "SCC": 1, "CC": 1}


@pytest.mark.parametrize("preset", SAFE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_cubes_are_perfect_even_where_black(preset: str, dtype: torch.dtype) -> None:
    cube = torch.rand(5, 48, 48, dtype=dtype)
    cube[2] = 0
    cube[:, 5:40, 3:44] = 0
    cube[4, :33, :33] = 0.3
    ours = CONVENTIONS[preset].measure(cube, cube, ratio=4)
    for name, value in ours.items():
        assert value.item() == pytest.approx(PERFECT[name], abs=1e-9), name


@pytest.mark.parametrize("preset", SAFE)
def test_an_empty_band_and_black_pixels_leave_finite_figures(preset: str) -> None:
    target = torch.rand(5, 48, 48)
    target[2] = 0
    target[:, 5:40, 3:44] = 0
    prediction = target + 0.01 * torch.rand_like(target) * (target != 0)
    assert (prediction[2] == 0).all()
    ours = CONVENTIONS[preset].measure(prediction, target, ratio=4)
    assert all(value.isfinite() for value in ours.values()), ours
    seen = [0, 1, 3, 4]
    without = CONVENTIONS[preset].measure(prediction[seen], target[seen], ratio=4)
    for name in {"SAM", "ERGAS", "PSNR"} & ours.keys():
        assert ours[name].item() == pytest.approx(without[name].item(), rel=1e-9), name


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


def test_a_convention_says_what_it_computes() -> None:
    for name, convention in CONVENTIONS.items():
        text = convention.definitions
        assert f'"{name}"' in text
        assert all(
            metric.name in text and metric.definition in text for metric in convention.metrics
        )
    assert "last 1 row and column cut off" in CONVENTIONS["analysis-accu"].definitions
