"""`vernier.fuse`: from files, or from what is in memory, to the sharp cube and its sheet."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, ParamSpec

from vernier.data.scenes import is_fusion_file, read_fusion
from vernier.engines import EngineName, Precision
from vernier.engines.tiles import check_tile
from vernier.errors import InputError
from vernier.fusion.choice import default_method
from vernier.fusion.classical import ClassicalFuser
from vernier.fusion.fuser import Fuser
from vernier.fusion.pair import CubeSource, GuideSource, Pair, pair_of_scene, read_pair
from vernier.fusion.plausibility import check_guide
from vernier.fusion.result import Fused
from vernier.io.cubes import WRITTEN_SUFFIXES, write_cube
from vernier.io.files import check_folder, check_target, new_folders, protect, safe_names
from vernier.models.layers import FusionModel
from vernier.progress import Progress

__all__ = ["fuse", "fuse_each"]

_P = ParamSpec("_P")
_AnyFuser = Fuser | ClassicalFuser


@dataclass(frozen=True)
class _Job:
    """A pair, where its result goes, and what the progress calls it."""

    pair: Pair
    output: Path | None
    report: Path | None
    name: str = ""


def fuse_each(
    cube: CubeSource | Pair,
    guide: GuideSource | None = None,
    output: str | Path | None = None,
    *,
    model: str | Path | FusionModel | None = None,
    scale: int | None = None,
    tile: int | Literal["auto"] | None = "auto",
    engine: EngineName = "auto",
    precision: Precision = "auto",
    axes: str | None = None,
    peak: float | None = None,
    key: str | None = None,
    wavelengths: Sequence[float] | None = None,
    guide_peak: float | None = None,
    check: bool = True,
    report: str | Path | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> Iterator[Fused]:
    """Fuse a coarse cube with a sharp guide, or every scene of a fusion file, one after another.

    Args:
        cube: a `Pair`, which needs no guide; the path of a fusion file (see
            `vernier.data.scenes.read_fusion`), which holds its guides; or a cube as `read_pair`
            takes it.
        guide: as `read_pair` takes it.
        output: the file to write, in the unit and the type of the cube's file; the suffix names
            the format (see `vernier.io.cubes.write_cube`). Of a fusion file with several scenes
            the folder for a file each, which is made if need be. None writes nothing.
        model: a weight file, a name, a network, or "bicubic", "guided-filter" or "gsa"; default:
            see `default_method`.
        scale: chooses among a name's weights, and must be that of the pair; default: the pair's.
        tile, engine, precision, device: of a network, see `Fuser`.
        axes, peak, key, wavelengths, guide_peak: how to read, see `read_pair`; a fusion file takes
            the peak alone.
        check: refuse a guide that is shifted or shows something else.
        report: the sheet of the scene to draw (PNG), or of several scenes the folder; see
            `vernier.fusion.sheet.draw_sheet`.
        progress: told of every tile, with the scene's name where there are several.

    Yields:
        Each result when it is written. Its notes tell what was recognised while reading, why the
        method was chosen and what was approximated; an error after reading carries those that
        there are as its ``__notes__``.

    Raises:
        InputError: something cannot be read, does not belong together or cannot be written, an
            output would overwrite an input, or memory runs out.

    Example:
        >>> import numpy as np
        >>> from vernier import fuse
        >>> lr = np.linspace(0.2, 0.8, 4 * 8 * 8).reshape(4, 8, 8)
        >>> guide = lr[:3].repeat(4, 1).repeat(4, 2)
        >>> fused = fuse(lr, guide, model="gsa")
        >>> fused.cube.values.shape, fused.method
        ((4, 32, 32), 'gsa')
    """
    # Also for what fuses whole: a number that nothing can use is wrong anyway.
    check_tile(tile)
    target, sheet = (None if path is None else Path(path) for path in (output, report))
    sources = [Path(path) for path in (cube, guide) if isinstance(path, str | Path)]
    inputs = [*sources, *(cube.files if isinstance(cube, Pair) else ())]
    if isinstance(model, str | Path):
        inputs.append(Path(model))
    _check_paths(sources, inputs, target, sheet)

    @functools.cache
    def make(method: str | Path | FusionModel) -> _AnyFuser:
        if isinstance(method, str) and ClassicalFuser.knows(method):
            return ClassicalFuser(method)
        return Fuser(
            method, scale=scale, engine=engine, precision=precision, tile=tile, device=device
        )

    # A model that cannot be used is told before anything is read.
    stated = None if model is None else make(model)
    if isinstance(cube, Pair):
        if guide is not None:
            raise InputError("a pair has its guide already: leave the other one out")
        _check_single(target, sheet)
        jobs = [_Job(cube, target, sheet)]
    elif isinstance(cube, str | Path) and guide is None and is_fusion_file(cube):
        jobs = _scene_jobs(Path(cube), peak, target, sheet, inputs)
    elif guide is None:
        raise InputError(f"{_named(cube)} holds no guide: name one with --guide")
    else:
        _check_single(target, sheet)
        pair = read_pair(
            cube,
            guide,
            axes=axes,
            peak=peak,
            key=key,
            wavelengths=wavelengths,
            guide_peak=guide_peak,
        )
        jobs = [_Job(pair, target, sheet)]
    several = [] if len(jobs) == 1 else [folder for folder in (target, sheet) if folder]
    with new_folders(*several):
        for job in jobs:
            try:
                yield _fuse_one(job, stated, make, scale, check, progress)
            except InputError as error:
                for note in job.pair.notes:
                    error.add_note(note)
                raise


def _collected(each: Callable[_P, Iterator[Fused]]) -> Callable[_P, Fused | list[Fused]]:
    """`fuse_each` as a function that returns when all is done."""

    @functools.wraps(each)
    def fuse(*args: _P.args, **kwargs: _P.kwargs) -> Fused | list[Fused]:
        results = list(each(*args, **kwargs))
        return results[0] if len(results) == 1 else results

    fuse.__name__ = fuse.__qualname__ = "fuse"
    fuse.__doc__ = (each.__doc__ or "").replace(
        "Yields:\n        Each result when it is written.",
        "Returns:\n        The result; of a fusion file with several scenes, the list of them.",
    )
    return fuse


fuse = _collected(fuse_each)


def _fuse_one(
    job: _Job,
    fuser: _AnyFuser | None,
    make: Callable[[str], _AnyFuser],
    stated_scale: int | None,
    check: bool,
    progress: Progress | None,
) -> Fused:
    pair = job.pair
    why: tuple[str, ...] = ()
    if fuser is None:
        method, reason = default_method(pair)
        fuser = make(method)
        why = (reason,) if isinstance(fuser, ClassicalFuser) else ()
    fuser.check(pair)
    if stated_scale not in (None, pair.scale):
        raise InputError(
            f"-s {stated_scale}, but the guide is {pair.scale} times as large as the cube: leave "
            "-s out, or give the guide of that scale"
        )
    if check:
        check_guide(pair)
    told = progress
    if progress is not None and job.name:

        def told(done: int, total: int, what: str, /) -> None:
            progress(done, total, job.name)

    fused = fuser.fuse(pair, progress=told)
    notes = (*fused.notes, *why)
    if job.output is not None:
        cube = fused.cube
        notes += cube.notes + write_cube(cube, job.output)
    fused = replace(fused, notes=notes, output=job.output)
    if job.report is not None:
        from vernier.fusion.sheet import draw_sheet

        draw_sheet(
            job.report,
            lr=pair.lr,
            guide=pair.guide,
            result=fused.values,
            gt=pair.gt,
            wavelengths=pair.wavelengths,
        )
    return fused


def _scene_jobs(
    path: Path,
    peak: float | None,
    target: Path | None,
    sheet: Path | None,
    inputs: Sequence[Path],
) -> list[_Job]:
    """A job for every scene of a fusion file: into a file where there is one, else into folders."""
    scenes = read_fusion(path, peak=peak)
    # The first pair tells what was recognised in the file.
    pairs = [
        pair_of_scene(
            scene,
            wavelengths=scenes.wavelengths,
            source=str(path),
            notes=() if number else scenes.notes,
        )
        for number, scene in enumerate(scenes)
    ]
    if len(pairs) == 1:
        _check_single(target, sheet)
        return [_Job(pairs[0], target, sheet)]
    if target is not None and target.suffix:
        raise InputError(f"{path} holds {len(pairs)} scenes: -o must name a folder, not a file")
    jobs = [
        _Job(pair, target and target / f"{name}.h5", sheet and sheet / f"{name}.png", name)
        for pair, name in zip(pairs, safe_names(scenes.names), strict=True)
    ]
    protect(inputs, [path for job in jobs for path in (job.output, job.report)])
    return jobs


def _check_paths(
    sources: Sequence[Path], inputs: Sequence[Path], target: Path | None, sheet: Path | None
) -> None:
    for written in (target, sheet):
        if written is not None:
            check_folder(written.parent, cure="create it or choose another")
    for source in sources:
        if not source.exists():
            raise InputError(f"{source}: no such file")
    protect(inputs, (target, sheet))


def _check_single(target: Path | None, sheet: Path | None) -> None:
    """Of a single cube: files that can be written, and another one for the sheet."""
    for path in (target, sheet):
        if path is not None:
            check_target(path)
    if target is None:
        return
    if target.suffix.lower() not in WRITTEN_SUFFIXES:
        raise InputError(
            f"{target}: cannot write {target.suffix}; choose one of "
            f"{', '.join(filter(None, WRITTEN_SUFFIXES))}, or no suffix for a folder of PNGs"
        )
    if sheet is not None and target.resolve() == sheet.resolve():
        raise InputError(f"{sheet} would overwrite the cube: choose another name for the report")


def _named(cube: CubeSource) -> str:
    return str(cube) if isinstance(cube, str | Path) else "the cube"
