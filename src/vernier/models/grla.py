"""GRLA: window attention and Gaussian RBF linear attention in turn, densely connected.

"GRLA: Bridging Softmax and Linear Attention via Gaussian RBF Kernel for Lightweight Image
Super-Resolution" (OpenReview qS3LTUrncS). No code of the authors is public. This is the
reconstruction whose parameters agree with every count in the paper; its backbone is that of DCTLSA
(see `vernier.models.dctlsa`), with every second attention replaced.

    f0 = 3x3(lr),  x = f0
    m times:  B_i = MPB(x),  x = fuse(f0, B_1, ..., B_i)
    lr -> ... -> 3x3(last(B_1, ..., B_m)) + f0 -> 3x3 -> depth to space

An MPB (the paper's block) normalises its features and runs sub-blocks, each of them

    x += LFE(x)        local features: BN, 1x1, depthwise 3x3, BN, 1x1
    x += attention(x)  in windows (softmax) or over the whole picture (linear)
    x += FFN(x)        C -> 2C, GELU, 2C -> C

Where the paper does not say, there is an argument; the defaults are in its docstring.

Features are kept as (B, H, W, C): projections and norms then read them as they lie, convolutions as
channels-last pictures, and only windows are ever copied into another order.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vernier.models.layers import SRModel, pad_to_multiple, window_merge, window_partition
from vernier.models.linear_attention import GRBFAttention, Heads, KeyPrior, LinearAttention

__all__ = ["GRLA", "MPB", "Attention", "LocalFeatures", "SubBlock", "WindowAttention"]

Attention = Literal["window", "shifted", "grbf", "efficient", "relu", "taylor"]


class LocalFeatures(nn.Module):
    """LFE: BN, 1x1, depthwise 3x3 with zero padding, BN, 1x1, without biases and skip.

    Deployed, the norms are inside the 1x1 convolutions, which have biases then. That is exact at
    the borders too: the padding follows the first norm's convolution in both forms.
    """

    def __init__(self, channels: int, *, deployed: bool = False) -> None:
        super().__init__()
        self.norm_in = nn.Identity() if deployed else nn.BatchNorm2d(channels)
        self.expand = nn.Conv2d(channels, channels, 1, bias=deployed)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm_out = nn.Identity() if deployed else nn.BatchNorm2d(channels)
        self.project = nn.Conv2d(channels, channels, 1, bias=deployed)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        y: Tensor = self.depthwise(self.expand(self.norm_in(x.permute(0, 3, 1, 2))))
        y = self.project(self.norm_out(y))
        return y.permute(0, 2, 3, 1)

    @torch.no_grad()
    def deploy(self) -> LocalFeatures:
        """A copy with the norms folded, detached."""
        folded = LocalFeatures(self.depthwise.in_channels, deployed=True)
        folded.depthwise.load_state_dict(self.depthwise.state_dict())
        pairs = [
            (folded.expand, self.expand, self.norm_in),
            (folded.project, self.project, self.norm_out),
        ]
        for target, conv, norm in pairs:
            assert target.bias is not None
            if isinstance(norm, nn.BatchNorm2d):
                slope, offset = _affine(norm)
                weight = conv.weight.double().flatten(1)
                target.weight.copy_((weight * slope)[..., None, None])
                target.bias.copy_(weight @ offset)
            else:
                target.load_state_dict(conv.state_dict())
        return folded.to(self.expand.weight.device)


class WindowAttention(nn.Module):
    """Softmax attention inside windows, without bias or mask.

    Args:
        channels, num_heads: C and the heads it is split into.
        window_size: side of the windows; height and width must be multiples of it.
    """

    def __init__(self, *, channels: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.heads = Heads(channels, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        """(windows, window_size**2, C) -> the same."""
        return self.heads.merge(F.scaled_dot_product_attention(*self.heads.split(x)))


class SubBlock(nn.Module):
    """LFE, attention, feed-forward, each with its skip.

    Args:
        channels: C.
        attention: the module that attends, on (B, N, C).
        shift: pixels by which the picture is rolled around LFE and attention; half a window in the
            shifted sub-blocks of DCTLSA. Pixels that meet at the seam do attend to each other.
        feedforward_ratio: inner width of the feed-forward part, in C.
    """

    def __init__(
        self,
        channels: int,
        attention: WindowAttention | GRBFAttention | LinearAttention,
        *,
        shift: int,
        feedforward_ratio: int,
    ) -> None:
        super().__init__()
        self.shift = shift
        self.local = LocalFeatures(channels)
        self.attention = attention
        self.feedforward = nn.Sequential(
            nn.Linear(channels, feedforward_ratio * channels),
            nn.GELU(),
            nn.Linear(feedforward_ratio * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = self.attend(x + self.local(x))
        if self.shift:
            x = torch.roll(x, (self.shift, self.shift), (1, 2))
        return x

    def attend(self, x: Tensor) -> Tensor:
        """What follows the LFE. The feed-forward part sees pixels singly: any order will do."""
        batch, height, width, channels = x.shape
        if isinstance(self.attention, WindowAttention):
            side = self.attention.window_size
            windows = window_partition(x, side)
            windows = self.feed_forward(windows + self.attention(windows))
            return window_merge(windows, side, height, width)
        tokens = x.flatten(1, 2)
        tokens = self.feed_forward(tokens + self.attention(tokens))
        return tokens.view(batch, height, width, channels)

    def feed_forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same."""
        y: Tensor = x + self.feedforward(x)
        return y


