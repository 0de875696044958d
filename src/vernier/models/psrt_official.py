"""Weights of the authors' PSRT and of the later fork, by the names they have there.

Both save ``{"state_dict": ...}`` with keys that begin with ``model.``. The fork's networks are told
by two LayerNorms in every step that they never read. What shapes cannot tell takes the published
value: 8 heads, windows of 8, 4 and 2, scale 4, and for the fork the form without shuffle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from vernier.errors import InputError
from vernier.models.psrt import PSRT, Shuffle

__all__ = ["import_official", "is_official"]

_PREFIX = "model."
_STEP = re.compile(r"w\.layers\.(\d+)\.layers\.(\d+)\.(.+)")
_RENAMED = (
    ("norm2.", "dead.0."),
    ("norm3.", "dead.1."),
    ("WA1.", "wa1."),
    ("WA2.", "wa2."),
    ("WA3.", "wa3."),
)
_RENAMED_IN_BLOCK = (
    (".attn.", ".attention."),
    (".mlp.fc1.", ".mlp.0."),
    (".mlp.fc2.", ".mlp.2."),
)


def is_official(state: Mapping[str, Tensor]) -> bool:
    """Whether these are weights of the authors' PSRT or of the fork."""
    keys = {key.removeprefix(_PREFIX) for key in state}
    return {"conv.0.weight", "w.conv.weight", "w.layers.0.layers.0.WA1.attn.qkv.weight"} <= keys


def import_official(
    state: Mapping[str, Tensor],
    *,
    scale: int = 4,
    shuffle: Shuffle | None = None,
    num_heads: int = 8,
    window_size: int = 8,
    as_published: bool = False,
) -> PSRT:
    """The network that computes what the original does with these weights.

    Args:
        state: parameters by the original's names, with or without the prefix ``model.``.
        scale: as trained; only the upsampling of the cube depends on it.
        shuffle: None = "aligned" for the authors' network, "none" for the fork's; the fork's
            "misaligned" form has the same names and must be asked for.
        num_heads, window_size: as trained.
        as_published: keep the parameters that the original never reads.

    Raises:
        InputError: a parameter is missing, unknown or of another shape.
    """
    if not is_official(state):
        raise InputError("these are not the weights of a PSRT: conv.0, w.conv or w.layers missing")
    state = {key.removeprefix(_PREFIX): tensor for key, tensor in state.items()}
    steps = [
        tuple(map(int, found.groups()[:2])) for key in state if (found := _STEP.fullmatch(key))
    ]
    num_blocks, num_steps = (1 + max(numbers) for numbers in zip(*steps))
    named = {_our_name(key, num_steps): tensor for key, tensor in state.items()}
    from_fork = any(".dead." in key for key in named)
    bands, embed = named["tail.weight"].shape[:2]
    try:
        model = PSRT(
            scale=scale,
            bands=bands,
            guide_channels=named["head.weight"].shape[1] - bands,
            embed=embed,
            num_blocks=num_blocks,
            num_steps=num_steps,
            window_size=window_size,
            num_heads=num_heads,
            shuffle=shuffle or ("none" if from_fork else "aligned"),
            as_published=as_published,
        )
    except ValueError as error:
        raise InputError(f"these PSRT weights fit no network: {error}") from error
    if not as_published:
        named = {key: tensor for key, tensor in named.items() if ".dead." not in key}
    expected = model.state_dict()
    for what, keys in (
        ("lack", expected.keys() - named.keys()),
        ("have the unknown", named.keys() - expected.keys()),
        (
            "have another shape of",
            {k for k in expected.keys() & named.keys() if expected[k].shape != named[k].shape},
        ),
    ):
        if keys:
            raise InputError(f"these PSRT weights {what} {', '.join(sorted(keys)[:3])}")
    model.load_state_dict({key: tensor.to(torch.float32) for key, tensor in named.items()})
    return model.eval()


def _our_name(key: str, num_steps: int) -> str:
    if key.startswith("w.conv."):
        return "head." + key.removeprefix("w.conv.")
    if key.startswith("conv.0."):
        return "tail." + key.removeprefix("conv.0.")
    found = _STEP.fullmatch(key)
    if not found:
        return key
    block, step, rest = found.groups()
    for theirs, ours in _RENAMED:
        if rest.startswith(theirs):
            rest = ours + rest.removeprefix(theirs)
    for theirs, ours in _RENAMED_IN_BLOCK:
        rest = rest.replace(theirs, ours)
    return f"body.{num_steps * int(block) + int(step)}.{rest}"
