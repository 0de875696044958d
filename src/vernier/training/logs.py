"""Where a run tells how it goes: ``metrics.jsonl``, TensorBoard, the console."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import yaml
from torch import Tensor

from vernier.extras import named_extras
from vernier.training.recipe import Recipe
from vernier.training.run_folder import RunFolder

__all__ = ["ConsoleLog", "Log", "Logs", "MetricsLog", "TensorBoardLog", "default_logs", "opened"]


class Log(Protocol):
    """What a run is told to; only the first process of a run has logs.

    A class that names `Log` as its base writes only the methods that it needs. Numbers may be
    infinite or NaN.
    """

    def open(self, folder: RunFolder, recipe: Recipe, step: int) -> None:
        """The run begins, or goes on, after ``step`` steps: what was logged later never was."""
        return

    def event(self, step: int, name: str, details: Mapping[str, Any]) -> None:
        """Something that happens once: "resume" with what changed, "init_from" with the layers."""
        return

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """How training goes since the last call: loss, learning rate, gradient norm, pace, ..."""
        return

    def scores(self, step: int, values: Mapping[str, float]) -> None:
        """The validation metrics of the averaged weights."""
        return

    def image(self, step: int, name: str, image: Tensor) -> None:
        """A validation picture, (C, H, W), C = 1 or 3; shown as [0, 1], which it may leave."""
        return

    def close(self) -> None:
        """The run ends, well or not."""
        return


class MetricsLog(Log):
    """Appends to ``metrics.jsonl`` in the run's folder."""

    def open(self, folder: RunFolder, recipe: Recipe, step: int) -> None:
        self.folder = folder
        folder.rewind_metrics(step)

    def event(self, step: int, name: str, details: Mapping[str, Any]) -> None:
        self.folder.append_metrics({"step": step, "event": name, **details})

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        # JSON knows no infinity, which a gradient norm in fp16 may be.
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self.folder.append_metrics({"step": step, **finite})

    def scores(self, step: int, values: Mapping[str, float]) -> None:
        self.scalars(step, values)


class TensorBoardLog(Log):
    """Writes into ``tensorboard/`` in the run's folder.

    Raises:
        MissingPackageError: TensorBoard is not installed.
    """

    def __init__(self) -> None:
        with named_extras():
            from torch.utils.tensorboard import SummaryWriter
        self._writer_of = SummaryWriter

    def open(self, folder: RunFolder, recipe: Recipe, step: int) -> None:
        # A killed run had logged more than it had saved: hide that.
        purge = step + 1 if step else None
        self.writer = self._writer_of(str(folder.tensorboard), purge_step=purge)
        configuration = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
        self.writer.add_text("configuration", f"```yaml\n{configuration}```", step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def scores(self, step: int, values: Mapping[str, float]) -> None:
        self.scalars(step, values)

    def image(self, step: int, name: str, image: Tensor) -> None:
        self.writer.add_image(name, image.clamp(0, 1), step)

    def close(self) -> None:
        self.writer.close()


class ConsoleLog(Log):
    """One line on stderr for each validation."""

    def scores(self, step: int, values: Mapping[str, float]) -> None:
        print(f"step {step}: {in_words(values)}", file=sys.stderr, flush=True)


class Logs(Log):
    """Several logs as one."""

    def __init__(self, logs: Sequence[Log]) -> None:
        self.logs = tuple(logs)

    def event(self, step: int, name: str, details: Mapping[str, Any]) -> None:
        for log in self.logs:
            log.event(step, name, details)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for log in self.logs:
            log.scalars(step, values)

    def scores(self, step: int, values: Mapping[str, float]) -> None:
        for log in self.logs:
            log.scores(step, values)

    def image(self, step: int, name: str, image: Tensor) -> None:
        for log in self.logs:
            log.image(step, name, image)


def default_logs(*, console: bool = True) -> list[Log]:
    """What a run logs to where the caller names nothing else.

    Args:
        console: tell each validation on stderr too.

    Raises:
        MissingPackageError: TensorBoard is not installed.
    """
    logs: list[Log] = [MetricsLog(), TensorBoardLog()]
    return [*logs, ConsoleLog()] if console else logs


@contextmanager
def opened(logs: Sequence[Log], folder: RunFolder, recipe: Recipe, step: int) -> Iterator[Logs]:
    """All of ``logs`` as one, opened, and closed in the end whatever happens."""
    with ExitStack() as stack:
        for log in logs:
            log.open(folder, recipe, step)
            stack.callback(log.close)
        yield Logs(logs)


def in_words(values: Mapping[str, float]) -> str:
    """Scores as a reader wants them: "psnr 34.86, ssim 0.9491"."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