class MPB(nn.Module):
    """Normalise, run the sub-blocks; on features padded by reflection to whole windows.

    Args:
        channels: C.
        sub_blocks: what runs, in this order.
        norms: layer norms, evenly spread before the sub-blocks; no skip leads around them.
        window_size: what height and width are padded to a multiple of.
    """

    def __init__(
        self, channels: int, sub_blocks: Sequence[SubBlock], *, norms: int, window_size: int
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(norms))
        self.sub_blocks = nn.ModuleList(sub_blocks)

    def stages(self) -> list[tuple[nn.Module | None, SubBlock]]:
        """The sub-blocks in turn, each with the norm before it, if there is one."""
        every = len(self.sub_blocks) // max(len(self.norms), 1)
        stages: list[tuple[nn.Module | None, SubBlock]] = []
        for i, block in enumerate(self.sub_blocks):
            assert isinstance(block, SubBlock)
            norm = self.norms[i // every] if len(self.norms) and i % every == 0 else None
            stages.append((norm, block))
        return stages

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, channels last in memory."""
        _, _, height, width = x.shape
        x = pad_to_multiple(x, self.window_size).permute(0, 2, 3, 1).contiguous()
        for norm, block in self.stages():
            x = block(x if norm is None else norm(x))
        return x[:, :height, :width].permute(0, 3, 1, 2)


class GRLA(SRModel):
    """The network; see the module's text. The defaults are the paper's network, as reconstructed.

    Args:
        scale: upscaling factor.
        num_features: C.
        num_blocks: m, the number of MPBs.
        num_heads: heads of every attention (5: the paper's figures fit 11 channels a head, not the
            55 of its text).
        window_size: side of the windows.
        attention: the sub-blocks of an MPB: "window", "shifted" (windows rolled by half their
            side), "grbf", or an ablation: "efficient", "relu", "taylor". Not in the paper: that
            there are four follows from its counts, their order is a choice.
        norms_per_block: layer norms in an MPB; 1 fits the paper's counts, DCTLSA has 2.
        aggregation: fuse the head's features and those of all MPBs so far before the next MPB.
        fusion_slope: of the leaky ReLU after the 1x1 fusions, 1 for none (DCTLSA: 0.05).
        feedforward_ratio: inner width of the feed-forward parts, in C.
        coefficient, order, key_prior, normalise: of the "grbf" sub-blocks, see `GRBFAttention`.
        colour: "rgb" in the paper, or "luma".
        input_skip: add the LR pixel to each of its output phases, as SESR does; not in the paper,
            and worth a good part of a short training.

    Raises:
        ValueError: a value that is not offered, or first order outside its safe range.
    """

    architecture = "grla"

    def __init__(
        self,
        *,
        scale: int,
        num_features: int = 55,
        num_blocks: int = 6,
        num_heads: int = 5,
        window_size: int = 16,
        attention: Sequence[Attention] = ("window", "grbf", "window", "grbf"),
        norms_per_block: int = 1,
        aggregation: bool = True,
        fusion_slope: float = 0.05,
        feedforward_ratio: int = 2,
        coefficient: float = 0.5,
        order: Literal[1, 2] = 1,
        key_prior: KeyPrior = "none",
        normalise: bool = True,
        colour: Literal["luma", "rgb"] = "rgb",
        input_skip: bool = False,
    ) -> None:
        super().__init__()
        sizes = (scale, num_features, num_blocks, window_size, feedforward_ratio)
        if min(sizes) < 1:
            raise ValueError(
                "scale, num_features, num_blocks, window_size and feedforward_ratio must be at "
                "least 1"
            )
        if colour not in ("luma", "rgb"):
            raise ValueError(f"colour must be 'luma' or 'rgb', got {colour!r}")
        if isinstance(attention, str) or not attention:
            raise ValueError(f"attention must be a list of kinds, got {attention!r}")
        if norms_per_block < 0 or (norms_per_block and len(attention) % norms_per_block):
            raise ValueError(
                f"{norms_per_block} norms cannot be spread over {len(attention)} sub-blocks"
            )
        self.scale = scale
        self.colour = colour
        self.channels = 1 if colour == "luma" else 3
        self.size_multiple = window_size
        self._config: dict[str, Any] = {
            "num_features": num_features,
            "num_blocks": num_blocks,
            "num_heads": num_heads,
            "window_size": window_size,
            "attention": list(attention),
            "norms_per_block": norms_per_block,
            "aggregation": aggregation,
            "fusion_slope": fusion_slope,
            "feedforward_ratio": feedforward_ratio,
            "coefficient": coefficient,
            "order": order,
            "key_prior": key_prior,
            "normalise": normalise,
            "colour": colour,
            "input_skip": input_skip,
        }
        self.aggregation = aggregation
        self.input_skip = input_skip

        def attend(kind: Attention) -> WindowAttention | GRBFAttention | LinearAttention:
            if kind in ("window", "shifted"):
                return WindowAttention(
                    channels=num_features, num_heads=num_heads, window_size=window_size
                )
            if kind == "grbf":
                return GRBFAttention(
                    channels=num_features,
                    num_heads=num_heads,
                    coefficient=coefficient,
                    order=order,
                    key_prior=key_prior,
                    normalise=normalise,
                )
            if kind in ("efficient", "relu", "taylor"):
                return LinearAttention(channels=num_features, num_heads=num_heads, kernel=kind)
            raise ValueError(f"attention must be of {', '.join(get_args(Attention))}, got {kind!r}")

        def block() -> MPB:
            sub_blocks = [
                SubBlock(
                    num_features,
                    attend(kind),
                    shift=window_size // 2 if kind == "shifted" else 0,
                    feedforward_ratio=feedforward_ratio,
                )
                for kind in attention
            ]
            return MPB(num_features, sub_blocks, norms=norms_per_block, window_size=window_size)

        def fusion(inputs: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(inputs * num_features, num_features, 1), nn.LeakyReLU(fusion_slope)
            )

        self.head = nn.Conv2d(self.channels, num_features, 3, padding=1)
        self.blocks = nn.ModuleList(block() for _ in range(num_blocks))
        self.fusions = nn.ModuleList(fusion(i + 1) for i in range(1, num_blocks) if aggregation)
        self.last = fusion(num_blocks)
        self.body_end = nn.Conv2d(num_features, num_features, 3, padding=1)
        self.tail = nn.Conv2d(num_features, self.channels * scale**2, 3, padding=1)

    @property
    def config(self) -> dict[str, Any]:
        return copy.deepcopy(self._config)

    @property
    def deployed(self) -> bool:
        return not any(isinstance(module, nn.BatchNorm2d) for module in self.modules())

    def deploy(self) -> Self:
        """A copy whose batch norms are inside the 1x1 convolutions; same function in eval mode."""
        return self._with_local_features(LocalFeatures.deploy)

    def skeleton(self) -> Self:
        return self._with_local_features(
            lambda local: LocalFeatures(local.depthwise.in_channels, deployed=True)
        )

    def forward(self, lr: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, C, scale H, scale W), not clipped."""
        head = self.head(lr.contiguous(memory_format=torch.channels_last))
        x, dense = head, [head]
        for i, block in enumerate(self.blocks):
            x = block(x)
            dense.append(x)
            if i < len(self.fusions):
                x = self.fusions[i](torch.cat(dense, 1))
        x = self.body_end(self.last(torch.cat(dense[1:], 1))) + head
        x = self.tail(x)
        if self.input_skip:
            x = x + lr.repeat_interleave(self.scale**2, 1)
        return F.pixel_shuffle(x, self.scale)

    def _with_local_features(self, replace: Any) -> Self:
        network = copy.deepcopy(self)
        for block in network.modules():
            if isinstance(block, SubBlock):
                block.local = replace(block.local).train(block.training)
        return network


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Slope and offset per channel of a batch norm in eval mode, in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    slope = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)
    return slope, norm.bias.double() - norm.running_mean.double() * slope
