"""Hyperspectral cubes in and out.

Files disagree about the order of the axes, about which value stands for full light, and mostly keep
silent about both. What is stated by the caller or stored in the file counts; what follows with
certainty from the format or the shapes is used and noted on the cube; anything else is an error
that says what to pass.

`FORMATS` says which suffix is read and written by what; all else follows from it. A new format is
a file with its reader and writer, and a line there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from vernier.io.cubes.arrays import (
    check_inside,
    open_hdf5,
    read_hdf5,
    read_mat,
    read_numpy,
    write_hdf5,
    write_mat,
    write_npy,
    write_npz,
)
from vernier.io.cubes.axes import AXES, bands_first, with_certain_peak
from vernier.io.cubes.bands import folder_of_bands, read_band_folder, write_band_folder
from vernier.io.cubes.cube import Cube, CubeError, StoredCube
from vernier.io.cubes.envi import VALUES_SUFFIX, header_of, read_envi, write_envi
from vernier.io.cubes.gaps import usual_no_data
from vernier.io.cubes.place import geotiff_of, has_place, map_info_of
from vernier.io.cubes.tiff import read_tiff, write_tiff
from vernier.io.files import check_folder, is_hidden, reason_of, replacing

__all__ = [
    "AXES",
    "CUBE_SUFFIXES",
    "FORMATS",
    "WRITTEN_SUFFIXES",
    "Cube",
    "CubeError",
    "Format",
    "check_inside",
    "find_cubes",
    "open_hdf5",
    "read_cube",
    "write_cube",
]


class Format(NamedTuple):
    """How cubes of one suffix are read and written.

    Attributes:
        read: a path and the name of an array (None: the only one) -> what the file says.
        write: a cube and a free path -> nothing; None where the format is read only.
        beside: suffixes of the files that ``write`` leaves beside the path.
        place: what is written of where the pixels lie on the ground so that other programs find
            it, from the cube's metadata; None where that is not possible.
        listed: whether a file of this suffix in a folder is a cube by itself; ENVI's values are
            found by their header.
    """

    read: Callable[[Path, str | None], StoredCube]
    write: Callable[[Cube, Path], None] | None
    beside: tuple[str, ...] = ()
    place: Callable[[Mapping[str, Any]], object] | None = None
    listed: bool = True


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        ".h5": Format(read_hdf5, write_hdf5),
        ".hdf5": Format(read_hdf5, write_hdf5),
        ".he5": Format(read_hdf5, None),
        ".mat": Format(read_mat, write_mat),
        ".npz": Format(read_numpy, write_npz),
        ".npy": Format(read_numpy, write_npy),
        ".tif": Format(read_tiff, write_tiff, place=geotiff_of),
        ".tiff": Format(read_tiff, write_tiff, place=geotiff_of),
        ".hdr": Format(read_envi, write_envi, beside=(VALUES_SUFFIX,), place=map_info_of),
        VALUES_SUFFIX: Format(read_envi, None, listed=False),
        ".dat": Format(read_envi, None, listed=False),
        ".raw": Format(read_envi, None, listed=False),
        ".bsq": Format(read_envi, None, listed=False),
        ".bil": Format(read_envi, None, listed=False),
        ".bip": Format(read_envi, None, listed=False),
    }
)
"""By suffix, in lower case."""

_FOLDER = Format(read_band_folder, write_band_folder)
CUBE_SUFFIXES = frozenset(FORMATS)
_WRITTEN = {**{suffix: form for suffix, form in FORMATS.items() if form.write}, "": _FOLDER}
WRITTEN_SUFFIXES = tuple(_WRITTEN)
"""What `write_cube` writes; without suffix a folder of PNGs."""


def find_cubes(folder: str | Path) -> list[Path]:
    """The cubes at a path, sorted: itself if it is one, else the cube files and band folders in it,
    else those one level deeper, as in train/ and test/. Hidden files and folders are passed over.

    Raises:
        CubeError: no such path, or nothing there is a cube.
    """
    folder = Path(folder)
    if not folder.is_file():
        check_folder(folder, CubeError)
    try:
        if folder.is_file() or folder_of_bands(folder) is not None:
            return [folder]
        found = _cubes_in(folder) or [
            path for part in _visible(folder) if part.is_dir() for path in _cubes_in(part)
        ]
    except OSError as error:
        raise CubeError(f"{folder}: cannot be read ({reason_of(error)})") from None
    if not found:
        looked = ", ".join(suffix[1:] for suffix, form in FORMATS.items() if form.listed)
        raise CubeError(
            f"{folder}: no cubes in it (looked for folders of numbered PNGs, and for files that "
            f"end in {looked})"
        )
    return found


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not is_hidden(Path(path.name)))


def _cubes_in(folder: Path) -> list[Path]:
    found = []
    for path in _visible(folder):
        if path.is_dir():
            is_cube = folder_of_bands(path) is not None
        else:
            form = FORMATS.get(path.suffix.lower())
            is_cube = form is not None and form.listed
        if is_cube:
            found.append(path)
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

    The value that stands for no data is what the file states; where it states none, -9999 and other
    usual ones are recognised, with a note, if all other values are far above.

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

    Example:
        >>> cube = read_cube("cube.h5")
        >>> cube.bands, cube.peak, cube.wavelengths[:2]
        (31, 65535.0, (400.0, 410.0))
    """
    path = Path(path)
    if axes is not None and axes.lower() not in AXES:
        raise CubeError(f"axes {axes}: give one of {', '.join(AXES)} (c = bands, h, w)")
    found = _format_of(path).read(path, key)
    try:
        wavelengths = found.wavelengths if wavelengths is None else tuple(map(float, wavelengths))
        values, note = bands_first(found, axes.lower() if axes else None, wavelengths)
        notes = (*found.notes, *note)
        peak = found.peak if peak is None else peak
        no_data = found.no_data
        if no_data is None and (no_data := usual_no_data(values)) is not None:
            notes += (f"no data is {no_data:g}: this is usual, and far below all other values",)
        cube = Cube(values, peak, wavelengths, found.metadata, notes, no_data)
        if peak is None:
            cube = with_certain_peak(cube)
    except CubeError as error:
        raise CubeError(f"{path}: {error}") from None
    return cube


