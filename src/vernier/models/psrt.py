"""PSRT: a pyramid shuffle-and-reshuffle transformer that fuses a cube with a sharp guide.

Deng et al., "PSRT: Pyramid Shuffle-and-Reshuffle Transformer for Multispectral and Hyperspectral
Image Fusion", IEEE TGRS 2023. All of it happens at the guide's size:

    x = head 3x3 (cube upsampled by bicubic | guide)
    x = num_blocks x [window_size, window_size / 2, ... (num_steps of them)] pyramid steps
    hr = upsampled + LeakyReLU(tail 3x3 (x))

A pyramid step is ``x + WA3(reshuffle(WA2(shuffle(WA1(x)))))``, three pre-norm transformer blocks
on non-overlapping windows. Shuffle brings together pixels that lie two cells of half a window
apart, so that WA2 sees twice as far; reshuffle is its inverse. There is no position code, so the
order of tokens *inside* a window means nothing. That allows one fixed order of pixels, in which
every window of every step is a run of neighbours and the shuffle swaps two axes: `BlockOrder`.

Between head and tail nothing crosses the borders of blocks of twice the largest window (of one
window without shuffle): the pyramid is one of window sizes, not of resolutions.

With kernel attention (`vernier.models.kernel_attention`) the second half of every block's channels
is convolved instead of attending, at the same place.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vernier.models.kernel_attention import (
    VARIANTS,
    FusedKernels,
    KernelAttention,
    switches_of,
)
from vernier.models.layers import (
    FusionModel,
    is_tracing,
    window_merge,
    window_partition,
)

__all__ = ["PSRT", "BlockOrder", "Shuffle", "WindowAttention", "win_shuffle"]

Shuffle = Literal["aligned", "misaligned", "none"]

# Logits of 8 heads and windows of 64 tokens are then 4 MB.
_CHUNK_TOKENS = 2048


class BlockOrder(nn.Module):
    """Between maps (B, C, H, W) and blocks of tokens (B * blocks, side**2, C).

    Within a block, tokens are sorted quarter by quarter, each quarter again quarter by quarter,
    down to squares of ``smallest`` pixels. Every aligned square of side / 2**i is then a run.
    """

    order: Tensor
    inverse: Tensor

    def __init__(self, side: int, smallest: int) -> None:
        super().__init__()
        self.side = side
        index = torch.arange(side**2).view(1, side, side, 1)
        square = side
        while square > smallest:
            square //= 2
            index = window_partition(index, square).view(-1, square, square, 1)
        self.register_buffer("order", index.flatten(), persistent=False)
        self.register_buffer("inverse", index.flatten().argsort(), persistent=False)

    def to_tokens(self, x: Tensor) -> Tensor:
        """(B, C, H, W), sides multiples of ``side``, -> (B * blocks, side**2, C)."""
        return window_partition(x.permute(0, 2, 3, 1), self.side)[:, self.order]

    def to_map(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """(B * blocks, side**2, C) -> (B, C, height, width)."""
        merged = window_merge(tokens[:, self.inverse], self.side, height, width)
        return merged.permute(0, 3, 1, 2)


class WindowAttention(nn.Module):
    """Multi-head self-attention of (windows, tokens, dim), without position bias.

    Heads are 4 to 6 numbers wide and windows have 64, 16 or 4 tokens. Attention kernels made for
    long sequences, and products that end in so few columns, leave most of a vector unit empty.
    Here what is last, and contiguous, is always longer: the tokens, or for windows of less than 16
    the windows, and then the products are sums of a few elementwise ones.

    Args:
        dim: width, a multiple of ``num_heads``.
        num_heads: heads of dim / num_heads channels each.
        tokens: of a window.
        logit_scale: what q.k is multiplied with. The authors' code has 4 where transformers have
            1 / sqrt(dim / num_heads), and their weights need it.
    """

    def __init__(self, dim: int, num_heads: int, tokens: int, logit_scale: float) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {dim} channels")
        self.dim = dim
        self.num_heads = num_heads
        self.tokens = tokens
        self.logit_scale = logit_scale
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(windows, tokens, dim) -> the same."""
        # On the meta device costs are counted, and only products count.
        if self.tokens >= 16 or x.device.type == "meta":
            return self._tokens_last(x)
        return self._windows_last(x)

    def _tokens_last(self, x: Tensor) -> Tensor:
        heads, width = self.num_heads, self.dim // self.num_heads
        qkv = self.qkv(x).view(-1, self.tokens, 3, heads, width)
        q, k, v = qkv.permute(2, 0, 3, 4, 1).contiguous()
        attention = ((self.logit_scale * q).transpose(-2, -1) @ k).softmax(-1)
        mixed = v @ attention.transpose(-2, -1)
        y: Tensor = self.proj(mixed.view(-1, self.dim, self.tokens).transpose(1, 2))
        return y

    def _windows_last(self, x: Tensor) -> Tensor:
        heads, width = self.num_heads, self.dim // self.num_heads
        flat = x.transpose(0, 1).reshape(-1, self.dim)
        qkv = self.qkv.weight @ flat.transpose(0, 1) + self.qkv.bias[:, None]
        q, k, v = qkv.view(3, heads, width, self.tokens, -1)
        q = self.logit_scale * q
        # (heads, keys, queries, windows)
        logits = q[:, 0, None] * k[:, 0, :, None]
        for i in range(1, width):
            logits = torch.addcmul(logits, q[:, i, None], k[:, i, :, None])
        attention = logits.softmax(1)
        mixed = attention[:, None, 0] * v[:, :, 0, None]
        for key in range(1, self.tokens):
            mixed = torch.addcmul(mixed, attention[:, None, key], v[:, :, key, None])
        y: Tensor = self.proj(mixed.view(self.dim, -1).transpose(0, 1))
        return y.view(self.tokens, -1, self.dim).transpose(0, 1)


