"""The part of a fusion network that an engine runs, as a module."""

from __future__ import annotations

from torch import Tensor, nn

from vernier.models.layers import FusionModel

__all__ = ["Aligned"]


class Aligned(nn.Module):
    """``forward_aligned`` of a `vernier.models.layers.FusionModel`, which can be traced."""

    def __init__(self, network: FusionModel) -> None:
        super().__init__()
        self.network = network
        self.forward_aligned = network.forward_aligned

    def forward(self, both: Tensor) -> Tensor:
        """Upsampled cube and guide, (1, bands + guide channels, H, W) -> (1, bands, H, W)."""
        return self.forward_aligned(both)
