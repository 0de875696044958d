"""Pictures in, larger pictures out."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from vernier.devices import available_memory, memory_errors
from vernier.engines import EngineName, Precision, check_threads
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
from vernier.imaging.bicubic import peak_value, resize_pixels, resized_length, to_pixels
from vernier.io import Picture, losses_in, write_picture
from vernier.io.files import keep_date, protect, reason_of
from vernier.io.picture_formats import check_sides
from vernier.progress import Progress
from vernier.upscaling.alpha import bleed
from vernier.upscaling.gaps import fill_gaps, find_gaps, put_gaps_back
from vernier.upscaling.highlights import split_highlights
from vernier.upscaling.pixels import PixelEngine, create_pixel_engine
from vernier.upscaling.pixels.compose import CARRY_RADIUS
from vernier.upscaling.sizes import Size
from vernier.upscaling.sources import Source, picture_of
from vernier.zoo.facts import Facts
from vernier.zoo.networks import Network, networks_of
from vernier.zoo.own import file_of
from vernier.zoo.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Upscaled", "Upscaler", "losses_of", "plan_scales", "upscale"]

TileSize = int | Literal["auto"] | None

# What a model that sees everything gets around its tiles; there tiling is an approximation.
_GLOBAL_HALO = 32
_EXACT_TILE = 256
# A picture with a shorter side than this is nothing but border: it is extended for the network.
_TINY = 8
_LARGEST_SCALE = 1_000_000
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
class _Route:
    """From a picture to its larger one.

    Attributes:
        size: (H, W) of the result.
        chain: the networks' scales, one after the other; none where nothing is to be enlarged.
        factor: of the result, vertical and horizontal where they may differ.
        note: what should be known of it; "" if nothing.
    """

    size: tuple[int, int]
    chain: tuple[int, ...]
    factor: float | tuple[float, float]
    note: str = ""


@dataclass(frozen=True)
class _Stage:
    name: str
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
        scale: any number above 1, up to a million; None is the model's own (2 where it has
            several). See `plan_scales` for what happens where there are no weights for it. A model
            of scale 1, which removes noise, keeps the size: it takes no other scale, and no size.
        size: the size to reach, in place of a scale: of each picture as many steps as it needs,
            then bicubic to the very pixel. A picture that is larger is made smaller by bicubic,
            and a note says so.
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
        threads: that compute on the CPU; None takes all cores.
        progress: told that a network is converted, which takes seconds or minutes, once.

    Attributes:
        scale: as used; None where a size is to be reached.
        size: to reach; None where there is a scale.
        name, engine_name: of the model and what executes it.
        weights: the file, or the folder of a run, that the model was read from; None for others.

    What a picture's border looks at beyond it is nothing to a network, which takes that for gray:
    a picture with a side below 8 pixels is extended by reflection, and a frame of one colour, as
    wide as the network sees, keeps that colour to the edge.

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
        size: Size | None = None,
        engine: EngineName = "auto",
        precision: Precision = "auto",
        tile: TileSize = "auto",
        ensemble: bool = False,
        device: str | None = None,
        exact_tiles: bool = False,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        check_tile(tile)
        check_threads(threads)
        if scale is not None and size is not None:
            raise InputError("a scale and a size: choose one of them")
        networks = networks_of(model)
        own_scale = 2 if 2 in networks else min(networks)
        if scale is None and size is None:
            scale = own_scale
        self.scale, self.size = _checked_scale(scale, networks), size
        if exact_tiles:
            if engine == "openvino" or device not in (None, "cpu"):
                raise InputError(
                    "exact tiles run on torch and the CPU: leave out engine and device"
                )
            engine, device = "torch", "cpu"
        self._offered, self._networks = tuple(networks), dict(networks)
        self.weights = file_of(model) if isinstance(model, str | Path) else None
        self._settings: tuple[Any, ...] = (engine, precision, device, threads)
        self._exact_side = tile if isinstance(tile, int) and tile else _EXACT_TILE
        # With exact tiles, what the engine is given is the whole picture.
        self._tile = None if exact_tiles else tile
        self._exact_tiles = exact_tiles
        self._ensemble = ensemble
        self._stages: dict[int, _Stage] = {}
        self._lock = Lock()
        chain = [own_scale] if self.scale is None else plan_scales(self.scale, networks)
        stages = [self._stage(each, progress) for each in chain]
        if self.size is None:
            self._networks.clear()  # Not needed any more, and some hold a network.
        self.name = stages[0].name
        self.engine_name = stages[0].engine.name
        self._precision_of = stages[0].engine.precision

    def __repr__(self) -> str:
        target = f"scale={self.scale:g}" if self.scale is not None else f"size={self.size!r}"
        return f"Upscaler({self.name!r}, {target}, engine={self.engine_name!r})"

    def _stage(self, scale: int, progress: Progress | None = None) -> _Stage:
        """The network of a scale on its engine, made when it is needed first."""
        with self._lock:
            if scale not in self._stages:
                self._stages[scale] = self._made(scale, progress)
            return self._stages[scale]

    def _made(self, scale: int, progress: Progress | None) -> _Stage:
        network = self._networks[scale]()
        if network.facts.colour == "cube":
            raise InputError(f"{network.name} fuses a cube with a guide: use vernier fuse")
        if self._exact_tiles:
            network = _with_exact_tiles(network, self._exact_side)
        if progress and network.arrays is None and self._settings[0] != "torch":
            progress(0, 1, f"converting {network.name}, once")
        made = _Stage(network.name, network.facts, create_pixel_engine(network, *self._settings))
        del self._networks[scale]
        return made

    def _used(self, route: _Route) -> list[_Stage]:
        return [self._stage(scale) for scale in route.chain]

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that a picture of this size becomes."""
        rows, columns = self._route(height, width).size
        return columns, rows

    def _route(self, height: int, width: int) -> _Route:
        if self.scale is not None:
            size = resized_length(height, self.scale), resized_length(width, self.scale)
            chain = plan_scales(self.scale, self._offered)
            return _Route(size, tuple(chain), self.scale, _note(self.name, self.scale, chain))
        assert self.size is not None
        columns, rows = self.size.pixels(width, height)
        factor = (rows / height, columns / width)
        if max(factor) <= 1:
            same = (rows, columns) == (height, width)
            note = "a picture has the size already: its pixels are kept"
            if not same:
                note = "a picture is larger than the size: made smaller by bicubic, by no network"
            return _Route((rows, columns), (), factor, note)
        chain = plan_scales(max(factor), self._offered)
        reached = math.prod(chain)
        note = ""
        if (rows, columns) != (height * reached, width * reached):
            steps = ", then ".join(f"x{s}" for s in chain)
            note = f"{self.name} runs {steps}, then bicubic to the size"
        return _Route((rows, columns), tuple(chain), factor, note)

    def upscale(self, picture: Picture, *, progress: Progress | None = None) -> Upscaled:
        """The picture, ``ceil(side * scale)`` on each side; everything else is kept.

        Of a size to reach it is `Size.pixels`; printed, the picture gets the paper's density.

        Args:
            picture: see `vernier.io.Picture`.
            progress: told the tiles that are done, where there are any.

        Raises:
            InputError: see `upscale_array`.
        """
        pixels, is_approximate = self._upscale_picture(picture, progress)
        route = self._route(picture.height, picture.width)
        notes = [route.note] if route.note else []
        if is_approximate:
            notes.append(
                f"{self.name} looks at the whole picture, so that its tiles come near the whole "
                "picture's result but do not equal it; --tile 0 takes none, and --exact-tiles, "
                "which GRLA has, makes them exact"
            )
        notes += dict.fromkeys(each.engine.note for each in self._used(route) if each.engine.note)
        if note := _beyond_note(picture):
            notes.append(note)
        larger = picture.with_pixels(pixels, scale=self.scale)
        if self.size and self.size.paper:
            larger = replace(larger, density=self.size.paper.density)
        return Upscaled(larger, tuple(notes), self._precision_of(picture.pixels.dtype))

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
            factor = self._route(picture.height, picture.width).factor
            put_gaps_back(result, pixels, gaps, factor, no_data=picture.no_data)
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
        route = self._route(height, width)
        size = route.size
        _memory_beside((*size, channels), pixels.dtype)
        try:
            with memory_errors():
                if pixels.dtype != np.float32:
                    return self._upscale_unit(pixels, route, progress)
                seen, light = split_highlights(pixels)
                result, is_approximate = self._upscale_unit(seen, route, progress)
                for part in light:
                    result += part.enlarged(route.factor, size)
                return result, is_approximate
        except MemoryError as error:
            raise InputError(
                f"out of memory: a picture of {width}x{height} pixels to one of "
                f"{size[1]}x{size[0]} ({reason_of(error)}): choose a smaller scale"
            ) from error

    def _upscale_unit(
        self, pixels: NDArray[Any], route: _Route, progress: Progress | None
    ) -> tuple[NDArray[Any], bool]:
        dtype, (height, width) = pixels.dtype, pixels.shape[:2]
        if not route.chain and route.size == (height, width):
            return pixels.copy(), False
        if pixels.shape[2] in (2, 4):
            pixels = bleed(pixels)
        reached, is_approximate = 1, False
        for step, scale in enumerate(route.chain, 1):
            reached *= scale
            # What is processed further keeps more than eight bits on the way.
            between = np.dtype(np.uint16) if dtype == np.uint8 else dtype
            done = step == len(route.chain) and self._is_reached(route, reached, height, width)
            stage = self._stage(scale, progress)
            kept = dtype if done else between
            pixels, in_parts = self._run(stage, pixels, kept, progress, self._tile)
            is_approximate |= in_parts
        if not self._is_reached(route, reached, height, width):
            rest: float | tuple[float, float]
            if isinstance(route.factor, tuple):
                rest = (route.factor[0] / reached, route.factor[1] / reached)
            else:
                rest = route.factor / reached
            pixels = resize_pixels(pixels, rest, route.size, dtype)
        return pixels, is_approximate

    def _is_reached(self, route: _Route, reached: int, height: int, width: int) -> bool:
        """Whether what the networks of the route make is the result."""
        if self.scale is not None:
            return reached == self.scale
        return route.size == (height * reached, width * reached)

    def _run(
        self,
        stage: _Stage,
        pixels: NDArray[Any],
        dtype: np.dtype[Any],
        progress: Progress | None,
        tile: TileSize,
    ) -> tuple[NDArray[Any], bool]:
        height, width, channels = pixels.shape
        facts, engine = stage.facts, stage.engine
        if min(height, width) < _TINY:
            # Mirrored, as far as the network looks, it has no border.
            edge = min(facts.receptive_radius or _GLOBAL_HALO, _GLOBAL_HALO)
            edge = max(edge, _TINY)
            mirrored = np.pad(pixels, ((edge, edge), (edge, edge), (0, 0)), mode="symmetric")
            enlarged, in_parts = self._run(stage, mirrored, dtype, progress, "auto")
            begin = edge * facts.scale
            inside = enlarged[begin:-begin, begin:-begin]
            return np.ascontiguousarray(inside), in_parts
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
            return run(pixels), False
        bytes_per_pixel = engine.bytes_per_pixel(channels)
        if self._ensemble:
            bytes_per_pixel += 2 * 4 * channels * facts.scale**2
        memory = _memory_beside(shape, dtype)
        if engine.device != "cpu":
            memory = available_memory(engine.device)
        side = tile_side(
            height,
            width,
            tile=tile,
            halo=stage.halo,
            bytes_per_pixel=bytes_per_pixel,
            memory=memory,
        )
        result, in_parts = in_smaller_tiles(run_in, side, max(height, width))
        _keep_flat_frame(pixels, result, facts)
        return result, in_parts