class AttentionBlock(nn.Module):
    """Pre-norm transformer block: x + mix(LN x), then + MLP(LN x), of ratio 4 with GELU.

    ``mix`` is window attention, or where there is a kernel attention, window attention of the first
    half of the channels and kernel attention of the second.

    Args:
        num_heads: of the window attention.
        window_size: side of the windows that attend.
        kernel_attention: of dim / 2 channels.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int,
        logit_scale: float,
        kernel_attention: KernelAttention | None,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(dim)
        attending = dim if kernel_attention is None else dim // 2
        self.attention = WindowAttention(attending, num_heads, window_size**2, logit_scale)
        self.kernel_attention: nn.Module | None = kernel_attention
        self.normed = kernel_attention is None or kernel_attention.switches.normed
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(
        self, x: Tensor, order: BlockOrder, size: tuple[int, int], moved: Literal[0, 1, -1] = 0
    ) -> Tensor:
        """(blocks, side**2, dim) -> the same; ``size`` is that of the map.

        ``moved`` is what a later fork does: 1 = tokens are shuffled before they attend and the
        result is added where the shuffle left it; -1 = the same with the inverse.
        """
        normed = self.norm1(x)
        if self.kernel_attention is None:
            mixed = self._attend(normed, order, size, moved)
        else:
            attending, convolved = normed.chunk(2, -1)
            if not self.normed:
                convolved = x.chunk(2, -1)[1]
            convolved = order.to_tokens(self.kernel_attention(order.to_map(convolved, *size)))
            mixed = torch.cat([self._attend(attending, order, size, moved), convolved], -1)
        x = x + mixed
        return x + _in_chunks(self._transform, x)

    def _transform(self, x: Tensor) -> Tensor:
        y: Tensor = self.mlp(self.norm2(x))
        return y

    def _attend(
        self, x: Tensor, order: BlockOrder, size: tuple[int, int], moved: Literal[0, 1, -1]
    ) -> Tensor:
        if moved:
            shuffled = win_shuffle(order.to_map(x, *size), self.window_size, moved == -1)
            x = order.to_tokens(shuffled)
        windows = x.reshape(-1, self.window_size**2, x.shape[-1])
        return _in_chunks(self.attention, windows).reshape(x.shape)


class PyramidStep(nn.Module):
    """Three attention blocks of one window size, the second on shuffled windows; + input."""

    def __init__(
        self,
        wa1: AttentionBlock,
        wa2: AttentionBlock,
        wa3: AttentionBlock,
        *,
        shuffle: Shuffle,
        dead_norms: bool,
    ) -> None:
        super().__init__()
        self.wa1, self.wa2, self.wa3 = wa1, wa2, wa3
        self.shuffle: Shuffle = shuffle
        if dead_norms:
            dim = self.wa1.norm1.normalized_shape
            self.dead = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])

    def forward(self, x: Tensor, order: BlockOrder, size: tuple[int, int]) -> Tensor:
        """(blocks, side**2, dim) -> the same; ``size`` is that of the map."""
        y: Tensor = self.wa1(x, order, size)
        if self.shuffle == "aligned":
            y = self.wa3(self._swap(self.wa2(self._swap(y), order, size)), order, size)
        elif self.shuffle == "misaligned":
            y = self.wa3(self.wa2(y, order, size, 1), order, size, -1)
        else:
            y = self.wa3(self.wa2(y, order, size), order, size)
        return x + y

    def _swap(self, x: Tensor) -> Tensor:
        """Shuffle, and its own inverse: in each square of 2 x 2 windows, window i gives its
        quarter j for window j's quarter i."""
        blocks, tokens, dim = x.shape
        quarters = x.reshape(-1, 4, 4, self.wa1.window_size**2 // 4, dim).transpose(1, 2)
        return quarters.reshape(blocks, tokens, dim)


def win_shuffle(x: Tensor, window_size: int, inverse: bool = False) -> Tensor:
    """The paper's shuffle of a map (B, C, H, W), sides multiples of ``window_size``.

    The map is cut into cells of half a window; cell (2i + a, 2j + b) of the N1 x N2 cells moves to
    (a N1 / 2 + i, b N2 / 2 + j).
    """
    batch, channels, height, width = x.shape
    d = window_size // 2
    if inverse:
        x = x.view(batch, channels, 2, height // window_size, d, 2, width // window_size, d)
    else:
        x = x.view(batch, channels, height // window_size, 2, d, width // window_size, 2, d)
    return x.transpose(2, 3).transpose(5, 6).reshape(batch, channels, height, width)


class PSRT(FusionModel):
    """See the module's text for the network.

    Args:
        scale: guide pixels per cube pixel, 1 or more. It only says how far the cube is upsampled.
        bands: of the cube (31 in CAVE).
        guide_channels: of the guide (3, RGB).
        embed: width of the features.
        num_blocks: pyramids one after the other.
        window_size: side of the largest window; the steps of a pyramid halve it.
        num_steps: steps of a pyramid.
        num_heads: of the attention.
        shuffle: "aligned" is the paper's; "none" leaves it out; "misaligned" is a fork's, which
            shuffles inside the attention and adds the result without moving it back, so that
            content lands in places where it does not belong (kept to load its weights).
        logit_scale: see `WindowAttention`.
        kernel_attention: a row of `vernier.models.kernel_attention.VARIANTS`, "ka1" to "ka22".
        kernel_attention_in: "all" blocks, or the "first" of each step's three.
        switches: replace those of the row, for example {"kernel_size": 5}.
        as_published: kernel attention with the mistakes of its authors' code, and for all but the
            "aligned" form everything that their code allocates and never reads, so that parameter
            counts are theirs exactly. The default allocates nothing that is not used.

    Linear layers start from N(0, 0.01) and zero biases, the convolutions as PyTorch has them, as in
    the authors' code; inside kernel attention, where several lie one behind the other without a
    shortcut, the last starts so and the others as PyTorch has them. ``size_multiple`` and
    ``receptive_radius`` are counted in guide pixels.
    """

    architecture = "psrt"

    def __init__(
        self,
        *,
        scale: int,
        bands: int = 31,
        guide_channels: int = 3,
        embed: int = 32,
        num_blocks: int = 2,
        window_size: int = 8,
        num_steps: int = 3,
        num_heads: int = 8,
        shuffle: Shuffle = "aligned",
        logit_scale: float = 4.0,
        kernel_attention: str | None = None,
        kernel_attention_in: Literal["all", "first"] = "all",
        switches: Mapping[str, Any] = MappingProxyType({}),
        as_published: bool = False,
    ) -> None:
        super().__init__()
        if shuffle not in ("aligned", "misaligned", "none"):
            raise ValueError(f"shuffle is aligned, misaligned or none, not {shuffle!r}")
        if min(scale, bands, guide_channels, embed, num_blocks, num_steps, num_heads) < 1:
            raise ValueError("scale, channels, widths and numbers of layers must be at least 1")
        if window_size < 2**num_steps or window_size % 2**num_steps:
            raise ValueError(
                f"{num_steps} steps halve the window {num_steps} times (with the shuffle's cells), "
                f"so its side must be a multiple of {2**num_steps}, not {window_size}"
            )
        if kernel_attention_in not in ("all", "first"):
            raise ValueError(f"kernel_attention_in is all or first, not {kernel_attention_in!r}")
        if kernel_attention is None and switches:
            raise ValueError("switches are those of a kernel_attention, and there is none")
        if kernel_attention is not None and (embed % 2 or num_heads % 2):
            raise ValueError("with kernel_attention, embed and num_heads must be even")
        self.scale = scale
        self.channels = bands
        self.guide_channels = guide_channels
        self.embed = embed
        self.num_blocks = num_blocks
        self.window_size = window_size
        self.num_steps = num_steps
        self.num_heads = num_heads
        self.shuffle: Shuffle = shuffle
        self.logit_scale = logit_scale
        self.kernel_attention = kernel_attention
        self.kernel_attention_in: Literal["all", "first"] = kernel_attention_in
        self.switches = dict(switches)
        self.as_published = as_published
        side = window_size if shuffle == "none" else 2 * window_size
        self.size_multiple = side

        def attention_block(step: int, position: int) -> AttentionBlock:
            kernels, heads = None, num_heads
            if kernel_attention is not None and (position == 0 or kernel_attention_in == "all"):
                dead = VARIANTS[kernel_attention].dead if as_published else ()
                chosen = switches_of(kernel_attention, switches, as_published=as_published)
                kernels = KernelAttention(embed // 2, num_heads // 2, chosen, dead)
                self.size_multiple = math.lcm(side, math.isqrt(chosen.num_windows))
                # Half of the channels, half of the heads, but for where the fork forgot it.
                if position == 0 or shuffle != "misaligned":
                    heads = num_heads // 2
            return AttentionBlock(embed, heads, window_size // 2**step, logit_scale, kernels)

        self.order = BlockOrder(side, window_size // 2**num_steps)
        self.head = nn.Conv2d(bands + guide_channels, embed, 3, padding=1)
        self.body = nn.ModuleList(
            PyramidStep(
                *(attention_block(step, position) for position in range(3)),
                shuffle=shuffle,
                dead_norms=as_published and shuffle != "aligned",
            )
            for _ in range(num_blocks)
            for step in range(num_steps)
        )
        self.tail = nn.Conv2d(embed, bands, 3, padding=1)
        _initialise(self)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor arguments that make this network, without ``scale``."""
        return {
            "bands": self.channels,
            "guide_channels": self.guide_channels,
            "embed": self.embed,
            "num_blocks": self.num_blocks,
            "window_size": self.window_size,
            "num_steps": self.num_steps,
            "num_heads": self.num_heads,
            "shuffle": self.shuffle,
            "logit_scale": self.logit_scale,
            "kernel_attention": self.kernel_attention,
            "kernel_attention_in": self.kernel_attention_in,
            "switches": dict(self.switches),
            "as_published": self.as_published,
        }

    @property
    def receptive_radius(self) -> int | None:
        """Guide pixels on each side, of guide and upsampled cube, that an output pixel depends on
        at most.

        It holds where the picture begins at a multiple of ``size_multiple`` of the grid; a tile
        must begin there too to be exact. None: everywhere, because the "misaligned" shuffle moves
        content globally, or because kernels belong to windows that divide the whole map.
        """
        if self.shuffle == "misaligned":
            return None
        reach = 0
        for start in range(self.order.side):
            # How far right the tail, each block in turn, and the head can carry; mirrored, left.
            end = start + 1
            for step in reversed(list(self.body)):
                assert isinstance(step, PyramidStep)
                for block in (step.wa3, step.wa2, step.wa1):
                    conv_reach = _conv_reach(block.kernel_attention)
                    if conv_reach is None:
                        return None
                    window = block.window_size
                    if block is step.wa2 and self.shuffle == "aligned":
                        window *= 2
                    end = max(end - end % window + window - 1, end + conv_reach)
            reach = max(reach, end + 1 - start)
        return reach

    @property
    def deployed(self) -> bool:
        return not any(_fusible(module) for module in self.modules())

    def deploy(self) -> PSRT:
        """A copy whose kernel attentions are plain convolutions, where their kernels do not depend
        on the input; same function.

        One for the map (variants 5-8, 10-13, 16, 19, 20), one for each window (2, 3), or both
        (4, 15); with the GELU that 13 and 14 have. The others are copied as they are.
        """
        copied = copy.deepcopy(self)
        for block in copied.modules():
            if isinstance(block, AttentionBlock) and _fusible(block.kernel_attention):
                assert isinstance(block.kernel_attention, KernelAttention)
                block.kernel_attention = block.kernel_attention.fuse()
        return copied

    def skeleton(self) -> PSRT:
        """An untrained network in the form that is executed; deployed weights load into it."""
        return self.deploy()

    def forward_aligned(self, both: Tensor) -> Tensor:
        """(B, bands + guide_channels, H, W), sides multiples of ``size_multiple`` -> what is added
        to the upsampled cube, (B, bands, H, W). Free of branches on the size: it can be traced."""
        size = both.shape[-2], both.shape[-1]
        x = self.order.to_tokens(self.head(both))
        for step in self.body:
            x = step(x, self.order, size)
        # The slope acts on the residual, so that negative corrections count a fifth.
        return F.leaky_relu(self.tail(self.order.to_map(x, *size)), 0.2)


def _in_chunks(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function(x)`` for (windows, tokens, dim), on a CPU as many windows at a time as the caches
    hold: the logits of a map are a hundred times its size."""
    if x.device.type != "cpu" or is_tracing():
        return function(x)
    windows = max(1, _CHUNK_TOKENS // x.shape[1])
    return torch.cat([function(x[i : i + windows]) for i in range(0, x.shape[0], windows)])


def _fusible(module: nn.Module | None) -> bool:
    return isinstance(module, KernelAttention) and not module.switches.input_adaptive


def _conv_reach(module: nn.Module | None) -> int | None:
    if isinstance(module, KernelAttention):
        return module.switches.local_reach
    return module.local_reach if isinstance(module, FusedKernels) else 0


def _initialise(module: nn.Module) -> None:
    if isinstance(module, KernelAttention):
        return
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
    for child in module.children():
        _initialise(child)
