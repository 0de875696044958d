"""A cube and its guide, read from wherever they are and checked once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vernier.data.scenes import FusionScene
from vernier.errors import InputError
from vernier.io import PICTURE_SUFFIXES, Picture, PictureError, read_picture
from vernier.io.cubes import Cube, CubeError, read_cube
from vernier.io.cubes.gaps import stored_value
from vernier.io.cubes.place import finer_pixels

__all__ = ["CubeSource", "GuideSource", "Pair", "pair_of_scene", "read_pair"]

CubeSource = str | Path | Cube | NDArray[Any]
GuideSource = str | Path | Picture | Cube | NDArray[Any]

# After division by the peak. Reflectances may leave [0, 1]: corrected for the air, dark water is a
# little below, snow a little above, and a few pixels that mirror the sun are well above.
_LOWEST, _BRIGHT, _HIGHEST, _DARKEST = -0.2, 1.2, 2.0, 0.02
_MOST_BRIGHT = 0.01
# Cameras of 10 to 14 bits store their numbers in 16, most of them without saying so.
_LARGEST_OF_14_BITS = 2**14 - 1
_TIFF = frozenset({".tif", ".tiff"})


@dataclass(frozen=True, eq=False)
class Pair:
    """A coarse cube and the sharp guide of the same scene, fit to be fused.

    Attributes:
        lr: (bands, h, w) float32, nominally in [0, 1].
        guide: (channels, H, W) float32, nominally in [0, 1]; H and W are the same whole multiple
            of h and w.
        gt: the sharp cube (bands, H, W), where it is known.
        upsampled: the cube at the guide's size (bands, H, W), where another than MATLAB's bicubic
            is wanted.
        wavelengths: centre of each band in nanometres; None where they are not known.
        peak: the value that stands for 1 in the cube's file.
        dtype: of the values in the cube's file.
        metadata: what else the cube's file says.
        source: the cube's file, for messages; empty for arrays.
        files: what was read, which no result may take the place of.
        notes: what was recognised or left out while reading, for people.
        gaps: where the cube has no data, (bands, h, w); None where it has data everywhere. ``lr``
            is filled there, see `vernier.io.cubes.Cube.filled`.
        guide_gaps: where the guide has no data in some channel, (H, W), or None; likewise filled.
        no_data: the value that stands for no data in the cube's file, beside NaN; None if none.
        lowest, highest: of the values of ``lr``.

    Raises:
        InputError: shapes that do not belong together, values that are not finite, or so far from
            [0, 1] that the peak must be wrong: below -0.2, above 2, more than one in a hundred
            above 1.2, or all below 0.02.
    """

    lr: NDArray[np.float32] = field(repr=False)
    guide: NDArray[np.float32] = field(repr=False)
    gt: NDArray[np.float32] | None = field(default=None, repr=False, kw_only=True)
    upsampled: NDArray[np.float32] | None = field(default=None, repr=False, kw_only=True)
    wavelengths: tuple[float, ...] | None = field(default=None, kw_only=True)
    peak: float = field(default=1.0, kw_only=True)
    dtype: np.dtype[Any] = field(default=np.dtype(np.float32), kw_only=True)
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False, kw_only=True)
    source: str = field(default="", kw_only=True)
    files: tuple[Path, ...] = field(default=(), repr=False, kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    gaps: NDArray[np.bool_] | None = field(default=None, repr=False, kw_only=True)
    guide_gaps: NDArray[np.bool_] | None = field(default=None, repr=False, kw_only=True)
    no_data: float | None = field(default=None, kw_only=True)
    lowest: float = field(init=False)
    highest: float = field(init=False)

    def __post_init__(self) -> None:
        for name in ("lr", "guide", "gt", "upsampled"):
            array = getattr(self, name)
            if array is not None:
                # As torch takes them.
                object.__setattr__(self, name, np.require(array, np.float32, ["C", "W"]))
        self._check_shapes()
        cube = f"{self.source} holds" if self.source else "the cube has"
        lowest, highest = _checked_range("cube", cube, self.lr, "--peak")
        object.__setattr__(self, "lowest", lowest)
        object.__setattr__(self, "highest", highest)
        _checked_range("guide", "the guide has", self.guide, "--guide-peak")

    @property
    def scale(self) -> int:
        """Pixels of the guide per pixel of the cube, along each axis."""
        return int(self.guide.shape[1] // self.lr.shape[1])

    @property
    def bands(self) -> int:
        """Of the cube."""
        return int(self.lr.shape[0])

    @property
    def guide_channels(self) -> int:
        """Of the guide."""
        return int(self.guide.shape[0])

    def clipped(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values within [0, 1], or as far beyond as the cube itself goes; changed in place."""
        return np.clip(values, min(0.0, self.lowest), max(1.0, self.highest), out=values)

    def as_cube(self, values: NDArray[np.float32]) -> Cube:
        """A sharp cube as the coarse one's file would hold it: its unit, type and metadata.

        Where the coarse cube has no data, neither has the sharp one. The metadata say where the new
        pixels lie on the ground; the cube's notes say what of that is left out.

        Args:
            values: (bands, H, W), nominally in [0, 1].
        """
        factor = values.shape[1] // self.lr.shape[1]
        scaled = values * np.float32(self.peak)
        if self.dtype.kind in "ui":
            limits = np.iinfo(self.dtype)
            np.rint(scaled, out=scaled)
            np.clip(scaled, limits.min, limits.max, out=scaled)
        stored = scaled.astype(self.dtype, copy=False)
        gap = stored_value(self.no_data, self.dtype)
        if gap is not None:
            _step_aside(stored, gap)
        if self.gaps is not None:
            wide = self.gaps.repeat(factor, 1).repeat(factor, 2)
            stored[wide] = np.nan if gap is None else gap
        metadata, notes = finer_pixels(self.metadata, factor)
        return Cube(stored, self.peak, self.wavelengths, metadata, notes, self.no_data)

    def _check_shapes(self) -> None:
        lr, guide = self.lr.shape, self.guide.shape
        if len(lr) != 3 or len(guide) != 3 or 0 in (*lr, *guide):
            raise InputError(
                f"a cube is (bands, H, W) and a guide (channels, H, W), not {lr} and {guide}"
            )
        (height, width), (rows, columns) = lr[1:], guide[1:]
        scale = rows // height
        if scale < 1 or (rows, columns) != (scale * height, scale * width):
            raise InputError(
                f"a guide of {columns}x{rows} is no whole multiple of a cube of {width}x{height}: "
                "crop or resize one of them"
            )
        for what, gaps, shape in (("cube", self.gaps, lr), ("guide", self.guide_gaps, guide[1:])):
            if gaps is not None and gaps.shape != shape:
                raise InputError(f"the {what}'s gaps must be {shape}, not {gaps.shape}")
        for what, array in (("upsampled", self.upsampled), ("reference", self.gt)):
            if array is not None and array.shape != (lr[0], rows, columns):
                raise InputError(
                    f"the {what} cube must be {(lr[0], rows, columns)}, not {array.shape}"
                )
        if self.wavelengths is not None and len(self.wavelengths) != lr[0]:
            raise InputError(f"{len(self.wavelengths)} wavelengths for {lr[0]} bands")


