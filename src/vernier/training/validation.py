"""Validation pictures, measured as the benchmarks are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vernier.data.pictures import read_uint8
from vernier.data.training_set import Colour, to_colour
from vernier.errors import InputError
from vernier.imaging import imresize_uint8
from vernier.metrics import psnr

__all__ = ["ValidationSet", "hold_out"]


def hold_out(paths: Sequence[Path], count: int) -> tuple[list[Path], list[Path]]:
    """Split into training and validation: ``count`` pictures, evenly spread over the sorted list.

    Raises:
        InputError: nothing would be left to train on.
    """
    if count >= len(paths):
        raise InputError(f"data.hold_out {count} leaves none of {len(paths)} pictures to train on")
    ordered = sorted(paths)
    kept = {int((i + 0.5) * len(ordered) / count) for i in range(count)}
    train = [path for i, path in enumerate(ordered) if i not in kept]
    return train, [path for i, path in enumerate(ordered) if i in kept]


@dataclass(frozen=True)
class _Pair:
    name: str
    lr: Tensor  # (C, H, W) in [0, 1], from 8 bits to 8 bits as MATLAB makes it
    hr: Tensor  # (C, sH, sW) in [0, 1]


class ValidationSet:
    """HR pictures with their benchmark LR, in the model's colour, in memory."""

    def __init__(self, paths: Sequence[Path], *, scale: int, colour: Colour) -> None:
        self.scale = scale
        self.pairs: list[_Pair] = []
        for path in paths:
            picture = read_uint8(path)
            rows, columns = (side // scale * scale for side in picture.shape[-2:])
            picture = picture[:, :rows, :columns]
            lr = imresize_uint8(picture, 1 / scale)
            self.pairs.append(
                _Pair(
                    path.name,
                    to_colour(lr.float() / 255, colour),
                    to_colour(picture.float() / 255, colour),
                )
            )

    @torch.inference_mode()
    def psnr(
        self, model: nn.Module, *, device: torch.device, part: slice = slice(None)
    ) -> list[float]:
        """PSNR in dB of each picture in ``part``, by the papers' protocol."""
        return [
            float(psnr(self.upscale(model, pair.lr, device), pair.hr, crop=self.scale))
            for pair in self.pairs[part]
        ]

    @torch.inference_mode()
    def upscale(self, model: nn.Module, lr: Tensor, device: torch.device) -> Tensor:
        """(C, H, W) -> (C, sH, sW) on the CPU."""
        batch = lr[None].to(device, memory_format=torch.channels_last)
        hr: Tensor = model(batch)[0].cpu()
        return hr
