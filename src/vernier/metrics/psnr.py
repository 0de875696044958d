"""Peak signal-to-noise ratio."""

from __future__ import annotations

import torch
from torch import Tensor

from vernier.metrics.protocol import prepare


def psnr(
    prediction: Tensor,
    target: Tensor,
    *,
    crop: int,
    luma: bool = True,
    rounding: bool = True,
) -> Tensor:
    """PSNR in dB with peak 255, one value per picture.

    Args:
        prediction, target: (..., C, H, W) in [0, 1]; C = 3 (RGB) or 1 (gray, or luma already).
        crop: pixels left out on every side; the papers crop ``scale``.
        luma: compare the BT.601 luma (the papers); False compares all channels together.
        rounding: round the prediction to 8 bit first (the papers).

    Returns:
        (...), float64; infinity for equal pictures.

    Raises:
        ValueError: see `vernier.metrics.protocol.prepare`.

    Example:
        >>> import torch
        >>> hr = torch.full((3, 16, 16), 0.5)
        >>> lighter = hr + 0.1
        >>> round(psnr(lighter, hr, crop=2, luma=False, rounding=False).item(), 4)
        20.0
    """
    a, b = prepare(prediction, target, luma=luma, crop=crop, rounding=rounding)
    mse = (a - b).square().mean(dim=(-3, -2, -1))
    return 10 * torch.log10(255.0**2 / mse)
