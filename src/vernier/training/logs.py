"""Where a run tells how it goes: ``metrics.jsonl``, TensorBoard, the console."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import yaml
from torch import Tensor

from vernier.extras import named_extras
from vernier.training.recipe import Recipe
from vernier.training.run_folder import RunFolder

__all__ = [
    "ConsoleLog",
    "Log",
    "Logs",
    "MetricsLog",
    "ResumeLog",
    "TensorBoardLog",
    "default_logs",
    "opened",
]


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


class ResumeLog(Log):
    """One line on stderr where a run goes on, or could not."""

    def event(self, step: int, name: str, details: Mapping[str, Any]) -> None:
        if name == "resume":
            goes_on = f"goes on from step {step}"
            nothing = "no checkpoint was written yet: the run begins at step 0 again"
            print(goes_on if step else nothing, file=sys.stderr, flush=True)


class ConsoleLog(ResumeLog):
    """Lines on stderr: how training goes, at most every few seconds, and each validation.

    Args:
        interval: seconds between two lines of how training goes.
    """

    def __init__(self, interval: float = 30.0) -> None:
        self.interval = interval
        self._next = -math.inf

    def open(self, folder: RunFolder, recipe: Recipe, step: int) -> None:
        self._steps = recipe.steps

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        now = time.monotonic()
        # The last step has its own line, or its validation's.
        if now < self._next or step == self._steps:
            return
        self._next = now + self.interval
        left = (self._steps - step) * values["seconds_per_step"]
        print(
            f"step {step} of {self._steps}: loss {values['loss']:.5f}, {_duration(left)} left",
            file=sys.stderr,
            flush=True,
        )

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
        console: tell how training goes and each validation on stderr too.

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


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def in_words(values: Mapping[str, float]) -> str:
    """Scores as a reader wants them: "psnr 34.86, ssim 0.9491"."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
