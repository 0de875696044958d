"""Training on data that the caller hands in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import Stripes, small_recipe

from vernier.data.training_set import Fingerprint
from vernier.errors import InputError
from vernier.io import read_picture, write_picture
from vernier.training import TrainingData, train
from vernier.training.run_folder import RunFolder
from vernier.training.validation import Case, PictureValidation
from vernier.zoo import load_model


def _weights(output: Path) -> dict[str, torch.Tensor]:
    folder = RunFolder(output / "run")
    weights: dict[str, torch.Tensor] = folder.load_checkpoint(folder.last)["weights"]
    return weights


def test_own_crops_train_a_network_and_resume_to_the_bit(tmp_path: Path) -> None:
    # Other schedules depend on the steps in all.
    constant = {"schedule": {"name": "constant"}}
    assert not train(small_recipe(tmp_path / "a", **constant), data=Stripes()).validated
    train(small_recipe(tmp_path / "b", **constant), ["steps=2"], data=Stripes())
    train(small_recipe(tmp_path / "b", **constant), data=Stripes(), resume=True)
    first, second = _weights(tmp_path / "a"), _weights(tmp_path / "b")
    assert all(torch.equal(first[key], second[key]) for key in first)
    model, card = load_model(tmp_path / "a" / "run" / "weights.safetensors")
    assert (card.steps, model.scale) == (4, 2)
    told = json.loads((tmp_path / "a" / "run" / "data.json").read_text())
    assert told["class"] == "support.training.Stripes"
    assert (told["files"], told["validation"]) == ([], [])


def test_a_run_does_not_go_on_with_other_crops(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    train(recipe, ["steps=2"], data=Stripes())
    with pytest.raises(InputError, match="not those that the run started with"):
        train(recipe, data=Stripes(first=1.0), resume=True)


def test_own_crops_are_validated_on_the_pictures_of_the_recipe(face: Path, tmp_path: Path) -> None:
    data = {"train": ["stripes"], "validation": [face], "patch_size": 8, "batch_size": 2}
    assert train(small_recipe(tmp_path, data=data), data=Stripes()).validated
    told = json.loads((tmp_path / "run" / "data.json").read_text())
    assert told["validation"] == ["face.png"]


def test_own_data_may_bring_their_own_validation(tmp_path: Path) -> None:
    validation = PictureValidation([], scale=2, colour="luma")
    lr, hr = Stripes(side=16).batch(seed=9, step=0, batch_size=1)
    validation.cases.append(Case("stripes", (lr[0],), hr[0]))
    data = TrainingData(Stripes(), validation, Fingerprint("0" * 64, ("a", "b"), 2))
    assert train(small_recipe(tmp_path), data=data).validated
    told = json.loads((tmp_path / "run" / "data.json").read_text())
    assert told == {"sha256": "0" * 64, "validation": ["stripes"], "files": ["a", "b"]}


@pytest.mark.parametrize(
    ("changes", "crops", "expected"),
    [
        (
            {"data": {"train": ["s"], "hold_out": 1}},
            Stripes(),
            r"data\.hold_out cannot take pictures out of data=\.\.\.; name data\.validation",
        ),
        ({}, Stripes(factor=4), r"it makes \(1, 1, 16, 16\) of what should be \(1, 1, 32, 32\)"),
    ],
)
def test_own_crops_that_do_not_fit_are_refused_before_there_is_a_folder(
    tmp_path: Path, changes: dict[str, Any], crops: Stripes, expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        train(small_recipe(tmp_path, **changes), data=crops)
    assert not (tmp_path / "run").exists()


def test_hidden_pictures_are_not_trained_on(face: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    write_picture(read_picture(face), folder / "face.png")
    (folder / "._face.png").write_bytes(b"what macOS puts beside a file")
    data = {"train": [folder], "patch_size": 8, "batch_size": 2}
    train(small_recipe(tmp_path, data=data, steps=1))
    assert json.loads((tmp_path / "run" / "data.json").read_text())["files"] == [
        str(folder / "face.png")
    ]
