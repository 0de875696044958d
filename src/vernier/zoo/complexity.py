"""True costs of a model, counted by running it without data (torch's meta device)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

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
        macs_without_attention: what papers print that count with thop: products of two feature
            maps, which attention consists of, are left out; batch and layer norms count 4 for each
            element, also where the deployed form has none, and a softmax 3.
        activations: numbers that convolutions put out, as the NTIRE challenges count.
    """

    parameters: int
    kernel_parameters: int
    macs: int
    macs_without_attention: int
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
    counter = _count(network, lr_size)
    published = counter
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        published = _count(copy.deepcopy(model).to("meta").eval(), lr_size)
    return Complexity(
        parameters=sum(p.numel() for p in network.parameters()),
        kernel_parameters=sum(p.numel() for p in network.parameters() if p.ndim > 1),
        macs=counter.macs,
        macs_without_attention=published.macs_without_attention,
        activations=counter.activations,
    )


def summary(model: nn.Module, lr_size: tuple[int, int]) -> list[Layer]:
    """Layer by layer, in the order they are declared; the sums are those of `complexity`."""
    network = _on_meta(model)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*_inputs(network, lr_size))
    root = type(network).__name__
    macs = {
        # A product and a sum are two operations in torch's count.
        name.removeprefix(root).removeprefix("."): sum(by_operator.values()) // 2
        for name, by_operator in counter.get_flop_counts().items()
        if name == root or name.startswith(f"{root}.")
    }
    return list(_layers("", network, macs))


def _on_meta(model: nn.Module) -> nn.Module:
    deploy = getattr(model, "deploy", None)
    with next(model.parameters(), torch.empty(0)).device:
        network: nn.Module = copy.deepcopy(model) if deploy is None else deploy()
    return network.to("meta").eval()


def _inputs(network: nn.Module, lr_size: tuple[int, int]) -> list[Tensor]:
    height, width = lr_size
    sizes = [(int(getattr(network, "channels")), height, width)]  # noqa: B009
    if isinstance(network, FusionModel):
        sizes.append((network.guide_channels, network.scale * height, network.scale * width))
    dtype = next(network.parameters(), torch.empty(0)).dtype
    return [torch.empty(1, *size, dtype=dtype, device="meta") for size in sizes]


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator and counts; several times faster than torch's counter by module."""

    _BY_ELEMENT: Mapping[Any, int] = MappingProxyType(
        {
            torch.ops.aten._native_batch_norm_legit_no_training: 4,
            torch.ops.aten.native_batch_norm: 4,
            torch.ops.aten.native_layer_norm: 4,
            torch.ops.aten._softmax: 3,
            torch.ops.aten._safe_softmax: 3,
        }
    )

    # What these put out is as their first argument. On the meta device torch derives that in
    # Python, which takes longer than all the rest of the counting.
    _LIKE_FIRST = frozenset(
        {
            torch.ops.aten._safe_softmax,
            torch.ops.aten._softmax,
            torch.ops.aten.gelu,
            torch.ops.aten.leaky_relu,
            torch.ops.aten.relu,
            torch.ops.aten.sigmoid,
        }
    )
    _LIKE_FIRST_IF_ALIKE = frozenset(
        {torch.ops.aten.add, torch.ops.aten.div, torch.ops.aten.mul, torch.ops.aten.sub}
    )

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # A weight is recognised in all its views.
        self._weights = {_storage(weight) for weight in network.parameters()}
        self.macs = 0
        self.macs_without_attention = 0
        self.activations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        operator = func._overloadpacket
        out = self._shape(operator, args)
        if out is None:
            out = func(*args, **kwargs)
        if operator in self._BY_ELEMENT:
            self.macs_without_attention += self._BY_ELEMENT[operator] * args[0].numel()
        elif operator in flop_registry:
            # A product and a sum are two operations in torch's count.
            macs = flop_registry[operator](*args, **kwargs, out_val=out) // 2
            self.macs += macs
            tensors = [each for each in args if isinstance(each, Tensor)]
            convolution = operator is torch.ops.aten.convolution
            if convolution or any(_storage(each) in self._weights for each in tensors):
                self.macs_without_attention += macs
            if convolution:
                self.activations += out.numel()
        return out

    def _shape(self, operator: Any, args: Sequence[Any]) -> Any:
        """An empty result, where it is plain what it is like."""
        if operator in self._LIKE_FIRST:
            return torch.empty_like(args[0])
        if operator in self._LIKE_FIRST_IF_ALIKE and args[0].is_floating_point():
            other = args[1]
            if not isinstance(other, Tensor):
                return torch.empty_like(args[0]) if isinstance(other, float) else None
            alike = (other.shape, other.dtype) == (args[0].shape, args[0].dtype)
            return torch.empty_like(args[0]) if alike else None
        if operator is torch.ops.aten.addmm:
            return args[1].new_empty(args[1].shape[0], args[2].shape[1])
        if operator is torch.ops.aten.native_layer_norm:
            x, normalised = args[:2]
            statistics = x.new_empty(*x.shape[: -len(normalised)], *(1 for _ in normalised))
            return torch.empty_like(x), statistics, statistics
        return None


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _count(network: nn.Module, lr_size: tuple[int, int]) -> _Counter:
    counter = _Counter(network)
    with torch.no_grad(), counter:
        network(*_inputs(network, lr_size))
    return counter


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
