"""Learning-rate schedules: the factor as a pure function of the step."""

from __future__ import annotations

import math

from vernier.training.recipe import ScheduleRecipe

__all__ = ["learning_rate_factor"]


def learning_rate_factor(schedule: ScheduleRecipe, step: int, steps: int) -> float:
    """What the learning rate is multiplied by in optimisation step ``step`` (from 0) of ``steps``.

    A schedule that starts at ``start_step`` runs over the steps that are left from there.
    """
    since = max(0, step - schedule.start_step)
    remaining = max(1, steps - schedule.start_step)
    warmup = min(1.0, (since + 1) / schedule.warmup_steps) if schedule.warmup_steps else 1.0
    if schedule.name == "cosine":
        progress = min(1.0, since / remaining)
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return warmup * (schedule.minimum + (1 - schedule.minimum) * cosine)
    if schedule.name == "multi-step":
        passed = sum(since >= milestone for milestone in schedule.milestones)
        return warmup * schedule.gamma**passed
    return warmup
