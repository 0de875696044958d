"""The experiment book: variants of a recipe trained under equal budget, and the table of them."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from vernier.errors import InputError
from vernier.evaluation import PAPERS, evaluate, evaluate_fusion
from vernier.io.files import reason_of
from vernier.models.layers import FusionModel, Model
from vernier.tables import Format, Report, Table, write_together
from vernier.training.recipe import (
    NonNegativeInt,
    PositiveInt,
    Recipe,
    Strict,
    apply_override,
    flatten,
    parse_recipe,
    read_values,
    set_value,
    validate,
)
from vernier.training.run_folder import RunFolder
from vernier.training.trainer import train
from vernier.zoo import load_model
from vernier.zoo.complexity import complexity
from vernier.zoo.registry import get_entry

__all__ = ["AblationReport", "Arm", "Costs", "Experiment", "load_experiment", "run_experiment"]

# What an arm may not change, so that all have the same budget, data and chance.
_SHARED = ("steps", "data", "accumulate", "seed", "name", "output", "devices", "num_nodes")
_ROUNDS = 7
_RESULTS: dict[str, Format] = {
    "results.md": "markdown",
    "results.csv": "csv",
    "results.json": "json",
}


class Experiment(Strict):
    """An experiment file."""

    name: str
    """Its runs lie in ``output / name``."""
    question: str = ""
    """What it asks, in a sentence."""
    base: str
    """The recipe that all arms start from; a path relative to the experiment file."""
    shared: dict[str, Any] = Field(default_factory=dict)
    """Keys of the recipe, dotted or nested, that differ from the base in every arm: the budget."""
    arms: dict[str, dict[str, Any]]
    """Keys of the recipe in which each arm differs from the others."""
    seeds: list[NonNegativeInt] = Field(default_factory=lambda: [0])
    test: list[str]
    """Benchmark folders, or fusion files, on which all arms are measured."""
    lr_size: tuple[PositiveInt, PositiveInt] = (64, 64)
    """Height and width of the LR picture at which costs are told."""
    output: str = "runs"

    @property
    def folder(self) -> Path:
        """Where its runs and results lie."""
        return Path(self.output) / self.name

    @field_validator("arms")
    @classmethod
    def _fair(cls, arms: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if not arms:
            raise ValueError("an experiment needs arms")
        for arm, changes in arms.items():
            if not arm.replace("-", "").replace("_", "").replace(".", "").isalnum():
                raise ValueError(f"{arm!r} names a folder: use letters, digits and - _ .")
            for key in changes:
                if key.split(".")[0] in _SHARED:
                    raise ValueError(f"arm {arm} changes {key}, which all arms must share")
        return arms

    @field_validator("seeds", "test")
    @classmethod
    def _some(cls, values: list[Any]) -> list[Any]:
        if not values or len(set(values)) < len(values):
            raise ValueError("give at least one, each once")
        return values


def load_experiment(
    path: str | Path, overrides: Sequence[str] = ()
) -> tuple[Experiment, dict[str, list[Recipe]]]:
    """An experiment file with ``key=value`` overrides, and the recipes of each arm, one a seed.

    Raises:
        InputError: a file that cannot be read, or a key or value that does not fit.
    """
    path = Path(path)
    values = read_values(path)
    for override in overrides:
        apply_override(values, override)
    experiment = validate(Experiment, values, str(path))
    recipes: dict[str, list[Recipe]] = {}
    for arm, changes in experiment.arms.items():
        recipes[arm] = []
        for seed in experiment.seeds:
            resolved = read_values(path.parent / experiment.base)
            own = {
                "name": f"{arm}-{seed}",
                "output": str(Path(experiment.output) / experiment.name),
                "seed": seed,
            }
            changed = {**flatten(experiment.shared), **flatten(changes), **own}
            for key, value in changed.items():
                set_value(resolved, key, value)
            recipes[arm].append(parse_recipe(resolved, f"{path}, arm {arm}"))
    return experiment, recipes


@dataclass(frozen=True)
class Costs:
    """Of a network in the form that is executed, for one picture of the experiment's LR size.

    Attributes:
        parameters: all of them.
        macs: multiply-accumulates, those of attention included.
        seconds: median over rounds in which all arms take turns, torch on the device.
        memory: bytes that torch holds at most beside the weights.
    """

    parameters: int
    macs: int
    seconds: float
    memory: int


@dataclass(frozen=True)
class Arm:
    """A row: metric by metric one value a seed, and what the network costs (bicubic: nothing)."""

    name: str
    scores: Mapping[str, tuple[float, ...]]
    costs: Costs | None


@dataclass(frozen=True)
class AblationReport(Report):
    """What an experiment found; ``arms`` begins with bicubic."""

    experiment: Experiment
    steps: int
    batch_size: int
    arms: tuple[Arm, ...]
    protocol: str
    _spaced: ClassVar[bool] = True

    @property
    def caption(self) -> str:
        """How the figures came about."""
        seeds = len(self.experiment.seeds)
        spread = f"mean of {seeds} seeds, ± half of their range" if seeds > 1 else "one seed"
        height, width = self.experiment.lr_size
        question = f"{self.experiment.question} " if self.experiment.question else ""
        return (
            f"{question}{self.steps:,} steps of {self.batch_size} crops an arm; {spread}. "
            f"Costs at {width}x{height} LR pixels. {self.protocol}"
        )

    def shown(self) -> Table:
        """A row per arm: the mean of its seeds and half of their range, and its costs."""
        metrics = list(self.arms[0].scores)
        header = ["arm", *metrics, "parameters", "G MAC", "ms", "MiB"]
        rows = []
        for arm in self.arms:
            costs = ["", "", "", ""]
            if arm.costs is not None:
                costs = [
                    f"{arm.costs.parameters:,}",
                    f"{arm.costs.macs / 1e9:.3g}",
                    f"{1000 * arm.costs.seconds:.1f}",
                    f"{arm.costs.memory / 2**20:.1f}",
                ]
            rows.append([arm.name, *(_cell(name, arm.scores[name]) for name in metrics), *costs])
        return Table(header, rows)

    def records(self) -> Table:
        """A row per arm and seed."""
        metrics = list(self.arms[0].scores)
        rows: list[tuple[Any, ...]] = []
        for arm in self.arms:
            costs = ("",) * 4 if arm.costs is None else tuple(asdict(arm.costs).values())
            seeds = self.experiment.seeds if arm.costs is not None else [""]
            for i, seed in enumerate(seeds):
                rows.append((arm.name, seed, *(arm.scores[name][i] for name in metrics), *costs))
        columns = ("arm", "seed", *metrics, "parameters", "macs", "seconds", "memory_bytes")
        return Table(columns, rows)

    def document(self) -> dict[str, Any]:
        return {
            **self.experiment.model_dump(mode="json"),
            "steps": self.steps,
            "batch_size": self.batch_size,
            "protocol": self.protocol,
            "results": [
                {
                    "arm": arm.name,
                    "scores": arm.scores,
                    "costs": None if arm.costs is None else asdict(arm.costs),
                }
                for arm in self.arms
            ],
        }

    def write_results(self) -> list[Path]:
        """results.md, results.csv and results.json in the experiment's folder: all or none.

        Raises:
            InputError: a file cannot be written.
        """
        folder = self.experiment.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({reason_of(error)})") from error
        files = {folder / name: self.render(form) for name, form in _RESULTS.items()}
        write_together(files)
        return list(files)


def _cell(metric: str, values: Sequence[float]) -> str:
    digits = 4 if metric.endswith("SSIM") else 2
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {(max(values) - min(values)) / 2:.{digits}f}"


def run_experiment(
    experiment: Experiment,
    recipes: Mapping[str, Sequence[Recipe]],
    *,
    device: str | torch.device = "cpu",
    progress: Callable[[str], None] = lambda line: None,
) -> AblationReport:
    """Train what is not trained yet, measure what is not measured yet, and tell all of it.

    Runs that are finished are left alone, runs that were interrupted go on. All arms run with the
    first seed before one runs with the second.

    Args:
        experiment, recipes: of `load_experiment`.
        device: where arms are measured; the recipes say where they train.
        progress: called with a line before each step of the work.

    Raises:
        InputError: data or weights cannot be used, or a run of this name was of another recipe.
        TrainingError: an arm's loss is no longer finite.
    """
    scores: dict[str, list[dict[str, float]]] = {arm: [] for arm in recipes}
    bicubic: dict[str, float] = {}
    protocol = ""
    for index, seed in enumerate(experiment.seeds):
        for arm, own in recipes.items():
            recipe = own[index]
            folder = RunFolder(Path(recipe.output) / recipe.name)
            if not _finished(folder, recipe):
                progress(f"training {arm}, seed {seed}")
                train(recipe, resume=folder.recipe.exists())
            progress(f"measuring {arm}, seed {seed}")
            measured = _measured(folder, experiment.test, device)
            scores[arm].append(measured["model"])
            bicubic, protocol = measured["bicubic"], measured["protocol"]
    progress("measuring costs")
    models = {
        arm: load_model(RunFolder(Path(own[0].output) / own[0].name).weights)[0]
        for arm, own in recipes.items()
    }
    costs = _costs(models, experiment.lr_size, torch.device(device))
    first = next(iter(recipes.values()))[0]
    arms = [Arm("bicubic", {name: (value,) for name, value in bicubic.items()}, None)]
    for arm, each in scores.items():
        arms.append(Arm(arm, {k: tuple(s[k] for s in each) for k in bicubic}, costs[arm]))
    return AblationReport(experiment, first.steps, first.data.batch_size, tuple(arms), protocol)


def _finished(folder: RunFolder, recipe: Recipe) -> bool:
    if not folder.recipe.exists():
        return False
    folder.changes_for(recipe)
    if not (folder.weights.exists() and folder.last.exists()):
        return False
    return int(folder.load_checkpoint(folder.last)["step"]) >= recipe.steps


def _measured(folder: RunFolder, test: Sequence[str], device: str | torch.device) -> dict[str, Any]:
    """Scores of a run and of bicubic; kept in the run's folder until its weights change."""
    card = json.loads(folder.weights.with_suffix(".json").read_text(encoding="utf-8"))
    key = {"weights": card["sha256"], "test": list(test)}
    kept = folder.path / "scores.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        if found["key"] == key:
            return found
    colour = get_entry(card["name"]).facts.colour
    measure = _measure_fusion if colour == "cube" else _measure_pictures
    found = {"key": key, **measure(folder.weights, test, device)}
    folder.write_json("scores", found)
    return found


