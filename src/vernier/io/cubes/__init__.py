"""Hyperspectral cubes in and out.

Files disagree about the order of the axes, about which value stands for full light, and mostly keep
silent about both. What is stated by the caller or stored in the file counts; what follows with
certainty from the format or the shapes is used and noted on the cube; anything else is an error
that says what to pass.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vernier.errors import InputError
from vernier.imaging.wavelengths import VISIBLE_WAVELENGTHS
from vernier.io.files import reason_of, replacing
from vernier.io.pictures import Picture, read_picture, write_picture

__all__ = [
    "CUBE_SUFFIXES",
    "WRITTEN_SUFFIXES",
    "Cube",
    "CubeError",
    "find_cubes",
    "open_hdf5",
    "optional_module",
    "read_cube",
    "write_cube",
]

AXES = ("chw", "hwc", "hcw", "cwh", "whc", "wch")
_HDF5_SUFFIXES = {".h5", ".hdf5", ".he5"}
_TIFF_SUFFIXES = {".tif", ".tiff"}
_ENVI_SUFFIXES = {".hdr", ".img", ".dat", ".raw", ".bsq", ".bil", ".bip"}
CUBE_SUFFIXES = frozenset(
    {".mat", ".npy", ".npz", *_HDF5_SUFFIXES, *_TIFF_SUFFIXES, *_ENVI_SUFFIXES}
)
# What `write_cube` writes; without suffix a folder of PNGs.
WRITTEN_SUFFIXES = (".h5", ".hdf5", ".mat", ".npz", ".npy", ".tif", ".tiff", ".hdr", "")
_WAVELENGTH_KEYS = ("wavelengths", "wavelength", "bands", "wl", "lambda", "lambdas")
_BAND_FILE = re.compile(r"(?P<stem>.*?)(?P<number>\d+)\.png", re.IGNORECASE)
_SIDECAR = "cube.json"
# Header fields that describe the file instead of the cube, or are attributes of `Cube`.
_ENVI_LAYOUT = {
    *("samples", "lines", "bands", "header offset", "file type", "data type", "interleave"),
    *("byte order", "wavelength", "wavelength units", "reflectance scale factor"),
}


class CubeError(InputError):
    """A cube cannot be read or written; the message is one line."""


@dataclass(frozen=True, eq=False)
class Cube:
    """A cube as its file holds it, bands first.

    Attributes:
        values: (bands, H, W), integer or floating point, as stored.
        peak: the value that stands for 1 (full light, or a reflectance of 1); None where nothing
            tells.
        wavelengths: centre of each band in nanometres; None where the file is silent.
        metadata: what else the file says, for people and for the next file.
        notes: what was recognised rather than stated, for people.

    Raises:
        CubeError: values that are no cube, another number of wavelengths than of bands, a peak
            that is not above 0.
    """

    values: np.ndarray = field(repr=False)
    peak: float | None = None
    wavelengths: tuple[float, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape, kind = self.values.shape, self.values.dtype.kind
        if len(shape) != 3 or 0 in shape or kind not in "uif":
            raise CubeError(
                f"an array of shape {shape} and type {self.values.dtype} is no cube; "
                "give (bands, height, width) of real numbers"
            )
        if self.wavelengths is not None and len(self.wavelengths) != shape[0]:
            raise CubeError(f"{len(self.wavelengths)} wavelengths for {shape[0]} bands")
        if self.peak is not None and not (math.isfinite(self.peak) and self.peak > 0):
            raise CubeError(f"peak {self.peak}: give a number above 0")

    @property
    def bands(self) -> int:
        return int(self.values.shape[0])

    @property
    def height(self) -> int:
        return int(self.values.shape[1])

    @property
    def width(self) -> int:
        return int(self.values.shape[2])

    def unit(self) -> np.ndarray:
        """The values divided by the peak: (bands, H, W) float32, not clipped.

        Raises:
            CubeError: the peak is not known, or a value is not a number.
        """
        if not np.isfinite(self.values).all():
            raise CubeError("holds values that are not finite numbers; replace them first")
        if self.peak is None:
            raise CubeError(
                f"values go from {self.values.min():g} to {self.values.max():g} and nothing says "
                "which one stands for full light; pass --peak, such as 1, 1023, 4095 or 65535"
            )
        unit: np.ndarray = (self.values / self.peak).astype(np.float32)
        if not np.isfinite(unit).all():
            raise CubeError("holds values too large for their peak; pass the right --peak")
        return unit


def optional_module(name: str) -> Any:
    """A library of the extra ``hsi``, imported when it is needed.

    Raises:
        CubeError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        raise CubeError(
            f"{name.split('.')[0]} is needed for this file; pip install 'vernier[hsi]'"
        ) from None


