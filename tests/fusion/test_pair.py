from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from vernier.data.scene_files import FusionSettings, write_fusion
from vernier.data.scenes import read_fusion
from vernier.errors import InputError
from vernier.fusion.pair import Pair, pair_of_scene, read_pair
from vernier.imaging.simulation import Blur, find_response
from vernier.io import Picture, write_picture
from vernier.io.cubes import Cube, write_cube

WAVELENGTHS = (450.0, 500.0, 550.0, 600.0, 650.0, 700.0)


def arrays(bands: int = 6, scale: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(bands)
    lr = rng.random((bands, 5, 7), np.float32)
    return lr, rng.random((3, 5 * scale, 7 * scale), np.float32)


def test_files_are_read_in_their_unit_and_what_they_say_is_kept(tmp_path: Path) -> None:
    lr, guide = arrays()
    values = np.round(lr * 4095).astype(np.uint16)
    write_cube(Cube(values, 4095.0, WAVELENGTHS, {"sensor": "x"}), tmp_path / "cube.h5")
    pixels = np.round(guide.transpose(1, 2, 0) * 65535).astype(np.uint16)
    write_picture(Picture(np.ascontiguousarray(pixels)), tmp_path / "guide.png")
    pair = read_pair(tmp_path / "cube.h5", tmp_path / "guide.png")
    np.testing.assert_allclose(pair.lr, values / 4095, rtol=1e-6)
    # All sixteen bits count.
    np.testing.assert_allclose(pair.guide.transpose(1, 2, 0), pixels / 65535, rtol=1e-6)
    assert (pair.scale, pair.bands, pair.guide_channels) == (4, 6, 3)
    assert (pair.peak, pair.wavelengths, pair.dtype) == (4095.0, WAVELENGTHS, np.uint16)
    assert pair.metadata["sensor"] == "x"
    back = pair.as_cube(pair.lr)
    np.testing.assert_array_equal(back.values, values)
    assert (back.values.dtype, back.peak, back.wavelengths) == (np.uint16, 4095.0, WAVELENGTHS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_guides_are_pictures_of_every_depth_and_lose_transparency_with_a_note(
    dtype: type[np.generic], tmp_path: Path
) -> None:
    lr, guide = arrays()
    white = 1.0 if dtype is np.float32 else float(np.iinfo(dtype).max)  # type: ignore[type-var]
    colour = (guide.transpose(1, 2, 0) * white).astype(dtype)
    opaque = np.full((*colour.shape[:2], 1), white, dtype)
    path = tmp_path / "guide.tif"
    write_picture(Picture(np.concatenate([colour, opaque], 2)), path)
    pair = read_pair(lr, path)
    np.testing.assert_allclose(pair.guide, colour.transpose(2, 0, 1) / white, rtol=1e-6)
    assert pair.notes == (f"{path}: its transparency is left out",)
    halved = read_pair(lr, Picture(colour), guide_peak=2 * white)
    np.testing.assert_allclose(halved.guide, pair.guide / 2, rtol=1e-6)


def test_a_guide_of_four_channels_is_read_as_a_cube_with_its_notes(tmp_path: Path) -> None:
    lr, _ = arrays()
    guide = np.random.default_rng(1).integers(0, 255, (4, 20, 28), np.uint8, endpoint=True)
    write_cube(Cube(guide, 255.0), tmp_path / "guide.h5")
    np.save(tmp_path / "cube.npy", lr)
    pair = read_pair(tmp_path / "cube.npy", tmp_path / "guide.h5", axes="chw")
    np.testing.assert_allclose(pair.guide, guide / 255, rtol=1e-6)
    assert pair.notes == ("peak 1: all values are in [0, 1]",)


def test_memory_gives_the_same_pair_as_files() -> None:
    lr, guide = arrays()
    stated = read_pair(Cube(lr * 100, 100.0, WAVELENGTHS), Cube(guide * 10, 10.0))
    plain = read_pair(lr, guide, wavelengths=WAVELENGTHS)
    bytes_ = read_pair(np.rint(lr * 255).astype(np.uint8), guide)
    np.testing.assert_allclose(stated.lr, plain.lr, rtol=1e-6)
    np.testing.assert_allclose(stated.guide, plain.guide, rtol=1e-6)
    assert stated.wavelengths == plain.wavelengths == WAVELENGTHS
    assert (bytes_.peak, bytes_.dtype) == (255.0, np.uint8)
    with pytest.raises(InputError, match="pass --peak"):
        read_pair(np.rint(lr * 4095).astype(np.uint16), guide)


def test_a_scene_of_a_fusion_file_comes_with_its_reference(tmp_path: Path) -> None:
    gt = np.random.default_rng(0).random((6, 16, 24), np.float32)
    write_cube(Cube(gt, 1.0, tuple(400.0 + 60 * i for i in range(6))), tmp_path / "first.npz")
    settings = FusionSettings(find_response("a"), Blur())
    write_fusion(tmp_path / "scenes.h5", {"first": tmp_path / "first.npz"}, settings)
    scenes = read_fusion(tmp_path / "scenes.h5")
    pair = pair_of_scene(scenes[0], wavelengths=scenes.wavelengths, source="scenes.h5")
    assert pair.gt is not None
    np.testing.assert_array_equal(pair.gt, gt)
    assert (pair.scale, pair.metadata, len(pair.wavelengths or ())) == (4, {"scene": "first"}, 6)


def test_a_pair_stays_as_it_was_checked() -> None:
    pair = Pair(*arrays())
    with pytest.raises(FrozenInstanceError):
        pair.peak = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("lr", "guide", "message"),
    [
        (np.full((5, 8, 8), 0.5), np.full((3, 32, 33), 0.5), "33x32 is no whole multiple of a cub"),
        (np.full((5, 8, 8), 0.5), np.full((3, 32, 16), 0.5), "16x32 is no whole multiple"),
        (np.full((5, 8, 8), 0.5), np.full((3, 4, 4), 0.5), "4x4 is no whole multiple"),
        (np.full((5, 8, 8), np.nan), np.full((3, 32, 32), 0.5), "the cube has values that are not"),
        (np.full((5, 8, 8), 0.5), np.full((3, 32, 32), np.inf), "the guide has values that are no"),
        (np.full((8, 8), 0.5), np.full((3, 32, 32), 0.5), "a cube is"),
        (np.full((5, 0, 8), 0.5), np.full((3, 32, 32), 0.5), "a cube is"),
        (np.full((5, 8, 8), 1.3), np.full((3, 32, 32), 0.5), "to 1.3 after .* the right --peak"),
        (np.full((5, 8, 8), 0.5), np.full((3, 32, 32), -1.0), "from -1 .* right --guide-peak"),
        (np.full((5, 8, 8), -0.21), np.full((3, 32, 32), 0.5), "from -0.21 .* right --peak"),
        (np.full((5, 8, 8), 0.01), np.full((3, 32, 32), 0.5), "probably too large: .* --peak"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    lr: np.ndarray, guide: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Pair(lr.astype(np.float32), guide.astype(np.float32))


def test_a_few_bright_pixels_are_no_wrong_peak_and_many_are() -> None:
    lr, guide = arrays()
    few, many, far = lr.copy(), lr.copy(), lr.copy()
    few[0, 0, :2], many[0, 0, :3], far[0, 0, 0] = 1.6, 1.6, 2.1
    assert Pair(few, guide).highest == np.float32(1.6)
    for wrong in (many, far):
        with pytest.raises(InputError, match="pass the right --peak"):
            Pair(wrong, guide)


def test_wrong_peaks_sizes_and_gaps_are_told_with_the_file(tmp_path: Path) -> None:
    lr, guide = arrays()
    for peak in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="give a number above 0"):
            read_pair(lr, guide, guide_peak=peak)
    with pytest.raises(InputError, match=r"the upsampled cube must be \(6, 20, 28\)"):
        Pair(lr, guide, upsampled=lr)
    with pytest.raises(InputError, match=r"the reference cube must be \(6, 20, 28\)"):
        Pair(lr, guide, gt=guide)
    gaps = lr.copy()
    gaps[0, 0, 0] = np.inf
    write_cube(Cube(gaps, 1.0), tmp_path / "gaps.h5")
    with pytest.raises(InputError, match=r"gaps\.h5.* not finite"):
        read_pair(tmp_path / "gaps.h5", guide)


def test_values_beyond_the_peak_stay_in_the_range_of_the_cube_and_of_its_type() -> None:
    lr, guide = arrays()
    values = np.rint(lr * 10000).astype(np.int16)
    values[0, 0, :2] = 11500, -392
    pair = read_pair(Cube(values, 10000.0), guide)
    wild = np.array([[[-0.2, -0.0392, 0.5, 1.15, 1.3]]], np.float32)
    kept = pair.as_cube(pair.clipped(wild.repeat(6, 0))).values
    np.testing.assert_array_equal(kept[0, 0], [-392, -392, 5000, 11500, 11500])
    tame = read_pair(lr, guide)
    np.testing.assert_array_equal(tame.clipped(wild.copy())[0, 0, [0, 4]], [0, 1])
    # A peak beyond the type's range must not wrap around.
    small = read_pair(Cube(np.full((1, 1, 1), 200, np.uint8), 300.0), np.full((1, 1, 1), 0.5))
    assert small.as_cube(np.ones((1, 1, 1), np.float32)).values.item() == 255
