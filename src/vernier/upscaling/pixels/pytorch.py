"""Torch: any module, any device; the reference for the other engines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Conv2d

from vernier.devices import find_device
from vernier.imaging.bicubic import peak_value, to_pixels
from vernier.upscaling.pixels.compose import CARRY_RADIUS, composition
from vernier.zoo.networks import Network

__all__ = ["TorchEngine"]


class TorchEngine:
    """Eager torch, channels last, float32 unless bf16 is asked for.

    Args:
        network: what to execute.
        precision: "bf16" runs the module under autocast; "auto" is fp32.
        device: any torch device.

    Raises:
        InputError: see `vernier.devices.find_device`.
    """

    def __init__(
        self, network: Network, precision: Literal["auto", "fp32", "bf16"], device: str
    ) -> None:
        self._device = find_device(device)
        module = network.module().to(self._device)
        self.name = "torch" if device == "cpu" else f"torch {device}"
        # torch's stubs know this argument for tensors only.
        self._module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = network
        self._bf16 = precision == "bf16"

    def precision(self, dtype: np.dtype[Any]) -> Literal["fp32", "bf16"]:
        return "bf16" if self._bf16 else "fp32"

    def bytes_per_pixel(self, channels: int) -> float:
        # The carried picture, the network's output, their sum, and its copy in numpy.
        pictures = 4 * 4 * channels * self._network.facts.scale**2
        return self._network.activation_bytes() + self._unfolded_bytes() + pictures

    def _unfolded_bytes(self) -> float:
        """What oneDNN may take, with several threads, to turn a layer into a matrix product."""
        if self._device.type != "cpu" or torch.get_num_threads() == 1:
            return 0.0
        kernels = [m.weight[0].numel() for m in self._module.modules() if isinstance(m, Conv2d)]
        return 4.0 * max(kernels, default=0)

    @torch.inference_mode()
    def run(self, pixels: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        channels, scale = pixels.shape[2], self._network.facts.scale
        mix = composition(channels, self._network.facts.colour, scale)
        image = self._tensor(pixels)
        lr = self._matrix(mix.input_matrix, mix.input_offset, image)
        with (
            _memory_errors(),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16),
        ):
            hr = self._module(lr.contiguous(memory_format=torch.channels_last)).float()
        result = self._matrix(mix.output_matrix, mix.output_offset, hr)
        if mix.carry is not None:
            edge = ((CARRY_RADIUS, CARRY_RADIUS), (CARRY_RADIUS, CARRY_RADIUS), (0, 0))
            mirrored = self._tensor(np.pad(pixels, edge, mode="symmetric"))
            kernel = torch.from_numpy(mix.carry).to(self._device).flatten(0, 2)
            result += F.pixel_shuffle(F.conv2d(mirrored, kernel), scale)
        values = result[0].permute(1, 2, 0).cpu().numpy()
        return to_pixels(values, dtype)

    def _tensor(self, pixels: NDArray[Any]) -> Tensor:
        """(H, W, C) pixels -> (1, C, H, W) float32 in [0, 1]."""
        values = pixels.astype(np.float32) / np.float32(peak_value(pixels.dtype))
        return torch.from_numpy(values).to(self._device).permute(2, 0, 1).unsqueeze(0)

    def _matrix(
        self, matrix: NDArray[np.float32], offset: NDArray[np.float32], image: Tensor
    ) -> Tensor:
        """Mix the channels of (1, C, H, W)."""
        weight = torch.from_numpy(matrix).to(self._device)[:, :, None, None]
        return F.conv2d(image, weight, torch.from_numpy(offset).to(self._device))


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Torch's two ways of running out of memory, as Python's own: the caller takes smaller tiles.

    Every other error passes.
    """
    try:
        yield
    except RuntimeError as error:
        refused = "can't allocate memory" in str(error)
        if not (refused or isinstance(error, torch.OutOfMemoryError)):
            raise
        raise MemoryError(str(error).splitlines()[0]) from error
