"""An 8-bit picture as bicubic and as networks enlarge it, for figures that compare them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vernier.imaging import imresize_uint8
from vernier.models.layers import Model
from vernier.upscaling import Upscaler

__all__ = ["bicubic", "upscaled"]


def bicubic(lr: Tensor, scale: int) -> Tensor:
    """MATLAB's bicubic of a picture of 8 bits, which rounds after each dimension.

    Args:
        lr: (C, h, w) in [0, 1], C = 1 or 3; rounded to 8 bits first.
        scale: 1 or more.

    Returns:
        (C, scale h, scale w) in [0, 1], of 8 bits.
    """
    return imresize_uint8(_uint8(lr), scale).float() / 255


def upscaled(model: Model, lr: Tensor, scale: int, device: str = "cpu") -> Tensor:
    """What torch makes of a picture of 8 bits in float32, rounded to 8 bits.

    `vernier upscale` writes the same with ``--engine torch --precision fp32``; by default it may
    take another engine and bfloat16, and then differs by a level here and there.

    Args:
        model: of ``scale``, for pictures.
        lr: (C, h, w) in [0, 1], C = 1 or 3; rounded to 8 bits first.
        device: where the model runs.

    Returns:
        (C, scale h, scale w) in [0, 1], of 8 bits.

    Raises:
        InputError: the model does not upscale pictures, or memory runs out.
    """
    upscaler = Upscaler(model, scale=scale, engine="torch", precision="fp32", device=device)
    pixels = np.ascontiguousarray(_uint8(lr).permute(1, 2, 0).numpy())
    return torch.from_numpy(upscaler.upscale_array(pixels)).permute(2, 0, 1).float() / 255


def _uint8(picture: Tensor) -> Tensor:
    return (picture * 255).round().to(torch.uint8)
