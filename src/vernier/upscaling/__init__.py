"""Trained models on pictures: any size, depth and layout, on the fastest engine there is."""

from vernier.upscaling.files import Job, Outcome, Plan, plan_jobs, run_jobs
from vernier.upscaling.upscaler import Upscaler, upscale

__all__ = ["Job", "Outcome", "Plan", "Upscaler", "plan_jobs", "run_jobs", "upscale"]
