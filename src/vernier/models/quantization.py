"""SESR for 8-bit hardware: quantisation-aware training with learnable ranges.

Bhardwaj et al., MLSys 2022, section 5.6, as their implementation computes it: the collapsed kernels
and every activation pass through a differentiable fake quantiser, so that training feels the 8-bit
grid; the ends of each range are parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vernier.models.sesr import SESR, CollapsibleConv2d

__all__ = ["FakeQuantizer", "QuantSESR", "fake_quantize"]


def fake_quantize(x: Tensor, low: Tensor, high: Tensor, *, narrow_range: bool = False) -> Tensor:
    """Round ``x`` to the 8-bit grid that spans [low, high], and stay in floating point.

    The grid is shifted to contain 0 exactly; a range that does not reach 0 moves there, its width
    kept. Gradients pass the rounding straight through; ``low`` and ``high`` learn from what they
    clip and from the rounding error. A value exactly on a bound counts as inside.

    Args:
        x: any shape.
        low, high: broadcastable to ``x``, low < high.
        narrow_range: 255 levels instead of 256, symmetric around 0 for symmetric ranges.
    """
    lowest_level, highest_level = (1.0 if narrow_range else 0.0), 255.0
    step = (high - low) / (highest_level - lowest_level)
    # Rounding has no gradient here, so the two ends of a range move against each other only.
    zero_point = torch.round(lowest_level - low / step).clamp(lowest_level, highest_level).detach()
    first, last = (lowest_level - zero_point) * step, (highest_level - zero_point) * step
    clipped = torch.where(x > last, last, torch.where(x < first, first, x))
    position = (clipped - first) / step + 0.5
    level = position + (torch.floor(position) - position).detach()
    return level * step + first


class FakeQuantizer(nn.Module):
    """`fake_quantize` with its own range, which the first tensor it sees initialises.

    Args:
        channels: one symmetric, narrow range per output channel of a kernel (C_out, C_in, k, k),
            from -max|k| to max|k|; None: one range for a whole activation, from its minimum to its
            maximum.
    """

    low: Tensor
    high: Tensor
    initialised: Tensor

    def __init__(self, channels: int | None = None) -> None:
        super().__init__()
        shape = () if channels is None else (channels, 1, 1, 1)
        self.per_channel = channels is not None
        self.low = nn.Parameter(torch.zeros(shape))
        self.high = nn.Parameter(torch.zeros(shape))
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        if not self.initialised:
            self._initialise(x.detach())
        return fake_quantize(x, self.low, self.high, narrow_range=self.per_channel)

    @torch.no_grad()
    def _initialise(self, x: Tensor) -> None:
        if self.per_channel:
            self.high.copy_(x.abs().amax(dim=(1, 2, 3), keepdim=True))
            self.low.copy_(-self.high)
        else:
            self.low.copy_(x.min())
            self.high.copy_(x.max())
        self.initialised.fill_(True)


class QuantSESR(nn.Module):
    """SESR on an 8-bit grid: wraps a network, trainable or deployed, with ReLU activations.

    Quantised are the kernels (short residual included), the input, the sums of both long residuals
    and the output of every block. The first forward call sets the ranges, so it should see typical
    training pictures.

    Raises:
        ValueError: the network's activation is not "relu".
    """

    channels = 1
    size_multiple = 1

    def __init__(self, network: SESR) -> None:
        super().__init__()
        if network.activation != "relu":
            raise ValueError(f"8-bit SESR uses activation='relu', not {network.activation!r}")
        self.network = network
        self.scale = network.scale
        f, m = network.num_features, network.num_blocks
        self.quantize_kernels = nn.ModuleList(
            [*(FakeQuantizer(f) for _ in range(m + 1)), FakeQuantizer(network.scale**2)]
        )
        self.quantize_input = FakeQuantizer()
        self.quantize_first = FakeQuantizer()
        self.quantize_body = nn.ModuleList(FakeQuantizer() for _ in range(m))
        self.quantize_sum = FakeQuantizer()
        self.quantize_last = FakeQuantizer()
        self.quantize_output = FakeQuantizer()

    @property
    def receptive_radius(self) -> int:
        """LR pixels on each side that an output pixel depends on."""
        return self.network.receptive_radius

    def forward(self, lr: Tensor) -> Tensor:
        """(B, 1, H, W) luma in [0, 1] -> (B, 1, scale H, scale W) luma, clipped to [0, 1]."""
        network = self.network
        kernels = iter(self.quantize_kernels)
        lr = self.quantize_input(lr)
        first = self.quantize_first(_convolve(network.first, lr - 0.5, next(kernels)))
        features = first
        for block, activation, quantize in zip(
            network.body, network.activations, self.quantize_body, strict=True
        ):
            features = quantize(activation(_convolve(block, features, next(kernels))))
        features = self.quantize_sum(features + first)
        phases = self.quantize_last(_convolve(network.last, features, next(kernels)))
        return F.pixel_shuffle(self.quantize_output(phases + lr), self.scale).clamp(0, 1)

    @torch.no_grad()
    def to_sesr(self) -> SESR:
        """The deployed network whose kernels lie on the learned grid, activations in float."""
        sesr = self.network.deploy()
        for conv, quantize in zip(sesr.blocks(), self.quantize_kernels, strict=True):
            assert isinstance(conv, nn.Conv2d)
            conv.weight.copy_(quantize(conv.weight))
        return sesr


def _convolve(block: nn.Module, x: Tensor, quantize_kernel: nn.Module) -> Tensor:
    if isinstance(block, CollapsibleConv2d):
        kernel, bias = block.collapse()
    else:
        assert isinstance(block, nn.Conv2d)
        kernel, bias = block.weight, block.bias
    # Channels last, a sum runs over rows, columns, then channels, as in the authors' framework:
    # ranges measured on it are then theirs to the last bit (x86 from AVX2 on).
    return F.conv2d(
        x.contiguous(memory_format=torch.channels_last),
        quantize_kernel(kernel).contiguous(memory_format=torch.channels_last),
        bias,
        padding=kernel.shape[-1] // 2,
    )
