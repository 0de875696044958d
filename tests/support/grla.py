"""The fixtures of GRLA and DCTLSA, and how to hold a network against them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# Module names of the reconstruction's fixtures, theirs to ours.
FIXTURE_NAMES = {
    r"^mpbs\.": "blocks.",
    r"\.subs\.": ".sub_blocks.",
    r"\.lfe\.bn0\.": ".local.norm_in.",
    r"\.lfe\.pw0\.": ".local.expand.",
    r"\.lfe\.dw\.": ".local.depthwise.",
    r"\.lfe\.bn1\.": ".local.norm_out.",
    r"\.lfe\.pw1\.": ".local.project.",
    r"\.attn\.": ".attention.heads.",
    r"\.ffn\.fc1\.": ".feedforward.0.",
    r"\.ffn\.fc2\.": ".feedforward.2.",
    r"^fuse\.": "fusions.",
    r"^conv\.": "body_end.",
    r"^up\.0\.": "tail.",
}


def golden(shared: Path, name: str) -> dict[str, Tensor]:
    with np.load(shared / "golden" / "grla" / f"{name}.npz", allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files if key != "__meta__"}


def state_of(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key[3:]: tensor for key, tensor in arrays.items() if key.startswith("sd.")}


def watch(model: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    """Collects the outputs of modules by other names, as the model runs."""
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _inputs, output: seen.update({name: output})

    for module, name in names.items():
        model.get_submodule(module).register_forward_hook(note(name))
    return seen


def assert_golden(actual: Tensor, expected: Tensor, tolerance: float = 2e-5) -> None:
    """Rounding goes with the largest value: the fixtures' weights are random and large."""
    difference = (actual - expected).abs().max().item()
    assert difference <= tolerance * max(1.0, expected.abs().max().item())
