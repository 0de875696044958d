"""One call for pictures and cubes: what it is given, what it writes, what it never overwrites."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vernier
from vernier.errors import InputError
from vernier.evaluation import (
    PAPERS,
    FusionReport,
    PictureReport,
    Protocol,
    candidates,
    data_files,
    split_arguments,
)
from vernier.zoo import create_model, new_card, save_weights


@pytest.fixture
def fusing(tmp_path: Path) -> Path:
    """Weights of a small network for fusion, x4."""
    model = create_model("psrt", scale=4, embed=8, num_heads=2, num_blocks=1)
    path = tmp_path / "fusing.safetensors"
    save_weights(model, path, new_card(model, "fusing"))
    return path


@pytest.fixture
def upscaling(tmp_path: Path) -> Path:
    """Weights of a network for pictures, x2."""
    model = create_model("sesr-m3", scale=2)
    path = tmp_path / "upscaling.safetensors"
    save_weights(model, path, new_card(model, "sesr-m3"))
    return path


def test_what_is_given_decides_what_is_measured(
    pictures: Path, cave: Path, fusion_file: Path, fusing: Path, upscaling: Path
) -> None:
    for models, data, kind in (
        ([upscaling], [pictures], PictureReport),
        ([], [pictures], PictureReport),
        ([fusing], [cave / "one_ms"], FusionReport),
        ([], [fusion_file], FusionReport),
        ([], [cave / "one_ms"], FusionReport),
    ):
        scale = 2 if kind is PictureReport else 4
        assert type(vernier.evaluate(models, data, scale=scale)) is kind


def test_a_plain_file_of_a_cube_is_no_picture(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "cube.npy", rng.random((31, 48, 48)).astype(np.float32))
    report = vernier.evaluate([], [tmp_path / "cube.npy"], scale=4, convention="matlab")
    assert report.data[0].scenes == ("cube",)


@pytest.mark.parametrize("named", ["psrt-s", "file"])
def test_a_network_for_cubes_on_pictures_is_one_clear_line(
    pictures: Path, fusing: Path, named: str
) -> None:
    model = fusing if named == "file" else named
    with pytest.raises(InputError, match=r"pictures holds pictures, not cubes") as told:
        vernier.evaluate([model], [pictures])
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("named", ["sesr-m5", "file"])
def test_a_network_for_pictures_on_cubes_is_one_clear_line(
    cave: Path, fusion_file: Path, upscaling: Path, named: str
) -> None:
    model = upscaling if named == "file" else named
    for data in (cave, fusion_file):
        with pytest.raises(InputError, match="upscales pictures; evaluate it apart from fusion"):
            vernier.evaluate([model], [data])
    with pytest.raises(InputError, match="upscales pictures; evaluate it apart from fusion"):
        vernier.evaluate(["psrt-s", model], [cave])


def test_a_stranger_that_fuses_must_keep_the_contract(fusion_file: Path) -> None:
    class Stranger(nn.Module):
        scale, colour, channels, guide_channels = 4, "cube", 31, 3

        def forward(self, lr: Tensor, guide: Tensor) -> Tensor:
            raise AssertionError("must not run")

    with pytest.raises(InputError, match=r"Stranger fuses cubes; derive it from .*FusionModel"):
        vernier.evaluate([Stranger()], [fusion_file])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"convention": "matlab"}, "--convention: not for pictures"),
        ({"preset": "cave", "peak": 1.0}, "--preset, --peak: not for pictures"),
        ({"clamp": False, "sheets": "s"}, "--no-clamp, --sheets: not for pictures"),
    ],
)
def test_settings_of_cubes_are_not_for_pictures(
    pictures: Path, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        vernier.evaluate([], [pictures], scale=2, **settings)


def test_settings_of_pictures_are_not_for_cubes(fusion_file: Path) -> None:
    assert vernier.evaluate([], [fusion_file], protocol=PAPERS)
    with pytest.raises(InputError, match="--rgb, --crop, --no-rounding: not for cubes"):
        vernier.evaluate([], [fusion_file], protocol=Protocol(False, 4, False))


def test_a_name_alone_is_no_list(pictures: Path) -> None:
    with pytest.raises(InputError, match="models and data are lists"):
        vernier.evaluate("sesr-m5", [pictures])
    with pytest.raises(InputError, match="models and data are lists"):
        vernier.evaluate([], str(pictures))


def test_a_weight_file_is_loaded_once_however_often_it_is_named(
    pictures: Path, upscaling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def load(*arguments: Any) -> Any:
        loaded.append(arguments[0])
        return original(*arguments)

    original = candidates.load_model
    monkeypatch.setattr(candidates, "load_model", load)
    report = vernier.evaluate([upscaling, upscaling], [pictures], protocol=PAPERS)
    assert loaded == [upscaling]
    assert [result.model for result in report.results] == ["bicubic", "upscaling", "upscaling (2)"]


def test_the_report_is_written_where_it_is_asked_for(
    pictures: Path, fusion_file: Path, tmp_path: Path
) -> None:
    report = vernier.evaluate([], [pictures], scale=2, output=tmp_path / "r.md")
    assert (tmp_path / "r.md").read_text() == report.render("markdown")
    report = vernier.evaluate([], [fusion_file], output=tmp_path / "r.x", form="csv")
    assert (tmp_path / "r.x").read_text() == report.render("csv")
    assert (tmp_path / "r-bands.x").is_file()


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("r.xyz", "unknown suffix"),
        ("missing/r.md", "no such folder"),
        ("folder.md", "a folder .*has this name"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    pictures: Path, tmp_path: Path, output: str, told: str
) -> None:
    (tmp_path / "folder.md").mkdir()

    def work(*_: object) -> None:
        raise AssertionError("measured before")

    with pytest.raises(InputError, match=told):
        vernier.evaluate([], [pictures], scale=2, output=tmp_path / output, progress=work)


def test_nothing_that_is_read_is_overwritten(
    pictures: Path, cave: Path, fusion_file: Path, fusing: Path, upscaling: Path, tmp_path: Path
) -> None:
    bands = tmp_path / "in-bands.h5"
    shutil.copy(fusion_file, bands)
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    gray = cave / "one_ms" / "one_ms_01.png"
    shutil.copy(fusion_file, sheets / "a-GSA.h5")
    (sheets / "a-GSA.png").symlink_to(gray)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}

    def measured(*_: object) -> None:
        raise AssertionError("measured before")

    cases: list[tuple[list[Any], list[Path], dict[str, Any]]] = [
        ([upscaling], [pictures], {"output": upscaling.with_suffix(".json")}),
        ([upscaling], [pictures], {"output": upscaling, "form": "json"}),
        ([], [pictures], {"scale": 2, "output": pictures / "gray.png", "form": "table"}),
        ([fusing], [fusion_file], {"output": fusing.with_suffix(".json")}),
        ([], [fusion_file], {"output": fusion_file, "form": "markdown"}),
        ([], [bands], {"output": tmp_path / "in.h5", "form": "csv"}),
        ([], [cave / "one_ms"], {"scale": 4, "output": gray, "form": "json"}),
    ]
    for models, data, settings in cases:
        with pytest.raises(InputError, match="would overwrite the input"):
            vernier.evaluate(models, data, progress=measured, **settings)
    with pytest.raises(InputError, match="would overwrite the input"):
        vernier.evaluate([], [fusion_file, cave / "one_ms"], sheets=sheets, progress=measured)
    after = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    assert after == before


def test_the_card_of_a_shipped_model_is_not_overwritten(pictures: Path) -> None:
    from vernier.zoo import weights_path

    path = weights_path("sesr-m5", 2)
    assert path is not None
    before = path.with_suffix(".json").read_bytes()
    with pytest.raises(InputError, match="would overwrite the input"):
        vernier.evaluate(["sesr-m5"], [pictures], scale=2, output=path.with_suffix(".json"))
    assert path.with_suffix(".json").read_bytes() == before


def test_a_report_may_lie_beside_the_pictures(pictures: Path) -> None:
    for _ in range(2):
        vernier.evaluate([], [pictures], scale=2, output=pictures / "report.json")
    assert (pictures / "report.json").is_file()


@pytest.mark.parametrize("error", [MemoryError("no"), RuntimeError("CUDA out of memory. Tried")])
def test_memory_that_does_not_suffice_is_one_line(pictures: Path, error: Exception) -> None:
    class Large(nn.Module):
        scale, colour = 2, "rgb"

        def forward(self, lr: Tensor) -> Tensor:
            raise error

    with pytest.raises(InputError, match="Large on colour: memory does not suffice") as told:
        vernier.evaluate([Large()], [pictures])
    assert "\n" not in str(told.value)


def test_a_fault_of_a_network_is_not_called_a_lack_of_memory(pictures: Path) -> None:
    class Wrong(nn.Module):
        scale, colour = 2, "rgb"

        def forward(self, lr: Tensor) -> Tensor:
            return torch.cat([lr, lr[..., :1]])

    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        vernier.evaluate([Wrong()], [pictures])


def test_arguments_are_models_or_data(fusion_file: Path, pictures: Path, upscaling: Path) -> None:
    arguments = ["sesr-m5", str(pictures), str(upscaling), str(fusion_file)]
    assert split_arguments(arguments) == (
        ["sesr-m5", str(upscaling)],
        [pictures, fusion_file],
    )
    with pytest.raises(InputError, match="did you mean 'sesr-m5'"):
        split_arguments(["sesr-m55"])


def test_files_behind_data(cave: Path, fusion_file: Path, tmp_path: Path, pictures: Path) -> None:
    with_lr = tmp_path / "Set"
    (with_lr / "LR_bicubic").mkdir(parents=True)
    shutil.copytree(pictures, with_lr / "HR")
    shutil.copytree(pictures, with_lr / "LR_bicubic" / "X2")
    (with_lr / "notes.txt").touch()
    lr = with_lr / "LR_bicubic" / "X2"
    assert data_files([with_lr], 2) == [
        place / f"{name}.png" for name in ("colour", "gray") for place in (with_lr / "HR", lr)
    ]
    assert data_files([with_lr], 3) == [
        with_lr / "HR" / f"{name}.png" for name in ("colour", "gray")
    ]
    assert data_files([fusion_file], 4) == [fusion_file]
    assert len(data_files([cave], 4)) == 2 * 31
    values, header = tmp_path / "c.img", tmp_path / "c.hdr"
    values.touch()
    header.touch()
    assert data_files([header], 4) == [header, values]
    with pytest.raises(InputError, match="no such folder"):
        data_files([tmp_path / "nothing"], 2)
    with pytest.raises(InputError, match="no cubes in it"):
        data_files([with_lr / "LR_bicubic"], 2)
