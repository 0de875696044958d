"""`vernier compare`: figures, what is printed, refusals."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import Ran

from vernier.data.folders import read_uint8
from vernier.imaging import imresize_uint8
from vernier.io import read_picture
from vernier.metrics import psnr


def test_command_draws_and_prints(
    face: Path,
    tmp_path: Path,
    vernier: Callable[..., Ran],
) -> None:
    figure = tmp_path / "figure.png"
    models = ("-n", "sesr-m3", "-n", "sesr-m5")
    code, printed, _ = vernier("compare", face, *models, "--window", "30,40,32", "-o", figure)
    assert code == 0
    found = dict(re.findall(r"(\S+): PSNR ([\d.]+) dB, SSIM", printed))
    assert list(found) == ["bicubic", "sesr-m3", "sesr-m5"]
    hr = read_uint8(face)[:, :, :96]
    bicubic = imresize_uint8(imresize_uint8(hr, 0.5), 2)
    cut = (slice(None), slice(40, 72), slice(30, 62))
    expected = psnr(bicubic[cut] / 255, hr[cut] / 255, crop=0).item()
    assert float(found["bicubic"]) == pytest.approx(expected, abs=0.005)
    assert float(found["bicubic"]) < float(found["sesr-m3"])
    assert read_picture(figure).width > 3 * 192
    code, printed, _ = vernier("compare", face, "-n", "sesr-m3", "-o", figure)
    assert code == 0
    assert re.search(r"proposed window \d+,\d+,64, where sesr-m3 gains \d", printed)


def test_command_draws_features(
    face: Path,
    tmp_path: Path,
    vernier: Callable[..., Ran],
) -> None:
    figure = tmp_path / "features.png"
    models = ("-n", "sesr-m3", "-n", "sesr-m5")
    code, out, _ = vernier("compare", face, *models, "--features", "-o", figure)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "sesr-m3 body.0"
    assert len(lines) == 3 + 5 + 1
    # Five maps of 48 pixels, 4 times as large, in a row.
    assert read_picture(figure).width == 5 * 192 + 4 * 8
    arguments = ("--features", "--grid", 8, "--window", "0,0,64", "-o", figure)
    code, out, _ = vernier("compare", face, "-n", "sesr-m3", *arguments)
    assert code == 0
    (level,) = re.findall(r"body.0: blocking ([\d.]+)", out)
    assert 0.5 < float(level) < 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no model given"),
        (("-n", "sesr-m33"), "did you mean"),
        (("-n", "sesr-m3", "--window", "90,0,16"), "does not lie inside"),
        (("-n", "sesr-m3", "--device", "moon"), "device 'moon'"),
        (("-n", "sesr-m3", "-n", "sesr-m5", "-s", 4), "no weights of sesr-m3 for scale 4"),
        (("-n", "sesr-m3", "-o", "nowhere/figure.png"), "no such folder"),
        (("-n", "sesr-m3", "--features", "--grid", "48"), "no border"),
    ],
)
def test_command_refuses_in_one_line(
    face: Path,
    tmp_path: Path,
    vernier: Callable[..., Ran],
    arguments: tuple[object, ...],
    message: str,
) -> None:
    before = sorted(tmp_path.iterdir())
    code, _, error = vernier("compare", face, "-o", tmp_path / "figure.png", *arguments)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_command_refuses_to_overwrite_what_it_reads(
    face: Path, tmp_path: Path, vernier: Callable[..., Ran]
) -> None:
    before = face.read_bytes()
    code, _, error = vernier("compare", face, "-n", "sesr-m3", "-o", face)
    assert code == 2
    assert "would overwrite the input" in error
    assert face.read_bytes() == before
    link = tmp_path / "link.png"
    link.symlink_to(face)
    assert vernier("compare", face, "-n", "sesr-m3", "-o", link).code == 2
    assert face.read_bytes() == before


@pytest.mark.parametrize("features", [(), ("--features",)])
def test_command_refuses_models_of_cubes(
    face: Path, tmp_path: Path, vernier: Callable[..., Ran], features: tuple[str, ...]
) -> None:
    output = tmp_path / "figure.png"
    code, _, error = vernier("compare", face, "-n", "psrt-s", *features, "-o", output)
    assert code == 2
    assert "compare takes models of pictures" in error
    assert not output.exists()
