"""Ctrl-C during real commands, sent as the terminal sends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vernier.io import Picture, write_picture

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def interrupted(arguments: list[str], started: Callable[[], bool], folder: Path) -> tuple[int, str]:
    """Exit code and stderr of a command that is interrupted once it is at work."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vernier", *arguments],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not started():
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, err


def test_upscale_says_so_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), dtype=np.uint8)
    for index in range(30):
        write_picture(Picture(pixels), tmp_path / "in" / f"{index:02}.png")
    out = tmp_path / "out"
    code, err = interrupted(
        ["upscale", "in", "-o", "out"], lambda: out.is_dir() and any(out.glob("*.png")), tmp_path
    )
    assert (code, err) == (130, "interrupted\n")
    done = sorted(path.name for path in out.iterdir())
    assert 1 <= len(done) < 30
    assert done == [f"{index:02}.png" for index in range(len(done))]


def test_train_says_how_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    for index in range(4):
        write_picture(Picture(pixels), tmp_path / "in" / f"{index}.png")
    recipe = """
name: run
model: {name: sesr-m3, scale: 2}
data: {train: [in], hold_out: 1, patch_size: 16, batch_size: 2}
steps: 1000000
validate_every: 1000000
log_every: 5
"""
    (tmp_path / "recipe.yaml").write_text(recipe)
    metrics = tmp_path / "runs" / "run" / "metrics.jsonl"
    code, err = interrupted(
        ["train", "recipe.yaml"],
        lambda: metrics.exists() and metrics.stat().st_size > 0,
        tmp_path,
    )
    assert code == 130
    last = err.strip().splitlines()[-1]
    assert last.startswith("interrupted")
    assert "--resume" in last
