"""From a name, a file or a module to a network that an engine can run: the one road.

Torch is imported only to build a module, or to read anything but a SESR.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from numpy.typing import NDArray

from vernier.errors import InputError
from vernier.zoo.cards import (
    Card,
    available_scales,
    embedded_card,
    read_shipped,
    shipped_weights,
    weight_file,
)
from vernier.zoo.facts import Facts
from vernier.zoo.own import parse_own
from vernier.zoo.registry import facts_of, is_count, list_models
from vernier.zoo.weight_files import check_config, check_shapes, parse_arrays, read_by_kind

if TYPE_CHECKING:
    from torch import nn

    from vernier.models.layers import FusionModel

__all__ = ["Network", "find_network", "networks_of"]


@dataclass(frozen=True)
class Network:
    """A trained network, not yet on an engine.

    Attributes:
        name: for messages.
        facts: what is known of it.
        arrays: the deployed arrays by name when it is a SESR, which needs no torch, else None.
        module: the torch module, deployed and in eval mode (imports torch); always the same one.
        card: of its weights; None = it was given as a module.
    """

    name: str
    facts: Facts
    arrays: Mapping[str, NDArray[Any]] | None
    module: Callable[[], nn.Module]
    card: Card | None = None

    def activation_bytes(self) -> float:
        """Bytes that its feature maps take at the worst moment, in float32.

        Of a network for pictures per LR pixel, of one for cubes per pixel of the guide.
        """
        if self.arrays is not None:
            outputs, features = map(int, self.arrays["last.weight"].shape[:2])
            # The first features, those of two neighbouring layers, the sum; the output phases.
            return 4.0 * (4 * features + 2 * outputs)
        return _measured_activation_bytes(self.module(), self.facts)


def networks_of(model: str | Path | nn.Module) -> dict[int, Callable[[], Network]]:
    """How to load the networks that ``model`` offers, by scale, smallest first.

    Args:
        model: a registry name (every scale whose weights come with the package), a weight file
            (of one's own network ``package.module:Class@file``), or a module, see
            `vernier.zoo.registry.facts_of`. Of a module a copy is taken.

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
    network = _from_file(model)
    return {network.facts.scale: lambda: network}


def find_network(model: str | Path | nn.Module, scale: int | None = None) -> Network:
    """The network of one scale, as `networks_of`.

    Args:
        model: see `networks_of`.
        scale: None takes the only one there is.

    Raises:
        InputError: as `networks_of`, no network of this scale, or several and none chosen.
    """
    if isinstance(model, str) and model in list_models():
        return _shipped(model, scale)
    ((own_scale, load),) = networks_of(model).items()
    network = load()
    if scale is not None and scale != own_scale:
        raise InputError(f"{network.name} is a model for scale {own_scale}, not {scale}")
    return network


def _shipped(name: str, scale: int | None) -> Network:
    return _from_arrays(*read_shipped(name, scale), shipped_weights(name, scale))


def _from_file(source: str | Path) -> Network:
    if parse_own(source) is None:
        path = weight_file(source)
        kind, content = read_by_kind(path)
        if kind == "safetensors" and (card := embedded_card(content, path)) is not None:
            return _from_arrays(parse_arrays(content, path), card, path)
        from vernier.zoo.checkpoints import load_file

        return _from_loaded(*load_file(path, kind, content))
    from vernier.zoo.checkpoints import load_model

    return _from_loaded(*load_model(source))


def _from_arrays(arrays: dict[str, NDArray[Any]], card: Card, path: Path) -> Network:
    if card.architecture == "sesr":
        _check_sesr(arrays, card, path)

        @cache
        def module() -> nn.Module:
            from vernier.zoo.checkpoints import model_from_arrays

            return model_from_arrays(arrays, card, path)

        return Network(card.name, card.facts, arrays, module, card)
    from vernier.zoo.checkpoints import model_from_arrays

    return _from_loaded(model_from_arrays(arrays, card, path), card)


def _check_sesr(arrays: Mapping[str, NDArray[Any]], card: Card, path: Path) -> None:
    """What `vernier.zoo.checkpoints.model_from_arrays` makes sure of, without torch."""
    config = {"bias": False, "activation": "prelu", **card.config}
    shapes = {key: tuple(array.shape) for key, array in arrays.items()}
    check_config({"scale": card.scale, **config}, shapes.values(), path)
    blocks, features = config.get("num_blocks"), config.get("num_features")
    if not (is_count(blocks) and is_count(features) and config["activation"] in ("prelu", "relu")):
        raise InputError(f"{path}: its card's config is not that of a SESR")
    layers = {"first": (1, 5, features), "last": (features, 5, card.scale**2)}
    layers |= {f"body.{i}": (features, 3, features) for i in range(blocks)}
    wanted: dict[str, tuple[int, ...]] = {}
    for name, (inputs, side, outputs) in layers.items():
        wanted[f"{name}.weight"] = (outputs, inputs, side, side)
        if config["bias"]:
            wanted[f"{name}.bias"] = (outputs,)
    if config["activation"] == "prelu":
        wanted |= {f"activations.{i}.weight": (features,) for i in range(blocks)}
    check_shapes(wanted, shapes, path, "SESR")
    if card.receptive_radius != card.facts.receptive_radius:
        raise InputError(
            f"{path}: its card says receptive_radius {card.receptive_radius}, that of its network "
            f"is {card.facts.receptive_radius}"
        )


def _from_module(module: nn.Module) -> Network:
    from copy import deepcopy

    from vernier.models.layers import Model

    facts_of(module)
    # A copy: engines move it between devices, and its owner may train on.
    copy = module.deploy() if isinstance(module, Model) else deepcopy(module)
    return _from_loaded(copy.eval().requires_grad_(False), None)


def _from_loaded(module: nn.Module, card: Card | None) -> Network:
    from vernier.models.sesr import SESR

    arrays = None
    if type(module) is SESR:
        arrays = {key: tensor.detach().cpu().numpy() for key, tensor in module.state_dict().items()}
    name = type(module).__name__ if card is None else card.name
    return Network(name, facts_of(module), arrays, lambda: module, card)


def _measured_activation_bytes(module: nn.Module, facts: Facts) -> float:
    """Four times the largest output of any layer: what a residual network holds at once."""
    import torch

    largest = 0

    def note(_: nn.Module, __: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, torch.Tensor):
            largest = max(largest, output.numel() * output.element_size())

    forward, side = cast("Callable[[torch.Tensor], object]", module), 32
    if facts.colour == "cube":
        forward = cast("FusionModel", module).forward_aligned
        side = facts.size_multiple * -(-side // facts.size_multiple)
    hooks = [layer.register_forward_hook(note) for layer in module.modules()]
    try:
        with torch.inference_mode():
            parameter = next(module.parameters(), torch.empty(0))
            channels = facts.channels + facts.guide_channels
            forward(torch.zeros(1, channels, side, side).to(parameter))
    finally:
        for hook in hooks:
            hook.remove()
    return 4.0 * largest / side**2
