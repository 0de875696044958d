"""The experiment book: arms trained under equal budget, once, and told in a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from support.command import Ran

from vernier import ablation
from vernier.ablation import load_experiment, run_experiment
from vernier.errors import InputError
from vernier.imaging import imresize
from vernier.io import Picture, write_picture
from vernier.zoo import create_model

_EXPERIMENTS = sorted((Path(__file__).parents[1] / "experiments").glob("*.yaml"))


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    pictures = tmp_path / "Pictures"
    pictures.mkdir()
    for i in range(2):
        coarse = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(i))
        pixels = (imresize(coarse, 8.0).clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
        write_picture(Picture(np.ascontiguousarray(pixels.numpy())), pictures / f"{i}.png")
    base = {
        "name": "base",
        "model": {"name": "sesr-m3", "scale": 2, "form": "deployed"},
        "data": {"train": [str(pictures)], "patch_size": 8, "batch_size": 2},
        "steps": 100,
        "accelerator": "cpu",
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    values = {
        "name": "depth",
        "question": "Does depth help?",
        "base": "base.yaml",
        "shared": {"steps": 3},
        "arms": {"three": {}, "four": {"model.overrides": {"num_blocks": 4}}},
        "seeds": [0, 5],
        "test": [str(pictures)],
        "lr_size": [10, 12],
        "output": str(tmp_path / "runs"),
    }
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def test_all_arms_are_trained_measured_and_told_and_none_twice(
    experiment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    vernier: Callable[..., Ran],
) -> None:
    code, out, err = vernier("ablate", experiment, "--format", "markdown")
    assert code == 0, err
    assert "Does depth help? 3 steps of 2 crops an arm; mean of 2 seeds" in out
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
