"""The contract of a network, and what several systems share."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vernier.models
from vernier.imaging import imresize
from vernier.models.layers import (
    FusionModel,
    SRModel,
    pad_to_multiple,
    window_merge,
    window_partition,
)

FILES = sorted(Path(vernier.models.__file__).parent.glob("*.py"))


class Recorded(SRModel):
    """Nothing but a constructor."""

    colour = "rgb"

    def __init__(self, scale: int, depths: list[int], width: int = 8, **more: int) -> None:
        super().__init__()
        self.scale = scale
        self.layer = nn.Conv2d(3, width, 1)
        if isinstance(depths, list):
            depths.append(3)


class Added(FusionModel):
    """Adds the mean of the guide; pads to multiples of four."""

    size_multiple = 4

    def __init__(self, *, scale: int, bands: int) -> None:
        super().__init__()
        self.scale, self.channels, self.guide_channels = scale, bands, 3

    def forward_aligned(self, both: Tensor) -> Tensor:
        assert both.shape[-2] % 4 == both.shape[-1] % 4 == 0
        return both[:, self.channels :].mean(1, keepdim=True).expand(-1, self.channels, -1, -1)


def test_arguments_are_recorded_as_they_were_given() -> None:
    depths = [1, 2]
    model = Recorded(2, depths, heads=4)
    expected = {"depths": [1, 2], "width": 8, "heads": 4}
    assert model.config == expected
    model.config["depths"].append(9)
    assert model.config == model.deploy().config == model.skeleton().config == expected
    assert model.deployed
    assert (Recorded.channels, model.size_multiple, model.receptive_radius) == (3, 1, None)
    assert Recorded(3, depths=(1, 2), width=4).config["depths"] == [1, 2]  # type: ignore[arg-type]


def test_arguments_without_names_cannot_be_recorded() -> None:
    class Nameless(SRModel):
        colour = "luma"

        def __init__(self, *sizes: int, scale: int) -> None:
            super().__init__()
            self.scale = scale

    with pytest.raises(NotImplementedError, match="Nameless must implement config"):
        _ = Nameless(1, 2, scale=2).config


def test_a_wrong_argument_is_the_constructors_own_error() -> None:
    with pytest.raises(TypeError, match=r"widht|depths"):
        Recorded(2, widht=3)  # type: ignore[call-arg]


def test_a_fusion_is_the_upsampled_cube_and_what_is_added() -> None:
    model = Added(scale=2, bands=4)
    lr, guide = torch.rand(2, 4, 3, 5), torch.rand(2, 3, 6, 10)
    expected = imresize(lr, 2.0) + guide.mean(1, keepdim=True)
    torch.testing.assert_close(model(lr, guide), expected)
    given = torch.rand(2, 4, 6, 10)
    torch.testing.assert_close(model(lr, guide, given), given + guide.mean(1, keepdim=True))
    with pytest.raises(
        ValueError, match=r"the guide must be \(2, 3, 6, 10\) .*; it is \(2, 3, 6, 9\)"
    ):
        model(lr, guide[..., :9])
    with pytest.raises(ValueError, match=r"the cube must be \(2, 4, 3, 5\)"):
        model(lr[:, :3], guide)
    with pytest.raises(ValueError, match=r"the upsampled cube must be"):
        model(lr, guide, given[..., :5])


def test_init_from_copies_what_fits() -> None:
    source, target = Recorded(2, [], width=8), Recorded(2, [], width=8)
    assert target.init_from(source) == ["layer.weight", "layer.bias"]
    assert torch.equal(target.layer.weight, source.layer.weight)
    with pytest.raises(ValueError, match="no tensor of Recorded fits Recorded"):
        Recorded(2, [], width=4).init_from(source)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 7), (8, 8), (9, 2)])
def test_padding_reflects_as_often_as_it_must(height: int, width: int) -> None:
    x = torch.rand(1, 2, height, width)
    padded = pad_to_multiple(x, 8)
    assert padded.shape[-2] % 8 == padded.shape[-1] % 8 == 0
    assert torch.equal(padded[..., :height, :width], x)
    below, right = -height % 8, -width % 8
    if below < height and right < width:
        assert torch.equal(padded, F.pad(x, (0, right, 0, below), mode="reflect"))
    if (height, width) == (1, 1):
        assert torch.equal(padded, x.expand(1, 2, 8, 8))


def test_windows_come_back() -> None:
    x = torch.rand(2, 6, 9, 4)
    windows = window_partition(x, 3)
    assert windows.shape == (2 * 2 * 3, 9, 4)
    assert torch.equal(windows[1].view(3, 3, 4), x[0, :3, 3:6])
    assert torch.equal(window_merge(windows, 3, 6, 9), x)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_model_file_imports_torch_imaging_and_models_alone(file: Path) -> None:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    for name in names:
        package = name.partition(".")[0]
        ours = name.startswith(("vernier.models.", "vernier.imaging"))
        assert ours or package in {"torch", *sys.stdlib_module_names}, name
