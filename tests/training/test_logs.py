"""Where a run tells how it goes, and logs of the caller's own."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.training import Stripes, small_recipe
from torch import Tensor

from vernier.errors import MissingPackageError
from vernier.training import Log, Recipe, default_logs, load_recipe, logs, train
from vernier.training.logs import ConsoleLog, MetricsLog
from vernier.training.losses import l1
from vernier.training.run_folder import RunFolder


class _Diary(Log):
    """Every call, as text."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def open(self, folder: RunFolder, recipe: Recipe, step: int) -> None:
        self.lines.append(f"open {folder.path.name} at {step} of {recipe.steps}")

    def event(self, step: int, name: str, details: Mapping[str, Any]) -> None:
        self.lines.append(f"{step} {name} {sorted(details['changed'])}")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.lines.append(f"{step} scalars {'loss' in values}")

    def scores(self, step: int, values: Mapping[str, float]) -> None:
        self.lines.append(f"{step} scores {list(values)}")

    def image(self, step: int, name: str, image: Tensor) -> None:
        self.lines.append(f"{step} {name} {tuple(image.shape)}")

    def close(self) -> None:
        self.lines.append("close")


def _data(face: Path) -> dict[str, Any]:
    return {"train": ["s"], "validation": [face], "patch_size": 8, "batch_size": 2}


def test_a_log_of_the_caller_s_own_hears_everything_in_order(face: Path, tmp_path: Path) -> None:
    recipe, diary = small_recipe(tmp_path, data=_data(face)), _Diary()
    train(recipe, ["steps=2"], data=Stripes(), logs=[diary])
    train(recipe, data=Stripes(), logs=[diary], resume=True)
    shown = "face.png: bicubic, ours, HR (1, 96, 288)"
    measured = "scores ['psnr', 'ssim']"
    assert diary.lines == [
        "open run at 0 of 2",
        *("1 scalars True", "2 scalars True", f"2 {measured}", f"2 {shown}", "close"),
        "open run at 2 of 4",
        "2 resume ['steps']",
        *("3 scalars True", "4 scalars True", f"4 {measured}", f"4 {shown}", "close"),
    ]
    # It took the place of those that write files.
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_a_log_that_writes_some_methods_alone_joins_the_usual_ones(tmp_path: Path) -> None:
    class Losses(Log):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def scalars(self, step: int, values: Mapping[str, float]) -> None:
            self.seen.append(values["loss"])

    losses = Losses()
    train(small_recipe(tmp_path), data=Stripes(), logs=[*default_logs(), losses])
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == losses.seen
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_logs_are_closed_when_training_fails(tmp_path: Path) -> None:
    calls = 0

    def broken(result: Tensor, hr: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ZeroDivisionError
        return l1(result, hr)

    diary = _Diary()
    with pytest.raises(ZeroDivisionError):
        train(small_recipe(tmp_path), data=Stripes(), loss=broken, logs=[diary])
    assert diary.lines == ["open run at 0 of 4", "1 scalars True", "close"]


def test_what_json_does_not_know_is_null(tmp_path: Path) -> None:
    recipe = load_recipe(small_recipe(tmp_path))
    folder = RunFolder(tmp_path / "run")
    folder.open(recipe)
    log = MetricsLog()
    log.open(folder, recipe, 0)
    log.scalars(1, {"loss": 0.5, "gradient_norm": math.inf})
    assert json.loads(folder.metrics.read_text()) == {"step": 1, "loss": 0.5, "gradient_norm": None}


def test_the_console_tells_each_validation(
    face: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(small_recipe(tmp_path, data=_data(face)), data=Stripes(), logs=[ConsoleLog()])
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.split(",")[0].rsplit(" ", 1)[0] for line in lines] == [
        "step 1 of 4: loss",
        "step 2: psnr",
        "step 4: psnr",
    ]


def test_the_console_tells_how_training_goes_now_and_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    log = ConsoleLog(interval=30)
    log.open(RunFolder(tmp_path), load_recipe(small_recipe(tmp_path), ["steps=9000"]), 0)
    for step in range(10, 100, 10):
        log.scalars(step, {"loss": 0.5, "seconds_per_step": 1.0})
        now += 10
    log.scalars(9000, {"loss": 0.5, "seconds_per_step": 1.0})
    assert capsys.readouterr().err.splitlines() == [
        "step 10 of 9000: loss 0.50000, 2 h 29 min left",
        "step 40 of 9000: loss 0.50000, 2 h 29 min left",
        "step 70 of 9000: loss 0.50000, 2 h 28 min left",
    ]


def test_progress_counts_pictures_and_then_steps(face: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    data = {"train": [face], "patch_size": 8, "batch_size": 2}
    train(small_recipe(tmp_path, data=data), logs=[], progress=lambda *now: told.append(now))
    assert [now[:2] for now in told] == [(0, 1), (1, 1), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(what.startswith("loss 0.") for _, _, what in told[2:])


def test_a_missing_tensorboard_is_one_line_before_there_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.startswith("torch.utils.tensorboard"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingPackageError, match="this needs the package tensorboard: pip "):
        train(small_recipe(tmp_path), data=Stripes())
    assert not (tmp_path / "run").exists()
