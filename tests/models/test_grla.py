"""GRLA and its sequential relative: counts, golden numbers, deployment, sizes, tracing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.grla import FIXTURE_NAMES, assert_golden, golden, state_of, watch
from torch import nn

from vernier.errors import InputError
from vernier.models.edsr import EDSR, ResidualBlock
from vernier.models.grla import GRLA, LocalFeatures, Section
from vernier.models.grla_seq import FeedForward, GRLASeq, LinearSubBlock
from vernier.models.layers import SRModel
from vernier.models.linear_attention import elementwise_attention
from vernier.zoo.checkpoints import load_model, new_card, save_weights
from vernier.zoo.creation import create_model
from vernier.zoo.official import official_state, recognise

SMALL = {"num_features": 6, "num_blocks": 2, "num_heads": 2, "window_size": 4}
KINDS = [
    "window",
    "shifted",
    "linear-window",
    "linear-shifted",
    "grbf",
    "efficient",
    "relu",
    "taylor",
]


def randomised(model: nn.Module) -> nn.Module:
    """In eval mode, with statistics and affine norms that are not the identity."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


@pytest.mark.parametrize(("scale", "count"), [(2, 866_812), (3, 874_252), (4, 884_668)])
def test_parameters(scale: int, count: int) -> None:
    assert _parameters(scale=scale) == count


# The paper's ablations at x4, in thousands, rounded as it rounds: to tenths, then to units.
@pytest.mark.parametrize(
    ("arguments", "thousands"),
    [
        ({"num_features": 45}, 600),
        ({"num_features": 50}, 736),
        ({"num_features": 55}, 885),
        ({"num_features": 60}, 1048),
        ({"num_features": 65}, 1224),
        ({"num_blocks": 4}, 594),
        ({"num_blocks": 5}, 738),
        ({"num_blocks": 7}, 1034),
        ({"aggregation": False}, 824),
        ({"window_size": 8}, 885),
        ({"attention": ["grbf"] * 4}, 885),
        ({"attention": ["window"] * 4}, 885),
    ],
)
def test_ablation_table(arguments: dict[str, object], thousands: int) -> None:
    assert int(round(_parameters(scale=4, **arguments) / 1e3, 1) + 0.5) == thousands


def test_a_layer_norm_for_each_pair_of_sub_blocks() -> None:
    assert _parameters(scale=4, norms_per_block=2) == 885_328


def _parameters(**arguments: object) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in GRLA(**arguments).parameters())  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [2, 4])
def test_golden_network(shared: Path, scale: int) -> None:
    arrays = golden(shared, f"grla_specB_tiny_x{scale}")
    state = {}
    for key, tensor in state_of(arrays).items():
        for theirs, ours in FIXTURE_NAMES.items():
            key = re.sub(theirs, ours, key)
        state[key] = tensor
    model = GRLA(scale=scale, num_features=10, num_blocks=3, num_heads=2, window_size=8).eval()
    model.load_state_dict(state)
    watched = {
        "head": "head",
        "blocks.0.0": "mpb0",
        "blocks.0.0.sub_blocks.0": "mpb0.sub0_bhwc",
        "blocks.0.0.sub_blocks.1": "mpb0.sub1_bhwc",
        "fusions.0": "fuse0",
        "last": "last",
    }
    seen = watch(model, watched)
    with torch.inference_mode():
        output = model(arrays["input"])
    for name in watched.values():
        assert_golden(seen[name], arrays[f"act.{name}"])
    assert_golden(output, arrays["output"])


