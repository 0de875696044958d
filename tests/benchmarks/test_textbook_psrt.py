"""The yardstick computes what the authors do, so that a comparison with it means something."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from vernier.models.psrt import PSRT
from vernier.zoo.official.psrt import import_official

ROOT = Path(__file__).parents[2]


@pytest.fixture
def textbook(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.textbook_psrt").TextbookPSRT


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("psrt_official", "aligned"),
        ("psrt_noshuffle", "none"),
        *((f"kav{number}", f"ka{number}") for number in (1, 7, 11, 16, 17, 18, 19, 20)),
    ],
)
def test_outputs(shared: Path, textbook: Any, name: str, form: str) -> None:
    tensors = load_file(shared / "golden" / "psrt" / f"small_{name}.safetensors")
    state = {key.removeprefix("sd."): t for key, t in tensors.items() if key.startswith("sd.")}
    model = import_official(state, form, as_published=False, num_heads=4)
    cube, guide = tensors["in.lms"].float(), tensors["in.rgb"].float()
    with torch.no_grad():
        hr = cube + textbook(model)(torch.cat([cube, guide], 1))
    assert (hr - tensors["out"]).abs().max() < 3e-6 * tensors["out"].abs().max()


@torch.no_grad()
def test_any_size_that_is_a_multiple(textbook: Any) -> None:
    sizes: dict[str, Any] = {"bands": 3, "embed": 8, "num_blocks": 1, "num_heads": 2}
    model = PSRT(scale=4, **sizes).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    both = torch.rand(2, 6, 16, 48).double()
    torch.testing.assert_close(textbook(model)(both), model.forward_aligned(both))
