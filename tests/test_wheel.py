"""The wheel without torch in an empty environment: pictures grow, the rest says what to install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import vernier
from vernier.io import read_picture

ROOT = Path(__file__).parents[1]
ASTRONAUT = ROOT / "examples" / "astronaut.png"


class Installed(NamedTuple):
    """A wheel, and the folder of programs of the environment it was installed in."""

    wheel: Path
    programs: Path

    def run(self, *command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, without any path to the sources."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
        program, *arguments = map(str, command)
        return subprocess.run(
            [str(self.programs / program), *arguments],
            cwd=cwd,
            env=kept,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    # Building in the tree would leave files there, and take files that are left there.
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", source / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-deps", "-w", folder, source)
    (wheel,) = folder.glob("vernier_sr-*.whl")
    environment = folder / "environment"
    venv.create(environment)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    pip("--python", programs / "python", "install", wheel)
    return Installed(wheel, programs)


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    run = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if run.returncode and not os.environ.get("CI"):
        unreachable = ("No matching distribution", "Temporary failure", "No module named pip")
        if any(words in run.stderr for words in unreachable):
            pytest.skip(f"pip reaches no package index here: {run.stderr.splitlines()[-1]}")
    assert run.returncode == 0, run.stderr


def test_the_wheel_holds_what_runs_and_nothing_else(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    sources = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "vernier").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == sources
    assert installed.wheel.name == f"vernier_sr-{vernier.__version__}-py3-none-any.whl"


def test_it_enlarges_a_picture_without_torch(installed: Installed, tmp_path: Path) -> None:
    missing = installed.run("python", "-c", "import torch", cwd=tmp_path)
    assert "No module named 'torch'" in missing.stderr
    run = installed.run("vernier", "upscale", ASTRONAUT, "-o", "out.png", cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    found = read_picture(tmp_path / "out.png").pixels
    vernier.upscale(ASTRONAUT, tmp_path / "here.png")
    assert np.array_equal(found, read_picture(tmp_path / "here.png").pixels)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["explain", ASTRONAUT, "-n", "sesr-m5", "-o", "out"], "torch"),
        (["compare", ASTRONAUT, "-n", "sesr-m5", "-o", "out.png"], "torch"),
        (["evaluate", "sesr-m5", "--data", "."], "torch"),
        (["upscale", ASTRONAUT, "-o", "out.png", "--engine", "torch"], "torch"),
        (["upscale", ASTRONAUT, "-o", "out.png", "-n", "grla-s"], "torch"),
        (["fuse", "cube.npy", "-g", ASTRONAUT, "-o", "out.npz", "--axes", "hwc"], "torch"),
        (["export", "sesr-m5", "-o", "out.pth"], "torch"),
        (["models"], "torch"),
        (["train", "recipe.yaml"], "train"),
        # These need two extras, and name the one that is missed first.
        (["ablate", "recipe.yaml"], "torch|train"),
        (["data", "info", "scenes.h5"], "torch|hsi"),
    ],
)
def test_what_needs_more_says_in_one_line_what_to_install(
    installed: Installed, tmp_path: Path, arguments: list[object], extra: str
) -> None:
    (tmp_path / "recipe.yaml").write_text("name: a\n")
    (tmp_path / "scenes.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    np.save(tmp_path / "cube.npy", np.zeros((128, 128, 3), np.float32))
    before = sorted(tmp_path.iterdir())
    run = installed.run("vernier", *arguments, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (2, ""), run.stderr
    assert run.stderr.startswith("error: this needs the package ")
    endings = tuple(f': pip install "{installed.wheel}[{each}]"\n' for each in extra.split("|"))
    assert run.stderr.endswith(endings)
    assert run.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
