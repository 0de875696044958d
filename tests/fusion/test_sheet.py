"""Sheets: what is drawn where, and that any cube can be drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vernier.fusion.sheet import bright_pixels, draw_sheet
from vernier.imaging import imresize
from vernier.io import PictureError, read_picture

# Pictures of 64x64 are drawn five times enlarged; panels are 8 pixels apart, a line of text is 19.
PANEL, GAP, ERRORS = 320, 8, 320 + 19 + 4 + 8
PLOTS = ERRORS + 320 + 2 * 19 + 4 + 8
NANOMETRES = range(400, 710, 10)


def scene(bands: int = 31, height: int = 64, width: int = 64) -> dict[str, Tensor]:
    gt = imresize(torch.rand(bands, height // 8, width // 8), 8).clamp(0, 1)
    return {"lr": imresize(gt, 1 / 4), "guide": gt[:3], "gt": gt}


def pixels_of(path: Path) -> np.ndarray:
    return read_picture(path).pixels.astype(int)


def panel(page: np.ndarray, top: int, number: int) -> np.ndarray:
    left = number * (PANEL + GAP)
    return page[top : top + PANEL, left : left + PANEL]


def test_a_perfect_result_has_white_error_maps(tmp_path: Path) -> None:
    cubes = scene()
    draw_sheet(tmp_path / "s.png", result=cubes["gt"], wavelengths=NANOMETRES, **cubes)
    page = pixels_of(tmp_path / "s.png")
    for number, what in enumerate(("upsampled", "result", "upsampled", "result")):
        drawn = panel(page, ERRORS, number)
        assert drawn.shape == (PANEL, PANEL, 3)
        assert (drawn == 255).all() == (what == "result")


def test_errors_are_red_where_they_are(tmp_path: Path) -> None:
    cubes = scene()
    result = cubes["gt"].clone()
    result[:, 16:32, 8:24] = result[:, 16:32, 8:24].roll(7, 0)
    draw_sheet(tmp_path / "s.png", result=result, wavelengths=NANOMETRES, **cubes)
    page = pixels_of(tmp_path / "s.png")
    for number in (1, 3):
        drawn = panel(page, ERRORS, number)
        wrong = drawn[5 * 16 : 5 * 32, 5 * 8 : 5 * 24].copy()
        assert np.median(wrong[..., 0] - wrong[..., 1]) > 60
        drawn[5 * 16 : 5 * 32, 5 * 8 : 5 * 24] = 255
        assert (drawn == 255).all()


def test_pictures_show_the_bands_nearest_to_red_green_and_blue(tmp_path: Path) -> None:
    cubes = scene()
    gt = torch.zeros(31, 64, 64)
    gt[24:27, :32] = 1  # 640 to 660 nm
    gt[4:7, 32:] = 1  # 440 to 460 nm
    cubes = {"lr": imresize(gt, 1 / 4), "guide": gt[:3] + 0.5, "gt": gt}
    draw_sheet(tmp_path / "s.png", result=gt, wavelengths=NANOMETRES, pixels=[(2, 3)], **cubes)
    page = pixels_of(tmp_path / "s.png")
    reference = panel(page, 0, 3)
    assert (reference[:160] == (255, 0, 0)).all()
    assert (reference[160:] == (0, 0, 255)).all()
    differs = (panel(page, 0, 2) != reference).any(-1)
    rows, columns = np.nonzero(differs)
    # The mark of pixel 2,3 and its number.
    assert differs.any()
    assert rows.max() < 30
    assert columns.max() < 40


def test_spectra_are_drawn_for_every_chosen_pixel(tmp_path: Path) -> None:
    cubes = scene()
    colours = {"result": (228, 26, 28), "upsampled": (150, 150, 150), "reference": (55, 126, 184)}
    draw_sheet(tmp_path / "s.png", result=0.5 * cubes["gt"], pixels=[(1, 1), (60, 2)], **cubes)
    page = pixels_of(tmp_path / "s.png")
    for number, expected in ((0, True), (1, True), (2, False)):
        plot = panel(page, PLOTS, number)
        for colour in colours.values():
            assert (plot == colour).all(-1).any() == expected
    # Half the reference lies below it; the legend is above both.
    curves = panel(page, PLOTS, 0)[40:]
    heights = {name: np.nonzero((curves == c).all(-1))[0].mean() for name, c in colours.items()}
    assert heights["result"] > heights["reference"] + 20


def test_without_a_reference_the_change_is_drawn(tmp_path: Path) -> None:
    cubes = scene()
    del cubes["gt"]
    upsampled = imresize(cubes["lr"], 4).clamp(0, 1)
    draw_sheet(tmp_path / "same.png", result=upsampled, **cubes)
    changed = upsampled.clone()
    changed[:, :8] *= 0.5
    draw_sheet(tmp_path / "changed.png", result=changed, **cubes)
    same, other = pixels_of(tmp_path / "same.png"), pixels_of(tmp_path / "changed.png")
    # The caption is wider than the panel, which is centred above it.
    row = other[ERRORS : ERRORS + PANEL, : 2 * PANEL]
    assert (same[ERRORS : ERRORS + PANEL] == 255).all()
    assert (row[:40] != 255).any()
    assert (row[40:] == 255).all()


@pytest.mark.parametrize(
    ("bands", "height", "width", "channels"),
    [(1, 8, 8, 1), (4, 8, 16, 4), (8, 16, 8, 1), (40, 400, 16, 3)],
)
def test_any_cube_can_be_drawn(tmp_path: Path, bands, height, width, channels) -> None:
    rng = np.random.default_rng(0)
    draw_sheet(
        tmp_path / "s.png",
        lr=rng.random((bands, height // 4, width // 4)),
        guide=rng.random((channels, height, width)).astype(np.float32),
        result=np.zeros((bands, height, width), np.float32),
        gt=np.zeros((bands, height, width), np.float32),
        title="black",
    )
    assert pixels_of(tmp_path / "s.png").shape[2] == 3


def test_refuses_what_does_not_fit(tmp_path: Path) -> None:
    cubes = scene()
    with pytest.raises(ValueError, match="on one sheet"):
        draw_sheet(tmp_path / "s.png", result=cubes["gt"][:, :32], **cubes)
    with pytest.raises(ValueError, match="lies outside"):
        draw_sheet(tmp_path / "s.png", result=cubes["gt"], pixels=[(64, 0)], **cubes)
    with pytest.raises(PictureError):
        draw_sheet(tmp_path / "missing" / "s.png", result=cubes["gt"], **cubes)
    assert not list(tmp_path.iterdir())


def test_bright_pixels() -> None:
    cube = torch.zeros(3, 20, 30)
    cube[:, :10, :15] = torch.arange(150).reshape(10, 15)
    cube[:, 10:, 15:] = 5
    found = bright_pixels(cube)
    assert len(found) == 4
    x, y = found[0]
    assert (x < 15, y < 10, cube[0, y, x].item()) == (True, True, int(0.9 * 149))
    assert cube[0, found[3][1], found[3][0]] == 5
    assert bright_pixels(torch.rand(3, 1, 1)) == [(0, 0)]


def test_light_above_the_peak_is_no_error_of_the_upsampled_cube(tmp_path: Path) -> None:
    cubes = scene()
    bright = 1.15 * cubes["lr"] - 0.04
    result = imresize(bright, 4).clamp(float(bright.min()), float(bright.max()))
    assert float(result.max()) > 1.01
    draw_sheet(tmp_path / "s.png", result=result, lr=bright, guide=cubes["guide"])
    page = pixels_of(tmp_path / "s.png")
    for number in range(2):
        assert (panel(page, ERRORS, number) == 255).all()
