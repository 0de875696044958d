"""Torch: any module, any device; the reference for the other engines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from threading import Lock
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vernier.devices import ForkGuard, find_device, memory_errors
from vernier.engines.network import cropped, executable, joined
from vernier.zoo.networks import Network

__all__ = ["TorchEngine"]

# Engines with a number of their own take turns.
_NUMBER = Lock()
_TORCH = ForkGuard("torch")


class TorchEngine:
    """Eager torch, for pictures channels last, float32 unless bf16 is asked for.

    An `vernier.engines.Engine`: any number of threads may run it.

    Args:
        network: what to execute.
        precision: "bf16" runs the module under autocast.
        device: any torch device.
        threads: that compute on the CPU; None leaves torch's own number.

    Raises:
        InputError: see `vernier.devices.find_device`.
        MemoryError: the network does not fit into the memory.
    """

    def __init__(
        self,
        network: Network,
        precision: Literal["fp32", "bf16"] = "fp32",
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self._target = find_device(device)
        self.device = device
        self.name = "torch" if device == "cpu" else f"torch {device}"
        self.precision = precision
        self._threads = threads
        self.facts = network.facts
        self._channels_last = network.facts.colour != "cube"
        with memory_errors():
            features = network.activation_bytes()
            module = executable(network)
            if self._target.type != "cpu":
                # The network's own stays where it is, for other engines.
                module = deepcopy(module).to(self._target)
            if self._channels_last:
                # torch's stubs know this argument for tensors only.
                module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._module = module
        facts = network.facts
        enlarged = 1 if facts.colour == "cube" else facts.scale**2
        # The maps that go in, and the result as it is computed and as it is handed out.
        maps = facts.channels + facts.guide_channels + 2 * facts.channels * enlarged
        self.bytes_per_pixel = features + self._unfolded_bytes() + 4.0 * maps

    def run(self, *maps: NDArray[np.float32]) -> NDArray[np.float32]:
        with memory_errors():
            x = torch.from_numpy(np.ascontiguousarray(joined(self.facts, maps)))
            result = self.run_tensor(x.to(self._target)).cpu().numpy()
            return cropped(self.facts, result, maps[0].shape)

    @torch.inference_mode()
    def run_tensor(self, x: Tensor) -> Tensor:
        """The same for one float32 map on the engine's device, where the result stays.

        Args:
            x: (1, C, H, W); of a cube joined with its guide, the sides whole multiples of the
                network's.

        Raises:
            MemoryError: as `run`.
            InputError: the process was forked after torch had computed with several threads.
        """
        self.enter()
        with (
            memory_errors(),
            _threads(self._threads),
            torch.autocast(self._target.type, torch.bfloat16, enabled=self.precision == "bf16"),
        ):
            if self._channels_last:
                x = x.contiguous(memory_format=torch.channels_last)
            result: Tensor = self._module(x).float()
        return result

    def enter(self) -> None:
        """Call before torch computes on the CPU, where `run_tensor` is not the first to do so.

        Raises:
            InputError: the process was forked after torch had computed with several threads.
        """
        if self._target.type == "cpu" and (self._threads or torch.get_num_threads()) > 1:
            _TORCH.enter()

    def _unfolded_bytes(self) -> float:
        """What oneDNN may take, with several threads, to turn a layer into a matrix product."""
        if self._target.type != "cpu" or (self._threads or torch.get_num_threads()) == 1:
            return 0.0
        layers = (m for m in self._module.modules() if isinstance(m, nn.Conv2d))
        return 4.0 * max((layer.weight[0].numel() for layer in layers), default=0)


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Let torch compute with so many threads; it knows the number for the whole process only."""
    if number is None:
        yield
        return
    with _NUMBER:
        before = torch.get_num_threads()
        torch.set_num_threads(number)
        try:
            yield
        finally:
            torch.set_num_threads(before)
