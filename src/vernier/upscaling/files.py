"""Picture files and folders of them: what becomes what, and doing it."""

from __future__ import annotations

import errno
import os
import sys
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
    encode_picture,
    read_picture,
    write_picture,
)
from vernier.io.files import (
    check_target,
    keep_date,
    list_folder,
    new_folders,
    protect,
    reason_of,
    shown,
)
from vernier.io.picture_formats import FORMATS, check_sides, format_of_suffix
from vernier.progress import Progress
from vernier.upscaling.pipeline import Finished, run_pipeline
from vernier.upscaling.sizes import Size
from vernier.upscaling.upscaler import TileSize, Upscaled, Upscaler, losses_of
from vernier.zoo.networks import networks_of
from vernier.zoo.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "STDIN",
    "STDOUT",
    "Job",
    "Outcome",
    "Plan",
    "UpscaledFiles",
    "plan_jobs",
    "run_jobs",
    "upscale_files",
]

STDIN, STDOUT = Path("/dev/stdin"), Path("/dev/stdout")
"""What "-" names; on every system, for nothing is opened by these names."""

_CHOICE = ", ".join(sorted(WRITABLE_SUFFIXES))
# Of files that are no pictures, or none that can be written: others with digits are a year, or the
# like.
_FORMATS_WITH_DIGITS = frozenset({".cr2", ".cr3", ".rw2", ".mp4", ".m4v", ".3gp"})
# Bytes that file systems take; where the folder is missing they do not say so before it is made.
_LONGEST_NAME = 255
# Progress counts every picture as so many parts.
_PARTS = 100


@dataclass(frozen=True)
class Job:
    """One picture file to read, and the file to write.

    Attributes:
        source: `STDIN` is the standard input.
        target: `STDOUT` is the standard output.
        suffix: of what is written to the standard output; None keeps the format of the source.
    """

    source: Path
    target: Path
    suffix: str | None = None


