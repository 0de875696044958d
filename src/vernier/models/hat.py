"""HAT: hybrid attention transformer.

Chen et al., "Activating More Pixels in Image Super-Resolution Transformer", CVPR 2023
(arXiv 2205.04437), and "HAT: Hybrid Attention Transformer for Image Restoration"
(arXiv 2309.05239).

    lr -> conv 3x3 -> RHAG x N -> LN, conv 3x3 -> + -> conv 3x3, pixel shuffle, conv 3x3 -> hr
                 '----------------------------------'

RHAG (residual hybrid attention group): HABs, one OCAB, conv 3x3, + its input.
HAB (hybrid attention block): window attention, shifted in every other block, beside a channel
attention block (CAB); then an MLP.
OCAB (overlapping cross-attention block): the queries of a window attend to the keys and values of a
larger window around it; then an MLP.

Modules and parameters bear the names of the authors' implementation.

Inside the body a picture is (B, H, W, C): what linear layers and norms want, and what convolutions
call channels last. Windows are gathered from it by one index, which also does the shift, and one
index puts them back. Of shifted windows only those at the lower and right edge hold pixels from
opposite sides of the picture; they come last, so that all others run without a mask.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vernier.models.layers import SRModel, is_recording, is_tracing, pad_to_multiple

__all__ = ["HAT", "relative_position_index"]

_MEAN_RGB = (4488, 4371, 4040)
# The width of the reconstruction, in every published variant.
_NUM_FEAT = 64
# LR pixels on each side that an output pixel depends on in the reconstruction, which has a
# convolution at every resolution, and two at the lowest.
_TAIL_RADIUS = 3
# Added to the logits of pixels that only the shift brought together.
_MASKED = -100.0
# A traced OCAB attends in so many parts: keys and values of all windows would be the most that a
# graph holds at once.
_TRACED_PARTS = 4
# Picture sizes whose windows are remembered.
_REMEMBERED = 16


def relative_position_index(window_size: int, key_size: int) -> Tensor:
    """The row of the bias table for (query, key): (window_size**2, key_size**2), int64.

    As in published checkpoints: query - key for equal sizes, counted from 0; key - query for larger
    key windows, counted from a negative number, which means rows from the table's end.
    """
    query, key = torch.arange(window_size), torch.arange(key_size)
    if key_size == window_size:
        offset = query[:, None] - key + window_size - 1
    else:
        offset = key - query[:, None] + window_size - key_size + 1
    rows, columns = offset[:, None, :, None], offset[None, :, None, :]
    index = rows * (window_size + key_size - 1) + columns
    return index.reshape(window_size**2, key_size**2)


@dataclass(frozen=True)
class _Cut:
    """A picture cut into windows that do not overlap.

    Attributes:
        run: how many neighbouring pixels of a row are never torn apart; indices count in runs.
        groups: the windows that share a mask, (windows, runs of a window), int64.
        masks: what to add to the logits of a group, (1 or windows, 1, queries, keys), or None.
        merge: for every run of the picture, its place among those of all windows.
    """

    run: int
    groups: Sequence[Tensor]
    masks: Sequence[Tensor | None]
    merge: Tensor

    def to(self, device: torch.device) -> _Cut:
        return _Cut(
            self.run,
            [group.to(device) for group in self.groups],
            [None if mask is None else mask.to(device) for mask in self.masks],
            self.merge.to(device),
        )


@dataclass(frozen=True)
class _Grid:
    """The windows of all pictures of one size.

    Attributes:
        plain, shifted: what queries and self-attention are cut into.
        keys: the overlapping windows in the zero-padded picture, (windows, runs), int64.
        key_run: the pixels of a run of ``keys``.
        positions, key_positions: rows of the bias tables for windows and for overlapping windows,
            (queries * keys,).
        windows_at_once, pixels_at_once: how many to compute at once; None = all.
    """

    plain: _Cut
    shifted: _Cut
    keys: Tensor
    key_run: int
    positions: Tensor
    key_positions: Tensor
    windows_at_once: int | None = None
    pixels_at_once: int | None = None


def _window_index(
    batch: int, height: int, width: int, size: int, stride: int, run: int, shift: int = 0
) -> Tensor:
    """Which runs of the pictures make each window: (batch, rows, columns, runs of a window)."""
    rows, columns = (height - size) // stride + 1, (width - size) // stride + 1
    y = torch.arange(rows)[:, None] * stride + torch.arange(size)
    x = torch.arange(columns)[:, None] * (stride // run) + torch.arange(size // run)
    y, x = (y + shift) % height, (x + shift // run) % (width // run)
    index = y[:, None, :, None] * (width // run) + x[None, :, None, :]
    sample = torch.arange(batch)[:, None, None, None] * (height * (width // run))
    return index.flatten(2) + sample


def _cut(batch: int, height: int, width: int, size: int, shift: int) -> _Cut:
    run = math.gcd(size, shift)
    index = _window_index(batch, height, width, size, size, run, shift)
    groups = [index]
    masks: list[Tensor | None] = [None]
    edges: list[Tensor] = []
    if shift:
        # From here on a window's pixels come from the opposite side.
        wrapped = torch.arange(size) >= size - shift
        below = wrapped[:, None].expand(size, size).flatten()
        right = wrapped[None, :].expand(size, size).flatten()
        torn = [side[:, None] != side for side in (right, below)]
        groups = [index[:, :-1, :-1], index[:, :-1, -1:], index[:, -1:, :-1], index[:, -1:, -1:]]
        torn.append(torn[0] | torn[1])
        edges = [_MASKED * t[None, None] for t in torn]
        masks = [None, *edges]
    groups = [group.flatten(0, 2) for group in groups]
    # A traced graph is for every size: it must not remember which groups were empty in this one.
    if not is_tracing():
        masks = [mask for mask, group in zip(masks, groups, strict=True) if len(group)]
        groups = [group for group in groups if len(group)]
    elif edges:
        # An attention in a graph takes a megabyte before it computes anything: two, not four.
        counts = [group.shape[0] for group in groups[1:]]
        each = [mask.expand(n, -1, -1, -1) for mask, n in zip(edges, counts, strict=True)]
        masks[1:] = [torch.cat(each)]
        groups[1:] = [torch.cat(groups[1:])]
    order = torch.cat([group.flatten() for group in groups])
    merge = torch.empty_like(order)
    merge[order] = torch.arange(order.shape[0])
    return _Cut(run, groups, masks, merge)


def _gather(x: Tensor, index: Tensor, run: int) -> Tensor:
    """(B, H, W, C), (windows, runs) -> (windows, pixels of a window, C)."""
    channels = x.shape[-1]
    runs = x.reshape(-1, run * channels).index_select(0, index.flatten())
    return runs.view(index.shape[0], index.shape[1] * run, channels)


def _merge(windows: list[Tensor], cut: _Cut, shape: torch.Size) -> Tensor:
    """The outputs of all windows, in the order of the groups -> (B, H, W, C); takes them."""
    together = torch.cat(windows) if len(windows) > 1 else windows[0]
    windows.clear()
    runs = together.view(-1, cut.run * shape[-1]).index_select(0, cut.merge)
    return runs.view(shape)


def _parts(x: Tensor, size: int | None) -> Sequence[Tensor]:
    """``x`` in parts of about equal size, at most ``size`` rows each."""
    return [x] if size is None else x.tensor_split(max(1, math.ceil(x.shape[0] / size)))


def _traced_parts(x: Tensor) -> Sequence[Tensor]:
    """The same in a graph for every size: always so many parts, of which some may be empty."""
    rows = x.shape[0]
    bounds = [rows * i // _TRACED_PARTS for i in range(_TRACED_PARTS + 1)]
    return [x[start:stop] for start, stop in pairwise(bounds)]


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.linear``, (..., C) -> (..., N).

    In float32 on CPUs it is written as a 1x1 convolution of 16 pictures or more, which torch always
    gives to oneDNN: where the processor is not Intel's that is twice as fast as MKL.
    """
    channels = x.shape[-1]
    rows = x.numel() // channels
    if x.device.type != "cpu" or x.dtype != torch.float32 or rows % 16 or is_tracing():
        return F.linear(x, weight, bias)
    pictures = _nchw(x.reshape(16, rows // 16, 1, channels))
    y = F.conv2d(pictures, weight[:, :, None, None], bias)
    return _nhwc(y).view(*x.shape[:-1], -1)


def _widened(x: Tensor, dim: int, by: int) -> Tensor:
    """Zeros after the end of a dimension."""
    return F.pad(x, (0, 0) * (x.ndim - 1 - dim) + (0, by)) if by else x


def _nchw(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


class DropPath(nn.Module):
    """Stochastic depth: in training the branch is left out of whole samples."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        return x * x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep).div_(keep)


class MLP(nn.Module):
    """Two linear layers, (B, H, W, C) -> the same."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor, at_once: int | None) -> Tensor:
        parts = []
        for part in _parts(x.flatten(0, 2), at_once):
            hidden = F.gelu(_linear(part, self.fc1.weight, self.fc1.bias))
            parts.append(_linear(hidden, self.fc2.weight, self.fc2.bias))
        return (torch.cat(parts) if len(parts) > 1 else parts[0]).view(x.shape)


class ChannelAttention(nn.Module):
    """Every channel times a factor that depends on the means of all channels."""

    def __init__(self, dim: int, squeeze_factor: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(dim, dim // squeeze_factor, 1),
            nn.ReLU(),
            nn.Conv2d(dim // squeeze_factor, dim, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x * self.attention(x)
        return y


class CAB(nn.Module):
    """Channel attention block, (B, C, H, W) -> the same."""

    def __init__(self, dim: int, compress_ratio: int, squeeze_factor: int | None) -> None:
        super().__init__()
        self.cab = nn.Sequential(
            nn.Conv2d(dim, dim // compress_ratio, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(dim // compress_ratio, dim, 3, padding=1),
        )
        if squeeze_factor is not None:
            self.cab.append(ChannelAttention(dim, squeeze_factor))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cab(x)
        return y


@dataclass(frozen=True)
class _AttentionWeights:
    """The weights of an attention as the fused kernels want them.

    Attributes:
        bias: what to add to the logits, (1, heads, queries, keys).
        qkv, qkv_bias: (3, heads * D, C) and (3, heads * D). D is the width of a head filled up with
            zeros to a multiple of 8: without it CUDA has no fused kernel with a bias, and CPUs are
            slower.
        proj: (C, heads * D).
    """

    bias: Tensor
    qkv: Tensor
    qkv_bias: Tensor
    proj: Tensor

    def project(self, x: Tensor) -> Sequence[Tensor]:
        """(..., C) -> queries, keys and values, (..., heads * D) each."""
        if is_tracing():
            # Other engines copy what is cut from one product.
            return [_linear(x, *each) for each in zip(self.qkv, self.qkv_bias, strict=True)]
        return _linear(x, self.qkv.flatten(0, 1), self.qkv_bias.flatten()).chunk(3, dim=-1)


class _BiasedAttention(nn.Module):
    """Multi-head attention with a learned bias for every relative position of query and key."""

    qkv: nn.Linear
    proj: nn.Linear

    def __init__(self, dim: int, num_heads: int, window_size: int, key_size: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.num_queries, self.margin = window_size**2, (key_size - window_size) // 2
        self.relative_position_bias_table = nn.Parameter(
            torch.empty((window_size + key_size - 1) ** 2, num_heads)
        )
        self._prepared: tuple[object, _AttentionWeights] | None = None

    def train(self, mode: bool = True) -> Self:
        self._prepared = None
        return super().train(mode)

    def prepared(self, positions: Tensor) -> _AttentionWeights:
        """The weights for these positions; remembered where and as long as they do not change."""
        dtype = _compute_dtype(self.qkv.weight)
        sources = [self.relative_position_bias_table, *self.qkv.parameters(), self.proj.weight]
        trained = torch.is_grad_enabled() and any(source.requires_grad for source in sources)
        if trained or is_recording():
            return self._prepare(positions, dtype)
        versions = [(s.data_ptr(), None if s.is_inference() else s._version) for s in sources]
        key = (versions, positions.device, dtype)
        if self._prepared is None or self._prepared[0] != key:
            # What is made in inference mode could not serve a gradient later.
            with torch.inference_mode(False), torch.no_grad():
                self._prepared = key, self._prepare(positions, dtype)
        return self._prepared[1]

    def _prepare(self, positions: Tensor, dtype: torch.dtype) -> _AttentionWeights:
        table = self.relative_position_bias_table.to(dtype).index_select(0, positions)
        bias = table.T.reshape(1, self.num_heads, self.num_queries, -1)
        heads = (self.num_heads, self.head_dim)
        # Counted or exported, a network is as wide as it is on paper.
        on_paper = is_tracing() or positions.device.type == "meta"
        padding = 0 if on_paper else -self.head_dim % 8
        weight, qkv_bias = self.qkv.weight, self.qkv.bias
        if qkv_bias is None:
            qkv_bias = weight.new_zeros(weight.shape[0])
        return _AttentionWeights(
            bias=bias,
            qkv=_widened(weight.to(dtype).view(3, *heads, -1), 2, padding).flatten(1, 2),
            qkv_bias=_widened(qkv_bias.to(dtype).view(3, *heads), 2, padding).flatten(1),
            proj=_widened(self.proj.weight.to(dtype).view(-1, *heads), 2, padding).flatten(1),
        )

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, weights: _AttentionWeights, bias: Tensor
    ) -> Tensor:
        """(windows, queries, heads * D), (windows, keys, heads * D) twice -> (windows, queries, C).

        ``bias`` is the weights', with or without a mask.
        """
        width = weights.proj.shape[1] // self.num_heads
        q, k, v = (x.view(*x.shape[:2], self.num_heads, width).transpose(1, 2) for x in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, bias, scale=self.head_dim**-0.5)
        return _linear(y.transpose(1, 2).flatten(2), weights.proj, self.proj.bias)


class WindowAttention(_BiasedAttention):
    """Multi-head self-attention within windows, (B, H, W, C) -> the same."""

    def __init__(self, dim: int, num_heads: int, window_size: int, qkv_bias: bool) -> None:
        super().__init__(dim, num_heads, window_size, window_size)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, cut: _Cut, grid: _Grid) -> Tensor:
        weights = self.prepared(grid.positions)
        windows = []
        for group, mask in zip(cut.groups, cut.masks, strict=True):
            bias = weights.bias if mask is None else weights.bias + mask.to(weights.bias.dtype)
            for index in _parts(group, grid.windows_at_once):
                q, k, v = weights.project(_gather(x, index, cut.run))
                windows.append(self.attend(q, k, v, weights, bias))
        return _merge(windows, cut, x.shape)


class HAB(nn.Module):
    """Hybrid attention block, (B, H, W, C) -> the same."""

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        window_size: int,
        shifted: bool,
        compress_ratio: int | None,
        squeeze_factor: int | None,
        conv_scale: float,
        mlp_ratio: float,
        qkv_bias: bool,
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        self.shifted, self.conv_scale = shifted, conv_scale
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window_size, qkv_bias)
        self.conv_block = (
            None if compress_ratio is None else CAB(dim, compress_ratio, squeeze_factor)
        )
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, grid: _Grid) -> Tensor:
        cut = grid.shifted if self.shifted else grid.plain
        normed = self.norm1(x)
        y: Tensor = x + self.drop_path(self.attn(normed, cut, grid))
        if self.conv_block is not None:
            y = torch.add(y, _nhwc(self.conv_block(_nchw(normed))), alpha=self.conv_scale)
        detail: Tensor = self.drop_path(self.mlp(self.norm2(y), grid.pixels_at_once))
        return y + detail


class OCAB(_BiasedAttention):
    """Overlapping cross-attention block, (B, H, W, C) -> the same."""

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        window_size: int,
        key_size: int,
        mlp_ratio: float,
        qkv_bias: bool,
    ) -> None:
        super().__init__(dim, num_heads, window_size, key_size)
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, grid: _Grid) -> Tensor:
        weights = self.prepared(grid.key_positions)
        normed = self.norm1(x)
        # Beyond the picture keys and values are zero, which the queries do attend to.
        k, v = (
            F.pad(_linear(normed, weights.qkv[i], weights.qkv_bias[i]), (0, 0, *4 * (self.margin,)))
            for i in (1, 2)
        )
        windows = []
        (queries,) = grid.plain.groups
        parts = (_parts(each, grid.windows_at_once) for each in (queries, grid.keys))
        if is_tracing():
            parts = (_traced_parts(each) for each in (queries, grid.keys))
        for index, keys in zip(*parts, strict=True):
            q = _gather(normed, index, grid.plain.run)
            q = _linear(q, weights.qkv[0], weights.qkv_bias[0])
            our_k, our_v = (_gather(each, keys, grid.key_run) for each in (k, v))
            windows.append(self.attend(q, our_k, our_v, weights, weights.bias))
        x = x + _merge(windows, grid.plain, x.shape)
        detail: Tensor = self.mlp(self.norm2(x), grid.pixels_at_once)
        return x + detail


class _AttentionBlocks(nn.Module):
    """The blocks of a group, in the order they run."""

    def __init__(self, blocks: Sequence[HAB], overlap_attn: OCAB | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.overlap_attn = overlap_attn

    def __iter__(self) -> Iterator[nn.Module]:
        yield from self.blocks
        if self.overlap_attn is not None:
            yield self.overlap_attn


class RHAG(nn.Module):
    """Residual hybrid attention group, (B, H, W, C) -> the same."""

    def __init__(self, dim: int, blocks: Sequence[HAB], overlap_attn: OCAB | None) -> None:
        super().__init__()
        self.residual_group = _AttentionBlocks(blocks, overlap_attn)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor, grid: _Grid, gradient_checkpointing: bool) -> Tensor:
        y = x
        for block in self.residual_group:
            if gradient_checkpointing:
                y = checkpoint(block, y, grid, use_reentrant=False)
            else:
                y = block(y, grid)
        return x + _nhwc(self.conv(_nchw(y)))


class HAT(SRModel):
    """HAT on RGB or luma. See the module's text for the network.

    float32 and bfloat16 work, as the weights' type or under autocast; the first and the last
    convolution, where rounding would show in the picture, stay in float32. float16 is refused:
    trained networks leave its range, which turns pixels to NaN.

    Args:
        scale: 1, 3 or a power of 2.
        channels: 3, or 1 for luma.
        embed_dim: C, the width of the body.
        depths: HABs of each group.
        num_heads: attention heads of each group; they divide ``embed_dim``.
        window_size: pixels on a side of a window; the picture is padded to a multiple of it.
        compress_ratio: beta, the factor by which a CAB narrows; None leaves the CABs out.
        squeeze_factor: the factor by which channel attention narrows; None leaves it out.
        conv_scale: alpha, the weight of a CAB.
        overlap_ratio: gamma, by how much the windows of an OCAB's keys are larger than those of its
            queries; None leaves the OCABs out.
        mlp_ratio: width of an MLP by that of the body.
        qkv_bias: queries, keys and values have biases.
        img_range: what a range of 1 in the picture becomes inside.
        drop_path_rate: share of samples that the last block's branches are left out of in training;
            it grows linearly from 0 at the first block.
        gradient_checkpointing: recompute the blocks in the backward pass instead of keeping their
            insides; may be changed at any time.

    Attributes:
        memory_budget: bytes that the windows or the output rows computed at once may take where no
            gradient is wanted; None = 64 MiB on a CPU, 512 MiB elsewhere.

    Raises:
        ValueError: an argument is out of range.
    """

    architecture = "hat"

    def __init__(
        self,
        *,
        scale: int,
        channels: int = 3,
        embed_dim: int = 180,
        depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        window_size: int = 16,
        compress_ratio: int | None = 3,
        squeeze_factor: int | None = 30,
        conv_scale: float = 0.01,
        overlap_ratio: float | None = 0.5,
        mlp_ratio: float = 2.0,
        qkv_bias: bool = True,
        img_range: float = 1.0,
        drop_path_rate: float = 0.1,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if scale != 3 and (scale < 1 or scale & (scale - 1)):
            raise ValueError(f"scale must be 3 or a power of 2, got {scale}")
        if channels not in (1, 3):
            raise ValueError(f"channels must be 1 (luma) or 3 (RGB), got {channels}")
        if len(depths) != len(num_heads) or not depths or min(*depths, *num_heads) < 1:
            raise ValueError(
                "depths and num_heads need one positive number per group, "
                f"got {tuple(depths)} and {tuple(num_heads)}"
            )
        if any(embed_dim % heads for heads in num_heads):
            raise ValueError(f"num_heads {tuple(num_heads)} must divide embed_dim {embed_dim}")
        for name, factor in (
            ("compress_ratio", compress_ratio),
            ("squeeze_factor", squeeze_factor),
        ):
            if factor is not None and not 1 <= factor <= embed_dim:
                raise ValueError(f"{name} must be 1 to embed_dim {embed_dim}, got {factor}")
        margin = 0 if overlap_ratio is None else int(window_size * overlap_ratio)
        if window_size < 1 or margin < 0 or margin % 2:
            raise ValueError(
                "window_size * overlap_ratio must be an even number of pixels, "
                f"got {window_size} * {overlap_ratio}"
            )
        self.scale = scale
        self.channels = channels
        self.colour: Literal["luma", "rgb"] = "rgb" if channels == 3 else "luma"
        self.embed_dim = embed_dim
        self.depths, self.num_heads = tuple(depths), tuple(num_heads)
        self.window_size = self.size_multiple = window_size
        self.key_size = window_size + margin
        self.compress_ratio, self.squeeze_factor = compress_ratio, squeeze_factor
        self.conv_scale = conv_scale
        self.overlap_ratio = overlap_ratio
        self.mlp_ratio = mlp_ratio
        self.qkv_bias = qkv_bias
        self.img_range = img_range
        self.drop_path_rate = drop_path_rate
        self.gradient_checkpointing = gradient_checkpointing
        self.memory_budget: int | None = None
        self._grids: dict[tuple[object, ...], _Grid] = {}

        # As integers, whole whatever the weights' type.
        mean = torch.tensor(_MEAN_RGB if channels == 3 else (0,)).view(-1, 1, 1)
        self.register_buffer("mean_by_10000", mean, persistent=False)
        # Not every engine counts negative rows from the end.
        for buffer, size in (("positions", window_size), ("key_positions", self.key_size)):
            rows = relative_position_index(window_size, size) % (window_size + size - 1) ** 2
            self.register_buffer(buffer, rows.flatten(), persistent=False)
        self.conv_first = nn.Conv2d(channels, embed_dim, 3, padding=1)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(embed_dim)})
        last = max(1, sum(depths) - 1)
        drop_path_rates = (drop_path_rate * i / last for i in range(sum(depths)))
        self.layers = nn.ModuleList(
            RHAG(
                embed_dim,
                [
                    HAB(
                        dim=embed_dim,
                        num_heads=heads,
                        window_size=window_size,
                        shifted=block % 2 == 1,
                        compress_ratio=compress_ratio,
                        squeeze_factor=squeeze_factor,
                        conv_scale=conv_scale,
                        mlp_ratio=mlp_ratio,
                        qkv_bias=qkv_bias,
                        drop_path_rate=next(drop_path_rates),
                    )
                    for block in range(depth)
                ],
                None
                if overlap_ratio is None
                else OCAB(
                    dim=embed_dim,
                    num_heads=heads,
                    window_size=window_size,
                    key_size=self.key_size,
                    mlp_ratio=mlp_ratio,
                    qkv_bias=qkv_bias,
                ),
            )
            for depth, heads in zip(depths, num_heads, strict=True)
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.conv_after_body = nn.Conv2d(embed_dim, embed_dim, 3, padding=1)
        self.conv_before_upsample = nn.Sequential(
            nn.Conv2d(embed_dim, _NUM_FEAT, 3, padding=1), nn.LeakyReLU(0.01)
        )
        self.upsample = nn.Sequential()
        for factor in [3] if scale == 3 else [2] * (scale.bit_length() - 1):
            self.upsample.append(nn.Conv2d(_NUM_FEAT, _NUM_FEAT * factor**2, 3, padding=1))
            self.upsample.append(nn.PixelShuffle(factor))
        self.conv_last = nn.Conv2d(_NUM_FEAT, channels, 3, padding=1)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, _BiasedAttention):
                nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor arguments that make this network, without those that only tell how."""
        return {
            "channels": self.channels,
            "embed_dim": self.embed_dim,
            "depths": list(self.depths),
            "num_heads": list(self.num_heads),
            "window_size": self.window_size,
            "compress_ratio": self.compress_ratio,
            "squeeze_factor": self.squeeze_factor,
            "conv_scale": self.conv_scale,
            "overlap_ratio": self.overlap_ratio,
            "mlp_ratio": self.mlp_ratio,
            "qkv_bias": self.qkv_bias,
            "img_range": self.img_range,
            "drop_path_rate": self.drop_path_rate,
        }

    def forward(self, lr: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, C, scale H, scale W), not clipped.

        The picture is extended below and to the right by reflection to whole windows.

        Raises:
            ValueError: float16, as the weights' type or by autocast.
        """
        dtype = _compute_dtype(self.norm.weight)
        if dtype == torch.float16:
            raise ValueError("HAT leaves the range of float16: use bfloat16 or float32")
        height, width = lr.shape[-2:]
        exact = torch.promote_types(self.norm.weight.dtype, torch.float32)
        mean = self.get_buffer("mean_by_10000") / 10_000
        x = pad_to_multiple((lr.to(exact) - mean) * self.img_range, self.window_size)
        x = x.contiguous(memory_format=torch.channels_last)
        shallow = _convolve_in(exact, self.conv_first, x).to(self.norm.weight.dtype)
        features = self.conv_after_body(self._body(shallow)) + shallow
        hr = self._reconstruct(features, exact) / self.img_range + mean
        return hr[..., : height * self.scale, : width * self.scale].to(lr.dtype)

    def _reconstruct(self, features: Tensor, dtype: torch.dtype) -> Tensor:
        """(B, embed_dim, H, W) -> (B, channels, scale H, scale W), in strips to save memory."""
        height, width = features.shape[-2:]
        budget = self._budget(features)
        # The last features, and twice those before: as they are made and as they are shuffled.
        row = 3 * _NUM_FEAT * self.scale**2 * width * len(features) * features.element_size()
        if budget is None or row * height <= budget:
            return self._upsampled(features, dtype)
        rows = max(4 * _TAIL_RADIUS, budget // row)
        strips = []
        for start in range(0, height, rows):
            first, stop = max(0, start - _TAIL_RADIUS), min(height, start + rows)
            strip = self._upsampled(features[:, :, first : stop + _TAIL_RADIUS], dtype)
            top = (start - first) * self.scale
            strips.append(strip[:, :, top : top + (stop - start) * self.scale])
        return torch.cat(strips, dim=2)

    def _upsampled(self, features: Tensor, dtype: torch.dtype) -> Tensor:
        features = self.upsample(self.conv_before_upsample(features))
        return _convolve_in(dtype, self.conv_last, features)

    def _budget(self, x: Tensor) -> int | None:
        """Bytes that what is computed at once may take; None = any."""
        if torch.is_grad_enabled() or is_tracing() or x.device.type == "meta":
            return None
        return self.memory_budget or (2**26 if x.device.type == "cpu" else 2**29)

    def _body(self, x: Tensor) -> Tensor:
        """The groups and the norms around them, (B, C, H, W) -> the same."""
        x = self.patch_embed["norm"](_nhwc(x))
        grid = self._grid(x)
        checkpointing = self.gradient_checkpointing and torch.is_grad_enabled()
        for layer in self.layers:
            x = layer(x, grid, checkpointing)
        return _nchw(self.norm(x))

    def _grid(self, x: Tensor) -> _Grid:
        """How ``x``, (B, H, W, C), is cut into windows."""
        batch, height, width, _ = x.shape
        if is_tracing():
            return self._new_grid(batch, height, width, x.device)
        key = (batch, height, width, x.device)
        if key not in self._grids:
            if len(self._grids) == _REMEMBERED:
                self._grids.clear()
            with torch.inference_mode(False):
                self._grids[key] = self._new_grid(*key)
        budget = self._budget(x)
        if budget is None:
            return self._grids[key]
        # What attention gathers, computes and puts out of one window.
        pixels = 6 * self.window_size**2 + 2 * self.key_size**2
        windows = max(1, budget // (pixels * self.embed_dim * x.element_size()))
        return replace(
            self._grids[key], windows_at_once=windows, pixels_at_once=windows * self.window_size**2
        )

    def _new_grid(self, batch: int, height: int, width: int, device: torch.device) -> _Grid:
        size, margin = self.window_size, self.key_size - self.window_size
        run = math.gcd(size, margin // 2)
        keys = _window_index(
            batch, height + margin, width + margin, self.key_size, size, run
        ).flatten(0, 2)
        plain, shifted = (_cut(batch, height, width, size, shift) for shift in (0, size // 2))
        return _Grid(
            plain.to(device),
            shifted.to(device),
            keys.to(device),
            run,
            self.get_buffer("positions"),
            self.get_buffer("key_positions"),
        )


def _compute_dtype(weight: Tensor) -> torch.dtype:
    """What a layer with this weight computes in."""
    device = weight.device.type
    if device != "meta" and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return weight.dtype


def _convolve_in(dtype: torch.dtype, conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution in this precision, whatever that of its weights or of autocast."""
    if _compute_dtype(conv.weight) == dtype:
        y: Tensor = conv(x)
        return y
    assert conv.bias is not None
    with torch.autocast(x.device.type, enabled=False):
        return F.conv2d(x.to(dtype), conv.weight.to(dtype), conv.bias.to(dtype), padding=1)
