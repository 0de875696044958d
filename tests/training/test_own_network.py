"""Networks of the caller's own, named in a recipe as ``package.module:Class``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import Stripes, small_recipe
from torch import Tensor

from vernier.errors import InputError
from vernier.imaging import imresize
from vernier.training import train
from vernier.training.run_folder import RunFolder
from vernier.zoo import load_model

_CODE = '''
import torch
import torch.nn.functional as F
from torch import nn

from vernier.models.layers import FusionModel, SRModel, upsample_bicubic


class Net(SRModel):
    """Two convolutions, and noise between them in training."""

    colour = "luma"

    def __init__(self, *, scale: int, width: int = 4):
        super().__init__()
        self.scale = scale
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(0.2)
        self.last = nn.Conv2d(width, scale**2, 3, padding=1)

    def forward(self, lr):
        features = self.dropout(self.norm(self.first(lr)).relu())
        return F.pixel_shuffle(self.last(features), self.scale) + upsample_bicubic(lr, self.scale)


class Fusion(FusionModel):
    """One convolution of cube and guide."""

    def __init__(self, *, scale: int, bands: int):
        super().__init__()
        self.scale, self.channels, self.guide_channels = scale, bands, 3
        self.only = nn.Conv2d(bands + 3, bands, 3, padding=1)

    def forward_aligned(self, both):
        return self.only(both)

    def forward(self, lr, guide, upsampled=None):
        if upsampled is None:
            upsampled = upsample_bicubic(lr, self.scale)
        return upsampled + self.forward_aligned(torch.cat([upsampled, guide], dim=1))
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a package that holds the code above."""
    name = f"of_{tmp_path.name}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "net.py").write_text(_CODE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def _recipe(output: Path, package: str, face: Path, **changes: Any) -> dict[str, Any]:
    return small_recipe(
        output,
        model={"name": f"{package}.net:Net", "scale": 2, "overrides": {"width": 6}},
        data={"train": [face], "validation": [face], "patch_size": 8, "batch_size": 2},
        schedule={"name": "constant"},
        **changes,
    )


def _state(output: Path) -> dict[str, Any]:
    folder = RunFolder(output / "run")
    return folder.load_checkpoint(folder.last)


def test_it_trains_resumes_to_the_bit_and_loads(package: str, face: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(_recipe(whole, package, face)).validated
    train(_recipe(parts, package, face), ["steps=2"])
    train(_recipe(parts, package, face), resume=True)
    first, second = _state(whole), _state(parts)
    for kind in ("weights", "ema"):
        assert first[kind].keys() == second[kind].keys()
        assert all(torch.equal(first[kind][key], second[kind][key]) for key in first[kind])

    name, weights = f"{package}.net:Net", whole / "run" / "weights.safetensors"
    model, card = load_model(f"{name}@{weights}")
    assert (card.architecture, card.steps, dict(card.config)) == (name, 4, {"width": 6})
    best, _ = load_model(f"{name}@{whole / 'run' / 'checkpoints' / 'best.ckpt'}")
    lr = torch.rand(1, 1, 9, 7)
    torch.testing.assert_close(model(lr), best(lr))
    described = json.loads((whole / "run" / "model.json").read_text())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert described["deployed"]["parameters"] == described["trained_parameters"] == parameters


def test_it_starts_from_its_own_weights_at_another_scale(
    package: str, face: Path, tmp_path: Path
) -> None:
    train(_recipe(tmp_path / "x2", package, face))
    weights = tmp_path / "x2" / "run" / "weights.safetensors"
    name = f"{package}.net:Net"
    still = {"learning_rate": 1e-12}
    recipe = _recipe(tmp_path / "x4", package, face, optimiser=still, ema=None)
    recipe["model"] |= {"scale": 4, "init_from": f"{name}@{weights}"}
    train(recipe, ["steps=1"])
    event = json.loads((tmp_path / "x4" / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert "first.weight" in event["copied"]
    assert "last.weight" not in event["copied"]
    source, _ = load_model(f"{name}@{weights}")
    key = "first.weight"
    torch.testing.assert_close(_state(tmp_path / "x4")["weights"][key], source.state_dict()[key])


def test_a_network_that_fuses_trains_too(package: str, tmp_path: Path) -> None:
    class Cubes:
        def batch(
            self, *, seed: int, step: int, batch_size: int, part: slice = slice(None)
        ) -> tuple[Tensor, ...]:
            source = torch.Generator().manual_seed(1000 * seed + step)
            hr = torch.rand(batch_size, 5, 16, 16, generator=source)[part]
            lr = imresize(hr, 0.25)
            return lr, hr[:, :3].contiguous(), imresize(lr, 4.0), hr

    name = f"{package}.net:Fusion"
    model = {"name": name, "scale": 4, "overrides": {"bands": 5}}
    recipe = small_recipe(tmp_path, model=model, steps=60, optimiser={"learning_rate": 1e-2})
    train(recipe, data=Cubes())
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    _, card = load_model(f"{name}@{tmp_path / 'run' / 'weights.safetensors'}")
    assert card.architecture == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("{package}.net:Nett", r"has no Nett \(did you mean 'Net'\?\)"),
        ("{package}.nets:Net", "there is no module"),
        ("{package}.net:nn", "is not a subclass of SRModel or FusionModel"),
    ],
)
def test_a_name_that_is_no_network_is_one_line_before_there_is_a_folder(
    package: str, tmp_path: Path, name: str, expected: str
) -> None:
    recipe = small_recipe(tmp_path, model={"name": name.format(package=package), "scale": 2})
    with pytest.raises(InputError, match=expected) as caught:
        train(recipe, data=Stripes())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_form_that_it_does_not_have_is_refused(package: str, tmp_path: Path) -> None:
    model = {"name": f"{package}.net:Net", "scale": 2, "form": "deployed"}
    with pytest.raises(InputError, match=r"has no form 'deployed'; leave model\.form out"):
        train(small_recipe(tmp_path, model=model), data=Stripes())