@dataclass(frozen=True)
class Plan:
    """Jobs, and what of folders is in none of them.

    Attributes:
        jobs: in order.
        left_out: files whose suffix is no picture's.
        folders: folders' folders that were not gone into.
        broken: links that lead nowhere.
        renamed: the first target that has the old suffix in its name too, because another picture
            has the same name without it.
    """

    jobs: list[Job]
    left_out: int = 0
    folders: int = 0
    broken: int = 0
    renamed: Path | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        notes = []
        if self.renamed:
            notes.append(
                "pictures that would have the same name keep the old suffix in it, as "
                f"{self.renamed.name} does"
            )
        if self.left_out:
            notes.append(f"{_counted(self.left_out, 'file')} of other kinds left out")
        if self.folders:
            notes.append(f"{_counted(self.folders, 'folder')} left out; -r goes into them")
        if self.broken:
            notes.append(f"{_counted(self.broken, 'link')} passed over, leading nowhere")
        return tuple(notes)


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
        output: the file or the folder that was asked for; None where none was.
        outcomes: of the pictures that were not left out, in order.
        skipped: pictures left out because their file was there already.
        left_out: files of folders left out because they are no pictures.
        of_folders: what should be known of the folders that were looked through.
        how: the model, its scale, its file if it has one of its own, and the engine; "" where
            nothing was done.
    """

    output: Path | None
    outcomes: tuple[Outcome, ...]
    skipped: int = 0
    left_out: int = 0
    of_folders: tuple[str, ...] = ()
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
        return (*notes, *self.of_folders)

    @property
    def is_single(self) -> bool:
        """Whether there was one picture in all."""
        return len(self.outcomes) + self.skipped == 1

    @property
    def is_on_stdout(self) -> bool:
        """Whether the picture went to the standard output."""
        return any(outcome.job.target == STDOUT for outcome in self.outcomes)

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
        place = self.output or "beside the input"
        return f"{place}: {_counted(len(self.written), 'picture')}{skipped}, {self.how}"


def plan_jobs(
    inputs: Sequence[str | Path],
    output: str | Path | None = None,
    *,
    recursive: bool = False,
    suffix: str | None = None,
    label: str = "x2",
) -> Plan:
    """Pair every picture of ``inputs`` with the file to write.

    Args:
        inputs: files, which are taken whatever their name, and folders, of which only files with
            a picture's suffix are taken, hidden ones excepted. "-" is the standard input.
        output: for a single file a file or a folder, otherwise a folder; need not exist. A name
            that ends with a slash, or has no suffix of letters, is a folder's. "-" is the standard
            output. None writes beside the input: of photo.jpg photo-x2.jpg, of a folder a folder.
        recursive: go into folders' folders, also where links lead to one; the tree is kept.
        suffix: of the files written to a folder, ".png" and the like; None keeps that of the
            source, where it can be written, else takes PNG.
        label: what names get where there is no output.

    Raises:
        InputError: an input is missing, there is no picture, two inputs would become the same
            file, an input would be overwritten, or a file stands where a folder should.
    """
    if not inputs:
        raise InputError("nothing to upscale: name a picture file or a folder")
    if suffix is not None and suffix not in WRITABLE_SUFFIXES:
        raise InputError(f"cannot write {suffix}; choose one of {_CHOICE}")
    sources = [STDIN if str(path) == "-" else Path(path) for path in inputs]
    for path in sources:
        if path != STDIN and not _exists(path):
            raise InputError(f"{shown(path)}: no such file or folder")
    if output is None:
        return _beside(sources, recursive, suffix, label)
    target = STDOUT if str(output) == "-" else Path(output)
    is_single = len(sources) == 1 and not sources[0].is_dir()
    if target == STDOUT:
        if not is_single:
            raise InputError("the standard output takes one picture; several need a folder")
        return Plan([Job(sources[0], STDOUT, suffix)])
    _refuse_files_as_folders(target)
    names_file = _names_file(output)
    if is_single and names_file:
        return Plan([_single(sources[0], target, suffix)])
    if _exists(target) and not target.is_dir():
        raise InputError(f"{shown(target)} is a file; several pictures need a folder as output")
    if target.suffix.lower() in PICTURE_SUFFIXES and names_file:
        raise InputError(f"{shown(target)} names one picture; several need a folder as output")
    found = [_pictures(path, target, recursive) for path in sources]
    jobs = [
        Job(source, target / _renamed(relative, suffix))
        for each in found
        for source, relative in each.pictures
    ]
    return _distinct(jobs, found)


def _beside(sources: list[Path], recursive: bool, suffix: str | None, label: str) -> Plan:
    """The plan where no output was named."""
    jobs, found = [], []
    for path in sources:
        if path == STDIN:
            if len(sources) > 1:
                raise InputError("the standard input goes to the standard output, by itself")
            return Plan([Job(STDIN, STDOUT, suffix)])
        if path.is_dir():
            folder = _real(path)
            results = folder.with_name(f"{folder.name}-{label}")
            if not path.is_absolute() and path.name:
                results = path.with_name(results.name)
            _refuse_files_as_folders(results / "any")
            found.append(_pictures(path, results, recursive))
            jobs += [
                Job(source, results / _renamed(relative, suffix))
                for source, relative in found[-1].pictures
            ]
        else:
            renamed = _renamed(Path(path.name), suffix)
            jobs.append(Job(path, path.with_name(f"{renamed.stem}-{label}{renamed.suffix}")))
    return _distinct(jobs, found)


def _names_file(output: str | Path) -> bool:
    """Whether an output is a file's name, and not a folder's."""
    text = os.fspath(output)
    if text.endswith(("/", os.sep)) or Path(text).is_dir():
        return False
    suffix = Path(text).suffix.lower()
    # A version or a year, as in results.2024, is no format.
    is_known = format_of_suffix(suffix) is not None or suffix in _FORMATS_WITH_DIGITS
    return is_known or suffix[1:].isalpha()


def _exists(path: Path) -> bool:
    """Whether there is such a file or folder.

    Raises:
        InputError: there can be none of this name.
    """
    try:
        if any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return path.exists()
    # Python up to 3.12 reports links in a circle with a RuntimeError.
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{shown(path)}: cannot be used ({reason_of(error)})") from None


def _refuse_files_as_folders(output: Path) -> None:
    _exists(output)
    for folder in output.parents:
        if _exists(folder) and not folder.is_dir():
            raise InputError(f"{shown(folder)} is a file, not a folder: choose another output")


def _single(source: Path, target: Path, suffix: str | None) -> Job:
    chosen = format_of_suffix(target.suffix)
    if chosen is None or not chosen.is_written:
        raise InputError(
            f"{shown(target)}: cannot write {target.suffix}; choose one of {_CHOICE}, or end the "
            "name with a slash if it is a folder's"
        )
    if suffix is not None and format_of_suffix(suffix) != chosen:
        raise InputError(f"{shown(target)} does not end in {suffix}: leave one of the two out")
    _exists(target)
    # Folders that are not there yet are made when the picture is written.
    if target.parent.is_dir():
        check_target(target)
    protect([source], [target])
    return Job(source, target)


@dataclass(frozen=True)
class _Found:
    """The pictures of an input, each with its path relative to it, and what else was there."""

    pictures: list[tuple[Path, Path]]
    others: int = 0
    folders: int = 0
    broken: int = 0


def _pictures(path: Path, output: Path, recursive: bool) -> _Found:
    if not path.is_dir():
        return _Found([(path, Path(path.name))])
    listing = list_folder(path, recursive=recursive, follow_links=True)
    results = _real(output)
    is_inside = _real(path) != results

    def of_a_run(found: Path) -> bool:
        # A second run over a folder must not take the first one's results for new pictures.
        return is_inside and _real(found).is_relative_to(results)

    files = [file for file in listing.files if not of_a_run(file)]
    pictures = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
    if not pictures:
        hint = "" if recursive else "; its folders are left out without --recursive"
        raise InputError(f"{shown(path)}: no pictures in this folder{hint}")
    return _Found(
        [(file, file.relative_to(path)) for file in pictures],
        len(files) - len(pictures),
        sum(not of_a_run(folder) for folder in listing.folders),
        len(listing.broken),
    )


def _renamed(relative: Path, suffix: str | None) -> Path:
    if suffix is None:
        suffix = relative.suffix if relative.suffix.lower() in WRITABLE_SUFFIXES else ".png"
    if relative.suffix.lower() in PICTURE_SUFFIXES:
        return relative.with_suffix(suffix)
    # What follows the dot in photo.2024 is part of the name.
    return relative.with_name(relative.name + suffix)


def _distinct(jobs: list[Job], found: list[_Found]) -> Plan:
    """The plan of jobs whose targets differ, from one another and from what is read."""
    count = Counter(_key(job.target) for job in jobs)
    renamed = None
    told: list[Job] = []
    for job in jobs:
        target = job.target
        if count[_key(target)] > 1 and job.source.suffix != target.suffix:
            # a.jpg beside a.png becomes a.jpg.png; of photo-x2.png, the label stays at the end.
            ending = target.stem.removeprefix(job.source.stem)
            target = target.with_name(f"{job.source.name}{ending}{target.suffix}")
            renamed = renamed or target
        told.append(Job(job.source, target, job.suffix))
    _refuse_collisions(told)
    return Plan(
        told,
        sum(each.others for each in found),
        sum(each.folders for each in found),
        sum(each.broken for each in found),
        renamed,
    )


def _real(path: Path) -> Path:
    # Path.resolve raises at links in a circle, in some versions.
    return Path(os.path.realpath(path))


def _key(path: Path) -> str:
    return os.path.normcase(_real(path))


def _refuse_collisions(jobs: list[Job]) -> None:
    sources = {_real(job.source): job.source for job in jobs}
    targets: dict[str, Job] = {}
    for job in jobs:
        if (target := _real(job.target)) in sources:
            raise InputError(
                f"{shown(job.target)} would overwrite the input {shown(sources[target])}: "
                "choose another output"
            )
        key = _key(job.target)
        if key in targets:
            raise InputError(
                f"{shown(targets[key].source)} and {shown(job.source)} would both become "
                f"{shown(job.target)}: run them into different folders"
            )
        targets[key] = job


def upscale_files(
    inputs: Sequence[str | Path],
    output: str | Path | None = None,
    *,
    recursive: bool = False,
    skip_existing: bool = False,
    suffix: str | None = None,
    quality: int = 95,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    model: str | Path | nn.Module = DEFAULT_MODEL,
    scale: float | None = None,
    size: Size | None = None,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    tile: TileSize = "auto",
    ensemble: bool = False,
    device: str | None = None,
    exact_tiles: bool = False,
    threads: int | None = None,
    keep_dates: bool = False,
    progress: Progress | None = None,
) -> UpscaledFiles:
    """Upscale picture files and whole folders of them: what ``vernier upscale`` does.

    Args:
        inputs, output, recursive, suffix: see `plan_jobs`. Without an output no file is replaced.
        skip_existing: leave out pictures whose file is there already.
        quality: see `vernier.io.write_picture`.
        max_pixels: see `vernier.io.read_picture`.
        model, scale, size, engine, precision, tile, ensemble, device, exact_tiles, threads: see
            `vernier.Upscaler`.
        keep_dates: give every file that is written the date when its picture was last changed.
        progress: told hundredths of pictures, and the name of the one at hand.

    Returns:
        What became of each picture. One that fails is told with its error, and leaves no file.

    Raises:
        InputError: a setting that cannot be used, or see `plan_jobs`; nothing has been written.
    """
    label = size.label if size else f"x{scale:g}" if isinstance(scale, int | float) else None
    if output is None and label is None:
        label = f"x{min(networks_of(model), key=lambda each: (each != 2, each))}"
    plan = plan_jobs(inputs, output, recursive=recursive, suffix=suffix, label=label or "")
    jobs = [job for job in plan.jobs if not (skip_existing and _is_there(job))]
    skipped = len(plan.jobs) - len(jobs)
    named = None if output is None else Path(output)
    if not jobs:
        return UpscaledFiles(named, (), skipped, plan.left_out)
    if output is None and (there := next(filter(_is_there, jobs), None)):
        raise InputError(
            f"{shown(there.target)} is there already: name an output with -o, or leave out what "
            "is there with --skip-existing"
        )
    if any(job.target == STDOUT for job in jobs) and sys.stdout and sys.stdout.isatty():
        raise InputError("the picture would go to the terminal: name an output with -o")
    upscaler = Upscaler(
        model,
        scale=scale,
        size=size,
        engine=engine,
        precision=precision,
        tile=tile,
        ensemble=ensemble,
        device=device,
        exact_tiles=exact_tiles,
        threads=threads,
        progress=progress,
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
    target = f"x{upscaler.scale:g}" if upscaler.scale is not None else f"to {size}"
    weights = f" from {upscaler.weights}" if upscaler.weights else ""
    how = f"{upscaler.name} {target}{weights}, {upscaler.engine_name}"
    return UpscaledFiles(named, outcomes, skipped, plan.left_out, plan.notes, how)


def _is_there(job: Job) -> bool:
    return job.target != STDOUT and _exists(job.target)


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
        keep_dates: see `upscale_files`; of the standard input there is none.
        progress: told hundredths of pictures, and the name of the one at hand.
    """
    begun = 0

    def read(job: Job) -> Picture:
        source = _stdin() if job.source == STDIN else job.source
        return read_picture(source, max_pixels=max_pixels)

    def compute(job: Job, picture: Picture) -> tuple[Upscaled, float]:
        nonlocal begun
        start, before = time.perf_counter(), begun * _PARTS
        begun += 1

        def tell(done: int, total: int, _: str, /) -> None:
            if progress:
                parts = before + _PARTS * done // max(total, 1)
                progress(parts, _PARTS * len(jobs), job.source.name)

        tell(0, 1, "")
        sides = upscaler.size_of(picture.width, picture.height)
        check_sides(*sides, _suffix_of(job, picture))
        return upscaler.upscale(picture, progress=tell), start

    def write(job: Job, computed: tuple[Upscaled, float]) -> Outcome:
        result, start = computed
        return _write(job, result, start, quality, keep_dates)

    for finished in run_pipeline(jobs, read, compute, write):
        yield _outcome(finished)
    if progress:
        progress(_PARTS * len(jobs), _PARTS * len(jobs), "")


