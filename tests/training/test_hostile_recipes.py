"""Recipes that nobody means: one line each, and nothing is left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command import Ran
from support.training import small_recipe

from vernier.errors import InputError
from vernier.training.launch import launch
from vernier.training.recipe import load_recipe, parse_recipe


@pytest.fixture
def written(face: Path, tmp_path: Path) -> Callable[..., Path]:
    """A recipe file with dotted keys changed."""

    def write(**changes: Any) -> Path:
        data = {"train": [str(face)], "patch_size": 8, "batch_size": 2}
        values = small_recipe(tmp_path, data=data) | {"output": "runs"}
        for key, value in changes.items():
            *parents, last = key.split(".")
            target: dict[str, Any] = values
            for parent in parents:
                target = target.setdefault(parent, {})
            target[last] = value
        file = tmp_path / "recipe.yaml"
        file.write_text(yaml.safe_dump(values))
        return file

    return write


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seed", 2**63, "'seed': input should be less than"),
        ("seed", 2**64, "'seed'"),
        ("seed", 2**200, "'seed'"),
        ("steps", 10**30, "'steps'"),
        ("optimiser.learning_rate", 1e308, "'optimiser.learning_rate'"),
        ("optimiser.learning_rate", float("inf"), "'optimiser.learning_rate'"),
        ("optimiser.eps", 1e300, "'optimiser.eps'"),
        ("data.batch_size", 10**9, "lower data.batch_size or data.patch_size"),
        ("data.patch_size", 10**6, "lower data.batch_size or data.patch_size"),
        ("data.downscales", [1e-300], "none of 1 training pictures is"),
        ("model.overrides.num_features", 10**8, "num_features is above 10,000"),
        ("model.overrides.num_blocks", 10**9, "num_blocks is above 10,000"),
        ("name", "", "must lie inside of output"),
        ("name", ".", "must lie inside of output"),
        ("name", "..", "must lie inside of output"),
        ("name", "../../trav", "must lie inside of output"),
        ("name", "a/../../b", "must lie inside of output"),
        ("name", "/abs/x", "must lie inside of output"),
        ("name", "n" * 300, "the name is too long"),
        ("name", "a\0b", "a folder cannot have this name"),
        ("name", "a\nb", "a folder cannot have this name"),
        ("name", "\udcff", "a folder cannot have this name"),
        ("output", "\0", "a folder cannot have this name"),
        ("output", "o" * 300, "the name is too long"),
        ("output", "/dev/null", "/dev/null: is no folder"),
        ("output", "recipe.yaml", "recipe.yaml: is no folder"),
        ("output", "recipe.yaml/below", "recipe.yaml: is no folder"),
        ("devices", 100_000, "more processes than this machine has processors"),
        ("num_nodes", 5, "waits for other machines: start the run with torchrun"),
    ],
)
def test_what_nobody_means_is_one_line(
    vernier: Callable[..., Ran],
    written: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    key: str,
    value: Any,
    expected: str,
) -> None:
    for name in ("MASTER_ADDR", "WORLD_SIZE", "SLURM_NTASKS", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    changes = {key: value}
    if key in ("devices", "num_nodes"):
        changes["data.batch_size"] = value
    monkeypatch.chdir(tmp_path)
    file = written(**changes)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = vernier("train", file)
    assert (code, out) == (2, ""), err
    assert expected in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: " + "[" * 5000, "nested too deeply"),
        ("{a: " * 5000, "nested too deeply"),
        ("a: " + "[" * 40 + "]" * 40, "nested too deeply"),
        ("a: &a [*a]", "nested too deeply"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(
                f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
                for old, new in zip("abcdefg", "bcdefgh")
            ),
            "nested too deeply",
        ),
        ("steps: " + "9" * 5000, "is not YAML"),
        ("steps: 2026-13-45", "is not YAML"),
        ("\0", "is not YAML"),
        ("#" * 2**21, "too large for a recipe"),
    ],
    ids=["lists", "maps", "moderate", "itself", "aliases", "digits", "date", "null", "large"],
)
def test_a_file_that_is_none(
    vernier: Callable[..., Ran], tmp_path: Path, text: str, expected: str
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    code, _, err = vernier("train", file)
    assert (code, err.count("\n")) == (2, 1), err
    assert expected in err


@pytest.mark.skipif(sys.platform == "win32", reason="devices of POSIX")
@pytest.mark.parametrize("kind", ["pipe", "zero", "folder", "missing", "long"])
def test_what_is_no_file_is_not_read(
    vernier: Callable[..., Ran], tmp_path: Path, kind: str
) -> None:
    paths = {"zero": Path("/dev/zero"), "folder": tmp_path, "long": tmp_path / ("n" * 300)}
    path = paths.get(kind, tmp_path / kind)
    if kind == "pipe":
        os.mkfifo(path)
    code, _, err = vernier("train", path)
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith("error: ")


def test_overrides_are_as_deep_as_files_may_be(written: Callable[..., Path]) -> None:
    for value in ("[" * 5000, "9" * 5000, "[" * 40 + "]" * 40):
        with pytest.raises(InputError, match=r"the value of data\.train is"):
            load_recipe(written(), [f"data.train={value}"])


def test_names_that_stay_inside_are_fine(tmp_path: Path) -> None:
    for name in ("mine", "group/run", "日本 😀", ".hidden", "v1..2"):
        assert (
            parse_recipe(small_recipe(tmp_path) | {"name": name, "output": "o"}, "r").name == name
        )


def test_weights_of_folders_that_an_override_replaces_are_dropped(
    written: Callable[..., Path], face: Path
) -> None:
    file = written(**{"data.train": ["a", "b"], "data.weights": [12, 1]})
    assert load_recipe(file).data.weights == [12, 1]
    assert load_recipe(file, [f"data.train=[{face}]"]).data.weights == []
    assert load_recipe(file, ["data.train=[c, d]"]).data.weights == [12, 1]
    assert load_recipe(file, ["data.train=[c]", "data.weights=[3]"]).data.weights == [3]
    with pytest.raises(InputError, match="3 weights for 1 train folders"):
        load_recipe(file, ["data.train=[c]", "data.weights=[1, 2, 3]"])
    with pytest.raises(InputError, match="1 weights for 2 train folders"):
        load_recipe(file, ["data.weights=[1]"])


def test_several_machines_that_a_launcher_started_are_let_through(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    values = small_recipe(tmp_path) | {"output": "o", "num_nodes": 2, "devices": 10**6}
    values["data"] = values["data"] | {"batch_size": 2 * 10**6}
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    with pytest.raises(InputError, match="more processes than this machine"):
        launch(parse_recipe(values, "r"))


def test_data_are_found_from_here_or_beside_the_file_that_names_them(
    written: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(**{"data.train": ["photos"], "data.validation": ["nowhere"]})
    inside, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    inside.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    data = load_recipe(file).data
    assert (data.train, data.validation) == ([str(inside)], ["nowhere"])
    (elsewhere / "photos").mkdir()
    assert load_recipe(file).data.train == ["photos"]
