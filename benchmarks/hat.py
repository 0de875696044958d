"""HAT-S, HAT and HAT-L x4 on the CPU, against the textbook's arithmetic."""

from __future__ import annotations

import torch

from benchmarks.material import Settings
from benchmarks.networks import Built, Case, compare, picture
from benchmarks.report import Section
from benchmarks.textbook_hat import TextbookHAT
from vernier.models.hat import HAT
from vernier.zoo import create_model

__all__ = ["build", "run"]

SCALE = 4


def build(key: str) -> Built:
    """``key`` is "NAME SIDE", as "hat-s 64"."""
    name, side = key.split()
    torch.manual_seed(0)
    tiny = {"embed_dim": 24, "depths": [2], "num_heads": [3], "squeeze_factor": 6}
    overrides = tiny if name == "hat-tiny" else {}
    model = create_model("hat" if name == "hat-tiny" else name, scale=SCALE, **overrides).eval()
    assert isinstance(model, HAT)
    examples = [(picture(24, 32),), (picture(37, 19),)]
    return model, TextbookHAT(model), model, examples, picture(int(side), int(side))


def run(settings: Settings) -> Section:
    if settings.quick:
        cases = [Case("hat-tiny", "hat", "hat-tiny 20", 1)]
    else:
        sizes = [
            ("hat-s", 64, 5),
            ("hat-s", 128, 2),
            ("hat-s", 256, 0),
            ("hat", 64, 3),
            ("hat", 128, 2),
            ("hat", 256, 0),
            ("hat-l", 64, 2),
            ("hat-l", 128, 1),
            ("hat-l", 256, 0),
        ]
        cases = [
            Case(
                f"{name} x{SCALE}, {side}x{side}",
                "hat",
                f"{name} {side}",
                rounds=rounds,
                alone=not rounds,
            )
            for name, side, rounds in sizes
        ]
    note = (
        "Random weights (seed 0): times do not depend on them; differences do. Large inputs take "
        "fewer rounds, the largest one call each in a process of its own: that call finds nothing "
        "warm, and on OpenVINO compiles the network for this size."
    )
    return compare(f"HAT x{SCALE}", cases, [note], settings)
