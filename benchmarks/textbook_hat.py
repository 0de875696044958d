"""HAT as one writes it down from the paper: the yardstick for the network that Vernier runs.

Logits, bias, mask and softmax are tensors; windows are rolled and copied; overlapping windows are
unfolded; biases and masks are made anew in every call. It loads the same weights and computes the
same function, for whole windows: `forward` takes any size of at least half a window.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vernier.models.hat import HAT, relative_position_index

__all__ = ["TextbookHAT"]


def _windows(x: Tensor, size: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, size**2, C)."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // size, size, width // size, size, channels)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, size**2, channels)


def _picture(windows: Tensor, size: int, height: int, width: int) -> Tensor:
    """Inverse of `_windows`."""
    channels = windows.shape[-1]
    x = windows.view(-1, height // size, width // size, size, size, channels)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, height, width, channels)


def _shift_mask(height: int, width: int, size: int, shift: int) -> Tensor:
    """(windows, size**2, size**2): -100 for pixels that only the shift brought together."""
    regions = torch.zeros(1, height, width, 1)
    cuts = (slice(0, -size), slice(-size, -shift), slice(-shift, None))
    for i, rows in enumerate(cuts):
        for j, columns in enumerate(cuts):
            regions[:, rows, columns] = 3 * i + j
    of_pixel = _windows(regions, size).squeeze(-1)
    apart = of_pixel[:, None, :] != of_pixel[:, :, None]
    return torch.zeros(apart.shape).masked_fill(apart, -100.0)


class TextbookHAT:
    """The same function as ``model``, with its weights, in evaluation."""

    def __init__(self, model: HAT) -> None:
        self.scale, self.window_size, self.key_size = model.scale, model.window_size, model.key_size
        self.depths, self.num_heads = model.depths, model.num_heads
        self.conv_scale, self.img_range = model.conv_scale, model.img_range
        self.has_cab = model.compress_ratio is not None
        self.has_channel_attention = model.squeeze_factor is not None
        self.has_ocab = model.overlap_ratio is not None
        self.mean = (0.4488, 0.4371, 0.4040) if model.channels == 3 else (0.0,)
        self.weights = {key: tensor.detach() for key, tensor in model.state_dict().items()}
        size, key_size = self.window_size, self.key_size
        self.positions = relative_position_index(size, size)
        self.key_positions = relative_position_index(size, key_size)

    @torch.inference_mode()
    def __call__(self, lr: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, scale H, scale W)."""
        height, width = lr.shape[-2:]
        size = self.window_size
        x = F.pad(lr, (0, -width % size, 0, -height % size), mode="reflect")
        mean = x.new_tensor(self.mean).view(1, -1, 1, 1)
        shallow = self._conv("conv_first", (x - mean) * self.img_range)
        tokens = self._norm("patch_embed.norm", shallow.flatten(2).transpose(1, 2).contiguous())
        side = shallow.shape[-2:]
        for group, depth in enumerate(self.depths):
            name, heads = f"layers.{group}.residual_group", self.num_heads[group]
            y = tokens
            for block in range(depth):
                y = self._hab(f"{name}.blocks.{block}", y, heads, size // 2 * (block % 2), *side)
            if self.has_ocab:
                y = self._ocab(f"{name}.overlap_attn", y, heads, *side)
            y = self._conv(f"layers.{group}.conv", y.transpose(1, 2).unflatten(2, side))
            tokens = y.flatten(2).transpose(1, 2) + tokens
        tokens = self._norm("norm", tokens)
        features = (
            self._conv("conv_after_body", tokens.transpose(1, 2).unflatten(2, side)) + shallow
        )
        features = F.leaky_relu(self._conv("conv_before_upsample.0", features), 0.01)
        for i, factor in enumerate([3] if self.scale == 3 else [2] * int(math.log2(self.scale))):
            features = F.pixel_shuffle(self._conv(f"upsample.{2 * i}", features), factor)
        hr = self._conv("conv_last", features) / self.img_range + mean
        return hr[..., : height * self.scale, : width * self.scale]

    def _hab(self, name: str, x: Tensor, heads: int, shift: int, height: int, width: int) -> Tensor:
        size = self.window_size
        batch, _, channels = x.shape
        normed = self._norm(f"{name}.norm1", x).view(batch, height, width, channels)
        rolled = torch.roll(normed, (-shift, -shift), (1, 2)) if shift else normed
        mask = _shift_mask(height, width, size, shift).to(x.device) if shift else None
        windows = self._self_attention(f"{name}.attn", _windows(rolled, size), heads, mask)
        attended = _picture(windows, size, height, width)
        attended = torch.roll(attended, (shift, shift), (1, 2)) if shift else attended
        y = x + attended.reshape(x.shape)
        if self.has_cab:
            cab = self._cab(f"{name}.conv_block.cab", normed.permute(0, 3, 1, 2))
            y = y + self.conv_scale * cab.permute(0, 2, 3, 1).contiguous().view(x.shape)
        return y + self._mlp(f"{name}.mlp", self._norm(f"{name}.norm2", y))

    def _self_attention(self, name: str, x: Tensor, heads: int, mask: Tensor | None) -> Tensor:
        windows, pixels, channels = x.shape
        qkv = self._linear(f"{name}.qkv", x).view(windows, pixels, 3, heads, channels // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        logits = (q * (channels // heads) ** -0.5) @ k.transpose(-2, -1)
        logits = logits + self._bias(name, self.positions)
        if mask is not None:
            logits = logits.unflatten(0, (-1, len(mask))) + mask[None, :, None]
            logits = logits.flatten(0, 1)
        y = logits.softmax(-1) @ v
        return self._linear(f"{name}.proj", y.transpose(1, 2).reshape(x.shape))

    def _ocab(self, name: str, x: Tensor, heads: int, height: int, width: int) -> Tensor:
        size, key_size = self.window_size, self.key_size
        batch, _, channels = x.shape
        qkv = self._linear(f"{name}.qkv", self._norm(f"{name}.norm1", x))
        qkv = qkv.view(batch, height, width, 3 * channels)
        q = _windows(qkv[..., :channels], size)
        kv = F.unfold(
            qkv[..., channels:].permute(0, 3, 1, 2),
            kernel_size=key_size,
            stride=size,
            padding=(key_size - size) // 2,
        )
        # (B, k and v, C, keys, windows) -> (k and v, B * windows, keys, C)
        kv = kv.view(batch, 2, channels, key_size**2, -1).permute(1, 0, 4, 3, 2)
        k, v = kv.reshape(2, -1, key_size**2, channels)
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
        logits = (q * (channels // heads) ** -0.5) @ k.transpose(-2, -1)
        logits = logits + self._bias(name, self.key_positions)
        y = (logits.softmax(-1) @ v).transpose(1, 2).reshape(-1, size**2, channels)
        y = _picture(y, size, height, width).reshape(x.shape)
        y = x + self._linear(f"{name}.proj", y)
        return y + self._mlp(f"{name}.mlp", self._norm(f"{name}.norm2", y))

    def _cab(self, name: str, x: Tensor) -> Tensor:
        y = self._conv(f"{name}.2", F.gelu(self._conv(f"{name}.0", x)))
        if not self.has_channel_attention:
            return y
        pooled = F.relu(self._conv(f"{name}.3.attention.1", y.mean((2, 3), keepdim=True)))
        return y * self._conv(f"{name}.3.attention.3", pooled).sigmoid()

    def _mlp(self, name: str, x: Tensor) -> Tensor:
        return self._linear(f"{name}.fc2", F.gelu(self._linear(f"{name}.fc1", x)))

    def _bias(self, name: str, positions: Tensor) -> Tensor:
        table = self.weights[f"{name}.relative_position_bias_table"]
        bias = table[positions.flatten()].view(*positions.shape, -1)
        return bias.permute(2, 0, 1).contiguous()

    def _conv(self, name: str, x: Tensor) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        return F.conv2d(x, weight, self.weights[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias)
