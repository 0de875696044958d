"""What ``import vernier`` offers: complete, cheap to import, stable, typed, with examples."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.desk import make_desk

import vernier

PACKAGE = Path(vernier.__file__).parent
# Rooms of the package: what lies in it as a file or a folder of code.
ROOMS = {
    path.stem
    for path in PACKAGE.iterdir()
    if not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").exists())
}
NAMES = sorted(set(vernier.__all__) - ROOMS)

TASKS = {"upscale", "fuse", "evaluate", "explain", "compare", "train", "ablate", "export"}
# What needs no example: raised, not called.
RAISED = {"VernierError", "MissingPackageError"}
TYPED = """
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

import vernier
from vernier import InputError, Picture, read_picture, write_picture

upscaler: vernier.Upscaler = vernier.Upscaler("sesr-m5", scale=2, tile="auto")
enlarged = upscaler.upscale_array(np.zeros((8, 9, 3), np.uint8))
names: list[str] = vernier.list_models()
picture: Picture = read_picture("a.png")
write_picture(picture.with_pixels(enlarged), Path("b.png"))
vernier.upscale("a.png", "b.png", scale=2)
cube: vernier.Cube = vernier.read_cube("c.h5", peak=1.0, wavelengths=[400.0, 500.0])
vernier.write_cube(cube, Path("d.h5"))
fused = vernier.fuse(cube, "a.png", Path("e.h5"), model="gsa", check=False)
sharp: vernier.Cube | None = None if isinstance(fused, list) else fused.cube
model, card = vernier.load_model("sesr-m5", scale=2)
licence: str = card.licence
smaller = vernier.imaging.imresize(torch.zeros(3, 8, 8), 0.5)
decibels: float = vernier.metrics.psnr(smaller, smaller, crop=0).item()
report: vernier.tables.Report = vernier.evaluate(["sesr-m5"], ["Set5"], scale=2)
text: str = report.render("markdown")
index: float = vernier.explain("sesr-m5", smaller, (1, 1, 4), scale=2).lr.diffusion_index
vernier.compare("a.png", "b.png", models=["sesr-m5"], window=(0, 0, 32))
steps: int = vernier.train("recipe.yaml", ["steps=10"]).steps
vernier.ablate("experiment.yaml", device="cpu")
vernier.export("sesr-m5", "b.safetensors", scale=2)


def show(done: int, total: int, what: str) -> None:
    print(f"{done} of {total} {what}")


fused = vernier.fuse("c.h5", "guide.png", "d.h5", progress=show)
fuser = vernier.Fuser("psrt-s", tile=None)
trained: torch.nn.Module = vernier.create_model("sesr-m3", scale=2)
lines: list[str] = [str(error) for error in (InputError("no"), vernier.MissingPackageError("no"))]


class Crops:
    def batch(
        self, *, seed: int, step: int, batch_size: int, part: slice = slice(None)
    ) -> tuple[torch.Tensor, ...]:
        return torch.zeros(batch_size, 1, 8, 8)[part], torch.zeros(batch_size, 1, 16, 16)[part]


class Loss(torch.nn.Module):
    def forward(
        self, result: torch.Tensor, hr: torch.Tensor, inputs: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        return (result - hr).abs().mean()


class Diary(vernier.training.Log):
    def scores(self, step: int, values: Mapping[str, float]) -> None:
        print(step, values)


loss = vernier.training.weighted_sum([(1, Loss()), (0.1, vernier.training.losses.l2)])
logs = [*vernier.training.default_logs(), Diary()]
result = vernier.train("recipe.yaml", ["steps=2"], data=Crops(), loss=loss, logs=logs)
best: float = result.best_psnr
"""


def python(code: str) -> str:
    """What a fresh process prints."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_every_room_and_every_name_is_there() -> None:
    rooms = {name for name in vernier.__all__ if isinstance(getattr(vernier, name), ModuleType)}
    assert rooms == ROOMS
    assert {name for name in NAMES if callable(getattr(vernier, name))} == set(NAMES)
    assert set(NAMES) >= TASKS
    assert set(vernier.__all__) <= set(dir(vernier))
    assert vernier.__all__ == sorted(vernier.__all__)
    with pytest.raises(AttributeError, match="no attribute 'upscal'"):
        vernier.upscal  # noqa: B018


def test_no_name_is_also_a_room() -> None:
    """Importing a room sets it as an attribute, over whatever function had its name."""
    assert not set(NAMES) & ROOMS
    assert not set(NAMES) & {path.stem for path in PACKAGE.iterdir()}


def test_names_are_the_same_whatever_was_imported_first() -> None:
    every = sorted(
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
        if path.stem != "__main__"
    )
    code = """
import importlib, sys
import vernier
modules = {modules!r}
before = {{name: getattr(vernier, name) for name in {names!r}}} if {first} else {{}}
for module in modules:
    importlib.import_module(module)
for name in {names!r}:
    found = getattr(vernier, name)
    assert before.get(name, found) is found, name
    print(name, type(found).__name__, getattr(found, "__module__", ""), found.__name__)
"""
    names = list(vernier.__all__)
    told = {
        python(code.format(modules=modules, names=names, first=first))
        for modules, first in ((every, False), (every[::-1], False), (every, True))
    }
    assert len(told) == 1


def test_importing_costs_nothing() -> None:
    code = """
import sys
before = set(sys.modules)
import vernier
print(*sorted(set(sys.modules) - before))
"""
    others = {name for name in python(code).split() if name.partition(".")[0] != "vernier"}
    assert {name.partition(".")[0] for name in others} <= sys.stdlib_module_names
    assert not others & {"urllib.request", "json", "inspect", "asyncio", "logging"}


def test_the_helps_of_the_command_line_import_nothing_heavy() -> None:
    code = """
import sys
from vernier.cli import main
sys.argv = ["vernier", "--help"]
try:
    main()
except SystemExit as stopped:
    assert not stopped.code
print("LOADED", *sys.modules)
"""
    loaded = python(code).partition("LOADED")[2].split()
    assert "typer" in loaded
    heavy = {"numpy", "pyvips", "torch", "openvino", "PIL", "scipy", "h5py", "yaml", "pydantic"}
    assert not heavy & set(loaded)


def test_a_users_script_passes_a_strict_type_check(tmp_path: Path) -> None:
    assert (PACKAGE / "py.typed").exists()
    script = tmp_path / "script.py"
    script.write_text(TYPED)
    (tmp_path / "mypy.ini").write_text("[mypy]\nfollow_imports = silent\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "mypy.ini", "script.py"]

    def check() -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"MYPYPATH": str(PACKAGE.parent)}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    run = check()
    assert run.returncode == 0, run.stdout
    script.write_text(TYPED + "vernier.upscal('a.png', 'b.png')\nnames.append(upscaler.scale)\n")
    run = check()
    assert run.stdout.count("error:") == 2, run.stdout


@pytest.mark.parametrize("name", [name for name in NAMES if name not in RAISED])
def test_the_example_of_a_public_name_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_desk(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = getattr(vernier, name)
    text = found.__doc__ or ""
    assert "Example:" in text
    names = dict(vars(sys.modules[found.__module__]))
    example = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert example.examples
    told: list[str] = []
    doctest.DocTestRunner().run(example, out=told.append)
    assert not told, "".join(told)
