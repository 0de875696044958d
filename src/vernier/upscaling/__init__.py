"""Trained models on pictures: any size, depth and layout, on the fastest engine there is."""

from vernier.upscaling.files import (
    Job,
    Outcome,
    Plan,
    UpscaledFiles,
    plan_jobs,
    run_jobs,
    upscale_files,
)
from vernier.upscaling.sizes import Paper, Size
from vernier.upscaling.sources import picture_of
from vernier.upscaling.upscaler import Upscaled, Upscaler, upscale

__all__ = [
    "Job",
    "Outcome",
    "Paper",
    "Plan",
    "Size",
    "Upscaled",
    "UpscaledFiles",
    "Upscaler",
    "picture_of",
    "plan_jobs",
    "run_jobs",
    "upscale",
    "upscale_files",
]
