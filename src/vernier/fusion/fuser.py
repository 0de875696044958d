"""A coarse cube and a sharp guide in, a sharp cube out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vernier.devices import find_device
from vernier.engines import EngineName, Precision
from vernier.engines.openvino.conversion import ConversionError, convert_module
from vernier.engines.openvino.execution import compile_network
from vernier.engines.tiles import available_memory, plan_tiles, tile_side
from vernier.errors import InputError
from vernier.fusion.classical import CLASSICAL
from vernier.imaging.simulation import blur_and_decimate, find_response, make_guide, preset
from vernier.models.layers import FusionModel, pad_to_multiple, upsample_bicubic
from vernier.zoo.cards import load_card
from vernier.zoo.checkpoints import load_model

__all__ = ["ClassicalFuser", "Fuser", "default_method"]

# What `vernier fuse` takes of itself: the network whose weights come with the package, for cubes
# such as it was trained on, and for all others the best of what needs no training.
_TRAINED, _TRAINED_SCALE, _UNTRAINED = "psrt-s", 4, "guided-filter"
_TRAINED_CAMERAS = "cave"
# Relative root mean square. What the trained network's cameras saw differs by rounding, up to 0.012
# with an 8-bit guide; with the D700's other published response, for which the network already does
# worse than a guided filter, by 0.026 to 0.055 on four CAVE scenes.
_SAME_CAMERAS = 0.02
_SAME_BAND = 5.0

Progress = Callable[[int, int], None]
# (1, bands + guide channels, H, W), sides multiples of the network's -> (1, bands, H, W)
_Run = Callable[[Tensor], Tensor]


class Fuser:
    """Fuse cubes with their guides with one model.

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
        self._run, self.engine_name = self._executor(engine, precision, device or "cpu")

    @property
    def exact_tiles(self) -> bool:
        """Whether the tiled cube is the whole one's, to rounding."""
        return self._network.receptive_radius is not None

    def fuse(
        self,
        lr: NDArray[Any],
        guide: NDArray[Any],
        upsampled: NDArray[Any] | None = None,
        *,
        progress: Progress | None = None,
    ) -> NDArray[np.float32]:
        """The sharp cube.

        Args:
            lr: (bands, H, W), values nominally in [0, 1].
            guide: (guide_channels, scale H, scale W), the same.
            upsampled: the cube at the guide's size, where another than MATLAB's bicubic is wanted.
            progress: called with (tiles done, tiles).

        Returns:
            (bands, scale H, scale W) float32, clipped to [0, 1].

        Raises:
            InputError: the sizes or bands do not fit, a value is not finite, or memory runs out.
        """
        self.check(lr, guide, upsampled)
        coarse, sharp = (torch.from_numpy(np.float32(a))[None] for a in (lr, guide))
        if upsampled is None:
            up = upsample_bicubic(coarse, self.scale)
        else:
            up = torch.from_numpy(np.float32(upsampled))[None]
        height, width = guide.shape[1:]
        halo = self._halo()
        side = tile_side(
            height,
            width,
            tile=self._tile,
            halo=halo,
            bytes_per_pixel=self._bytes_per_pixel(),
            memory=available_memory(),
        )
        result = np.empty((self.bands, height, width), np.float32)
        while True:
            try:
                self._fuse_tiles(up, sharp, side, halo, result, progress)
            except MemoryError as error:
                side = max(height, width) // 2 if side is None else side // 2
                if side < self._network.size_multiple:
                    raise InputError(f"out of memory even in tiles: {error}") from error
            else:
                return result

    def _fuse_tiles(
        self,
        upsampled: Tensor,
        guide: Tensor,
        side: int | None,
        halo: int,
        result: NDArray[np.float32],
        progress: Progress | None,
    ) -> None:
        multiple = self._network.size_multiple
        height, width = guide.shape[-2:]
        # Windows must begin on the network's grid, where they are cut as in the whole picture.
        side = max(height, width) if side is None else max(side // multiple, 1) * multiple
        tiles = plan_tiles(height, width, side, halo, multiple)
        for done, tile in enumerate(tiles, start=1):
            top, left, bottom, right = tile.window
            y0, x0, y1, x1 = tile.core
            window = (slice(None), slice(None), slice(top, bottom), slice(left, right))
            both = torch.cat([upsampled[window], guide[window]], 1)
            detail = self._run(pad_to_multiple(both, multiple))[0]
            core = (slice(None), slice(y0, y1), slice(x0, x1))
            fused = upsampled[0][core] + detail[:, y0 - top : y1 - top, x0 - left : x1 - left]
            result[core] = fused.clamp(0, 1).numpy()
            if progress:
                progress(done, len(tiles))

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

    def check(
        self, lr: NDArray[Any], guide: NDArray[Any], upsampled: NDArray[Any] | None = None
    ) -> None:
        """Refuse what `fuse` cannot take.

        Raises:
            InputError: sizes or bands do not fit, or a value is not finite.
        """
        if lr.ndim != 3 or guide.ndim != 3 or not lr.size or not guide.size:
            raise InputError(
                "a cube is (bands, H, W) and a guide (channels, H, W), not "
                f"{lr.shape} and {guide.shape}"
            )
        for what, array, channels in (
            ("cube", lr, self.bands),
            ("guide", guide, self.guide_channels),
        ):
            if array.shape[0] != channels:
                raise InputError(
                    f"the {what} has {array.shape[0]} bands, {self.name} was trained for "
                    f"{channels}: choose those bands, or train a model for yours"
                )
        wanted = (lr.shape[1] * self.scale, lr.shape[2] * self.scale)
        if guide.shape[1:] != wanted:
            raise InputError(
                f"{self.name} is for scale {self.scale}: a cube of {lr.shape[2]}x{lr.shape[1]} "
                f"needs a guide of {wanted[1]}x{wanted[0]} pixels, not "
                f"{guide.shape[2]}x{guide.shape[1]}; crop or resize one of them"
            )
        if upsampled is not None and upsampled.shape != (self.bands, *wanted):
            raise InputError(
                f"the upsampled cube must be {(self.bands, *wanted)}, not {upsampled.shape}"
            )
        _check_finite(lr, guide)


class ClassicalFuser:
    """Fuse by a method that needs no training, for any number of bands and any whole scale.

    Args:
        method: a name of `vernier.fusion.classical.CLASSICAL`, in any case, with hyphens or spaces.

    Raises:
        InputError: another name.
    """

    engine_name = "torch"

    def __init__(self, method: str) -> None:
        methods = {_hyphenated(name): run for name, run in CLASSICAL.items()}
        if method not in methods:
            raise InputError(f"unknown method {method!r}; known: {', '.join(methods)}")
        self.name = method
        self._run = methods[method]

    @staticmethod
    def knows(method: str) -> bool:
        return method in map(_hyphenated, CLASSICAL)

    def fuse(
        self, lr: NDArray[Any], guide: NDArray[Any], *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """As `Fuser.fuse`, whole: (bands, H, W) and (channels, scale H, scale W)."""
        self.check(lr, guide)
        fused = self._run(torch.from_numpy(np.float32(lr)), torch.from_numpy(np.float32(guide)))
        if progress:
            progress(1, 1)
        return fused.clamp(0, 1).numpy()

    def check(self, lr: NDArray[Any], guide: NDArray[Any]) -> None:
        """Refuse what `fuse` cannot take.

        Raises:
            InputError: the guide's sides are not the same whole multiple of the cube's, or a value
                is not finite.
        """
        (height, width), (rows, columns) = lr.shape[1:], guide.shape[1:]
        scale = rows // height
        if scale < 1 or (rows, columns) != (scale * height, scale * width):
            raise InputError(
                f"a guide of {columns}x{rows} is no whole multiple of a cube of {width}x{height}: "
                "crop or resize one of them"
            )
        _check_finite(lr, guide)


def default_method(
    lr: NDArray[Any], guide: NDArray[Any], wavelengths: Sequence[float] | None
) -> tuple[str, str]:
    """What to fuse by when nothing is asked for.

    Args:
        lr, guide: as in `Fuser.fuse`.
        wavelengths: of the cube's bands in nanometres; None where they are not known.

    Returns:
        The network that comes with the package if the cube is such as it was trained on: as many
        bands and guide channels, the scale, where both are known the wavelengths to 5 nm, and the
        cameras' response and blur. Else the guided filter. And a sentence that says why.
    """
    card = load_card(_TRAINED, _TRAINED_SCALE)
    bands, channels = card.config["bands"], card.config["guide_channels"]
    trained = f"{_TRAINED} was trained on {bands} bands"
    if card.wavelengths:
        trained += f" of {min(card.wavelengths):g} to {max(card.wavelengths):g} nm"
    trained += f" with a guide of {channels} channels at x{_TRAINED_SCALE}"
    fits = (
        (lr.shape[0], guide.shape[0]) == (bands, channels)
        and guide.shape[1:] == tuple(_TRAINED_SCALE * side for side in lr.shape[1:])
        and not (
            wavelengths
            and card.wavelengths
            and np.abs(np.subtract(wavelengths, card.wavelengths)).max() > _SAME_BAND
        )
    )
    if not fits:
        return _UNTRAINED, f"{trained}, which this is not: {_UNTRAINED} is taken"
    apart = _cameras_apart(lr, guide)
    if apart <= _SAME_CAMERAS:
        return _TRAINED, trained
    return _UNTRAINED, (
        f"{_TRAINED} was trained on other cameras (what they would see is {100 * apart:.1f} % "
        f"apart from this guide): {_UNTRAINED} is taken; -n {_TRAINED} insists"
    )


def _cameras_apart(lr: NDArray[Any], guide: NDArray[Any]) -> float:
    """The response applied to the cube, against the guide reduced as the cube was, relatively."""
    cameras = preset(_TRAINED_CAMERAS, _TRAINED_SCALE)
    weights = find_response(cameras.response).weights
    seen = make_guide(torch.from_numpy(np.float64(lr)), weights)
    try:
        reduced = blur_and_decimate(
            torch.from_numpy(np.float64(guide)), cameras.blur, _TRAINED_SCALE
        )
    except InputError:  # too small for the blur
        return float("inf")
    error, power = (seen - reduced).square().mean(), seen.square().mean()
    return float((error / power.clamp_min(1e-12)).sqrt())


def _hyphenated(name: str) -> str:
    return name.lower().replace(" ", "-")


def _check_finite(lr: NDArray[Any], guide: NDArray[Any]) -> None:
    for what, values in (("cube", lr), ("guide", guide)):
        if not np.isfinite(values).all():
            raise InputError(f"the {what} has values that are not finite: fill or mask them")


def _torch(network: FusionModel, precision: Precision, device: str) -> _Run:
    target = find_device(device)
    network = network.to(target)

    def run(both: Tensor) -> Tensor:
        bf16 = torch.autocast(target.type, torch.bfloat16, enabled=precision == "bf16")
        with torch.inference_mode(), bf16:
            detail: Tensor = network.forward_aligned(both.to(target)).float().cpu()
        return detail

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
    return lambda both: torch.from_numpy(execute(both.numpy()))
