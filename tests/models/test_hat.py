"""HAT: the authors' numbers, any size and precision, and how training differs from evaluation."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from vernier.engines.tiles import Tile, run_tiles
from vernier.models import hat
from vernier.models.hat import HAB, HAT, OCAB, relative_position_index
from vernier.models.layers import pad_to_multiple
from vernier.zoo.complexity import complexity
from vernier.zoo.creation import create_model
from vernier.zoo.official.hat import official_state

CONFIGS = ("a_x4_w8", "b_x2_w4_gray", "c_x3_w8", "d_x1_w8_odd")
MANIFESTS = [(name, f"x{scale}") for name in ("HAT-S", "HAT", "HAT-L") for scale in (2, 3, 4)]
# Of the authors' float32; theirs differs from float64 by 2e-6.
CLOSE = {"atol": 2e-5, "rtol": 1e-4}


def arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments from the authors' options."""
    renamed = {"upscale": "scale", "in_chans": "channels"}
    fixed = {"img_size": 64, "upsampler": "pixelshuffle", "resi_connection": "1conv"}
    for key, value in fixed.items():
        assert config[key] == value, key
    return {renamed.get(key, key): value for key, value in config.items() if key not in fixed}


def golden_config(folder: Path, name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "tiny_configs.json").read_text())[name]["config"]
    return arguments(config)


def golden_model(folder: Path, name: str, **overrides: object) -> HAT:
    model = HAT(**{**golden_config(folder, name), **overrides})
    state = load_file(folder / f"{name}.state.safetensors")
    for key in ("relative_position_index_SA", "relative_position_index_OCA"):
        state.pop(key)
    model.load_state_dict(state)
    return model.eval()


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    return shared / "golden" / "hat"


def tiny(**overrides: object) -> HAT:
    """Untrained, but with no parameter at a value that hides it."""
    small: dict[str, Any] = {
        "scale": 2,
        "embed_dim": 12,
        "depths": (2,),
        "num_heads": (2,),
        "window_size": 4,
        "squeeze_factor": 6,
    }
    model = HAT(**small | overrides)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("size", ["odd", "even"])
@pytest.mark.parametrize("name", CONFIGS)
def test_outputs(golden: Path, name: str, size: str) -> None:
    arrays = np.load(golden / f"{name}.io.npz")
    lr = torch.from_numpy(arrays[f"in_{size}"])
    expected = torch.from_numpy(arrays[f"out_{size}"])
    torch.testing.assert_close(golden_model(golden, name)(lr), expected, **CLOSE)


@torch.no_grad()
def test_a_picture_of_several_windows(golden: Path) -> None:
    arrays = np.load(golden / "a_x4_w8.io.npz")
    model = golden_model(golden, "a_x4_w8")
    hr = model(torch.from_numpy(arrays["in_tile"]))
    torch.testing.assert_close(hr, torch.from_numpy(arrays["out_tile_untiled"]), **CLOSE)


@torch.no_grad()
def test_the_tiles_of_the_authors(golden: Path) -> None:
    """Theirs are cut from the picture that is padded already, and pasted edge to edge."""
    arrays = np.load(golden / "a_x4_w8.io.npz")
    model = golden_model(golden, "a_x4_w8")
    padded = pad_to_multiple(torch.from_numpy(arrays["in_tile"]), model.window_size)
    pixels = padded[0].permute(1, 2, 0).numpy()
    height, width, channels = pixels.shape
    tiles = [
        Tile(
            window=(max(y - 8, 0), max(x - 8, 0), min(y + 24, height), min(x + 24, width)),
            core=(y, x, min(y + 16, height), min(x + 16, width)),
        )
        for y in range(0, height, 16)
        for x in range(0, width, 16)
    ]
    assert len(tiles) == 9

    def run(window: NDArray[Any]) -> NDArray[Any]:
        hr: NDArray[Any] = model(torch.from_numpy(window).permute(2, 0, 1)[None]).numpy()
        return hr[0].transpose(1, 2, 0)

    result = np.empty((height * 4, width * 4, channels), np.float32)
    run_tiles(run, pixels, result, tiles)
    expected = arrays["out_tile_ts16_tp8"]
    ours = torch.from_numpy(result).permute(2, 0, 1)[None, :, : expected.shape[2]]
    ours = ours[..., : expected.shape[3]]
    torch.testing.assert_close(ours, torch.from_numpy(expected), **CLOSE)


