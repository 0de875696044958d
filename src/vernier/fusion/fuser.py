"""A coarse cube and a sharp guide in, a sharp cube out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vernier.devices import available_memory, find_device, memory_errors
from vernier.engines import EngineName, Precision
from vernier.engines.openvino.conversion import ConversionError, convert_module
from vernier.engines.openvino.execution import compile_network
from vernier.engines.tiles import plan_tiles, tile_side
from vernier.errors import InputError
from vernier.fusion.pair import Pair
from vernier.fusion.result import Fused
from vernier.models.layers import FusionModel, pad_to_multiple, upsample_bicubic
from vernier.progress import Progress
from vernier.zoo.checkpoints import load_model

__all__ = ["Fuser"]

# Upsampled cube (1, bands, H, W) and guide (1, channels, H, W) -> what is added to the cube.
_Run = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]


class Fuser:
    """Fuse cubes with their guides with one model.

    Any number of threads may use one fuser.

    Args:
        model: a registry name whose weights come with the package, a weight file, or a network.
        scale: chooses among a name's weights; else the model's own.
        engine: "openvino" (CPU), "torch", or "auto": OpenVINO on the CPU where it can, else torch.
        precision: "bf16" computes the network, not the cube that it corrects, in bfloat16; "auto"
            is fp32.
        tile: side of the tiles in guide pixels; None or 0 fuses the whole, "auto" does so until
            the estimated memory exceeds half of what is available. A network that pools over the
            whole picture or lays a grid over it (see `exact_tiles`) gives another result in tiles.
        device: a torch device; default the CPU.

    Attributes:
        scale, bands, guide_channels: what the network takes.
        name, engine_name: of the model and what executes it.

    Raises:
        InputError: a setting that cannot be used; the message says which and why.
    """

    def __init__(
        self,
        model: str | Path | FusionModel,
        *,
        scale: int | None = None,
        engine: EngineName = "auto",
        precision: Precision = "auto",
        tile: int | Literal["auto"] | None = "auto",
        device: str | None = None,
    ) -> None:
        if isinstance(model, nn.Module):
            network: nn.Module = model
            self.name = type(model).__name__
        else:
            network, card = load_model(model, scale)
            self.name = card.name
        if not isinstance(network, FusionModel):
            raise InputError(f"{self.name} upscales pictures: use vernier upscale")
        self._network = network.deploy().eval().requires_grad_(False)
        self.scale = network.scale
        self.bands = network.channels
        self.guide_channels = network.guide_channels
        self._tile = tile
        tile_side(1, 1, tile=tile, halo=0, bytes_per_pixel=1, memory=1)
        self._precision: Literal["fp32", "bf16"] = "bf16" if precision == "bf16" else "fp32"
        self._run, self.engine_name = self._executor(engine, precision, device or "cpu")

    @property
    def exact_tiles(self) -> bool:
        """Whether the tiled cube is the whole one's, to rounding."""
        return self._network.receptive_radius is not None

    def check(self, pair: Pair) -> None:
        """Refuse what `fuse` cannot take.

        Raises:
            InputError: the bands or the scale are not the network's.
        """
        for what, given, wanted in (
            ("cube", pair.bands, self.bands),
            ("guide", pair.guide_channels, self.guide_channels),
        ):
            if given != wanted:
                raise InputError(
                    f"the {what} has {given} bands, {self.name} was trained for {wanted}: choose "
                    "those bands, or train a model for yours"
                )
        if pair.scale != self.scale:
            (height, width), (rows, columns) = pair.lr.shape[1:], pair.guide.shape[1:]
            raise InputError(
                f"{self.name} is for scale {self.scale}: a cube of {width}x{height} needs a guide "
                f"of {width * self.scale}x{height * self.scale} pixels, not {columns}x{rows}; crop "
                "or resize one of them"
            )

    def fuse(self, pair: Pair, *, progress: Progress | None = None) -> Fused:
        """The sharp cube.

        Args:
            pair: of the network's bands and scale.
            progress: told of every tile.

        Raises:
            InputError: the pair is not for this network, or memory runs out even in the smallest
                tiles.
        """
        self.check(pair)
        start = time.perf_counter()
        values, tiles = self._fuse_in_tiles(pair, progress)
        notes = pair.notes
        if tiles > 1 and not self.exact_tiles:
            notes += (f"fused in {tiles} tiles: {self.name} would give another cube whole",)
        return Fused(
            pair,
            values,
            method=self.name,
            engine=self.engine_name,
            precision=self._precision,
            notes=notes,
            seconds=time.perf_counter() - start,
        )

    def _fuse_in_tiles(
        self, pair: Pair, progress: Progress | None
    ) -> tuple[NDArray[np.float32], int]:
        """The values, and in how many tiles they were made."""
        height, width = pair.guide.shape[1:]
        side = tile_side(
            height,
            width,
            tile=self._tile,
            halo=self._halo(),
            bytes_per_pixel=self._bytes_per_pixel(),
            memory=available_memory(),
        )
        while True:
            try:
                with memory_errors():
                    return self._fuse_tiles(pair, side, progress)
            except MemoryError as error:
                side = max(height, width) // 2 if side is None else side // 2
                if side < self._network.size_multiple:
                    raise InputError(f"out of memory even in tiles: {error}") from error

    def _fuse_tiles(
        self, pair: Pair, side: int | None, progress: Progress | None
    ) -> tuple[NDArray[np.float32], int]:
        multiple = self._network.size_multiple
        height, width = pair.guide.shape[1:]
        upsampled = pair.upsampled
        if upsampled is None:
            upsampled = upsample_bicubic(torch.from_numpy(pair.lr)[None], self.scale)[0].numpy()
        # Windows must begin on the network's grid, where they are cut as in the whole picture.
        side = max(height, width) if side is None else max(side // multiple, 1) * multiple
        tiles = plan_tiles(height, width, side, self._halo(), multiple)
        result = np.empty_like(upsampled)
        for done, tile in enumerate(tiles, start=1):
            top, left, bottom, right = tile.window
            y0, x0, y1, x1 = tile.core
            window = (slice(None), slice(top, bottom), slice(left, right))
            detail = self._run(upsampled[window][None], pair.guide[window][None])[0]
            core = (slice(None), slice(y0, y1), slice(x0, x1))
            result[core] = upsampled[core] + detail[:, y0 - top : y1 - top, x0 - left : x1 - left]
            if progress:
                progress(done, len(tiles), self.name)
        return pair.clipped(result), len(tiles)

    def _executor(self, engine: EngineName, precision: Precision, device: str) -> tuple[_Run, str]:
        if engine == "openvino" and device != "cpu":
            raise InputError(f"the OpenVINO engine runs on the CPU, not on {device!r}: use torch")
        if engine != "torch" and device == "cpu":
            try:
                return _openvino(self._network, precision, self.name), "openvino"
            except ConversionError:
                if engine == "openvino":
                    raise
        return _torch(self._network, precision, device), "torch"

    def _halo(self) -> int:
        """Guide pixels around a tile: what it depends on, up to the next border of the grid."""
        multiple, radius = self._network.size_multiple, self._network.receptive_radius
        return multiple * math.ceil((multiple if radius is None else radius) / multiple)

    def _bytes_per_pixel(self) -> float:
        """Of a guide pixel: the widest layer a few times over, and the cubes around it."""
        widest = max(p.shape[0] for p in self._network.parameters() if p.ndim > 1)
        return 4.0 * (4 * widest + 3 * (self.bands + self.guide_channels))


def _joined(upsampled: NDArray[np.float32], guide: NDArray[np.float32], multiple: int) -> Tensor:
    both = torch.from_numpy(np.concatenate([upsampled, guide], 1))
    return pad_to_multiple(both, multiple)


def _torch(network: FusionModel, precision: Precision, device: str) -> _Run:
    target = find_device(device)
    network = network.to(target)

    def run(upsampled: NDArray[np.float32], guide: NDArray[np.float32]) -> NDArray[np.float32]:
        both = _joined(upsampled, guide, network.size_multiple).to(target)
        bf16 = torch.autocast(target.type, torch.bfloat16, enabled=precision == "bf16")
        with torch.inference_mode(), bf16:
            detail: Tensor = network.forward_aligned(both).float().cpu()
        return detail.numpy()

    return run


class _Aligned(nn.Module):
    """The traceable part as a module."""

    def __init__(self, network: FusionModel) -> None:
        super().__init__()
        self.network = network
        self.forward_aligned = network.forward_aligned

    def forward(self, both: Tensor) -> Tensor:
        detail: Tensor = self.forward_aligned(both)
        return detail


def _openvino(network: FusionModel, precision: Precision, name: str) -> _Run:
    core, multiple = ov.Core(), network.size_multiple
    generator = torch.Generator().manual_seed(0)
    channels = network.channels + network.guide_channels
    examples = [
        (torch.rand(1, channels, rows * multiple, columns * multiple, generator=generator),)
        for rows, columns in ((2, 3), (3, 1))
    ]
    converted = convert_module(_Aligned(network).eval(), examples, core, name, model=network)
    execute = compile_network(converted, core, "bf16" if precision == "bf16" else "fp32")
    return lambda up, guide: execute(_joined(up, guide, multiple).numpy())
