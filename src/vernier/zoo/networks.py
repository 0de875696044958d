"""From a name, a file or a module to a network that an engine can run: the one road.

Torch is imported only to build a module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from vernier.errors import InputError
from vernier.zoo.cards import (
    Card,
    available_scales,
    check_sha256,
    load_card,
    read_weights,
    shipped_weights,
    weight_file,
)
from vernier.zoo.facts import Facts
from vernier.zoo.registry import family_entry, list_models

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Network", "networks_of"]


@dataclass(frozen=True)
class Network:
    """A trained network, not yet on an engine.

    Attributes:
        name: for messages.
        facts: what is known of it.
        arrays: the deployed arrays by name when it is a SESR, which needs no torch, else None.
        module: builds the torch module in eval mode (imports torch).
    """

    name: str
    facts: Facts
    arrays: Mapping[str, NDArray[Any]] | None
    module: Callable[[], nn.Module]

    def activation_bytes(self) -> float:
        """Bytes per LR pixel that its feature maps take at the worst moment, in float32."""
        if self.arrays is not None:
            outputs, features = map(int, self.arrays["last.weight"].shape[:2])
            # The first features, those of two neighbouring layers, the sum; the output phases.
            return 4.0 * (4 * features + 2 * outputs)
        return _measured_activation_bytes(self.module(), self.facts.channels)


def networks_of(model: str | Path | nn.Module) -> dict[int, Callable[[], Network]]:
    """How to load the networks that ``model`` offers, by scale, smallest first.

    Args:
        model: a registry name (every scale whose weights come with the package), a weight file,
            or a module with the attributes ``scale`` and ``colour``.

    Raises:
        InputError: no such model or weights, or a module without the facts inference needs.
    """
    if "torch" in sys.modules:
        from torch import nn

        if isinstance(model, nn.Module):
            network = _from_module(model)
            return {network.facts.scale: lambda: network}
    if not isinstance(model, str | Path):
        raise InputError(
            f"a model is a name, a weight file or a torch module, not {type(model).__name__}"
        )
    if model in list_models():
        name = str(model)
        scales = available_scales(name)
        if not scales:
            shipped_weights(name)  # raises, and says what to do
        return {s: partial(_shipped, name, s) for s in scales}
    path = weight_file(model)
    network = _from_safetensors(path) if path.suffix == ".safetensors" else _from_checkpoint(path)
    return {network.facts.scale: lambda: network}


def _shipped(name: str, scale: int) -> Network:
    path = shipped_weights(name, scale)
    check_sha256(path, load_card(name, scale))
    return _from_safetensors(path)


def _from_safetensors(path: Path) -> Network:
    arrays, card = read_weights(path)
    entry = family_entry(card.architecture)
    if entry.facts.colour == "cube":
        raise InputError(f"{card.name} fuses a cube with a guide: use vernier fuse")
    # A family may be trained on luma or on colour; its config says so one way or the other.
    colour = card.config.get("colour", entry.facts.colour)
    if card.config.get("channels") == 1:
        colour = "luma"
    facts = Facts(
        scale=card.scale,
        colour=colour,
        channels=1 if colour == "luma" else 3,
        size_multiple=card.config.get("window_size", entry.facts.size_multiple),
        receptive_radius=card.receptive_radius,
        precisions=entry.facts.precisions,
        reconstruction=entry.facts.reconstruction,
    )
    return Network(
        name=card.name,
        facts=facts,
        arrays=arrays if card.architecture == "sesr" else None,
        module=lambda: _loaded(path)[0],
    )


def _from_checkpoint(path: Path) -> Network:
    model, card = _loaded(path)
    return _from_module(model, card.name)


def _loaded(path: Path) -> tuple[nn.Module, Card]:
    from vernier.zoo.checkpoints import load_model

    return load_model(path)


def _from_module(module: nn.Module, name: str | None = None) -> Network:
    from vernier.models.layers import Model
    from vernier.models.sesr import SESR

    scale, colour = getattr(module, "scale", None), getattr(module, "colour", None)
    kind = type(module).__name__
    if not isinstance(scale, int) or colour not in ("luma", "rgb"):
        raise InputError(
            f"{kind} cannot upscale pictures: it needs the attributes scale (an integer) "
            'and colour ("luma" or "rgb")'
        )
    # A copy: engines move it between devices, and its owner may train on.
    copy = deepcopy(module).eval()
    entry = family_entry(copy.architecture) if isinstance(copy, Model) else None
    arrays = None
    if isinstance(copy, SESR):
        copy = copy.deploy()
        arrays = {key: tensor.detach().cpu().numpy() for key, tensor in copy.state_dict().items()}
    facts = Facts(
        scale=scale,
        colour=colour,
        channels=1 if colour == "luma" else 3,
        size_multiple=getattr(module, "size_multiple", 1),
        receptive_radius=getattr(module, "receptive_radius", None),
        precisions=entry.facts.precisions if entry else {},
        reconstruction=entry.facts.reconstruction if entry else None,
    )
    return Network(name=name or kind, facts=facts, arrays=arrays, module=lambda: copy)


def _measured_activation_bytes(module: nn.Module, channels: int) -> float:
    """Four times the largest output of any layer: what a residual network holds at once."""
    import torch

    side, largest = 32, 0

    def note(_: nn.Module, __: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, torch.Tensor):
            largest = max(largest, output.numel() * output.element_size())

    hooks = [layer.register_forward_hook(note) for layer in module.modules()]
    try:
        with torch.inference_mode():
            parameter = next(module.parameters(), torch.empty(0))
            module(torch.zeros(1, channels, side, side).to(parameter))
    finally:
        for hook in hooks:
            hook.remove()
    return 4.0 * largest / side**2