def _checked_scale(scale: float | None, offered: Collection[int]) -> float | None:
    if scale == 1 and 1 in offered:
        return scale
    if max(offered) == 1:
        told = "a size" if scale is None else f"{scale!r}"
        raise InputError(f"the model keeps the size of a picture: scale must be 1, not {told}")
    if scale is None:
        return None
    is_number = isinstance(scale, Real) and not isinstance(scale, bool)
    if not is_number or not (math.isfinite(scale) and 1 < scale <= _LARGEST_SCALE):
        told = f"{scale:g}" if is_number else repr(scale)
        raise InputError(f"scale must be a number above 1, up to a million, not {told}")
    return scale


def _keep_flat_frame(lr: NDArray[Any], hr: NDArray[Any], facts: Facts) -> None:
    """Give the border of a flat frame its colour: a network pads with what is no colour of it.

    Where the frame is as wide as that reaches, twice the receptive radius, every other pixel of it
    has the colour already, but for rounding. Any other picture is left as it is.
    """
    radius = facts.receptive_radius
    if not radius:
        return
    colour, depth, border = lr[0, 0], 2 * radius, radius * facts.scale
    if all((part == colour).all() for part in _frame(lr, depth)):
        value = to_pixels(colour.astype(np.float32) / np.float32(peak_value(lr.dtype)), hr.dtype)
        for part in _frame(hr, border):
            part[...] = value


