"""`vernier explain`: figures, JSON, proposals, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command import Ran

from vernier.data.folders import read_uint8
from vernier.errors import InputError
from vernier.explanation.files import explain_files
from vernier.explanation.lam import Explanation, explain
from vernier.imaging import imresize_uint8
from vernier.io import read_picture, write_picture
from vernier.zoo import create_model, load_model, new_card, save_weights


def test_command_writes_strips_a_sheet_and_json(
    face: Path, tmp_path: Path, vernier: Callable[..., Ran]
) -> None:
    folder = tmp_path / "new" / "out"
    arguments = ("-n", "sesr-m3", "-n", "sesr-m5", "--window", "40,44,16", "--context", 24)
    code, out, _ = vernier("explain", face, *arguments, "--steps", 8, "-o", folder)
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "explain.json",
        "face-40-44-16-sesr-m3.png",
        "face-40-44-16-sesr-m5.png",
        "face-40-44-16.png",
    ]
    first, second = json.loads((folder / "explain.json").read_text())
    assert (first["model"], second["model"]) == ("sesr-m3", "sesr-m5")
    assert first["window_from"] == "given"
    assert first["lr_patch"] == {"left": 12, "top": 14, "width": 24, "height": 24}
    # The same by hand.
    lr = imresize_uint8(read_uint8(face)[:, :, :96], 0.5)[:, 14:38, 12:36] / 255
    model, _ = load_model("sesr-m3", 2)
    found = explain(model, lr, (16, 16, 16), steps=8)
    assert first["maps"]["lr"]["diffusion_index"] == pytest.approx(found.lr.diffusion_index)
    assert f"diffusion index {found.lr.diffusion_index:.2f}" in out
    strips = [read_picture(folder / f"face-40-44-16-sesr-m{i}.png") for i in (3, 5)]
    sheet = read_picture(folder / "face-40-44-16.png")
    assert sheet.height == strips[0].height + 8 + strips[1].height
    # Five panels of 48 pixels, 6 times as large.
    assert strips[0].width == 5 * 288 + 4 * 8


def test_command_proposes_where_models_gain(
    face: Path, tmp_path: Path, vernier: Callable[..., Ran]
) -> None:
    arguments = ("-n", "sesr-m3", "--propose", 2, "--size", 12, "--steps", 3, "-o", tmp_path / "o")
    code, _, said = vernier("explain", face, *arguments)
    assert code == 0
    found = json.loads((tmp_path / "o" / "explain.json").read_text())
    assert len(found) == 2
    for each in found:
        assert each["window_from"] == "largest gain over bicubic"
        assert each["gain_over_bicubic_db"] > 0
        x, y, size = each["window_in_picture"]
        assert size == 12
        assert f"proposed window {x},{y},12, where sesr-m3 gains" in said


def test_command_takes_the_input_itself(
    face: Path, tmp_path: Path, vernier: Callable[..., Ran]
) -> None:
    arguments = ("--as-input", "-s", 4, "--window", "300,200,16", "--context", 0)
    folder = tmp_path / "out"
    assert (
        vernier("explain", face, "-n", "sesr-m5", *arguments, "--steps", 2, "-o", folder).code == 0
    )
    (found,) = json.loads((folder / "explain.json").read_text())
    assert found["maps"]["lr"]["size"] == [96, 97]
    assert found["window"] == [300, 200, 16]


def test_command_explains_fusion(face: Path, tmp_path: Path, vernier: Callable[..., Ran]) -> None:
    model = create_model("psrt", scale=4, bands=4, embed=8, num_blocks=1, num_heads=2)
    weights, cube, guide = tmp_path / "tiny.safetensors", tmp_path / "cube.npy", tmp_path / "g.png"
    save_weights(model, weights, new_card(model, "tiny"))
    np.save(cube, np.random.default_rng(0).random((24, 24, 4), dtype=np.float32))
    picture = read_picture(face)
    write_picture(picture.with_pixels(picture.pixels[:, :96]), guide)
    folder = tmp_path / "out"
    arguments = ("--guide", guide, "--axes", "hwc", "--window", "40,60,16", "--context", 16)
    assert vernier("explain", cube, "-n", weights, *arguments, "--steps", 4, "-o", folder).code == 0
    (found,) = json.loads((folder / "explain.json").read_text())
    assert found["maps"]["lr"]["size"] == [16, 16]
    assert found["maps"]["guide"]["size"] == [64, 64]
    assert found["lr_patch"] == {"left": 4, "top": 8, "width": 16, "height": 16}
    assert read_picture(folder / "cube-40-60-16.png").height > 2 * 256
    wide = tmp_path / "wide.png"
    write_picture(picture.with_pixels(picture.pixels[:48, :48]), wide)
    arguments = ("--guide", wide, "--window", "40,60,16")
    code, _, err = vernier("explain", cube, "-n", weights, *arguments, "-o", tmp_path / "none")
    assert code == 2
    assert "is 48x48, but x4 of" in err
    assert not (tmp_path / "none").exists()


def test_command_hands_on_how_cube_and_guide_are_read(
    tmp_path: Path, vernier: Callable[..., Ran]
) -> None:
    model = create_model("psrt", scale=4, bands=4, embed=8, num_blocks=1, num_heads=2)
    weights = tmp_path / "tiny.safetensors"
    save_weights(model, weights, new_card(model, "tiny"))
    values = np.random.default_rng(0).random
    cube, guide = tmp_path / "cube.npz", tmp_path / "guide.npy"
    np.savez(cube, data=(1000 * values((6, 6, 4))).astype(np.float32), other=values((6, 6, 4)))
    np.save(guide, (500 * values((24, 24, 3))).astype(np.float32))
    given = ("--window", "4,4,12", "--steps", 2, "-n", weights, "--guide", guide)
    how = ("--key", "data", "--peak", 1000, "--axes", "hwc", "--guide-peak", 500)
    wavelengths = ("--wavelengths", "450,550,650,750")
    code, _, _ = vernier("explain", cube, *given, *how, *wavelengths, "-o", tmp_path / "o")
    assert code == 0
    (told,) = json.loads((tmp_path / "o" / "explain.json").read_text())
    found = explain_files(
        [cube],
        tmp_path / "library",
        models=[str(weights)],
        windows=[(4, 4, 12)],
        steps=2,
        guide=guide,
        key="data",
        peak=1000,
        axes="hwc",
        guide_peak=500,
        wavelengths=[450, 550, 650, 750],
    )
    assert told["detail"] == pytest.approx(found.findings[0].record["detail"])
    figures = (tmp_path / "o" / "cube-4-4-12.png", found.figures[0])
    ours, theirs = (read_picture(path).pixels for path in figures)
    assert np.array_equal(ours, theirs)
    for option, value, message in (
        ("--guide-peak", 1, "--guide-peak"),
        ("--peak", 1, "--peak"),
        ("--key", "none", "none"),
        ("--wavelengths", "450,550", "wavelengths"),
    ):
        wrong = (*how, *wavelengths, option, value)
        code, _, error = vernier("explain", cube, *given, *wrong, "-o", tmp_path / "refused")
        assert code == 2
        assert message in error
        assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-n", "sesr-m3", "--as-input"), "give --window"),
        (("-n", "sesr-m3", "--window", "1,2"), "a window is X,Y,SIZE"),
        (("-n", "sesr-m3", "--window", "0,0,97"), "does not lie inside the picture of 96x96"),
        (("-n", "sesr-m3", "--size", "97"), "does not fit"),
        ((), "no model given"),
    ],
)
def test_command_refuses_in_one_line(
    face: Path,
    tmp_path: Path,
    vernier: Callable[..., Ran],
    arguments: tuple[object, ...],
    message: str,
) -> None:
    folder = tmp_path / "out"
    code, _, error = vernier("explain", face, *arguments, "-o", folder)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not folder.exists()


@pytest.mark.parametrize(("ratio", "warned"), [(1.15, False), (2, True)])
def test_command_warns_of_a_map_that_does_not_add_up(
    face: Path,
    tmp_path: Path,
    vernier: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
    ratio: float,
    warned: bool,
) -> None:
    def wrong(*arguments: Any, **settings: Any) -> Explanation:
        found = explain(*arguments, **settings)
        return replace(found, detail=found.detail_at_start + ratio * found.attributed)

    monkeypatch.setattr("vernier.explanation.files.explain", wrong)
    arguments = ("-n", "sesr-m5", "--window", "40,44,16", "--steps", 4, "-o", tmp_path / "out")
    code, _, err = vernier("explain", face, *arguments)
    assert code == 0
    (found,) = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert found["completeness_error"] == pytest.approx(1 - 1 / ratio)
    assert ("the map is not to be trusted" in err) == warned
    # Of one model there is one picture.
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["explain.json", "face-40-44-16.png"]


@pytest.mark.parametrize("there", [False, True])
def test_command_leaves_no_empty_folder(
    face: Path,
    tmp_path: Path,
    vernier: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
    there: bool,
) -> None:
    folder = tmp_path / "out"
    if there:
        folder.mkdir()

    def fail(*_: object, **__: object) -> None:
        assert folder.exists()
        raise InputError("flat")

    monkeypatch.setattr("vernier.explanation.files.explain", fail)
    arguments = ("-n", "sesr-m5", "--window", "40,44,16", "-o", folder)
    assert vernier("explain", face, *arguments).code == 2
    assert folder.exists() == there
