"""GRLA in sequence: the form of an early re-implementation, on luma.

Each block runs a convolution, window attention and linear attention one after the other and adds
its input; nothing is densely connected, and the tail is as wide as half of the network:

    lr -> 3x3 -> m x [x + linear(window(conv(x)))] -> 1x1 -> 3x3 -> + head
       -> 3x3 to s^2 C -> depth to space -> 3x3

It differs from `vernier.models.grla`, which is what the paper's counts describe, also in its kernel
(`elementwise_attention`, one head), its zero padding and the place of its norms. It is here to load
such weights and to compare with.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vernier.models.edsr import ResidualBlock
from vernier.models.grla import FoldedNorms, LocalFeatures, WindowAttention
from vernier.models.layers import window_merge, window_partition
from vernier.models.linear_attention import Heads, elementwise_attention

__all__ = ["FeedForward", "GRLASeq", "LinearSubBlock", "SequentialBlock", "WindowSubBlock"]


class FeedForward(nn.Module):
    """x + C -> ratio C, GELU, ratio C -> C, after a layer norm if asked for."""

    def __init__(self, channels: int, ratio: int, *, layer_norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels) if layer_norm else nn.Identity()
        self.expand = nn.Linear(channels, ratio * channels)
        self.project = nn.Linear(ratio * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same."""
        y: Tensor = x + self.project(F.gelu(self.expand(self.norm(x))))
        return y


class WindowSubBlock(nn.Module):
    """Local features, softmax attention in windows, feed-forward, each with its skip.

    Args:
        channels, num_heads: C and the heads it is split into.
        window_size: side of the windows; a picture that is no multiple of it is padded by zeros.
        batch_norm: in the local features.
        layer_norm: before the attention and before the feed-forward part.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        window_size: int,
        feedforward_ratio: int,
        batch_norm: bool,
        layer_norm: bool,
    ) -> None:
        super().__init__()
        self.local = LocalFeatures(channels, bias=True, batch_norm=batch_norm)
        self.norm = nn.LayerNorm(channels) if layer_norm else nn.Identity()
        self.attention = WindowAttention(
            channels=channels, num_heads=num_heads, window_size=window_size
        )
        self.feedforward = FeedForward(channels, feedforward_ratio, layer_norm=layer_norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        _, height, width, _ = x.shape
        side = self.attention.window_size
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        _, padded_height, padded_width, _ = x.shape
        windows = window_partition(x + self.local(x), side)
        windows = self.feedforward(windows + self.attention(self.norm(windows)))
        merged = window_merge(windows, side, padded_height, padded_width)
        return merged[:, :height, :width]


class LinearSubBlock(nn.Module):
    """Local features, elementwise linear attention over all pixels, feed-forward; with skips.

    Args:
        channels, num_heads: C and the heads it is split into.
        batch_norm: in the local features.
        layer_norm: before the feed-forward part.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        feedforward_ratio: int,
        batch_norm: bool,
        layer_norm: bool,
    ) -> None:
        super().__init__()
        self.local = LocalFeatures(channels, bias=True, batch_norm=batch_norm)
        self.heads = Heads(channels, num_heads, qkv_bias=False)
        self.feedforward = FeedForward(channels, feedforward_ratio, layer_norm=layer_norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        x = x + self.local(x)
        tokens = x.flatten(1, 2)
        tokens = tokens + self.heads.merge(elementwise_attention(*self.heads.split(tokens)))
        y: Tensor = self.feedforward(tokens)
        return y.view(x.shape)


class SequentialBlock(nn.Module):
    """x + linear(window(conv(x))); ``conv`` is 1x1, or an EDSR residual block."""

    def __init__(
        self,
        channels: int,
        convolution: Literal["pointwise", "residual"],
        window: WindowSubBlock,
        linear: LinearSubBlock,
    ) -> None:
        super().__init__()
        self.conv = (
            nn.Conv2d(channels, channels, 1)
            if convolution == "pointwise"
            else ResidualBlock(channels)
        )
        self.window = window
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        y: Tensor = self.linear(self.window(self.conv(x).permute(0, 2, 3, 1)))
        return x + y.permute(0, 3, 1, 2)


class GRLASeq(FoldedNorms):
    """The network; see the module's text.

    Args:
        scale: upscaling factor.
        num_features: C.
        num_blocks: m.
        num_heads: heads of the window attention.
        linear_heads: heads of the linear attention.
        window_size: side of the windows.
        feedforward_ratio: inner width of the feed-forward parts, in C.
        batch_norm: norms in the local features.
        layer_norm: norms before attention and feed-forward parts.
        convolution: what a block begins with: "pointwise" (1x1), or "residual", EDSR's block.

    Raises:
        ValueError: sizes below 1, heads that do not divide C, or an unknown convolution.
    """

    architecture = "grla-seq"
    channels = 1
    colour: Literal["luma"] = "luma"

    def __init__(
        self,
        *,
        scale: int,
        num_features: int = 55,
        num_blocks: int = 6,
        num_heads: int = 5,
        linear_heads: int = 1,
        window_size: int = 8,
        feedforward_ratio: int = 2,
        batch_norm: bool = True,
        layer_norm: bool = False,
        convolution: Literal["pointwise", "residual"] = "pointwise",
    ) -> None:
        super().__init__()
        if min(scale, num_features, num_blocks, window_size, feedforward_ratio) < 1:
            raise ValueError(
                "scale, num_features, num_blocks, window_size and feedforward_ratio must be at "
                "least 1"
            )
        if convolution not in ("pointwise", "residual"):
            raise ValueError(f"convolution must be 'pointwise' or 'residual', got {convolution!r}")
        self.scale = scale
        self.size_multiple = window_size
        self._config: dict[str, Any] = {
            "num_features": num_features,
            "num_blocks": num_blocks,
            "num_heads": num_heads,
            "linear_heads": linear_heads,
            "window_size": window_size,
            "feedforward_ratio": feedforward_ratio,
            "batch_norm": batch_norm,
            "layer_norm": layer_norm,
            "convolution": convolution,
        }

        def block() -> SequentialBlock:
            return SequentialBlock(
                num_features,
                convolution,
                WindowSubBlock(
                    num_features,
                    num_heads,
                    window_size=window_size,
                    feedforward_ratio=feedforward_ratio,
                    batch_norm=batch_norm,
                    layer_norm=layer_norm,
                ),
                LinearSubBlock(
                    num_features,
                    linear_heads,
                    feedforward_ratio=feedforward_ratio,
                    batch_norm=batch_norm,
                    layer_norm=layer_norm,
                ),
            )

        self.head = nn.Conv2d(1, num_features, 3, padding=1)
        self.blocks = nn.Sequential(*(block() for _ in range(num_blocks)))
        self.fuse = nn.Conv2d(num_features, num_features, 1)
        self.body_end = nn.Conv2d(num_features, num_features, 3, padding=1)
        self.expand = nn.Conv2d(num_features, num_features * scale**2, 3, padding=1)
        self.tail = nn.Conv2d(num_features, 1, 3, padding=1)

    @property
    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def forward(self, lr: Tensor) -> Tensor:
        """(B, 1, H, W) luma in [0, 1] -> (B, 1, scale H, scale W), not clipped."""
        head = self.head(lr.contiguous(memory_format=torch.channels_last))
        x = self.body_end(self.fuse(self.blocks(head))) + head
        hr: Tensor = self.tail(F.pixel_shuffle(self.expand(x), self.scale))
        return hr
