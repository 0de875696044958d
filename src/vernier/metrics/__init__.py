"""Picture quality as pure functions, with the papers' protocol as the default."""

from vernier.metrics.psnr import psnr
from vernier.metrics.ssim import ssim

__all__ = ["psnr", "ssim"]
