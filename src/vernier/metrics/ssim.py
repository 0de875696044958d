"""Structural similarity."""

from __future__ import annotations

from torch import Tensor

from vernier.metrics.filters import filter_valid, gaussian_taps
from vernier.metrics.protocol import prepare

_WINDOW = 11
_SIGMA = 1.5


def ssim(
    prediction: Tensor,
    target: Tensor,
    *,
    crop: int,
    luma: bool = True,
    rounding: bool = True,
) -> Tensor:
    """Mean SSIM, one value per picture: 11x11 Gaussian window (sigma 1.5), valid region only.

    Args:
        prediction, target: (..., C, H, W) in [0, 1]; C = 3 (RGB) or 1 (gray, or luma already).
        crop, luma, rounding: as in `vernier.metrics.psnr`.

    Returns:
        (...), float64, at most 1. With ``luma=False`` the mean over channels.

    Raises:
        ValueError: see `vernier.metrics.protocol.prepare`, or fewer than 11 pixels a side
            are left after the crop.

    Source: Z. Wang et al., "Image quality assessment: from error visibility to structural
    similarity", IEEE TIP 2004, equation 13 with K1 = 0.01, K2 = 0.03.

    Example:
        >>> import torch
        >>> hr = torch.linspace(0, 1, 16).expand(1, 16, 16)
        >>> round(ssim(hr, hr, crop=2).item(), 6)
        1.0
        >>> round(ssim(0.5 * hr, hr, crop=2).item(), 3)
        0.647
    """
    a, b = prepare(prediction, target, luma=luma, crop=crop, rounding=rounding)
    if min(a.shape[-2:]) < _WINDOW:
        raise ValueError(
            f"SSIM needs {_WINDOW}x{_WINDOW} pixels after the crop, got {a.shape[-2]}x{a.shape[-1]}"
        )
    taps = gaussian_taps(_WINDOW, _SIGMA)
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = (
        filter_valid(x, taps) for x in (a, b, a * a, b * b, a * b)
    )
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    covariance = mean_ab - mean_a * mean_b
    variances = (mean_aa - mean_a**2) + (mean_bb - mean_b**2)
    score = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    score = score / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    return score.mean(dim=(-3, -2, -1))
