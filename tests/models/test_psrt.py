"""PSRT against the authors' implementation and against what the paper says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vernier.errors import InputError
from vernier.models.layers import upsample_bicubic
from vernier.models.psrt import PSRT, BlockOrder, WindowAttention, win_shuffle
from vernier.zoo.checkpoints import load_model
from vernier.zoo.creation import create_model
from vernier.zoo.official.psrt import import_official, is_official
from vernier.zoo.registry import get_entry

# Of the largest output; float32 against a float64 reference stored as float32. Measured: 1.7e-6.
TOLERANCE = 5e-6
# And with our float64: what storing the reference as float32 costs. Measured: 6e-8.
TOLERANCE_DOUBLE = 2e-7

FORMS = {
    "small_psrt_official": "aligned",
    "small_psrt_noshuffle": "none",
    "small_psrt_fork": "misaligned",
    "default_psrt_official": "aligned",
    "default_psrt_noshuffle": "none",
}


def fixture(shared: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The original's parameters, and its inputs and output."""
    tensors = load_file(shared / "golden" / "psrt" / f"{name}.safetensors")
    state = {k.removeprefix("sd."): v for k, v in tensors.items() if k.startswith("sd.")}
    return state, {k: v for k, v in tensors.items() if not k.startswith("sd.")}


def lr_like(cube: Tensor) -> Tensor:
    """What is passed as ``lr`` where the upsampled cube is given and ``lr`` is not read."""
    return torch.full_like(cube[..., ::4, ::4], torch.nan)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("as_published", [False, True])
def test_equals_the_original(shared: Path, name: str, as_published: bool) -> None:
    state, data = fixture(shared, name)
    index = json.loads((shared / "golden" / "psrt" / "index_nets.json").read_text())
    model = import_official(
        {f"model.{key}": tensor for key, tensor in state.items()},
        shuffle=FORMS[name],
        num_heads=4 if name.startswith("small") else 8,
        as_published=as_published,
    )
    if as_published:
        assert sum(p.numel() for p in model.parameters()) == index[f"{name}.safetensors"]["params"]
    largest = data["out"].abs().max()
    for dtype, tolerance in ((torch.float32, TOLERANCE), (torch.float64, TOLERANCE_DOUBLE)):
        model, lms = model.to(dtype), data["in.lms"].to(dtype)
        with torch.no_grad():
            out = model(lr_like(lms), data["in.rgb"].to(dtype), lms)
        assert (out - data["out"]).abs().max() < tolerance * largest


@pytest.mark.parametrize(
    ("name", "overrides", "parameters"),
    [
        ("psrt", {}, 247_455),
        ("psrt-fork", {"embed": 32}, 248_223),
        ("psrt-fork", {}, 538_207),
        ("psrt-noshuffle", {}, 538_207),
        ("psrt-noshuffle", {"embed": 64}, 938_783),
    ],
)
def test_published_parameter_counts(name: str, overrides: dict[str, Any], parameters: int) -> None:
    published = create_model(name, scale=4, as_published=True, **overrides)
    assert sum(p.numel() for p in published.parameters()) == parameters
    sound = create_model(name, scale=4, **overrides)
    dead = 0 if name == "psrt" else 6 * 2 * 2 * sound.config["embed"]
    assert sum(p.numel() for p in sound.parameters()) == parameters - dead


@pytest.mark.parametrize("form", ["aligned", "misaligned", "none"])
def test_every_parameter_is_used(form: str) -> None:
    model = tiny(shuffle=form)
    hr = model(torch.rand(1, 4, 4, 4), torch.rand(1, 3, 16, 16))
    hr.square().sum().backward()
    for name, parameter in model.named_parameters():
        # The softmax does not see what all keys have in common.
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def tiny(**overrides: Any) -> PSRT:
    sizes = {"bands": 4, "embed": 8, "num_blocks": 1, "num_heads": 2}
    model = PSRT(scale=4, **{**sizes, **overrides})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("window", [8, 4, 2])
