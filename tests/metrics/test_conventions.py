"""Conventions: every evaluator of the golden pairs, torchmetrics as installed, empty cubes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import (
    error_relative_global_dimensionless_synthesis,
    peak_signal_noise_ratio,
    spectral_angle_mapper,
    structural_similarity_index_measure,
    universal_image_quality_index,
)

from vernier.metrics import CONVENTIONS, cube_psnr, cube_ssim, sam

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


@pytest.mark.parametrize("ratio", [4, 8])
def test_the_convention_of_torchmetrics_is_that_of_the_installed_version(ratio: int) -> None:
    target = torch.rand(6, 40, 36, dtype=torch.float64) + 0.1
    prediction = target + 0.05 * torch.randn_like(target)
    pair = (prediction[None], target[None])
    theirs = {
        "SAM": torch.rad2deg(spectral_angle_mapper(*pair)),
        "ERGAS": error_relative_global_dimensionless_synthesis(*pair, ratio=ratio),
        "PSNR": peak_signal_noise_ratio(*pair, data_range=1.0),
        "SSIM": structural_similarity_index_measure(*pair, data_range=1.0),
        "UQI": universal_image_quality_index(*pair),
    }
    convention = CONVENTIONS["torchmetrics"]
    ours = convention.measure(prediction, target, ratio=ratio)
    assert {name: value.item() for name, value in ours.items()} == {
        name: pytest.approx(value.item(), rel=LOG10) for name, value in theirs.items()
    }
    assert "torchmetrics 1.9" in convention.source


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


def test_a_convention_says_what_it_computes() -> None:
    for name, convention in CONVENTIONS.items():
        text = convention.definitions
        assert f'"{name}"' in text
        assert all(
            metric.name in text and metric.definition in text for metric in convention.metrics
        )
    assert "last 1 row and column cut off" in CONVENTIONS["analysis-accu"].definitions