@pytest.mark.parametrize("layer_norm", [False, True])
def test_golden_sequential_network(shared: Path, layer_norm: bool) -> None:
    """Its published layout, through the file that a user has."""
    arrays = golden(shared, f"student_grlasr_tiny_ln{int(layer_norm)}")
    found = recognise(state_of(arrays))
    assert (found.name, found.scale) == ("grla-seq", 2)
    assert found.config["layer_norm"] is layer_norm
    # The file does not tell heads and windows; those of the fixture are small.
    model = GRLASeq(scale=2, **{**found.config, "num_heads": 2, "window_size": 4}).eval()
    model.load_state_dict(found.state)
    watched = {
        "head": "head",
        "blocks.0.window": "block0.twsa",
        "blocks.0.linear": "block0.tla",
        "blocks.0": "block0",
        "blocks.1": "block1",
    }
    seen = watch(model, watched)
    with torch.inference_mode():
        output = model(arrays["input"])
    assert seen.keys() == set(watched.values())
    for name, value in seen.items():
        inside = name.endswith(("twsa", "tla"))
        assert_golden(value.permute(0, 3, 1, 2) if inside else value, arrays[f"act.{name}"])
    assert_golden(output, arrays["output"])
    assert {key: tensor.shape for key, tensor in official_state(model).items()} == {
        key: tensor.shape for key, tensor in state_of(arrays).items()
    }


def test_golden_elementwise_attention(shared: Path) -> None:
    arrays = golden(shared, "student_grbfla_2heads")
    x, state = arrays["input"], state_of(arrays)
    assert_golden(torch.exp(-0.5 * x**2 + x) + 1e-6, arrays["phi_of_input"], 1e-6)
    block = LinearSubBlock(8, 2, feedforward_ratio=2, batch_norm=True, layer_norm=False).eval()
    names = dict(zip("01234", ("norm_in", "expand", "depthwise", "norm_out", "project")))
    mine = {}
    for key, tensor in state.items():
        module, leaf = key.rsplit(".", 1)
        if module.startswith("LFE"):
            mine[f"local.{names[module[-1]]}.{leaf}"] = tensor
        elif module.startswith("FFN"):
            part = {"0": "expand", "2": "project"}[module[-1]]
            mine[f"feedforward.{part}.{leaf}"] = tensor
        else:
            mine[f"heads.{module}.{leaf}"] = tensor.flatten(1) if leaf == "weight" else tensor
    block.load_state_dict(mine)
    with torch.inference_mode():
        assert_golden(block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), arrays["output"])


def test_golden_feed_forward_and_residual_block(shared: Path) -> None:
    arrays = golden(shared, "student_ffn_resblock")
    x = arrays["input"]
    residual = ResidualBlock(8)
    feedforward = FeedForward(8, 2, layer_norm=False)
    for target, source in (
        (residual.first, "res.conv1"),
        (residual.second, "res.conv2"),
        (feedforward.expand, "ffn.ffn.0"),
        (feedforward.project, "ffn.ffn.2"),
    ):
        target.weight.data = arrays[f"{source}.weight"].reshape(target.weight.shape)
        target.bias.data = arrays[f"{source}.bias"]
    with torch.inference_mode():
        assert_golden(residual(x), arrays["res_output"])
        out = feedforward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        assert_golden(out, arrays["ffn_output"])


@pytest.mark.parametrize(("features", "heads", "count"), [(55, 5, 863_556), (56, 4, 894_937)])
def test_sequential_parameters(features: int, heads: int, count: int) -> None:
    model = GRLASeq(scale=4, num_features=features, num_heads=heads)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize(
    "arguments",
    [
        {"convolution": "residual"},
        {"batch_norm": False},
        {"batch_norm": False, "layer_norm": True},
        {"feedforward_ratio": 4, "linear_heads": 2},
    ],
)
def test_sequential_options(arguments: dict[str, object]) -> None:
    model = create_model("grla-seq", scale=2, **{**SMALL, **arguments})
    assert model(torch.rand(1, 1, 5, 6)).shape == (1, 1, 10, 12)
    assert model.config.items() >= arguments.items()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert bool(norms) is arguments.get("batch_norm", True)
    assert model.deployed is not bool(norms)


