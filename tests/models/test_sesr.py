"""SESR: its forms agree, also in their gradients, and weights move between networks exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vernier.models.sesr import SESR, CollapsibleConv2d, identity_kernel


def randomised(*, bias: bool = True, **config: int) -> SESR:
    """A small network none of whose parameters is zero, as after training."""
    sizes = {"scale": 2, "num_blocks": 3, "num_features": 8, "expansion": 32} | config
    model = SESR(**sizes, bias=bias)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(-0.2, 0.3)
    return model


def picture(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*size, dtype=dtype)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_gradients_of_expanded_and_collapsed_agree(
    dtype: torch.dtype, tolerance: float, bias: bool
) -> None:
    model = randomised(bias=bias).to(dtype)
    lr, hr = picture(2, 1, 9, 11, dtype=dtype), picture(2, 1, 18, 22, dtype=dtype)
    gradients = {}
    for form in ("expanded", "collapsed"):
        model.form = form
        model.zero_grad()
        (model.forward_unclipped(lr) - hr).abs().mean().backward()
        gradients[form] = {name: p.grad.clone() for name, p in model.named_parameters()}
    for name, expected in gradients["expanded"].items():
        assert expected.abs().max() > 1e-4, f"{name} must receive a gradient"
        assert (gradients["collapsed"][name] - expected).abs().max() <= tolerance, name


@torch.no_grad()
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (4, 3), (13, 10)])
def test_any_size_in_every_form(size: tuple[int, int], scale: int) -> None:
    model = randomised(scale=scale)
    lr = picture(1, 1, *size)
    collapsed = model(lr)
    assert collapsed.shape == (1, 1, scale * size[0], scale * size[1])
    assert (model.deploy()(lr) - collapsed).abs().max() <= 1e-6
    model.form = "expanded"
    assert (model(lr) - collapsed).abs().max() <= 1e-6


@torch.no_grad()
def test_a_batch_is_its_pictures() -> None:
    model = randomised()
    lr = picture(3, 1, 8, 6)
    one_by_one = torch.cat([model(each) for each in lr.split(1)])
    assert (model(lr) - one_by_one).abs().max() <= 1e-6


@torch.no_grad()
def test_deploy_leaves_plain_convolutions_and_the_original() -> None:
    model = randomised().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    deployed = model.deploy()
    assert deployed.deployed
    assert not model.deployed
    assert deployed.training
    assert not any(isinstance(m, CollapsibleConv2d) for m in deployed.modules())
    assert deployed.config == model.config
    for conv in deployed.blocks():
        conv.weight.zero_()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    lr = picture(1, 1, 6, 6)
    again = model.deploy().deploy()
    assert (again(lr) - model(lr)).abs().max() <= 1e-6


@torch.no_grad()
def test_receptive_radius_is_the_reach_of_a_pixel() -> None:
    model = randomised(num_blocks=3)
    radius = model.receptive_radius
    assert radius == 7
    lr = picture(1, 1, 31, 31)
    other = lr.clone()
    other[..., 15, 15] += 0.25
    changed = (model.forward_unclipped(lr) != model.forward_unclipped(other)).nonzero()[:, 2:] // 2
    assert changed.min() == 15 - radius
    assert changed.max() == 15 + radius


@torch.no_grad()
def test_an_untrained_network_starts_near_nearest_neighbour() -> None:
    """With zero weights only the input residual is left: every LR pixel becomes scale x scale."""
    model = randomised(scale=3)
    for parameter in model.parameters():
        parameter.zero_()
    lr = picture(1, 1, 4, 5)
    expected = lr.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)
    assert torch.equal(model(lr), expected)


def test_the_output_is_clipped_and_the_loss_need_not_be() -> None:
    model = randomised()
    lr = 3 * picture(1, 1, 8, 8) - 1
    unclipped = model.forward_unclipped(lr)
    assert unclipped.min() < 0
    assert unclipped.max() > 1
    assert torch.equal(model(lr), unclipped.clamp(0, 1))


@torch.no_grad()
@pytest.mark.parametrize("bias", [False, True])
def test_set_collapsed_reaches_any_kernel(bias: bool) -> None:
    block = CollapsibleConv2d(
        in_channels=8, out_channels=8, kernel_size=3, expansion=32, short_residual=True, bias=bias
    )
    if bias:
        block.expand.bias.fill_(0.3)
    wanted = torch.randn(8, 8, 3, 3)
    wanted_bias = torch.randn(8) if bias else None
    block.set_collapsed(wanted, wanted_bias)
    kernel, found_bias = block.collapse()
    assert (kernel - wanted).abs().max() <= 1e-6
    if bias:
        assert torch.equal(found_bias, wanted_bias)


@torch.no_grad()
def test_set_collapsed_changes_as_little_as_possible() -> None:
    block = CollapsibleConv2d(in_channels=4, out_channels=4, kernel_size=3, expansion=16)
    before = block.expand.weight.clone()
    block.set_collapsed(block.collapse()[0])
    assert (block.expand.weight - before).abs().max() <= 1e-7


def test_set_collapsed_says_what_it_cannot_do() -> None:
    narrow = CollapsibleConv2d(in_channels=1, out_channels=8, kernel_size=5, expansion=4)
    with pytest.raises(ValueError, match="4 expanded channels cannot reach"):
        narrow.set_collapsed(torch.zeros(8, 1, 5, 5))
    plain = CollapsibleConv2d(in_channels=1, out_channels=2, kernel_size=5, expansion=4)
    with pytest.raises(ValueError, match="no bias"):
        plain.set_collapsed(torch.zeros(2, 1, 5, 5), torch.zeros(2))


@torch.no_grad()
@pytest.mark.parametrize("bias", [False, True])
def test_x4_from_x2_copies_all_but_the_last_block(bias: bool) -> None:
    source = randomised(scale=2, bias=bias)
    target = randomised(scale=4, bias=bias, expansion=24)
    last = {key: value.clone() for key, value in target.last.state_dict().items()}
    assert target.init_from(source) == ["first", "body.0", "body.1", "body.2"]
    for mine, theirs in zip(target.blocks()[:-1], source.blocks()[:-1], strict=True):
        for a, b in zip(mine.collapse(), theirs.collapse(), strict=True):
            assert (a is None) == (b is None)
            assert a is None or (a - b).abs().max() <= 1e-6
    for mine, theirs in zip(target.activations, source.activations, strict=True):
        assert torch.equal(mine.weight, theirs.weight)
    assert all(torch.equal(last[key], value) for key, value in target.last.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize("deployed", [False, True])
def test_deeper_from_shallower_is_the_same_function(deployed: bool) -> None:
    source = randomised(num_blocks=2)
    target = randomised(num_blocks=5)
    copied = target.init_from(source.deploy() if deployed else source)
    assert copied == ["first", "body.0", "body.1", "last"]
    lr = picture(1, 1, 9, 12)
    assert (target.forward_unclipped(lr) - source.forward_unclipped(lr)).abs().max() <= 2e-6


@torch.no_grad()
def test_a_deeper_copy_can_still_learn() -> None:
    target = randomised(num_blocks=4)
    target.init_from(randomised(num_blocks=2))
    with torch.enable_grad():
        target.forward_unclipped(picture(1, 1, 8, 8)).square().mean().backward()
    assert target.body[3].expand.weight.grad.abs().max() > 0


def test_init_from_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="cannot start"):
        randomised(num_features=8).init_from(randomised(num_features=4))
    with pytest.raises(ValueError, match="cannot start"):
        randomised(num_blocks=2).init_from(randomised(num_blocks=3))
    with pytest.raises(ValueError, match="deployed network"):
        randomised().deploy().init_from(randomised())


@pytest.mark.parametrize(
    ("argument", "value"), [("scale", 0), ("num_blocks", 0), ("activation", "gelu")]
)
def test_bad_arguments(argument: str, value: object) -> None:
    config = {"scale": 2, "num_blocks": 1, "num_features": 4, argument: value}
    with pytest.raises(ValueError, match=argument):
        SESR(**config)


def test_bad_blocks() -> None:
    with pytest.raises(ValueError, match="odd"):
        CollapsibleConv2d(in_channels=1, out_channels=1, kernel_size=4, expansion=4)
    with pytest.raises(ValueError, match="equal channels"):
        CollapsibleConv2d(
            in_channels=1, out_channels=2, kernel_size=3, expansion=4, short_residual=True
        )


def test_identity_kernel_copies_its_input() -> None:
    x = picture(1, 3, 5, 4)
    kernel = identity_kernel(torch.empty(3, 3, 5, 5))
    assert torch.equal(torch.nn.functional.conv2d(x, kernel, padding=2), x)
