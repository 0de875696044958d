"""Signals during training: a checkpoint of that very step, and a run that goes on bit-equal."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import Stripes, small_recipe
from torch import Tensor

from vernier.training import InterruptedRun, interrupts, train
from vernier.training.interrupts import watched_signals
from vernier.training.losses import l1
from vernier.training.run_folder import RunFolder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def _weights(folder: Path) -> dict[str, Tensor]:
    run = RunFolder(folder)
    return dict(run.load_checkpoint(run.last)["weights"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_of_a_step_loses_nothing(tmp_path: Path, number: int) -> None:
    """Neither weights nor the losses between two lines of the log."""
    usual = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    recipe = small_recipe(tmp_path, steps=12, log_every=6, checkpoint_every=100)
    optimiser = {"name": "soap", "learning_rate": 3e-3}
    recipe |= {"optimiser": optimiser, "ema": 0.9}
    calls = 0

    def loss(result: Tensor, hr: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 5:  # the first call is that of the trial
            os.kill(os.getpid(), number)
        return l1(result, hr)

    with pytest.raises(InterruptedRun, match="interrupted after step 4") as caught:
        train(recipe, data=Stripes(), loss=loss, logs=None)
    assert (caught.value.number, caught.value.step) == (number, 4)
    assert usual == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    folder = RunFolder(tmp_path / "run")
    assert folder.load_checkpoint(folder.last)["step"] == 4
    train(recipe, resume=True, data=Stripes(), loss=l1_of)
    train(recipe | {"name": "whole"}, data=Stripes(), loss=l1_of)
    ours, whole = _weights(tmp_path / "run"), _weights(tmp_path / "whole")
    assert all(torch.equal(ours[key], whole[key]) for key in whole)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def l1_of(result: Tensor, hr: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    return l1(result, hr)


def losses(folder: Path) -> list[tuple[int, float]]:
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def test_what_is_told_to_be_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with watched_signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_stops_at_once_unless_it_follows_closely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 10.0
    monkeypatch.setattr(interrupts.time, "monotonic", lambda: now)
    with watched_signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT
        now = 13.0
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(SystemExit) as caught:
            os.kill(os.getpid(), signal.SIGTERM)
        assert caught.value.code == 128 + signal.SIGTERM


def test_other_threads_train_too(tmp_path: Path) -> None:
    steps: list[int] = []

    def run() -> None:
        steps.append(train(small_recipe(tmp_path), data=Stripes(), logs=[]).steps)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert steps == [4]
