"""The experiment book: arms trained under equal budget, once, and told in a table."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from support.experiment import make_experiment

from vernier import ablation
from vernier.ablation import ablate, load_experiment, run_experiment
from vernier.errors import InputError
from vernier.io import Picture, read_picture, write_picture
from vernier.zoo import create_model

_EXPERIMENTS = sorted((Path(__file__).parents[1] / "experiments").glob("*.yaml"))


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return make_experiment(tmp_path)


def test_networks_of_ones_own_are_compared(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compared_net.py").write_text(
        "from vernier.models.sesr import SESR\n\n\nclass Net(SESR):\n    pass\n"
    )
    values = yaml.safe_load(experiment.read_text())
    values["seeds"] = [0]
    values["shared"] |= {"model.name": "compared_net:Net"}
    sizes = {"num_features": 4, "expansion": 4}
    values["arms"] = {
        arm: {"model.overrides": {"num_blocks": blocks, **sizes}}
        for arm, blocks in (("one", 1), ("two", 2))
    }
    experiment.write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    report = ablate(experiment)
    assert [arm.name for arm in report.arms] == ["bicubic", "one", "two"]
    card = json.loads(next((tmp_path / "runs").rglob("weights.json")).read_text())
    assert card["architecture"] == "compared_net:Net"


def test_all_arms_are_trained_measured_and_told_and_none_twice(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int, str]] = []
    report = ablate(experiment, progress=lambda *call: seen.append(call))
    assert "Does depth help? 3 steps of 2 crops an arm; mean of 2 seeds" in report.caption
    assert seen[:2] == [(0, 9, "training three, seed 0"), (1, 9, "measuring three, seed 0")]
    assert seen[-1] == (8, 9, "measuring costs")
    folder = tmp_path / "runs" / "depth"
    found = json.loads((folder / "results.json").read_text())
    bicubic, three, four = found["results"]
    assert (bicubic["arm"], three["arm"], four["arm"]) == ("bicubic", "three", "four")
    assert bicubic["costs"] is None
    assert three["scores"].keys() == {"Pictures PSNR", "Pictures SSIM"}
    assert len(set(three["scores"]["Pictures PSNR"])) == 2
    per_block = 3 * 3 * 16 * 16
    assert four["costs"]["parameters"] - three["costs"]["parameters"] == per_block + 16
    assert four["costs"]["macs"] - three["costs"]["macs"] == per_block * 10 * 12
    assert three["costs"]["seconds"] > 0
    # At least the feature maps of one layer, in and out.
    assert three["costs"]["memory"] >= 2 * 4 * 16 * 10 * 12
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert [(row["arm"], row["seed"]) for row in rows] == [
        ("bicubic", ""),
        *((arm, seed) for arm in ("three", "four") for seed in ("0", "5")),
    ]
    assert float(rows[1]["Pictures PSNR"]) == three["scores"]["Pictures PSNR"][0]
    assert "| four |" in (folder / "results.md").read_text()

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("trained or measured twice")

    monkeypatch.setattr(ablation, "train", refuse)
    monkeypatch.setattr(ablation, "evaluate", refuse)
    again = run_experiment(*load_experiment(experiment))
    assert [dict(arm.scores) for arm in again.arms[1:]] == [
        {name: tuple(values) for name, values in arm["scores"].items()} for arm in (three, four)
    ]


def test_other_pictures_under_the_same_path_are_measured_again(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["seeds=[0]", "arms={three: {}}", f"test=['{tmp_path}/Test']"]
    shutil.copytree(tmp_path / "Pictures", tmp_path / "Test")
    loaded = load_experiment(experiment, small)
    before = run_experiment(*loaded).arms
    measured = []

    def measure(*arguments: Any, **settings: Any) -> Any:
        measured.append(arguments)
        return original(*arguments, **settings)

    original = ablation.evaluate
    monkeypatch.setattr(ablation, "evaluate", measure)
    # A file that is no picture, and other times of the same pictures, change nothing.
    (tmp_path / "Test" / "notes.txt").touch()
    (tmp_path / "Test" / "0.png").touch()
    assert run_experiment(*loaded).arms[1].scores == before[1].scores
    assert not measured

    first = read_picture(tmp_path / "Test" / "0.png")
    write_picture(Picture(np.ascontiguousarray(first.pixels[::-1])), tmp_path / "Test" / "0.png")
    after = run_experiment(*loaded).arms
    assert len(measured) == 1
    assert [arm.scores for arm in after] != [arm.scores for arm in before]
    (tmp_path / "Test" / "0.png").rename(tmp_path / "Test" / "2.png")
    run_experiment(*loaded)
    assert len(measured) == 2


@pytest.mark.parametrize("target", ["experiment", "base", "picture"])
def test_results_overwrite_nothing_that_is_read(
    experiment: Path, tmp_path: Path, target: str
) -> None:
    results = tmp_path / "runs" / "depth"
    results.mkdir(parents=True)
    path, overrides = experiment, []
    if target == "experiment":
        path = results / "results.json"
        path.write_text(json.dumps(yaml.safe_load(experiment.read_text())))
        shutil.copy(tmp_path / "base.yaml", results)
    elif target == "base":
        shutil.copy(tmp_path / "base.yaml", results / "results.md")
        overrides = ["base=runs/depth/results.md"]
    else:
        (results / "results.csv").symlink_to(tmp_path / "Pictures" / "0.png")
    before = {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}
    with pytest.raises(InputError, match="would overwrite the input"):
        ablate(path, overrides)
    assert {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()} == before


def test_test_data_that_is_not_there_is_told_before_the_training(experiment: Path) -> None:
    def work(*_: object) -> None:
        raise AssertionError("trained before")

    with pytest.raises(InputError, match="missing: no such folder"):
        ablate(experiment, ["test=[missing]"], progress=work)


def test_an_interrupted_arm_goes_on(experiment: Path, tmp_path: Path) -> None:
    loaded, recipes = load_experiment(experiment, ["seeds=[0]"])
    run_experiment(loaded, recipes)
    (tmp_path / "runs" / "depth" / "four-0" / "weights.safetensors").unlink()
    report = run_experiment(*load_experiment(experiment, ["seeds=[0]", "shared.steps=5"]))
    assert report.steps == 5
    metrics = (tmp_path / "runs" / "depth" / "three-0" / "metrics.jsonl").read_text()
    assert [json.loads(line).get("event") for line in metrics.splitlines()].count("resume") == 1
    with pytest.raises(InputError, match=r"a resumed run cannot change .*num_blocks"):
        run_experiment(
            *load_experiment(experiment, ["seeds=[0]", "arms.four={model.overrides.num_blocks: 5}"])
        )


def test_shared_and_own_keys_join_those_of_the_base(experiment: Path) -> None:
    overrides = ["shared.data.batch_size=4", "shared.model={overrides: {num_features: 8}}"]
    _, recipes = load_experiment(experiment, overrides)
    four = recipes["four"][0]
    assert (four.data.batch_size, four.data.patch_size) == (4, 8)
    assert four.model.overrides == {"num_features": 8, "num_blocks": 4}
    assert four.model.form == "deployed"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("arms.four={steps: 9}", "arm four changes steps, which all arms must share"),
        ("arms.four={data.batch_size: 9}", "changes data.batch_size"),
        ("arms={}", "needs arms"),
        ("arms={a/b: {}}", "names a folder"),
        ("seeds=[1, 1]", "each once"),
        ("sedes=[1]", "unknown key 'sedes', did you mean 'seeds'?"),
        ("shared.optimizer.name=soap", "unknown key 'optimizer', did you mean 'optimiser'?"),
        ("base=missing.yaml", r"missing\.yaml"),
    ],
)
def test_what_is_unfair_or_misspelt_is_refused(
    experiment: Path, override: str, expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        load_experiment(experiment, [override])


@pytest.mark.parametrize("path", _EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_of_the_project_is_valid_and_its_arms_differ(path: Path) -> None:
    experiment, recipes = load_experiment(path)
    assert experiment.name == path.stem
    configs = []
    for arm in recipes.values():
        choice = arm[0].model
        with torch.device("meta"):
            model = create_model(choice.name, scale=choice.scale, **choice.overrides)
        configs.append((choice.name, choice.init_from, model.config))
    assert all(configs.count(config) == 1 for config in configs)


def test_the_experiment_book_is_not_empty() -> None:
    assert {"grla", "hat", "psrt"} == {path.stem.split("-")[0] for path in _EXPERIMENTS}


def test_paths_are_from_the_working_directory_or_the_experiment_file(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So one file works wherever it is called from."""
    pictures, base = tmp_path / "Pictures", tmp_path / "base.yaml"
    for file in (experiment, base):
        file.write_text(file.read_text().replace(str(pictures), "Pictures"))
    (tmp_path / "elsewhere").mkdir()
    for place, expected in ((tmp_path, "Pictures"), (tmp_path / "elsewhere", str(pictures))):
        monkeypatch.chdir(place)
        found, recipes = load_experiment(experiment)
        assert found.test == [expected]
        for arm in recipes.values():
            assert [recipe.data.train for recipe in arm] == [[expected], [expected]]
    base.rename(tmp_path / "elsewhere" / "other.yaml")
    recipes = load_experiment(experiment, ["base=other.yaml"])[1]
    assert recipes["three"][0].data.train == [str(pictures)]
    with pytest.raises(InputError, match=r"cannot read .*missing\.yaml"):
        load_experiment(experiment, ["base=missing.yaml"])


def test_a_run_whose_card_is_missing_is_not_finished(experiment: Path, tmp_path: Path) -> None:
    """A kill between the weights and their card leaves no more than that."""
    ablate(experiment, ["seeds=[0]"])
    cards = sorted((tmp_path / "runs").rglob("weights.json"))
    cards[0].unlink()
    report = ablate(experiment, ["seeds=[0]"])
    assert [arm.name for arm in report.arms] == ["bicubic", "three", "four"]
    assert cards[0].exists()
