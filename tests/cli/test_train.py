"""`vernier train`: what it prints and how it ends; what it trains is tested in tests/training."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from support.command import Ran
from support.training import small_recipe

from vernier.training import sets
from vernier.zoo.cards import file_sha256


@pytest.fixture
def recipe(face: Path, tmp_path: Path) -> Path:
    data = {"train": [str(face)], "validation": [str(face)], "patch_size": 8, "batch_size": 2}
    values = small_recipe(tmp_path, data=data) | {"output": str(tmp_path / "runs")}
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def test_a_recipe_trains_and_goes_on(
    vernier: Callable[..., Ran], recipe: Path, tmp_path: Path
) -> None:
    code, out, err = vernier("train", recipe, "steps=2", "name=other")
    assert code == 0
    folder = re.escape(str(tmp_path / "runs" / "other"))
    assert re.fullmatch(rf"{folder}: 2 steps, best validation PSNR \d+\.\d{{3}} dB\n", out)
    first, second = err.splitlines()
    assert re.fullmatch(r"step 1 of 2: loss 0\.\d+, \d+ min \d\d s left", first)
    assert re.fullmatch(r"step 2: psnr \d+\.\d+, ssim 0\.\d+", second)
    code, out, err = vernier("train", recipe, "name=other", "--resume")
    assert (code, out.split(",")[0]) == (0, f"{tmp_path / 'runs' / 'other'}: 4 steps")
    assert err.splitlines()[0] == "goes on from step 2"
    assert err.splitlines()[-1].startswith("step 4: psnr ")
    assert (tmp_path / "runs" / "other" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["stepz=3"], "unknown key 'stepz', did you mean 'steps'?"),
        (["data.train=[missing]"], "missing: no such folder"),
        (["--resume"], "holds no run to resume; start it without --resume"),
        (["model.name=sesr-m4"], "unknown model 'sesr-m4'"),
    ],
)
def test_what_cannot_start_is_one_line(
    vernier: Callable[..., Ran], recipe: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    code, out, err = vernier("train", recipe, *arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert not (tmp_path / "runs").exists()


def test_a_run_that_is_there_is_not_overwritten(
    vernier: Callable[..., Ran], recipe: Path, tmp_path: Path
) -> None:
    assert vernier("train", recipe).code == 0
    kept = {p: p.read_bytes() for p in (tmp_path / "runs").rglob("*") if p.is_file()}
    code, _, err = vernier("train", recipe)
    assert code == 2
    assert "holds a run already; continue it with --resume" in err
    assert kept == {p: p.read_bytes() for p in (tmp_path / "runs").rglob("*") if p.is_file()}


def test_an_interrupted_run_says_how_it_goes_on(
    vernier: Callable[..., Ran], recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = sets.TrainingSet.batch

    def stopped(self: sets.TrainingSet, *, step: int, **more: Any) -> Any:
        if step == 3:
            raise KeyboardInterrupt
        return batch(self, step=step, **more)

    monkeypatch.setattr(sets.TrainingSet, "batch", stopped)
    code, out, err = vernier("train", recipe)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == (
        "interrupted; the same command with --resume goes on from the last checkpoint"
    )
    monkeypatch.setattr(sets.TrainingSet, "batch", batch)
    assert vernier("train", recipe, "--resume").code == 0


def test_memory_that_runs_out_is_one_line(
    vernier: Callable[..., Ran], recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: sets.TrainingSet, **more: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 TB")

    monkeypatch.setattr(sets.TrainingSet, "batch", full)
    code, out, err = vernier("train", recipe)
    assert (code, out) == (2, "")
    assert err.startswith("error: memory ran out (DefaultCPUAllocator: can't allocate memory")
    assert len(err.splitlines()) == 1


def test_a_run_without_a_checkpoint_says_that_it_begins_again(
    vernier: Callable[..., Ran], recipe: Path, tmp_path: Path
) -> None:
    assert vernier("train", recipe).code == 0
    (tmp_path / "runs" / "run" / "checkpoints" / "last.ckpt").unlink()
    code, _, err = vernier("train", recipe, "--resume")
    assert code == 0
    assert err.startswith("no checkpoint was written yet: the run begins at step 0 again\n")


def test_broken_pictures_are_named_all_at_once(
    vernier: Callable[..., Ran], recipe: Path, face: Path, tmp_path: Path
) -> None:
    """Of training and validation alike; without them it trains, and says which they were."""
    whole = face.read_bytes()
    for folder in ("train", "check"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "good.png").write_bytes(whole)
        (tmp_path / folder / "cut.png").write_bytes(whole[: len(whole) // 2])
        (tmp_path / folder / "empty.jpg").write_bytes(b"")
    sets = [f"data.train=[{tmp_path / 'train'}]", f"data.validation=[{tmp_path / 'check'}]"]
    code, out, err = vernier("train", recipe, *sets)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: 4 pictures cannot be read: ")
    assert "set data.skip_broken=true" in err
    broken = {str(tmp_path / f / n) for f in ("train", "check") for n in ("cut.png", "empty.jpg")}
    assert all(path in err for path in broken)
    assert not (tmp_path / "runs").exists()
    assert vernier("train", recipe, *sets, "data.skip_broken=true").code == 0
    told = json.loads((tmp_path / "runs" / "run" / "data.json").read_text())
    assert told["broken"].keys() == broken
    assert (told["pictures"], told["validation"]) == (1, ["good.png"])
    assert [Path(file).name for file in told["files"]] == ["good.png"]
    assert vernier("train", recipe, *sets, "data.skip_broken=true", "steps=6", "--resume").code == 0
    (tmp_path / "train" / "good.png").unlink()
    code, _, err = vernier("train", recipe, *sets, "data.skip_broken=true", "name=none")
    assert (code, err.count("\n")) == (2, 1)
    assert "2 pictures cannot be read" in err


def test_hidden_files_are_no_pictures_to_train_on(
    vernier: Callable[..., Ran], recipe: Path, face: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "train"
    (folder / ".thumbnails").mkdir(parents=True)
    (folder / "crops.png").mkdir()
    for name in ("a.png", ".thumbnails/t.png"):
        (folder / name).write_bytes(face.read_bytes())
    (folder / "._a.png").write_bytes(b"\0\5\x16\7")
    sets = [f"data.train=[{folder}]", f"data.validation=[{folder}]"]
    assert vernier("train", recipe, *sets).code == 0
    told = json.loads((tmp_path / "runs" / "run" / "data.json").read_text())
    assert (told["files"], told["validation"]) == ([str(folder / "a.png")], ["a.png"])


def test_weights_without_their_card_are_written_again(
    vernier: Callable[..., Ran], recipe: Path, tmp_path: Path
) -> None:
    """What a kill between the two files leaves is a run that is not finished."""
    assert vernier("train", recipe).code == 0
    folder = tmp_path / "runs" / "run"
    weights, card = folder / "weights.safetensors", folder / "weights.json"
    kept = load_file(weights)
    card.unlink()
    assert vernier("train", recipe, "--resume").code == 0
    assert load_file(weights).keys() == kept.keys()
    assert all(tensor.equal(kept[key]) for key, tensor in load_file(weights).items())
    assert json.loads(card.read_text())["sha256"] == file_sha256(weights)
    code, _, err = vernier("train", recipe, "--resume")
    assert (code, err.count("\n")) == (2, 1)
    assert "is finished" in err