@torch.no_grad()
def test_intermediates(golden: Path) -> None:
    arrays = np.load(golden / "a_x4_w8.intermediates_even.npz")
    model = golden_model(golden, "a_x4_w8")
    group = model.layers[0].residual_group
    layers = {
        "conv_first": model.conv_first,
        "patch_embed": model.patch_embed["norm"],
        "l0b0_norm1": group.blocks[0].norm1,
        "l0b0_conv_block": group.blocks[0].conv_block,
        "l0b0_out": group.blocks[0],
        "l0b1_out": group.blocks[1],
        "l0_ocab_out": group.overlap_attn,
        "l0_rhag_out": model.layers[0],
        "l1_rhag_out": model.layers[1],
        "norm": model.norm,
        "conv_after_body": model.conv_after_body,
        "l0b0_attn_windows": group.blocks[0].attn,
        "l0b1_attn_windows_shifted": group.blocks[1].attn,
    }
    found: dict[str, Tensor] = {}
    for name, layer in layers.items():
        layer.register_forward_hook(lambda _m, _i, out, name=name: found.update({name: out}))
    model(torch.from_numpy(np.load(golden / "a_x4_w8.io.npz")["in_even"]))
    for name in layers:
        expected = torch.from_numpy(arrays[name])
        actual = found[name]
        if "windows" in name:
            # Theirs are windows of the rolled picture, row by row.
            if name.endswith("shifted"):
                actual = actual.roll((-4, -4), (1, 2))
            actual = actual.unflatten(1, (2, 8)).unflatten(3, (3, 8)).transpose(2, 3)
            actual = actual.flatten(0, 2).flatten(1, 2)
        elif actual.ndim == 4 and expected.ndim == 3:
            actual = actual.flatten(1, 2)
        torch.testing.assert_close(actual, expected, **CLOSE, msg=lambda m, n=name: f"{n}: {m}")


