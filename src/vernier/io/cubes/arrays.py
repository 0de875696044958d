"""Files with named arrays: NPY, NPZ, MAT, HDF5."""

from __future__ import annotations

import json
import math
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vernier.errors import InputError
from vernier.extras import optional_module
from vernier.io.cubes.axes import AXES, nanometres
from vernier.io.cubes.cube import (
    Cube,
    CubeError,
    StoredCube,
    check_declared,
    stated_number,
    stated_object,
    stated_value,
)
from vernier.io.files import reason_of, shown

__all__ = [
    "check_inside",
    "open_hdf5",
    "read_hdf5",
    "read_mat",
    "read_numpy",
    "write_hdf5",
    "write_mat",
    "write_npy",
    "write_npz",
]

_WAVELENGTH_KEYS = ("wavelengths", "wavelength", "bands", "wl", "lambda", "lambdas")
# The value that stands for no data: Vernier's own name, netCDF's, NEON's.
# NEON's, by which stored reflectances are to be divided.
_SCALE = "Scale_Factor"
_NO_DATA_KEYS = ("no_data", "_fillvalue", "missing_value", "data_ignore_value")
# Structures of MATLAB in structures.
_DEEPEST = 8
# Arrays beside the cube that are larger say nothing about it.
_LARGEST_FACT = 65536


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
    except InputError:
        raise
    # h5py raises whatever a damaged file leads to.
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise CubeError(
            f"{path}: is no HDF5 file, or a damaged one ({shown(reason_of(error))})"
        ) from None


def check_inside(path: Path, name: str, item: Any) -> None:
    """Refuse an array of an HDF5 file whose values stand elsewhere, or nowhere.

    Args:
        path: the file.
        name: of the array.
        item: the array, an ``h5py.Dataset``.

    Raises:
        CubeError: so it is. Another file's bytes must not come into a result unseen.
    """
    linked = item.is_virtual and any(
        source.file_name not in (".", str(path)) for source in item.virtual_sources()
    )
    if linked or item.external or Path(item.file.filename) != Path(path):
        raise CubeError(
            f"{path}: {shown(name)} stands in another file; copy it into this one (h5repack does)"
        )
    check_declared(path, item.nbytes)


def read_hdf5(path: Path, key: str | None) -> StoredCube:
    h5py = optional_module("h5py")
    data: dict[str, Any] = {}

    def collect(name: str, item: Any) -> None:
        # MATLAB keeps the contents of cells under "#refs#".
        if isinstance(item, h5py.Dataset) and item.shape is not None and name[0] != "#":
            data[name] = item

    with open_hdf5(path) as file:
        file.visititems(collect)
        name, array = _choose(path, data, key, check_inside)
        small = {
            name: item
            for name, item in data.items()
            if item.ndim < 3 and item.size <= _LARGEST_FACT and not item.external
        }
        facts = {name: np.asarray(item[...]) for name, item in small.items()}
        for place in (data[name], file):
            facts |= {word: np.asarray(value) for word, value in place.attrs.items()}
        if not any("MATLAB_class" in item.attrs for item in data.values()):
            return _with_facts(array, facts)
        found = _with_facts(array.transpose(), facts)
        return replace(found, notes=("MATLAB v7.3: dimensions reversed",))


def read_mat(path: Path, key: str | None) -> StoredCube:
    with path.open("rb") as file:
        start = file.read(520)
    if start.startswith(b"MATLAB 7.3") or b"\x89HDF" in (start[:4], start[512:516]):
        return read_hdf5(path, key)
    scipy_io = optional_module("scipy.io")
    try:
        declared = scipy_io.whosmat(path)
        check_declared(path, sum(8 * math.prod(map(int, shape)) for _, shape, _ in declared))
        # What scipy finds odd is an error later, or of no importance.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arrays = scipy_io.loadmat(path)
    except CubeError:
        raise
    except Exception as error:  # scipy raises whatever a damaged file leads to
        raise CubeError(
            f"{path}: is no MAT file, or a damaged one ({shown(reason_of(error))})"
        ) from None
    return _from_arrays(path, dict(_members(arrays)), key)


