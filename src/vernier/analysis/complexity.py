"""True costs of a model, counted by running it without data (torch's meta device)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vernier.models.layers import FusionModel

__all__ = ["Complexity", "Layer", "complexity", "summary"]


@dataclass(frozen=True)
class Complexity:
    """Exact counts for one picture.

    Attributes:
        parameters: all of them.
        kernel_parameters: without biases, activation slopes and other vectors; what the SESR paper
            counts.
        macs: multiply-accumulates of convolutions and matrix products, those of attention (which
            several papers leave out) included; not biases, activations, norms, additions.
        activations: numbers that convolutions put out, as the NTIRE challenges count.
    """

    parameters: int
    kernel_parameters: int
    macs: int
    activations: int


@dataclass(frozen=True)
class Layer:
    """One module with parameters or products of its own, those of its children excluded."""

    name: str
    kind: str
    parameters: int
    macs: int


def complexity(model: nn.Module, lr_size: tuple[int, int]) -> Complexity:
    """Cost of upscaling one picture of (height, width) LR pixels, in the deployed form.

    The model itself is not touched. Raises whatever its ``forward`` raises for this size.
    """
    network = _on_meta(model)
    macs, activations = _count(network, lr_size)
    return Complexity(
        parameters=sum(p.numel() for p in network.parameters()),
        kernel_parameters=sum(p.numel() for p in network.parameters() if p.ndim > 1),
        macs=macs[""],
        activations=activations,
    )


def summary(model: nn.Module, lr_size: tuple[int, int]) -> list[Layer]:
    """Layer by layer, in the order they are declared; the sums are those of `complexity`."""
    network = _on_meta(model)
    macs, _ = _count(network, lr_size)
    return list(_layers("", network, macs))


def _on_meta(model: nn.Module) -> nn.Module:
    deploy = getattr(model, "deploy", None)
    network: nn.Module = copy.deepcopy(model) if deploy is None else deploy()
    return network.to("meta").eval()


def _count(network: nn.Module, lr_size: tuple[int, int]) -> tuple[dict[str, int], int]:
    """Multiply-accumulates by module name, children included ("" is all), and activations."""
    activations = 0

    def add_output(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal activations
        activations += output.numel()

    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d):
            module.register_forward_hook(add_output)
    weight = next(network.parameters())
    height, width = lr_size
    sizes = [(int(getattr(network, "channels")), height, width)]  # noqa: B009
    if isinstance(network, FusionModel):
        sizes.append((network.guide_channels, network.scale * height, network.scale * width))
    inputs = [torch.empty(1, *size, dtype=weight.dtype, device="meta") for size in sizes]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*inputs)
    root = type(network).__name__
    macs = {
        # A product and a sum are two operations in torch's count.
        name.removeprefix(root).removeprefix("."): sum(by_operator.values()) // 2
        for name, by_operator in counter.get_flop_counts().items()
        if name == root or name.startswith(f"{root}.")
    }
    return macs, activations


def _layers(name: str, module: nn.Module, macs: dict[str, int]) -> Iterator[Layer]:
    children = _children(name, module)
    inside = sum(_total(child, part, macs) for child, part in children.items())
    own_macs = _total(name, module, macs) - inside
    own_parameters = sum(p.numel() for p in module.parameters(recurse=False))
    if own_macs or own_parameters:
        yield Layer(name or "(model)", type(module).__name__, own_parameters, own_macs)
    for child, part in children.items():
        yield from _layers(child, part, macs)


def _total(name: str, module: nn.Module, macs: dict[str, int]) -> int:
    if name in macs:
        return macs[name]
    # A container whose forward is never called, such as a ModuleList, is not counted by itself.
    return sum(_total(child, part, macs) for child, part in _children(name, module).items())


def _children(name: str, module: nn.Module) -> dict[str, nn.Module]:
    return {f"{name}.{child}".lstrip("."): part for child, part in module.named_children()}