def test_masks_are_those_of_every_window(golden: Path) -> None:
    """Ours is one mask per group of windows, theirs one per window of a 16x24 picture."""
    expected = torch.from_numpy(
        np.load(golden / "a_x4_w8.intermediates_even.npz")["attn_mask_16x24"]
    )
    cut = hat._cut(1, 16, 24, 8, 4)
    seen = []
    for group, mask in zip(cut.groups, cut.masks, strict=True):
        for window in group:
            # The first pixel of a window in the rolled picture tells which of the 2 x 3 it is.
            row, column = (int(window[0]) * 4 // 24 - 4) % 16, (int(window[0]) * 4 % 24 - 4) % 24
            number = row // 8 * 3 + column // 8
            seen.append(number)
            ours = torch.zeros(64, 64) if mask is None else mask[0, 0]
            torch.testing.assert_close(ours, expected[number], rtol=0, atol=0)
    assert sorted(seen) == list(range(6))


def test_gradients(golden: Path) -> None:
    arrays = np.load(golden / "b_x2_w4_gray.io.npz")
    model = golden_model(golden, "b_x2_w4_gray", drop_path_rate=0.0).train()
    hr = model(torch.from_numpy(arrays["in_even"]))
    loss = nn.functional.l1_loss(hr, torch.from_numpy(arrays["grad_target"]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(arrays["grad_loss"]), rel=1e-5)
    expected = load_file(golden / "b_x2_w4_gray.grads.safetensors")
    found = {key: parameter.grad for key, parameter in model.named_parameters()}
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(
            found[key], gradient, rtol=1e-3, atol=1e-6, msg=lambda m, k=key: f"{k}: {m}"
        )


def test_relative_positions(golden: Path) -> None:
    arrays = np.load(golden / "relative_position_index.npz")
    sizes = {
        "SA_w4": (4, 4),
        "SA_w8": (8, 8),
        "OCA_w4_r0.5": (4, 6),
        "OCA_w8_r0.5": (8, 12),
        "OCA_w8_r0.25": (8, 10),
    }
    assert set(arrays.files) == sizes.keys()
    for name, (window_size, key_size) in sizes.items():
        index = relative_position_index(window_size, key_size)
        assert index.dtype == torch.int64
        np.testing.assert_array_equal(index.numpy(), arrays[name], err_msg=name)


@pytest.mark.parametrize(("variant", "scale"), MANIFESTS)
def test_manifests(golden: Path, variant: str, scale: str) -> None:
    manifest = json.loads((golden / f"manifest_{variant}_{scale}.json").read_text())
    with torch.device("meta"):
        model = create_model(variant.lower(), scale=int(scale[1:]))
    assert isinstance(model, HAT)
    published = arguments(manifest["config"])
    assert {**model.config, "scale": model.scale}.items() >= published.items()
    # Neither the buffers' nor the parameters' places in the file are ours to choose.
    state = official_state(model)
    assert list(state) == list(manifest["keys"])
    for key, tensor in state.items():
        assert list(tensor.shape) == manifest["keys"][key]["shape"], key
        assert f"torch.{manifest['keys'][key]['dtype']}" == str(tensor.dtype), key
    buffers = {key for key, entry in manifest["keys"].items() if entry["kind"] == "buffer"}
    assert state.keys() - buffers == dict(model.named_parameters()).keys()
    cost = complexity(model, (64, 64))
    assert cost.parameters == manifest["params_total"]
    assert cost.macs == manifest["multiadds_64x64_flopcounter"]


ABLATIONS = [
    # Table of the paper (x4, 64x64): parameters and multiply-adds, which the authors' own ablation
    # classes have to these digits.
    ("SwinIR", {"window_size": 8, "overlap_ratio": None, "compress_ratio": None}, 11.900, 53.56),
    ("window 16", {"overlap_ratio": None, "compress_ratio": None}, 12.059, 63.75),
    ("with OCAB", {"compress_ratio": None}, 13.681, 75.21),
    ("with CAB, beta 1", {"overlap_ratio": None, "compress_ratio": 1}, 33.152, 149.75),
    ("with CAB, beta 2", {"overlap_ratio": None, "compress_ratio": 2}, 22.651, 106.75),
    ("with CAB, beta 3", {"overlap_ratio": None, "compress_ratio": 3}, 19.151, 92.41),
    ("with CAB, beta 6", {"overlap_ratio": None, "compress_ratio": 6}, 15.650, 78.08),
    ("HAT", {}, 20.773, 103.88),
]


@pytest.mark.parametrize(
    ("switches", "millions", "giga"), [row[1:] for row in ABLATIONS], ids=[a[0] for a in ABLATIONS]
)
def test_ablations_cost_what_the_paper_says(
    switches: dict[str, Any], millions: float, giga: float
) -> None:
    with torch.device("meta"):
        model = create_model("hat", scale=4, **switches)
    cost = complexity(model, (64, 64))
    assert round(cost.parameters / 1e6, 3) == millions
    assert round(cost.macs / 1e9, 2) == giga


@torch.no_grad()
@pytest.mark.parametrize("overlap_ratio", [0, 0.25, 0.5, 0.75])
def test_overlap(overlap_ratio: float) -> None:
    model = tiny(window_size=8, overlap_ratio=overlap_ratio)
    table = model.layers[0].residual_group.overlap_attn.relative_position_bias_table
    assert len(table) == (8 + 8 * (1 + overlap_ratio) - 1) ** 2
    assert model(torch.rand(1, 3, 9, 17)).shape == (1, 3, 18, 34)


@torch.no_grad()
def test_channel_attention_can_be_left_out() -> None:
    model = tiny(squeeze_factor=None)
    assert len(model.layers[0].residual_group.blocks[0].conv_block.cab) == 3
    assert model(torch.rand(1, 3, 5, 6)).shape == (1, 3, 10, 12)


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (8, 4), (13, 5)])
def test_any_size(scale: int, channels: int, size: tuple[int, int]) -> None:
    model = tiny(scale=scale, channels=channels, window_size=8).double()
    assert model.colour == {1: "luma", 3: "rgb"}[channels]
    lr = torch.rand(2, channels, *size, dtype=torch.float64)
    hr = model(lr)
    assert hr.shape == (2, channels, scale * size[0], scale * size[1])
    # No picture of a batch sees another.
    torch.testing.assert_close(hr[1:], model(lr[1:]), atol=1e-9, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("scale", [1, 3, 4])
def test_parts_compute_what_the_whole_does(scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(scale=scale, depths=(3,)).double()
    lr = torch.rand(2, 3, 27, 22, dtype=torch.float64)
    whole = model(lr)
    windows, rows = [], []
    attend, upsampled = hat._BiasedAttention.attend, HAT._upsampled

    def note_windows(self: Any, q: Tensor, *rest: Any) -> Tensor:
        windows.append(len(q))
        return attend(self, q, *rest)

    def note_rows(self: HAT, features: Tensor, dtype: torch.dtype) -> Tensor:
        rows.append(features.shape[2])
        return upsampled(self, features, dtype)

    monkeypatch.setattr(hat._BiasedAttention, "attend", note_windows)
    monkeypatch.setattr(HAT, "_upsampled", note_rows)
    model.memory_budget = 1
    torch.testing.assert_close(model(lr), whole, atol=1e-12, rtol=0)
    assert windows == [1] * (2 * 7 * 6 * 4)
    assert rows == [15, 18, 7]
    windows.clear()
    model.memory_budget = None
    model(lr)
    # The shifted block has four groups.
    assert windows == [84, 60, 12, 10, 2, 84, 84]


@torch.no_grad()
def test_only_windows_at_the_far_edges_are_masked() -> None:
    cut = hat._cut(2, 32, 24, 8, 4)
    assert [len(group) for group in cut.groups] == [2 * 3 * 2, 2 * 3, 2 * 2, 2]
    assert cut.masks[0] is None
    assert all(mask is not None for mask in cut.masks[1:])
    assert hat._cut(2, 32, 24, 8, 0).masks == [None]


def remembered(model: HAT) -> list[object]:
    """What every attention keeps from one picture to the next."""
    attentions = [m for m in model.modules() if isinstance(m, hat._BiasedAttention)]
    return [attention._prepared and attention._prepared[1] for attention in attentions]


@torch.no_grad()
def test_what_is_remembered_follows_the_weights() -> None:
    model, other = tiny(), tiny()
    lr = torch.rand(1, 3, 6, 5)
    before = model(lr)
    kept = remembered(model)
    assert len(kept) == 3
    assert None not in kept
    model(lr)
    assert all(now is then for now, then in zip(remembered(model), kept, strict=True))

    model.load_state_dict(other.state_dict())
    torch.testing.assert_close(model(lr), other(lr), rtol=0, atol=0)
    assert not torch.allclose(model(lr), before)

    for attention in model.modules():
        if isinstance(attention, hat._BiasedAttention):
            for parameter in attention.parameters():
                hr = model(lr)
                parameter.mul_(1.1)
                assert not torch.equal(model(lr), hr)
    torch.testing.assert_close(model(lr), copy.deepcopy(model).train().eval()(lr), rtol=0, atol=0)
    model.train()
    assert remembered(model) == [None] * 3


def test_what_inference_mode_remembered_serves_gradients() -> None:
    """As attribution needs: of the picture, through a network that was used before."""
    model = tiny().requires_grad_(False)
    lr = torch.rand(1, 3, 6, 5)
    with torch.inference_mode():
        model(lr)
    lr.requires_grad_()
    model(lr).sum().backward()
    assert lr.grad is not None
    assert lr.grad.abs().min() > 0


def test_evaluation_trains_nothing_stale() -> None:
    model = tiny()
    with torch.no_grad():
        model(torch.rand(1, 3, 4, 4))
    model(torch.rand(1, 3, 4, 4)).sum().backward()
    table = model.layers[0].residual_group.overlap_attn.relative_position_bias_table
    assert table.grad is not None


@torch.no_grad()
def test_bfloat16_and_autocast(golden: Path) -> None:
    arrays = np.load(golden / "a_x4_w8.io.npz")
    lr, expected = (torch.from_numpy(arrays[f"{end}_odd"]) for end in ("in", "out"))
    model = golden_model(golden, "a_x4_w8")
    with torch.autocast("cpu", torch.bfloat16):
        by_autocast = model(lr)
    by_weights = model.bfloat16()(lr)
    # The authors' network under autocast differs by 5.8e-3.
    for hr, bound in ((by_autocast, 5.8e-3), (by_weights, 8e-3)):
        assert hr.dtype == torch.float32
        assert 1e-5 < (hr - expected).abs().mean() < bound
    assert model(lr.bfloat16()).dtype == torch.bfloat16


@torch.no_grad()
def test_double_is_exact(golden: Path) -> None:
    arrays = np.load(golden / "a_x4_w8.io.npz")
    model = golden_model(golden, "a_x4_w8").double()
    hr = model(torch.from_numpy(arrays["in_even"]).double())
    assert hr.dtype == torch.float64
    np.testing.assert_allclose(hr.numpy(), arrays["out_even"], atol=4e-6)


@torch.no_grad()
def test_float16_is_refused() -> None:
    model, lr = tiny(), torch.rand(1, 3, 4, 4)
    with (
        torch.autocast("cpu", torch.float16),
        pytest.raises(ValueError, match="leaves the range of float16: use bfloat16"),
    ):
        model(lr)
    with pytest.raises(ValueError, match="leaves the range of float16"):
        model.half()(lr)


@pytest.mark.parametrize("how", ["argument", "attribute"])
def test_gradient_checkpointing_recomputes_and_saves(how: str) -> None:
    # At x1, which leaves little beside the body.
    body: dict[str, Any] = {
        "scale": 1,
        "depths": (2, 2),
        "num_heads": (2, 2),
        "drop_path_rate": 0.5,
    }
    kept = tiny(**body).train()
    recomputed = tiny(**body, gradient_checkpointing=how == "argument").train()
    recomputed.load_state_dict(kept.state_dict())
    if how == "attribute":
        recomputed.gradient_checkpointing = True
    lr = torch.rand(3, 3, 8, 8)
    saved, runs, results = [], [], []
    for model in (kept, recomputed):
        count, numbers = 0, 0

        def note(tensor: Tensor) -> Tensor:
            nonlocal numbers
            numbers += tensor.numel()
            return tensor

        def run(*_: object) -> None:
            nonlocal count
            count += 1

        for block in model.modules():
            if isinstance(block, HAB | OCAB):
                block.register_forward_pre_hook(run)
        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            hr = model(lr)
        hr.square().mean().backward()
        saved.append(numbers)
        runs.append(count)
        results.append([hr, *(p.grad for p in model.parameters())])
    assert runs == [6, 12]
    assert saved[1] < saved[0] / 4
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_stochastic_depth_is_for_training_only() -> None:
    model = tiny(drop_path_rate=0.5)
    lr = torch.rand(4, 3, 8, 8)
    assert torch.equal(model(lr), model(lr))
    model.train()
    assert not torch.equal(model(lr), model(lr))
    rates = [m.rate for m in tiny(drop_path_rate=0.5, depths=(3,)).modules() if hasattr(m, "rate")]
    assert rates == [0, 0.25, 0.5]


def test_drop_path_keeps_the_mean_and_drops_whole_samples() -> None:
    drop = hat.DropPath(0.25).train()
    kept = drop(torch.ones(4000, 2, 2, 1)).flatten(1)
    assert ((kept == 0).all(1) | torch.isclose(kept, torch.tensor(4 / 3)).all(1)).all()
    assert float(kept.mean()) == pytest.approx(1, abs=0.05)


def test_x4_starts_from_x2_by_name() -> None:
    two, four = tiny(scale=2), tiny(scale=4)
    fresh = {key: tensor.clone() for key, tensor in four.state_dict().items()}
    copied = four.init_from(two)
    state = four.state_dict()
    assert set(copied) == set(two.state_dict())
    assert state.keys() - set(copied) == {"upsample.2.weight", "upsample.2.bias"}
    for key in copied:
        assert torch.equal(state[key], two.state_dict()[key]), key
    for key in state.keys() - set(copied):
        assert torch.equal(state[key], fresh[key]), key
    assert {"upsample.0.weight", "upsample.0.bias"}.isdisjoint(tiny(scale=3).init_from(two))


def test_initialisation_is_the_published_one() -> None:
    model = create_model("hat-s", scale=2)
    for key, parameter in model.named_parameters():
        if key.endswith(("qkv.bias", "proj.bias", "fc1.bias", "norm1.bias")):
            assert not parameter.any(), key
        elif key.endswith(("qkv.weight", "fc2.weight", "bias_table")):
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.05), key
        elif key.endswith("norm2.weight"):
            assert (parameter == 1).all(), key


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"scale": 6}, "scale must be 3 or a power of 2, got 6"),
        ({"scale": 0}, "scale must be 3 or a power of 2, got 0"),
        ({"channels": 4}, r"channels must be 1 \(luma\) or 3 \(RGB\), got 4"),
        ({"depths": (2, 2)}, "one positive number per group"),
        ({"num_heads": (5,)}, r"num_heads \(5,\) must divide embed_dim 12"),
        ({"compress_ratio": 13}, "compress_ratio must be 1 to embed_dim 12, got 13"),
        ({"squeeze_factor": 0}, "squeeze_factor must be 1 to embed_dim 12, got 0"),
        ({"overlap_ratio": 0.25}, "an even number of pixels, got 4 . 0.25"),
    ],
)
def test_arguments_are_checked(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**overrides)
