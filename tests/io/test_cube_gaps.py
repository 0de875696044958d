"""Pixels of which a cube's file knows nothing."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from vernier.io.cubes import Cube, CubeError, read_cube, write_cube


def holed(dtype: str, gap: float) -> np.ndarray:
    values = np.random.default_rng(0).integers(1, 200, (3, 6, 7)).astype(dtype)
    values[:, 1:3, 2:5] = gap
    return values


@pytest.mark.parametrize("suffix", [".h5", ".mat", ".npz", ".tif", ".hdr"])
@pytest.mark.parametrize(
    ("dtype", "gap"), [("int16", -9999), ("uint16", 0), ("uint16", 65535), ("float32", -9999)]
)
def test_the_value_for_no_data_survives_every_format(
    tmp_path: Path, suffix: str, dtype: str, gap: float
) -> None:
    path = tmp_path / f"cube{suffix}"
    write_cube(Cube(holed(dtype, gap), 255.0, no_data=gap), path)
    back = read_cube(path)
    assert back.no_data == gap
    gaps = back.gaps()
    assert gaps is not None
    np.testing.assert_array_equal(gaps, holed(dtype, gap) == gap)


def test_gaps_are_filled_from_the_nearest_pixel_of_the_band() -> None:
    values = np.arange(48, dtype=np.float32).reshape(2, 4, 6) + 1
    gaps = np.zeros(values.shape, bool)
    gaps[0, 0, 0] = gaps[1, 3, 4:] = True
    filled = Cube(np.where(gaps, np.nan, values), 100.0).filled().values
    assert filled[0, 0, 0] in (values[0, 0, 1], values[0, 1, 0])
    assert filled[1, 3, 5] == values[1, 2, 5]
    np.testing.assert_array_equal(filled[~gaps], values[~gaps])
    whole = values.copy()
    whole[0] = np.nan
    np.testing.assert_array_equal(Cube(whole).filled().values[0], values[1])
    with pytest.raises(CubeError, match="no data at all: NaN everywhere"):
        Cube(np.full((2, 3, 4), np.nan)).filled()
    plain = Cube(values)
    assert plain.filled() is plain


def test_a_value_that_the_type_cannot_hold_marks_nothing() -> None:
    values = holed("uint16", 0)
    for other in (-9999.0, 0.5, 1e30, np.nan):
        assert Cube(values, no_data=other).gaps() is None
    assert Cube(values.astype(np.float32), no_data=-1.7e308).gaps() is None


def test_what_is_known_of_a_range_leaves_gaps_out(tmp_path: Path) -> None:
    values = holed("float32", -9999) / np.float32(200)
    values[:, 1:3, 2:5] = -9999
    write_cube(Cube(values, no_data=-9999.0), tmp_path / "cube.h5")
    cube = read_cube(tmp_path / "cube.h5")
    assert cube.limits() == (values[values > 0].min(), values.max())
    assert cube.peak == 1.0
    with pytest.raises(CubeError, match=r"has no data \(-9999 at 14 % of the values\): fill"):
        cube.unit()


def test_gdal_s_tag_and_the_attribute_of_an_hdf5_array_are_known(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    values = holed("uint16", 0)
    # A value that the type cannot hold leads tifffile to a word in its log.
    for text, wanted in (("0", 0.0), ("-9999", -9999.0), ("nan", np.nan), ("none", None)):
        tag = [(42113, "s", len(text) + 1, text, True)]
        tifffile.imwrite(
            tmp_path / "a.tif",
            values,
            photometric="minisblack",
            planarconfig="separate",
            extratags=tag,
        )
        found = read_cube(tmp_path / "a.tif").no_data
        assert found == wanted or (found is not None and np.isnan(found) and np.isnan(wanted or 0))
    assert capfd.readouterr().err == ""
    for name in ("_FillValue", "Data_Ignore_Value", "missing_value"):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["Reflectance"] = values
            file["Reflectance"].attrs[name] = np.uint16(0)
        assert read_cube(tmp_path / "a.h5", axes="chw").no_data == 0


def test_png_bands_hold_no_gaps_and_say_so(tmp_path: Path) -> None:
    cube = Cube(holed("int16", -9999), 255.0, no_data=-9999.0)
    (note,) = write_cube(cube, tmp_path / "bands")
    assert "0 stands for no data (-9999 at 14 % of the values)" in note
    back = read_cube(tmp_path / "bands").values
    assert (back[:, 1:3, 2:5] == 0).all()
    assert (back[:, 3:] > 0).all()


@pytest.mark.parametrize("gap", [-9999, -32768, -99999, float(np.finfo(np.float32).min)])
@pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
def test_usual_values_for_no_data_are_recognised_with_a_note(
    tmp_path: Path, dtype: str, gap: float
) -> None:
    if dtype[0] == "i" and gap < np.iinfo(dtype).min:
        return
    values = holed(dtype, gap)
    values[0, 0, 0] = -30
    np.save(tmp_path / "a.npy", values)
    cube = read_cube(tmp_path / "a.npy", axes="chw")
    assert cube.no_data == gap
    assert any("this is usual" in note for note in cube.notes)
    assert cube.limits() == (-30, values.max())


def test_a_low_value_among_others_is_a_value(tmp_path: Path) -> None:
    for values in (
        np.linspace(-9999, 9999, 210).round().astype(np.int16).reshape(5, 6, 7),
        holed("int16", -1000),
        holed("uint16", 0),
        np.full((5, 6, 7), np.inf, np.float32),
    ):
        np.save(tmp_path / "a.npy", values)
        assert read_cube(tmp_path / "a.npy", axes="chw").no_data is None
