"""Picture and cube quality as pure functions, with the papers' protocols as defaults."""

from vernier.metrics.conventions import CONVENTIONS, Convention, Metric
from vernier.metrics.psnr import psnr
from vernier.metrics.spectral import (
    cc,
    cube_psnr,
    cube_ssim,
    ergas,
    q2n,
    rmse,
    sam,
    scc,
    uqi,
)
from vernier.metrics.ssim import ssim

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Metric",
    "cc",
    "cube_psnr",
    "cube_ssim",
    "ergas",
    "psnr",
    "q2n",
    "rmse",
    "sam",
    "scc",
    "ssim",
    "uqi",
]
