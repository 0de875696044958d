"""Feature maps of any layout, and the measure of blocking."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from vernier.errors import InputError
from vernier.explanation.features import FeatureMap, blocking, feature_maps
from vernier.imaging import rgb_to_luma
from vernier.models.layers import pad_to_multiple
from vernier.zoo import create_model


class Groups(nn.Module):
    """Three groups that hand on channels first, channels last and tokens, padded to 8."""

    colour, scale, size_multiple = "rgb", 1, 8

    def __init__(self) -> None:
        super().__init__()
        self.groups = nn.ModuleList(nn.Identity() for _ in range(3))
        self.idle = nn.Identity()
        self.odd = nn.Flatten()

    def forward(self, lr: Tensor) -> Tensor:
        x = pad_to_multiple(lr, 8)
        self.odd(x)
        self.groups[0](x)
        self.groups[1](x.permute(0, 2, 3, 1))
        self.groups[2](x.flatten(2).transpose(1, 2))
        return lr


def test_every_layout_gives_the_same_map() -> None:
    lr = torch.rand(3, 10, 13)
    found = feature_maps(Groups(), lr)
    assert [each.name for each in found] == ["groups.0", "groups.1", "groups.2"]
    for each in found:
        assert torch.equal(each.values, lr)


def test_two_threads_look_at_one_module() -> None:
    together = threading.Barrier(2, timeout=60)

    class Meeting(Groups):
        def forward(self, lr: Tensor) -> Tensor:
            together.wait()
            result = super().forward(lr)
            together.wait()
            return result

    model, found = Meeting(), dict[int, list[FeatureMap]]()
    pictures = torch.rand(2, 3, 8, 8)

    def run(index: int) -> None:
        found[index] = feature_maps(model, pictures[index])

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, picture in enumerate(pictures):
        assert [each.name for each in found[index]] == ["groups.0", "groups.1", "groups.2"]
        assert all(torch.equal(each.values, picture) for each in found[index])
    assert model.training


def test_groups_of_a_shipped_architecture() -> None:
    model = create_model("sesr-m3", scale=2).train()
    lr = torch.rand(3, 12, 9)
    found = feature_maps(model, lr)
    assert [each.name for each in found] == ["body.0", "body.1", "body.2"]
    assert model.training
    first = model.first(rgb_to_luma(lr)[None] - 0.5)  # type: ignore[operator]
    torch.testing.assert_close(found[0].values, model.body[0](first)[0].detach())  # type: ignore[index]
    (one,) = feature_maps(model, lr[:1], ["activations.1"])
    assert one.values.shape == (16, 12, 9)
    assert not model.body[0]._forward_hooks  # type: ignore[index]


def test_what_cannot_be_shown() -> None:
    lr = torch.rand(3, 8, 8)
    for names, message in (
        (["groups.7"], "no module 'groups.7'"),
        (["idle"], "idle did not run"),
        (["odd"], r"odd puts out \(1, 192\), no map"),
    ):
        with pytest.raises(InputError, match=message):
            feature_maps(Groups(), lr, names)
    with pytest.raises(InputError, match="has no list of groups"):
        feature_maps(nn.Conv2d(3, 3, 1), lr)


def test_strength_spans_zero_to_one() -> None:
    strength = FeatureMap("x", torch.randn(4, 20, 30) * 7).strength
    assert strength.aminmax() == (0, 1)
    assert 0.005 < (strength == 1).float().mean() < 0.02
    assert (FeatureMap("x", torch.ones(2, 5, 5)).strength == 0).all()


def test_blocking_is_one_without_a_grid_and_grows_with_it() -> None:
    noise = torch.randn(4, 256, 256)
    assert blocking(noise, 8) == pytest.approx(1, abs=0.02)
    # A step of 1 at every 8th column and row on top of a slope of 0.1.
    slope = torch.arange(64.0) * 0.1 + torch.arange(64) // 8
    assert blocking((slope[:, None] + slope)[None], 8) == pytest.approx(11, rel=1e-6)
    # The same steps, looked for on another grid, are not found.
    moved = torch.cat([slope[4:], slope[-4:]])
    assert blocking((moved[:, None] + moved)[None], 8) < 1
    steps = torch.randn(4, 8, 8).repeat_interleave(8, 1).repeat_interleave(8, 2)
    levels = [blocking(noise[:, :64, :64] + a * steps, 8) for a in (0, 0.5, 1, 2)]
    assert levels == sorted(levels)
    assert levels[-1] > 1.5
    for size in (1, 64):
        with pytest.raises(InputError, match="no border"):
            blocking(noise[:, :64, :64], size)
