"""Awkward files through the command: guides, georeferences, and what is left without a place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from support.command import Ran

from vernier.io.cubes import read_cube

Run = Callable[..., Ran]


@pytest.fixture
def cases(shared: Path) -> Path:
    return shared / "cases"


def fused(vernier: Run, target: Path, *arguments: object) -> np.ndarray:
    ran = vernier("fuse", *arguments, "-o", target)
    assert ran.code == 0, ran.err
    return read_cube(target).values.astype(np.float64)


def test_bands_in_pages_are_the_bands_of_the_same_guide(
    vernier: Run, cases: Path, tmp_path: Path
) -> None:
    folder = cases / "guide-pages"
    cube = (folder / "cube.npy", "--axes", "chw", "--peak", 10000)
    pages = fused(vernier, tmp_path / "a.h5", *cube, "-g", folder / "guide-3-pages.tif")
    whole = fused(vernier, tmp_path / "b.h5", *cube, "-g", folder / "guide-rgb.tif")
    np.testing.assert_array_equal(pages, whole)


def test_a_guide_of_twelve_bits_is_asked_for_its_peak(
    vernier: Run, cases: Path, tmp_path: Path
) -> None:
    folder = cases / "guide-12-bit"
    cube = (folder / "cube.npy", "--axes", "chw", "--peak", 10000)
    guide = (*cube, "-g", folder / "guide-12bit.tif")
    ran = vernier("fuse", *guide, "-o", tmp_path / "a.h5")
    assert ran.code == 2
    assert ran.err.splitlines()[-1].startswith("error: ")
    assert "largest of its 16-bit values is 3387; pass --guide-peak, such as 4095" in ran.err
    assert list(tmp_path.iterdir()) == []
    stated = fused(vernier, tmp_path / "a.h5", *guide, "--guide-peak", 4095)
    whole = fused(vernier, tmp_path / "b.h5", *cube, "-g", folder / "guide-16bit.tif")
    # A step of twelve bits is 2.4 of 10000.
    np.testing.assert_allclose(stated, whole, atol=10)
    assert np.abs(stated - whole).mean() < 2.4


def test_a_pan_band_and_planes_are_guides(vernier: Run, cases: Path, tmp_path: Path) -> None:
    cube = (cases / "hsi-geotiff-crs/cube.tif", "--peak", 10000)
    pan = (*cube, "-g", cases / "hsi-pan-int16-single-band/pan.tif")
    ran = vernier("fuse", *pan, "-o", tmp_path / "a.h5")
    assert ran.code == 2
    assert "--guide-peak" in ran.err
    sharp = fused(vernier, tmp_path / "a.h5", *pan, "--guide-peak", 10000)
    assert sharp.shape == (10, 100, 100)
    planes = cases / "hsi-planar-minisblack/rgb_planar_u16.tif"
    known = cases / "hsi-geotiff-crs/guide.tif"
    np.testing.assert_array_equal(
        tifffile.imread(planes).transpose(1, 2, 0), tifffile.imread(known)
    )
    by_planes = fused(vernier, tmp_path / "b.h5", *cube, "-g", planes, "--guide-peak", 10000)
    by_pixels = fused(vernier, tmp_path / "c.h5", *cube, "-g", known, "--guide-peak", 10000)
    np.testing.assert_array_equal(by_planes, by_pixels)


def test_a_pan_guide_alone_is_not_left_to_the_guided_filter(
    vernier: Run, cases: Path, tmp_path: Path
) -> None:
    """PSNR by the reference of the file, which the command does not look at."""
    import h5py

    path = cases / "hsi-pan-guided-filter/test_wv3.h5"
    with h5py.File(path) as file:
        truth = file["gt"][0].astype(np.float64) / 2047
    found = {}
    for method in ("default", "bicubic"):
        chosen = () if method == "default" else ("-n", method)
        result = fused(vernier, tmp_path / f"{method}.h5", path, "--peak", 2047, *chosen)
        found[method] = float(np.mean(-10 * np.log10(((result - truth) ** 2).mean((1, 2)))))
    assert found["default"] > found["bicubic"] + 3


def test_map_info_is_told_for_the_new_pixels(vernier: Run, cases: Path, tmp_path: Path) -> None:
    folder = cases / "envi-map-info"
    pair = (folder / "geo.hdr", "--peak", 10000, "-g", folder / "guide.tif")
    fused(vernier, tmp_path / "a.hdr", *pair)
    place = read_cube(tmp_path / "a.hdr").metadata
    assert list(map(float, place["map info"][1:7])) == [1, 1, 500000, 4500000, 7.5, 7.5]
    assert list(map(float, place["pixel size"])) == [7.5, 7.5]
    assert (float(place["x start"]), float(place["y start"])) == (401, 201)
    other = cases / "hsi-envi-mapinfo"
    fused(vernier, tmp_path / "b.hdr", other / "cube.hdr", "-g", other / "guide.png")
    place = read_cube(tmp_path / "b.hdr").metadata
    assert list(map(float, place["map info"][3:7])) == [569000, 4140000, 7.5, 7.5]
    assert float(place["fwhm"][0]) == 10
    ran = vernier("fuse", *pair, "-o", tmp_path / "c.npz")
    assert "note: " in ran.err
    assert "the georeference stands in the metadata" in ran.err


@pytest.mark.parametrize("name", ["envi-map-info/geo-cube.tif", "hsi-geotiff-crs/cube.tif"])
def test_a_geotiff_stays_one(vernier: Run, cases: Path, tmp_path: Path, name: str) -> None:
    cube, guide = cases / name, (cases / name).parent / "guide.tif"
    pair = (cube, "--peak", 10000, "-g", guide, "--guide-peak", 65535 if "envi" in name else 10000)
    fused(vernier, tmp_path / "a.tif", *pair)
    with tifffile.TiffFile(cube) as before, tifffile.TiffFile(tmp_path / "a.tif") as after:
        old, new = (file.pages.first.tags for file in (before, after))
        assert new[33550].value == (7.5, 7.5, 0.0)
        for tag in (33922, 34735, 42113):
            assert new[tag].value == old[tag].value
        assert (34737 in new) == (34737 in old)


def test_the_wavelengths_that_gdal_knows_are_known(
    vernier: Run, cases: Path, tmp_path: Path
) -> None:
    folder = cases / "hsi-geotiff-crs"
    pair = (folder / "cube.tif", "--peak", 10000, "-g", folder / "guide.tif", "--guide-peak", 10000)
    fused(vernier, tmp_path / "a.tif", *pair)
    for path in (folder / "cube.tif", tmp_path / "a.tif"):
        wavelengths = read_cube(path).wavelengths
        assert wavelengths is not None
        assert wavelengths[:2] == (408.52, 598.65)


def test_one_cube_is_evaluated_or_told_why_not(vernier: Run, cases: Path) -> None:
    folder = cases / "hsi-evaluate-single-cube"
    for name in ("cube.hdr", "cube.bsq"):
        ran = vernier("evaluate", "--data", folder / name, "-s", 4)
        assert ran.code == 2
        assert "covers 400 to 700 nm, the cube's bands 408.52 to 2290.85 nm" in ran.err
        assert len(ran.err.splitlines()) == 1


def test_nothing_of_a_library_reaches_the_terminal(
    vernier: Run, cases: Path, tmp_path: Path
) -> None:
    """A header in capitals, and a value for no data that the type cannot hold."""
    (tmp_path / "A.HDR").write_text(
        "ENVI\nSAMPLES = 3\nLines = 2\nBANDS = 2\nData Type = 1\nInterleave = BSQ\nSENSOR = X\n"
    )
    (tmp_path / "A.IMG").write_bytes(bytes(range(12)))
    for path in (tmp_path / "A.HDR", tmp_path / "A.IMG", cases / "envi-map-info/geo-cube.tif"):
        ran = vernier("data", "info", path)
        assert ran.code == 0
        assert all(line.startswith("note: ") for line in ran.err.splitlines()), ran.err