@pytest.mark.parametrize("size", [(16, 16), (16, 32)])
def test_shuffle_is_the_originals(shared: Path, window: int, size: tuple[int, int]) -> None:
    maps = load_file(shared / "golden" / "psrt" / "unit_shuffle.safetensors")
    index = torch.arange(size[0] * size[1], dtype=torch.float32).view(1, 1, *size)
    name = f"win{window}_{size[0]}x{size[1]}"
    shuffled = win_shuffle(index, window)
    assert torch.equal(shuffled.flatten(), maps[f"shuffle_{name}"].flatten().float())
    back = win_shuffle(index, window, inverse=True)
    expected = next(v for k, v in maps.items() if k.startswith("reshuffle") and k.endswith(name))
    assert torch.equal(back.flatten(), expected.flatten().float())
    assert torch.equal(win_shuffle(shuffled, window, inverse=True), index)


def test_every_aligned_square_is_a_run_of_tokens() -> None:
    order = BlockOrder(8, 1)
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(24), indexing="ij")
    tokens = order.to_tokens(torch.stack([rows, columns])[None].float())
    assert tokens.shape == (6, 64, 2)
    for window in (8, 4, 2):
        squares = tokens.view(-1, window**2, 2) // window
        assert (squares == squares[:, :1]).all()
    assert torch.equal(order.to_map(tokens, 16, 24)[0, 0], rows.float())


@pytest.mark.parametrize("form", ["aligned", "none"])
def test_receptive_radius_and_tiles(form: str) -> None:
    """Gradient reaches exactly as far as stated, and aligned tiles are exact."""
    model = tiny(shuffle=form).double()
    side, reach = model.size_multiple, model.receptive_radius
    assert reach is not None
    assert (
        reach == get_entry("psrt" if form == "aligned" else "psrt-noshuffle").facts.receptive_radius
    )
    cube, guide = (
        torch.rand(1, 4, 6 * side, 6 * side).double(),
        torch.rand(1, 3, 6 * side, 6 * side),
    )
    guide = guide.double().requires_grad_()
    furthest = 0
    for row in (3 * side - 1, 3 * side, 4 * side - 1):
        (gradient,) = torch.autograd.grad(
            model(lr_like(cube), guide, cube)[0, :, row, 3 * side].sum(), guide
        )
        rows = gradient[0].abs().amax((0, 2)).nonzero().flatten()
        furthest = max(furthest, int((rows - row).abs().max()))
    assert furthest == reach
    with torch.no_grad():
        whole = model(lr_like(cube), guide, cube)
        halo = 2 * side
        tile = slice(2 * side - halo, 4 * side + halo)
        part = cube[..., tile, tile]
        piece = model(lr_like(part), guide[..., tile, tile], part)
    inner = slice(halo, -halo)
    assert (
        piece[..., inner, inner] - whole[..., 2 * side : 4 * side, 2 * side : 4 * side]
    ).abs().max() < 1e-13


@pytest.mark.parametrize("form", ["aligned", "misaligned", "none"])
@pytest.mark.parametrize(("scale", "size"), [(2, (1, 1)), (3, (5, 7)), (16, (1, 2)), (4, (8, 4))])
def test_any_size_and_scale(form: str, scale: int, size: tuple[int, int]) -> None:
    model = PSRT(
        scale=scale, bands=3, guide_channels=2, embed=8, num_blocks=1, num_heads=2, shuffle=form
    )
    lr, guide = torch.rand(2, 3, *size), torch.rand(2, 2, scale * size[0], scale * size[1])
    with torch.no_grad():
        hr = model(lr, guide)
        assert torch.equal(hr, model(lr, guide, upsample_bicubic(lr, scale)))
    assert hr.shape == (2, 3, *guide.shape[-2:])
    assert torch.isfinite(hr).all()


