"""GRLA as one writes it down from the paper's formulas, one operation after the other.

Pictures channels first, tokens where attention wants them, every window's weights written out,
batch norms on their own. It computes the same function from the same state dict as
`vernier.models.grla.GRLA` with the default structure, and is what speeds are compared with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TextbookGRLA"]


class TextbookGRLA:
    """A callable, (B, 3, H, W) -> (B, 3, scale H, scale W).

    Args:
        state: of a GRLA in training form, with batch norms.
        scale, num_blocks, num_heads, window_size, attention, coefficient: as the network's; of
            ``attention`` "window" and "grbf" (first order, without prior) are known.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        *,
        scale: int,
        num_blocks: int = 6,
        num_heads: int = 5,
        window_size: int = 16,
        attention: Sequence[str] = ("window", "grbf", "window", "grbf"),
        coefficient: float = 0.5,
    ) -> None:
        self.state = dict(state)
        self.scale = scale
        self.num_blocks = num_blocks
        self.num_heads = num_heads
        self.window_size = window_size
        self.attention = tuple(attention)
        self.coefficient = coefficient

    def __call__(self, lr: Tensor) -> Tensor:
        head = self._conv("head", lr, padding=1)
        features, outputs = head, [head]
        for i in range(self.num_blocks):
            features = self._block(f"blocks.{i}.0", features)
            outputs.append(features)
            if i < self.num_blocks - 1:
                features = self._fuse(f"fusions.{i}", outputs)
        features = self._fuse("last", outputs[1:])
        features = self._conv("body_end", features, padding=1) + head
        return F.pixel_shuffle(self._conv("tail", features, padding=1), self.scale)

    def _fuse(self, name: str, outputs: list[Tensor]) -> Tensor:
        return F.leaky_relu(self._conv(f"{name}.0", torch.cat(outputs, dim=1)), 0.05)

    def _block(self, name: str, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        x = F.pad(x, (0, -width % self.window_size, 0, -height % self.window_size), mode="reflect")
        size = x.shape[-2:]
        tokens = x.flatten(2).transpose(1, 2)
        weight, bias = self.state[f"{name}.norm.weight"], self.state[f"{name}.norm.bias"]
        tokens = F.layer_norm(tokens, (channels,), weight, bias)
        for i, kind in enumerate(self.attention):
            sub = f"{name}.sub_blocks.{i}"
            x = tokens.transpose(1, 2).reshape(batch, channels, *size)
            x = x + self._local(f"{sub}.local", x)
            if kind == "window":
                x = x + self._window_attention(f"{sub}.attention.heads", x)
                tokens = x.flatten(2).transpose(1, 2)
            else:
                tokens = x.flatten(2).transpose(1, 2)
                tokens = tokens + self._linear_attention(f"{sub}.attention.heads", tokens)
            inner = F.gelu(self._linear(f"{sub}.feedforward.0", tokens))
            tokens = tokens + self._linear(f"{sub}.feedforward.2", inner)
        x = tokens.transpose(1, 2).reshape(batch, channels, *size)
        return x[..., :height, :width]

    def _local(self, name: str, x: Tensor) -> Tensor:
        x = self._conv(f"{name}.expand", self._batch_norm(f"{name}.norm_in", x))
        x = self._conv(f"{name}.depthwise", x, padding=1, groups=x.shape[1])
        return self._conv(f"{name}.project", self._batch_norm(f"{name}.norm_out", x))

    def _window_attention(self, name: str, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        s = self.window_size
        x = x.view(batch, channels, height // s, s, width // s, s)
        windows = x.permute(0, 2, 4, 3, 5, 1).reshape(-1, s * s, channels)
        q, k, v = self._split(self._linear(f"{name}.qkv", windows))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        windows = self._linear(f"{name}.proj", self._join(weights @ v))
        x = windows.view(batch, height // s, width // s, s, s, channels)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, height, width)

    def _linear_attention(self, name: str, tokens: Tensor) -> Tensor:
        q, k, v = self._split(self._linear(f"{name}.qkv", tokens))
        q, k = (x / torch.sqrt((x**2).sum(dim=-1, keepdim=True) + 1e-6) for x in (q, k))
        double_gamma = 2 * self.coefficient / math.sqrt(q.shape[-1])
        numerator = v.sum(dim=-2, keepdim=True) + double_gamma * (q @ (k.transpose(-1, -2) @ v))
        sums = k.sum(dim=-2, keepdim=True)
        denominator = k.shape[-2] + double_gamma * (q @ sums.transpose(-1, -2))
        return self._linear(f"{name}.proj", self._join(numerator / denominator))

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, tokens, _ = qkv.shape
        qkv = qkv.reshape(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        return qkv[0], qkv[1], qkv[2]

    def _join(self, heads: Tensor) -> Tensor:
        return heads.transpose(1, 2).flatten(2)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def _conv(self, name: str, x: Tensor, *, padding: int = 0, groups: int = 1) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state.get(f"{name}.bias")
        return F.conv2d(x, weight, bias, padding=padding, groups=groups)

    def _batch_norm(self, name: str, x: Tensor) -> Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self.state[f"{name}.{each}"] for each in names))
