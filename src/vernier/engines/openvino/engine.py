"""OpenVINO on the CPU: the fast path."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from threading import Lock
from typing import Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from vernier.devices import memory_errors
from vernier.engines.network import cropped, executable, joined
from vernier.engines.openvino.conversion import Converted, convert
from vernier.engines.openvino.execution import activation_bytes, compile_network
from vernier.engines.openvino.sesr import sesr_graph
from vernier.zoo.networks import Network

__all__ = ["OpenVINOEngine", "computes_bf16", "new_core"]


def new_core(threads: int | None = None) -> ov.Core:
    """OpenVINO's core, whose networks are computed by so many threads; None = all cores."""
    core = ov.Core()
    if threads is not None:
        core.set_property("CPU", {"INFERENCE_NUM_THREADS": threads})
    return core


def computes_bf16(core: ov.Core) -> bool:
    """Whether this CPU has instructions for bfloat16."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVINOEngine:
    """A network as an OpenVINO graph, tuned for latency.

    A SESR that is given by its arrays is built from them; any other module is traced by torch. An
    `vernier.engines.Engine`: any number of threads may run it. They take turns, each on all cores,
    so that the memory is that of one.

    Args:
        network: what to execute.
        precision: "bf16" computes the layers before the reconstruction in bfloat16.
        threads: that compute; None = as many as there are cores.

    Raises:
        ConversionError: the network cannot be converted.
        MemoryError: the memory does not suffice for the conversion.
    """

    name = "openvino"
    device = "cpu"

    def __init__(
        self,
        network: Network,
        precision: Literal["fp32", "bf16"] = "fp32",
        threads: int | None = None,
    ) -> None:
        self.precision = precision
        self.facts = facts = network.facts
        self._core = new_core(threads)
        self._arrays = network.arrays
        self._converted: Converted | None = None
        self.note = ""
        features = network.activation_bytes()
        if self._arrays is None:
            with memory_errors():
                self._converted = convert(network, executable(network), self._core)
            graph = self._converted.graph
            self.note = self._converted.note
            features = max(features, activation_bytes(graph, facts.size_multiple))
        enlarged = 1 if facts.colour == "cube" else facts.scale**2
        # The maps that go in, and the result as it is computed and as it is handed out.
        maps = facts.channels + facts.guide_channels + 2 * facts.channels * enlarged
        self.bytes_per_pixel = features + 4.0 * maps
        self._run: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None
        # One graph is compiled at a time.
        self._lock = Lock()

    def in_precision(self, precision: Literal["fp32", "bf16"]) -> OpenVINOEngine:
        """The same network in another precision, without another conversion."""
        other = copy(self)
        other.precision, other._run = precision, None
        return other

    def run(self, *maps: NDArray[np.float32]) -> NDArray[np.float32]:
        with memory_errors():
            x = np.ascontiguousarray(joined(self.facts, maps))
            with self._lock:
                if self._run is None:
                    self._run = self._compile()
            return cropped(self.facts, self._run(x), maps[0].shape)

    def _compile(self) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        facts = self.facts
        if self._converted is None:
            assert self._arrays is not None
            # In bfloat16 is what the graph itself declares to be.
            graph = sesr_graph(self._arrays, facts.scale, bf16=self.precision == "bf16")
            return compile_network(Converted(graph), self._core, "fp32")
        return compile_network(
            self._converted, self._core, self.precision, facts.reconstruction, facts.size_multiple
        )
