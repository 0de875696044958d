"""What cubes look like and hold, as a call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.scenes import WAVELENGTHS, write_scenes

from vernier.data import describe, preview, simulate_fusion
from vernier.errors import InputError
from vernier.imaging.display import to_display
from vernier.io import read_picture
from vernier.io.cubes import Cube, read_cube


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_scenes(tmp_path / "scenes")


def test_a_cube_is_shown_by_bands_wavelengths_or_camera(folder: Path, tmp_path: Path) -> None:
    path = folder / "beads.npz"
    values = read_cube(path).values
    by_wavelength = preview(path).picture.pixels
    np.testing.assert_array_equal(by_wavelength, to_display(values[[25, 15, 5]]))
    by_number = preview(path, tmp_path / "bands.png", bands=(26, 16, 6)).picture.pixels
    np.testing.assert_array_equal(by_number, by_wavelength)
    np.testing.assert_array_equal(read_picture(tmp_path / "bands.png").pixels, by_number)
    seen = preview(Cube(values, 65535.0, WAVELENGTHS), response="a", white=90)
    assert seen.picture.pixels.shape == (32, 34, 3)


def test_what_cannot_be_shown_is_said(folder: Path, tmp_path: Path) -> None:
    path = folder / "beads.npz"
    with pytest.raises(InputError, match="not both"):
        preview(path, bands=(1, 2, 3), response="a")
    with pytest.raises(InputError, match="three numbers from 1 to 31"):
        preview(path, bands=(1, 2))
    with pytest.raises(InputError, match="has no wavelengths; pass --bands"):
        preview(Cube(np.zeros((5, 6, 7), np.uint8)))
    with pytest.raises(InputError, match="would overwrite the input"):
        preview(path, path)
    with pytest.raises(InputError, match="no such folder"):
        preview(path, tmp_path / "none" / "a.png")


def test_cubes_and_fusion_files_are_described(folder: Path, tmp_path: Path) -> None:
    facts, notes = describe(folder / "beads.npz")
    assert (facts["bands"], facts["size"], facts["peak"]) == (31, "34x32", "65535")
    assert facts["wavelengths"] == "400 to 700 nm"
    assert not notes
    simulate_fusion(folder, tmp_path / "set.h5")
    facts, _ = describe(tmp_path / "set.h5")
    assert (facts["items"], facts["names"], facts["blur_sigma"]) == (2, "balloons, beads", 0.5)
    assert "response_weights" not in facts
    assert describe(tmp_path / "set.h5", key="GT/1").facts["bands"] == 31