def _format_of(path: Path) -> Format:
    if path.is_dir():
        return _FOLDER
    if not path.is_file():
        raise CubeError(f"{path}: no such file or folder; check the path")
    if form := FORMATS.get(path.suffix.lower()):
        return form
    # ENVI's values may have any suffix, or none.
    if header_of(path).is_file():
        return FORMATS[".hdr"]
    raise CubeError(
        f"{path}: is no cube that can be read; give a folder of PNGs, or one of "
        f"{', '.join(sorted(CUBE_SUFFIXES))}"
    )


def write_cube(cube: Cube, path: str | Path) -> tuple[str, ...]:
    """Write a cube; the suffix names the format, and an existing file is replaced at once.

    ``.h5`` (array "cube", bands first), ``.mat`` (v5, H x W x bands, as MATLAB users expect),
    ``.npz``, ``.tif`` (a band a plane, tiled), ``.hdr`` (ENVI, band-sequential, the values in
    ``.img`` beside) and, without suffix, a folder of PNGs keep values, peak, wavelengths and
    metadata; ``.npy`` keeps the values only. PNGs hold 8 bits where the values do and 16 else:
    values are scaled to the depth, rounded and clipped to [0, 1], and 0 where there is no data.

    Returns:
        What the format cannot hold, for people: where the pixels lie on the ground stands where
        other programs look for it in ``.tif`` and ``.hdr`` alone.

    Raises:
        CubeError: unknown suffix, no such folder, an existing folder, values that the format cannot
            hold, a full disk. The target is then as it was before.

    Example:
        >>> write_cube(read_cube("cube.h5"), "cube.hdr")
        ()
        >>> read_cube("cube.hdr").bands
        31
    """
    path = Path(path)
    form = _WRITTEN.get(path.suffix.lower())
    if form is None or form.write is None:
        raise CubeError(
            f"{path}: cannot write {path.suffix}; choose one of "
            f"{', '.join(filter(None, WRITTEN_SUFFIXES))}, or a name without suffix for a folder "
            "of PNGs"
        )
    with replacing(path, CubeError, beside=form.beside) as temporary:
        try:
            form.write(cube, temporary)
        # h5py closes a file on a full disk with a RuntimeError.
        except RuntimeError as error:
            raise CubeError(f"{path}: cannot be written ({reason_of(error)})") from None
    notes: tuple[str, ...] = ()
    if has_place(cube.metadata) and (form.place is None or not form.place(cube.metadata)):
        notes += (f"{path}: {_lost_place(form)}",)
    if form is _FOLDER and (told := cube.told_gaps()):
        notes += (f"{path}: PNGs hold no gaps: 0 stands for no data ({told})",)
    return notes


def _lost_place(form: Format) -> str:
    if form.write is write_npy:
        return "NPY holds no georeference; choose .tif or .hdr"
    if form.place is None:
        return (
            "the georeference stands in the metadata, where other programs do not look; choose "
            ".tif or .hdr"
        )
    return (
        "this kind of georeference cannot be written to this format; choose that of the cube, .tif "
        "or .hdr"
    )