@contextmanager
def open_hdf5(path: str | Path) -> Iterator[Any]:
    """An HDF5 file, open for reading.

    Raises:
        CubeError: missing, not HDF5, damaged (also where that shows later, inside the ``with``), or
            h5py is not installed.
    """
    h5py = optional_module("h5py")
    if not Path(path).is_file():
        raise CubeError(f"{path}: no such file; check the path")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:
        raise CubeError(f"{path}: is no HDF5 file, or a damaged one ({error})") from None


def _cubes_in(folder: Path) -> list[Path]:
    suffixes = {".mat", ".npy", ".npz", ".hdr", *_HDF5_SUFFIXES, *_TIFF_SUFFIXES}
    return [
        path
        for path in sorted(folder.iterdir())
        if (path.is_dir() and _band_folder(path) is not None) or path.suffix.lower() in suffixes
    ]


def find_cubes(folder: str | Path) -> list[Path]:
    """The cubes at a path, sorted: itself if it is one, else the cube files and band folders in it,
    else those one level deeper, as in train/ and test/.

    Raises:
        CubeError: no such path, or nothing there is a cube.
    """
    folder = Path(folder)
    if not folder.exists():
        raise CubeError(f"{folder}: no such folder")
    if folder.is_file() or _band_folder(folder) is not None:
        return [folder]
    found = _cubes_in(folder) or [
        path for part in sorted(folder.iterdir()) if part.is_dir() for path in _cubes_in(part)
    ]
    if not found:
        raise CubeError(
            f"{folder}: no cubes in it (looked for folders of numbered PNGs, and for mat, h5, npy, "
            "npz, tif and hdr files)"
        )
    return found


def read_cube(
    path: str | Path,
    *,
    axes: str | None = None,
    peak: float | None = None,
    key: str | None = None,
    wavelengths: Sequence[float] | None = None,
) -> Cube:
    """Read a cube: a folder with a PNG a band, HDF5, MAT (v5 to v7.3), NPY, NPZ, TIFF or ENVI.

    Args:
        path: the folder or file; of ENVI's two files either one.
        axes: the order of the axes, a permutation of "chw". Default: what the file stores, what
            the format fixes, the axis as long as the wavelengths, or the first or last axis where
            the two others are equal.
        peak: the value that stands for 1. Default: what the file stores, 255 for 8-bit values, the
            depth of PNGs, 1 for floating point within [0, 1]; else it stays unknown.
        key: which array, in files that hold several; "GT/3" is the fourth cube of a stack.
        wavelengths: nanometres; default: what the file stores.

    Raises:
        CubeError: missing, damaged, ambiguous, or no cube.
    """
    path = Path(path)
    if axes is not None and axes.lower() not in AXES:
        raise CubeError(f"axes {axes}: give one of {', '.join(AXES)} (c = bands, h, w)")
    found = _read_stored(path, key)
    try:
        wavelengths = found.wavelengths if wavelengths is None else tuple(map(float, wavelengths))
        values, note = _bands_first(found, axes.lower() if axes else None, wavelengths)
        notes = (*found.notes, *note)
        peak = found.peak if peak is None else peak
        cube = Cube(values, peak, wavelengths, found.metadata, notes)
        if peak is None:
            cube = _with_certain_peak(cube)
    except CubeError as error:
        raise CubeError(f"{path}: {error}") from None
    return cube


