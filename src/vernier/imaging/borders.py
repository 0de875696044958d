"""Which pixels stand in for those beyond the border of an image.

`vernier.imaging.bicubic.taps` mirrors in the same way on NumPy arrays, as it must work without
torch.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mirrored", "reflected"]


def mirrored(index: Tensor, length: int) -> Tensor:
    """Any integer index -> 0 ... length - 1, the edge pixel repeated (.. 1 0 | 0 1 ..).

    NumPy calls it "symmetric"; MATLAB's ``imresize`` does it.
    """
    folded = index % (2 * length)
    return torch.minimum(folded, 2 * length - 1 - folded)


def reflected(index: Tensor, length: int) -> Tensor:
    """Any integer index -> 0 ... length - 1, the edge pixel not repeated (.. 2 1 | 0 1 2 ..).

    NumPy and torch call it "reflect". It goes to and fro as often as needed, so that one pixel
    suffices.
    """
    period = 2 * (length - 1) + (length == 1)
    folded = index % period
    return torch.where(folded < length, folded, period - folded)
