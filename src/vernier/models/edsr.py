"""EDSR: residual blocks without normalisation; the convolutional yardstick.

Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR Workshops
2017 (arXiv 1707.02921). The baseline model has 16 blocks of 64 channels.

    lr - mean -> 3x3 -> m x [x + 3x3(relu(3x3(x)))] -> 3x3 -> + head -> upscale -> 3x3 -> + mean

Upscaling is a 3x3 convolution to s^2 times the channels and depth to space, for x4 twice by 2.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from vernier.models.layers import SRModel

__all__ = ["EDSR", "ResidualBlock"]

# Of DIV2K's pictures, as the authors subtract it.
_RGB_MEAN = (0.4488, 0.4371, 0.4040)


class ResidualBlock(nn.Module):
    """x + 3x3(relu(3x3(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        y: Tensor = x + self.second(self.first(x).relu())
        return y


class EDSR(SRModel):
    """EDSR on RGB.

    Args:
        scale: 2, 3 or 4 (powers of two and 3 work).
        num_blocks: m, the residual blocks.
        num_features: their width.
    """

    architecture = "edsr"
    channels = 3
    colour: Literal["rgb"] = "rgb"

    def __init__(self, *, scale: int, num_blocks: int = 16, num_features: int = 64) -> None:
        super().__init__()
        if min(num_blocks, num_features) < 1:
            raise ValueError("num_blocks and num_features must be at least 1")
        if scale != 3 and (scale < 2 or scale & (scale - 1)):
            raise ValueError(f"scale must be 3 or a power of two, got {scale}")
        self.scale = scale
        self.num_blocks = num_blocks
        self.num_features = num_features
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(_RGB_MEAN).view(1, 3, 1, 1), persistent=False)
        self.head = nn.Conv2d(3, num_features, 3, padding=1)
        self.body = nn.Sequential(
            *(ResidualBlock(num_features) for _ in range(num_blocks)),
            nn.Conv2d(num_features, num_features, 3, padding=1),
        )
        steps = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
        upscale: list[nn.Module] = []
        for step in steps:
            upscale += [
                nn.Conv2d(num_features, step**2 * num_features, 3, padding=1),
                nn.PixelShuffle(step),
            ]
        self.tail = nn.Sequential(*upscale, nn.Conv2d(num_features, 3, 3, padding=1))

    @property
    def config(self) -> dict[str, Any]:
        return {"num_blocks": self.num_blocks, "num_features": self.num_features}

    @property
    def receptive_radius(self) -> int:
        """LR pixels on each side that an output pixel depends on."""
        # Head, two convolutions a block, the body's last; the tail sees at most two more, since
        # its second upscaling step and last convolution look half a pixel further or less each.
        return 1 + 2 * self.num_blocks + 1 + 2

    def forward(self, lr: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 3, scale H, scale W), not clipped."""
        head = self.head(lr - self.mean)
        hr: Tensor = self.tail(self.body(head) + head) + self.mean
        return hr
