"""Whether GRLA's attention stays finite in training: precisions, and forms that are not sound."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.material import Settings, photograph
from benchmarks.report import Column, Section, Table
from vernier.io import Picture, write_picture
from vernier.models.layers import Model
from vernier.models.linear_attention import GRBFAttention
from vernier.training import network, trainer
from vernier.training.recipe import parse_recipe
from vernier.training.run_folder import RunFolder
from vernier.zoo import create_model

__all__ = ["run"]

_RAW_SECOND = {"order": 2, "normalise": False}
_HEALTHY_FROM = 100


@dataclass(frozen=True)
class _Arm:
    """``forced``: made first order after construction, because the constructor refuses it."""

    name: str
    precision: str = "fp32"
    overrides: Mapping[str, Any] | None = None
    forced: bool = False


_ARMS = (
    _Arm("first order, normalised, fp32"),
    _Arm("first order, normalised, bf16", precision="bf16"),
    _Arm("first order, normalised, fp16", precision="fp16"),
    _Arm("second order, not normalised, fp32", overrides=_RAW_SECOND),
    _Arm("first order, not normalised, fp32 (control)", overrides=_RAW_SECOND, forced=True),
)


def run(settings: Settings) -> Section:
    steps, side, batch = (3, 8, 2) if settings.quick else (2000, 24, 2)
    pictures = settings.data
    if pictures is None:
        pictures = settings.folder / "pictures"
        pictures.mkdir()
        write_picture(Picture(photograph(512, 512)), pictures / "photograph.png")
    rows = [_row(arm, steps, side, batch, pictures, settings.folder) for arm in _ARMS]
    columns = [
        Column("name", "attention, precision"),
        Column("steps", "steps"),
        Column("finite", "loss finite"),
        Column("last", "mean loss of the last 100 steps", "number"),
        Column("worst", f"largest loss after step {_HEALTHY_FROM}", "number"),
        Column("norm", f"largest gradient norm after step {_HEALTHY_FROM}", "tiny"),
        Column("left_out", "steps left out"),
    ]
    notes = [
        f"grla-s x2 from random weights, {steps:,} steps of {batch} crops of {side}x{side} LR "
        "pixels, Adam at 5e-4 throughout, L1 loss, no clipping of gradients; fp16 scales the loss "
        "and leaves out steps whose gradients overflow, as `vernier train` does. The control is "
        "what the constructor refuses: first order on raw queries and keys, whose weights "
        "1 + 2 gamma q.k turn negative, so that their sum, a denominator, passes through zero.",
        "Crops from "
        + ("the example photograph." if settings.data is None else "the training pictures."),
    ]
    return Section(
        "Stability of GRLA in training", notes, [Table("Losses", columns, rows)], timed=False
    )


def _row(
    arm: _Arm, steps: int, side: int, batch: int, pictures: Path, folder: Path
) -> dict[str, Any]:
    recipe = parse_recipe(
        {
            "name": arm.name.replace(" ", "-"),
            "output": str(folder / "runs"),
            "model": {"name": "grla-s", "scale": 2, "overrides": dict(arm.overrides or {})},
            "data": {"train": [str(pictures)], "patch_size": side, "batch_size": batch},
            "optimiser": {"learning_rate": 5e-4},
            "schedule": {"name": "constant"},
            "precision": arm.precision,
            "steps": steps,
            "log_every": 1,
            "accelerator": "cpu",
        },
        arm.name,
    )
    finite = "yes"
    with _unsound() if arm.forced else nullcontext():
        try:
            trainer.train(recipe)
        except trainer.TrainingError as error:
            finite = str(error).split(";")[0]
    losses, norms = zip(*_logged(RunFolder(Path(recipe.output) / recipe.name)), strict=True)
    start = min(_HEALTHY_FROM, len(losses) - 1)
    return {
        "name": arm.name,
        "steps": len(losses),
        "finite": finite,
        "last": statistics.fmean(losses[-100:]),
        "worst": max(losses[start:]),
        "norm": max(filter(math.isfinite, norms[start:])),
        "left_out": sum(not math.isfinite(norm) for norm in norms),
    }


def _logged(folder: RunFolder) -> Iterator[tuple[float, float]]:
    for line in folder.metrics.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        if "loss" in values:
            norm = values["gradient_norm"]
            yield values["loss"], math.nan if norm is None else norm


@contextmanager
def _unsound() -> Iterator[None]:
    def create(name: str, *, scale: int, **overrides: Any) -> Model:
        model = create_model(name, scale=scale, **overrides)
        for module in model.modules():
            if isinstance(module, GRBFAttention):
                module.order = 1
        return model

    with mock.patch.object(network, "create_model", create):
        yield