def read_pair(
    cube: CubeSource,
    guide: GuideSource,
    *,
    axes: str | None = None,
    peak: float | None = None,
    key: str | None = None,
    wavelengths: Sequence[float] | None = None,
    guide_peak: float | None = None,
) -> Pair:
    """A pair from files, or from what is in memory already.

    Args:
        cube: a path (see `vernier.io.cubes.read_cube`), a `Cube`, or an array (bands, h, w), whose
            floats are in [0, 1].
        guide: a path to a picture or to anything that ``read_cube`` reads, a `Picture`, a `Cube`,
            or an array (channels, H, W), whose floats are in [0, 1]. Transparency is left out,
            with a note. All pages of a TIFF are its channels.
        axes, key: as in ``read_cube``, for a path.
        peak: the cube's value that stands for 1; default: what ``read_cube`` finds, of an array
            255 for 8 bits and 1 for floats.
        wavelengths: of the bands, in nanometres; default: what the cube says.
        guide_peak: the guide's value that stands for 1; default: 255 of 8 bits, 1 of floats, and of
            a cube what ``read_cube`` finds. Numbers of 16 bits in a picture are taken for such
            where some are beyond what 14 bits hold, with a note where all are within 15; else the
            peak must be given.

    Raises:
        InputError: a file is missing, damaged or ambiguous, or the two do not make a `Pair`; what
            was recognised by then are the error's ``__notes__``.
    """
    if isinstance(cube, str | Path):
        source = str(cube)
        coarse = read_cube(cube, axes=axes, peak=peak, key=key, wavelengths=wavelengths)
    else:
        source, coarse = "", _stated(cube, peak, wavelengths)
    notes = coarse.notes
    try:
        gaps, told = coarse.gaps(), coarse.told_gaps()
        if told:
            notes += (_filled(told),)
        lr = _unit(coarse.filled(), source, "--peak")
        sharp = _read_guide(guide, guide_peak)
        notes += sharp.notes
        return Pair(
            lr,
            sharp.values,
            wavelengths=coarse.wavelengths,
            peak=1.0 if coarse.peak is None else coarse.peak,
            dtype=coarse.values.dtype,
            metadata=coarse.metadata,
            source=source,
            files=tuple(Path(each) for each in (cube, guide) if isinstance(each, str | Path)),
            notes=notes,
            gaps=gaps,
            guide_gaps=sharp.gaps,
            no_data=coarse.no_data,
        )
    except InputError as error:
        # What was recognised may be what is wrong.
        for note in notes:
            error.add_note(note)
        raise


