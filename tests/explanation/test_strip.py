"""What LAM found, drawn and told."""

from __future__ import annotations

import json

import numpy as np
import torch

from vernier.explanation.lam import Window, explain
from vernier.explanation.strip import record, shown, strip
from vernier.imaging import rgb_to_ycbcr


def test_results_become_rgb() -> None:
    lr = torch.rand(3, 6, 8)
    luma = torch.full((1, 12, 16), 0.5)
    coloured = shown(luma, lr)
    assert coloured.shape == (3, 12, 16)
    gray = shown(luma, torch.full((3, 6, 8), 0.3))
    torch.testing.assert_close(rgb_to_ycbcr(gray)[0], luma[0])
    cube = torch.rand(31, 4, 4)
    assert torch.equal(shown(cube, cube), cube[[30, 15, 0]])
    assert torch.equal(shown(cube, cube, range(700, 390, -10)), cube[[5, 15, 25]])
    assert torch.equal(shown(luma, lr[:1]), luma.expand(3, -1, -1))
    assert shown(lr * 3 - 1, lr).aminmax() == (0, 1)


def test_strip_and_record_of_a_fusion_model() -> None:
    class Fusion(torch.nn.Module):
        scale, colour = 2, "cube"

        def forward(self, lr: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.interpolate(lr, scale_factor=2.0) + guide[:, :1]

    lr, guide = torch.rand(5, 8, 9), torch.rand(3, 16, 18)
    found = explain(Fusion(), lr, Window(4, 4, 6), guide=guide, steps=4)
    image = strip("fusion", found, guide, lr)
    assert np.asarray(image).shape[0] > 2 * 15 * 16
    told = json.loads(json.dumps(record(found)))
    assert told["maps"]["lr"]["size"] == [8, 9]
    assert told["maps"]["guide"]["size"] == [16, 18]
    assert told["window"] == [4, 4, 6]
    assert told["attributed"] == found.attributed
