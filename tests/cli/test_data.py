"""`vernier data`: what the commands write and print, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.command import Ran
from support.scenes import write_scenes

from vernier.data.scenes import read_fusion
from vernier.io import Picture, read_picture, write_picture
from vernier.io.cubes import read_cube, write_cube


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_scenes(tmp_path / "scenes")


@pytest.fixture
def run(vernier: Callable[..., Ran]) -> Callable[..., str]:
    """Run the command line, which must succeed; gives what it prints."""

    def call(*arguments: object) -> str:
        code, out, err = vernier(*arguments)
        assert code == 0, err
        return out

    return call


def test_from_a_cave_folder_to_split_files(
    run: Callable[..., str], shared: Path, tmp_path: Path
) -> None:
    source = tmp_path / "cave"
    for part, scene in (("train", "beads_ms"), ("test", "flowers_ms")):
        (source / scene).mkdir(parents=True)
        (source / scene / scene).symlink_to(shared / "data/CAVE" / part / scene)
    printed = run(
        *("data", "fusion", "--from", source, "-o", tmp_path / "cave.h5", "--split", "cave"),
        *("--patch", 128, "--stride", 128, "--sigma", 0.6),
    )
    assert "cave-train.h5: 16 patches of 1 scene (beads)" in printed.replace("\n", "")
    train, test = (read_fusion(tmp_path / f"cave-{part}.h5") for part in ("train", "test"))
    assert train.gt.shape == (16, 31, 128, 128)
    assert test.names == ("flowers",)
    assert test.gt.shape == (1, 31, 512, 512)
    assert test.settings["preset"] == "cave, changed: sigma"
    assert test.settings["blur_sigma"] == 0.6
    printed = run("data", "info", tmp_path / "cave-test.h5", source / "beads_ms")
    assert "blur_sigma: 0.6" in printed
    assert "bands: 31" in printed.split("beads_ms")[1]


def test_preview_and_info_of_a_cube(run: Callable[..., str], folder: Path, tmp_path: Path) -> None:
    path = folder / "beads.npz"
    values = np.load(path)["cube"]
    run("data", "preview", path, "-o", tmp_path / "bands.png", "--bands", "3,2,1", "--white", 100)
    shown = read_picture(tmp_path / "bands.png").pixels
    assert shown.shape == (32, 34, 3)
    brightest = np.unravel_index(values[:3].argmax(), (3, 32, 34))
    assert shown[brightest[1], brightest[2], 2 - brightest[0]] == 255
    linear = values[2, 5, 7] / values[:3].max()
    assert shown[5, 7, 0] == round(255 * (1.055 * linear ** (1 / 2.4) - 0.055))
    run("data", "preview", path, "-o", tmp_path / "camera.png", "--response", "b")
    assert read_picture(tmp_path / "camera.png").pixels.shape == (32, 34, 3)
    printed = run("data", "info", path)
    for line in ("bands: 31", "size: 34x32", "peak: 65535", "wavelengths: 400 to 700 nm"):
        assert line in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["preview", "beads.npz", "-o", "x.png", "--bands", "0,1,2"], "three numbers from 1 to 31"),
        (
            ["preview", "beads.npz", "-o", "x.png", "--bands", "1,2,3", "--response", "a"],
            "not both",
        ),
        (["fusion", "--from", ".", "-o", "x.mat"], "ends in .h5"),
        (["fusion", "--from", ".", "-o", "x.h5", "--offset", "4"], "outside a cell"),
        (["fusion", "--from", ".", "-o", "x.h5", "--without", "cd"], "--without cd: no such scene"),
        (["info", "beads.npz", "--wavelengths", "400:700:11"], "give first:last:step"),
        (["info", "beads.npz", "--wavelengths", "400:700:20"], "16 wavelengths for 31 bands"),
    ],
)
def test_wrong_commands_get_a_line(
    vernier: Callable[..., Ran],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    code, _, err = vernier("data", *arguments)
    assert code == 2
    assert message in err
    assert sorted(folder.iterdir()) == before


@pytest.fixture
def inputs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files of every kind that a command reads, the working directory."""
    cube = read_cube(folder / "beads.npz")
    for name in ("c.tif", "s.h5", "part-train.h5", "e.hdr"):
        write_cube(cube, folder / name)
    for name in ("balloons.npz", "beads.npz"):
        (folder / name).unlink()
    (folder / "photos").mkdir()
    write_picture(Picture(np.zeros((40, 40, 3), np.uint8)), folder / "photos" / "a.png")
    (folder / "link.tif").symlink_to("c.tif")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("preview", "c.tif", "-o", "c.tif"),
        ("preview", "c.tif", "-o", "link.tif"),
        ("preview", "link.tif", "-o", "c.tif"),
        ("fusion", "--from", "s.h5", "-o", "s.h5"),
        ("fusion", "--from", ".", "-o", "s.h5", "--without", "part-train", "--without", "link"),
        ("fusion", "--from", "part-train.h5", "-o", "part.h5", "--split", "train=part-train"),
        ("subimages", "--from", "photos", "-o", "photos", "--size", "20"),
        ("subimages", "--from", "photos", "-o", "photos/squares", "--size", "20"),
    ],
)
def test_no_command_overwrites_its_inputs(
    vernier: Callable[..., Ran], inputs: Path, arguments: tuple[str, ...]
) -> None:
    before = {path: path.read_bytes() for path in inputs.rglob("*") if path.is_file()}
    code, out, err = vernier("data", *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "would overwrite the input" in err or "choose a folder outside" in err
    after = {path: path.read_bytes() for path in inputs.rglob("*") if path.is_file()}
    assert after == before


def test_squares_are_counted(vernier: Callable[..., Ran], inputs: Path) -> None:
    code, out, _ = vernier(
        "data", "subimages", "--from", "photos", "-o", "squares", "--size", 20, "--step", 10
    )
    assert (code, out) == (0, "squares: 9 squares of 20x20\n")
    assert len(list((inputs / "squares").iterdir())) == 9


def test_help_names_every_command(vernier: Callable[..., Ran]) -> None:
    code, out, _ = vernier("data", "--help")
    assert code == 0
    for name in ("fusion", "preview", "info", "subimages"):
        assert name in out
