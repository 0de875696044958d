"""Hyperspectral fusion, simulated: what a sharp cube looks like to the two cameras of the task.

The guide camera sees every pixel through a few broad spectral responses; the hyperspectral camera
sees every band through a blur, and only one pixel of ``scale`` x ``scale``. The published data sets
differ in all of these settings, and figures of one are not comparable with figures of another; so
every setting is an argument, and the groups' sets of them are presets.

Sums run over bands and taps in a fixed order instead of through a matrix product, so that the
result is the same bit for bit whatever the number of threads.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from vernier.errors import InputError
from vernier.imaging.resize import imresize
from vernier.imaging.wavelengths import VISIBLE_WAVELENGTHS

__all__ = [
    "PRESETS",
    "Blur",
    "Padding",
    "Preset",
    "Simulated",
    "SpectralResponse",
    "blur_and_decimate",
    "find_response",
    "make_guide",
    "preset",
    "read_response",
    "simulate",
]

Padding = Literal["reflect", "replicate", "circular", "zeros"]


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur and the pixel that decimation keeps.

    Attributes:
        size: taps a side, 1 or more. An even size reaches one pixel further to the right and down,
            so that its centre lies half a pixel after the pixel it belongs to.
        sigma: standard deviation in pixels of the sharp cube, > 0.
        padding: beyond the border: "reflect" (edge pixel not repeated), "replicate", "circular" or
            "zeros".
        offset: row and column kept of each ``scale`` x ``scale`` cell, counted from 0.

    Raises:
        InputError: a setting out of its range.
    """

    size: int = 3
    sigma: float = 0.5
    padding: Padding = "reflect"
    offset: int = 2

    def __post_init__(self) -> None:
        if self.size < 1 or not (math.isfinite(self.sigma) and self.sigma > 0) or self.offset < 0:
            raise InputError(
                f"blur size {self.size}, sigma {self.sigma}, offset {self.offset}: "
                "size must be 1 or more, sigma above 0, offset 0 or more"
            )
        if self.padding not in get_args(Padding):
            raise InputError(
                f"padding {self.padding}: choose one of {', '.join(get_args(Padding))}"
            )

    def taps(self) -> list[float]:
        """The weights along one axis, of sum 1; the kernel is their outer product."""
        centre = (self.size - 1) / 2
        weights = [math.exp(-((i - centre) ** 2) / (2 * self.sigma**2)) for i in range(self.size)]
        total = math.fsum(weights)
        return [weight / total for weight in weights]


@dataclass(frozen=True)
class Preset:
    """How one group makes its data: the response's name (see `find_response`) and the blur."""

    response: str
    blur: Blur
    source: str