def test_an_untrained_network_nearly_upsamples() -> None:
    """The start from N(0, 0.01): the transformer adds little, the two convolutions their noise."""
    model = create_model("psrt", scale=4)
    weights = torch.cat([p.flatten() for n, p in model.named_parameters() if "mlp.0.weight" in n])
    assert abs(weights.std() - 0.01) < 2e-4
    assert all((p == 0).all() for n, p in model.named_parameters() if n.endswith("bias"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shuffle": "yes"}, "shuffle is aligned, misaligned or none"),
        ({"window_size": 6}, "must be a multiple of 8, not 6"),
        ({"embed": 30}, "8 heads do not divide 30"),
        ({"bands": 0}, "at least 1"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_model("psrt", scale=4, **arguments)


@pytest.mark.parametrize(
    ("cube", "guide", "upsampled", "message"),
    [
        ((3, 4, 4), (3, 16, 16), None, "the cube must be .1, 4, 4, 4."),
        ((4, 4, 4), (1, 16, 16), None, "the guide must be .1, 3, 16, 16."),
        ((4, 4, 4), (3, 16, 12), None, "the guide must be"),
        ((4, 4, 4), (3, 16, 16), (4, 8, 8), "the upsampled cube must be .1, 4, 16, 16."),
    ],
)
def test_sizes_that_do_not_fit(
    cube: tuple[int, ...],
    guide: tuple[int, ...],
    upsampled: tuple[int, ...] | None,
    message: str,
) -> None:
    model = tiny()
    given = None if upsampled is None else torch.zeros(1, *upsampled)
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(1, *cube), torch.zeros(1, *guide), given)


def test_foreign_weights_are_refused(shared: Path) -> None:
    state, _ = fixture(shared, "small_psrt_official")
    assert is_official(state)
    assert not is_official(tiny().state_dict())
    with pytest.raises(InputError, match="not the weights of a PSRT"):
        import_official({"a": torch.zeros(1)})
    lacking = {k: v for k, v in state.items() if not k.endswith("WA2.norm1.bias")}
    with pytest.raises(InputError, match=r"lack w.layers.0.layers.0.WA2.norm1.bias"):
        import_official(lacking, num_heads=4)
    with pytest.raises(InputError, match="have the unknown extra"):
        import_official({**state, "extra": torch.zeros(1)}, num_heads=4)
    with pytest.raises(InputError, match=r"another shape of conv.0.bias"):
        import_official({**state, "conv.0.bias": torch.zeros(2)}, num_heads=4)


@pytest.mark.parametrize("tokens", [64, 16, 4])
@torch.no_grad()
def test_both_layouts_are_textbook_attention(tokens: int) -> None:
    attention = WindowAttention(12, 3, tokens, 0.7).double()
    x = torch.randn(5, tokens, 12).double()
    qkv = attention.qkv(x).view(5, tokens, 3, 3, 4).permute(2, 0, 3, 1, 4)
    mixed = torch.nn.functional.scaled_dot_product_attention(*qkv, scale=0.7)
    expected = attention.proj(mixed.transpose(1, 2).reshape(5, tokens, 12))
    for out in (attention(x), attention._tokens_last(x), attention._windows_last(x)):
        assert (out - expected).abs().max() < 1e-13


@pytest.mark.parametrize("kernel_attention", [None, "ka1", "ka7", "ka17", "ka21"])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*trace_method")
@torch.no_grad()
def test_a_trace_holds_for_other_sizes(kernel_attention: str | None) -> None:
    shuffle = "none" if kernel_attention else "aligned"
    model = PSRT(
        scale=4,
        bands=3,
        embed=16,
        num_blocks=1,
        num_heads=4,
        shuffle=shuffle,
        kernel_attention=kernel_attention,
    )
    traced = torch.jit.trace_module(model, {"forward_aligned": torch.rand(1, 6, 32, 16)})
    both = torch.rand(1, 6, 16, 48)
    torch.testing.assert_close(traced.forward_aligned(both), model.forward_aligned(both))


@torch.no_grad()
def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    model, both = tiny().double(), torch.rand(2, 7, 32, 32).double()
    expected = model.forward_aligned(both)
    for tokens in (1, 192, 10**9):
        monkeypatch.setattr("vernier.models.psrt._CHUNK_TOKENS", tokens)
        error = (model.forward_aligned(both) - expected).abs().max()
        assert error < 1e-12 * expected.abs().max()


def test_an_official_checkpoint_loads(shared: Path, tmp_path: Path) -> None:
    """As its authors save it: prefixed names, beside the state of an optimiser."""
    state, data = fixture(shared, "default_psrt_official")
    prefixed = {f"model.{key}": tensor for key, tensor in state.items()}
    torch.save({"epoch": 1, "arch": "PSRT", "state_dict": prefixed}, tmp_path / "psrt.pth")
    model, card = load_model(tmp_path / "psrt.pth")
    assert (card.name, card.scale, card.receptive_radius) == ("psrt", 4, 17)
    assert "8 heads" in card.notes
    with torch.no_grad():
        out = model(lr_like(data["in.lms"]).float(), data["in.rgb"].float(), data["in.lms"].float())
    assert (out - data["out"]).abs().max() < TOLERANCE * data["out"].abs().max()
