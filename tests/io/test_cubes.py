"""Cubes in every format: what was written comes back, and what is not certain is asked for."""

from __future__ import annotations

import json
import shutil
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from spectral.io import envi

from vernier.errors import MissingPackageError
from vernier.io import cubes
from vernier.io.cubes import (
    CUBE_SUFFIXES,
    FORMATS,
    WRITTEN_SUFFIXES,
    Cube,
    CubeError,
    find_cubes,
    read_cube,
    write_cube,
)
from vernier.io.pictures import Picture, write_picture

WAVELENGTHS = (412.5, 550.0, 671.25, 700.0, 900.0)
METADATA = {"sensor": "test", "gain": 2}


def make_values(dtype: str = "uint16", shape: tuple[int, int, int] = (5, 6, 7)) -> np.ndarray:
    values = np.random.default_rng(0).random(shape)
    return values.astype(dtype) if dtype.startswith("f") else (values * 250).astype(dtype)


def make_cube(dtype: str = "uint16") -> Cube:
    return Cube(make_values(dtype), 255.0 if dtype == "uint8" else 4095.0, WAVELENGTHS, METADATA)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("suffix", [".h5", ".mat", ".npz", ".tif", ".hdr"])
def test_everything_survives_a_round_trip(tmp_path: Path, suffix: str, dtype: str) -> None:
    cube = make_cube(dtype)
    write_cube(cube, tmp_path / f"cube{suffix}")
    back = read_cube(tmp_path / f"cube{suffix}")
    assert back.values.dtype == cube.values.dtype
    np.testing.assert_array_equal(back.values, cube.values)
    assert back.peak == cube.peak
    assert back.wavelengths == WAVELENGTHS
    assert {name: str(back.metadata[name]) for name in METADATA} == {"sensor": "test", "gain": "2"}
    assert {path.suffix for path in tmp_path.iterdir()} <= {suffix, ".img"}


@pytest.mark.parametrize(("dtype", "peak"), [("uint8", 255.0), ("uint16", 65535.0)])
def test_band_pngs_round_trip(tmp_path: Path, dtype: str, peak: float) -> None:
    cube = replace(make_cube(dtype), peak=peak)
    write_cube(cube, tmp_path / "scene")
    back = read_cube(tmp_path / "scene")
    np.testing.assert_array_equal(back.values, cube.values)
    assert back.peak == peak
    assert back.wavelengths == WAVELENGTHS
    assert back.metadata == METADATA


def test_band_pngs_scale_other_ranges_to_their_depth(tmp_path: Path) -> None:
    cube = make_cube("uint16")
    write_cube(cube, tmp_path / "scene")
    back = read_cube(tmp_path / "scene")
    np.testing.assert_allclose(back.unit(), cube.unit(), atol=0.5 / 65535)


def test_equal_cubes_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one.h5", "other.h5"):
        write_cube(make_cube(), tmp_path / name)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "other.h5").read_bytes()


# --- axes


@pytest.mark.parametrize("axes", cubes.AXES)
def test_stated_axes_are_followed(tmp_path: Path, axes: str) -> None:
    values = make_values()
    np.save(tmp_path / "cube.npy", values.transpose(["chw".index(letter) for letter in axes]))
    np.testing.assert_array_equal(read_cube(tmp_path / "cube.npy", axes=axes).values, values)


@pytest.mark.parametrize(("order", "axes"), [((0, 1, 2), "chw"), ((1, 2, 0), "hwc")])
def test_the_odd_axis_holds_the_bands(tmp_path: Path, order: tuple[int, ...], axes: str) -> None:
    values = make_values(shape=(5, 6, 6))
    np.save(tmp_path / "cube.npy", values.transpose(order))
    cube = read_cube(tmp_path / "cube.npy")
    np.testing.assert_array_equal(cube.values, values)
    assert any(axes in note for note in cube.notes)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 2, 0)])
