"""Losses: their values, and training with one of the caller's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from support.training import Stripes, small_recipe
from torch import Tensor, nn

from vernier.errors import InputError
from vernier.metrics import ssim
from vernier.training import create_loss, load_recipe, train, weighted_sum
from vernier.training.losses import LOSSES, charbonnier, dissimilarity, l1, l2


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    return torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)


def test_the_losses_of_a_pixel() -> None:
    result, hr = (
        torch.tensor([0.5, 0.0]).view(1, 1, 1, 2),
        torch.tensor([0.1, 0.2]).view(1, 1, 1, 2),
    )
    assert float(l1(result, hr)) == pytest.approx(0.3)
    assert float(l2(result, hr)) == pytest.approx(0.1)
    assert float(charbonnier(result, hr)) == pytest.approx(0.3, abs=1e-5)
    assert float(charbonnier(hr, hr)) == pytest.approx(1e-3)


def test_dissimilarity_is_what_ssim_lacks_to_one(pair: tuple[Tensor, Tensor]) -> None:
    result, hr = pair
    expected = 1 - ssim(result, hr, crop=0, luma=False, rounding=False).mean()
    assert float(dissimilarity(result, hr)) == pytest.approx(float(expected))
    assert float(dissimilarity(hr, hr)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_recipe_names_its_loss(pair: tuple[Tensor, Tensor], name: str, tmp_path: Path) -> None:
    recipe = load_recipe(small_recipe(tmp_path), [f"loss={name}"])
    alone = LOSSES[name](*pair, ())
    assert torch.equal(create_loss(recipe)(*pair, ()), alone)
    both = create_loss(load_recipe(recipe, ["ssim_weight=0.25"]))(*pair, ())
    assert torch.equal(both, alone + 0.25 * dissimilarity(*pair))


class _Threefold(nn.Module):
    """Three times the recipe's L1, and a note of what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(3.0))
        self.seen: list[tuple[torch.Size, ...]] = []

    def forward(self, result: Tensor, hr: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        assert result.dtype == torch.float32
        self.seen.append((result.shape, hr.shape, *(x.shape for x in inputs)))
        return self.factor * l1(result, hr)


def test_training_takes_a_loss_of_the_caller_s_own(tmp_path: Path) -> None:
    own = _Threefold()
    train(small_recipe(tmp_path / "own", precision="bf16"), data=Stripes(), loss=own)
    train(small_recipe(tmp_path / "recipe", precision="bf16"), data=Stripes())
    assert set(own.seen[1:]) == {((2, 1, 16, 16), (2, 1, 16, 16), (2, 1, 8, 8))}
    first = {}
    for name in ("own", "recipe"):
        lines = (tmp_path / name / "run" / "metrics.jsonl").read_text().splitlines()
        first[name] = json.loads(lines[0])["loss"]
    assert first["own"] == pytest.approx(3 * first["recipe"])


def test_what_a_loss_refuses_is_heard_before_there_is_a_folder(tmp_path: Path) -> None:
    def picky(result: Tensor, hr: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        raise ValueError("it wants faces")

    loss = weighted_sum([(1, l1), (0.1, picky)])
    with pytest.raises(InputError, match="sesr-m3 cannot train so: it wants faces"):
        train(small_recipe(tmp_path), data=Stripes(), loss=loss)
    assert not (tmp_path / "run").exists()
