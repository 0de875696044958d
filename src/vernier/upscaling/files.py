"""Picture files and folders of them: what becomes what, and doing it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vernier.engines import EngineName, Precision
from vernier.errors import InputError, VernierError
from vernier.io import (
    DEFAULT_MAX_PIXELS,
    PICTURE_SUFFIXES,
    WRITABLE_SUFFIXES,
    Picture,
    read_picture,
    write_picture,
)
from vernier.io.files import check_target, keep_date, make_folder, protect, reason_of, visible_files
from vernier.progress import Progress
from vernier.upscaling.pipeline import Finished, run_pipeline
from vernier.upscaling.upscaler import TileSize, Upscaled, Upscaler, losses_of
from vernier.zoo.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Job", "Outcome", "Plan", "UpscaledFiles", "plan_jobs", "run_jobs", "upscale_files"]

_CHOICE = ", ".join(sorted(WRITABLE_SUFFIXES))
# Progress counts every picture as so many parts.
_PARTS = 100


@dataclass(frozen=True)
class Job:
    """One picture file to read, and the file to write."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Plan:
    """Jobs, and how many files were left out of folders because their suffix is no picture's."""

    jobs: list[Job]
    left_out: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a job: a written picture, or an error's one line.

    Attributes:
        job: the files.
        size: width and height of the written picture.
        precision: what the network was computed in.
        seconds: from when the picture was read.
        error: None where the picture was written.
        notes: of the result, see `vernier.upscaling.Upscaled`.
        losses: what of the picture the written file does not hold.
    """

    job: Job
    size: tuple[int, int] | None = None
    precision: Literal["fp32", "bf16"] | None = None
    seconds: float = 0.0
    error: VernierError | None = None
    notes: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()


@dataclass(frozen=True)
class UpscaledFiles:
    """What became of pictures and folders.

    Attributes:
        output: the file or the folder that was asked for.
        outcomes: of the pictures that were not left out, in order.
        skipped: pictures left out because their file was there already.
        left_out: files of folders left out because they are no pictures.
        how: the model, its scale and the engine; "" where nothing was done.
    """

    output: Path
    outcomes: tuple[Outcome, ...]
    skipped: int = 0
    left_out: int = 0
    how: str = ""

    @property
    def written(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.error is None)

    @property
    def errors(self) -> tuple[VernierError, ...]:
        return tuple(outcome.error for outcome in self.outcomes if outcome.error is not None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What should be known of the results: each sentence once, with the number of pictures."""
        if not self.outcomes:
            return ()
        notes = list(dict.fromkeys(note for outcome in self.written for note in outcome.notes))
        losses = Counter(loss for outcome in self.written for loss in outcome.losses)
        for loss, count in losses.items():
            notes.append(loss if self.is_single else f"{_counted(count, 'picture')}: {loss}")
        if self.left_out:
            notes.append(f"{_counted(self.left_out, 'file')} of other kinds left out")
        return tuple(notes)

    @property
    def is_single(self) -> bool:
        """Whether there was one picture in all."""
        return len(self.outcomes) + self.skipped == 1

    def __str__(self) -> str:
        """What was written where, by what."""
        skipped = f", {self.skipped} already there" if self.skipped else ""
        if not self.outcomes:
            return f"nothing to do{skipped}"
        if self.is_single and self.written:
            (one,) = self.written
            assert one.size
            width, height = one.size
            return f"{one.job.target}: {width}x{height}, {self.how} {one.precision}"
        return f"{self.output}: {_counted(len(self.written), 'picture')}{skipped}, {self.how}"


