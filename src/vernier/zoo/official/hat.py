"""Checkpoints of the authors' own HAT implementation (github.com/XPixelGroup/HAT).

Our tensors have the same names; theirs have two index buffers more, which follow from the window
sizes. Keys and shapes tell everything but ``conv_scale``, ``img_range`` and ``drop_path_rate``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vernier.errors import InputError
from vernier.models.hat import HAT, relative_position_index
from vernier.models.layers import Model
from vernier.zoo.official import Recognised
from vernier.zoo.registry import get_entry, list_models

__all__ = ["official_state", "ratio_of", "recognise"]

# What all published networks share and no file tells.
_PUBLISHED: Mapping[str, Any] = {"conv_scale": 0.01, "img_range": 1.0, "drop_path_rate": 0.1}
_BLOCK = "layers.0.residual_group.blocks.0"
_OVERLAP = "layers.0.residual_group.overlap_attn"
_INDICES = ("relative_position_index_SA", "relative_position_index_OCA")


def recognise(state: Mapping[str, Tensor]) -> Recognised | None:
    """Deduce the network; None if the tensors are not those of a HAT.

    Raises:
        InputError: they are, but something is missing, contradictory or not supported.
    """
    if not _is_hat(state):
        return None
    if "absolute_pos_embed" in state:
        raise InputError("a HAT with absolute_pos_embed is not supported")
    config, scale = _config(state)
    window_size = config["window_size"]
    margin = 0 if config["overlap_ratio"] is None else int(window_size * config["overlap_ratio"])
    for key, key_size in zip(_INDICES, (window_size, window_size + margin), strict=True):
        expected = relative_position_index(window_size, key_size)
        if key in state and state[key].shape != expected.shape:
            raise InputError(
                f"{key} is {tuple(state[key].shape)}, expected {tuple(expected.shape)}"
            )
        if key in state and not torch.equal(state[key], expected):
            raise InputError(f"{key} is not that of windows of {window_size} and {key_size}")
    names = [
        entry.name
        for entry in map(get_entry, list_models())
        if entry.family == HAT.architecture and entry.config.items() <= config.items()
    ]
    taken = ", ".join(f"{argument} {value}" for argument, value in _PUBLISHED.items())
    return Recognised(
        name=names[0] if names else HAT.architecture,
        architecture=HAT.architecture,
        scale=scale,
        config=config,
        state={key: tensor for key, tensor in state.items() if key not in _INDICES},
        notes=f"in the authors' layout; what the file does not tell is taken as published: {taken}",
    )


def official_state(model: Model) -> dict[str, Tensor]:
    """The tensors in the authors' order, with their index buffers."""
    assert isinstance(model, HAT)
    window_size = model.window_size
    indices = {_INDICES[0]: relative_position_index(window_size, window_size)}
    if model.overlap_ratio is not None:
        indices[_INDICES[1]] = relative_position_index(window_size, model.key_size)
    state = {key: tensor.detach() for key, tensor in model.state_dict().items()}
    return indices | state


def _is_hat(state: Mapping[str, Tensor]) -> bool:
    """Not a SwinIR, which has neither of its two blocks and keeps its index in every block."""
    return "conv_first.weight" in state and any(
        key in _INDICES or re.match(r"layers\.\d+\.residual_group\.(overlap_attn|.*\.cab)\.", key)
        for key in state
    )


def _config(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], int]:
    """Constructor arguments and scale."""

    def shape(key: str, dimensions: int) -> tuple[int, ...]:
        if key not in state:
            raise InputError(f"it looks like a HAT, but lacks {key}")
        if state[key].ndim != dimensions or 0 in state[key].shape:
            raise InputError(f"it looks like a HAT, but {key} is {tuple(state[key].shape)}")
        return tuple(state[key].shape)

    def side(table: str) -> int:
        rows = shape(table, 2)[0]
        if math.isqrt(rows) ** 2 != rows:
            raise InputError(f"{table} has {rows} rows, which is no square")
        return math.isqrt(rows)

    embed_dim, channels = shape("conv_first.weight", 4)[:2]
    groups = _count(state, r"layers\.(\d+)\.")
    depths = [
        _count(state, rf"layers\.{i}\.residual_group\.blocks\.(\d+)\.") for i in range(groups)
    ]
    tables = [
        f"layers.{i}.residual_group.blocks.0.attn.relative_position_bias_table"
        for i in range(groups)
    ]
    # (2 w - 1)^2 rows; with overlapping windows of e pixels (w + e - 1)^2.
    window_size = (side(f"{_BLOCK}.attn.relative_position_bias_table") + 1) // 2
    compress_ratio = squeeze_factor = overlap_ratio = None
    # Any block tells what there is: one that lacks it is damaged.
    if any(".conv_block.cab." in key for key in state):
        compress_ratio = embed_dim // shape(f"{_BLOCK}.conv_block.cab.0.weight", 4)[0]
    if any(".conv_block.cab.3.attention." in key for key in state):
        squeeze = shape(f"{_BLOCK}.conv_block.cab.3.attention.1.weight", 4)[0]
        squeeze_factor = embed_dim // squeeze
    if any(".overlap_attn." in key for key in state):
        key_size = side(f"{_OVERLAP}.relative_position_bias_table") + 1 - window_size
        overlap_ratio = ratio_of(key_size - window_size, window_size)
    config = {
        "channels": channels,
        "embed_dim": embed_dim,
        "depths": depths,
        "num_heads": [shape(table, 2)[1] for table in tables],
        "window_size": window_size,
        "compress_ratio": compress_ratio,
        "squeeze_factor": squeeze_factor,
        "overlap_ratio": overlap_ratio,
        "mlp_ratio": ratio_of(shape(f"{_BLOCK}.mlp.fc1.weight", 2)[0], embed_dim),
        "qkv_bias": any(key.endswith(".attn.qkv.bias") for key in state),
        **_PUBLISHED,
    }
    upsample = range(0, _count(state, r"upsample\.(\d+)\."), 2)
    steps = [shape(f"upsample.{i}.weight", 4) for i in upsample]
    scale = math.prod(math.isqrt(out // features) for out, features, *_ in steps)
    return config, scale


def ratio_of(part: int, whole: int) -> float:
    """The ratio for which HAT's ``int(whole * ratio)`` is ``part`` again.

    The nearest float to their quotient may lie below it, and then a row is lost.
    """
    ratio = part / whole
    return ratio if int(whole * ratio) == part else math.nextafter(ratio, math.inf)


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number that the pattern finds.

    Raises:
        InputError: the numbers leave more out than there are tensors.
    """
    found = [re.match(pattern, key) for key in state]
    # Of an absurd number the beginning is large enough.
    largest = max((int(match[1][:9]) for match in found if match), default=-1)
    if largest >= len(state):
        raise InputError(f"it looks like a HAT, but its layers have numbers up to {largest}")
    return 1 + largest
