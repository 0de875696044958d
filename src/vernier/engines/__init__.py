"""What executes a trained network: OpenVINO on CPUs, torch everywhere."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vernier.errors import InputError
from vernier.zoo.networks import Network

__all__ = ["Engine", "EngineName", "Precision", "create_engine"]

EngineName = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "fp32", "bf16"]


class Engine(Protocol):
    """Pixels in, pixels out; colour conversion and rounding happen inside.

    Attributes:
        name: "torch" or "openvino", with the device where it is not the CPU.
    """

    name: str

    def run(self, pixels: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Upscale (H, W, C) to (H * scale, W * scale, C).

        Args:
            pixels: uint8, uint16, or float32 in [0, 1]; C is 1 (gray), 2 (gray and alpha),
                3 (RGB) or 4 (RGB and alpha); any size from 1x1.
            dtype: of the result, one of the same; values keep their meaning between black and
                white, are clipped there and rounded to nearest (ties to even) if integer.
        """
        ...

    def precision(self, dtype: np.dtype[Any]) -> Literal["fp32", "bf16"]:
        """What the network is computed in, for pixels of this type."""
        ...

    def bytes_per_pixel(self, channels: int) -> float:
        """Memory that running one LR pixel takes at the worst moment, an upper estimate."""
        ...


def create_engine(
    network: Network, engine: EngineName, precision: Precision, device: str | None
) -> Engine:
    """The engine by name; "auto" is OpenVINO on the CPU, torch on any other device.

    Args:
        network: what to execute.
        engine: "openvino" and "torch" insist.
        precision: "auto" is bf16 where that is faster and measured harmless, else fp32.
        device: a torch device; None is the CPU, or, for a network that needs torch anyway, a
            CUDA device if there is one.

    Raises:
        InputError: unknown engine, precision or device, or they do not go together.
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
    if engine == "auto" and network.arrays is None and device is None:
        import torch

        on_cpu = not torch.cuda.is_available()
        device = "cpu" if on_cpu else "cuda"
    if engine == "openvino" or (engine == "auto" and on_cpu and find_spec("openvino")):
        from vernier.engines.openvino.conversion import ConversionError
        from vernier.upscaling.pixels.openvino import OpenVINOEngine

        try:
            return OpenVINOEngine(network, precision)
        except ConversionError:
            if engine == "openvino":
                raise
    from vernier.upscaling.pixels.pytorch import TorchEngine

    return TorchEngine(network, precision, device or "cpu")
