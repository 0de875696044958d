"""What the tests of training share: a small recipe, and data that are no files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class Stripes:
    """Crops of stripes of random brightness, (B, 1, side, side) and (B, 1, 2 side, 2 side)."""

    def __init__(self, side: int = 8, factor: int = 2, first: float = 0.0) -> None:
        self.side, self.factor, self.first = side, factor, first

    def batch(
        self, *, seed: int, step: int, batch_size: int, part: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        source = torch.Generator().manual_seed(1000 * seed + step)
        length = self.side * self.factor
        row = torch.rand(batch_size, 1, 1, length, generator=source)[part]
        row[..., 0] = self.first
        hr = row.expand(-1, -1, length, -1)
        return F.avg_pool2d(hr, self.factor), hr


def small_recipe(output: Path, **changes: Any) -> dict[str, Any]:
    """Keys of a recipe of four steps for `Stripes`."""
    return {
        "name": "run",
        "output": output,
        "model": {"name": "sesr-m3", "scale": 2, "overrides": {"expansion": 8}},
        "data": {"train": ["stripes"], "patch_size": 8, "batch_size": 2},
        "steps": 4,
        "log_every": 1,
        "validate_every": 2,
        "checkpoint_every": 2,
        "accelerator": "cpu",
    } | changes