def test_wavelengths_tell_the_axis(tmp_path: Path, order: tuple[int, ...]) -> None:
    values = make_values()
    np.savez(tmp_path / "cube.npz", hsi=values.transpose(order), wl=np.array(WAVELENGTHS) / 1000)
    cube = read_cube(tmp_path / "cube.npz")
    np.testing.assert_array_equal(cube.values, values)
    assert cube.wavelengths == WAVELENGTHS


@pytest.mark.parametrize("shape", [(5, 6, 7), (6, 6, 6), (6, 5, 6)])
def test_ambiguous_axes_are_asked_for(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    np.save(tmp_path / "cube.npy", make_values(shape=shape))
    with pytest.raises(CubeError, match="which axis holds the bands; pass --axes"):
        read_cube(tmp_path / "cube.npy")
    with pytest.raises(CubeError, match="give one of chw"):
        read_cube(tmp_path / "cube.npy", axes="bhw")


# --- range


def test_range_is_known_only_where_it_is_certain(tmp_path: Path) -> None:
    cases = {"uint8": 255.0, "float32": 1.0, "uint16": None}
    for dtype, peak in cases.items():
        np.save(tmp_path / "cube.npy", make_values(dtype))
        assert read_cube(tmp_path / "cube.npy", axes="chw").peak == peak
    with pytest.raises(CubeError, match="pass --peak"):
        read_cube(tmp_path / "cube.npy", axes="chw").unit()
    stated = read_cube(tmp_path / "cube.npy", axes="chw", peak=1023)
    np.testing.assert_allclose(stated.unit(), make_values() / 1023, rtol=1e-6)
    with pytest.raises(CubeError, match="peak 0"):
        read_cube(tmp_path / "cube.npy", axes="chw", peak=0)


def test_values_that_are_no_numbers_are_refused() -> None:
    values = make_values("float32")
    values[0, 0, 0] = np.inf
    with pytest.raises(CubeError, match="not finite"):
        Cube(values, 1.0).unit()
    values[0, 0, 0] = np.nan
    with pytest.raises(CubeError, match=r"has no data \(NaN at 0.48 % of the values\): fill"):
        Cube(values, 1.0).unit()


# --- folders of PNGs


def write_bands(folder: Path, stem: str, count: int, dtype: str = "uint16") -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    values = make_values(dtype, (count, 6, 7))
    for number, band in enumerate(values, start=1):
        write_picture(Picture(band[..., None]), folder / f"{stem}{number:02d}.png")
    return values


def test_raw_cave_folder(tmp_path: Path) -> None:
    """Scene folders that hold a folder of the same name, and files that are no bands."""
    inner = tmp_path / "cd_ms" / "cd_ms"
    values = write_bands(inner, "cd_ms_", 31)
    (inner / "cd_RGB.bmp").write_bytes(b"BM")
    (inner / "Thumbs.db").write_bytes(b"")
    (tmp_path / "readme.txt").write_text("about")
    assert find_cubes(tmp_path) == [tmp_path / "cd_ms"]
    cube = read_cube(tmp_path / "cd_ms")
    np.testing.assert_array_equal(cube.values, values)
    assert cube.peak == 65535
    assert cube.wavelengths == tuple(range(400, 701, 10))


def test_mixed_bit_depths_get_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "watercolors_ms"
    write_bands(folder, "watercolors_ms_", 31)
    shallow = make_values("uint8", (1, 6, 7))[0][..., None]
    for number in (3, 4, 31):
        write_picture(Picture(shallow.repeat(4, 2)), folder / f"watercolors_ms_{number:02d}.png")
    with pytest.raises(CubeError, match=r"3-4, 31: 7x6, 8-bit with 4 channels; leave this scene"):
        read_cube(folder)


def test_missing_and_foreign_bands_get_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    write_bands(folder, "band_", 5)
    (folder / "band_03.png").unlink()
    with pytest.raises(CubeError, match="band 3 of 1 to 5 is missing"):
        read_cube(folder)
    write_bands(folder, "other_", 2)
    with pytest.raises(CubeError, match="not one numbered row"):
        read_cube(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CubeError, match="no numbered PNGs"):
        read_cube(tmp_path / "empty")
    with pytest.raises(CubeError, match="no cubes in it"):
        find_cubes(tmp_path / "empty")


# --- MAT, HDF5


def write_mat_v73(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """As MATLAB does: HDF5 behind a header of 512 bytes, dimensions reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = array.transpose()
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")


def test_mat_v73_is_turned_back(tmp_path: Path) -> None:
    values = make_values("float64")
    write_mat_v73(
        tmp_path / "cube.mat",
        {"rad": values.transpose(1, 2, 0), "bands": np.array([WAVELENGTHS])},
    )
    cube = read_cube(tmp_path / "cube.mat")
    np.testing.assert_array_equal(cube.values, values)
    assert cube.wavelengths == WAVELENGTHS


def test_one_of_several_arrays_is_asked_for(tmp_path: Path) -> None:
    values = make_values()
    scipy.io.savemat(tmp_path / "cube.mat", {"ref": values, "rgb": values[:3], "note": "x"})
    with pytest.raises(CubeError, match=r"ref \(5x6x7\), rgb \(3x6x7\); name one with --key"):
        read_cube(tmp_path / "cube.mat")
    with pytest.raises(CubeError, match="has no gt; it holds ref"):
        read_cube(tmp_path / "cube.mat", key="gt")
    cube = read_cube(tmp_path / "cube.mat", key="ref", axes="chw")
    np.testing.assert_array_equal(cube.values, values)


def test_one_cube_of_a_stack(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).random((3, 5, 6, 6), dtype=np.float32)
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        file["GT"] = stack
    with pytest.raises(CubeError, match="holds 3 cubes; name one, --key GT/0 to GT/2"):
        read_cube(tmp_path / "stack.h5")
    with pytest.raises(CubeError, match="3 is too many"):
        read_cube(tmp_path / "stack.h5", key="GT/3")
    np.testing.assert_array_equal(read_cube(tmp_path / "stack.h5", key="GT/2").values, stack[2])


def test_jasper_ridge_is_unfolded_by_columns(shared: Path) -> None:
    cube = read_cube(shared / "data/cubes/jasperRidge2_R198.mat")
    assert cube.values.shape == (198, 100, 100)
    assert cube.peak == 5000
    stored = scipy.io.loadmat(shared / "data/cubes/jasperRidge2_R198.mat")["Y"]
    in_matlab = stored[7].reshape(100, 100, order="F")
    np.testing.assert_array_equal(cube.values[7], in_matlab)


def test_published_mat_crop_is_turned_bands_first(shared: Path) -> None:
    path = shared / "data/cubes/balloons_101_101_31.mat"
    cube = read_cube(path)
    np.testing.assert_array_equal(cube.values, scipy.io.loadmat(path)["Omsi"].transpose(2, 0, 1))
    assert cube.peak == 1


# --- TIFF


def test_multi_page_tiff_has_a_band_a_page(tmp_path: Path) -> None:
    values = make_values()
    tifffile.imwrite(tmp_path / "pages.tif", values, photometric="minisblack", metadata=None)
    np.testing.assert_array_equal(read_cube(tmp_path / "pages.tif").values, values)


def test_tiff_with_rows_as_pages_is_not_guessed(tmp_path: Path) -> None:
    rows = make_values(shape=(8, 9, 5))
    tifffile.imwrite(tmp_path / "rows.tif", rows, photometric="minisblack")
    with pytest.raises(CubeError, match="8 x 9 x 5 does not tell"):
        read_cube(tmp_path / "rows.tif")
    cube = read_cube(tmp_path / "rows.tif", axes="hwc")
    np.testing.assert_array_equal(cube.values, rows.transpose(2, 0, 1))


@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiled_tiff_of_every_arrangement(
    tmp_path: Path, compression: str | None, planar: str
) -> None:
    values = make_values("float32", (5, 40, 50))
    tifffile.imwrite(
        tmp_path / "cube.tif",
        values if planar == "separate" else values.transpose(1, 2, 0),
        tile=(16, 16),
        planarconfig=planar,
        photometric="minisblack",
        compression=compression,
        metadata=None,
    )
    np.testing.assert_array_equal(read_cube(tmp_path / "cube.tif").values, values)


def test_tiff_of_several_images_is_not_guessed(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(make_values(), photometric="minisblack")
        file.write(make_values(shape=(5, 8, 9)), photometric="minisblack")
    with pytest.raises(CubeError, match="holds 5x6x7, 5x8x9, not one cube"):
        read_cube(tmp_path / "two.tif")


# --- ENVI


@pytest.mark.parametrize("interleave", ["bil", "bip", "bsq"])
@pytest.mark.parametrize("order", [0, 1])
def test_envi_of_every_interleave_and_byte_order(
    tmp_path: Path, interleave: str, order: int
) -> None:
    values = make_values("int16")
    metadata = {"wavelength": [w / 1000 for w in WAVELENGTHS], "wavelength units": "Micrometers"}
    envi.save_image(
        str(tmp_path / "cube.hdr"),
        values.transpose(1, 2, 0),
        interleave=interleave,
        byteorder=order,
        metadata={**metadata, "reflectance scale factor": 10000, "sensor type": "AVIRIS"},
    )
    for name in ("cube.hdr", "cube.img"):
        cube = read_cube(tmp_path / name)
        np.testing.assert_array_equal(cube.values, values)
        assert cube.wavelengths == WAVELENGTHS
        assert cube.peak == 10000
        assert cube.metadata["sensor type"] == "AVIRIS"


def test_envi_without_its_header_gets_a_line(tmp_path: Path) -> None:
    (tmp_path / "cube.img").write_bytes(b"1234")
    with pytest.raises(CubeError, match=r"its header, cube\.hdr, is missing"):
        read_cube(tmp_path / "cube.img")


# --- damage


@pytest.mark.parametrize("suffix", [".h5", ".mat", ".npz", ".npy", ".tif", ".hdr"])
@pytest.mark.parametrize("content", [b"", b"not a cube at all" * 40])
def test_damaged_files_get_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"cube{suffix}"
    path.write_bytes(content)
    with pytest.raises(CubeError) as caught:
        read_cube(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".h5", ".mat", ".npz", ".npy", ".tif", ".hdr"])
def test_truncated_files_get_one_line(tmp_path: Path, suffix: str) -> None:
    write_cube(Cube(make_values(shape=(8, 60, 60)), 255.0), tmp_path / f"cube{suffix}")
    path = tmp_path / ("cube.img" if suffix == ".hdr" else f"cube{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(CubeError) as caught:
        read_cube(path, axes="chw")
    assert "\n" not in str(caught.value)


def test_unknown_and_missing_files_get_a_line(tmp_path: Path) -> None:
    with pytest.raises(CubeError, match="no such file or folder"):
        read_cube(tmp_path / "none.h5")
    (tmp_path / "cube.xyz").write_bytes(b"1")
    with pytest.raises(CubeError, match="is no cube that can be read"):
        read_cube(tmp_path / "cube.xyz")


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CubeError, match="no such folder"):
        write_cube(make_cube(), tmp_path / "none" / "cube.h5")
    with pytest.raises(CubeError, match=r"cannot write \.jpg"):
        write_cube(make_cube(), tmp_path / "cube.jpg")
    with pytest.raises(CubeError, match="ENVI cannot hold float16"):
        write_cube(Cube(make_values("float16")), tmp_path / "cube.hdr")
    with pytest.raises(CubeError, match="pass --peak"):
        write_cube(Cube(make_values()), tmp_path / "scene")
    assert list(tmp_path.iterdir()) == []


def test_missing_library_gets_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingPackageError, match="needs the package h5py: pip install"):
        read_cube(shutil.copy(__file__, tmp_path / "cube.h5"))


def test_scenes_one_level_deeper_are_found(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        np.save(tmp_path / part / f"{part}.npy", np.zeros((3, 8, 9)))
    assert [path.name for path in find_cubes(tmp_path)] == ["test.npy", "train.npy"]
    with pytest.raises(CubeError, match="no such folder"):
        find_cubes(tmp_path / "none")


def test_a_full_disk_under_hdf5_gets_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object, **__: object) -> None:
        raise RuntimeError("Can't decrement id ref count (unable to extend file)")

    monkeypatch.setattr(h5py.File, "create_dataset", fill)
    with pytest.raises(CubeError, match=r"cannot be written .*unable to extend"):
        write_cube(Cube(np.zeros((3, 4, 5)), 1.0), tmp_path / "cube.h5")
    assert not list(tmp_path.iterdir())


# --- one table of formats


def test_the_table_decides_what_is_read_written_and_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(FORMATS) == CUBE_SUFFIXES
    assert {".h5", ".mat", ".npz", ".npy", ".tif", ".hdr", ""} <= set(WRITTEN_SUFFIXES)
    for suffix in CUBE_SUFFIXES:
        (tmp_path / f"cube{suffix}").write_bytes(b"no cube")
    found = {path.suffix for path in find_cubes(tmp_path)}
    assert found == {suffix for suffix, form in FORMATS.items() if form.listed}
    (tmp_path / "empty").mkdir()
    with pytest.raises(CubeError, match=r"for files that end in h5, .*hdr\)"):
        find_cubes(tmp_path / "empty")


def test_hidden_files_and_folders_are_no_cubes(shared: Path, tmp_path: Path) -> None:
    cave = shared / "cases/mac-dotfiles/cave"
    assert find_cubes(cave) == [cave / "toy_ms"]
    assert read_cube(cave / "toy_ms").bands == 12
    for name in ("a.npy", "._a.npy"):
        np.save(tmp_path / name, make_values())
    (tmp_path / "folder.npy").mkdir()
    write_bands(tmp_path / ".trash", "band_", 3)
    write_bands(tmp_path / "scene", "band_", 3)
    (tmp_path / "scene" / "band_04.png").mkdir()
    assert find_cubes(tmp_path) == [tmp_path / "a.npy", tmp_path / "scene"]
    assert read_cube(tmp_path / "scene").bands == 3
    deeper = tmp_path / "deeper"
    (deeper / ".hidden").mkdir(parents=True)
    np.save(deeper / ".hidden" / "a.npy", make_values())
    with pytest.raises(CubeError, match="no cubes in it"):
        find_cubes(deeper)


# --- cubes of one band


@pytest.mark.parametrize("name", ["a.h5", "a.mat", "a.npz", "a.npy", "a.tif", "a.hdr", "a"])
@pytest.mark.parametrize("shape", [(1, 8, 9), (1, 8, 8), (1, 1, 9), (5, 1, 9), (5, 8, 1)])
def test_single_bands_rows_and_columns_come_back(
    name: str, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    cube = Cube(make_values("uint16", shape), 65535.0, WAVELENGTHS[: shape[0]], METADATA)
    write_cube(cube, tmp_path / name)
    back = read_cube(tmp_path / name, axes="chw" if name == "a.npy" else None)
    np.testing.assert_array_equal(back.values, cube.values)
    if name != "a.npy":
        assert back.wavelengths == cube.wavelengths
        assert back.peak == cube.peak
    assert find_cubes(tmp_path / name) == [tmp_path / name]


def test_a_tiff_with_one_band_is_a_cube(shared: Path) -> None:
    cube = read_cube(shared / "cases/hsi-pan-int16-single-band/pan.tif")
    assert cube.bands == 1


def test_a_thin_array_does_not_stand_beside_a_cube(tmp_path: Path) -> None:
    values = make_values("uint8", (5, 6, 6))
    np.savez(tmp_path / "a.npz", cube=values, mask=values[:1])
    np.testing.assert_array_equal(read_cube(tmp_path / "a.npz").values, values)
    np.savez(tmp_path / "b.npz", one=values[:1], other=values[1:2])
    with pytest.raises(CubeError, match=r"one \(1x6x6\), other \(1x6x6\); name one with --key"):
        read_cube(tmp_path / "b.npz")


# --- files that are not what their names say


def test_numpy_files_are_told_by_their_contents(tmp_path: Path) -> None:
    values = make_values()
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, values)
    with (tmp_path / "archive.npy").open("wb") as file:
        np.savez(file, cube=values, axes="chw")
    for name in ("array.npz", "archive.npy"):
        np.testing.assert_array_equal(read_cube(tmp_path / name, axes="chw").values, values)


def test_archives_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", cube=make_values("uint8", (5, 6, 6)))
    opened = []
    load = np.load

    def remember(*args: object, **kwargs: object) -> object:
        opened.append(load(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(np, "load", remember)
    read_cube(tmp_path / "a.npz")
    assert opened[0].zip is None


def test_names_by_time_are_no_row_of_bands(shared: Path) -> None:
    tracemalloc.start()
    try:
        for name in ("d_ts", "d_ts2"):
            with pytest.raises(CubeError, match=r"band \d+, .*, \.\.\. of \d+ to \d+ is missing"):
                read_cube(shared / "cases/rel-band-folder" / name)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def save_npz(path: Path, **facts: object) -> None:
    np.savez(path.with_suffix(".npz"), cube=make_values("uint8", (5, 6, 6)), **facts)


def save_h5(path: Path, **facts: object) -> None:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["cube"] = make_values("uint8", (5, 6, 6))
        file.attrs.update(facts)


def save_tif(path: Path, **facts: object) -> None:
    stated = json.dumps({"peak": None, "wavelengths": None, "metadata": {}, **facts})
    values = make_values("uint8", (5, 6, 6))
    tifffile.imwrite(path.with_suffix(".tif"), values, description=stated, metadata=None)


@pytest.mark.parametrize("save", [save_npz, save_h5, save_tif])
@pytest.mark.parametrize(
    "facts",
    [
        {"peak": "unknown"},
        {"peak": [1.0, 2.0]},
        {"peak": -3.0},
        {"wavelengths": "many"},
        {"metadata": "[" * 100_000},
        {"metadata": "[1, 2]"},
    ],
)
def test_facts_that_are_none_are_passed_over(
    save: Callable[..., None], facts: dict[str, object], tmp_path: Path
) -> None:
    save(tmp_path / "cube", **facts)
    (path,) = tmp_path.iterdir()
    cube = read_cube(path)
    assert (cube.bands, cube.peak, cube.wavelengths, dict(cube.metadata)) == (5, 255.0, None, {})


def test_a_sidecar_that_is_no_text_is_passed_over(tmp_path: Path) -> None:
    write_bands(tmp_path / "scene", "band_", 3)
    (tmp_path / "scene" / "cube.json").write_bytes(b"\xff\xfe{")
    assert read_cube(tmp_path / "scene").wavelengths is None


@pytest.mark.parametrize("suffix", [".h5", ".mat", ".npz", ".tif", ".hdr"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_cube_behind_a_link_is_written_and_read(
    suffix: str, existing: bool, tmp_path: Path
) -> None:
    (tmp_path / "far").mkdir()
    behind, link = tmp_path / "far" / f"real{suffix}", tmp_path / f"link{suffix}"
    if existing:
        write_cube(Cube(np.zeros((2, 3, 4), np.uint8), 255.0), behind)
    link.symlink_to(behind)
    cube = make_cube()
    write_cube(cube, link)
    for path in (link, behind):
        np.testing.assert_array_equal(read_cube(path).values, cube.values)
    assert link.is_symlink()


@pytest.mark.parametrize(("stated", "peak"), [(10000.0, 10000), (0.0001, None), ("none", None)])
def test_the_scale_of_stored_reflectances_is_their_peak(
    stated: float | str, peak: float | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["Reflectance_Data"] = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
        file["Reflectance_Data"].attrs["Scale_Factor"] = stated
    assert read_cube(path, axes="chw").peak == peak
    with h5py.File(path, "a") as file:
        file["Reflectance_Data"].attrs["peak"] = 5000
    assert read_cube(path, axes="chw").peak == 5000


def test_what_a_program_tells_of_shapes_is_no_description(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="separate")
    assert read_cube(path, peak=100).metadata == {}
    tifffile.imwrite(
        path, values, photometric="minisblack", planarconfig="separate", description="a field"
    )
    assert read_cube(path, peak=100).metadata == {"description": "a field"}
