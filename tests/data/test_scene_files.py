"""Fusion files made from folders of scenes: exact, whole or not at all, and never over a source."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from support.scenes import WAVELENGTHS, write_scenes

from vernier.data import scene_files, simulate_fusion
from vernier.data.scene_files import (
    CAVE_TEST_SCENES,
    FusionSettings,
    split_scenes,
    write_fusion,
)
from vernier.data.scenes import find_scenes, read_fusion
from vernier.errors import InputError
from vernier.imaging.simulation import Blur, find_response, preset, simulate
from vernier.io.cubes import Cube, read_cube, write_cube

SETTINGS = FusionSettings(find_response("a"), preset("cave", 4).blur, preset="cave")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_scenes(tmp_path / "scenes")


def test_whole_scenes_are_simulated_and_described(folder: Path, tmp_path: Path) -> None:
    assert write_fusion(tmp_path / "set.h5", find_scenes([folder]), SETTINGS) == 2
    scenes = read_fusion(tmp_path / "set.h5")
    assert scenes.names == ("balloons", "beads")
    assert (scenes.scale, scenes.bands, scenes.guide_channels, scenes.peak) == (4, 31, 3, 1.0)
    assert scenes.wavelengths == WAVELENGTHS
    gt = torch.from_numpy(np.load(folder / "beads.npz")["cube"][:, :, :32] / np.float32(65535))
    expected = simulate(gt, response=SETTINGS.response.weights, scale=4, blur=SETTINGS.blur)
    scene = scenes[1]
    for stored, made in zip((scene.gt, scene.lr, scene.guide, scene.upsampled), (gt, *expected)):
        torch.testing.assert_close(stored, made, atol=1e-7, rtol=0)
    stated = {name: scenes.settings[name] for name in ("blur_size", "blur_sigma", "blur_padding")}
    assert stated == {"blur_size": 3, "blur_sigma": 0.5, "blur_padding": "reflect"}
    assert scenes.settings["response"] == "nikon-d700-a"
    assert scenes.settings["decimation_offset"] == 2
    assert scenes.settings["preset"] == "cave"
    assert scenes.settings["response_matched_by"] == "wavelength"


def test_same_input_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("one.h5", "other.h5"):
        write_fusion(tmp_path / name, find_scenes([folder]), SETTINGS)
        time.sleep(1.1)  # HDF5 counts time in seconds
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "other.h5").read_bytes()


def test_patches_are_aligned_cuts_of_the_whole(folder: Path, tmp_path: Path) -> None:
    scenes = find_scenes([folder])
    cut = FusionSettings(SETTINGS.response, SETTINGS.blur, patch=16, stride=8)
    assert write_fusion(tmp_path / "patches.h5", scenes, cut) == 2 * 9
    write_fusion(tmp_path / "whole.h5", scenes, SETTINGS)
    patches, whole = read_fusion(tmp_path / "patches.h5"), read_fusion(tmp_path / "whole.h5")
    index = patches.names.index("beads@8,16")
    assert torch.equal(patches.gt[index], whole.gt[1, :, 8:24, 16:32])
    assert torch.equal(patches.lr[index], whole.lr[1, :, 2:6, 4:8])
    assert torch.equal(patches.guide[index], whole.guide[1, :, 8:24, 16:32])
    assert torch.equal(patches.upsampled[index], whole.upsampled[1, :, 8:24, 16:32])
    in_memory = whole.patches(16, 8)
    assert in_memory.names == patches.names
    assert torch.equal(in_memory.lr, patches.lr)
    assert patches.select(["beads"]).names == patches.names[9:]
    for size, stride in ((16, 6), (10, 8), (64, 8)):
        with pytest.raises(InputError, match="patch"):
            whole.patches(size, stride)
    with pytest.raises(InputError, match="no scene cd; the file has balloons, beads"):
        whole.select(["cd"])


def test_unusable_scenes_leave_no_file(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "set.h5"
    other = np.zeros((31, 32, 64), dtype=np.uint16)
    for cube, message in (
        (Cube(other, 65535.0, WAVELENGTHS), "64x32, but the scenes before are 32x32"),
        (Cube(other[:8], 65535.0), "8 bands, other ones than the scenes before"),
        (Cube(other + np.uint16(9), 4.0, WAVELENGTHS), "of its peak, 4; pass the --peak"),
    ):
        write_cube(cube, folder / "zebra.npz")
        with pytest.raises(InputError, match=message):
            write_fusion(output, find_scenes([folder]), SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_splits_by_scene_name() -> None:
    scenes = {name: Path(name) for name in ("balloons", "beads", "cd", "sushi", "watercolors")}
    parts = split_scenes(["train=rest", "test=balloons,cd", "validation=sushi"], scenes)
    assert {part: list(members) for part, members in parts.items()} == {
        "train": ["beads", "watercolors"],
        "test": ["balloons", "cd"],
        "validation": ["sushi"],
    }
    cave = split_scenes(["cave"], scenes)
    assert {part: list(members) for part, members in cave.items()} == {
        "test": ["balloons", "cd"],
        "train": ["beads", "sushi"],
    }
    assert len(CAVE_TEST_SCENES) == 11
    for rules, message in (
        (["train"], "write NAME=SCENE"),
        (["train=moon"], "no scene moon; there are balloons"),
        (["train=cd", "test=cd"], "cd is in two parts"),
        (["train="], "no scenes for train"),
    ):
        with pytest.raises(InputError, match=message):
            split_scenes(rules, scenes)


def test_preset_gives_the_bicubic_level_of_the_protocol(shared: Path) -> None:
    """Bicubic upsampling alone reaches 35.28 dB on the centres of flowers and balloons."""
    scores = []
    for name in ("flowers", "balloons"):
        cube = read_cube(shared / f"data/CAVE/test/{name}_ms")
        gt = torch.from_numpy(cube.unit())[:, 128:384, 128:384]
        made = simulate(gt, response=SETTINGS.response.weights, scale=4, blur=SETTINGS.blur)
        errors = (made.upsampled.clamp(0, 1) - gt).square().mean((1, 2))
        scores.append(float((-10 * errors.log10()).mean()))
    assert sum(scores) / 2 == pytest.approx(35.28, abs=0.01)


def test_cropped_scenes_are_noted(folder: Path, tmp_path: Path) -> None:
    scenes = find_scenes([folder])
    settings = FusionSettings(find_response("a"), Blur(), scale=7)
    notes: list[str] = []
    write_fusion(tmp_path / "x.h5", scenes, settings, note=notes.append)
    assert len(notes) == len(scenes)
    assert all("multiples of the scale, 7" in note for note in notes)


# --- one call for all that the command does


def test_one_call_simulates_splits_and_tells(folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    output = tmp_path / "new" / "set.h5"
    files = simulate_fusion(
        folder,
        output,
        sigma=0.6,
        response="b",
        patch=16,
        split=["train=beads", "test=rest"],
        peak=65535,
        progress=lambda *now: told.append(now),
    )
    assert [(file.path.name, file.scenes, file.patches) for file in files] == [
        ("set-train.h5", ("beads",), 4),
        ("set-test.h5", ("balloons",), None),
    ]
    assert all("cropped from 34x32 to 32x32" in file.notes[0] for file in files)
    train = read_fusion(files[0].path)
    assert train.settings["preset"] == "cave, changed: sigma, response"
    assert (train.settings["blur_sigma"], train.settings["response"]) == (0.6, "nikon-d700-b")
    assert told == [(0, 1, "beads"), (1, 1, ""), (0, 1, "balloons"), (1, 1, "")]
    (left,) = simulate_fusion([folder], tmp_path / "one.h5", without=["beads"])
    assert left.scenes == ("balloons",)


def test_the_sources_are_not_overwritten(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "sharp.h5"
    write_cube(read_cube(folder / "beads.npz"), source)
    (tmp_path / "link.h5").symlink_to(source)
    before = source.read_bytes()
    with pytest.raises(InputError, match="would overwrite the input"):
        simulate_fusion(source, source)
    with pytest.raises(InputError, match="would overwrite the input"):
        simulate_fusion(source, tmp_path / "link.h5")
    with pytest.raises(InputError, match="would overwrite the input"):
        write_fusion(source, {"beads": source}, SETTINGS)
    part = tmp_path / "set-train.h5"
    source.rename(part)
    with pytest.raises(InputError, match="would overwrite the input"):
        simulate_fusion(part, tmp_path / "set.h5", split=["train=set-train"])
    assert part.read_bytes() == before


# --- what is reported as an error of writing


def test_an_error_of_the_simulation_is_none_of_writing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("sizes of tensors must match")

    monkeypatch.setattr(scene_files, "simulate", fail)
    with pytest.raises(RuntimeError, match="sizes of tensors must match"):
        write_fusion(tmp_path / "set.h5", find_scenes([folder]), SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_an_error_of_reading_names_the_source(folder: Path, tmp_path: Path) -> None:
    def fail(path: Path) -> Cube:
        raise PermissionError(13, "Permission denied", str(path))

    with pytest.raises(InputError, match=r"balloons\.npz: cannot be read \(Permission denied\)"):
        write_fusion(tmp_path / "set.h5", find_scenes([folder]), SETTINGS, load=fail)
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


@pytest.mark.parametrize("when", ["create_dataset", "close"])
def test_a_full_disk_is_an_error_of_writing(
    when: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = getattr(h5py.File, when)

    def fail(file: Any, *args: object, **kwargs: object) -> None:
        if when == "close":
            real(file)
        raise RuntimeError("unable to extend file")

    monkeypatch.setattr(h5py.File, when, fail)
    with pytest.raises(InputError, match=r"set\.h5: cannot be written \(unable to extend file\)"):
        write_fusion(tmp_path / "set.h5", find_scenes([folder]), SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_permissions_and_links_of_fusion_files(folder: Path, tmp_path: Path) -> None:
    scenes = find_scenes([folder])
    before = os.umask(0o077)
    try:
        write_fusion(tmp_path / "private.h5", scenes, SETTINGS)
    finally:
        os.umask(before)
    assert (tmp_path / "private.h5").stat().st_mode & 0o777 == 0o600
    behind, link = tmp_path / "behind.h5", tmp_path / "link.h5"
    behind.write_bytes(b"before")
    behind.chmod(0o640)
    link.symlink_to(behind)
    write_fusion(link, scenes, SETTINGS)
    assert link.is_symlink()
    assert len(read_fusion(behind)) == 2
    assert behind.stat().st_mode & 0o777 == 0o640
