"""EDSR: its counts, what it computes, and how far it sees."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vernier.models.edsr import EDSR, ResidualBlock
from vernier.zoo import create_model


def tiny(scale: int = 2, num_blocks: int = 2) -> EDSR:
    torch.manual_seed(0)
    return EDSR(scale=scale, num_blocks=num_blocks, num_features=6).eval()


@pytest.mark.parametrize(
    ("scale", "millions"),
    # Lim et al. give 1.37 M at x2, 1.55 M at x3 and 1.52 M at x4 for the baseline.
    [(2, 1.37), (3, 1.55), (4, 1.52)],
)
def test_the_baseline_has_the_papers_number_of_parameters(scale: int, millions: float) -> None:
    model = create_model("edsr-baseline", scale=scale)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (5, 7)])
def test_any_size_comes_out_larger(scale: int, size: tuple[int, int]) -> None:
    hr = tiny(scale)(torch.rand(2, 3, *size))
    assert hr.shape == (2, 3, scale * size[0], scale * size[1])


@torch.no_grad()
def test_it_is_the_chain_that_the_paper_draws() -> None:
    model = tiny()
    lr = torch.rand(1, 3, 6, 8)
    mean = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)

    def conv(x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
        assert isinstance(layer, nn.Conv2d)
        return F.conv2d(x, layer.weight, layer.bias, padding=1)

    head = x = conv(lr - mean, model.head)
    for block in list(model.body)[:-1]:
        assert isinstance(block, ResidualBlock)
        x = x + conv(conv(x, block.first).relu(), block.second)
    x = conv(x, model.body[-1]) + head
    x = F.pixel_shuffle(conv(x, model.tail[0]), 2)
    expected = conv(x, model.tail[-1]) + mean
    assert torch.allclose(model(lr), expected, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("num_blocks", [1, 3])
def test_no_pixel_further_than_its_radius_matters(scale: int, num_blocks: int) -> None:
    model = tiny(scale, num_blocks)
    radius = model.receptive_radius
    side = 2 * radius + 5
    lr = torch.rand(1, 3, side, side, requires_grad=True)
    middle = side // 2
    rows = slice(middle * scale, (middle + 1) * scale)
    model(lr)[..., rows, rows].abs().sum().backward()
    assert lr.grad is not None
    seen = lr.grad.abs().sum((0, 1)).nonzero()
    reach = (seen - middle).abs().max().item()
    assert radius - 1 <= reach <= radius


def test_x4_starts_from_x2() -> None:
    two, four = tiny(2), tiny(4)
    copied = four.init_from(two)
    assert {"head.weight", "body.0.first.weight", "tail.0.weight"} <= set(copied)
    assert torch.equal(four.head.weight, two.head.weight)


@pytest.mark.parametrize("wrong", [{"scale": 1}, {"scale": 6}, {"num_blocks": 0}])
def test_sizes_that_it_cannot_have_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        EDSR(**{"scale": 2, **wrong})