def pair_of_scene(
    scene: FusionScene,
    *,
    wavelengths: Sequence[float] | None = None,
    source: str = "",
    notes: tuple[str, ...] = (),
) -> Pair:
    """The pair of a scene of a fusion file, with the reference if there is one.

    Args:
        scene: of `vernier.data.scenes.read_fusion`.
        wavelengths: of the bands, nanometres.
        source: the file.
        notes: what was recognised while reading.

    Raises:
        InputError: the scene's arrays do not make a `Pair`.
    """
    coarse = Cube(scene.lr.numpy(), 1.0)
    gaps, told = coarse.gaps(), coarse.told_gaps()
    if told:
        notes += (_filled(told),)
    return Pair(
        coarse.filled().values,
        scene.guide.numpy(),
        gt=None if scene.gt is None else scene.gt.numpy(),
        wavelengths=None if wavelengths is None else tuple(wavelengths),
        metadata={"scene": scene.name},
        source=source,
        files=(Path(source),) if source else (),
        notes=notes,
        gaps=gaps,
    )


def _filled(told: str) -> str:
    return f"no data ({told}): filled for the fusion, and no data in the result again"


def _checked_range(
    what: str, holder: str, values: NDArray[np.float32], option: str
) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{holder} values that are not finite: fill or mask them")
    if not (low >= _LOWEST and high <= _HIGHEST and _bright_share(values, high) <= _MOST_BRIGHT):
        raise InputError(
            f"the {what}'s values go from {low:.3g} to {high:.3g} after division by its peak, "
            f"models know 0 to 1: pass the right {option}"
        )
    if high < _DARKEST:
        raise InputError(
            f"the {what}'s largest value is {high:.3g} after division by its peak, which is "
            f"probably too large: pass the right {option}"
        )
    return low, high


def _bright_share(values: NDArray[np.float32], highest: float) -> float:
    if highest <= _BRIGHT:
        return 0.0
    return sum(np.count_nonzero(band > _BRIGHT) for band in values) / values.size


def _stated(
    cube: Cube | NDArray[Any], peak: float | None, wavelengths: Sequence[float] | None
) -> Cube:
    """A cube in memory with what its caller says of it."""
    if not isinstance(cube, Cube):
        certain = {"f": 1.0, "u": 255.0 if cube.dtype == np.uint8 else None}
        cube = Cube(cube, certain.get(cube.dtype.kind))
    return Cube(
        cube.values,
        cube.peak if peak is None else peak,
        cube.wavelengths if wavelengths is None else tuple(map(float, wavelengths)),
        cube.metadata,
        cube.notes,
        cube.no_data,
    )


