"""Quantisation-aware SESR against the authors' implementation, bit by bit.

A float32 activation depends in its last bits on the order in which a convolution adds its products;
so do the ranges that are measured on it. Everything else is elementwise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vernier.models.quantization import FakeQuantizer, QuantSESR, fake_quantize
from vernier.models.sesr import SESR
from vernier.zoo.official.sesr import import_official

GOLDEN = Path(__file__).parents[1] / "golden" / "sesr" / "sesr_m3_x2_p32_qat.npz"
BLOCKS = ("first", "body0", "body1", "body2", "last")
ACTIVATIONS = ("inputs", "first", "body0", "body1", "body2", "residual1", "last", "residual2")

with np.load(GOLDEN) as file:
    DATA = {key: file[key] for key in file.files}


def image(key: str) -> Tensor:
    return torch.from_numpy(DATA[key]).permute(0, 3, 1, 2)


def official() -> QuantSESR:
    """The fixture's network, with its own collapsed kernels to the last bit."""
    weights = {key[2:]: array for key, array in DATA.items() if key.startswith("w/")}
    network = import_official(weights, scale=2)
    assert network.activation == "relu"
    for name, conv in zip(BLOCKS, network.blocks(), strict=True):
        assert isinstance(conv, nn.Conv2d)
        kernel = torch.from_numpy(DATA[f"collapsed/{name}.kernel"]).permute(3, 2, 0, 1)
        assert (conv.weight - kernel).abs().max() <= 2e-7
        conv.weight.data.copy_(kernel)
    return QuantSESR(network)


def activation_quantizers(model: QuantSESR) -> dict[str, FakeQuantizer]:
    quantizers = [
        model.quantize_input,
        model.quantize_first,
        *model.quantize_body,
        model.quantize_sum,
        model.quantize_last,
        model.quantize_output,
    ]
    return dict(zip(ACTIVATIONS, quantizers, strict=True))


def set_official_ranges(model: QuantSESR) -> None:
    for name, quantize in activation_quantizers(model).items():
        quantize.low.data.fill_(DATA[f"range/{name}.act_min"].item())
        quantize.high.data.fill_(DATA[f"range/{name}.act_max"].item())
    for name, quantize in zip(BLOCKS, model.quantize_kernels, strict=True):
        quantize.low.data.copy_(
            torch.from_numpy(DATA[f"range/{name}.weight_min"])[:, None, None, None]
        )
        quantize.high.data.copy_(
            torch.from_numpy(DATA[f"range/{name}.weight_max"])[:, None, None, None]
        )
    for quantize in model.modules():
        if isinstance(quantize, FakeQuantizer):
            quantize.initialised.fill_(True)


@pytest.mark.parametrize("case", range(5))
def test_fake_quantize(case: int) -> None:
    low, high, narrow = (torch.tensor(v) for v in DATA[f"fq/{case}.params"])
    low.requires_grad_()
    high.requires_grad_()
    x = torch.from_numpy(DATA[f"fq/{case}.x"]).requires_grad_()
    y = fake_quantize(x, low, high, narrow_range=bool(narrow))
    y.sum().backward()
    assert torch.equal(y, torch.from_numpy(DATA[f"fq/{case}.train"]))
    assert torch.equal(x.grad, torch.from_numpy(DATA[f"fq/{case}.grad_x"]))
    # Sums over 401 values in float32: the order of the addition may differ.
    assert low.grad.item() == pytest.approx(DATA[f"fq/{case}.grad_min"].item(), abs=2e-5)
    assert high.grad.item() == pytest.approx(DATA[f"fq/{case}.grad_max"].item(), abs=2e-5)
    assert low.grad == -high.grad


def test_a_value_on_the_bound_is_inside() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    high = torch.tensor(1.0, requires_grad=True)
    fake_quantize(x, torch.tensor(-1.0), high, narrow_range=True).sum().backward()
    assert x.grad.tolist() == [1, 1, 1]
    assert high.grad == 0


@torch.no_grad()
@pytest.mark.parametrize(
    ("given", "expected"), [("input", "out/first_call"), ("input2", "out/input2_same_ranges")]
)
def test_outputs_are_bit_exact_with_the_same_ranges(given: str, expected: str) -> None:
    model = official()
    set_official_ranges(model)
    assert torch.equal(model(image(given)), image(expected))


@torch.no_grad()
def test_first_call_sets_the_ranges() -> None:
    model = official()
    first = model(image("input"))
    for name, quantize in zip(BLOCKS, model.quantize_kernels, strict=True):
        assert torch.equal(
            quantize.low.flatten(), torch.from_numpy(DATA[f"range/{name}.weight_min"])
        )
        assert torch.equal(
            quantize.high.flatten(), torch.from_numpy(DATA[f"range/{name}.weight_max"])
        )
    ranges = activation_quantizers(model)
    for name, quantize in ranges.items():
        assert quantize.low.item() == DATA[f"range/{name}.act_min"].item(), name
        assert quantize.high.item() == DATA[f"range/{name}.act_max"].item(), name
    assert torch.equal(first, image("out/first_call"))
    assert torch.equal(model(image("input2")), image("out/input2_same_ranges"))
    assert ranges["inputs"].low.item() == DATA["range/inputs.act_min"].item()


@torch.no_grad()
def test_inference_operators_differ_by_ties_only() -> None:
    """TensorFlow's own fake-quant operators round other ties: 3 of 1920 pixels, by one level."""
    model = official()
    set_official_ranges(model)
    difference = (model(image("input2")) - image("out/infer_mode_input2")).abs()
    elsewhere = difference > 1e-6
    assert elsewhere.sum() == 3
    output = model.quantize_output
    level = (output.high - output.low) / 255
    assert (difference[elsewhere] - level).abs().max() <= 1e-6


def test_training_moves_weights_and_ranges() -> None:
    network = SESR(scale=2, num_blocks=2, num_features=8, expansion=16, activation="relu")
    model = QuantSESR(network)
    lr = torch.rand(2, 1, 12, 10)
    model(lr).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    # The input's range starts at its extremes and is then moved to contain 0.
    assert model.quantize_input.high.grad != 0
    assert network.first.expand.weight.grad.abs().max() > 0


@torch.no_grad()
def test_ranges_survive_a_state_dict() -> None:
    def fresh() -> QuantSESR:
        return QuantSESR(
            SESR(scale=2, num_blocks=1, num_features=4, expansion=4, activation="relu")
        )

    model, copy = fresh(), fresh()
    model(torch.rand(1, 1, 8, 8))
    copy.load_state_dict(model.state_dict())
    other = torch.rand(1, 1, 9, 7) * 0.5
    assert torch.equal(copy(other), model(other))


@torch.no_grad()
def test_to_sesr_has_at_most_255_levels_per_kernel() -> None:
    model = QuantSESR(SESR(scale=2, num_blocks=3, num_features=16, expansion=8, activation="relu"))
    lr = torch.rand(1, 1, 16, 16)
    quantised = model(lr)
    sesr = model.to_sesr()
    for conv in sesr.blocks():
        steps = conv.weight.flatten(1) / (conv.weight.flatten(1).abs().amax(1, keepdim=True) / 127)
        assert (steps - steps.round()).abs().max() < 1e-4
        assert steps.round().abs().max() == 127
    # What is left is the rounding of 8 activations.
    assert 0 < (sesr(lr) - quantised).abs().mean() < 0.02


def test_prelu_is_refused() -> None:
    with pytest.raises(ValueError, match="activation='relu'"):
        QuantSESR(SESR(scale=2, num_blocks=1, num_features=4, expansion=4))
