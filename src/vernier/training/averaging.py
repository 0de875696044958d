"""The moving average of a network, which is what is validated and kept."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["MovingAverage"]


class MovingAverage:
    """Moves the weights of one network, and the statistics of its batch norms, towards another's.

    Args:
        averaged: the network that is moved; it has the form of ``model``.
        model: the network that trains.
        decay: share of the average that a step keeps, once it is old enough; None: the average is
            the network as it is.
    """

    def __init__(self, averaged: nn.Module, model: nn.Module, decay: float | None) -> None:
        self.decay = decay
        # The tensors themselves: training changes them in place.
        pairs = list(zip(averaged.state_dict().values(), model.state_dict().values(), strict=True))
        self.moving = [pair for pair in pairs if pair[0].is_floating_point()]
        self.counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move after optimisation step ``step`` (from 1); young averages forget faster."""
        weight = 1.0 if self.decay is None else 1 - min(self.decay, (1 + step) / (10 + step))
        averages, present = zip(*self.moving, strict=True)
        torch._foreach_lerp_(averages, present, weight)
        for average, counter in self.counters:
            average.copy_(counter)
