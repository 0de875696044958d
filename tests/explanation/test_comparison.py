"""The comparison figure, the library's `vernier.compare`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vernier.data.folders import read_uint8
from vernier.errors import InputError
from vernier.explanation.comparison import compare, draw_comparison, scores
from vernier.explanation.features import blocking, feature_maps
from vernier.explanation.lam import Window
from vernier.explanation.upscaled import bicubic, upscaled
from vernier.imaging import imresize, imresize_uint8
from vernier.io import read_picture
from vernier.metrics import psnr, ssim
from vernier.zoo import load_model


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
    figure = np.asarray(draw_comparison(hr, lr, results, Window(10, 20, 24)))
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


def test_compare_measures_the_window_it_draws(face: Path, tmp_path: Path) -> None:
    given = compare(face, tmp_path / "a.png", models=["sesr-m3"], window=(30, 40, 32))
    assert given.window == Window(30, 40, 32)
    assert given.reason is None
    hr = read_uint8(face)[:, :, :96].float() / 255
    lr = imresize_uint8(read_uint8(face)[:, :, :96], 0.5).float() / 255
    model = load_model("sesr-m3", 2)[0]
    results = {"bicubic": bicubic(lr, 2), "sesr-m3": upscaled(model, lr, 2)}
    assert list(given.scores) == scores(hr, results, Window(30, 40, 32))
    figure = np.asarray(draw_comparison(hr, lr, results, Window(30, 40, 32)))
    assert np.array_equal(read_picture(tmp_path / "a.png").pixels, figure)
    proposed = compare(face, tmp_path / "b.png", models=["sesr-m3"])
    assert proposed.window is not None
    assert ",".join(map(str, proposed.window)) in str(proposed.reason)


def test_compare_shows_the_groups_of_a_window(face: Path, tmp_path: Path) -> None:
    found = compare(face, tmp_path / "a.png", models=["sesr-m3", "sesr-m5"], features=True)
    assert [(each.model, each.name) for each in found.groups] == [
        *(("sesr-m3", f"body.{i}") for i in range(3)),
        *(("sesr-m5", f"body.{i}") for i in range(5)),
    ]
    assert all(each.blocking is None for each in found.groups)
    window = Window(10, 20, 32)
    found = compare(
        face, tmp_path / "a.png", models=["sesr-m3"], features=True, grid=8, window=window
    )
    lr = imresize_uint8(read_uint8(face)[:, :, :96], 0.5)[:, 10:26, 5:21].float() / 255
    expected = [blocking(each.values, 8) for each in feature_maps(load_model("sesr-m3", 2)[0], lr)]
    assert [each.blocking for each in found.groups] == expected
