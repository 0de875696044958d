"""Many picture files: what becomes what, and reading, computing and writing at the same time."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vernier.errors import InputError, VernierError
from vernier.io import DEFAULT_MAX_PIXELS, PICTURE_SUFFIXES, Picture, read_picture, write_picture
from vernier.upscaling.upscaler import Progress, Upscaler

__all__ = ["Job", "Outcome", "Plan", "plan_jobs", "run_jobs"]

# Formats that are read, but not written: these become PNG.
_READ_ONLY = frozenset({".gif", ".heic", ".heif"})
_WRITABLE = PICTURE_SUFFIXES - _READ_ONLY
_WITHOUT_ALPHA = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
# Pictures decoded ahead, and pictures waiting to be encoded: enough to hide both, little memory.
_AHEAD = 2


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
    """What became of a job: a written picture's width and height, or an error's one line.

    ``notes`` says what of the picture the written file does not hold.
    """

    job: Job
    size: tuple[int, int] | None = None
    precision: str = ""
    seconds: float = 0.0
    error: VernierError | None = None
    notes: tuple[str, ...] = ()


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
    if suffix is not None and suffix not in _WRITABLE:
        raise InputError(f"cannot write {suffix}; choose one of {', '.join(sorted(_WRITABLE))}")
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
    if target.suffix.lower() not in _WRITABLE:
        raise InputError(
            f"{target}: cannot write {target.suffix}; choose one of {', '.join(sorted(_WRITABLE))}"
        )
    if suffix is not None and target.suffix.lower() != suffix:
        raise InputError(f"{target} does not end in {suffix}: leave one of the two out")
    if not target.parent.is_dir():
        raise InputError(f"{target.parent}: no such folder; create it first")
    return Job(source, target)


def _pictures(path: Path, output: Path, recursive: bool) -> tuple[list[tuple[Path, Path]], int]:
    """The pictures of an input, each with its path relative to it, and how many other files."""
    if not path.is_dir():
        return [(path, Path(path.name))], 0
    found, others = [], 0
    results = output.resolve()
    for file in sorted(path.rglob("*") if recursive else path.glob("*")):
        relative = file.relative_to(path)
        # A second run over a folder must not take the first one's results for new pictures.
        of_a_run = path.resolve() != results and file.resolve().is_relative_to(results)
        hidden = any(part.startswith(".") for part in relative.parts)
        if hidden or of_a_run or not file.is_file():
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
        suffix = relative.suffix if relative.suffix.lower() in _WRITABLE else ".png"
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


def run_jobs(
    upscaler: Upscaler,
    jobs: Sequence[Job],
    *,
    quality: int = 95,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """Read, upscale and write, one picture of each at a time, in the order of the jobs.

    A picture that fails yields its error and leaves no file; the others go on.

    Args:
        quality: see `vernier.io.write_picture`.
        max_pixels: see `vernier.io.read_picture`.
        progress: called with (tiles done, tiles) of the picture at hand, where it has tiles.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        waiting = iter(jobs)
        decoding: deque[tuple[Job, Future[Picture]]] = deque()
        encoding: deque[Future[Outcome]] = deque()

        def decode_ahead() -> None:
            while len(decoding) < _AHEAD and (job := next(waiting, None)):
                future = reader.submit(read_picture, job.source, max_pixels=max_pixels)
                decoding.append((job, future))

        decode_ahead()
        while decoding:
            job, decoded = decoding.popleft()
            start = time.perf_counter()
            try:
                picture = decoded.result()
                decode_ahead()
                result = upscaler.upscale(picture, progress=progress)
            except VernierError as error:
                decode_ahead()
                encoding.append(writer.submit(Outcome, job, error=error))
            else:
                precision = upscaler.precision(picture)
                encoding.append(writer.submit(_write, job, result, precision, start, quality))
            while len(encoding) >= _AHEAD:
                yield encoding.popleft().result()
        for written in encoding:
            yield written.result()


def _write(job: Job, picture: Picture, precision: str, start: float, quality: int) -> Outcome:
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        write_picture(picture, job.target, quality=quality)
    except VernierError as error:
        return Outcome(job, error=error)
    except OSError as error:
        return Outcome(job, error=InputError(f"{job.target.parent}: {error.strerror}"))
    seconds = time.perf_counter() - start
    size = (picture.width, picture.height)
    return Outcome(job, size, precision, seconds, notes=_losses(picture, job.target))


def _losses(picture: Picture, target: Path) -> tuple[str, ...]:
    losses = []
    if picture.frames > 1:
        losses.append("of several frames or pages only the first is upscaled")
    without_alpha = picture.has_alpha and target.suffix.lower() in _WITHOUT_ALPHA
    if without_alpha and (picture.pixels[..., -1] < picture.peak).any():
        losses.append("laid over white, for JPEG has no transparency; PNG, WebP and TIFF do")
    return tuple(losses)
