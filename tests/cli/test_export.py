"""`vernier export`: what it writes, says and refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.command import Ran

from vernier.models.hat import HAT
from vernier.zoo import load_model
from vernier.zoo.official.hat import official_state


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A small HAT as its authors would publish it."""
    model = HAT(scale=2, embed_dim=12, depths=(2,), num_heads=(2,), window_size=4, squeeze_factor=6)
    torch.save({"params_ema": official_state(model)}, tmp_path / "published.pth")
    return tmp_path / "published.pth"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@torch.no_grad()
@pytest.mark.parametrize("explicit", [False, True])
def test_there_and_back(
    published: Path, tmp_path: Path, explicit: bool, vernier: Callable[..., Ran]
) -> None:
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.pth"
    for source, target in ((published, ours), (ours, theirs)):
        more = ("--format", target.suffix[1:]) if explicit else ()
        code, out, err = vernier("export", source, "-o", target, *more)
        assert (code, out) == (0, ""), err
        card = f", its card to {tmp_path / 'ours.json'}" if target == ours else ""
        assert err == f"hat x2 written to {target}{card}\n"
    assert files(tmp_path) == ["ours.json", "ours.safetensors", "published.pth", "theirs.pth"]
    before, after = (torch.load(path, weights_only=True) for path in (published, theirs))
    assert list(before) == list(after) == ["params_ema"]
    before, after = before["params_ema"], after["params_ema"]
    assert list(before) == list(after)
    for key, tensor in before.items():
        assert tensor.dtype == after[key].dtype
        assert torch.equal(tensor, after[key]), key
    lr = torch.rand(1, 3, 5, 6)
    assert torch.equal(load_model(ours)[0](lr), load_model(published)[0](lr))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "a.onnx"], "a.onnx: weights are exported as .safetensors or .pth"),
        (["-o", "a"], "a: weights are exported as"),
        (["-o", "a.pth", "--format", "safetensors"], "a file of the format safetensors ends in"),
        (["-o", "no/such/a.pth"], "no/such is no folder"),
        (["-o", "published.pth"], "published.pth would overwrite the input published.pth"),
        (["-o", "/proc/a.safetensors"], "/proc/a.safetensors: cannot be written ("),
        (["-o", "a.pth", "-s", "3"], "a model for scale 2, not 3"),
    ],
)
def test_what_cannot_be_written_is_one_line(
    published: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    vernier: Callable[..., Ran],
) -> None:
    monkeypatch.chdir(published.parent)
    code, _, error = vernier("export", "published.pth", *arguments)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert files(published.parent) == ["published.pth"]
