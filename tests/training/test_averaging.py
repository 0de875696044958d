from __future__ import annotations

import copy

import torch
from torch import nn

from vernier.training.averaging import MovingAverage


def _networks() -> tuple[nn.Module, nn.Module]:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    return copy.deepcopy(model), model


def test_the_average_follows_the_weights_and_the_statistics_by_its_formula() -> None:
    averaged, model = _networks()
    average = MovingAverage(averaged, model, decay=0.5)
    expected = {key: value.clone() for key, value in averaged.state_dict().items()}
    for step in range(1, 21):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(2, 1, 5, 5))
        average.update(step)
        keep = min(0.5, (1 + step) / (10 + step))
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                expected[key] = keep * expected[key] + (1 - keep) * value
            else:
                expected[key] = value.clone()
    for key, value in averaged.state_dict().items():
        torch.testing.assert_close(value, expected[key])
    assert averaged.state_dict()["1.num_batches_tracked"] == 20


def test_without_decay_the_average_is_the_network() -> None:
    averaged, model = _networks()
    average = MovingAverage(averaged, model, decay=None)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    average.update(1)
    for key, value in averaged.state_dict().items():
        assert torch.equal(value, model.state_dict()[key])