def _members(arrays: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a MAT file, also those in structures and cells, as "structure/field"."""
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            continue
        if array.dtype.names is None and array.dtype.kind != "O":
            yield name, array
        elif depth < _DEEPEST and array.size <= _LARGEST_FACT:
            for number, item in enumerate(array.ravel()):
                place = name if array.size == 1 else f"{name}/{number}"
                named = (
                    {place: item}
                    if array.dtype.names is None
                    else {f"{place}/{field}": item[field] for field in array.dtype.names}
                )
                yield from _members(named, depth + 1)


def read_numpy(path: Path, key: str | None) -> StoredCube:
    """An NPY or NPZ file; its contents decide which of the two it is, not its suffix."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_declared(path, sum(member.file_size for member in archive.infolist()))
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return StoredCube(loaded)
        with loaded:
            arrays = dict(loaded)
    except CubeError:
        raise
    except Exception as error:  # numpy raises whatever a damaged file leads to
        raise CubeError(
            f"{path}: cannot be read as NPY or NPZ ({shown(reason_of(error))})"
        ) from None
    # A member of the archive that is no array comes as bytes.
    arrays = {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
    return _from_arrays(path, arrays, key)


def _from_arrays(path: Path, arrays: Mapping[str, np.ndarray], key: str | None) -> StoredCube:
    if key is None and (unfolded := _unfolded_bands(arrays)) is not None:
        found = _with_facts(unfolded, arrays)
        return replace(found, axes="chw", notes=("bands x pixels unfolded by nRow and nCol",))
    return _with_facts(_choose(path, arrays, key)[1], arrays)


def _with_facts(array: np.ndarray, facts: Mapping[str, np.ndarray]) -> StoredCube:
    """The array with what the values beside it say: axes, peak, wavelengths, metadata."""
    wavelengths = None
    for name, values in facts.items():
        word = name.rpartition("/")[2].lower()
        numeric = values.dtype.kind in "uif" and values.size in array.shape
        # A single number named "bands" counts them.
        if numeric and word in _WAVELENGTH_KEYS and (values.size > 1 or word != "bands"):
            wavelengths = wavelengths or nanometres(values)
    peaks = (stated_number(facts[name]) for name in ("peak", "maxValue") if name in facts)
    peak = next((peak for peak in peaks if peak is not None), None)
    scale = stated_number(facts.get(_SCALE)) or 0.0
    # Below 1 it is to be multiplied with, and tells nothing of full light.
    if peak is None and scale > 1:
        peak = scale
    axes = (_text(facts.get("axes")) or "").strip().lower()
    gaps = (
        stated_value(values)
        for name, values in facts.items()
        if name.rpartition("/")[2].lower() in _NO_DATA_KEYS
    )
    return StoredCube(
        array,
        axes if axes in AXES else None,
        peak,
        wavelengths,
        stated_object(_text(facts.get("metadata"))),
        no_data=next((value for value in gaps if value is not None), None),
    )


def _unfolded_bands(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """``Y`` (bands, pixels column by column) with ``nRow`` and ``nCol``, as unmixing sets have."""
    if not {"Y", "nRow", "nCol"} <= arrays.keys() or arrays["Y"].ndim != 2:
        return None
    rows, columns = stated_number(arrays["nRow"]), stated_number(arrays["nCol"])
    bands, pixels = arrays["Y"].shape
    if rows is None or columns is None or rows % 1 or rows * columns != pixels:
        return None
    return arrays["Y"].reshape(bands, int(columns), int(rows)).swapaxes(1, 2)


def _choose(
    path: Path,
    arrays: Mapping[str, Any],
    key: str | None,
    check: Callable[[Path, str, Any], None] | None = None,
) -> tuple[str, np.ndarray]:
    """The array of a file that is the cube: the one asked for, or the only one that can be.

    Args:
        check: called before the values are read.

    Returns:
        Its name and its values.
    """
    possible = {
        name: array
        for name, array in arrays.items()
        if array.dtype.kind in "uif" and array.ndim in (3, 4) and 0 not in array.shape
    }
    # One band, row or column makes a cube only where no other array does.
    cubes = {name: a for name, a in possible.items() if min(a.shape[-3:]) > 1} or possible
    listed = ", ".join(
        f"{shown(name)} ({'x'.join(map(str, a.shape))})" for name, a in cubes.items()
    )
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
            f"{path}: has no {key}; it holds {listed or ', '.join(map(shown, arrays)) or 'nothing'}"
        )
    array = arrays[name]
    if array.ndim == 4:
        if not index and len(array) > 1:
            raise CubeError(
                f"{path}: {shown(name)} holds {len(array)} cubes; "
                f"name one, --key {name}/0 to {name}/{len(array) - 1}"
            )
        if int(index or 0) >= len(array):
            raise CubeError(f"{path}: {name} holds {len(array)} cubes, {index} is too many")
    if check is not None:
        check(path, name, array)
    return name, np.asarray(array[int(index or 0)] if array.ndim == 4 else array[...])


def _text(value: np.ndarray | None) -> str | None:
    if value is None or value.size != 1:
        return None
    item = value.item()
    return item.decode(errors="replace") if isinstance(item, bytes) else str(item)


def _stated(cube: Cube) -> dict[str, Any]:
    """Peak, wavelengths, metadata and the value for no data, as far as they are known."""
    stated = {
        "peak": cube.peak,
        "wavelengths": cube.wavelengths,
        "metadata": json.dumps(dict(cube.metadata), default=str) if cube.metadata else None,
        "no_data": cube.no_data,
    }
    return {name: value for name, value in stated.items() if value is not None}


def write_hdf5(cube: Cube, path: Path) -> None:
    with optional_module("h5py").File(path, "w") as file:
        file.create_dataset("cube", data=cube.values, track_times=False)
        file.attrs.update({"axes": "chw", **_stated(cube)})


def write_mat(cube: Cube, path: Path) -> None:
    if cube.values.nbytes >= 2**31:
        raise CubeError("MAT v5 holds 2 GiB an array at most; choose .h5")
    arrays = {"cube": cube.values.transpose(1, 2, 0), "axes": "hwc", **_stated(cube)}
    optional_module("scipy.io").savemat(path, arrays, do_compression=True)


def write_npz(cube: Cube, path: Path) -> None:
    np.savez(path, cube=cube.values, axes="chw", **_stated(cube))


def write_npy(cube: Cube, path: Path) -> None:
    np.save(path, cube.values, allow_pickle=False)
