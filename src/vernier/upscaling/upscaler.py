"""Pictures in, larger pictures out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from vernier.devices import available_memory, memory_errors
from vernier.engines import EngineName, Precision
from vernier.engines.tiles import (
    Tile,
    check_tile,
    in_smaller_tiles,
    plan_blended_tiles,
    plan_tiles,
    run_tiles,
    tile_side,
)
from vernier.errors import InputError
from vernier.imaging.bicubic import resize_pixels, resized_length, to_pixels
from vernier.io import Picture, losses_in, read_picture, write_picture
from vernier.io.files import keep_date, protect, reason_of
from vernier.progress import Progress
from vernier.upscaling.alpha import bleed
from vernier.upscaling.gaps import fill_gaps, find_gaps, put_gaps_back
from vernier.upscaling.highlights import split_highlights
from vernier.upscaling.pixels import PixelEngine, create_pixel_engine
from vernier.upscaling.pixels.compose import CARRY_RADIUS
from vernier.zoo.facts import Facts
from vernier.zoo.networks import Network, networks_of
from vernier.zoo.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Upscaled", "Upscaler", "losses_of", "plan_scales", "upscale"]

TileSize = int | Literal["auto"] | None

# What a model that sees everything gets around its tiles; there tiling is an approximation.
_GLOBAL_HALO = 32
_EXACT_TILE = 256
# Share of values that are beyond black and white.
_MUCH = 0.1
_DTYPES = (np.uint8, np.uint16, np.float32)


@dataclass(frozen=True)
class Upscaled:
    """A picture that was made larger, and what should be known of it.

    Attributes:
        picture: the larger one.
        notes: sentences for people: that the scale is not the network's own, that tiles do not add
            up to the whole picture's result.
        precision: what the network was computed in.
    """

    picture: Picture
    notes: tuple[str, ...]
    precision: Literal["fp32", "bf16"]


@dataclass(frozen=True)
class _Stage:
    facts: Facts
    engine: PixelEngine

    @property
    def halo(self) -> int:
        radius = self.facts.receptive_radius
        return _GLOBAL_HALO if radius is None else max(radius, CARRY_RADIUS)

    def plan(self, height: int, width: int, side: int) -> list[Tile]:
        facts = self.facts
        if facts.receptive_radius is None:
            return plan_blended_tiles(height, width, side, self.halo, facts.size_multiple)
        return plan_tiles(height, width, side, self.halo)


class Upscaler:
    """Upscale pictures with one model.

    Luma models work on BT.601 Y and carry chroma by MATLAB's bicubic; gray pictures run on their
    own values. Alpha is upscaled by bicubic, after the visible colours have been spread under
    the transparent pixels; a fourth band that is no alpha is upscaled as a gray picture. Size,
    depth, profile and metadata are kept.

    Args:
        model: a registry name, a weight file, or a module with ``scale`` and ``colour``.
        scale: any number above 1; None is the model's own (2 where it has several). See
            `plan_scales` for what happens where there are no weights for it.
        engine, precision: see `vernier.engines.create_engine`.
        tile: side of the tiles in LR pixels; None or 0 runs pictures whole; "auto" does so until
            the estimated memory exceeds half of what is available, and takes smaller tiles when
            memory runs out all the same. With a finite receptive radius the tiled picture is the
            whole picture's; other networks' tiles overlap and are faded into each other.
        ensemble: average over the eight flips and rotations (geometric self-ensemble, "x8").
        device: a torch device, see `create_engine`.
        exact_tiles: of a GRLA, tiles (of ``tile``, 256 where that says none) that share the sums
            of its attention, so that the result is the whole picture's, to rounding; on torch and
            the CPU. See `vernier.upscaling.exact_tiles`.

    Attributes:
        scale: as used.
        name, engine_name: of the model and what executes it.

    Any number of threads may use one upscaler at the same time; each gets the result of its own
    picture, and nothing of a call is kept.

    Raises:
        InputError: a setting that cannot be used; the message says which and why.

    Source of the ensemble: Timofte et al., "Seven ways to improve example-based single image
    super resolution", CVPR 2016, section 3.5.

    Example:
        >>> import numpy as np
        >>> upscaler = Upscaler("sesr-m5", scale=2)
        >>> upscaler.upscale_array(np.zeros((30, 40, 3), np.uint8)).shape
        (60, 80, 3)
    """

    def __init__(
        self,
        model: str | Path | nn.Module = DEFAULT_MODEL,
        *,
        scale: float | None = None,
        engine: EngineName = "auto",
        precision: Precision = "auto",
        tile: TileSize = "auto",
        ensemble: bool = False,
        device: str | None = None,
        exact_tiles: bool = False,
    ) -> None:
        check_tile(tile)
        networks = networks_of(model)
        if scale is None:
            scale = 2 if 2 in networks else min(networks)
        if not (math.isfinite(scale) and scale > 1):
            raise InputError(f"scale must be a number above 1, not {scale:g}")
        self.scale = scale
        chain = plan_scales(scale, networks)
        loaded = {s: networks[s]() for s in set(chain)}
        for network in loaded.values():
            if network.facts.colour == "cube":
                raise InputError(f"{network.name} fuses a cube with a guide: use vernier fuse")
        if exact_tiles:
            if engine == "openvino" or device not in (None, "cpu"):
                raise InputError(
                    "exact tiles run on torch and the CPU: leave out engine and device"
                )
            engine, device = "torch", "cpu"
            side = tile if isinstance(tile, int) and tile else _EXACT_TILE
            loaded = {s: _with_exact_tiles(network, side) for s, network in loaded.items()}
            # What the engine is given is the whole picture.
            tile = None
        engines = {s: create_pixel_engine(n, engine, precision, device) for s, n in loaded.items()}
        self._stages = [_Stage(loaded[s].facts, engines[s]) for s in chain]
        self._tile = tile
        self._exact_tiles = exact_tiles
        self._ensemble = ensemble
        self.name = loaded[chain[0]].name
        self.engine_name = self._stages[0].engine.name
        self._note = _note(self.name, scale, chain)

    def upscale(self, picture: Picture, *, progress: Progress | None = None) -> Upscaled:
        """The picture, ``ceil(side * scale)`` on each side; everything else is kept.

        Args:
            picture: see `vernier.io.Picture`.
            progress: told the tiles that are done, where there are any.

        Raises:
            InputError: see `upscale_array`.
        """
        pixels, is_approximate = self._upscale_picture(picture, progress)
        notes = [self._note] if self._note else []
        if is_approximate:
            notes.append(
                f"{self.name} looks at the whole picture, so that its tiles come near the whole "
                "picture's result but do not equal it; --tile 0 takes none, and --exact-tiles, "
                "which GRLA has, makes them exact"
            )
        if note := _beyond_note(picture):
            notes.append(note)
        precision = self._stages[0].engine.precision(picture.pixels.dtype)
        return Upscaled(picture.with_pixels(pixels, scale=self.scale), tuple(notes), precision)

    def _upscale_picture(
        self, picture: Picture, progress: Progress | None
    ) -> tuple[NDArray[Any], bool]:
        pixels = picture.pixels
        gaps = find_gaps(pixels, has_alpha=picture.has_alpha, no_data=picture.no_data)
        seen = pixels if gaps is None else fill_gaps(pixels, gaps)
        if picture.has_extra_band:
            # Such as near infrared: a gray picture of its own, which says nothing of the colours.
            colour, is_approximate = self._upscale(seen[..., :-1], progress)
            band, in_parts = self._upscale(seen[..., -1:], progress)
            result = np.concatenate([colour, band], 2)
            is_approximate |= in_parts
        else:
            result, is_approximate = self._upscale(seen, progress)
        if gaps is not None:
            put_gaps_back(result, pixels, gaps, self.scale, no_data=picture.no_data)
        return result, is_approximate

    def upscale_array(
        self, pixels: NDArray[Any], *, progress: Progress | None = None
    ) -> NDArray[Any]:
        """The same for pixels alone.

        Args:
            pixels: (H, W) or (H, W, C), uint8, uint16 or float32; C is 1 (gray), 2 (gray and
                alpha), 3 (RGB) or 4 (RGB and alpha). Of float32 white is 1; what is above it, and
                what is negative, is carried by bicubic. What is not finite is filled for the
                network, and is there again in the result.
            progress: told the tiles that are done, where there are any.

        Returns:
            (H', W') or (H', W', C), same type.

        Raises:
            InputError: another shape or type, or the memory does not suffice.
        """
        if not isinstance(pixels, np.ndarray):
            raise InputError(f"expected a numpy array, got {type(pixels).__name__}")
        if pixels.ndim == 2:
            return self.upscale_array(pixels[..., None], progress=progress)[..., 0]
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or not pixels.size:
            raise InputError(f"expected pixels (H, W) or (H, W, 1 to 4), got {pixels.shape}")
        if pixels.dtype not in _DTYPES:
            raise InputError(f"expected uint8, uint16 or float32 pixels, got {pixels.dtype}")
        return self._upscale_picture(Picture(pixels), progress)[0]

    def _upscale(
        self, pixels: NDArray[Any], progress: Progress | None
    ) -> tuple[NDArray[Any], bool]:
        """The larger pixels, and whether tiles only came near them."""
        height, width, channels = pixels.shape
        size = (resized_length(height, self.scale), resized_length(width, self.scale))
        _memory_beside((*size, channels), pixels.dtype)
        try:
            with memory_errors():
                if pixels.dtype != np.float32:
                    return self._upscale_unit(pixels, size, progress)
                seen, light = split_highlights(pixels)
                result, is_approximate = self._upscale_unit(seen, size, progress)
                for part in light:
                    result += part.enlarged(self.scale, size)
                return result, is_approximate
        except MemoryError as error:
            raise InputError(
                f"out of memory: a picture of {width}x{height} pixels to one of "
                f"{size[1]}x{size[0]} ({reason_of(error)}): choose a smaller scale"
            ) from error

    def _upscale_unit(
        self, pixels: NDArray[Any], size: tuple[int, int], progress: Progress | None
    ) -> tuple[NDArray[Any], bool]:
        dtype = pixels.dtype
        if pixels.shape[2] in (2, 4):
            pixels = bleed(pixels)
        reached, is_approximate = 1, False
        for stage in self._stages:
            reached *= stage.facts.scale
            # What is processed further keeps more than eight bits on the way.
            between = np.dtype(np.uint16) if dtype == np.uint8 else dtype
            done = stage is self._stages[-1] and reached == self.scale
            pixels, in_parts = self._run(stage, pixels, dtype if done else between, progress)
            is_approximate |= in_parts
        if reached != self.scale:
            pixels = resize_pixels(pixels, self.scale / reached, size, dtype)
        return pixels, is_approximate

    def _run(
        self, stage: _Stage, pixels: NDArray[Any], dtype: np.dtype[Any], progress: Progress | None
    ) -> tuple[NDArray[Any], bool]:
        height, width, channels = pixels.shape
        facts, engine = stage.facts, stage.engine
        shape = (height * facts.scale, width * facts.scale, channels)

        def run(window: NDArray[Any]) -> NDArray[Any]:
            if self._ensemble:
                return _self_ensemble(engine, window, dtype)
            return engine.run(window, dtype)

        def run_in(side: int | None) -> tuple[NDArray[Any], bool]:
            if side is None:
                return run(pixels), False
            result = np.empty(shape, dtype)
            tiles = stage.plan(height, width, side)
            run_tiles(run, pixels, result, tiles, progress)
            return result, facts.receptive_radius is None and len(tiles) > 1

        if self._exact_tiles:
            return run_in(None)
        bytes_per_pixel = engine.bytes_per_pixel(channels)
        if self._ensemble:
            bytes_per_pixel += 2 * 4 * channels * facts.scale**2
        memory = _memory_beside(shape, dtype)
        if engine.device != "cpu":
            memory = available_memory(engine.device)
        side = tile_side(
            height,
            width,
            tile=self._tile,
            halo=stage.halo,
            bytes_per_pixel=bytes_per_pixel,
            memory=memory,
        )
        return in_smaller_tiles(run_in, side, max(height, width))


def _with_exact_tiles(network: Network, side: int) -> Network:
    from vernier.upscaling.exact_tiles import ExactTiles

    module = ExactTiles(network.module(), tile=side)
    return replace(network, module=lambda: module)


def plan_scales(scale: float, offered: Iterable[int]) -> list[int]:
    """Which networks to run for a scale, one after the other.

    The network of that scale; else the next larger one (the caller resizes down to size); beyond
    the largest, two whose product it is; else as many as fit, largest first (the caller enlarges
    the rest of the way).
    """
    largest_first = sorted(offered, reverse=True)
    if scale in largest_first:
        return [int(scale)]
    if above := [s for s in largest_first if s > scale]:
        return [min(above)]
    for s in largest_first:
        if scale / s in largest_first:
            return [s, int(scale / s)]
    chain, rest = [], scale
    for s in largest_first:
        while rest >= s:
            chain.append(s)
            rest /= s
    return chain


def _note(name: str, scale: float, chain: list[int]) -> str:
    if chain == [scale]:
        return ""
    note = f"{name} has no weights for x{scale:g}: runs " + ", then ".join(f"x{s}" for s in chain)
    reached = math.prod(chain)
    if reached == scale:
        return note
    return f"{note}, then bicubic {'down' if reached > scale else 'up'} to x{scale:g}"


def _beyond_note(picture: Picture) -> str:
    """Says where much of a picture is nothing that a network knows."""
    share, lowest, highest = picture.beyond_unit()
    if share < _MUCH:
        return ""
    return (
        f"of its values, which go from {lowest:g} to {highest:g}, {share:.0%} lie outside of 0 to "
        "1: these are enlarged by bicubic, not by the network"
    )


def _memory_beside(shape: tuple[int, ...], dtype: np.dtype[Any]) -> float:
    """Bytes available once an array is made."""
    needed, available = math.prod(shape) * dtype.itemsize, available_memory()
    if needed > available:
        raise InputError(
            f"the result, {shape[1]}x{shape[0]} pixels, needs {needed / 2**30:.1f} GiB of memory, "
            f"and {available / 2**30:.1f} are available: choose a smaller scale"
        )
    return available - needed


def _self_ensemble(engine: PixelEngine, pixels: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Mean of the upscaled flips and rotations, each turned back; rounded once."""
    total: NDArray[Any] = np.zeros((), np.float32)
    for turns in range(4):
        for mirrored in (False, True):
            turned = np.rot90(pixels[:, ::-1] if mirrored else pixels, turns)
            upscaled = engine.run(np.ascontiguousarray(turned), np.dtype(np.float32))
            back = np.rot90(upscaled, -turns)
            total = total + (back[:, ::-1] if mirrored else back)
    return to_pixels(total / 8, dtype)