@pytest.mark.parametrize("bias", [False, True])
def test_norms_fold_into_the_convolutions(bias: bool) -> None:
    local = randomised(LocalFeatures(7, bias=bias))
    assert isinstance(local, LocalFeatures)
    x = torch.randn(2, 5, 6, 7)
    folded = local.deploy()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), local(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(folded.deploy()(x), folded(x), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["grla", "grla-seq", "dctlsa"])
def test_deployed_networks_are_equal_and_ship(kind: str, tmp_path: Path) -> None:
    model = create_model(kind, scale=2, **SMALL)
    randomised(model)
    lr = torch.rand(1, model.channels, 7, 9)
    deployed = model.deploy()
    assert deployed.deployed
    assert not model.deployed
    with torch.inference_mode():
        expected = model(lr)
        torch.testing.assert_close(deployed(lr), expected, rtol=1e-5, atol=1e-6)
    save_weights(model, tmp_path / "m.safetensors", new_card(model, kind))
    loaded, card = load_model(tmp_path / "m.safetensors")
    with torch.inference_mode():
        torch.testing.assert_close(loaded(lr), deployed(lr), rtol=0, atol=0)
    assert card.config == model.config


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (3, 9), (8, 4)])
def test_every_attention_at_every_size(kind: str, size: tuple[int, int]) -> None:
    model = GRLA(scale=3, attention=[kind, "window"], colour="luma", **SMALL).eval()  # type: ignore[list-item, arg-type]
    lr = torch.rand(2, 1, *size)
    out = model(lr)
    assert out.shape == (2, 1, 3 * size[0], 3 * size[1])
    with torch.no_grad():
        single = torch.cat([model(each[None]) for each in lr])
    torch.testing.assert_close(out, single, rtol=1e-4, atol=1e-5)


def test_kinds_are_different_functions() -> None:
    torch.manual_seed(1)
    state = GRLA(scale=2, attention=["window"], **SMALL).state_dict()  # type: ignore[arg-type]
    lr = torch.rand(1, 3, 8, 8)
    outputs = []
    for kind in KINDS:
        model = GRLA(scale=2, attention=[kind], **SMALL).eval()  # type: ignore[list-item, arg-type]
        model.load_state_dict(state)
        outputs.append(model(lr))
    for i, a in enumerate(outputs):
        for b in outputs[:i]:
            assert (a - b).abs().max() > 1e-6


def test_shifted_windows_join_across_the_borders_of_plain_ones() -> None:
    """A pixel reaches a neighbour in the next window through the shifted one only."""
    reached = []
    for kind in ("window", "shifted"):
        model = GRLA(scale=2, attention=[kind], **{**SMALL, "num_blocks": 1}).eval()  # type: ignore[list-item, arg-type]
        section = model.get_submodule("blocks.0.0")
        assert isinstance(section, Section)
        # Without local features only attention carries anything from pixel to pixel.
        section.get_submodule("sub_blocks.0.local.project").weight.data.zero_()
        x = torch.randn(1, 6, 8, 8)
        changed = x.clone()
        changed[..., 3, 3] += torch.randn(6)
        moved = (section(changed) - section(x)).abs().amax(1)[0] > 1e-7
        reached.append((bool(moved[2, 2]), bool(moved[4, 4]), bool(moved[7, 7])))
    assert reached == [(True, False, False), (True, True, False)]


def test_linear_window_attention_is_its_definition() -> None:
    model = GRLA(scale=2, attention=["linear-window"], **SMALL)  # type: ignore[arg-type]
    attention = model.get_submodule("blocks.0.0.sub_blocks.0.attention")
    x = torch.randn(3, 16, 6)
    q, k, v = attention.heads.split(x)  # type: ignore[union-attr, operator]
    expected = q / 3**0.5 @ (k.softmax(-2).transpose(-1, -2) @ v)
    torch.testing.assert_close(attention(x), attention.heads.merge(expected))  # type: ignore[union-attr, operator]


