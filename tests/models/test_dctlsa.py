"""DCTLSA in its public layout: golden numbers, recognition, the way back, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from support.grla import assert_golden, golden, state_of, watch

from vernier.errors import InputError
from vernier.models.dctlsa import DCTLSA
from vernier.models.grla import LocalFeatures
from vernier.zoo.checkpoints import load_model
from vernier.zoo.official import official_state, recognise


@pytest.mark.parametrize(("scale", "count"), [(2, 867_472), (3, 874_912), (4, 885_328)])
def test_parameters(scale: int, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in DCTLSA(scale=scale).parameters()) == count


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_golden_network(shared: Path, scale: int) -> None:
    arrays = golden(shared, f"dctlsa_tiny_x{scale}")
    state = state_of(arrays)
    found = recognise(state)
    assert (found.name, found.scale) == ("dctlsa", scale)
    model = DCTLSA(scale=scale, **found.config).eval()
    model.load_state_dict(found.state)
    watched = {
        "head": "fea_conv",
        "blocks.0": "B1",
        "fusions.0": "c1",
        "blocks.5": "B6",
        "last": "c",
        "body_end": "LR_conv",
    }
    with torch.inference_mode():
        # Each part by itself, from the fixture's own features: no rounding is carried on.
        first = model.get_submodule("blocks.0")(arrays["act.fea_conv"])
        end = model.get_submodule("body_end")(arrays["act.c"])
        assert_golden(model.head(arrays["input"]), arrays["act.fea_conv"])
    assert_golden(first, arrays["act.B1"])
    assert_golden(end, arrays["act.LR_conv"])
    # Six blocks of such weights magnify rounding. The whole is compared in float64, so that only
    # the fixture's own rounding counts, which is up to half of what is allowed.
    exact = copy.deepcopy(model).double()
    seen = watch(exact, watched)
    with torch.inference_mode():
        output = exact(arrays["input"].double())
    for name in watched.values():
        assert_golden(seen[name], arrays[f"act.{name}"], 1e-4)
    assert_golden(output, arrays["output"], 1e-4)
    # And back: the authors' names, and their tensors to the bit.
    restored = official_state(model)
    assert restored.keys() == state.keys()
    assert all(torch.equal(restored[key], state[key]) for key in state)


def test_golden_shifted_block(shared: Path) -> None:
    arrays = golden(shared, "dctlsa_block_shift8")
    names = {
        "attn.local.pointwise_prenorm_0": "local.norm_in",
        "attn.local.pointwise_conv_0": "local.expand",
        "attn.local.depthwise_conv": "local.depthwise",
        "attn.local.pointwise_prenorm_1": "local.norm_out",
        "attn.local.pointwise_conv_1": "local.project",
        "attn.qkv": "attention.heads.qkv",
        "attn.proj": "attention.heads.proj",
        "mlp.fc1": "feedforward.0",
        "mlp.fc2": "feedforward.2",
    }
    network = DCTLSA(scale=2, num_features=10).eval()
    block = network.get_submodule("blocks.0.0.sub_blocks.1")
    state = {}
    for key, tensor in state_of(arrays).items():
        module, leaf = key.rsplit(".", 1)
        state[f"{names[module]}.{leaf}"] = tensor
    block.load_state_dict(state)
    x = arrays["input_tokens"].view(1, 32, 16, 10)
    local = block.get_submodule("local")
    assert isinstance(local, LocalFeatures)
    with torch.inference_mode():
        assert_golden(local(x).permute(0, 3, 1, 2), arrays["lfe_of_input_nchw"])
        assert_golden(block(x).flatten(1, 2), arrays["output_tokens"])


def test_a_file_of_theirs_loads(shared: Path, tmp_path: Path) -> None:
    arrays = golden(shared, "dctlsa_tiny_x3")
    torch.save(state_of(arrays), tmp_path / "model_best.pt")
    model, card = load_model(tmp_path / "model_best.pt")
    assert (card.architecture, card.scale, model.deployed) == ("dctlsa", 3, True)
    assert "5 heads, windows of 16" in card.notes
    with torch.inference_mode():
        assert_golden(model(arrays["input"]), arrays["output"], 2e-4)
    with pytest.raises(InputError, match="deployed, its batch norms are folded"):
        official_state(model)


def test_an_incomplete_file_says_what_it_lacks(shared: Path, tmp_path: Path) -> None:
    state = state_of(golden(shared, "dctlsa_tiny_x3"))
    del state["fea_conv.weight"]
    torch.save(state, tmp_path / "broken.pt")
    with pytest.raises(InputError, match=r"lacks fea_conv\.weight"):
        load_model(tmp_path / "broken.pt")
