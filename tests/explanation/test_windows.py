"""Windows proposed by the gain over bicubic."""

from __future__ import annotations

import math

import pytest
import torch

from vernier.errors import InputError
from vernier.explanation.windows import hardest_windows, proposed_windows
from vernier.imaging import rgb_to_luma


def test_the_largest_gains_come_first_and_apart() -> None:
    hr = torch.rand(3, 64, 48)
    bicubic, model = hr.clone(), hr.clone()
    # Bicubic is wrong everywhere, the model less so in two places.
    bicubic += 0.1
    model += 0.1
    model[:, 16:24, 32:40] -= 0.09
    model[:, 40:48, 8:16] -= 0.05
    first, second = hardest_windows(hr, bicubic, [model], size=8, count=2)
    assert first.window == (32, 16, 8)
    assert second.window == (8, 40, 8)
    assert first.decibels == pytest.approx(20, abs=0.01)
    assert second.decibels == pytest.approx(20 * math.log10(2), abs=0.01)
    assert len(hardest_windows(hr, bicubic, [model], size=8, count=50)) == 2


def test_proposals_do_not_overlap() -> None:
    hr = torch.rand(3, 64, 48)
    noise = 0.1 * torch.rand(3, 64, 48)
    many = [each.window for each in hardest_windows(hr, hr + 0.1, [hr + noise], size=8, count=40)]
    assert len(many) > 20
    for i, a in enumerate(many):
        for b in many[:i]:
            assert max(abs(a.x - b.x), abs(a.y - b.y)) >= 8


def test_the_gain_is_the_models_mean() -> None:
    hr = torch.rand(1, 16, 16)
    wrong = hr + 0.2
    (found,) = hardest_windows(hr, wrong, [hr, wrong], size=16)
    assert found.decibels == pytest.approx(10 * math.log10(2), abs=1e-3)
    rgb = torch.rand(3, 16, 16)
    by_luma = hardest_windows(rgb, rgb + 0.1, [rgb_to_luma(rgb)], size=16)
    assert by_luma[0].decibels == math.inf


def test_no_gain_or_no_room() -> None:
    hr = torch.rand(1, 16, 16)
    with pytest.raises(InputError, match="gain nothing over bicubic"):
        hardest_windows(hr, hr, [hr + 0.1], size=8)
    with pytest.raises(InputError, match="does not fit into a picture 16x16"):
        hardest_windows(hr, hr, [hr], size=17)
    with pytest.raises(InputError, match="no model"):
        hardest_windows(hr, hr, [], size=8)


def test_a_bad_model_does_not_hide_what_the_others_gain() -> None:
    hr = torch.rand(1, 16, 16)
    good, bad = hr + 0.01, hr + 0.9
    (found,) = proposed_windows(hr, hr + 0.1, {"good": good, "bad": bad}, size=8)
    assert found.decibels == pytest.approx(20, abs=0.01)
    assert "where good gains 20.00 dB" in found.reason
    (both,) = proposed_windows(hr, hr + 0.1, {"a": good, "b": good}, size=8)
    assert "where a and b gain 20.00 dB" in both.reason
    (centre,) = proposed_windows(hr, hr + 0.1, {"bad": bad}, size=8)
    assert (centre.window, centre.decibels) == ((4, 4, 8), None)
    assert centre.reason == "no model gains over bicubic: the central window 4,4,8"
    with pytest.raises(InputError, match="does not fit"):
        proposed_windows(hr, hr + 0.1, {"bad": bad}, size=17)
