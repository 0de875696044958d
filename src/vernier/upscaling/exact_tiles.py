"""GRLA over tiles, equal to the whole picture though its attention sees all of it.

The sums of linear attention add up over tiles: each layer runs over all tiles, and the next begins
when the sums are complete. What a layer hands on lies in feature maps, in memory or in files. The
dense connections keep one map for each block and one for the head; three more are worked on. All
else is as large as a tile.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vernier.errors import InputError
from vernier.models.grla import GRLA, Section, SubBlock, WindowAttention
from vernier.models.layers import reflected_indices
from vernier.models.linear_attention import GRBFAttention

__all__ = ["ExactTiles", "upscale_exactly"]


class _Tile(NamedTuple):
    top: int
    bottom: int
    left: int
    right: int


class ExactTiles(nn.Module):
    """A GRLA that runs every picture of a batch by `upscale_exactly`; the arguments are its.

    Raises:
        InputError: the same, except that the model is put into eval mode.
    """

    def __init__(self, model: nn.Module, *, tile: int = 256) -> None:
        super().__init__()
        if not isinstance(model, GRLA):
            raise InputError(
                f"exact tiles are for GRLA, whose attention is a sum over pixels, not for "
                f"{type(model).__name__}"
            )
        _check(model, tile)
        self.model = model
        self.tile = tile
        self.eval()

    def forward(self, lr: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, C, scale H, scale W)."""
        pictures = torch.split(lr, 1)
        return torch.cat([upscale_exactly(self.model, one, tile=self.tile) for one in pictures])


@torch.no_grad()
def upscale_exactly(
    model: GRLA, lr: Tensor, *, tile: int = 256, folder: Path | str | None = None
) -> Tensor:
    """``model(lr)``, to rounding, in the memory of a tile and the feature maps.

    Args:
        model: in eval mode, on the CPU; its attention is of "window", "shifted", "linear-window",
            "linear-shifted" and "grbf".
        lr: (1, C, H, W) in [0, 1].
        tile: side of the tiles in LR pixels, rounded up to whole windows.
        folder: where the feature maps go, as files that are removed at the end; None keeps them in
            memory.

    Returns:
        (1, C, scale H, scale W).

    Raises:
        InputError: another kind of attention, several pictures, a network that trains, a tile below
            1, or a folder that is none.
    """
    if not isinstance(model, GRLA) or model.training:
        raise InputError("exact tiles are for a GRLA in eval mode")
    if lr.ndim != 4 or lr.shape[0] != 1:
        raise InputError(f"expected one picture (1, C, H, W), got {tuple(lr.shape)}")
    _check(model, tile)
    tile += -tile % model.size_multiple
    with _map_maker(folder, lr.dtype) as new_map:
        return _Run(model, tile, new_map)(lr)


def _check(model: GRLA, tile: int) -> None:
    if tile < 1:
        raise InputError(f"tile must be at least 1, not {tile}")
    for module in model.modules():
        if isinstance(module, SubBlock) and not isinstance(
            module.attention, WindowAttention | GRBFAttention
        ):
            raise InputError("exact tiles need attention in windows or of kind 'grbf'")


@contextmanager
def _map_maker(
    folder: Path | str | None, dtype: torch.dtype
) -> Iterator[Callable[[int, int, int], Tensor]]:
    """Yields a function (H, W, C) -> an empty feature map."""
    if folder is None:
        yield lambda *size: torch.empty(size, dtype=dtype)
        return
    if not Path(folder).is_dir():
        raise InputError(f"{folder} is not a folder")
    with tempfile.TemporaryDirectory(dir=folder, prefix="vernier-maps-") as inside:

        def new_map(height: int, width: int, channels: int) -> Tensor:
            path = Path(inside) / str(len(list(Path(inside).iterdir())))
            size = height * width * channels
            flat = torch.from_file(str(path), shared=True, size=size, dtype=dtype)
            return flat.view(height, width, channels)

        yield new_map


