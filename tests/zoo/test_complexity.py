"""The paper's parameter and MAC tables, exactly, and products that no convolution makes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vernier.zoo.complexity import complexity, summary
from vernier.zoo.creation import create_model

# name, scale, kernel parameters, MACs for a 1280x720 output, slopes, expanded total with biases
TABLE = [
    ("sesr-m3", 2, 8_912, 2_053_324_800, 48, 238_196),
    ("sesr-m5", 2, 13_520, 3_115_008_000, 80, 320_692),
    ("sesr-m7", 2, 18_128, 4_176_691_200, 112, 403_188),
    ("sesr-m11", 2, 27_344, 6_300_057_600, 176, 142_324),
    ("sesr-xl", 2, 105_376, 24_278_630_400, 352, 281_956),
    ("sesr-m3", 4, 13_712, 789_811_200, 48, 241_280),
    ("sesr-m5", 4, 18_320, 1_055_232_000, 80, 323_776),
    ("sesr-m7", 4, 22_928, 1_320_652_800, 112, 406_272),
    ("sesr-m11", 4, 32_144, 1_851_494_400, 176, 143_104),
    ("sesr-xl", 4, 114_976, 6_622_617_600, 352, 282_736),
]
# As the paper prints them, in 1e9; it truncates some and rounds others.
PRINTED = {2: (2.05, 3.11, 4.17, 6.30, 24.27), 4: (0.79, 1.05, 1.32, 1.85, 6.62)}


@pytest.mark.parametrize(("name", "scale", "kernels", "macs", "slopes", "expanded"), TABLE)
def test_sesr_table(
    name: str, scale: int, kernels: int, macs: int, slopes: int, expanded: int
) -> None:
    cost = complexity(create_model(name, scale=scale), (720 // scale, 1280 // scale))
    assert (cost.kernel_parameters, cost.macs) == (kernels, macs)
    assert cost.parameters == kernels + slopes
    with_bias = create_model(name, scale=scale, bias=True)
    assert sum(p.numel() for p in with_bias.parameters()) == expanded


@pytest.mark.parametrize("scale", [2, 4])
def test_sesr_table_is_the_printed_one(scale: int) -> None:
    """Guards the table above itself: its exact integers round to what the paper prints."""
    exact = [macs for _, s, _, macs, _, _ in TABLE if s == scale]
    assert [m / 1e9 for m in exact] == pytest.approx(PRINTED[scale], abs=0.01)


def test_deployed_biases_are_counted_apart() -> None:
    plain, biased = (
        complexity(create_model("sesr-m5", scale=2, bias=bias), (9, 7)) for bias in (False, True)
    )
    assert biased.kernel_parameters == plain.kernel_parameters
    assert biased.parameters - plain.parameters == 16 * 6 + 4
    assert biased.macs == plain.macs == 13_520 * 63


def test_activations_are_the_outputs_of_convolutions() -> None:
    cost = complexity(create_model("sesr-m5", scale=2), (10, 12))
    assert cost.activations == (16 * 6 + 4) * 120


def test_summary_adds_up_and_leaves_the_model_alone() -> None:
    model = create_model("sesr-m3", scale=2)
    layers = summary(model, (8, 8))
    cost = complexity(model, (8, 8))
    assert [layer.name for layer in layers if layer.kind == "Conv2d"] == [
        "first",
        "body.0",
        "body.1",
        "body.2",
        "last",
    ]
    assert layers[0].macs == 5 * 5 * 16 * 64
    assert sum(layer.macs for layer in layers) == cost.macs
    assert sum(layer.parameters for layer in layers) == cost.parameters
    assert all(p.device.type == "cpu" for p in model.parameters())
    assert model.training


@pytest.mark.parametrize(
    ("scale", "macs", "without_attention"),
    [(2, 283.1, 213.5), (3, 125.5, 94.9), (4, 74.6, 56.4)],
)
def test_grla_table(scale: int, macs: float, without_attention: float) -> None:
    """Both counts at 1280x720; the paper prints the second (56.5 at x4, from 56.445)."""
    with torch.device("meta"):
        cost = complexity(create_model("grla", scale=scale), (720 // scale, -(-1280 // scale)))
    assert round(cost.macs / 1e9, 1) == macs
    assert round(cost.macs_without_attention / 1e9, 1) == without_attention


@pytest.mark.parametrize(("scale", "printed"), [(2, 203.9), (3, 90.6), (4, 53.9)])
def test_dctlsa_table(scale: int, printed: float) -> None:
    """What GRLA's paper prints of it, truncated there to tenths."""
    with torch.device("meta"):
        cost = complexity(create_model("dctlsa", scale=scale), (720 // scale, -(-1280 // scale)))
    assert cost.macs_without_attention / 1e9 == pytest.approx(printed, abs=0.06)
    assert cost.macs > cost.macs_without_attention


def test_edsr_baseline() -> None:
    cost = complexity(create_model("edsr-baseline", scale=4), (180, 320))
    assert cost.parameters == 1_517_571
    assert round(cost.macs / 1e9, 1) == 114.2
    assert cost.macs == cost.macs_without_attention


class _Attention(nn.Module):
    """One head over all pixels, and an einsum, neither with parameters."""

    channels = 8

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.qkv = nn.Linear(8, 24)

    def forward(self, lr: Tensor) -> Tensor:
        q, k, v = self.qkv(lr.flatten(2).transpose(1, 2)).chunk(3, dim=-1)
        if self.fused:
            return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])
        return torch.einsum("bij,bjc->bic", (q @ k.transpose(1, 2)).softmax(-1), v)


@pytest.mark.parametrize("fused", [False, True])
def test_attention_products_count(fused: bool) -> None:
    pixels = 6 * 5
    cost = complexity(_Attention(fused=fused), (6, 5))
    assert cost.macs == pixels * 8 * 24 + 2 * pixels**2 * 8
    # Three for each element of the softmax.
    assert cost.macs_without_attention == pixels * 8 * 24 + 3 * pixels**2
    layers = {layer.name: layer.macs for layer in summary(_Attention(fused=fused), (6, 5))}
    assert layers == {"(model)": 2 * pixels**2 * 8, "qkv": pixels * 8 * 24}


def test_published_counts_see_the_norms_that_deployment_folds() -> None:
    class Normed(nn.Sequential):
        channels = 4

        def deploy(self) -> nn.Module:
            return Normed(self[1])

    cost = complexity(Normed(nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)), (5, 3))
    assert cost.macs == 15 * 4 * 2
    assert cost.macs_without_attention == 15 * 4 * 2 + 4 * 15 * 4


def test_grouped_convolution() -> None:
    class Depthwise(nn.Sequential):
        channels = 6

    cost = complexity(Depthwise(nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)), (4, 4))
    assert cost.macs == 16 * 6 * 9
