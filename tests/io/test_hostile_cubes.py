"""Cube files that lie: one line each, and never more memory than the file is worth."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from support.command import Ran

from vernier.io.cubes import Cube, CubeError, read_cube, write_cube

VALUES = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)

# What is refused among the published cases; the others are read, without the fact that is none.
REFUSED = {
    "h_bomb.h5": "cannot hold",
    "h_huge.h5": "cannot hold",
    "h_extfile.h5": "stands in another file",
    "h_name.h5": "name one with --key",
    "d_ts": "is missing",
    "d_ts2": "is missing",
    **dict.fromkeys(("m_nrow.mat", "m_nrowc.mat"), "no array with three axes"),
    **{f"n_nrow{n}.npz": "no array with three axes" for n in ("", 2, 3, 4, 5)},
}


def test_every_case_is_told_in_a_line(vernier: Callable[..., Ran], shared: Path) -> None:
    cases = shared / "cases"
    paths = [
        *(cases / "rel-cube-traces").iterdir(),
        *(cases / "rel-band-folder").iterdir(),
        cases / "h5-peak-text/badpeak.h5",
        cases / "mac-dotfiles/cave/toy_ms",
    ]
    assert len(paths) > 30
    for path in paths:
        ran = vernier("data", "info", path)
        told = REFUSED.get(path.name)
        assert ran.code == (2 if told else 0), path
        assert (told or "") in ran.err, path
        lines = ran.err.splitlines()
        assert all(line.startswith("error: " if told else "note: ") for line in lines), path
        assert len(lines) == 1 or not told
        assert len(ran.out) < 2000


def declaring(path: Path) -> Path:
    """A file of a few kB that declares some GB."""
    shape = (31, 9000, 9000)
    match path.suffix:
        case ".h5":
            with h5py.File(path, "w") as file:
                file.create_dataset("cube", shape, "f4", chunks=(1, 90, 90), compression="gzip")
        case ".hdr":
            head = "ENVI\nsamples = 9000\nlines = 9000\nbands = 31\ndata type = 4\n"
            path.write_text(f"{head}interleave = bsq\n")
            path.with_suffix(".img").write_bytes(bytes(4096))
        case ".npy":
            with path.open("wb") as out:
                head = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(out, head)
                out.write(bytes(4096))
        case ".tif":
            small = np.zeros((31, 64, 64), np.uint8)
            tifffile.imwrite(path, small, photometric="minisblack", planarconfig="separate")
            with tifffile.TiffFile(path, mode="r+") as tiff:
                for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                    tiff.pages.first.tags[name].overwrite(60000)
    return path


@pytest.mark.parametrize("name", ["a.h5", "a.hdr", "a.npy", "a.tif"])
def test_memory_is_not_taken_for_what_a_header_declares(tmp_path: Path, name: str) -> None:
    path = declaring(tmp_path / name)
    tracemalloc.start()
    try:
        with pytest.raises(CubeError) as caught:
            read_cube(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    # numpy reserves an NPY's array before it finds the file too short, and never touches it.
    assert name == "a.npy" or most < 2**26


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_an_archive_that_unpacks_to_a_thousand_times_its_size_is_refused(
    tmp_path: Path, suffix: str
) -> None:
    zeros = np.zeros((31, 1000, 1000), np.float32)
    path = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, cube=zeros)
    else:
        scipy.io.savemat(path, {"cube": zeros}, do_compression=True)
    with pytest.raises(CubeError, match="cannot hold"):
        read_cube(path)


def test_hdf5_values_that_stand_elsewhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(4096))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["cube"] = VALUES
    layout = h5py.VirtualLayout(VALUES.shape, np.uint16)
    layout[...] = h5py.VirtualSource(tmp_path / "other.h5", "cube", VALUES.shape)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("cube", (3, 8, 9), "u1", external=[(str(tmp_path / "secret"), 0, 216)])
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_virtual_dataset("cube", layout)
    for name in ("a.h5", "b.h5"):
        with pytest.raises(CubeError, match="cube stands in another file"):
            read_cube(tmp_path / name, axes="chw")
    # A view of the file's own array is in the file.
    inner = h5py.VirtualLayout(VALUES.shape, np.uint16)
    inner[...] = h5py.VirtualSource(".", "whole", VALUES.shape)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["whole"] = VALUES
        file.create_virtual_dataset("view", inner)
    np.testing.assert_array_equal(
        read_cube(tmp_path / "c.h5", axes="chw", key="view").values, VALUES
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"peak": "unknown"},
        {"peak": [1.0, 2.0]},
        {"peak": h5py.Empty("f")},
        {"axes": 5, "metadata": "[" * 100_000, "wavelengths": "red"},
        {"metadata": b"\xff\xfe", "no_data": "none"},
        {"metadata": "[1, 2]", "_FillValue": [1, 2]},
    ],
)
def test_attributes_that_state_nothing_are_passed_over(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = VALUES
        for name, value in attributes.items():
            size = len(value) if isinstance(value, str) else 0
            if size > 60_000:
                # Attributes hold 64 kB; a data set holds any text.
                file[name] = value
            else:
                file.attrs[name] = value
    cube = read_cube(tmp_path / "a.h5", axes="chw")
    np.testing.assert_array_equal(cube.values, VALUES)
    assert (cube.peak, cube.no_data, dict(cube.metadata)) == (None, None, {})


@pytest.mark.parametrize("axes", ["CHW", "Hwc", " hwc "])
def test_axes_are_known_in_capitals(tmp_path: Path, axes: str) -> None:
    order = ["chw".index(letter) for letter in axes.strip().lower()]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = VALUES.transpose(order)
        file.attrs["axes"] = axes
    np.testing.assert_array_equal(read_cube(tmp_path / "a.h5").values, VALUES)


def test_arrays_in_structures_and_cells_of_matlab_are_found(tmp_path: Path) -> None:
    hwc = VALUES.transpose(1, 2, 0)
    wavelengths = np.arange(450.0, 950, 100)
    path = tmp_path / "a.mat"
    inner = {"data": {"cube": hwc, "wavelengths": wavelengths}, "name": "x"}
    scipy.io.savemat(path, {"scene": inner})
    cube = read_cube(path)
    np.testing.assert_array_equal(cube.values, VALUES)
    assert cube.wavelengths == tuple(wavelengths)
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = hwc, hwc + 1
    scipy.io.savemat(path, {"cells": cells})
    with pytest.raises(CubeError, match=r"cells/0 \(6x7x5\), cells/1 .*--key"):
        read_cube(path)
    np.testing.assert_array_equal(read_cube(path, axes="hwc", key="cells/1").values, VALUES + 1)
    many = np.zeros(3, dtype=[("cube", "O")])
    for number in range(3):
        many[number]["cube"] = hwc + number
    scipy.io.savemat(path, {"many": many})
    np.testing.assert_array_equal(read_cube(path, axes="hwc", key="many/2/cube").values, VALUES + 2)


def test_a_tiff_of_ours_has_no_description_that_nobody_wrote(tmp_path: Path) -> None:
    write_cube(Cube(VALUES, 255.0), tmp_path / "a.tif")
    assert read_cube(tmp_path / "a.tif").metadata == {}
    write_cube(read_cube(tmp_path / "a.tif"), tmp_path / "a.hdr")
    assert "description" not in (tmp_path / "a.hdr").read_text()
