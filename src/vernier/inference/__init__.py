"""Trained models on pictures: any size, depth and layout, on the fastest engine there is."""

from vernier.inference.batch import Job, Outcome, plan_jobs, run_jobs
from vernier.inference.upscaler import DEFAULT_MODEL, Upscaler, upscale

__all__ = ["DEFAULT_MODEL", "Job", "Outcome", "Upscaler", "plan_jobs", "run_jobs", "upscale"]
