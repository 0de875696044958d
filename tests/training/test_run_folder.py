"""What a run leaves behind, and what it does when that cannot be written."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch

from vernier import __version__
from vernier.errors import InputError
from vernier.io.files import replacing
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
    folder.save_checkpoint(folder.last, {"data_sha256": "", "step": 1})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"No space left on device.*from before is intact"):
        folder.save_checkpoint(folder.last, {"step": 2})
    assert folder.load_checkpoint(folder.last)["step"] == 1
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
    with replacing(folder.last) as unfinished:
        killed = unfinished
        killed.write_bytes(b"half of a checkpoint")
        kept = folder.last.with_name(".mine.ckpt")
        kept.write_bytes(killed.read_bytes())
    folder.last.rename(killed)
    folder.save_checkpoint(folder.last, {"step": 1})
    folder.open(recipe)
    assert sorted(folder.last.parent.iterdir()) == [kept, folder.last]


def test_a_checkpoint_is_as_private_as_the_process_wants(folder: RunFolder) -> None:
    before = os.umask(0o077)
    try:
        folder.save_checkpoint(folder.last, {"step": 1})
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.last.stat().st_mode) == 0o600


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flipped(content: bytes) -> bytes:
    at = content.index(torch.full((64,), 0.5).numpy().tobytes())
    return content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :]


def _other(content: bytes) -> bytes:
    file = io.BytesIO()
    torch.save({"weights": torch.zeros(2)}, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_cut, "is not a readable checkpoint: it is damaged, cut off or no file of torch"),
        (lambda content: b"garbage", "is not a readable checkpoint: it is damaged"),
        (_flipped, "is damaged: the checksum of its part"),
        (_other, "is no checkpoint of a run; start another run"),
    ],
    ids=["cut", "garbage", "flipped", "other"],
)
def test_a_checkpoint_that_cannot_be_resumed_from_is_one_line(
    folder: RunFolder, damage: Callable[[bytes], bytes], expected: str
) -> None:
    folder.save_checkpoint(folder.last, {"data_sha256": "", "weights": torch.full((64,), 0.5)})
    folder.load_checkpoint(folder.last)
    folder.last.write_bytes(damage(folder.last.read_bytes()))
    with pytest.raises(InputError) as caught:
        folder.load_checkpoint(folder.last)
    assert str(caught.value).startswith(f"{folder.last} {expected}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["a: [", "[]", "steps: 1"])
def test_a_damaged_recipe_of_a_run_is_one_line(
    folder: RunFolder, recipe: Recipe, content: str
) -> None:
    folder.recipe.write_text(content)
    with pytest.raises(InputError, match=r"recipe\.yaml") as caught:
        folder.changes_for(recipe)
    assert "\n" not in str(caught.value)


def test_metrics_that_a_kill_cut_short_are_rewound(folder: RunFolder) -> None:
    for step in (1, 2, 3):
        folder.append_metrics({"step": step, "loss": 0.5})
    whole = folder.metrics.read_bytes()
    folder.metrics.write_bytes(whole + b'{"step": 4, "lo\n\0\0\xff\n7')
    folder.rewind_metrics(2)
    assert folder.metrics.read_bytes() == b"".join(whole.splitlines(keepends=True)[:2])


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
