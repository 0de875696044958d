"""What an evaluation of fusion found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from vernier.metrics.conventions import Convention
from vernier.tables import Format, Report, Table

__all__ = ["FusionData", "FusionReport", "FusionResult", "SceneScore"]

# Beyond that a table on the screen helps nobody; CSV and JSON have every scene.
_MOST_SCENES_SHOWN = 40


@dataclass(frozen=True)
class SceneScore:
    """One method on one scene.

    Attributes:
        scene: its name.
        values: by the name of the convention's metric.
        curves: one value per band: "psnr_db" (peak 1), "rmse", "cc".
        seconds: that the fusion took.
    """

    scene: str
    values: Mapping[str, float]
    curves: Mapping[str, tuple[float, ...]]
    seconds: float


@dataclass(frozen=True)
class FusionResult:
    """One method on every scene.

    Attributes:
        method: its name.
        scenes: in the order of the data.
        parameters, macs_per_pixel: of networks, in the form that is executed; multiply-accumulates
            per guide pixel at the scenes' size, at 16x16 coarse pixels where sizes differ.
    """

    method: str
    scenes: tuple[SceneScore, ...]
    parameters: int | None = None
    macs_per_pixel: float | None = None

    def mean(self, metric: str) -> float:
        return fmean(scene.values[metric] for scene in self.scenes)

    def median(self, metric: str) -> float:
        """NaN where a scene has none."""
        values = [scene.values[metric] for scene in self.scenes]
        return math.nan if any(map(math.isnan, values)) else median(values)

    def curve(self, name: str) -> tuple[float, ...]:
        """Mean over the scenes, a value per band; the scenes must have equally many bands."""
        each = [scene.curves[name] for scene in self.scenes]
        return tuple(fmean(values) for values in zip(*each, strict=True))

    @property
    def seconds(self) -> float:
        """Mean over the scenes."""
        return fmean(scene.seconds for scene in self.scenes)


@dataclass(frozen=True)
class FusionData:
    """Where scenes came from, which they are, how their inputs were made."""

    name: str
    scenes: tuple[str, ...]
    made: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FusionReport(Report):
    """Everything an evaluation found."""

    scale: int
    convention: Convention
    clamped: bool
    data: tuple[FusionData, ...]
    wavelengths: tuple[float, ...] | None
    results: tuple[FusionResult, ...]

    def result(self, method: str) -> FusionResult:
        """The result of one method; KeyError if there is none."""
        for result in self.results:
            if result.method == method:
                return result
        raise KeyError(method)

    @property
    def caption(self) -> str:
        """The protocol in one paragraph; no figure of ours is shown without it."""
        scenes = sum(len(data.scenes) for data in self.data)
        made = "; ".join(f"{data.name}: {data.made}" for data in self.data)
        return (
            f"x{self.scale}, {scenes} {'scene' if scenes == 1 else 'scenes'} ({made}). "
            f"Results {'clamped to [0, 1]' if self.clamped else 'not clamped'}; "
            f"{self.convention.definitions}; ratio {self.scale}."
        )

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(f"{data.name}: {note}" for data in self.data for note in data.notes)

    def curves(self) -> Table:
        """The curves over the bands: a row per method, scene (and their mean) and band."""
        names = tuple(self.results[0].scenes[0].curves)
        rows: list[tuple[Any, ...]] = []
        for result in self.results:
            whole = {name: result.curve(name) for name in names} if self._alike() else None
            each = [(scene.scene, scene.curves) for scene in result.scenes]
            for scene, curves in [*each, *([("mean", whole)] if whole else [])]:
                for band, values in enumerate(zip(*curves.values(), strict=True)):
                    nm = "" if self.wavelengths is None else self.wavelengths[band]
                    rows.append((result.method, scene, band + 1, nm, *values))
        return Table(("method", "scene", "band", "wavelength_nm", *names), rows, names=2)

    @classmethod
    def _beside(cls, path: Path, form: Format) -> list[Path]:
        """Beside a CSV, NAME-bands.csv gets the curves over the bands."""
        return [path.with_name(f"{path.stem}-bands{path.suffix}")] if form == "csv" else []

    def _contents(self, form: Format) -> list[str]:
        curves = [self.curves().csv()] if form == "csv" else []
        return [self.render(form), *curves]

    def _alike(self) -> bool:
        lengths = {len(s.curves["rmse"]) for result in self.results for s in result.scenes}
        return len(lengths) == 1

    def shown(self) -> Table:
        """Means first, then medians where they can differ, then scene by scene."""
        metrics = self.convention.metrics
        units = [f"{metric.name} {metric.unit}".strip() for metric in metrics]
        header = ["scene", "method", *units, "parameters", "MAC/pixel", "seconds"]

        names = [scene.scene for scene in self.results[0].scenes]
        rows = self._rows("mean", [(result.mean, result.seconds) for result in self.results])
        if len(names) > 2:
            medians = [(result.median, result.seconds) for result in self.results]
            rows += self._rows("median", medians)
        for i, name in enumerate(names if 1 < len(names) <= _MOST_SCENES_SHOWN else ()):
            own = [result.scenes[i] for result in self.results]
            rows += self._rows(name, [(scene.values.__getitem__, scene.seconds) for scene in own])
        return Table(header, rows, names=2)

    def _rows(
        self, name: str, figures: Sequence[tuple[Callable[[str], float], float]]
    ) -> list[list[str]]:
        """A row per method; ``figures`` has for each what a metric's value is, and the seconds."""
        return [
            [
                name,
                result.method,
                *(f"{value(m.name):.{m.digits}f}" for m in self.convention.metrics),
                "" if result.parameters is None else f"{result.parameters:,}",
                "" if result.macs_per_pixel is None else f"{result.macs_per_pixel:,.0f}",
                f"{seconds:.2f}",
            ]
            for result, (value, seconds) in zip(self.results, figures, strict=True)
        ]

    def records(self) -> Table:
        """A row per method and scene, and one for their mean."""
        metrics = [metric.name for metric in self.convention.metrics]
        settings = ("scale", "convention", "clamped", "definitions")
        columns = [_column(metric.name, metric.unit) for metric in self.convention.metrics]
        costs = ("seconds", "parameters", "macs_per_pixel")
        stated = (self.scale, self.convention.name, self.clamped, self.caption)
        rows: list[tuple[Any, ...]] = []
        for result in self.results:
            cost = ("" if c is None else c for c in (result.parameters, result.macs_per_pixel))
            shared = (*cost, *stated)
            for scene in result.scenes:
                values = (scene.values[metric] for metric in metrics)
                rows.append((result.method, scene.scene, *values, scene.seconds, *shared))
            means = (result.mean(metric) for metric in metrics)
            rows.append((result.method, "mean", *means, result.seconds, *shared))
        return Table(("method", "scene", *columns, *costs, *settings), rows, names=2)

    def document(self) -> dict[str, Any]:
        metrics = self.convention.metrics
        keys = {metric.name: _column(metric.name, metric.unit) for metric in metrics}

        return {
            "scale": self.scale,
            "protocol": {
                "convention": self.convention.name,
                "definitions": {keys[metric.name]: metric.definition for metric in metrics},
                "clamped": self.clamped,
                "text": self.caption,
            },
            "data": [
                {
                    "name": data.name,
                    "scenes": data.scenes,
                    "made": data.made,
                    "notes": data.notes,
                }
                for data in self.data
            ],
            "wavelengths_nm": self.wavelengths,
            "results": [
                {
                    "method": result.method,
                    "parameters": result.parameters,
                    "macs_per_pixel": result.macs_per_pixel,
                    "seconds": result.seconds,
                    "mean": {keys[m]: result.mean(m) for m in keys},
                    "median": {keys[m]: result.median(m) for m in keys},
                    "scenes": [
                        {
                            "scene": scene.scene,
                            **{keys[m]: scene.values[m] for m in keys},
                            "seconds": scene.seconds,
                            "bands": scene.curves,
                        }
                        for scene in result.scenes
                    ],
                }
                for result in self.results
            ],
        }


def _column(name: str, unit: str) -> str:
    return f"{name.lower()}_{unit.lower()}" if unit else name.lower()
