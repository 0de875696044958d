"""Kernel attention: published counts, folding, the mistakes of the originals, and its switches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vernier.errors import InputError
from vernier.models.kernel_attention import (
    VARIANTS,
    FusedKernels,
    KernelAttention,
    conv_windows,
    switches_of,
    window_conv_means,
)
from vernier.models.psrt import PSRT
from vernier.zoo.checkpoints import load_model, new_card, save_weights
from vernier.zoo.creation import create_model
from vernier.zoo.registry import get_entry

# As published, in the sound form, and fused.
PARAMETERS = {
    "ka1": (778_831, 776_815, 776_815),
    "ka2": (853_567, 848_959, 784_159),
    "ka3": (917_503, 913_759, 784_159),
    "ka4": (1_002_175, 998_431, 877_903),
    "ka5": (1_002_175, 847_663, 504_223),
    "ka6": (1_054_015, 943_135, 504_655),
    "ka7": (893_743, 890_863, 504_655),
    "ka8": (945_583, 942_703, 504_655),
    "ka9": (518_767, 538_351, 538_351),
    "ka9-late": (519_631, 518_479, 518_479),
    "ka10": (893_743, 869_263, 504_655),
    "ka11": (881_215, 878_335, 504_655),
    "ka12": (922_687, 921_535, 504_655),
    "ka12-early": (850_543, 847_663, 504_655),
    "ka13": (893_743, 890_863, 504_655),
    "ka14": (944_287, 943_135, 877_903),
    "ka15": (889_855, 888_703, 877_903),
    "ka16": (901_087, 899_935, 504_655),
    "ka17": (883_951, 882_799, 882_799),
    "ka18": (831_679, 830_527, 830_527),
    "ka19": (831_679, 826_063, 504_655),
    "ka20": (831_679, 826_063, 504_655),
    "ka21": (553_561, 552_409, 552_409),
    "ka22": (905_551, 904_399, 904_399),
}
ADAPTIVE = {"ka1", "ka9", "ka9-late", "ka17", "ka18", "ka21", "ka22"}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def module(variant: str, **overrides: Any) -> KernelAttention:
    """A small one whose kernels are of size one, so that errors are not hidden."""
    made = KernelAttention(8, 2, switches_of(variant, overrides))
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made


def tiny(variant: str, **overrides: Any) -> PSRT:
    sizes = {"bands": 4, "embed": 16, "num_blocks": 1, "num_heads": 4, "shuffle": "none"}
    model = PSRT(scale=4, kernel_attention=variant, **{**sizes, **overrides})
    for name, parameter in model.named_parameters():
        if "kernel_attention" not in name:
            nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_counts(variant: str) -> None:
    arguments: dict[str, Any] = {"kernel_attention": variant, "scale": 4}
    published = create_model("psrt-ka1", as_published=True, **arguments)
    sound = create_model("psrt-ka1", **arguments)
    assert (count(published), count(sound), count(sound.deploy())) == PARAMETERS[variant]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_sound_form_uses_all_it_has(variant: str) -> None:
    made = module(variant)
    made(torch.rand(2, 8, 16, 16)).square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("variant", sorted(VARIANTS.keys() - ADAPTIVE))
@pytest.mark.parametrize("windows", [4, 16])
def test_fused_is_the_same_function(variant: str, windows: int) -> None:
    made = module(variant, num_windows=windows)
    x = torch.randn(2, 8, 32, 16)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        made, x = made.to(dtype), x.to(dtype)
        with torch.no_grad():
            expected = made(x)
            fused = made.fuse()
            assert isinstance(fused, FusedKernels)
            assert (fused(x) - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize("variant", ["ka5", "ka7", "ka16", "ka20"])
def test_a_fused_map_variant_is_one_convolution(variant: str) -> None:
    fused = module(variant).fuse()
    x = torch.randn(1, 8, 16, 16)
    assert fused.on_map is not None
    conv = F.conv2d(x, fused.on_map, fused.bias, padding=1)
    assert torch.allclose(fused(x), conv, atol=1e-6)
    assert (fused.on_windows, fused.before) == (None, None)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_fusing_a_network(variant: str, tmp_path: Path) -> None:
    """Exact, also through a file; what depends on the input stays as it is."""
    model = tiny(variant).double()
    lr, guide = torch.rand(1, 4, 4, 8).double(), torch.rand(1, 3, 16, 32).double()
    fused = model.deploy()
    with torch.no_grad():
        expected = model(lr, guide)
        assert (fused(lr, guide) - expected).abs().max() < 1e-12 * expected.abs().max()
    assert fused.deployed
    assert model.deployed == (variant in ADAPTIVE)
    save_weights(model.float(), tmp_path / "w.safetensors", new_card(model, "tiny"))
    loaded, card = load_model(tmp_path / "w.safetensors")
    assert card.config["kernel_attention"] == variant
    with torch.no_grad():
        out = loaded(lr.float(), guide.float())
    assert (out - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("variant", sorted(ADAPTIVE))
def test_adaptive_kernels_are_not_fused(variant: str) -> None:
    with pytest.raises(ValueError, match="depend on the input"):
        module(variant).fuse()


def test_identity_of_ka5() -> None:
    """The original computes a global kernel and returns its input."""
    made = KernelAttention(8, 2, switches_of("ka5", as_published=True), VARIANTS["ka5"].dead)
    x = torch.rand(1, 8, 16, 16)
    assert torch.equal(made(x), x)
    assert torch.equal(made.fuse()(x), x)
    assert not torch.allclose(module("ka5")(x), x, atol=0.1)


def test_rank_one_of_ka9() -> None:
    """The original gives every output channel of a window's kernel the same numbers."""
    x = torch.rand(1, 8, 16, 16)
    for overrides, spread in (({"expansion": "repeat"}, False), ({}, True)):
        kernels, _ = module("ka9", **overrides)._kernels(x)
        assert (kernels.std(2).max() > 1e-3) == spread