def preset(name: str, scale: int) -> Preset:
    """The settings of a group, for a scale.

    "cave": the released PSRT cave_x4 checkpoint was trained on this or something very near: of the
    simulations tried on two CAVE scenes (both responses, blurs of 1 to 8 taps, every offset) it
    brings the published level, 50.9 dB, and 46 dB or less with the other response. Measured at x4
    (offset 2); for other scales the offset is scale // 2. The rest are what the groups' papers and
    programs say.

    Raises:
        InputError: no such preset.
    """
    sigma = 0.5 * scale
    presets = {
        "cave": Preset(
            "a", Blur(3, 0.5, "reflect", scale // 2), "PSRT, Fusformer, HSRnet (measured at x4)"
        ),
        "dhif": Preset("a", Blur(scale, 2.0, "circular", scale // 2), "DHIF-Net, MoG-DCN"),
        "lso": Preset("a", Blur(2 * math.ceil(3 * sigma) + 1, sigma, "circular", 0), "LSO"),
        "ltmr": Preset("a", Blur(7, 2.0, "circular", 0), "LTMR"),
    }
    if name not in presets:
        raise InputError(f"preset {name}: choose one of {', '.join(presets)}")
    return presets[name]


PRESETS = ("cave", "dhif", "lso", "ltmr")


@dataclass(frozen=True, eq=False)
class SpectralResponse:
    """How much each channel of the guide camera collects of each band.

    Attributes:
        name: what it is, for people and for the attributes of files.
        weights: (channels, bands) float64, each row of sum 1: a flat spectrum keeps its value.
        wavelengths: centre of each band in nanometres, ascending.
        channels: names of the rows.
    """

    name: str
    weights: Tensor
    wavelengths: tuple[float, ...]
    channels: tuple[str, ...]

    def for_bands(self, bands: int, wavelengths: Sequence[float] | None = None) -> Tensor:
        """The weights for a cube's bands: (channels, bands) float64, rows of sum 1.

        Bands are matched by wavelength where the cube states its own, interpolating linearly; else
        by position.

        Raises:
            InputError: a band outside the table's range, or, without wavelengths, another number
                of bands than the table has.
        """
        table = torch.tensor(self.wavelengths, dtype=torch.float64)
        if wavelengths is None:
            if bands != len(table):
                raise InputError(
                    f"response {self.name} has {len(table)} bands, the cube {bands} and no "
                    "wavelengths; give the cube's --wavelengths, or a response made for its bands"
                )
            return self.weights
        wanted = torch.as_tensor(wavelengths, dtype=torch.float64)
        if wanted.shape == table.shape and torch.equal(wanted, table):
            return self.weights
        if wanted.min() < table[0] or wanted.max() > table[-1]:
            raise InputError(
                f"response {self.name} covers {table[0]:g} to {table[-1]:g} nm, the cube's bands "
                f"{wanted.min():g} to {wanted.max():g} nm; give a response that covers them"
            )
        right = torch.searchsorted(table, wanted).clamp(1, len(table) - 1)
        share = (wanted - table[right - 1]) / (table[right] - table[right - 1])
        weights = self.weights[:, right - 1] * (1 - share) + self.weights[:, right] * share
        return weights / weights.sum(dim=1, keepdim=True)


# Rows R, G, B. Both pass for "the" Nikon D700 at 400..700 nm in steps of 10.
_NIKON_D700 = {
    # NSSR (Dong et al. 2016), MoG-DCN, DHIF-Net.
    "a": (
        (2, 1, 1, 1, 1, 1, *[0] * 10, 2, 6, 11, 17, 21, 22, 21, 20, 20, 19, 19, 18, 18, 17, 17),
        (*[1] * 6, 2, 4, 6, 8, 11, 16, 19, 21, 20, 18, 16, 14, 11, 7, 5, 3, 2, 2, 1, 1, *[2] * 5),
        (7, 10, 15, 19, 25, 29, 30, 29, 27, 22, 16, 9, 2, *[0] * 7, *[1] * 11),
    ),
    # GSOMP (Akhtar et al. 2014), in thousandths.
    "b": (
        (*[0] * 16, 1, 3, 10, 12, 13, 22, 20, 20, 18, 17, 16, 16, 14, 14, 13),
        (*[0] * 5, 1, 2, 3, 5, 7, 12, 13, 15, 16, 17, 20, 13, 11, 9, 5, *[1] * 8, 2, 2, 3),
        (5, 7, 12, 15, 23, 25, 30, 26, 24, 19, 10, 4, *[0] * 19),
    ),
}


def find_response(name: str | Path) -> SpectralResponse:
    """A response by name, "a" or "b" (the two published tables of the Nikon D700, channels in the
    order R, G, B), or from a CSV file.

    Raises:
        InputError: neither; or as `read_response`.
    """
    if str(name) in _NIKON_D700:
        return _response(
            f"nikon-d700-{name}", _NIKON_D700[str(name)], VISIBLE_WAVELENGTHS, ("R", "G", "B")
        )
    if not Path(name).is_file():
        raise InputError(f"response {name}: choose a or b (Nikon D700), or give a CSV file")
    return read_response(name)


def read_response(path: str | Path) -> SpectralResponse:
    """A response from a CSV file: a header, then a line per band: wavelength in nanometres, and one
    weight per channel. Each channel is divided by its sum.

    Raises:
        InputError: not such a file, wavelengths that do not ascend, weights that are negative or
            whose sum is 0.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *lines = (line for line in csv.reader(file) if line)
        table = [[float(cell) for cell in line] for line in lines]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as a response ({error}); write a header and then "
            "wavelength_nm,weight,weight,... a band"
        ) from None
    if len(header) < 2 or len(table) < 2 or any(len(line) != len(header) for line in table):
        raise InputError(
            f"{path}: every line must have as many cells as the header (wavelength and one per "
            "channel), and there must be two bands or more"
        )
    wavelengths, *rows = zip(*table, strict=True)
    if any(b <= a for a, b in pairwise(wavelengths)):
        raise InputError(f"{path}: wavelengths must ascend; sort the lines")
    if any(min(row) < 0 or not 0 < sum(row) < math.inf for row in rows):
        raise InputError(f"{path}: weights must be 0 or more, and not all 0 in a channel")
    return _response(path.name, rows, wavelengths, tuple(name.strip() for name in header[1:]))


def _response(
    name: str,
    rows: Sequence[Sequence[float]],
    wavelengths: tuple[float, ...],
    channels: tuple[str, ...],
) -> SpectralResponse:
    weights = torch.tensor(rows, dtype=torch.float64)
    return SpectralResponse(name, weights / weights.sum(dim=1, keepdim=True), wavelengths, channels)


class Simulated(NamedTuple):
    """``lr`` (bands, h, w), ``guide`` (channels, H, W), ``upsampled`` (bands, H, W)."""

    lr: Tensor
    guide: Tensor
    upsampled: Tensor


def simulate(
    gt: Tensor, *, response: Tensor, scale: int = 4, blur: Blur | None = None
) -> Simulated:
    """The inputs of a fusion, made from the cube that it should give back.

    Args:
        gt: (..., bands, H, W), floating point, in [0, 1]; H and W multiples of ``scale``.
        response: (channels, bands), rows of sum 1.
        scale: pixels of the sharp cube per pixel of the coarse one, along each axis.
        blur: default: that of the "cave" preset.

    Returns:
        lr and guide in [0, 1]; upsampled (MATLAB's bicubic of lr) may leave it.

    Raises:
        InputError: as `make_guide` and `blur_and_decimate`.
    """
    lr = blur_and_decimate(gt, blur or preset("cave", scale).blur, scale)
    return Simulated(lr, make_guide(gt, response), imresize(lr, scale))


def make_guide(cube: Tensor, response: Tensor) -> Tensor:
    """What the guide camera sees: (..., bands, H, W), (channels, bands) -> (..., channels, H, W).

    Raises:
        InputError: another number of bands in the response than in the cube.
    """
    bands = cube.shape[-3]
    if response.shape[-1] != bands:
        raise InputError(f"the response has {response.shape[-1]} bands, the cube {bands}")
    weights = response.to(cube)[:, :, None, None]
    guide = torch.zeros_like(cube[..., :1, :, :]).expand(
        *cube.shape[:-3], len(response), *cube.shape[-2:]
    )
    for band in range(bands):
        guide = guide + weights[:, band] * cube[..., band : band + 1, :, :]
    return guide


def blur_and_decimate(cube: Tensor, blur: Blur, scale: int) -> Tensor:
    """What the hyperspectral camera sees: (..., bands, H, W) -> (..., bands, H/scale, W/scale).

    Raises:
        InputError: sides that are no multiple of the scale, an offset outside the cell, or a cube
            too small for the blur's padding.
    """
    height, width = cube.shape[-2:]
    if scale < 1 or height % scale or width % scale:
        raise InputError(f"{width}x{height} is no multiple of the scale, {scale}; crop it first")
    if blur.offset >= scale:
        raise InputError(f"offset {blur.offset} lies outside a cell of {scale} pixels")
    before, after = (blur.size - 1) // 2, blur.size // 2
    limit = {"reflect": after + 1, "circular": after}.get(blur.padding, 1)
    if min(height, width) < limit:
        raise InputError(
            f"{width}x{height} is too small for {blur.padding} padding by {after} pixels"
        )
    mode = "constant" if blur.padding == "zeros" else blur.padding
    flat = cube.reshape(1, -1, height, width)
    padded = F.pad(flat, (before, after, before, after), mode=mode)
    rows = _weighted_picks(padded, 2, height // scale, blur, scale)
    lr = _weighted_picks(rows, 3, width // scale, blur, scale)
    return lr.reshape(*cube.shape[:-2], height // scale, width // scale)


def _weighted_picks(padded: Tensor, dim: int, length: int, blur: Blur, scale: int) -> Tensor:
    """Blur along one axis, at the pixels that are kept only."""
    kept = torch.arange(length, device=padded.device) * scale + blur.offset
    total = padded.new_zeros(())
    for tap, weight in enumerate(blur.taps()):
        total = total + weight * padded.index_select(dim, kept + tap)
    return total
