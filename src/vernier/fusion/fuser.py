"""A coarse cube and a sharp guide in, a sharp cube out."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from vernier.devices import available_memory, memory_errors
from vernier.engines import EngineName, Precision, create_engine
from vernier.engines.tiles import check_tile, in_smaller_tiles, plan_tiles, tile_side
from vernier.errors import InputError
from vernier.fusion.pair import Pair
from vernier.fusion.result import Fused
from vernier.models.layers import FusionModel, upsample_bicubic
from vernier.progress import Progress
from vernier.zoo.networks import find_network

__all__ = ["Fuser"]


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

    Example:
        >>> fuser = Fuser("psrt-s")
        >>> fuser.scale, fuser.bands, fuser.guide_channels
        (4, 31, 3)
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
        check_tile(tile)
        network = find_network(model, scale)
        self.name = network.name
        self._facts = facts = network.facts
        if facts.colour != "cube":
            raise InputError(f"{self.name} upscales pictures: use vernier upscale")
        self.scale, self.bands = facts.scale, facts.channels
        self.guide_channels = facts.guide_channels
        self._tile = tile
        try:
            self._engine = create_engine(network, engine, precision, device)
        except MemoryError as error:
            raise InputError(f"{self.name} does not fit into the memory: {error}") from error
        self.engine_name = self._engine.name

    @property
    def exact_tiles(self) -> bool:
        """Whether the tiled cube is the whole one's, to rounding."""
        return self._facts.receptive_radius is not None

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
        height, width = pair.guide.shape[1:]
        side = tile_side(
            height,
            width,
            tile=self._tile,
            halo=self._halo(),
            bytes_per_pixel=self._engine.bytes_per_pixel,
            memory=available_memory(self._engine.device),
        )
        values, tiles = in_smaller_tiles(
            lambda side: self._in_tiles(pair, side, progress), side, max(height, width)
        )
        notes = pair.notes
        if tiles > 1 and not self.exact_tiles:
            notes += (f"fused in {tiles} tiles: {self.name} would give another cube whole",)
        return Fused(
            pair,
            values,
            method=self.name,
            engine=self.engine_name,
            seconds=time.perf_counter() - start,
            precision=self._engine.precision,
            notes=notes,
        )

    def _in_tiles(
        self, pair: Pair, side: int | None, progress: Progress | None
    ) -> tuple[NDArray[np.float32], int]:
        """The values, and in how many tiles of about this side they were made."""
        multiple = self._facts.size_multiple
        height, width = pair.guide.shape[1:]
        with memory_errors():
            upsampled = pair.upsampled
            if upsampled is None:
                upsampled = upsample_bicubic(torch.from_numpy(pair.lr)[None], self.scale)[0].numpy()
            result = np.empty_like(upsampled)
        # Windows must begin on the network's grid, where they are cut as in the whole picture.
        side = max(height, width) if side is None else max(side // multiple, 1) * multiple
        tiles = plan_tiles(height, width, side, self._halo(), multiple)
        for done, tile in enumerate(tiles, start=1):
            top, left, bottom, right = tile.window
            y0, x0, y1, x1 = tile.core
            window = (slice(None), slice(top, bottom), slice(left, right))
            detail = self._engine.run(upsampled[window][None], pair.guide[window][None])[0]
            core = (slice(None), slice(y0, y1), slice(x0, x1))
            result[core] = upsampled[core] + detail[:, y0 - top : y1 - top, x0 - left : x1 - left]
            if progress:
                progress(done, len(tiles), self.name)
        return pair.clipped(result), len(tiles)

    def _halo(self) -> int:
        """Guide pixels around a tile: what it depends on, up to the next border of the grid."""
        multiple, radius = self._facts.size_multiple, self._facts.receptive_radius
        return multiple * math.ceil((multiple if radius is None else radius) / multiple)
