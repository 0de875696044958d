"""What a run leaves behind, and what it does when that cannot be written."""

from __future__ import annotations

import errno
import os
import stat
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from vernier import __version__
from vernier.errors import InputError
from vernier.training.recipe import Recipe, parse_recipe
from vernier.training.run_folder import RunFolder, environment


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    model = {"name": "sesr-m3", "scale": 2}
    return parse_recipe(
        {"name": "run", "model": model, "data": {"train": ["pictures"]}, "steps": 1}, "recipe"
    )


@pytest.fixture
def folder(tmp_path: Path, recipe: Recipe) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    made.open(recipe)
    return made


def test_a_full_disk_leaves_the_checkpoint_from_before(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.save_checkpoint(folder.last, {"step": 1})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"No space left on device.*from before is intact"):
        folder.save_checkpoint(folder.last, {"step": 2})
    assert folder.load_checkpoint(folder.last) == {"step": 1}
    assert list(folder.last.parent.iterdir()) == [folder.last]


def test_what_stops_torch_while_it_writes_is_told_in_the_system_s_words(
    folder: RunFolder,
) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, before[1]))
    try:
        with pytest.raises(InputError) as caught:
            folder.save_checkpoint(folder.last, {"weights": torch.zeros(2**16)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == f"{folder.last}: cannot be written (File too large)"
    assert list(folder.last.parent.iterdir()) == []


def test_what_a_kill_left_of_a_checkpoint_is_removed_when_the_run_goes_on(
    folder: RunFolder, recipe: Recipe
) -> None:
    folder.save_checkpoint(folder.last, {"step": 1})
    (folder.last.parent / ".0123.ckpt").write_bytes(b"half of a checkpoint")
    folder.open(recipe)
    assert list(folder.last.parent.iterdir()) == [folder.last]


def test_a_checkpoint_is_as_private_as_the_process_wants(folder: RunFolder) -> None:
    before = os.umask(0o077)
    try:
        folder.save_checkpoint(folder.last, {"step": 1})
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.last.stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"checkpoints: cannot be created \(Not a directory\)"):
        RunFolder(tmp_path / "file" / "run").open(recipe)


def test_the_environment_is_told_without_the_metadata_of_any_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    assert environment()["packages"]["torch"] == metadata.version("torch")
    monkeypatch.setattr(metadata, "version", missing)
    told = environment()
    assert told["packages"] == {
        "vernier": __version__,
        "torch": None,
        "numpy": None,
        "lightning-fabric": None,
        "pyvips": None,
        "safetensors": None,
    }
    assert told["python"] == sys.version.split()[0]
