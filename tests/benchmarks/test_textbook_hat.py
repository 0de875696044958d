"""The yardstick computes what the authors do, so that a comparison with it means something."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vernier.models.hat import HAT
from vernier.zoo.checkpoints import load_model
from vernier.zoo.official.hat import official_state

ROOT = Path(__file__).parents[2]
CONFIGS = ("a_x4_w8", "b_x2_w4_gray", "c_x3_w8", "d_x1_w8_odd")


@pytest.fixture
def textbook(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.textbook_hat").TextbookHAT


def golden_model(folder: Path, name: str) -> HAT:
    config = json.loads((folder / "tiny_configs.json").read_text())[name]["config"]
    for key in ("img_size", "upsampler", "resi_connection"):
        config.pop(key)
    model = HAT(scale=config.pop("upscale"), channels=config.pop("in_chans"), **config)
    state = load_file(folder / f"{name}.state.safetensors")
    assert state.keys() == official_state(model).keys()
    model.load_state_dict({key: state[key] for key in model.state_dict()})
    return model.eval()


@pytest.mark.parametrize("size", ["odd", "even"])
@pytest.mark.parametrize("name", CONFIGS)
def test_outputs(shared: Path, textbook: Any, name: str, size: str) -> None:
    folder = shared / "golden" / "hat"
    arrays = np.load(folder / f"{name}.io.npz")
    hr = textbook(golden_model(folder, name))(torch.from_numpy(arrays[f"in_{size}"]))
    np.testing.assert_allclose(hr.numpy(), arrays[f"out_{size}"], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "switches",
    [{"overlap_ratio": None}, {"compress_ratio": None}, {"squeeze_factor": None}, {"scale": 8}],
    ids=str,
)
@torch.no_grad()
def test_ablations(textbook: Any, switches: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"scale": 2, "embed_dim": 12, "window_size": 4, "squeeze_factor": 6}
    model = HAT(**arguments | {"depths": (2,), "num_heads": (2,)} | switches).double().eval()
    lr = torch.rand(1, 3, 7, 9, dtype=torch.float64)
    torch.testing.assert_close(textbook(model)(lr), model(lr), atol=1e-7, rtol=0)


def test_it_is_the_loaded_network(shared: Path, textbook: Any) -> None:
    folder = shared / "golden" / "hat"
    model, _ = load_model(folder / "a_x4_w8.official_style.pth")
    assert isinstance(model, HAT)
    arrays = np.load(folder / "a_x4_w8.io.npz")
    hr = textbook(model)(torch.from_numpy(arrays["in_tile"]))
    np.testing.assert_allclose(hr.numpy(), arrays["out_tile_untiled"], atol=2e-5, rtol=1e-4)
