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
from vernier.upscaling.upscaler import Upscaled, Upscaler, upscale

__all__ = [
    "Job",
    "Outcome",
    "Plan",
    "Upscaled",
    "UpscaledFiles",
    "Upscaler",
    "plan_jobs",
    "run_jobs",
    "upscale",
    "upscale_files",
]
