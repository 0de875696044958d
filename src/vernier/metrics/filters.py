"""Sliding windows that stay inside the picture."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["filter_valid", "gaussian_taps"]


def gaussian_taps(size: int, sigma: float) -> Tensor:
    """(size,) float64, of sum 1."""
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    taps = torch.exp(-(offsets**2) / (2 * sigma**2))
    return taps / taps.sum()


def filter_valid(x: Tensor, taps: Tensor) -> Tensor:
    """The same taps along both axes: (..., H, W) -> (..., H - n + 1, W - n + 1).

    Shifted sums: in float64 torch's convolution takes ten times as long.
    """
    first, *others = taps.tolist()
    for dim in (-2, -1):
        length = x.shape[dim] - len(taps) + 1
        total = first * x.narrow(dim, 0, length)
        for shift, weight in enumerate(others, start=1):
            total.add_(x.narrow(dim, shift, length), alpha=weight)
        x = total
    return x
