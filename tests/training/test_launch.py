"""What a run makes sure of before it begins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from support.training import Stripes, small_recipe

from vernier.errors import InputError, MissingPackageError
from vernier.training import load_recipe, train
from vernier.training.launch import launch
from vernier.zoo import create_model, new_card, save_weights


@pytest.mark.parametrize("name", ["weights.safetensors", "checkpoints/best.ckpt"])
def test_the_weights_that_a_run_starts_from_are_not_written_over(tmp_path: Path, name: str) -> None:
    start = tmp_path / "run" / name
    start.parent.mkdir(parents=True)
    model = create_model("sesr-m3", scale=2, expansion=8)
    save_weights(model, tmp_path / "made.safetensors", new_card(model, "sesr-m3"))
    (tmp_path / "made.safetensors").rename(start)
    before = start.read_bytes()
    recipe = small_recipe(tmp_path)
    recipe["model"] |= {"init_from": start}
    with pytest.raises(InputError, match="would overwrite the input"):
        train(recipe, data=Stripes())
    assert start.read_bytes() == before
    assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_a_missing_package_is_one_line_before_there_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(MissingPackageError, match="needs the package lightning_fabric: pip "):
        train(small_recipe(tmp_path), data=Stripes())
    assert not (tmp_path / "run").exists()


def test_processes_that_cannot_share_a_batch_evenly_are_not_started(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"batch_size 2 is not a multiple of 4 devices x 1 accumu"):
        train(small_recipe(tmp_path, devices=2, num_nodes=2), data=Stripes())


def test_automatic_is_a_cuda_device_or_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not Apple's cards, which know no float64."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert launch(load_recipe(small_recipe(tmp_path, accelerator="auto"))).device.type == "cpu"


@pytest.mark.parametrize("accelerator", ["auto", "cuda"])
def test_too_few_cards_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accelerator: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    recipe = small_recipe(tmp_path, accelerator=accelerator, devices=2)
    with pytest.raises(InputError, match=r"wants devices=2 on this machine, torch finds 1 CUDA"):
        train(recipe, data=Stripes())