class _Run:
    def __init__(self, model: GRLA, tile: int, new_map: Callable[[int, int, int], Tensor]) -> None:
        self.model = model
        self.tile = tile
        self.new_map = new_map
        self.features = model.head.out_channels

    def __call__(self, lr: Tensor) -> Tensor:
        model, (height, width) = self.model, lr.shape[-2:]
        picture = lr[0].permute(1, 2, 0)
        maps = [self._map(picture) for _ in range(len(model.blocks) + 1)]
        self._convolve(model.head, picture, maps[0])
        x = self._map(picture)
        x.copy_(maps[0])
        # Padded to whole windows; what a section reads, and what it writes.
        side = model.size_multiple
        padded = (height + -height % side, width + -width % side)
        buffers = [self.new_map(*padded, self.features) for _ in range(2)]
        for i, block in enumerate(model.blocks):
            assert isinstance(block, nn.Sequential)
            for section in block:
                assert isinstance(section, Section)
                self._section(section, x, buffers)
            maps[i + 1].copy_(x)
            if i < len(model.fusions):
                self._fuse(model.fusions[i], maps[: i + 2], x)
        self._fuse(model.last, maps[1:], x)
        end = maps[1]
        self._convolve(model.body_end, x, end)
        for part in self._tiles(end):
            _cut(end, part).add_(_cut(maps[0], part))
        return self._tail(end, lr)

    def _map(self, like: Tensor) -> Tensor:
        return self.new_map(like.shape[0], like.shape[1], self.features)

    def _tiles(self, x: Tensor) -> Iterator[_Tile]:
        height, width, _ = x.shape
        for top in range(0, height, self.tile):
            for left in range(0, width, self.tile):
                bottom, right = min(top + self.tile, height), min(left + self.tile, width)
                yield _Tile(top, bottom, left, right)

    def _convolve(self, conv: nn.Module, source: Tensor, target: Tensor) -> None:
        for part in self._tiles(source):
            _cut(target, part).copy_(_with_neighbours(_on_picture(conv), source, part))

    def _fuse(self, fusion: nn.Module, maps: list[Tensor], target: Tensor) -> None:
        for part in self._tiles(target):
            parts = [_cut(each, part).permute(2, 0, 1)[None] for each in maps]
            _cut(target, part).copy_(fusion(parts)[0].permute(1, 2, 0))

    def _section(self, section: Section, x: Tensor, buffers: list[Tensor]) -> None:
        height, width, _ = x.shape
        source, target = buffers
        more = (source.shape[0] - height, source.shape[1] - width)
        rows, columns = (
            reflected_indices(length, by, x.device)
            for length, by in zip((height, width), more, strict=True)
        )
        for part in self._tiles(source):
            _cut(source, part).copy_(section.norm(_gather(x, rows, columns, part)))
        for block in section.sub_blocks:
            assert isinstance(block, SubBlock)
            source, target = self._sub_block(block, source, target)
        x.copy_(source[:height, :width])

    def _sub_block(self, block: SubBlock, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The map with the result first, the other, whose content is of no use, second."""
        if block.shift:
            self._roll(source, target, block.shift)
            source, target = target, source
        for part in self._tiles(source):
            local = _with_neighbours(block.local, source, part)
            _cut(target, part).copy_(_cut(source, part) + local)
        source, target = target, source
        if isinstance(block.attention, GRBFAttention):
            attention = block.attention
            moments = attention.collect(_tokens(source, part) for part in self._tiles(source))
            for part in self._tiles(source):
                tokens = _tokens(source, part)
                tokens = block.feed_forward(tokens + attention.attend(tokens, moments))
                _cut(source, part).copy_(tokens.view_as(_cut(source, part)))
        else:
            for part in self._tiles(source):
                _cut(source, part).copy_(block.attend(_cut(source, part)[None])[0])
        if block.shift:
            self._roll(source, target, -block.shift)
            source, target = target, source
        return source, target

    def _roll(self, source: Tensor, target: Tensor, shift: int) -> None:
        """``target`` becomes ``source`` from (shift, shift) on, around the seam."""
        rows, columns = (
            (torch.arange(length, device=source.device) + shift) % length
            for length in source.shape[:2]
        )
        for part in self._tiles(source):
            _cut(target, part).copy_(_gather(source, rows, columns, part))

    def _tail(self, end: Tensor, lr: Tensor) -> Tensor:
        model, scale = self.model, self.model.scale
        hr = lr.new_empty(1, lr.shape[1], *(side * scale for side in lr.shape[-2:]))
        for part in self._tiles(end):
            phases = _with_neighbours(_on_picture(model.tail), end, part)
            phases = phases.permute(2, 0, 1)[None]
            if model.input_skip:
                cut = lr[..., part.top : part.bottom, part.left : part.right]
                phases = phases + cut.repeat_interleave(scale**2, 1)
            top, bottom, left, right = (side * scale for side in part)
            hr[..., top:bottom, left:right] = F.pixel_shuffle(phases, scale)
        return hr


def _cut(x: Tensor, part: _Tile) -> Tensor:
    return x[part.top : part.bottom, part.left : part.right]


def _tokens(x: Tensor, part: _Tile) -> Tensor:
    return _cut(x, part).flatten(0, 1)[None]


def _gather(x: Tensor, rows: Tensor, columns: Tensor, part: _Tile) -> Tensor:
    """The tile of the picture that has these rows and columns of x."""
    return x[rows[part.top : part.bottom, None], columns[None, part.left : part.right]]


def _on_picture(conv: nn.Module) -> Callable[[Tensor], Tensor]:
    """A convolution for (1, H, W, C)."""
    return lambda x: conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _with_neighbours(function: Callable[[Tensor], Tensor], x: Tensor, part: _Tile) -> Tensor:
    """What a function of 3x3 neighbourhoods gives on a tile.

    At the picture's border its zero padding is right; elsewhere the padding reaches only what is
    cut off again.
    """
    height, width, _ = x.shape
    top, left = max(part.top - 1, 0), max(part.left - 1, 0)
    around = x[top : min(part.bottom + 1, height), left : min(part.right + 1, width)]
    y = function(around[None])[0]
    inner = _Tile(part.top - top, part.bottom - top, part.left - left, part.right - left)
    return _cut(y, inner)
