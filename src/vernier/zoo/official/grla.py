"""GRLA's relatives as others publish them: DCTLSA, and an early re-implementation of GRLA."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vernier.errors import InputError
from vernier.models.dctlsa import DCTLSA
from vernier.models.grla_seq import GRLASeq
from vernier.models.layers import Model
from vernier.zoo.official import Recognised

__all__ = ["official_state", "recognise"]


def recognise(state: Mapping[str, Tensor]) -> Recognised | None:
    """Deduce the network; None if the tensors are of neither.

    Shapes do not tell heads and window sizes: those of the public code are taken.

    Raises:
        InputError: they are of one of the two, but tensors are missing.
    """
    if any(key.startswith("B1.body.0.transformer_body.") for key in state):
        return _recognise_dctlsa(state)
    if any(key.startswith("body.0.twsa.") for key in state):
        return _recognise_grla_seq(state)
    return None


def official_state(model: Model) -> dict[str, Tensor]:
    """The tensors by the names of the public code, detached.

    Raises:
        InputError: the batch norms are folded already, which cannot be undone.
    """
    if model.deployed:
        raise InputError(
            f"this {model.architecture} is deployed, its batch norms are folded: the authors' "
            "layout needs a training checkpoint"
        )
    assert isinstance(model, DCTLSA | GRLASeq)
    blocks = model.config["num_blocks"]
    names = _dctlsa_names(blocks) if isinstance(model, DCTLSA) else _grla_seq_names(blocks)
    theirs = {ours: official for official, ours in names.items()}
    state = {}
    for key, tensor in model.state_dict().items():
        official = _renamed(key, theirs)
        pointwise = _POINTWISE.fullmatch(official)
        state[official] = tensor.detach()[..., None, None] if pointwise else tensor.detach()
    return state


def _recognise_dctlsa(state: Mapping[str, Tensor]) -> Recognised:
    head, tail = _tensor(state, "fea_conv.weight"), _tensor(state, "upsampler.0.bias")
    blocks = len({key.split(".")[0] for key in state if re.match(r"B\d+\.", key)})
    names = _dctlsa_names(blocks)
    return Recognised(
        name="dctlsa",
        architecture=DCTLSA.architecture,
        scale=math.isqrt(tail.numel() // head.shape[1]),
        config={
            "num_features": head.shape[0],
            "num_blocks": blocks,
            "num_heads": 5,
            "window_size": 16,
        },
        state={_renamed(key, names): tensor for key, tensor in state.items()},
        notes="in the authors' layout; as in the public code: 5 heads, windows of 16",
    )


# Projections that are 1x1 convolutions there, and matrices here.
_POINTWISE = re.compile(r"body\.\d+\.tla\.(qkv|proj)\.weight")


def _recognise_grla_seq(state: Mapping[str, Tensor]) -> Recognised:
    features = _tensor(state, "head.weight").shape[0]
    blocks = len({key.split(".")[1] for key in state if ".twsa." in key})
    names = _grla_seq_names(blocks)
    config: dict[str, Any] = {
        "num_features": features,
        "num_blocks": blocks,
        "num_heads": 5,
        "linear_heads": 1,
        "window_size": 8,
        "feedforward_ratio": _tensor(state, "body.0.twsa.FFN.0.weight").shape[0] // features,
        "layer_norm": "body.0.twsa.norm1.weight" in state,
    }
    return Recognised(
        name="grla-seq",
        architecture=GRLASeq.architecture,
        scale=math.isqrt(_tensor(state, "tail.0.weight").shape[0] // features),
        config=config,
        state={
            _renamed(key, names): tensor.flatten(1) if _POINTWISE.fullmatch(key) else tensor
            for key, tensor in state.items()
        },
        notes="as in the public code: 5 heads in windows of 8, 1 head over the picture",
    )


def _tensor(state: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in state:
        raise InputError(f"it lacks {key}")
    return state[key]


def _renamed(key: str, names: Mapping[str, str]) -> str:
    module, _, leaf = key.rpartition(".")
    return f"{names.get(module, module)}.{leaf}"


def _dctlsa_names(blocks: int) -> dict[str, str]:
    """Module names, theirs to ours."""
    inside = {
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
    names = {"fea_conv": "head", "c.0": "last.0", "LR_conv": "body_end", "upsampler.0": "tail"}
    for block in range(blocks):
        names[f"c{block + 1}.0"] = f"fusions.{block}.0"
        for section in range(2):
            theirs = f"B{block + 1}.body.{section}.transformer_body.0"
            ours = f"blocks.{block}.{section}"
            names[f"{theirs}.patch_embed.norm"] = f"{ours}.norm"
            for i in range(2):
                for their_name, our_name in inside.items():
                    names[f"{theirs}.blocks.{i}.{their_name}"] = f"{ours}.sub_blocks.{i}.{our_name}"
    return names


def _grla_seq_names(blocks: int) -> dict[str, str]:
    """Module names, theirs to ours."""
    inside = {"body.{}.conv": "blocks.{}.conv"}
    for theirs, ours in (("twsa", "window"), ("tla", "linear")):
        for i, name in enumerate(("norm_in", "expand", "depthwise", "norm_out", "project")):
            inside[f"body.{{}}.{theirs}.LFE.{i}"] = f"blocks.{{}}.{ours}.local.{name}"
        inside[f"body.{{}}.{theirs}.norm2"] = f"blocks.{{}}.{ours}.feedforward.norm"
        inside[f"body.{{}}.{theirs}.FFN.0"] = f"blocks.{{}}.{ours}.feedforward.expand"
        inside[f"body.{{}}.{theirs}.FFN.2"] = f"blocks.{{}}.{ours}.feedforward.project"
    for name in ("qkv", "proj"):
        inside[f"body.{{}}.twsa.MHSA.{name}"] = f"blocks.{{}}.window.attention.heads.{name}"
        inside[f"body.{{}}.tla.{name}"] = f"blocks.{{}}.linear.heads.{name}"
    inside["body.{}.twsa.norm1"] = "blocks.{}.window.norm"
    names = {
        f"body.{blocks}": "fuse",
        f"body.{blocks + 1}": "body_end",
        "tail.0": "expand",
        "tail.2": "tail",
    }
    for block in range(blocks):
        names |= {theirs.format(block): ours.format(block) for theirs, ours in inside.items()}
    return names
