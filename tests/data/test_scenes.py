"""Fusion files: written by us, written by the field, and made from folders of scenes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from support.command import Ran

from vernier.data.scenes import (
    CAVE_TEST_SCENES,
    FusionSettings,
    find_scenes,
    read_fusion,
    split_scenes,
    write_fusion,
)
from vernier.errors import InputError
from vernier.imaging.resize import imresize
from vernier.imaging.simulation import Blur, find_response, preset, simulate
from vernier.io.cubes import Cube, write_cube

SETTINGS = FusionSettings(find_response("a"), preset("cave", 4).blur, preset="cave")
WAVELENGTHS = tuple(400.0 + 10 * band for band in range(31))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two scenes of 34x32 pixels: the last two columns go beyond a multiple of the scale."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ("balloons", "beads"):
        values = generator.integers(0, 65536, (31, 32, 34), dtype=np.uint16)
        write_cube(Cube(values, 65535.0, WAVELENGTHS), folder / f"{name}.npz")
    return folder


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


def stack(channels: int, side: int, *, peak: float = 1.0, count: int = 3) -> np.ndarray:
    return np.random.default_rng(channels).random((count, channels, side, side + side // 2)) * peak


ORDERS = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 2, 3, 1), "WHCN": (3, 2, 1, 0)}


@pytest.mark.parametrize("layout", ORDERS)
@pytest.mark.parametrize("count", [1, 3])
def test_files_of_the_field_in_every_layout(tmp_path: Path, layout: str, count: int) -> None:
    arrays = {"GT": stack(31, 16, count=count), "LRHSI": stack(31, 4, count=count)}
    arrays |= {"HSI_up": stack(31, 16, count=count), "RGB": stack(3, 16, count=count)}
    with h5py.File(tmp_path / "test.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array.transpose(ORDERS[layout])
    scenes = read_fusion(tmp_path / "test.h5")
    read = {"GT": scenes.gt, "LRHSI": scenes.lr, "HSI_up": scenes.upsampled, "RGB": scenes.guide}
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array.astype(np.float32))
    assert scenes.scale == 4
    assert scenes.names[0] == "test-0000"
    assert any(layout in note for note in scenes.notes) == (layout != "NCHW")


def test_pansharpening_files_need_their_peak(tmp_path: Path) -> None:
    arrays = {"gt": stack(8, 16, peak=2000), "ms": stack(8, 4, peak=2000)}
    arrays["pan"] = stack(1, 16, peak=2000)
    with h5py.File(tmp_path / "wv3.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    with pytest.raises(InputError, match="pass --peak, the value that stands for 1"):
        read_fusion(tmp_path / "wv3.h5")
    scenes = read_fusion(tmp_path / "wv3.h5", peak=2047)
    np.testing.assert_allclose(scenes.gt, arrays["gt"] / 2047, atol=1e-7)
    np.testing.assert_allclose(scenes.guide, arrays["pan"] / 2047, atol=1e-7)
    assert torch.equal(scenes.upsampled, imresize(scenes.lr, 4))
    assert "upsampled cube made by bicubic" in scenes.notes


def test_full_resolution_files_have_no_reference(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "full.h5", "w") as file:
        file["ms"], file["lms"], file["pan"] = stack(4, 4), stack(4, 16), stack(1, 16)
    scenes = read_fusion(tmp_path / "full.h5")
    assert scenes.gt is None
    assert scenes[0].gt is None
    assert scenes.patches(8, 8).gt is None


def test_wrong_files_get_a_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.h5"
    with h5py.File(path, "w") as file:
        file["LRHSI"], file["RGB"] = stack(31, 5), stack(3, 16)
    with pytest.raises(InputError, match="shapes do not belong together"):
        read_fusion(path)
    with h5py.File(path, "w") as file:
        file["cube"] = stack(31, 5)
    with pytest.raises(InputError, match="holds cube, but neither LRHSI and RGB nor ms and pan"):
        read_fusion(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(InputError, match="is no HDF5 file"):
        read_fusion(path)


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


def test_preset_gives_the_bicubic_level_of_the_protocol(shared: Path) -> None:
    """Bicubic upsampling alone reaches 35.28 dB on the centres of flowers and balloons."""
    from vernier.io.cubes import read_cube

    scores = []
    for name in ("flowers", "balloons"):
        cube = read_cube(shared / f"data/CAVE/test/{name}_ms")
        gt = torch.from_numpy(cube.unit())[:, 128:384, 128:384]
        made = simulate(gt, response=SETTINGS.response.weights, scale=4, blur=SETTINGS.blur)
        errors = (made.upsampled.clamp(0, 1) - gt).square().mean((1, 2))
        scores.append(float((-10 * errors.log10()).mean()))
    assert sum(scores) / 2 == pytest.approx(35.28, abs=0.01)


def test_preview_and_info_of_a_cube(run: Callable[..., str], folder: Path, tmp_path: Path) -> None:
    from vernier.io import read_picture

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


def test_cropped_scenes_are_noted(folder: Path, tmp_path: Path) -> None:
    scenes = find_scenes([folder])
    settings = FusionSettings(find_response("a"), Blur(), scale=7)
    notes: list[str] = []
    write_fusion(tmp_path / "x.h5", scenes, settings, note=notes.append)
    assert len(notes) == len(scenes)
    assert all("multiples of the scale, 7" in note for note in notes)