def plan_jobs(
    inputs: Sequence[Path], output: Path, *, recursive: bool = False, suffix: str | None = None
) -> Plan:
    """Pair every picture of ``inputs`` with the file to write.

    Args:
        inputs: files, which are taken whatever their name, and folders, of which only files with
            a picture's suffix are taken, hidden ones excepted.
        output: for a single file a file or a folder, otherwise a folder; need not exist.
        recursive: go into folders' folders; the tree is kept.
        suffix: of the files written to a folder, ".png" and the like; None keeps that of the
            source, where it can be written, else takes PNG.

    Raises:
        InputError: an input is missing, there is no picture, two inputs would become the same
            file, an input would be overwritten, or a file stands where a folder should.
    """
    if not inputs:
        raise InputError("nothing to upscale: name a picture file or a folder")
    if suffix is not None and suffix not in WRITABLE_SUFFIXES:
        raise InputError(
            f"cannot write {suffix}; choose one of {', '.join(sorted(WRITABLE_SUFFIXES))}"
        )
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    for folder in output.parents:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file, not a folder: choose another output")
    left_out = 0
    names_file = bool(output.suffix) and not output.is_dir()
    if len(inputs) == 1 and not inputs[0].is_dir() and names_file:
        jobs = [_single(inputs[0], output, suffix)]
    else:
        if output.exists() and not output.is_dir():
            raise InputError(f"{output} is a file; several pictures need a folder as output")
        if output.suffix.lower() in PICTURE_SUFFIXES and names_file:
            raise InputError(f"{output} names one picture; several need a folder as output")
        jobs = []
        for path in inputs:
            pictures, others = _pictures(path, output, recursive)
            jobs += [
                Job(source, output / _renamed(relative, suffix)) for source, relative in pictures
            ]
            left_out += others
    _refuse_collisions(jobs)
    return Plan(jobs, left_out)


def _single(source: Path, target: Path, suffix: str | None) -> Job:
    if target.suffix.lower() not in WRITABLE_SUFFIXES:
        raise InputError(f"{target}: cannot write {target.suffix}; choose one of {_CHOICE}")
    if suffix is not None and target.suffix.lower() != suffix:
        raise InputError(f"{target} does not end in {suffix}: leave one of the two out")
    check_target(target)
    protect([source], [target])
    return Job(source, target)


def _pictures(path: Path, output: Path, recursive: bool) -> tuple[list[tuple[Path, Path]], int]:
    """The pictures of an input, each with its path relative to it, and how many other files."""
    if not path.is_dir():
        return [(path, Path(path.name))], 0
    found, others = [], 0
    results = output.resolve()
    for file in visible_files(path, recursive=recursive):
        relative = file.relative_to(path)
        # A second run over a folder must not take the first one's results for new pictures.
        of_a_run = path.resolve() != results and file.resolve().is_relative_to(results)
        if of_a_run:
            continue
        if file.suffix.lower() in PICTURE_SUFFIXES:
            found.append((file, relative))
        else:
            others += 1
    if not found:
        hint = "" if recursive else "; its folders are left out without --recursive"
        raise InputError(f"{path}: no pictures in this folder{hint}")
    return found, others


def _renamed(relative: Path, suffix: str | None) -> Path:
    if suffix is None:
        suffix = relative.suffix if relative.suffix.lower() in WRITABLE_SUFFIXES else ".png"
    return relative.with_suffix(suffix)


def _refuse_collisions(jobs: list[Job]) -> None:
    sources = {job.source.resolve(): job.source for job in jobs}
    targets: dict[str, Job] = {}
    for job in jobs:
        if (target := job.target.resolve()) in sources:
            raise InputError(
                f"{job.target} would overwrite the input {sources[target]}: choose another output"
            )
        key = os.path.normcase(target)
        if key in targets:
            raise InputError(
                f"{targets[key].source} and {job.source} would both become {job.target}: "
                "run them into different folders"
            )
        targets[key] = job