@pytest.mark.parametrize("variant", ["ka8", "ka10", "ka14"])
def test_mistakes_change_the_function(variant: str) -> None:
    made = module(variant)
    wrong = KernelAttention(8, 2, switches_of(variant, as_published=True))
    wrong.load_state_dict(made.state_dict())
    x = torch.rand(1, 8, 16, 16)
    with torch.no_grad():
        right = made(x)
        assert (wrong(x) - right).abs().max() > 1e-3 * right.abs().max()


def test_the_banks_start() -> None:
    """N(0, 1) where the original has it, which did not converge for it; else as a convolution."""
    published = KernelAttention(24, 4, switches_of("ka17", as_published=True))
    sound = KernelAttention(24, 4, switches_of("ka17"))
    conv = nn.Conv2d(24, 96, 3)
    assert abs(published.bank.std() - 1) < 0.03
    assert abs(sound.bank.std() / conv.weight.std() - 1) < 0.05


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_block_starts_near_the_identity(variant: str) -> None:
    """What kernel attention adds at first is small beside its input, as in the attention half."""
    module = KernelAttention(8, 2, switches_of(variant))
    x = torch.randn(1, 8, 16, 16)
    with torch.no_grad():
        assert 0 < module(x).std() < 0.15


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("kernel_size", [3, 7])
def test_means_of_convolved_windows(depthwise: bool, kernel_size: int) -> None:
    x = torch.randn(2, 6, 16, 24).double()
    kernels = torch.randn(4, 6, 1 if depthwise else 6, kernel_size, kernel_size).double()
    dense = kernels
    if depthwise:
        dense = torch.eye(6).double()[None, :, :, None, None] * kernels
    windows = conv_windows(x, dense).view(2, 6, 2, 8, 2, 12)
    expected = windows.mean((3, 5)).permute(0, 2, 3, 1).flatten(1, 2)
    assert (window_conv_means(x, kernels) - expected).abs().max() < 1e-13


def test_window_kernels_see_their_window_only() -> None:
    x = torch.randn(1, 8, 16, 16)
    made = module("ka2")
    with torch.no_grad():
        whole = made(x)
        x[..., 8:] = 0
        part = made(x)
    assert torch.equal(whole[..., :8], part[..., :8])
    assert not torch.equal(whole[..., 8:], part[..., 8:])


