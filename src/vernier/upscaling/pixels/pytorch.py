"""Torch: pixel arithmetic on the device that holds the network."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vernier.devices import memory_errors
from vernier.engines.pytorch import TorchEngine
from vernier.imaging.bicubic import peak_value, to_pixels
from vernier.upscaling.pixels.compose import CARRY_RADIUS, composition

__all__ = ["TorchPixels"]


class TorchPixels:
    """A `vernier.upscaling.pixels.PixelEngine` around torch's engine: maps stay on its device.

    Args:
        engine: what runs the network.
    """

    note = ""

    def __init__(self, engine: TorchEngine) -> None:
        self.name, self.device = engine.name, engine.device
        self._engine = engine
        self._target = torch.device(engine.device)

    def precision(self, dtype: np.dtype[Any]) -> Literal["fp32", "bf16"]:
        return self._engine.precision

    def bytes_per_pixel(self, channels: int) -> float:
        # The carried picture, the network's output as colours, their sum, and its copy in numpy.
        return self._engine.bytes_per_pixel + 4 * 4 * channels * self._engine.facts.scale**2

    @torch.inference_mode()
    def run(self, pixels: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        self._engine.enter()
        channels, facts = pixels.shape[2], self._engine.facts
        mix = composition(channels, facts.colour, facts.scale)
        with memory_errors():
            image = self._tensor(pixels)
            lr = self._matrix(mix.input_matrix, mix.input_offset, image)
            hr = self._engine.run_tensor(lr)
            result = self._matrix(mix.output_matrix, mix.output_offset, hr)
            if mix.carry is not None:
                edge = ((CARRY_RADIUS, CARRY_RADIUS), (CARRY_RADIUS, CARRY_RADIUS), (0, 0))
                mirrored = self._tensor(np.pad(pixels, edge, mode="symmetric"))
                kernel = torch.from_numpy(mix.carry).to(self._target).flatten(0, 2)
                result += F.pixel_shuffle(F.conv2d(mirrored, kernel), facts.scale)
            values = result[0].permute(1, 2, 0).cpu().numpy()
            return to_pixels(values, dtype)

    def _tensor(self, pixels: NDArray[Any]) -> Tensor:
        """(H, W, C) pixels -> (1, C, H, W) float32 in [0, 1]."""
        values = pixels.astype(np.float32) / np.float32(peak_value(pixels.dtype))
        return torch.from_numpy(values).to(self._target).permute(2, 0, 1).unsqueeze(0)

    def _matrix(
        self, matrix: NDArray[np.float32], offset: NDArray[np.float32], image: Tensor
    ) -> Tensor:
        """Mix the channels of (1, C, H, W)."""
        weight = torch.from_numpy(matrix).to(self._target)[:, :, None, None]
        return F.conv2d(image, weight, torch.from_numpy(offset).to(self._target))