def upscale(
    picture: Picture | str | Path,
    output: str | Path | None = None,
    *,
    model: str | Path | nn.Module = DEFAULT_MODEL,
    scale: float | None = None,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    tile: TileSize = "auto",
    ensemble: bool = False,
    device: str | None = None,
    exact_tiles: bool = False,
    keep_dates: bool = False,
) -> Upscaled:
    """Upscale one picture; for several, `upscale_files` or one `Upscaler` with the same settings.

    Args:
        picture: a file, or a picture already read.
        output: a file to write, whose suffix chooses the format; None writes nothing.
        keep_dates: give ``output`` the date when the file ``picture`` was last changed.

    Returns:
        The larger picture, with its notes.

    Raises:
        InputError: a setting that cannot be used, or ``output`` is the input or the weight file.
        PictureError: the file cannot be read or written.

    Example:
        >>> upscaled = upscale("photo.png", "photo-x3.png", scale=3)
        >>> upscaled.picture.width, upscaled.picture.height
        (192, 192)
    """
    dated = None if isinstance(picture, Picture) else Path(picture)
    if keep_dates and (output is None or dated is None):
        raise InputError("keep_dates needs a file to read and a file to write")
    read = [Path(each) for each in (picture, model) if isinstance(each, str | Path)]
    protect(read, [None if output is None else Path(output)])
    upscaler = Upscaler(
        model,
        scale=scale,
        engine=engine,
        precision=precision,
        tile=tile,
        ensemble=ensemble,
        device=device,
        exact_tiles=exact_tiles,
    )
    source = picture if isinstance(picture, Picture) else read_picture(Path(picture))
    result = upscaler.upscale(source)
    losses = losses_of(result.picture, output)
    if output is not None:
        write_picture(result.picture, Path(output))
        if keep_dates and dated and (undated := keep_date(dated, Path(output))):
            losses += (undated,)
    return replace(result, notes=(*result.notes, *losses))


def losses_of(picture: Picture, output: str | Path | None = None) -> tuple[str, ...]:
    """What of the file that was read is not in the upscaled picture, or in the file written of it.

    Args:
        output: the file written; None if none was.
    """
    losses = list(picture.notes)
    if picture.frames > 1:
        losses.append("of several frames or pages only the first is upscaled")
    if output is not None:
        losses += losses_in(picture, Path(output).suffix)
    return tuple(losses)
