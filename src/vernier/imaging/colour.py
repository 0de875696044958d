"""BT.601 luma and chroma in the studio range that the super-resolution papers use.

Every function raises TypeError for an integer image and ValueError unless there are 3 channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vernier.imaging.bt601 import RGB_TO_YCBCR, YCBCR_OFFSET

__all__ = ["rgb_to_luma", "rgb_to_ycbcr", "ycbcr_to_rgb"]


def _check(image: Tensor) -> None:
    if not image.is_floating_point():
        raise TypeError(f"expected a floating-point image in [0, 1], got {image.dtype}")
    if image.ndim < 3 or image.shape[-3] != 3:
        raise ValueError(f"expected three channels (..., 3, H, W), got {tuple(image.shape)}")


def _matrix(like: Tensor) -> tuple[Tensor, Tensor]:
    matrix = torch.tensor(RGB_TO_YCBCR, dtype=torch.float64) / 255
    offset = torch.tensor(YCBCR_OFFSET, dtype=torch.float64) / 255
    return matrix.to(like), offset.to(like)


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """(..., 3, H, W) RGB in [0, 1] -> YCbCr, Y in [16/255, 235/255]; not rounded."""
    _check(rgb)
    matrix, offset = _matrix(rgb)
    return torch.einsum("ij,...jhw->...ihw", matrix, rgb) + offset[:, None, None]


def rgb_to_luma(rgb: Tensor) -> Tensor:
    """(..., 3, H, W) RGB in [0, 1] -> (..., 1, H, W) luma in [16/255, 235/255]; not rounded."""
    _check(rgb)
    matrix, offset = _matrix(rgb)
    return torch.einsum("j,...jhw->...hw", matrix[0], rgb).unsqueeze(-3) + offset[0]


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """(..., 3, H, W) YCbCr as `rgb_to_ycbcr` makes it -> RGB; exact inverse, not clipped."""
    _check(ycbcr)
    matrix = torch.tensor(RGB_TO_YCBCR, dtype=torch.float64) / 255
    _, offset = _matrix(ycbcr)
    inverse = torch.linalg.inv(matrix).to(ycbcr)
    return torch.einsum("ij,...jhw->...ihw", inverse, ycbcr - offset[:, None, None])
