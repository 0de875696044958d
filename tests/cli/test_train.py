"""`vernier train`: what it prints and how it ends; what it trains is tested in tests/training."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command import Ran
from support.training import small_recipe

from vernier.training import sets


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
    assert re.fullmatch(r"step 2: psnr \d+\.\d+, ssim 0\.\d+\n", err)
    code, out, err = vernier("train", recipe, "name=other", "--resume")
    assert (code, out.split(",")[0]) == (0, f"{tmp_path / 'runs' / 'other'}: 4 steps")
    assert err.startswith("step 4: psnr ")
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
