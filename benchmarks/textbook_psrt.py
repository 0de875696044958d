"""PSRT and its kernel attention as one writes them down, one operation after the other.

Tokens stay on the map (B, H, W, C); windows are cut out and put back for every attention, the
shuffle moves pixels, all logits of the map exist at once, and kernel attention convolves the map
once per kernel and fuses the results. It computes the same function from the same parameters as
`vernier.models.psrt.PSRT`, and is what speeds are compared with.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vernier.models.kernel_attention import Switches, switches_of
from vernier.models.psrt import PSRT

__all__ = ["TextbookPSRT"]


class TextbookPSRT:
    """A callable, (B, bands + guide channels, H, W) -> (B, bands, H, W), what is added to the
    upsampled cube; sides are multiples of the network's ``size_multiple``.

    Args:
        model: without shuffle or with the aligned one; of kernel attention, variants whose kernels
            act on the map: 1, 7, 11, 16 to 20.
    """

    def __init__(self, model: PSRT) -> None:
        self.state = {key: tensor.detach() for key, tensor in model.state_dict().items()}
        self.model = model.config
        self.switches: Switches | None = None
        if model.kernel_attention is not None:
            self.switches = switches_of(model.kernel_attention, model.switches)

    def __call__(self, both: Tensor) -> Tensor:
        x = self._conv("head", both).permute(0, 2, 3, 1)
        for block in range(self.model["num_blocks"]):
            for step in range(self.model["num_steps"]):
                name = f"body.{block * self.model['num_steps'] + step}"
                x = x + self._step(name, x, self.model["window_size"] // 2**step)
        return F.leaky_relu(self._conv("tail", x.permute(0, 3, 1, 2)), 0.2)

    def _step(self, name: str, x: Tensor, window: int) -> Tensor:
        x = self._block(f"{name}.wa1", x, window)
        if self.model["shuffle"] == "aligned":
            rows, columns = (_shuffled(length, window) for length in x.shape[1:3])
            x = self._block(f"{name}.wa2", x[:, rows][:, :, columns], window)
            x = x[:, rows.argsort()][:, :, columns.argsort()]
        else:
            x = self._block(f"{name}.wa2", x, window)
        return self._block(f"{name}.wa3", x, window)

    def _block(self, name: str, x: Tensor, window: int) -> Tensor:
        y = self._norm(f"{name}.norm1", x)
        if self.switches is None:
            y = self._attend(f"{name}.attention", y, window, self.model["num_heads"])
        else:
            first, second = y.chunk(2, -1)
            first = self._attend(f"{name}.attention", first, window, self.model["num_heads"] // 2)
            second = self._convolve(f"{name}.kernel_attention", second.permute(0, 3, 1, 2))
            y = torch.cat([first, second.permute(0, 2, 3, 1)], -1)
        x = x + y
        y = F.gelu(self._linear(f"{name}.mlp.0", self._norm(f"{name}.norm2", x)))
        return x + self._linear(f"{name}.mlp.2", y)

    def _attend(self, name: str, x: Tensor, window: int, heads: int) -> Tensor:
        batch, height, width, dim = x.shape
        grid = (batch, height // window, window, width // window, window)
        windows = x.reshape(*grid, dim).transpose(2, 3).reshape(-1, window**2, dim)
        y = self._attention(name, windows, heads, self.model["logit_scale"])
        y = y.view(batch, height // window, width // window, window, window, dim)
        return y.transpose(2, 3).reshape(batch, height, width, dim)

    def _attention(self, name: str, x: Tensor, heads: int, scale: float) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = self._linear(f"{name}.qkv", x).view(batch, tokens, 3, heads, dim // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = (scale * q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self._linear(f"{name}.proj", y.transpose(1, 2).reshape(batch, tokens, dim))

    def _convolve(self, name: str, x: Tensor) -> Tensor:
        """Kernel attention of (B, C, H, W)."""
        assert self.switches is not None
        batch, channels, height, width = x.shape
        k = self.switches.kernel_size
        kernels = self._kernels(name, x)
        m = kernels.shape[1]
        y = F.conv2d(
            x.repeat(1, m, 1, 1).view(1, -1, height, width),
            kernels.reshape(-1, channels, k, k),
            padding=k // 2,
            groups=batch * m,
        )
        fusion = self.state[f"{name}.fusion.weight"][..., None, None]
        return F.conv2d(y.view(batch, -1, height, width), fusion, self.state[f"{name}.fusion.bias"])

    def _kernels(self, name: str, x: Tensor) -> Tensor:
        """All kernels of every picture, (B, m, C_out, C_in, k, k)."""
        s = self.switches
        assert s is not None
        batch, channels, height, width = x.shape
        n, k, grid = s.num_windows, s.kernel_size, math.isqrt(s.num_windows)
        windows = x.view(batch, channels, grid, height // grid, grid, width // grid)
        windows = windows.permute(0, 2, 4, 1, 3, 5).reshape(batch * n, channels, height // grid, -1)
        heads = self.model["num_heads"] // 2
        scale = (channels / heads) ** -0.5
        if s.source == "pooled":
            taps = F.adaptive_avg_pool2d(windows, k).flatten(2).transpose(1, 2)
            taps = taps.reshape(batch, n * k * k, channels)
            taps = self._attention(f"{name}.tap_attention", taps, heads, scale)
            kernels = taps.view(batch, n, k, k, channels).permute(0, 1, 4, 2, 3)
            kernels = self._squeeze(f"{name}.squeeze", kernels)
            wide = self._linear(f"{name}.expansion", kernels.permute(0, 1, 3, 4, 2))
            wide = wide.view(batch, n, k, k, channels, channels)
            return wide.permute(0, 1, 4, 5, 2, 3)
        kernels = self.state[f"{name}.bank"]
        if s.gate:
            grouped = windows.view(batch, n * channels, height // grid, -1)
            y = F.conv2d(grouped, kernels.flatten(0, 1), padding=k // 2, groups=n)
            means = y.mean((2, 3)).view(batch, n, channels)
            gates = (means * self.state[f"{name}.gate.weight"]).sum(-1)
            gates = F.gelu(
                self._linear(f"{name}.gate.widen", gates + self.state[f"{name}.gate.bias"])
            )
            gates = self._linear(f"{name}.gate.narrow", gates).sigmoid()
            kernels = kernels * gates[..., None, None, None, None]
        kernels = kernels.expand(batch, n, channels, channels, k, k)
        mixed = None
        if s.global_kernel == "raw":
            inputs = kernels.permute(0, 2, 4, 5, 1, 3).flatten(-2)
            mixed = self._linear(f"{name}.global_mix", inputs).permute(0, 1, 4, 2, 3)[:, None]
        if s.tap_attention:
            taps = kernels.permute(0, 2, 1, 4, 5, 3).reshape(-1, n * k * k, channels)
            taps = self._attention(f"{name}.tap_attention", taps, heads, scale)
            taps = taps.view(batch, channels, n, k, k, channels)
            kernels = taps.permute(0, 2, 1, 5, 3, 4)
        if s.squeeze == "shared":
            kernels = self._squeeze(f"{name}.squeeze", kernels)
        return kernels if mixed is None else torch.cat([kernels, mixed], 1)

    def _squeeze(self, name: str, kernels: Tensor) -> Tensor:
        weights = F.relu(self._linear(f"{name}.reduce", kernels.mean((-2, -1))))
        return kernels * self._linear(f"{name}.expand", weights).sigmoid()[..., None, None]

    def _conv(self, name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], padding=1)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias)


def _shuffled(length: int, window: int) -> Tensor:
    """Where the pixels of a shuffled row come from: even cells of half a window, then odd ones."""
    cells = torch.arange(length).view(-1, 2, window // 2)
    return torch.cat([cells[:, 0].flatten(), cells[:, 1].flatten()])
