"""docs/own-network.md is true: its network goes through every command that the page shows."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vernier.io import Picture, read_picture, write_picture

PAGE = Path(__file__).parents[2] / "docs" / "own-network.md"
# Seconds of training instead of hours.
SHORT = (
    "steps=4 data.patch_size=8 data.batch_size=2 validate_every=2 checkpoint_every=2 log_every=2 "
    "accelerator=cpu"
)


def blocks(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the page says to save, and two photographs."""
    network, script, fusion = blocks("python")
    (recipe,) = blocks("yaml")
    for name, text in (
        ("mine.py", network),
        ("script.py", script),
        ("mine_fusion.py", fusion),
        ("mine.yaml", recipe),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(0)
    for name in "ab":
        coarse = random.integers(0, 256, (12, 14, 3), np.uint8)
        write_picture(
            Picture(np.kron(coarse, np.ones((4, 4, 1), np.uint8))), tmp_path / f"photos/{name}.png"
        )
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    source = Path(__file__).parents[2] / "src"
    done = subprocess.run(
        # -P: as for the installed command, Python itself does not search the working folder.
        [sys.executable, "-P", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(source), "VERNIER_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_of_the_page_works(folder: Path) -> None:
    (listing,) = blocks("sh")
    commands = [line.partition("#")[0] for line in listing.splitlines()]
    assert [shlex.split(command)[1] for command in commands] == [
        "models",
        "train",
        "evaluate",
        "explain",
        "compare",
        "upscale",
        "export",
    ]
    printed = {}
    for command in commands:
        _, name, *arguments = shlex.split(command)
        more = SHORT.split() if name == "train" else []
        printed[name] = run(folder, "-m", "vernier", name, *arguments, *more)
    # By default 16 features: the head, three blocks of two layers, the tail.
    assert f"{9 * 16 + 16 + 6 * (9 * 16 * 16 + 16) + 4 * (9 * 16 + 1):,}" in printed["models"]
    assert "mine-x2" in printed["evaluate"]
    assert len(list((folder / "explained").iterdir())) >= 2
    assert (folder / "compared.png").stat().st_size > 0
    assert read_picture(folder / "larger.png").pixels.shape == (96, 112, 3)
    card = json.loads((folder / "mine.json").read_text(encoding="utf-8"))
    assert (card["architecture"], card["config"]) == ("mine:Net", {"width": 24, "blocks": 3})
    assert (card["steps"], card["receptive_radius"]) == (4, 8)

    # And in Python, in a script beside the module.
    assert "mine:Net {'width': 24, 'blocks': 3}" in run(folder, "script.py")
    again, larger = (read_picture(folder / name).pixels for name in ("again.png", "larger.png"))
    assert np.array_equal(again, larger)


def test_the_network_for_cubes_of_the_page_keeps_the_contract(folder: Path) -> None:
    printed = run(folder, "-m", "vernier", "models", "mine_fusion:Fusion", "-s", "4")
    assert f"{(34 * 9 + 1) * 64 + (64 * 9 + 1) * 31:,}" in printed
