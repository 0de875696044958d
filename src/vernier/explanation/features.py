"""What a network computes on the way: feature maps after each group, and their blocking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vernier.devices import memory_errors
from vernier.errors import InputError
from vernier.imaging import to_colour
from vernier.models.frozen import frozen_twin

__all__ = ["FeatureMap", "blocking", "feature_maps"]


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """The output of one module.

    Attributes:
        name: of the module, as in ``named_modules``.
        values: (C, h, w), at the LR size or a multiple of it.
    """

    name: str
    values: Tensor

    @property
    def strength(self) -> Tensor:
        """(h, w) in [0, 1]: mean size over channels, from the 1st to the 99th percentile."""
        size = self.values.float().abs().mean(0)
        low, high = (size.flatten().kthvalue(_rank(size.numel(), q)).values for q in (0.01, 0.99))
        return ((size - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)


def _rank(count: int, fraction: float) -> int:
    return min(max(round(count * fraction), 1), count)


def feature_maps(
    model: nn.Module, lr: Tensor, modules: Sequence[str] | None = None
) -> list[FeatureMap]:
    """Run the model on one picture and keep what some of its modules put out.

    Args:
        model: with the attribute ``colour``. A twin of it runs in eval mode, which shares its
            weights; the model itself is not touched.
        lr: (C, h, w) in [0, 1], gray or RGB.
        modules: names as in ``named_modules``; None takes the groups (blocks) of the body: the
            entries of the model's first ModuleList.

    Returns:
        In the order they ran. What the network pads at the lower and right edge is cut off.

    Raises:
        InputError: not a model of pictures, an unknown name, a module that did not run, or an
            output that is no map.
        MemoryError: the memory does not suffice for the picture.
    """
    twin = frozen_twin(model)
    named = dict(twin.named_modules())
    wanted = _groups(model) if modules is None else list(modules)
    for name in wanted:
        if name not in named:
            raise InputError(f"{type(model).__name__} has no module {name!r}")
    colour = getattr(model, "colour", None)
    if colour not in ("luma", "rgb"):
        raise InputError(
            f'{type(model).__name__} needs the attribute colour, "luma" or "rgb", to be shown'
        )
    outputs: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            outputs[name] = output

        return keep

    for name in wanted:
        named[name].register_forward_hook(keeper(name))
    like = next(model.parameters(), lr)
    lr = to_colour(lr, colour)
    with memory_errors(), torch.no_grad():
        twin(lr[None].to(like))
    if missing := [name for name in wanted if name not in outputs]:
        raise InputError(f"{missing[0]} did not run in {type(model).__name__}")
    multiple = int(getattr(model, "size_multiple", 1))
    return [
        FeatureMap(name, _as_map(name, output, (lr.shape[-2], lr.shape[-1]), multiple))
        for name, output in outputs.items()
    ]


def blocking(values: Tensor, window_size: int) -> float:
    """How much more a feature map jumps across the window grid than elsewhere; 1 is no blocking.

    The mean absolute difference of neighbours on either side of a window border, divided by that
    of all other neighbours, both directions together.

    Args:
        values: (C, h, w); windows start at the upper left pixel.
        window_size: their side, in pixels of the map.

    Raises:
        InputError: windows of one pixel, or no border inside the map.
    """
    if window_size < 2 or max(values.shape[-2:]) <= window_size:
        raise InputError(
            f"no border of windows of {window_size} pixels lies inside "
            f"{values.shape[-1]}x{values.shape[-2]}"
        )
    across, within = [], []
    for dim in (-2, -1):
        jumps = values.double().diff(dim=dim).abs().movedim(dim, 0).flatten(1)
        at_border = torch.arange(1, len(jumps) + 1) % window_size == 0
        across.append(jumps[at_border].flatten())
        within.append(jumps[~at_border].flatten())
    return (torch.cat(across).mean() / torch.cat(within).mean().clamp_min(1e-12)).item()


def _groups(model: nn.Module) -> list[str]:
    for name, child in model.named_children():
        if isinstance(child, nn.ModuleList):
            return [f"{name}.{i}" for i in range(len(child))]
    raise InputError(f"{type(model).__name__} has no list of groups: name the modules to show")


def _as_map(name: str, output: object, size: tuple[int, int], multiple: int) -> Tensor:
    """(C, h, w) of what a module put out: channels first, channels last or tokens."""
    padded = tuple(-(-length // multiple) * multiple for length in size)
    if isinstance(output, Tensor) and len(output) == 1:
        height, width = size
        for rows, columns in dict.fromkeys((padded, size)):
            if output.ndim == 4 and output.shape[-2:] == (rows, columns):
                return output[0, :, :height, :width].cpu()
            if output.ndim == 4 and output.shape[1:3] == (rows, columns):
                return output[0].movedim(-1, 0)[:, :height, :width].cpu()
            if output.ndim == 3 and output.shape[1] == rows * columns:
                tokens = output[0].T.reshape(-1, rows, columns)
                return tokens[:, :height, :width].cpu()
    kind = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise InputError(f"{name} puts out {kind}, no map of {size[1]}x{size[0]} pixels")