def test_input_skip_adds_the_picture() -> None:
    plain, skipping = (
        GRLA(scale=2, input_skip=skip, **SMALL).eval()  # type: ignore[arg-type]
        for skip in (False, True)
    )
    skipping.load_state_dict(plain.state_dict())
    lr = torch.rand(1, 3, 4, 5)
    difference = skipping(lr) - plain(lr)
    torch.testing.assert_close(difference, F.interpolate(lr, scale_factor=2), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"colour": "cmyk"}, "colour must be 'luma' or 'rgb', got 'cmyk'"),
        ({"attention": ["window", "gauss"]}, "attention must be of window, shifted.*got 'gauss'"),
        ({"attention": "window"}, "attention must be a list of kinds, got 'window'"),
        ({"attention": []}, "attention must be a list"),
        ({"norms_per_block": 3}, "4 sub-blocks cannot be split evenly by 3 norms"),
        ({"window_size": 0}, "must be at least 1"),
        ({"num_heads": 4}, "6 channels cannot be split into 4 heads"),
        ({"coefficient": 0.9}, "2 gamma"),
        ({"order": 1, "normalise": False}, "normalised"),
    ],
)
def test_what_cannot_be_built(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_model("grla", scale=2, **{**SMALL, **arguments})


@pytest.mark.parametrize("kind", ["grla", "grla-seq", "dctlsa"])
def test_one_trace_serves_every_size(kind: str) -> None:
    model = create_model(kind, scale=2, **SMALL).deploy().eval()
    with torch.inference_mode():
        traced = torch.jit.trace(model, torch.rand(1, model.channels, 9, 7), check_trace=False)
        for size in ((1, 1), (8, 8), (5, 13)):
            lr = torch.rand(1, model.channels, *size)
            torch.testing.assert_close(traced(lr), model(lr), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_training_step_under_autocast(dtype: torch.dtype) -> None:
    model = GRLA(scale=2, **SMALL)  # type: ignore[arg-type]
    with torch.autocast("cpu", dtype):
        loss = model(torch.rand(2, 3, 8, 8)).square().mean()
    loss.backward()
    gradients = [p.grad for p in model.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)


def test_elementwise_kernel_stays_finite_where_half_precision_sums_overflowed() -> None:
    q, k, v = torch.randn(3, 1, 1, 70_000, 14).half() + 1
    assert elementwise_attention(q, k, v).isfinite().all()


@pytest.mark.parametrize(("scale", "count"), [(2, 1_369_859), (3, 1_554_499), (4, 1_517_571)])
def test_edsr_baseline_parameters(scale: int, count: int) -> None:
    model = create_model("edsr-baseline", scale=scale)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_edsr_sees_as_far_as_it_says(scale: int) -> None:
    model = EDSR(scale=scale, num_blocks=1, num_features=4)
    assert isinstance(model, SRModel)
    radius, side = model.receptive_radius, 15
    lr = torch.rand(1, 3, side, side, requires_grad=True)
    middle = scale * (side // 2)
    model(lr)[..., middle : middle + scale, middle : middle + scale].sum().backward()
    assert lr.grad is not None
    rows = lr.grad.abs().sum((0, 1, 3)).nonzero()
    assert side // 2 - rows.min() <= radius
    assert (rows.max() - side // 2, side // 2 - rows.min()) == (radius, radius)


def test_edsr_keeps_the_mean_picture() -> None:
    """The mean is taken off and put back: an untrained tail of zeros gives it."""
    model = EDSR(scale=2, num_blocks=1, num_features=4)
    nn.init.zeros_(model.tail[-1].weight)  # type: ignore[arg-type]
    nn.init.zeros_(model.tail[-1].bias)  # type: ignore[arg-type]
    out = model(torch.rand(1, 3, 4, 4))
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.tensor([0.4488, 0.4371, 0.4040]))
    with pytest.raises(ValueError, match="scale must be 3 or a power of two, got 6"):
        EDSR(scale=6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_runs_in_parts_is_the_whole(kind: str) -> None:
    """Without gradients, a CPU gets cache-sized parts, padded heads and sums instead of joints."""
    model = GRLA(
        scale=2,
        attention=[kind],
        num_features=6,
        num_blocks=2,
        num_heads=2,
        window_size=8,  # type: ignore[list-item]
    ).eval()
    lr = torch.rand(1, 3, 96, 56)
    whole = model(lr)
    assert whole.requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(model(lr), whole.detach(), rtol=1e-4, atol=1e-5)