def _measure_pictures(
    weights: Path, test: Sequence[str], device: str | torch.device
) -> dict[str, Any]:
    report = evaluate([weights], test, device=device)

    def scores(model: str) -> dict[str, float]:
        return {
            f"{benchmark.name} {metric}": getattr(report.result(model, benchmark.name), attribute)
            for benchmark in report.benchmarks
            for metric, attribute in (("PSNR", "psnr"), ("SSIM", "ssim"))
        }

    name = next(result.model for result in report.results if result.model != "bicubic")
    crop = PAPERS.crop_for(report.scale)
    protocol = f"x{report.scale}, luma of results rounded to 8 bit, {crop} border pixels left out."
    return {"model": scores(name), "bicubic": scores("bicubic"), "protocol": protocol}


def _measure_fusion(
    weights: Path, test: Sequence[str], device: str | torch.device
) -> dict[str, Any]:
    report = evaluate_fusion([weights], test, device=device)

    def scores(method: str) -> dict[str, float]:
        result = report.result(method)
        return {metric.name: result.mean(metric.name) for metric in report.convention.metrics}

    name = report.results[-1].method
    return {"model": scores(name), "bicubic": scores("bicubic"), "protocol": report.caption}


def _costs(
    models: Mapping[str, Model], lr_size: tuple[int, int], device: torch.device
) -> dict[str, Costs]:
    """Networks take turns: a machine that is busy for a while slows all of them alike."""
    runs = {arm: _runner(model.eval().to(device), lr_size, device) for arm, model in models.items()}
    memory = {arm: _peak_memory(run, device) for arm, run in runs.items()}
    seconds: dict[str, list[float]] = {arm: [] for arm in runs}
    for _ in range(_ROUNDS):
        for arm, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[arm].append(time.perf_counter() - start)
    costs = {}
    for arm, model in models.items():
        counted = complexity(model, lr_size)
        costs[arm] = Costs(
            counted.parameters, counted.macs, statistics.median(seconds[arm]), memory[arm]
        )
    return costs


def _runner(model: Model, lr_size: tuple[int, int], device: torch.device) -> Callable[[], None]:
    height, width = lr_size
    inputs = [torch.rand(1, model.channels, height, width, device=device)]
    if isinstance(model, FusionModel):
        sides = (model.scale * height, model.scale * width)
        inputs.append(torch.rand(1, model.guide_channels, *sides, device=device))
        inputs.append(torch.rand(1, model.channels, *sides, device=device))

    @torch.inference_mode()
    def run() -> None:
        result: Tensor = model(*inputs)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        del result

    return run


def _peak_memory(run: Callable[[], None], device: torch.device) -> int:
    """Bytes that torch holds at most during the second run, beyond what it held before."""
    run()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    # Or the profiler announces itself on stderr.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    return max(_held(profiler), default=0)


def _held(profiler: Any) -> Iterator[int]:
    """Bytes in use after each allocation and release."""
    total = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            total += event.nbytes()
            yield total
