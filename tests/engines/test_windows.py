"""Windows of every size on the engines: none of them need divide the sizes that engines try."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vernier.engines import create_engine
from vernier.models.layers import FusionModel, SRModel, pad_to_multiple, window_merge
from vernier.models.layers import window_partition as partition
from vernier.zoo.networks import networks_of
from vernier.zoo.registry import build, family_entry

HAT: dict[str, Any] = {"embed_dim": 8, "depths": [1], "num_heads": [2], "squeeze_factor": 4}
SMALL = {"num_features": 8, "num_blocks": 1, "num_heads": 2}
PSRT = {"bands": 3, "embed": 8, "num_heads": 2, "num_blocks": 1}
# Of HAT overlapping windows must have an even margin.
NETWORKS = [
    *(("hat", {**HAT, "window_size": w, "overlap_ratio": 0.5}) for w in (4, 5, 9, 12, 20, 24)),
    *(("hat", {**HAT, "window_size": w, "overlap_ratio": None}) for w in (6, 7, 10, 14)),
    *(
        (family, {**SMALL, "window_size": window})
        for family in ("grla", "grla-seq", "dctlsa")
        for window in (5, 12, 24)
    ),
    *(("psrt", {**PSRT, "window_size": window, "shuffle": "aligned"}) for window in (16, 24)),
]


class OfSomebody(SRModel):
    """A network of one's own that pads, and works inside windows that attend to nothing else."""

    colour = "luma"

    def __init__(self, *, scale: int, window_size: int = 12) -> None:
        super().__init__()
        self.scale, self.size_multiple = scale, window_size
        self.mix = torch.nn.Linear(window_size**2, window_size**2)
        self.tail = torch.nn.Conv2d(1, scale**2, 3, padding=1)

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        height, width = lr.shape[-2:]
        x = pad_to_multiple(lr, self.size_multiple)
        windows = partition(x.permute(0, 2, 3, 1), self.size_multiple)
        mixed = self.mix(windows.transpose(1, 2)).transpose(1, 2)
        x = x + window_merge(mixed, self.size_multiple, *x.shape[-2:]).permute(0, 3, 1, 2)
        hr = torch.nn.functional.pixel_shuffle(self.tail(x), self.scale)
        return hr[..., : height * self.scale, : width * self.scale]


def scattered(model: Any) -> Any:
    """With weights that leave no layer silent."""
    for parameter in model.parameters():
        parameter.data += 0.03 * torch.randn_like(parameter)
    return model.eval()


def assert_engines_agree(model: Any) -> None:
    ((_, load),) = networks_of(model).items()
    channels = model.channels + (model.guide_channels if isinstance(model, FusionModel) else 0)
    ours, theirs = (create_engine(load(), name, "fp32", "cpu") for name in ("openvino", "torch"))
    maps = np.random.default_rng(0).random((1, channels, 37, 50), np.float32)
    expected = theirs.run(maps)
    np.testing.assert_allclose(ours.run(maps), expected, atol=2e-5)
    assert expected.std() > 1e-4


@pytest.mark.parametrize(
    ("family", "config"), NETWORKS, ids=[f"{f} {c['window_size']}" for f, c in NETWORKS]
)
def test_a_network_of_any_window_runs_on_both_engines(
    family: str, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Graphs of these networks are of no use to others.
    monkeypatch.setattr("vernier.engines.openvino.conversion._is_ours", lambda model: False)
    torch.manual_seed(0)
    entry = family_entry(family)
    assert_engines_agree(scattered(build(entry.constructor(), 2, config, family)))


@pytest.mark.parametrize("window_size", [5, 12, 20])
def test_a_network_of_ones_own_with_any_window_runs_on_both_engines(window_size: int) -> None:
    torch.manual_seed(0)
    assert_engines_agree(scattered(OfSomebody(scale=2, window_size=window_size)))
