"""What executes a trained network: OpenVINO on CPUs, torch everywhere.

Engines know networks only: float maps go in and come out. What makes maps of the pixels of a
picture, of a cube with its guide or of the frames of a film stands above them.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vernier.errors import InputError
from vernier.zoo.networks import Network

__all__ = ["Engine", "EngineName", "Precision", "check_threads", "choose_engine", "create_engine"]

EngineName = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "fp32", "bf16"]


class Engine(Protocol):
    """A network that is ready to run.

    Any number of threads may run one engine at the same time; each gets the result of its own maps.

    Attributes:
        name: "torch" or "openvino", with the device where it is not the CPU.
        device: the torch device that holds the maps while they are computed; "cpu" for OpenVINO.
        precision: what the network is computed in.
        bytes_per_pixel: memory that running takes at the worst moment for each pixel of the maps
            that go in, an upper estimate.
    """

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def precision(self) -> Literal["fp32", "bf16"]: ...

    @property
    def bytes_per_pixel(self) -> float: ...

    def run(self, *maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network once.

        Args:
            maps: for a picture one map (1, channels, H, W), values in [0, 1]; for a cube two, the
                cube brought to the guide's size (1, bands, H, W) and the guide (1, guide channels,
                H, W). Any size from 1x1.

        Returns:
            For a picture (1, channels, H * scale, W * scale); for a cube (1, bands, H, W), what is
            to be added to the upsampled cube. An array of its own, nothing is clipped.

        Raises:
            MemoryError: the memory of the host or of the device does not suffice; the engine can
                be run again, with smaller maps.
        """
        ...


def create_engine(
    network: Network,
    engine: EngineName,
    precision: Precision,
    device: str | None,
    threads: int | None = None,
) -> Engine:
    """The engine by name; "auto" is OpenVINO on the CPU, torch on any other device.

    Args:
        network: what to execute, for pictures or for cubes.
        engine: "openvino" and "torch" insist; "auto" goes to torch where OpenVINO cannot convert.
        precision: of the network; "auto" is fp32, for maps are as exact as float32.
        device: a torch device; None is the CPU, or, for a picture's network that needs torch
            anyway, a CUDA device if there is one.
        threads: that compute on the CPU; None leaves it to the engine, which takes all cores.

    Raises:
        InputError: unknown engine, precision or device, or they do not go together.
    """
    check_threads(threads)
    kind, device = choose_engine(network, engine, precision, device)
    precision = "bf16" if precision == "bf16" else "fp32"
    if kind == "openvino":
        from vernier.engines.openvino.conversion import ConversionError
        from vernier.engines.openvino.engine import OpenVINOEngine

        try:
            return OpenVINOEngine(network, precision, threads)
        except ConversionError:
            if engine == "openvino":
                raise
    from vernier.engines.pytorch import TorchEngine

    return TorchEngine(network, precision, device, threads)


def choose_engine(
    network: Network, engine: EngineName, precision: Precision, device: str | None
) -> tuple[Literal["torch", "openvino"], str]:
    """Which engine `create_engine` tries first, and on which torch device; the arguments are its.

    Raises:
        InputError: as `create_engine`, but for devices that torch does not find.
    """
    if engine not in ("auto", "torch", "openvino"):
        raise InputError(f"unknown engine {engine!r}; known: auto, torch, openvino")
    if precision not in ("auto", "fp32", "bf16"):
        raise InputError(f"unknown precision {precision!r}; known: auto, fp32, bf16")
    on_cpu = device in (None, "cpu")
    if engine == "openvino" and not on_cpu:
        raise InputError(f"the OpenVINO engine runs on the CPU, not on {device!r}: use torch")
    if engine == "openvino" and not find_spec("openvino"):
        raise InputError("the OpenVINO engine needs the package openvino: pip install openvino")
    if engine == "auto" and device is None and _needs_torch(network):
        import torch

        on_cpu = not torch.cuda.is_available()
        device = "cpu" if on_cpu else "cuda"
    if engine == "openvino" or (engine == "auto" and on_cpu and find_spec("openvino")):
        return "openvino", "cpu"
    return "torch", device or "cpu"


def check_threads(threads: int | None) -> None:
    """Refuse what is no number of threads.

    Raises:
        InputError: it is no whole number, or below 1.
    """
    if threads is None:
        return
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InputError(f"threads must be a whole number from 1, not {threads!r}")


def _needs_torch(network: Network) -> bool:
    return network.arrays is None and network.facts.colour != "cube"