def upscale_files(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    recursive: bool = False,
    skip_existing: bool = False,
    suffix: str | None = None,
    quality: int = 95,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    model: str | Path | nn.Module = DEFAULT_MODEL,
    scale: float | None = None,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    tile: TileSize = "auto",
    ensemble: bool = False,
    device: str | None = None,
    exact_tiles: bool = False,
    keep_dates: bool = False,
    progress: Progress | None = None,
) -> UpscaledFiles:
    """Upscale picture files and whole folders of them: what ``vernier upscale`` does.

    Args:
        inputs, output, recursive, suffix: see `plan_jobs`.
        skip_existing: leave out pictures whose file is there already.
        quality: see `vernier.io.write_picture`.
        max_pixels: see `vernier.io.read_picture`.
        model, scale, engine, precision, tile, ensemble, device, exact_tiles: see
            `vernier.Upscaler`.
        keep_dates: give every file that is written the date when its picture was last changed.
        progress: told hundredths of pictures, and the name of the one at hand.

    Returns:
        What became of each picture. One that fails is told with its error, and leaves no file.

    Raises:
        InputError: a setting that cannot be used, or see `plan_jobs`; nothing has been written.
    """
    plan = plan_jobs(
        [Path(each) for each in inputs], Path(output), recursive=recursive, suffix=suffix
    )
    jobs = [job for job in plan.jobs if not (skip_existing and job.target.exists())]
    skipped = len(plan.jobs) - len(jobs)
    if not jobs:
        return UpscaledFiles(Path(output), (), skipped, plan.left_out)
    upscaler = Upscaler(
        model,
        scale=scale,
        engine=engine,
        precision=precision,
        tile=tile,
        ensemble=ensemble,
        device=device,
        exact_tiles=exact_tiles,
    )
    outcomes = tuple(
        run_jobs(
            upscaler,
            jobs,
            quality=quality,
            max_pixels=max_pixels,
            keep_dates=keep_dates,
            progress=progress,
        )
    )
    how = f"{upscaler.name} x{upscaler.scale:g}, {upscaler.engine_name}"
    return UpscaledFiles(Path(output), outcomes, skipped, plan.left_out, how)


def run_jobs(
    upscaler: Upscaler,
    jobs: Sequence[Job],
    *,
    quality: int = 95,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    keep_dates: bool = False,
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """Read, upscale and write, one picture of each at a time, in the order of the jobs.

    A picture that fails, for whatever reason, yields its error and leaves no file; the others go
    on. Only an interruption ends them.

    Args:
        quality: see `vernier.io.write_picture`.
        max_pixels: see `vernier.io.read_picture`.
        keep_dates: see `upscale_files`.
        progress: told hundredths of pictures, and the name of the one at hand.
    """
    begun = 0

    def read(job: Job) -> Picture:
        return read_picture(job.source, max_pixels=max_pixels)

    def compute(job: Job, picture: Picture) -> tuple[Upscaled, float]:
        nonlocal begun
        start, before = time.perf_counter(), begun * _PARTS
        begun += 1

        def tell(done: int, total: int, _: str, /) -> None:
            if progress:
                parts = before + _PARTS * done // max(total, 1)
                progress(parts, _PARTS * len(jobs), job.source.name)

        tell(0, 1, "")
        return upscaler.upscale(picture, progress=tell), start

    def write(job: Job, computed: tuple[Upscaled, float]) -> Outcome:
        result, start = computed
        return _write(job, result, start, quality, keep_dates)

    for finished in run_pipeline(jobs, read, compute, write):
        yield _outcome(finished)
    if progress:
        progress(_PARTS * len(jobs), _PARTS * len(jobs), "")


def _write(job: Job, result: Upscaled, start: float, quality: int, keep_dates: bool) -> Outcome:
    make_folder(job.target.parent)
    picture = result.picture
    write_picture(picture, job.target, quality=quality)
    undated = keep_date(job.source, job.target) if keep_dates else ""
    return Outcome(
        job,
        (picture.width, picture.height),
        result.precision,
        time.perf_counter() - start,
        notes=result.notes,
        losses=(*losses_of(picture, job.target), *([undated] if undated else [])),
    )


def _outcome(finished: Finished[Job, Outcome]) -> Outcome:
    """What became of a job; what nobody foresaw is one line as well."""
    job, error = finished.item, finished.error
    if error is None:
        assert finished.result is not None
        return finished.result
    if not isinstance(error, VernierError):
        reason = reason_of(error).splitlines()[0]
        what = "not enough memory" if isinstance(error, MemoryError) else type(error).__name__
        told = InputError(f"{job.source}: {what} ({reason})")
        told.__cause__ = error
        error = told
    return Outcome(job, error=error)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