def _write(job: Job, result: Upscaled, start: float, quality: int, keep_dates: bool) -> Outcome:
    picture, undated = result.picture, ""
    if job.target == STDOUT:
        content = encode_picture(picture, _suffix_of(job, picture), quality=quality)
        if sys.stdout is None:
            raise InputError("the standard output is closed: name an output with -o")
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    else:
        with new_folders(job.target.parent):
            write_picture(picture, job.target, quality=quality)
        if keep_dates and job.source != STDIN:
            undated = keep_date(job.source, job.target)
    return Outcome(
        job,
        (picture.width, picture.height),
        result.precision,
        time.perf_counter() - start,
        notes=result.notes,
        losses=(
            *losses_of(picture, job.target.with_suffix(_suffix_of(job, picture))),
            *([undated] if undated else []),
        ),
    )


def _stdin() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError("no picture comes through the standard input")
    return sys.stdin.buffer.read()


def _suffix_of(job: Job, picture: Picture) -> str:
    """Of the file that is written."""
    if job.target != STDOUT:
        return job.target.suffix
    if job.suffix:
        return job.suffix
    kept = (each for each in FORMATS if each.is_written and each.key == picture.source_format)
    return next(kept, FORMATS[0]).suffixes[0]


def _outcome(finished: Finished[Job, Outcome]) -> Outcome:
    """What became of a job; what nobody foresaw is one line as well."""
    job, error = finished.item, finished.error
    if error is None:
        assert finished.result is not None
        return finished.result
    if isinstance(error, BrokenPipeError):
        raise error
    if not isinstance(error, VernierError):
        reason = reason_of(error).splitlines()[0]
        what = "not enough memory" if isinstance(error, MemoryError) else type(error).__name__
        told = InputError(f"{shown(job.source)}: {what} ({reason})")
        told.__cause__ = error
        error = told
    return Outcome(job, error=error)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