@pytest.mark.parametrize("variant", ["ka1", "ka4", "ka7", "ka17", "ka21"])
@pytest.mark.parametrize("size", [(1, 1), (5, 7)])
def test_any_size(variant: str, size: tuple[int, int]) -> None:
    model = tiny(variant)
    with torch.no_grad():
        hr = model(torch.rand(2, 4, *size), torch.rand(2, 3, 4 * size[0], 4 * size[1]))
    assert hr.shape == (2, 4, 4 * size[0], 4 * size[1])
    assert torch.isfinite(hr).all()


@pytest.mark.parametrize(
    "overrides", [{}, {"shuffle": "aligned"}, {"switches": {"kernel_size": 5}}]
)
def test_receptive_radius(overrides: dict[str, Any]) -> None:
    """The furthest gradient, over all places in a block, is the radius stated (with shuffled
    windows, which do not cover their 2x2 windows, a bound)."""
    model = tiny("ka11", embed=8, **overrides).double()
    reach, side = model.receptive_radius, model.size_multiple
    assert reach is not None
    assert model.deploy().receptive_radius == reach
    size = -(-2 * reach // side) * side + 2 * side
    first = size // 2 // side * side
    cube = torch.rand(1, 4, size, 8).double()
    cube = torch.cat([cube, cube], -1)
    guide = torch.rand(1, 3, size, 16).double().requires_grad_()
    hr = model(cube[..., ::4, ::4], guide, cube)
    furthest = 0
    for row in range(first, first + side):
        (gradient,) = torch.autograd.grad(hr[0, :, row].sum(), guide, retain_graph=True)
        rows = gradient[0].abs().amax((0, 2)).nonzero().flatten()
        furthest = max(furthest, int((rows - row).abs().max()))
    assert furthest == (30 if "shuffle" in overrides else reach)
    assert furthest <= reach


@pytest.mark.parametrize("variant", [f"ka{number}" for number in range(1, 23)])
def test_the_entry_tells_the_receptive_radius(variant: str) -> None:
    entry = get_entry(f"psrt-{variant}")
    assert entry.facts.receptive_radius == create_model(entry.name, scale=4).receptive_radius


def test_unnormed_input() -> None:
    """Without the LayerNorm before it, the kernel attention sees the scale of the features."""
    normed, unnormed = tiny("ka7"), tiny("ka7", switches={"normed": False})
    unnormed.load_state_dict(normed.state_dict())
    seen: dict[str, Tensor] = {}
    for name, model in (("normed", normed), ("unnormed", unnormed)):
        model.body[0].wa1.kernel_attention.register_forward_hook(
            lambda _module, inputs, _output, name=name: seen.__setitem__(name, inputs[0])
        )
        model(torch.rand(1, 4, 4, 4), torch.rand(1, 3, 16, 16))
    norm = normed.body[0].wa1.norm1
    features = torch.cat([torch.zeros_like(seen["unnormed"]), seen["unnormed"]], 1)
    assert not torch.allclose(seen["normed"], seen["unnormed"], atol=0.05)
    assert features.shape[1] == norm.normalized_shape[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_attention": "ka23"}, "no kernel attention 'ka23'; known: ka1, ka2"),
        ({"switches": {"kernel": 5}}, "no switch 'kernel'; known: apply, bank_std"),
        ({"switches": {"kernel_size": 4}}, "kernel_size must be odd, not 4"),
        ({"switches": {"num_windows": 5}}, "num_windows must be a square number, not 5"),
        ({"switches": {"source": "pooled", "gate": True}}, "are for banks"),
        ({"switches": {"depthwise": True}}, "no input channels to attend to"),
        ({"switches": {"fusion": False}}, "4 results need fusion=True"),
        ({"switches": {"apply": "global"}}, "needs a global_kernel"),
        ({"switches": {"gate": True}}, "without attention among taps"),
        ({"switches": {"global_joins": True}}, "only a raw global kernel joins"),
        ({"kernel_attention_in": "some"}, "kernel_attention_in is all or first"),
        ({"kernel_attention": None, "switches": {"gate": True}}, "there is none"),
        ({"num_heads": 3, "embed": 48}, "must be even"),
        ({"embed": 40, "num_heads": 16}, "heads do not divide"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_model("psrt-ka7", scale=4, **arguments)