def _frame(pixels: NDArray[Any], depth: int) -> tuple[NDArray[Any], ...]:
    return pixels[:depth], pixels[-depth:], pixels[:, :depth], pixels[:, -depth:]


def _with_exact_tiles(network: Network, side: int) -> Network:
    from vernier.upscaling.exact_tiles import ExactTiles

    module = ExactTiles(network.module(), tile=side)
    return replace(network, module=lambda: module)


def plan_scales(scale: float, offered: Iterable[int]) -> list[int]:
    """Which networks to run for a scale, one after the other.

    The network of that scale; else the next larger one (the caller resizes down to size); beyond
    the largest, two whose product it is; else as many as fit, largest first (the caller enlarges
    the rest of the way). A network of scale 1 is only for that scale.
    """
    largest_first = sorted(offered, reverse=True)
    if scale in largest_first:
        return [int(scale)]
    largest_first = [s for s in largest_first if s > 1]
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
    picture: Source,
    output: str | Path | None = None,
    *,
    model: str | Path | nn.Module = DEFAULT_MODEL,
    scale: float | None = None,
    size: Size | None = None,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    tile: TileSize = "auto",
    ensemble: bool = False,
    device: str | None = None,
    exact_tiles: bool = False,
    threads: int | None = None,
    keep_dates: bool = False,
) -> Upscaled:
    """Upscale one picture; for several, `upscale_files` or one `Upscaler` with the same settings.

    Args:
        picture: a file's name, a picture already read, or what `vernier.upscaling.picture_of`
            takes: a file's content, an open file, a picture of Pillow, an array.
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
    dated = Path(picture) if isinstance(picture, str | Path) else None
    if keep_dates and (output is None or dated is None):
        raise InputError("keep_dates needs a file to read and a file to write")
    read = [Path(each) for each in (picture, model) if isinstance(each, str | Path)]
    protect(read, [None if output is None else Path(output)])
    upscaler = Upscaler(
        model,
        scale=scale,
        size=size,
        engine=engine,
        precision=precision,
        tile=tile,
        ensemble=ensemble,
        device=device,
        exact_tiles=exact_tiles,
        threads=threads,
    )
    source = picture_of(picture)
    if output is not None:
        check_sides(*upscaler.size_of(source.width, source.height), Path(output).suffix)
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
