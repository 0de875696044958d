"""What networks cost when they run: seconds and memory, measured; operations, counted."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from vernier.devices import find_device
from vernier.models.layers import FusionModel, Model
from vernier.zoo.complexity import complexity

__all__ = ["Costs", "measure_costs"]

_ROUNDS = 7


@dataclass(frozen=True)
class Costs:
    """Of a network in the form that is executed, for one picture or cube of a given LR size.

    Attributes:
        parameters: all of them.
        macs: multiply-accumulates, those of attention included.
        seconds: median over rounds in which all networks take turns, torch on the device.
        memory: bytes that torch holds at most beside the weights.
    """

    parameters: int
    macs: int
    seconds: float
    memory: int


def measure_costs(
    models: Mapping[str, Model], lr_size: tuple[int, int], device: str | torch.device = "cpu"
) -> dict[str, Costs]:
    """The costs of networks, by name; they are moved to the device, in eval mode.

    They take turns: a machine that is busy for a while slows all of them alike.

    Args:
        models: the networks.
        lr_size: (height, width) of the LR picture or cube.
        device: where they run.

    Raises:
        InputError: the device cannot be used.
    """
    device = find_device(device)
    runs = {
        name: _runner(model.eval().to(device), lr_size, device) for name, model in models.items()
    }
    memory = {name: _peak_memory(run, device) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(_ROUNDS):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    costs = {}
    for name, model in models.items():
        counted = complexity(model, lr_size)
        costs[name] = Costs(
            counted.parameters, counted.macs, statistics.median(seconds[name]), memory[name]
        )
    return costs


def _runner(model: Model, lr_size: tuple[int, int], device: torch.device) -> Callable[[], None]:
    height, width = lr_size
    inputs = [torch.rand(1, model.channels, height, width, device=device)]
    if isinstance(model, FusionModel):
        sides = (model.scale * height, model.scale * width)
        inputs.append(torch.rand(1, model.guide_channels, *sides, device=device))
        inputs.append(torch.rand(1, model.channels, *sides, device=device))

    @torch.inference_mode()
    def run() -> None:
        result: Tensor = model(*inputs)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        del result

    return run


def _peak_memory(run: Callable[[], None], device: torch.device) -> int:
    """Bytes that torch holds at most during the second run, beyond what it held before."""
    run()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    # Or the profiler announces itself on stderr.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    return max(_held(profiler), default=0)


def _held(profiler: Any) -> Iterator[int]:
    """Bytes in use after each allocation and release."""
    total = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            total += event.nbytes()
            yield total
