"""What cubes look like."""

from pathlib import Path

import numpy as np
import pytest

from vernier.errors import InputError
from vernier.imaging.display import cube_as_rgb, shown_bands
from vernier.imaging.simulation import find_response, read_response
from vernier.imaging.wavelengths import VISIBLE_WAVELENGTHS


def test_red_green_and_blue_are_the_nearest_bands_or_last_middle_and_first() -> None:
    assert shown_bands(31, VISIBLE_WAVELENGTHS) == [25, 15, 5]
    assert shown_bands(31, VISIBLE_WAVELENGTHS[::-1]) == [5, 15, 25]
    assert shown_bands(31) == [30, 15, 0]
    assert shown_bands(1) == [0, 0, 0]
    cube = np.arange(31.0)[:, None, None] * np.ones((31, 2, 3))
    assert cube_as_rgb(cube, wavelengths=VISIBLE_WAVELENGTHS)[:, 1, 2].tolist() == [25, 15, 5]
    assert cube_as_rgb(cube)[:, 0, 0].tolist() == [30, 15, 0]


def test_a_camera_weights_all_bands() -> None:
    camera = find_response("a")
    cube = np.random.default_rng(0).random((31, 2, 3))
    shown = cube_as_rgb(cube, wavelengths=VISIBLE_WAVELENGTHS, camera=camera)
    weights = camera.weights.numpy()
    assert np.allclose(shown[1, 1, 2], (weights[1] * cube[:, 1, 2]).sum(), rtol=1e-12)


def test_a_camera_of_two_channels_shows_no_colours(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("nm,a,b\n400,1,2\n700,1,1\n")
    with pytest.raises(InputError, match="2 channels, not 3"):
        cube_as_rgb(np.ones((2, 1, 1)), camera=read_response(path))
