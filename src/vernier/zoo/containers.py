"""Where published checkpoints keep their tensors, and what they keep beside them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from vernier.errors import InputError
from vernier.io.files import shown

__all__ = ["readings", "tensors_in"]

# Under which names, the best first: averages before what they average.
_CONTAINERS = (
    "params_ema",
    "params-ema",
    "ema",
    "model_ema",
    "ema_model",
    "net_g_ema",
    "g_ema",
    "params",
    "state_dict",
    "model_state_dict",
    "net_g",
    "netG",
    "generator",
    "net",
    "network",
    "model",
    "weights",
)
# Containers within containers, and prefixes before prefixes, that are looked into.
_DEEPEST = 4
# What wrappers put before every name.
_PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "net_g.",
    "netG.",
    "net.",
    "network.",
    "generator.",
    "ema_model.",
    "model_ema.",
    "net_g_ema.",
    "g_ema.",
    "G.",
)
# What training keeps beside a network's tensors, by the first part of the name.
_FOREIGN = frozenset(
    {
        "criterion",
        "decay",
        "discriminator",
        "epoch",
        "iter",
        "loss",
        "loss_fn",
        "losses",
        "metric",
        "metrics",
        "n_averaged",
        "net_d",
        "netD",
        "num_updates",
        "optimizer",
        "scheduler",
        "step",
    }
)


def tensors_in(content: object, path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, taken out of what contains them.

    What is no tensor, such as the number of the epoch, is left out.

    Args:
        content: what was read.
        path: where, for messages.

    Raises:
        InputError: it holds none by name, or such as a network's parameters cannot be.
    """
    found = _contained(content, _DEEPEST)
    if not found:
        if isinstance(content, Mapping) and content:
            key, value = next(iter(content.items()))
            if not isinstance(value, Mapping):
                kind = type(value).__name__
                raise InputError(f"{path}: {shown(repr(key))} is no tensor but of type {kind}")
        raise InputError(f"{path} holds no tensors by name")
    for key, tensor in found.items():
        if (
            tensor.layout is not torch.strided
            or tensor.is_meta
            or tensor.is_quantized
            or tensor.is_complex()
        ):
            raise InputError(f"{path}: {shown(key)} is no plain tensor of real numbers")
    return found


def _contained(content: object, depth: int) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    if depth:
        for key in _CONTAINERS:
            if inner := _contained(content.get(key), depth - 1):
                return inner
    return {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }


def readings(
    state: Mapping[str, Tensor], wanted: Collection[str] = ()
) -> Iterator[tuple[dict[str, Tensor], list[str]]]:
    """The tensors with one wrapper's prefix after the other taken off, and what each leaves out.

    First as they are, without what is known to be no part of a network.

    Args:
        state: see `tensors_in`.
        wanted: names that stay, where they are known: they may begin as a wrapper's, or be called
            as what training keeps.
    """
    own = {
        key: tensor
        for key, tensor in state.items()
        if key in wanted or key.partition(".")[0] not in _FOREIGN
    }
    layer = [own]
    for _ in range(_DEEPEST + 1):
        following: list[dict[str, Tensor]] = []
        for found in layer:
            kept = set(map(id, found.values()))
            yield found, [key for key, tensor in state.items() if id(tensor) not in kept]
            for prefix in _PREFIXES:
                inside = {
                    key.removeprefix(prefix): tensor
                    for key, tensor in found.items()
                    if key.startswith(prefix)
                }
                if inside:
                    following.append(inside)
        layer = following
