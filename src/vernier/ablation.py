"""The experiment book: variants of a recipe trained under equal budget, and the table of them."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field, field_validator

from vernier.data.training_set import fingerprint
from vernier.evaluation import PAPERS, FusionReport, PictureReport, data_files, evaluate
from vernier.io.files import make_folder, protect
from vernier.progress import Progress
from vernier.tables import Format, Report, Table, write_together
from vernier.training.recipe import (
    NonNegativeInt,
    PositiveInt,
    Recipe,
    Strict,
    apply_override,
    beside,
    flatten,
    parse_recipe,
    read_values,
    set_value,
    validate,
    with_paths,
)
from vernier.training.run_folder import RunFolder
from vernier.training.trainer import train
from vernier.zoo import load_model
from vernier.zoo.own import with_file
from vernier.zoo.timing import Costs, measure_costs

__all__ = ["AblationReport", "Arm", "Experiment", "ablate", "load_experiment", "run_experiment"]

# What an arm may not change, so that all have the same budget, data and chance.
_SHARED = ("steps", "data", "accumulate", "seed", "name", "output", "devices", "num_nodes")
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
    """The recipe that all arms start from; a path from the experiment file, or from the working
    directory."""
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

    @property
    def results(self) -> list[Path]:
        """The files with what it found."""
        return [self.folder / name for name in _RESULTS]

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
    found = [beside(each, path) for each in experiment.test]
    experiment = experiment.model_copy(update={"test": found})
    base = base_of(path, experiment)
    recipes: dict[str, list[Recipe]] = {}
    for arm, changes in experiment.arms.items():
        recipes[arm] = []
        for seed in experiment.seeds:
            resolved = read_values(base)
            own = {
                "name": f"{arm}-{seed}",
                "output": str(Path(experiment.output) / experiment.name),
                "seed": seed,
            }
            changed = {**flatten(experiment.shared), **flatten(changes), **own}
            for key, value in changed.items():
                set_value(resolved, key, value)
            recipe = parse_recipe(resolved, f"{path}, arm {arm}")
            recipes[arm].append(with_paths(recipe, path, base))
    return experiment, recipes


def base_of(path: Path, experiment: Experiment) -> Path:
    """The recipe that an experiment file starts from: beside it, or from the working directory."""
    inside = path.parent / experiment.base
    there = os.path.lexists(inside) or not os.path.lexists(experiment.base)
    return inside if there else Path(experiment.base)


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
        """Write the experiment's `Experiment.results`, all or none, and name them.

        Raises:
            InputError: a file cannot be written.
        """
        make_folder(self.experiment.folder)
        texts = [self.render(form) for form in _RESULTS.values()]
        write_together(dict(zip(self.experiment.results, texts, strict=True)))
        return self.experiment.results


def _cell(metric: str, values: Sequence[float]) -> str:
    digits = 4 if metric.endswith("SSIM") else 2
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {(max(values) - min(values)) / 2:.{digits}f}"


def ablate(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> AblationReport:
    """Train and measure the arms of an experiment, and write how they compare beside the runs.

    Runs that are finished are left alone, runs that were interrupted go on.

    Args:
        path: the experiment, a YAML file, see `Experiment`.
        overrides: ``key=value``, such as ``shared.steps=500``.
        device: where arms are measured; the recipes say where they train.
        progress: called before each step of the work.

    Returns:
        What was found; ``experiment.results`` of it are the files that were written.

    Raises:
        InputError: a file cannot be read, a key does not fit, data or weights cannot be used, a run
            of this name was of another recipe, or the results would overwrite what is read.
        TrainingError: an arm's loss is no longer finite.

    Example:
        >>> report = ablate("experiment.yaml", ["seeds=[0]"])
        >>> [arm.name for arm in report.arms]
        ['bicubic', 'three', 'four']
    """
    experiment, recipes = load_experiment(path, overrides)
    first = next(iter(recipes.values()))[0]
    read = data_files(experiment.test, first.model.scale)
    base = base_of(Path(path), experiment)
    protect([Path(path), base, *read], experiment.results)
    report = run_experiment(experiment, recipes, device=device, progress=progress)
    report.write_results()
    return report


def run_experiment(
    experiment: Experiment,
    recipes: Mapping[str, Sequence[Recipe]],
    *,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> AblationReport:
    """Train what is not trained yet, measure what is not measured yet, and tell all of it.

    All arms run with the first seed before one runs with the second. Scores are kept beside a run
    until its weights or the content of the test data change.

    Args:
        experiment, recipes: of `load_experiment`.
        device, progress: as for `ablate`.

    Raises:
        InputError: data or weights cannot be used, or a run of this name was of another recipe.
        TrainingError: an arm's loss is no longer finite.
    """
    first = next(iter(recipes.values()))[0]
    data = fingerprint(data_files(experiment.test, first.model.scale)).sha256
    total = 2 * len(recipes) * len(experiment.seeds) + 1
    done = 0

    def tell(what: str) -> None:
        if progress is not None:
            progress(done, total, what)

    scores: dict[str, list[dict[str, float]]] = {arm: [] for arm in recipes}
    bicubic: dict[str, float] = {}
    protocol = ""
    for index, seed in enumerate(experiment.seeds):
        for arm, own in recipes.items():
            recipe = own[index]
            folder = RunFolder(Path(recipe.output) / recipe.name)
            if not _finished(folder, recipe):
                tell(f"training {arm}, seed {seed}")
                train(recipe, resume=folder.recipe.exists())
            done += 1
            tell(f"measuring {arm}, seed {seed}")
            measured = _measured(folder, _trained(recipe, folder), experiment.test, data, device)
            done += 1
            scores[arm].append(measured["model"])
            bicubic, protocol = measured["bicubic"], measured["protocol"]
    tell("measuring costs")
    models = {
        arm: load_model(_trained(own[0], RunFolder(Path(own[0].output) / own[0].name)))[0]
        for arm, own in recipes.items()
    }
    costs = measure_costs(models, experiment.lr_size, device)
    arms = [Arm("bicubic", {name: (value,) for name, value in bicubic.items()}, None)]
    for arm, each in scores.items():
        arms.append(Arm(arm, {k: tuple(s[k] for s in each) for k in bicubic}, costs[arm]))
    return AblationReport(experiment, first.steps, first.data.batch_size, tuple(arms), protocol)


def _finished(folder: RunFolder, recipe: Recipe) -> bool:
    if not folder.recipe.exists():
        return False
    folder.changes_for(recipe)
    if not (folder.finished and folder.last.exists()):
        return False
    return int(folder.load_checkpoint(folder.last)["step"]) >= recipe.steps


def _trained(recipe: Recipe, folder: RunFolder) -> str:
    return with_file(recipe.model.name, folder.weights)


def _measured(
    folder: RunFolder, model: str, test: Sequence[str], data: str, device: str | torch.device
) -> dict[str, Any]:
    """Scores of a run and of bicubic; kept in the run's folder until its weights or data change."""
    card = json.loads(folder.weights.with_suffix(".json").read_text(encoding="utf-8"))
    key = {"weights": card["sha256"], "test": list(test), "data": data}
    kept = folder.path / "scores.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        if found["key"] == key:
            return found
    report = evaluate([model], test, device=device)
    if isinstance(report, PictureReport):
        scores = _scores_on_pictures(report)
    else:
        scores = _scores_on_cubes(report)
    found = {"key": key, **scores}
    folder.write_json("scores", found)
    return found


def _scores_on_pictures(report: PictureReport) -> dict[str, Any]:
    def scores(model: str) -> dict[str, float]:
        return {
            f"{benchmark.name} {metric}": getattr(report.result(model, benchmark.name), attribute)
            for benchmark in report.benchmarks
            for metric, attribute in (("PSNR", "psnr"), ("SSIM", "ssim"))
        }

    crop = PAPERS.crop_for(report.scale)
    protocol = f"x{report.scale}, luma of results rounded to 8 bit, {crop} border pixels left out."
    model = report.results[-1].model
    return {"model": scores(model), "bicubic": scores("bicubic"), "protocol": protocol}


def _scores_on_cubes(report: FusionReport) -> dict[str, Any]:
    def scores(method: str) -> dict[str, float]:
        result = report.result(method)
        return {metric.name: result.mean(metric.name) for metric in report.convention.metrics}

    method = report.results[-1].method
    return {"model": scores(method), "bicubic": scores("bicubic"), "protocol": report.caption}