@dataclass(frozen=True)
class _Stored:
    """What a file says, before the axes are known."""

    array: np.ndarray
    axes: str | None = None
    peak: float | None = None
    wavelengths: tuple[float, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _read_stored(path: Path, key: str | None) -> _Stored:
    if path.is_dir():
        return _read_band_folder(path)
    if not path.is_file():
        raise CubeError(f"{path}: no such file or folder; check the path")
    suffix = path.suffix.lower()
    if suffix in _HDF5_SUFFIXES:
        return _read_hdf5(path, key)
    if suffix == ".mat":
        return _read_mat(path, key)
    if suffix == ".npy":
        return _Stored(_load_numpy(path))
    if suffix == ".npz":
        return _from_arrays(path, _load_numpy(path), key)
    if suffix in _TIFF_SUFFIXES:
        return _read_tiff(path)
    if suffix in _ENVI_SUFFIXES or _envi_header(path).is_file():
        return _read_envi(path)
    raise CubeError(
        f"{path}: is no cube that can be read; give a folder of PNGs, or one of "
        f"{', '.join(sorted(CUBE_SUFFIXES))}"
    )


# --- axes and range


def _bands_first(
    found: _Stored, axes: str | None, wavelengths: Sequence[float] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    array = found.array
    note: tuple[str, ...] = ()
    if array.ndim != 3:
        raise CubeError(f"an array of shape {array.shape} is no cube; three axes are needed")
    axes = axes or found.axes
    if axes is None:
        axes, reason = _certain_axes(array.shape, wavelengths)
        note = (f"axes {axes}: {reason}",)
    ordered = array.transpose([axes.index(letter) for letter in "chw"])
    native = ordered.dtype.newbyteorder("=")
    return np.ascontiguousarray(ordered, dtype=native), note


def _certain_axes(shape: tuple[int, ...], wavelengths: Sequence[float] | None) -> tuple[str, str]:
    """Which axis holds the bands, if that is certain; the other two are rows, then columns."""
    layouts = ("chw", "hcw", "hwc")
    if wavelengths is not None:
        matching = [axis for axis in range(3) if shape[axis] == len(wavelengths)]
        if len(matching) == 1:
            return layouts[
                matching[0]
            ], f"this axis is as long as the {len(wavelengths)} wavelengths"
    elif shape[0] == shape[1] != shape[2]:
        return "hwc", "the first two are equal"
    elif shape[1] == shape[2] != shape[0]:
        return "chw", "the last two are equal"
    sizes = " x ".join(map(str, shape))
    raise CubeError(f"{sizes} does not tell which axis holds the bands; pass --axes, such as hwc")


def _with_certain_peak(cube: Cube) -> Cube:
    if cube.values.dtype == np.uint8:
        return replace(cube, peak=255.0, notes=(*cube.notes, "peak 255: 8-bit values"))
    if cube.values.dtype.kind == "f" and cube.values.min() >= 0 and cube.values.max() <= 1:
        return replace(cube, peak=1.0, notes=(*cube.notes, "peak 1: all values are in [0, 1]"))
    return cube


def _nanometres(values: np.ndarray, unit: str = "") -> tuple[float, ...] | None:
    """Wavelengths in nanometres; None where the numbers cannot be wavelengths."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    if len(flat) < 2 or not np.isfinite(flat).all() or flat.min() <= 0:
        return None
    if unit.lower().startswith("micro") or unit.lower() in ("um", "µm"):
        flat = flat * 1000
    elif not unit.lower().startswith("nano") and unit.lower() != "nm":
        # Light of interest has 0.2 to 30 micrometres; whole numbers that small count bands.
        if flat.max() < 30 and not np.array_equal(flat, np.rint(flat)):
            flat = flat * 1000
        elif flat.min() < 100:
            return None
    return tuple(round(float(value), 6) for value in flat)


# --- files with named arrays: NPZ, MAT, HDF5


def _from_arrays(path: Path, arrays: Mapping[str, np.ndarray], key: str | None) -> _Stored:
    if key is None and (unfolded := _unfolded_bands(arrays)) is not None:
        found = _with_facts(unfolded, arrays)
        return replace(found, axes="chw", notes=("bands x pixels unfolded by nRow and nCol",))
    return _with_facts(_choose(path, arrays, key), arrays)


def _with_facts(array: np.ndarray, facts: Mapping[str, np.ndarray]) -> _Stored:
    """The array with what the values beside it say: axes, peak, wavelengths, metadata."""
    wavelengths = None
    for name, values in facts.items():
        numeric = values.dtype.kind in "uif" and values.size in array.shape
        if numeric and name.rpartition("/")[2].lower() in _WAVELENGTH_KEYS:
            wavelengths = wavelengths or _nanometres(values)
    peak = next((facts[name] for name in ("peak", "maxValue") if name in facts), None)
    axes = _text(facts.get("axes"))
    return _Stored(
        array,
        axes if axes in AXES else None,
        None if peak is None or peak.size != 1 else float(peak.item()),
        wavelengths,
        _json(_text(facts.get("metadata"))),
    )


def _unfolded_bands(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """``Y`` (bands, pixels column by column) with ``nRow`` and ``nCol``, as unmixing sets have."""
    if not {"Y", "nRow", "nCol"} <= arrays.keys() or arrays["Y"].ndim != 2:
        return None
    rows, columns = int(arrays["nRow"].item()), int(arrays["nCol"].item())
    bands, pixels = arrays["Y"].shape
    if rows * columns != pixels:
        return None
    return arrays["Y"].reshape(bands, columns, rows).swapaxes(1, 2)


def _choose(path: Path, arrays: Mapping[str, Any], key: str | None) -> np.ndarray:
    """The array of a file that is the cube: the one asked for, or the only one that can be."""
    cubes = {
        name: array
        for name, array in arrays.items()
        if array.dtype.kind in "uif" and array.ndim in (3, 4) and min(array.shape[-3:]) > 1
    }
    listed = ", ".join(f"{name} ({'x'.join(map(str, a.shape))})" for name, a in cubes.items())
    if key is None:
        if len(cubes) != 1:
            raise CubeError(
                f"{path}: holds {listed or 'no array with three axes'}; "
                + ("name one with --key" if cubes else "give a file with a cube in it")
            )
        key = next(iter(cubes))
    name, _, index = key.rpartition("/") if key not in arrays else (key, "", "")
    if name not in arrays or (index and not index.isdigit()):
        raise CubeError(
            f"{path}: has no {key}; it holds {listed or ', '.join(arrays) or 'nothing'}"
        )
    array = arrays[name]
    if array.ndim == 4:
        if not index and len(array) > 1:
            raise CubeError(
                f"{path}: {name} holds {len(array)} cubes; "
                f"name one, --key {name}/0 to {name}/{len(array) - 1}"
            )
        if int(index or 0) >= len(array):
            raise CubeError(f"{path}: {name} holds {len(array)} cubes, {index} is too many")
        array = array[int(index or 0)]
    return np.asarray(array)


def _read_hdf5(path: Path, key: str | None) -> _Stored:
    h5py = optional_module("h5py")
    data: dict[str, Any] = {}

    def collect(name: str, item: Any) -> None:
        # MATLAB keeps the contents of cells under "#refs#".
        if isinstance(item, h5py.Dataset) and not name.startswith("#"):
            data[name] = item

    with open_hdf5(path) as file:
        file.visititems(collect)
        array = _choose(path, data, key)
        facts = {name: item[...] for name, item in data.items() if item.ndim < 3}
        facts |= {name: np.asarray(value) for name, value in file.attrs.items()}
        if not any("MATLAB_class" in item.attrs for item in data.values()):
            return _with_facts(array, facts)
        found = _with_facts(array.transpose(), facts)
        return replace(found, notes=("MATLAB v7.3: dimensions reversed",))


def _read_mat(path: Path, key: str | None) -> _Stored:
    with path.open("rb") as file:
        start = file.read(520)
    if start.startswith(b"MATLAB 7.3") or b"\x89HDF" in (start[:4], start[512:516]):
        return _read_hdf5(path, key)
    scipy_io = optional_module("scipy.io")
    try:
        arrays = scipy_io.loadmat(path)
    except Exception as error:  # scipy raises whatever a damaged file leads to
        raise CubeError(f"{path}: is no MAT file, or a damaged one ({error})") from None
    arrays = {name: a for name, a in arrays.items() if isinstance(a, np.ndarray)}
    return _from_arrays(path, arrays, key)


def _load_numpy(path: Path) -> Any:
    """The array of an NPY file, or the arrays of an NPZ file by name."""
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:  # numpy raises whatever a damaged file leads to
        raise CubeError(f"{path}: cannot be read as NPY or NPZ ({error})") from None


def _text(value: np.ndarray | None) -> str | None:
    if value is None or value.size != 1:
        return None
    item = value.item()
    return item.decode(errors="replace") if isinstance(item, bytes) else str(item)


def _json(text: str | None) -> dict[str, Any]:
    with suppress(ValueError, TypeError):
        if isinstance(found := json.loads(text or ""), dict):
            return found
    return {}


# --- a PNG a band


def _band_folder(folder: Path) -> Path | None:
    """The folder that holds the bands: this one, or the one of the same name inside, as in CAVE."""
    for place in (folder, folder / folder.name):
        if (
            place.is_dir()
            and sum(_BAND_FILE.fullmatch(p.name) is not None for p in place.iterdir()) > 1
        ):
            return place
    return None


def _read_band_folder(folder: Path) -> _Stored:
    place = _band_folder(folder)
    if place is None:
        raise CubeError(f"{folder}: holds no numbered PNGs, one a band; check the path")
    numbered: dict[int, Path] = {}
    stems = set()
    for path in sorted(place.iterdir()):
        if match := _BAND_FILE.fullmatch(path.name):
            stems.add(match["stem"])
            numbered[int(match["number"])] = path
    files = sum(_BAND_FILE.fullmatch(path.name) is not None for path in place.iterdir())
    if len(stems) > 1 or len(numbered) != files:
        raise CubeError(
            f"{place}: the PNGs are not one numbered row ({', '.join(sorted(stems)[:3])}, ...); "
            "keep one cube a folder"
        )
    first, last = min(numbered), max(numbered)
    if missing := [str(n) for n in range(first, last + 1) if n not in numbered]:
        raise CubeError(f"{place}: band {', '.join(missing)} of {first} to {last} is missing")
    pictures = {number: read_picture(numbered[number]) for number in sorted(numbered)}
    kinds: dict[str, list[int]] = {}
    for number, picture in pictures.items():
        channels = picture.pixels.shape[2]
        kind = f"{picture.pixels.itemsize * 8}-bit with {channels} channel{'s' * (channels > 1)}"
        kinds.setdefault(f"{picture.width}x{picture.height}, {kind}", []).append(number)
    if len(kinds) > 1 or pictures[first].pixels.shape[2] != 1:
        listed = "; ".join(f"{_ranges(bands)}: {kind}" for kind, bands in kinds.items())
        raise CubeError(
            f"{place}: bands must be gray pictures of one size and depth, but are {listed}; "
            "leave this scene out, or save all bands as 16-bit gray"
        )
    values = np.stack([picture.pixels[..., 0] for picture in pictures.values()])
    wavelengths: tuple[float, ...] | None = None
    metadata: dict[str, Any] = {}
    peak = pictures[first].peak
    notes: tuple[str, ...] = (f"peak {peak:g}: the PNGs' depth",)
    if (place / _SIDECAR).is_file():
        stated = _json((place / _SIDECAR).read_text(encoding="utf-8"))
        metadata = stated.get("metadata") or {}
        wavelengths = _nanometres(np.array(stated.get("wavelengths") or []), "nm")
    elif len(values) == 31 and next(iter(stems)).endswith("_ms_"):
        wavelengths = VISIBLE_WAVELENGTHS
        notes += ("400 to 700 nm: the names and the 31 bands are CAVE's",)
    return _Stored(values, "chw", peak, wavelengths, metadata, notes)


def _ranges(numbers: Sequence[int]) -> str:
    """ "1-3, 5" for 1, 2, 3, 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)


# --- TIFF


def _read_tiff(path: Path) -> _Stored:
    tifffile = optional_module("tifffile")
    try:
        with tifffile.TiffFile(path) as file:
            series = [each for each in file.series if not each.keyframe.is_reduced]
            arrays = [each.asarray() for each in series]
            letters = series[0].axes if series else ""
            description = file.pages.first.description
    except Exception as error:  # tifffile and the codecs raise whatever a damaged file leads to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CubeError(f"{path}: is no TIFF, or a damaged one ({reason})") from None
    if len(arrays) != 1 or arrays[0].ndim != 3 or not {"Y", "X"} <= set(letters):
        shapes = ", ".join("x".join(map(str, array.shape)) for array in arrays)
        raise CubeError(f"{path}: holds {shapes or 'nothing'}, not one cube; give a file with one")
    array, stated = arrays[0], _json(description)
    if stated.keys() != {"peak", "wavelengths", "metadata"}:
        stated = {}
    axes: str | None = "".join({"Y": "h", "X": "w"}.get(letter, "c") for letter in letters)
    # Some programs write an H x W x bands array as H pages of W x bands.
    if axes == "chw" and not stated and array.shape[2] < min(array.shape[:2]):
        axes = None
    return _Stored(
        array,
        axes,
        stated.get("peak"),
        _nanometres(np.array(stated.get("wavelengths") or []), "nm"),
        stated.get("metadata") or ({"description": description} if description else {}),
    )


# --- ENVI


def _envi_header(path: Path) -> Path:
    """The header that belongs to a data file: cube.hdr, or cube.img.hdr."""
    if path.suffix.lower() == ".hdr":
        return path
    appended = path.with_name(path.name + ".hdr")
    return appended if appended.is_file() else path.with_suffix(".hdr")


def _read_envi(path: Path) -> _Stored:
    header = _envi_header(path)
    if not header.is_file():
        raise CubeError(f"{path}: its header, {header.name}, is missing; put it beside the data")
    envi = optional_module("spectral.io.envi")
    try:
        image = envi.open(str(header), None if path == header else str(path))
        array = np.array(image.open_memmap(interleave="bip"))
    except Exception as error:  # spectral raises a class of its own per field
        raise CubeError(f"{path}: cannot be read as ENVI ({error})") from None
    metadata = {name: text for name, text in image.metadata.items() if name not in _ENVI_LAYOUT}
    centres = image.bands.centers
    factor = image.metadata.get("reflectance scale factor")
    return _Stored(
        array,
        "hwc",
        float(factor) if factor else None,
        None if centres is None else _nanometres(np.array(centres), image.bands.band_unit or ""),
        metadata,
    )


# --- writing


def write_cube(cube: Cube, path: str | Path) -> None:
    """Write a cube; the suffix names the format, and an existing file is replaced at once.

    ``.h5`` (array "cube", bands first), ``.mat`` (v5, H x W x bands, as MATLAB users expect),
    ``.npz``, ``.tif`` (a band a plane, tiled), ``.hdr`` (ENVI, band-sequential, the values in
    ``.img`` beside) and, without suffix, a folder of PNGs keep values, peak, wavelengths and
    metadata; ``.npy`` keeps the values only. PNGs hold 8 bits where the values do and 16 else:
    values are scaled to the depth, rounded and clipped to [0, 1].

    Raises:
        CubeError: unknown suffix, no such folder, an existing folder, values that the format cannot
            hold, a full disk. The target is then as it was before.
    """
    path = Path(path)
    writers = {
        ".h5": _write_hdf5,
        ".hdf5": _write_hdf5,
        ".mat": _write_mat,
        ".npz": _write_npz,
        ".npy": _write_npy,
        ".tif": _write_tiff,
        ".tiff": _write_tiff,
        ".hdr": _write_envi,
        "": _write_band_folder,
    }
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise CubeError(
            f"{path}: cannot write {path.suffix}; choose one of "
            f"{', '.join(filter(None, writers))}, or a name without suffix for a folder of PNGs"
        )
    beside = [".img"] if writer is _write_envi else []
    with replacing(path, CubeError, beside=beside) as temporary:
        try:
            writer(cube, temporary)
        # h5py closes a file on a full disk with a RuntimeError.
        except RuntimeError as error:
            raise CubeError(f"{path}: cannot be written ({reason_of(error)})") from None


def _stated(cube: Cube) -> dict[str, Any]:
    """Peak, wavelengths and metadata, as far as they are known."""
    stated = {
        "peak": cube.peak,
        "wavelengths": cube.wavelengths,
        "metadata": json.dumps(dict(cube.metadata), default=str) if cube.metadata else None,
    }
    return {name: value for name, value in stated.items() if value is not None}


def _description(cube: Cube) -> str:
    stated = {"peak": cube.peak, "wavelengths": cube.wavelengths, "metadata": dict(cube.metadata)}
    return json.dumps(stated, default=str)


def _write_hdf5(cube: Cube, path: Path) -> None:
    with optional_module("h5py").File(path, "w") as file:
        file.create_dataset("cube", data=cube.values, track_times=False)
        file.attrs.update({"axes": "chw", **_stated(cube)})


def _write_mat(cube: Cube, path: Path) -> None:
    if cube.values.nbytes >= 2**31:
        raise CubeError("MAT v5 holds 2 GiB an array at most; choose .h5")
    arrays = {"cube": cube.values.transpose(1, 2, 0), "axes": "hwc", **_stated(cube)}
    optional_module("scipy.io").savemat(path, arrays, do_compression=True)


def _write_npz(cube: Cube, path: Path) -> None:
    np.savez(path, cube=cube.values, axes="chw", **_stated(cube))


def _write_npy(cube: Cube, path: Path) -> None:
    np.save(path, cube.values, allow_pickle=False)


def _write_tiff(cube: Cube, path: Path) -> None:
    optional_module("tifffile").imwrite(
        path,
        cube.values,
        planarconfig="separate",
        photometric="minisblack",
        tile=(128, 128),
        compression="zlib",
        description=_description(cube),
        metadata=None,
    )


def _write_envi(cube: Cube, path: Path) -> None:
    envi = optional_module("spectral.io.envi")
    metadata = dict(cube.metadata)
    if cube.wavelengths is not None:
        metadata["wavelength"] = list(cube.wavelengths)
        metadata["wavelength units"] = "Nanometers"
    if cube.peak is not None:
        metadata["reflectance scale factor"] = cube.peak
    pixels = cube.values.transpose(1, 2, 0)
    try:
        envi.save_image(
            str(path), pixels, dtype=pixels.dtype, ext=".img", interleave="bsq", metadata=metadata
        )
    except envi.EnviException as error:
        raise CubeError(f"ENVI cannot hold {pixels.dtype} ({error}); choose .h5") from None


def _write_band_folder(cube: Cube, folder: Path) -> None:
    if cube.values.dtype == np.uint8 and cube.peak == 255:
        depth: type[np.uint8 | np.uint16] = np.uint8
        bands = cube.values
    else:
        depth = np.uint16
        bands = np.rint(np.clip(cube.unit(), 0, 1).astype(np.float64) * 65535).astype(depth)
    folder.mkdir()
    for number, band in enumerate(bands, start=1):
        write_picture(Picture(band[..., None]), folder / f"band_{number:03d}.png")
    stated = {"wavelengths": cube.wavelengths, "metadata": dict(cube.metadata)}
    (folder / _SIDECAR).write_text(json.dumps(stated, default=str), encoding="utf-8")
