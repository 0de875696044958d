"""BT.601 luma and chroma in the studio range that the super-resolution papers use, and what a
network of one colour reads of a picture of another.

`vernier.upscaling.pixels.compose` says the same in matrices, for engines that take pixels. The
conversions raise TypeError for an integer image and ValueError unless there are 3 channels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vernier.imaging.bt601 import RGB_TO_YCBCR, YCBCR_OFFSET
from vernier.imaging.resize import imresize

__all__ = [
    "PictureColour",
    "as_luma",
    "as_rgb",
    "from_colour",
    "rgb_to_luma",
    "rgb_to_ycbcr",
    "to_colour",
    "ycbcr_to_rgb",
]

PictureColour = Literal["luma", "rgb"]


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


def as_luma(picture: Tensor) -> Tensor:
    """(..., C, H, W) in [0, 1], C = 1 or 3 -> (..., 1, H, W). A gray picture is its own luma."""
    return picture if picture.shape[-3] == 1 else rgb_to_luma(picture)


def as_rgb(picture: Tensor) -> Tensor:
    """(..., C, H, W), C = 1 or 3, any type -> (..., 3, H, W): gray three times, without a copy.

    Raises:
        ValueError: another number of channels.
    """
    channels = picture.shape[-3]
    if channels not in (1, 3):
        raise ValueError(f"expected gray or RGB (..., C, H, W), got {tuple(picture.shape)}")
    return picture if channels == 3 else picture.expand(*picture.shape[:-3], 3, -1, -1)


def to_colour(picture: Tensor, colour: PictureColour) -> Tensor:
    """What a network of this colour reads: (..., C, H, W) in [0, 1], C = 1 or 3 -> its luma or RGB.

    A luma network reads gray as it is, an RGB network reads it three times.
    """
    return as_luma(picture) if colour == "luma" else as_rgb(picture)


def from_colour(result: Tensor, picture: Tensor) -> Tensor:
    """What a network made of `to_colour` of a picture, as gray or RGB like the picture.

    Args:
        result: (..., 1 or 3, H, W), the network's luma or RGB.
        picture: (..., C, h, w) in [0, 1], C = 1 or 3, of a size that divides the result's.

    Returns:
        (..., C, H, W), not clipped: luma gets the chroma of an RGB picture by MATLAB's bicubic;
        of the RGB that was made of a gray picture the mean is taken.
    """
    made, wanted = result.shape[-3], picture.shape[-3]
    if made == wanted:
        return result
    if wanted == 1:
        return result.mean(-3, keepdim=True)
    chroma = imresize(
        rgb_to_ycbcr(picture)[..., 1:, :, :], size=(result.shape[-2], result.shape[-1])
    )
    return ycbcr_to_rgb(torch.cat([result, chroma], dim=-3))
