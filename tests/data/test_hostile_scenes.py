"""Fusion files that state nonsense, and cubes without data, by the calls of the data commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.command import Ran

from vernier.data import describe, preview, simulate_fusion
from vernier.data.scenes import is_fusion_file, read_fusion
from vernier.errors import InputError
from vernier.evaluation import evaluate
from vernier.fusion import fuse
from vernier.io.cubes import Cube, CubeError, write_cube

LR = np.random.default_rng(0).random((2, 4, 4, 6), np.float32)
GUIDE = np.random.default_rng(1).random((2, 3, 8, 12), np.float32)


def put(path: Path, change: Callable[[Any], None]) -> Path:
    with h5py.File(path, "w") as file:
        file["LRHSI"], file["RGB"] = LR, GUIDE
        change(file)
    return path


@pytest.mark.parametrize("peak", ["unknown", np.nan, -1, [1, 2], h5py.Empty("f")])
def test_a_peak_that_is_none_is_not_taken(tmp_path: Path, peak: Any) -> None:
    path = put(tmp_path / "a.h5", lambda file: file.attrs.update({"peak": peak}))
    assert read_fusion(path).peak == 1.0


@pytest.mark.parametrize("stated", ["red", [450.0], [0, 0, 0, 0], [[1.0, 2.0]], h5py.Empty("f")])
def test_wavelengths_that_are_none_are_not_taken(tmp_path: Path, stated: Any) -> None:
    path = put(tmp_path / "a.h5", lambda file: file.attrs.update({"wavelengths": stated}))
    assert read_fusion(path).wavelengths is None


def test_names_of_any_type_are_names_and_their_number_counts(tmp_path: Path) -> None:
    for names in ([1, 2], ["x", "y"], [b"x", b"\xff"], [[1.5], [2.5]]):
        path = put(tmp_path / "a.h5", lambda file, names=names: file.update({"names": names}))
        assert len(read_fusion(path).names) == 2
    for names in ([1, 2, 3], h5py.Empty("f")):
        path = put(tmp_path / "a.h5", lambda file, names=names: file.update({"names": names}))
        with pytest.raises(InputError, match="names for 2 scenes"):
            read_fusion(path)


def test_what_is_no_stack_of_numbers_makes_no_fusion_file(tmp_path: Path) -> None:
    for other in (b"text", h5py.Empty("f"), [b"a", b"b"], np.float32(3)):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["LRHSI"], file["RGB"] = other, GUIDE
        assert not is_fusion_file(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("LRHSI")
        file["RGB"] = GUIDE
    assert not is_fusion_file(tmp_path / "a.h5")


def test_a_fusion_file_holds_its_values_itself(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(4096))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["LRHSI"] = LR
    layout = h5py.VirtualLayout(LR.shape, np.float32)
    layout[...] = h5py.VirtualSource(tmp_path / "other.h5", "LRHSI", LR.shape)

    def outside(file: Any) -> None:
        file.create_dataset(
            "LRHSI", LR.shape, "f4", external=[(str(tmp_path / "secret"), 0, LR.nbytes)]
        )

    def link(file: Any) -> None:
        file["LRHSI"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "LRHSI")

    def huge(file: Any) -> None:
        file.create_dataset("LRHSI", (2, 4, 40_000, 60_000), "f4")

    for make in (outside, link, lambda file: file.create_virtual_dataset("LRHSI", layout), huge):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["RGB"] = GUIDE
            make(file)
        with pytest.raises(CubeError, match=r"stands in another file|cannot hold"):
            read_fusion(tmp_path / "a.h5")


def test_a_scene_with_gaps_is_fused_and_has_them_again(tmp_path: Path) -> None:
    lr = LR.copy()
    lr[0, :, 1, 2] = np.nan
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["LRHSI"], file["RGB"] = lr, GUIDE
    first, second = fuse(tmp_path / "a.h5", model="bicubic", check=False)
    gaps = first.cube.gaps()
    assert gaps is not None
    np.testing.assert_array_equal(gaps, np.isnan(lr[0]).repeat(2, 1).repeat(2, 2))
    assert second.cube.gaps() is None


def holed() -> Cube:
    values = np.random.default_rng(0).integers(1, 10000, (4, 8, 9)).astype(np.int16)
    values[:, 2:4, 3:5] = -9999
    return Cube(values, 10000.0, (450.0, 550.0, 650.0, 750.0), no_data=-9999.0)


def test_what_is_told_of_a_cube_leaves_its_gaps_out(tmp_path: Path) -> None:
    cube = holed()
    write_cube(cube, tmp_path / "a.h5")
    facts = describe(tmp_path / "a.h5").facts
    known = cube.values[cube.values > 0]
    assert facts["values"] == f"{known.min():g} to {known.max():g}"
    assert facts["no data"] == "-9999 at 5.6 % of the values"
    write_cube(Cube(np.abs(cube.values), 10000.0, no_data=-1.0), tmp_path / "b.h5")
    assert describe(tmp_path / "b.h5").facts["no data"] == "-1, nowhere"


@pytest.mark.parametrize("gap", [-9999, 32767])
def test_a_preview_shows_no_data_black_and_the_rest_as_it_is(gap: int) -> None:
    cube = holed()
    values = cube.values.copy()
    values[:, 2:4, 3:5] = gap
    found = preview(Cube(values, 10000.0, cube.wavelengths, no_data=float(gap)))
    assert (found.picture.pixels[2:4, 3:5] == 0).all()
    assert found.picture.pixels[5:].max() > 200
    assert any("is black" in note for note in found.notes)


def test_a_data_set_of_cubes_with_gaps_is_refused_by_name(tmp_path: Path) -> None:
    write_cube(holed(), tmp_path / "a.h5")
    with pytest.raises(InputError, match=r"a\.h5: has no data \(-9999 at 5.6 % of .*\): fill"):
        simulate_fusion(tmp_path / "a.h5", tmp_path / "set.h5")
    assert not (tmp_path / "set.h5").exists()


def test_long_facts_are_printed_shortened(vernier: Callable[..., Ran], tmp_path: Path) -> None:
    cube = Cube(np.zeros((2, 3, 4), np.uint8), metadata={"story": "a" * 5000, "n\nl": 1})
    write_cube(cube, tmp_path / "a.h5")
    ran = vernier("data", "info", tmp_path / "a.h5")
    assert ran.code == 0
    assert f"story: {'a' * 300} ... (5,000 letters)" in ran.out
    assert all(line.startswith(("  ", str(tmp_path))) for line in ran.out.splitlines())


def test_scenes_without_data_are_not_measured(tmp_path: Path) -> None:
    gt = np.random.default_rng(2).random((2, 4, 32, 48), np.float32)
    lr, guide = (array.repeat(4, 2).repeat(4, 3) for array in (LR, GUIDE))
    settings = {"blur_size": "wide", "preset": "mine"}
    for gap, code in ((False, 0), (True, 2)):
        if gap:
            gt[1, 0, 3, 3] = np.nan
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["GT"], file["LRHSI"], file["RGB"] = gt, lr, guide
            file.attrs.update(settings)
        if code:
            with pytest.raises(InputError, match=r"a\.h5: scene a-0001 has no data \(NaN\)"):
                evaluate([], [tmp_path / "a.h5"])
        else:
            assert evaluate([], [tmp_path / "a.h5"])
