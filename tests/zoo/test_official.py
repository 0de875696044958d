"""Checkpoints as their authors publish them: recognised, refused with a reason, and made again."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vernier.errors import InputError
from vernier.models.hat import HAT
from vernier.zoo.checkpoints import load_model, new_card, save_weights
from vernier.zoo.creation import create_model
from vernier.zoo.networks import networks_of
from vernier.zoo.official import official_state as published_state
from vernier.zoo.official import recognise
from vernier.zoo.official.hat import official_state, ratio_of
from vernier.zoo.registry import get_entry

MANIFESTS = [(name, scale) for name in ("HAT-S", "HAT", "HAT-L") for scale in (2, 3, 4)]
State = dict[str, Tensor]


def small(**overrides: object) -> HAT:
    arguments: dict[str, Any] = {
        "scale": 4,
        "embed_dim": 12,
        "depths": (2, 1),
        "num_heads": (2, 3),
        "window_size": 4,
        "squeeze_factor": 6,
    }
    return HAT(**arguments | overrides).eval()


def same(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[k], theirs[k]) for k in ours)


@torch.no_grad()
def test_the_authors_file_gives_the_authors_output(shared: Path) -> None:
    """Its ``params`` are another network: only ``params_ema`` give this output."""
    folder = shared / "golden" / "hat"
    model, card = load_model(folder / "a_x4_w8.official_style.pth", scale=4)
    arrays = np.load(folder / "a_x4_w8.io.npz")
    hr = model(torch.from_numpy(arrays["in_odd"]))
    torch.testing.assert_close(hr, torch.from_numpy(arrays["out_odd"]), atol=2e-5, rtol=1e-4)
    assert not model.training
    assert (card.name, card.architecture, card.scale) == ("hat", "hat", 4)
    assert card.config == model.config
    assert "does not tell" in card.notes
    assert "conv_scale 0.01, img_range 1.0, drop_path_rate 0.1" in card.notes


@pytest.mark.parametrize(("variant", "scale"), MANIFESTS)
def test_every_published_network_is_recognised(shared: Path, variant: str, scale: int) -> None:
    """From the keys and shapes alone; the pre-trained and the GAN files have the same."""
    path = shared / "golden" / "hat" / f"manifest_{variant}_x{scale}.json"
    manifest = json.loads(path.read_text())
    with torch.device("meta"):
        model = create_model(variant.lower(), scale=scale)
        state = {
            key: torch.empty(entry["shape"], dtype=getattr(torch, entry["dtype"]))
            for key, entry in manifest["keys"].items()
        }
    state |= {key: tensor for key, tensor in official_state(model).items() if "index" in key}
    found = recognise(state)
    assert (found.name, found.architecture, found.scale) == (variant.lower(), "hat", scale)
    assert get_entry(variant.lower()).config.items() <= found.config.items()
    assert found.config == model.config
    shapes = {key: tensor.shape for key, tensor in found.state.items()}
    assert shapes == {key: tensor.shape for key, tensor in model.state_dict().items()}


VARIANTS: list[dict[str, object]] = [
    {},
    {"scale": 1},
    {"scale": 3},
    {"scale": 8, "channels": 1},
    {"window_size": 8, "overlap_ratio": 0.75},
    {"overlap_ratio": 0},
    {"overlap_ratio": None},
    {"compress_ratio": None},
    {"compress_ratio": None, "overlap_ratio": None},
    {"compress_ratio": 1},
    {"compress_ratio": 6},
    {"squeeze_factor": None},
    {"squeeze_factor": 4},
    {"mlp_ratio": 4.0, "qkv_bias": False},
]


@torch.no_grad()
@pytest.mark.parametrize("overrides", VARIANTS, ids=str)
def test_round_trip_through_both_layouts(tmp_path: Path, overrides: dict[str, object]) -> None:
    model = small(**overrides)
    torch.save({"params_ema": published_state(model)}, tmp_path / "theirs.pth")
    from_theirs, card = load_model(tmp_path / "theirs.pth", scale=model.scale)
    save_weights(from_theirs, tmp_path / "ours.safetensors", card)
    from_ours, second = load_model(tmp_path / "ours.safetensors")
    assert same(model, from_theirs)
    assert same(model, from_ours)
    for loaded in (from_theirs, from_ours):
        # What shapes cannot tell of a channel attention that is not there.
        told = {k: v for k, v in model.config.items() if k != "squeeze_factor"}
        if model.compress_ratio is None:
            assert loaded.config.items() >= told.items()
        else:
            assert loaded.config == model.config
        lr = torch.rand(1, model.channels, 5, 7)
        assert torch.equal(loaded(lr), model(lr))
    assert second.notes == card.notes


WRAPPED: dict[str, Callable[[State], object]] = {
    "bare": lambda s: s,
    "params": lambda s: {"params": s},
    "params_ema": lambda s: {"params_ema": s, "params": {k: v * 0 for k, v in s.items()}},
    "without an average": lambda s: {"params_ema": None, "params": s, "iter": 3},
    "state_dict": lambda s: {"state_dict": s, "epoch": 7},
    "module.": lambda s: {"params": {f"module.{k}": v for k, v in s.items()}},
    "two prefixes": lambda s: {"module._orig_mod." + k: v for k, v in s.items()},
    "model.": lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}},
    "no indices": lambda s: {k: v for k, v in s.items() if "index" not in k},
    "bfloat16": lambda s: {k: v.bfloat16() if v.is_floating_point() else v for k, v in s.items()},
}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
@pytest.mark.parametrize("how", WRAPPED)
def test_however_it_is_wrapped(tmp_path: Path, how: str, suffix: str) -> None:
    model = small()
    if how == "bfloat16":
        model.load_state_dict({k: v.bfloat16().float() for k, v in model.state_dict().items()})
    path = tmp_path / f"a{suffix}"
    torch.save(WRAPPED[how](official_state(model)), path)
    assert same(load_model(path)[0], model)


@pytest.mark.parametrize(("channels", "colour"), [(1, "luma"), (3, "rgb")])
def test_inference_knows_the_colour_of_every_file(
    tmp_path: Path, channels: int, colour: str
) -> None:
    model = small(channels=channels)
    torch.save({"params_ema": official_state(model)}, tmp_path / "a.pth")
    save_weights(model, tmp_path / "a.safetensors", new_card(model, "hat"))
    for suffix in (".pth", ".safetensors"):
        (make,) = networks_of(tmp_path / f"a{suffix}").values()
        assert (make().facts.colour, make().facts.scale) == (colour, 4)


def test_the_older_format_of_torch(tmp_path: Path) -> None:
    model = small()
    path = tmp_path / "a.pth"
    torch.save(official_state(model), path, _use_new_zipfile_serialization=False)
    assert same(load_model(path)[0], model)


def test_x4_starts_from_a_published_x2(tmp_path: Path) -> None:
    two, four = small(scale=2), small(scale=4)
    torch.save({"params_ema": official_state(two)}, tmp_path / "x2.pth")
    copied = four.init_from(load_model(tmp_path / "x2.pth")[0])
    assert four.state_dict().keys() - set(copied) == {"upsample.2.weight", "upsample.2.bias"}
    assert all(torch.equal(four.state_dict()[k], two.state_dict()[k]) for k in copied)


class _Custom:
    """What must not be built from a file."""


def _altered(**changes: Tensor | None) -> State:
    state = official_state(small()) | {k: v for k, v in changes.items() if v is not None}
    return {k: v for k, v in state.items() if k not in changes or changes[k] is not None}


def _flipped(content: bytes) -> bytes:
    """One bit of the largest tensors, in the middle of the file."""
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    return bytes(flipped)


def _bytes(what: object) -> bytes:
    file = io.BytesIO()
    torch.save(what, file)
    return file.getvalue()


SA, TABLE = "relative_position_index_SA", "layers.0.residual_group.blocks.0.attn"
BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "not a readable checkpoint: it is damaged, cut off or no file"),
    "text": (lambda: b"no\n", "not a readable checkpoint"),
    "cut off": (lambda: _bytes(official_state(small()))[:-100], "not a readable checkpoint"),
    "half": (lambda: _bytes(official_state(small()))[:70_000], "not a readable checkpoint"),
    "a bit": (lambda: _flipped(_bytes(official_state(small()))), "the checksum of its part"),
    "objects": (lambda: _bytes(_Custom()), "holds Python objects besides its tensors"),
    "a module": (lambda: _bytes(small()), "holds Python objects besides its tensors"),
    "a list": (lambda: _bytes([1]), "holds no tensors by name"),
    "empty": (lambda: _bytes({"params": {}}), "holds no tensors by name"),
    "numbers": (lambda: _bytes({"a": 1}), "'a' is no tensor but of type int"),
    "foreign": (
        lambda: _bytes(nn.Sequential(nn.Conv2d(1, 1, 3)).state_dict()),
        r"its tensors \(0.weight, 0.bias, ...\) are those of no network that Vernier knows \(hat",
    ),
    "an SESR": (
        lambda: _bytes(create_model("sesr-m3", scale=2, expansion=8).state_dict()),
        "those of no network",
    ),
    "a SwinIR": (
        lambda: _bytes(
            {
                "conv_first.weight": torch.zeros(8, 3, 3, 3),
                "layers.0.residual_group.blocks.0.attn.relative_position_index": torch.zeros(1),
            }
        ),
        "those of no network",
    ),
    "no table": (
        lambda: _bytes(_altered(**{f"{TABLE}.relative_position_bias_table": None})),
        "looks like a HAT, but lacks layers.0.*blocks.0.attn.relative_position_bias_table",
    ),
    "no norm": (lambda: _bytes(_altered(**{"norm.weight": None})), "lacks norm.weight, which HAT"),
    "no first upsampling": (
        lambda: _bytes(_altered(**{"upsample.0.weight": None})),
        "lacks upsample.0.weight",
    ),
    "a tensor too many": (
        lambda: _bytes(_altered(**{"norm.scale": torch.ones(1)})),
        "has norm.scale, which HAT does not know",
    ),
    "another shape": (
        lambda: _bytes(_altered(**{"norm.weight": torch.ones(7)})),
        r"norm.weight is \(7,\), expected \(12,\)",
    ),
    "no square": (
        lambda: _bytes(_altered(**{f"{TABLE}.relative_position_bias_table": torch.ones(48, 2)})),
        "has 48 rows, which is no square",
    ),
    "a flat convolution": (
        lambda: _bytes(_altered(**{"conv_first.weight": torch.ones(12)})),
        r"looks like a HAT, but conv_first.weight is \(12,\)",
    ),
    "other heads": (
        lambda: _bytes(_altered(**{f"{TABLE}.relative_position_bias_table": torch.ones(49, 5)})),
        r"hat cannot be built: num_heads \(5, 3\) must divide",
    ),
    "another index": (
        lambda: _bytes(_altered(**{SA: torch.zeros(16, 16, dtype=torch.int64)})),
        f"{SA} is not that of windows of 4 and 4",
    ),
    "an embedding": (
        lambda: _bytes(_altered(absolute_pos_embed=torch.zeros(1, 9, 12))),
        "absolute_pos_embed is not supported",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_does_not_fit_is_one_line(tmp_path: Path, what: str) -> None:
    make, message = BROKEN[what]
    path = tmp_path / "a.pth"
    path.write_bytes(make())
    with pytest.raises(InputError, match=message) as error:
        load_model(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_another_scale(tmp_path: Path) -> None:
    torch.save(official_state(small(scale=3)), tmp_path / "a.pth")
    with pytest.raises(InputError, match="a model for scale 3, not 4"):
        load_model(tmp_path / "a.pth", scale=4)


def test_no_layout_of_authors() -> None:
    with pytest.raises(InputError, match=r"sesr has no .pth layout of its authors; .* one: hat"):
        published_state(create_model("sesr-m3", scale=2, expansion=8))


def test_card_of_a_size_that_has_no_name() -> None:
    assert recognise(official_state(small())).name == "hat"
    assert new_card(small(), "hat").receptive_radius is None


@pytest.mark.parametrize(
    "key", ["attn.qkv.bias", "conv_block.cab.0.weight", "conv_block.cab.3.attention.1.weight"]
)
def test_a_key_that_is_gone_is_named(tmp_path: Path, key: str) -> None:
    key = f"layers.0.residual_group.blocks.0.{key}"
    state = official_state(small())
    del state[key]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(InputError, match=rf"lacks {key}"):
        load_model(tmp_path / "a.pth")


def test_an_index_of_another_shape_is_told_with_both_shapes(tmp_path: Path) -> None:
    state = official_state(small())
    state["relative_position_index_SA"] = state["relative_position_index_SA"][:3]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(
        InputError, match=r"relative_position_index_SA is \(3, 16\), expected \(16, 16\)"
    ):
        load_model(tmp_path / "a.pth")


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = {key: tensor.clone() for key, tensor in official_state(small()).items()}
    state["norm.weight"][1] = float("nan")
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth holds values .* not finite \(first: norm\.w"):
        load_model(tmp_path / "a.pth")


def test_a_ratio_brings_back_every_number_of_rows() -> None:
    # Of the usual widths; HAT truncates their product with the ratio.
    for dim in (48, 60, 64, 96, 120, 144, 180, 192, 240):
        for rows in range(1, 6 * dim + 1):
            assert int(dim * ratio_of(rows, dim)) == rows, (rows, dim)
    # Overlaps of windows, the same way.
    for window in range(2, 65):
        for margin in range(window + 1):
            assert int(window * ratio_of(margin, window)) == margin, (margin, window)


def test_an_mlp_of_any_width_loads(tmp_path: Path) -> None:
    """185 / 180 is a number whose product with 180 is below 185."""
    model = HAT(
        scale=2,
        embed_dim=180,
        depths=(1,),
        num_heads=(6,),
        window_size=4,
        mlp_ratio=math.nextafter(185 / 180, 2),
    )
    assert model.state_dict()["layers.0.residual_group.blocks.0.mlp.fc1.weight"].shape[0] == 185
    torch.save(official_state(model), tmp_path / "a.pth")
    loaded, _ = load_model(tmp_path / "a.pth")
    lr = torch.rand(1, 3, 5, 6)
    with torch.no_grad():
        assert torch.equal(loaded(lr), model.eval()(lr))
