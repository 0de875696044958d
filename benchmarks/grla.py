"""GRLA to 1280x720 on the CPU, against the textbook's arithmetic."""

from __future__ import annotations

import torch

from benchmarks.material import Settings
from benchmarks.networks import Built, Case, compare, picture
from benchmarks.report import Section
from benchmarks.textbook_grla import TextbookGRLA
from vernier.models.grla import GRLA
from vernier.zoo import create_model

__all__ = ["build", "run"]


def build(key: str) -> Built:
    """``key`` is "SCALE HEIGHT WIDTH" of the input, with "tiny" before it for a narrow network."""
    *tiny, scale, height, width = key.split()
    torch.manual_seed(0)
    overrides = {"num_features": 10, "num_blocks": 2} if tiny else {}
    model = create_model("grla", scale=int(scale), **overrides).eval()
    assert isinstance(model, GRLA)
    textbook = TextbookGRLA(
        model.state_dict(), scale=int(scale), num_blocks=model.config["num_blocks"]
    )
    deployed = model.deploy().eval()
    examples = [(picture(24, 32),), (picture(37, 19),)]
    return deployed, textbook, deployed, examples, picture(int(height), int(width))


def run(settings: Settings) -> Section:
    sizes = ["tiny 2 20 24"] if settings.quick else ["4 180 320", "2 360 640"]
    cases = [Case(f"grla, {_title(size)}", "grla", size, 5) for size in sizes]
    note = (
        "Random weights (seed 0): times do not depend on them; differences do. Batch norms are "
        "folded in all but the textbook."
    )
    return compare("GRLA", cases, [note], settings)


def _title(key: str) -> str:
    scale, height, width = map(int, key.split()[-3:])
    return f"x{scale} to {width * scale}x{height * scale}"
