"""Engines that take pictures: pixels in, pixels out, the network inside."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vernier.engines import EngineName, Precision, check_threads, choose_engine, create_engine
from vernier.zoo.networks import Network

__all__ = ["PixelEngine", "create_pixel_engine"]


class PixelEngine(Protocol):
    """Pixels in, pixels out; colour conversion and rounding happen inside.

    Any number of threads may run one at the same time; each gets the result of its own picture.

    Attributes:
        name: "torch" or "openvino", with the device where it is not the CPU.
        device: the torch device that computes; "cpu" for OpenVINO.
        note: what should be known of it, for people; "" for nothing.
    """

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def note(self) -> str: ...

    def run(self, pixels: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Upscale (H, W, C) to (H * scale, W * scale, C).

        Args:
            pixels: uint8, uint16, or float32 in [0, 1]; C is 1 (gray), 2 (gray and alpha),
                3 (RGB) or 4 (RGB and alpha); any size from 1x1.
            dtype: of the result, one of the same; values keep their meaning between black and
                white, are clipped there and rounded to nearest (ties to even) if integer.

        Raises:
            MemoryError: the memory does not suffice; smaller pictures can be run after that.
        """
        ...

    def precision(self, dtype: np.dtype[Any]) -> Literal["fp32", "bf16"]:
        """What the network is computed in, for pixels of this type."""
        ...

    def bytes_per_pixel(self, channels: int) -> float:
        """Memory that running one LR pixel takes at the worst moment, an upper estimate."""
        ...


def create_pixel_engine(
    network: Network,
    engine: EngineName,
    precision: Precision,
    device: str | None,
    threads: int | None = None,
) -> PixelEngine:
    """The engine for pictures; the arguments are those of `vernier.engines.create_engine`.

    Args:
        precision: "auto" is bf16 for 8-bit pictures where that is faster and measured harmless
            (below 0.01 dB), else fp32.

    Raises:
        InputError: as `vernier.engines.create_engine`.
    """
    check_threads(threads)
    kind, _ = choose_engine(network, engine, precision, device)
    if kind == "openvino" and network.arrays is not None:
        from vernier.upscaling.pixels.openvino import FusedSESR

        return FusedSESR(network, precision, threads)
    made = create_engine(network, engine, precision, device, threads)
    if made.name == "openvino":
        import openvino as ov

        from vernier.engines.openvino.engine import OpenVINOEngine, computes_bf16
        from vernier.upscaling.pixels.openvino import BesidePixelGraph

        assert isinstance(made, OpenVINOEngine)
        for_bytes = None
        if precision == "auto" and network.facts.is_harmless("bf16") and computes_bf16(ov.Core()):
            for_bytes = made.in_precision("bf16")
        return BesidePixelGraph(network.facts, made, for_bytes, threads, made.note)
    from vernier.engines.pytorch import TorchEngine
    from vernier.upscaling.pixels.pytorch import TorchPixels

    assert isinstance(made, TorchEngine)
    return TorchPixels(made)
