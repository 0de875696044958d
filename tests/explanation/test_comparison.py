"""The comparison figure and `vernier compare`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command import Ran

from vernier.data.pictures import read_uint8
from vernier.errors import InputError
from vernier.explanation.comparison import comparison, scores
from vernier.explanation.lam import Window
from vernier.imaging import imresize, imresize_uint8
from vernier.io import read_picture
from vernier.metrics import psnr, ssim


def test_scores_are_of_the_window_alone() -> None:
    hr = torch.randint(256, (3, 40, 50)) / 255
    result = hr.clone()
    result[:, 20:] = 0
    away, across = Window(3, 2, 16), Window(3, 10, 16)
    (same,) = scores(hr, {"m": result}, away)
    assert same.psnr == math.inf
    assert same.ssim == pytest.approx(1)
    (worse,) = scores(hr, {"m": result}, across)
    cut = (slice(None), slice(10, 26), slice(3, 19))
    assert worse.psnr == psnr(result[cut], hr[cut], crop=0).item()
    assert worse.ssim == ssim(result[cut], hr[cut], crop=0).item()
    (small,) = scores(hr, {"m": result}, Window(0, 0, 10))
    assert small.ssim is None
    with pytest.raises(InputError, match="does not lie inside"):
        scores(hr, {"m": result}, Window(40, 0, 11))


def test_the_figure_shows_every_crop() -> None:
    hr = torch.rand(3, 60, 80)
    lr = imresize(hr, 0.5).clamp(0, 1)
    results = {"black": torch.zeros_like(hr), "white": torch.ones(3, 60, 80)}
    figure = np.asarray(comparison(hr, lr, results, Window(10, 20, 24)))
    # 24 pixels, 8 times as large: the HR crop is in the figure as it is, and so are the others.
    crop = (hr[:, 20:44, 10:34] * 255).round().byte().repeat_interleave(8, 1)
    crop = crop.repeat_interleave(8, 2).permute(1, 2, 0).numpy()
    assert contains(figure, crop)
    assert contains(figure, np.zeros((192, 192, 3)))
    low = (lr[:, 10:22, 5:17] * 255).round().byte().repeat_interleave(16, 1)
    assert contains(figure, low.repeat_interleave(16, 2).permute(1, 2, 0).numpy())


def contains(figure: np.ndarray, part: np.ndarray) -> bool:
    height, width = part.shape[:2]
    rows, columns = np.where(
        (figure[: -height + 1, : -width + 1] == part[0, 0]).all(-1)
        & (figure[height - 1 :, width - 1 :] == part[-1, -1]).all(-1)
    )
    return any(
        np.array_equal(figure[y : y + height, x : x + width], part)
        for y, x in zip(rows.tolist(), columns.tolist())
    )


def test_command_draws_and_prints(
    face: Path,
    tmp_path: Path,
    vernier: Callable[..., Ran],
) -> None:
    figure = tmp_path / "figure.png"
    models = ("-n", "sesr-m3", "-n", "sesr-m5")
    code, printed, _ = vernier("compare", face, *models, "--window", "30,40,32", "-o", figure)
    assert code == 0
    found = dict(re.findall(r"(\S+): PSNR ([\d.]+) dB, SSIM", printed))
    assert list(found) == ["bicubic", "sesr-m3", "sesr-m5"]
    hr = read_uint8(face)[:, :, :96]
    bicubic = imresize_uint8(imresize_uint8(hr, 0.5), 2)
    cut = (slice(None), slice(40, 72), slice(30, 62))
    expected = psnr(bicubic[cut] / 255, hr[cut] / 255, crop=0).item()
    assert float(found["bicubic"]) == pytest.approx(expected, abs=0.005)
    assert float(found["bicubic"]) < float(found["sesr-m3"])
    assert read_picture(figure).width > 3 * 192
    code, printed, _ = vernier("compare", face, "-n", "sesr-m3", "-o", figure)
    assert code == 0
    assert re.search(r"proposed window \d+,\d+,64, where sesr-m3 gains \d", printed)


def test_command_draws_features(
    face: Path,
    tmp_path: Path,
    vernier: Callable[..., Ran],
) -> None:
    figure = tmp_path / "features.png"
    models = ("-n", "sesr-m3", "-n", "sesr-m5")
    code, out, _ = vernier("compare", face, *models, "--features", "-o", figure)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "sesr-m3 body.0"
    assert len(lines) == 3 + 5 + 1
    # Five maps of 48 pixels, 4 times as large, in a row.
    assert read_picture(figure).width == 5 * 192 + 4 * 8
    arguments = ("--features", "--grid", 8, "--window", "0,0,64", "-o", figure)
    code, out, _ = vernier("compare", face, "-n", "sesr-m3", *arguments)
    assert code == 0
    (level,) = re.findall(r"body.0: blocking ([\d.]+)", out)
    assert 0.5 < float(level) < 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no model given"),
        (("-n", "sesr-m33"), "did you mean"),
        (("-n", "sesr-m3", "--window", "90,0,16"), "does not lie inside"),
        (("-n", "sesr-m3", "--device", "moon"), "device 'moon'"),
        (("-n", "sesr-m3", "-n", "sesr-m5", "-s", 4), "no weights of sesr-m3 for scale 4"),
        (("-n", "sesr-m3", "-o", "nowhere/figure.png"), "no such folder"),
        (("-n", "sesr-m3", "--features", "--grid", "48"), "no border"),
    ],
)
def test_command_refuses_in_one_line(
    face: Path,
    tmp_path: Path,
    vernier: Callable[..., Ran],
    arguments: tuple[object, ...],
    message: str,
) -> None:
    before = sorted(tmp_path.iterdir())
    code, _, error = vernier("compare", face, "-o", tmp_path / "figure.png", *arguments)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
