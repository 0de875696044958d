"""Plain versions of what Vernier computes, written from the definitions, to compare with."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["imresize", "imresize_uint8", "psnr", "ssim"]


def _keys(distance: Tensor) -> Tensor:
    """Keys' cubic kernel, a = -1/2."""
    x = distance.abs()
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, inner, torch.where(x < 2, outer, torch.zeros_like(x)))


def _resize_rows(image: Tensor, scale: float) -> Tensor:
    """Resize the rows of (..., H, W): for each tap, pick a row for every output row and add it."""
    height = image.shape[-2]
    out_height = math.ceil(height * scale)
    sharpness = min(1.0, scale)
    width = 4 / sharpness
    position = (torch.arange(out_height, dtype=torch.float64) + 0.5) / scale - 0.5
    start = torch.floor(position - width / 2).long()
    offsets = range(math.ceil(width) + 2)
    weights = [_keys(sharpness * (position - (start + tap))) for tap in offsets]
    total = torch.stack(weights).sum(0)
    result = torch.zeros(*image.shape[:-2], out_height, image.shape[-1], dtype=image.dtype)
    for tap in offsets:
        row = start + tap
        # Mirror as often as needed; the edge row repeats itself.
        row = torch.remainder(row, 2 * height)
        row = torch.where(row < height, row, 2 * height - 1 - row)
        weight = (weights[tap] / total).to(image.dtype)
        result += weight[:, None] * image[..., row, :]
    return result


def imresize(image: Tensor, scale: float) -> Tensor:
    """(..., H, W) floating point, rows first, then columns."""
    rows = _resize_rows(image, scale)
    return _resize_rows(rows.transpose(-1, -2), scale).transpose(-1, -2)


def imresize_uint8(image: Tensor, scale: float) -> Tensor:
    """(..., H, W) uint8, rounded half up after each dimension."""
    for _ in range(2):
        resized = _resize_rows(image.double(), scale)
        image = torch.floor(resized + 0.5).clamp(0, 255).to(torch.uint8).transpose(-1, -2)
    return image


def _luma(image: Tensor, crop: int) -> Tensor:
    """(3, H, W) in [0, 1] -> (H, W) float64 luma in 16..235, the border left out."""
    red, green, blue = image.double()[:, crop:-crop, crop:-crop]
    luma: Tensor = 65.481 * red + 128.553 * green + 24.966 * blue + 16
    return luma


def _eight_bits(image: Tensor) -> Tensor:
    return (image.double() * 255).round().clamp(0, 255) / 255


def psnr(prediction: Tensor, target: Tensor, crop: int) -> Tensor:
    error = _luma(_eight_bits(prediction), crop) - _luma(_eight_bits(target), crop)
    return 20 * torch.log10(255 / (error**2).mean().sqrt())


def ssim(prediction: Tensor, target: Tensor, crop: int) -> Tensor:
    """With the 11x11 window as one two-dimensional convolution, as most code has it."""
    a, b = (_luma(_eight_bits(image), crop)[None, None] for image in (prediction, target))
    line = torch.exp(-(torch.arange(-5, 6, dtype=torch.float64) ** 2) / (2 * 1.5**2))
    window = torch.outer(line, line)
    window = (window / window.sum())[None, None]

    mean_a, mean_b = F.conv2d(a, window), F.conv2d(b, window)
    variance_a = F.conv2d(a * a, window) - mean_a**2
    variance_b = F.conv2d(b * b, window) - mean_b**2
    covariance = F.conv2d(a * b, window) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    brightness = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return (brightness * structure).mean()