def _unit(cube: Cube, source: str, option: str) -> NDArray[np.float32]:
    try:
        return cube.unit()
    except CubeError as error:
        told = str(error).replace("--peak", option)
        raise CubeError(f"{source}: {told}" if source else told) from None


def _step_aside(stored: NDArray[Any], gap: float) -> None:
    """Give measured values that fall on the value for no data the next one; changed in place."""
    if stored.dtype.kind == "f":
        other = np.nextafter(stored.dtype.type(gap), stored.dtype.type(0 if gap else 1))
    else:
        other = stored.dtype.type(int(gap) + (1 if gap < np.iinfo(stored.dtype).max else -1))
    stored[stored == gap] = other


class _Guide(NamedTuple):
    """(channels, H, W), nominally in [0, 1], what there is to tell of it, and its gaps."""

    values: NDArray[np.float32]
    notes: tuple[str, ...] = ()
    gaps: NDArray[Any] | None = None


def _read_guide(guide: GuideSource, peak: float | None) -> _Guide:
    if peak is not None and not (math.isfinite(peak) and peak > 0):
        raise InputError(f"guide peak {peak}: give a number above 0")
    source, is_picture = "the guide", True
    if isinstance(guide, str | Path):
        source = str(guide)
        is_picture = Path(guide).suffix.lower() in PICTURE_SUFFIXES
        guide = _read_sharp(Path(guide), peak)
    elif isinstance(guide, Cube):
        is_picture = False
    notes: tuple[str, ...] = ()
    if isinstance(guide, Picture):
        notes = guide.notes
        if guide.has_alpha:
            notes += ("its transparency is left out",)
        notes = tuple(f"{source}: {note}" for note in notes)
        bands = guide.bands.transpose(2, 0, 1)
        guide = Cube(bands, _floats_peak(bands), no_data=guide.no_data)
    elif not isinstance(guide, Cube):
        if guide.ndim != 3 or 0 in guide.shape:
            raise InputError(f"a guide is (channels, H, W), not {guide.shape}")
        guide = Cube(guide, _floats_peak(guide))
    notes += guide.notes
    gaps, told = guide.gaps(), guide.told_gaps()
    if told:
        notes += (f"{source}: no data ({told}): filled from the nearest pixels",)
    guide = _stated(guide.filled(), peak, None)
    if guide.peak is None and is_picture:
        certain, note = _picture_peak(guide.values, source)
        guide, notes = _stated(guide, certain, None), notes + note
    unit = _unit(guide, source, "--guide-peak")
    return _Guide(unit, notes, None if gaps is None else np.asarray(gaps.any(0)))


def _read_sharp(path: Path, peak: float | None) -> Picture | Cube:
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in PICTURE_SUFFIXES:
        return read_cube(path, peak=peak)
    try:
        picture = read_picture(path)
    except PictureError:
        # A TIFF may be a cube of more bands than a picture has.
        if suffix not in _TIFF:
            raise
        return read_cube(path, peak=peak)
    if picture.frames == 1:
        return picture
    if suffix in _TIFF:
        # A band a page.
        return read_cube(path, peak=peak)
    raise InputError(
        f"{path}: holds {picture.frames} pictures; save the one that is the guide as a file"
    )


def _floats_peak(values: NDArray[Any]) -> float | None:
    return 1.0 if values.dtype.kind == "f" else None


def _picture_peak(values: NDArray[Any], source: str) -> tuple[float | None, tuple[str, ...]]:
    """What stands for 1 in numbers of a picture, as far as it is certain, and what to tell."""
    if values.dtype == np.uint8:
        return 255.0, ()
    if values.dtype != np.uint16:
        return None, ()
    highest = int(values.max())
    if highest >= 2**15:
        # No other depth holds it.
        return 65535.0, ()
    if highest > _LARGEST_OF_14_BITS:
        return 65535.0, (
            f"{source}: peak 65535, for values up to {highest} take more than 14 bits",
        )
    bits = max(highest.bit_length(), 10)
    raise InputError(
        f"{source}: the largest of its 16-bit values is {highest}; pass --guide-peak, such as "
        f"{2**bits - 1} of a camera of {bits} bits, 10000 of reflectances, or 65535 of a dark "
        "picture"
    )
