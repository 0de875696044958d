"""The simulation against direct definitions, other libraries and the published response."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch

from vernier.errors import InputError
from vernier.imaging.resize import imresize
from vernier.imaging.simulation import (
    PRESETS,
    Blur,
    blur_and_decimate,
    find_response,
    make_guide,
    preset,
    read_response,
    simulate,
)

SCIPY_MODES = {"reflect": "mirror", "replicate": "nearest", "circular": "wrap", "zeros": "constant"}


@pytest.mark.parametrize("padding", SCIPY_MODES)
@pytest.mark.parametrize(("size", "offset"), [(1, 0), (3, 2), (4, 1), (5, 3), (8, 0)])
def test_blur_and_decimation_agree_with_a_whole_convolution(padding, size, offset):
    cube = torch.rand(3, 24, 20, dtype=torch.float64)
    blur = Blur(size, 1.3, padding, offset)
    axis = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / (2 * 1.3**2))
    kernel /= kernel.sum()
    # scipy centres an even kernel on tap size // 2, one after ours.
    origin = (0, *[-1 if size % 2 == 0 else 0] * 2)
    expected = scipy.ndimage.correlate(
        cube.numpy(), kernel[None], mode=SCIPY_MODES[padding], origin=origin
    )[:, offset::4, offset::4]
    np.testing.assert_allclose(blur_and_decimate(cube, blur, 4).numpy(), expected, atol=1e-14)


def test_upsampled_is_the_exact_bicubic_of_lr():
    gt = torch.rand(31, 32, 48)
    lr, guide, upsampled = simulate(gt, response=find_response("a").weights)
    assert lr.shape == (31, 8, 12)
    assert guide.shape == (3, 32, 48)
    assert torch.equal(upsampled, imresize(lr, 4))


def test_guide_is_the_response_times_the_cube():
    gt = torch.rand(2, 31, 5, 7, dtype=torch.float64)
    weights = find_response("b").weights
    expected = torch.einsum("cb,nbhw->nchw", weights, gt)
    torch.testing.assert_close(make_guide(gt, weights), expected, atol=1e-14, rtol=0)


def test_result_does_not_depend_on_the_number_of_threads():
    gt = torch.rand(31, 64, 60)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(simulate(gt, response=find_response("a").weights))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*results):
        assert torch.equal(one, other)


def test_response_a_is_the_published_file(shared: Path):
    path = shared / "data/CAVE/nikon_d700_srf.csv"
    ours, file = find_response("a"), read_response(path)
    torch.testing.assert_close(ours.weights, file.weights, atol=1e-9, rtol=0)
    assert ours.wavelengths == file.wavelengths == tuple(range(400, 701, 10))
    assert ours.channels == file.channels == ("R", "G", "B")


def test_tables_a_and_b_have_the_published_sums_and_peaks():
    a, b = find_response("a").weights, find_response("b").weights
    assert [round(1 / float(row[row > 0].min())) for row in a] == [255, 203, 251]
    # Peaks of table (b): R .022 at 610 nm, G .020 at 550 nm, B .030 at 460 nm.
    assert b.argmax(dim=1).tolist() == [21, 15, 6]
    np.testing.assert_allclose(b.max(dim=1).values, [22 / 209, 20 / 164, 30 / 200], atol=1e-12)
    for table in (a, b):
        torch.testing.assert_close(table.sum(dim=1), torch.ones(3, dtype=torch.float64))


def test_response_is_interpolated_at_the_wavelengths_of_the_cube():
    table = find_response("a")
    between = table.for_bands(3, [405.0, 505.0, 700.0])
    expected = torch.stack(
        [table.weights[:, 0:2].mean(1), table.weights[:, 10:12].mean(1), table.weights[:, 30]], 1
    )
    torch.testing.assert_close(between, expected / expected.sum(1, keepdim=True))
    with pytest.raises(InputError, match="covers 400 to 700 nm, the cube's bands 420 to 720"):
        table.for_bands(31, [420.0 + 10 * i for i in range(31)])
    with pytest.raises(InputError, match="31 bands, the cube 8 and no wavelengths"):
        table.for_bands(8)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([["nm", "Y"], ["400", "1"], ["390", "1"]], "ascend"),
        ([["nm", "Y"], ["400", "1"], ["410", "x"]], "cannot be read"),
        ([["nm", "Y"], ["400", "1"], ["410"]], "as many cells"),
        ([["nm", "Y"], ["400", "-1"], ["410", "2"]], "0 or more"),
        ([["nm", "Y"], ["400", "0"], ["410", "0"]], "0 or more"),
    ],
)
def test_damaged_response_files_get_a_line(tmp_path: Path, lines, message):
    path = tmp_path / "response.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    with pytest.raises(InputError, match=message):
        read_response(path)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("scale", [4, 8])
def test_presets_simulate(name, scale):
    settings = preset(name, scale)
    gt = torch.full((31, 64, 64), 0.25, dtype=torch.float64)
    result = simulate(
        gt, response=find_response(settings.response).weights, scale=scale, blur=settings.blur
    )
    for image in result:
        torch.testing.assert_close(image, torch.full_like(image, 0.25))


def test_cave_preset_is_the_measured_one():
    assert preset("cave", 4).blur == Blur(3, 0.5, "reflect", 2)
    assert preset("cave", 4).response == "a"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Blur(size=0), "size must be"),
        (lambda: Blur(sigma=0), "sigma above 0"),
        (lambda: Blur(padding="mirror"), "choose one of reflect"),
        (lambda: preset("cavé", 4), "choose one of cave"),
        (lambda: find_response("c"), "choose a or b"),
        (lambda: blur_and_decimate(torch.rand(2, 9, 8), Blur(), 4), "8x9 is no multiple"),
        (lambda: blur_and_decimate(torch.rand(2, 8, 8), Blur(offset=4), 4), "outside a cell"),
        (lambda: blur_and_decimate(torch.rand(2, 4, 4), Blur(size=9), 4), "too small"),
        (lambda: make_guide(torch.rand(4, 8, 8), torch.rand(3, 31)), "31 bands, the cube 4"),
    ],
)
def test_wrong_settings_get_a_line(make, message):
    with pytest.raises(InputError, match=message):
        make()
