"""`vernier fuse`: a coarse cube and a sharp guide, made one sharp cube."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vernier.cli.app import app, stderr
from vernier.cli.options import (
    AxesOption,
    Engine,
    EngineOption,
    KeyOption,
    PeakOption,
    Precision,
    WavelengthsOption,
    parse_wavelengths,
    show_notes,
)
from vernier.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vernier.data.scenes import FusionScenes
    from vernier.fusion.fuser import ClassicalFuser, Fuser


@dataclass(frozen=True)
class _Fusers:
    """The fuser that was asked for, or for each cube the one that suits it."""

    make: Callable[[str], Fuser | ClassicalFuser]
    stated: Fuser | ClassicalFuser | None

    def choose(
        self, lr: NDArray[Any], guide: NDArray[Any], wavelengths: Sequence[float] | None
    ) -> tuple[Fuser | ClassicalFuser, tuple[str, ...]]:
        """And what the user should know of the choice."""
        from vernier.fusion.fuser import ClassicalFuser, default_method

        if self.stated is not None:
            return self.stated, ()
        method, why = default_method(lr, guide, wavelengths)
        fuser = self.make(method)
        return fuser, (why,) if isinstance(fuser, ClassicalFuser) else ()


@app.command()
def fuse(
    cube_path: Annotated[
        Path, typer.Argument(metavar="CUBE", help="Cube file, PNG folder, or fusion file.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A cube file; of a fusion file with scenes, a folder."),
    ],
    guide: Annotated[
        Path | None,
        typer.Option("--guide", "-g", help="The sharp picture or cube; fusion files hold it."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-n",
            help="A weight file, a model, or guided-filter, gsa, bicubic; default: psrt-s for "
            "cubes such as it was trained on, else guided-filter.",
        ),
    ] = None,
    scale: Annotated[
        int | None, typer.Option("--scale", "-s", help="Default: the model's.")
    ] = None,
    tile: Annotated[
        str, typer.Option("--tile", "-t", help="Guide pixels a side, 0 for none, or auto.")
    ] = "auto",
    engine: EngineOption = Engine.AUTO,
    precision: Annotated[
        Precision, typer.Option(help="Of the correction; auto is fp32.")
    ] = Precision.AUTO,
    axes: AxesOption = None,
    peak: PeakOption = None,
    key: KeyOption = None,
    wavelengths: WavelengthsOption = None,
    guide_peak: Annotated[
        float | None, typer.Option("--guide-peak", help="The guide's value that stands for 1.")
    ] = None,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not check that the guide shows the same scene.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Also draw a sheet (PNG) of each scene.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, cuda:1, ...; default: cpu.")
    ] = None,
) -> None:
    """Make a hyperspectral cube as sharp as a picture of the same scene."""
    from vernier.data.scenes import is_fusion_file
    from vernier.fusion.fuser import ClassicalFuser, Fuser
    from vernier.io.cubes import WRITTEN_SUFFIXES, read_cube

    for target in (output, report):
        if target is not None and not target.absolute().parent.is_dir():
            raise InputError(f"{target.parent}: no such folder; create it or choose another")
    if not cube_path.exists():
        raise InputError(f"{cube_path}: no such file")
    if guide is not None and not guide.exists():
        raise InputError(f"{guide}: no such file")
    _protect((cube_path, guide), (output, report))
    if tile != "auto" and not tile.isdecimal():
        raise InputError(f"--tile must be a number of pixels, 0 or auto, not {tile!r}")

    @functools.cache
    def make(method: str) -> Fuser | ClassicalFuser:
        if ClassicalFuser.knows(method):
            return ClassicalFuser(method)
        return Fuser(
            method,
            scale=scale,
            engine=engine.value,
            precision=precision.value,
            tile="auto" if tile == "auto" else int(tile),
            device=device,
        )

    fusers = _Fusers(make, None if model is None else make(model))
    if guide is None and is_fusion_file(cube_path):
        _fuse_file(fusers, scale, cube_path, output, peak, check=not no_check, report=report)
        return
    if guide is None:
        raise InputError(f"{cube_path} holds no guide: name one with --guide")
    if output.suffix.lower() not in WRITTEN_SUFFIXES:
        raise InputError(
            f"{output}: cannot write {output.suffix}; choose one of "
            f"{', '.join(filter(None, WRITTEN_SUFFIXES))}, or no suffix for a folder of PNGs"
        )
    cube = read_cube(
        cube_path, axes=axes, peak=peak, key=key, wavelengths=parse_wavelengths(wavelengths)
    )
    _check_finite(cube_path, cube.values)
    show_notes(cube.notes)
    sharp = _read_guide(guide, guide_peak)
    _fuse_one(
        fusers,
        scale,
        cube_path,
        cube.unit(),
        sharp,
        output,
        check=not no_check,
        report=report,
        like=cube,
    )


def _fuse_file(
    fusers: _Fusers,
    stated_scale: int | None,
    path: Path,
    output: Path,
    peak: float | None,
    *,
    check: bool,
    report: Path | None,
) -> None:
    """Every scene of a fusion file, into a file where there is one scene, else into a folder."""
    from vernier.data.scenes import read_fusion

    scenes = read_fusion(path, peak=peak)
    show_notes(scenes.notes)
    several = len(scenes) > 1
    if several and output.suffix:
        raise InputError(f"{path} holds {len(scenes)} scenes: -o must name a folder, not a file")
    made = [f for f in (output, report) if several and f is not None and not f.is_dir()]
    for folder in made:
        folder.mkdir(parents=True)
    try:
        _fuse_scenes(fusers, stated_scale, path, scenes, output, check=check, report=report)
    finally:
        for folder in made:
            # One that holds results stays.
            with suppress(OSError):
                folder.rmdir()


def _fuse_scenes(
    fusers: _Fusers,
    stated_scale: int | None,
    path: Path,
    scenes: FusionScenes,
    output: Path,
    *,
    check: bool,
    report: Path | None,
) -> None:
    from vernier.io.cubes import Cube

    several = len(scenes) > 1
    for scene in scenes:
        like = Cube(scene.lr.numpy(), 1.0, scenes.wavelengths, {"scene": scene.name})
        target = output / f"{scene.name}.h5" if several else output
        sheet = report / f"{scene.name}.png" if several and report else report
        _protect((path,), (target, sheet))
        _fuse_one(
            fusers,
            stated_scale,
            path,
            scene.lr.numpy(),
            scene.guide.numpy(),
            target,
            check=check,
            report=sheet,
            like=like,
            gt=None if scene.gt is None else scene.gt.numpy(),
        )


def _fuse_one(
    fusers: _Fusers,
    stated_scale: int | None,
    source: Path,
    lr: NDArray[Any],
    guide: NDArray[Any],
    output: Path,
    *,
    check: bool,
    report: Path | None,
    like: Any,
    gt: NDArray[Any] | None = None,
) -> None:
    import time
    from dataclasses import replace

    from rich.progress import Progress

    from vernier.fusion.plausibility import check_guide
    from vernier.io.cubes import write_cube

    start = time.perf_counter()
    _check_finite(source, lr)
    fuser, notes = fusers.choose(lr, guide, like.wavelengths)
    fuser.check(lr, guide)
    scale = guide.shape[1] // lr.shape[1]
    if stated_scale not in (None, scale):
        raise InputError(
            f"-s {stated_scale}, but the guide is {scale} times as large as the cube: leave -s "
            "out, or give the guide of that scale"
        )
    _check_range("cube", lr, "--peak")
    _check_range("guide", guide, "--guide-peak")
    if check:
        check_guide(lr, guide, scale)
    # Only now: what is refused needs no word on how it would have been fused.
    show_notes(notes)
    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("fuse", total=None)
        result = fuser.fuse(
            lr, guide, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    values = result if like.peak is None else result * like.peak
    if like.values.dtype.kind in "ui":
        values = values.round()
    fused = replace(like, values=values.astype(like.values.dtype), notes=())
    write_cube(fused, output)
    if report is not None:
        from vernier.fusion.sheet import draw_sheet

        draw_sheet(report, lr=lr, guide=guide, result=result, gt=gt, wavelengths=like.wavelengths)
    took = f"{time.perf_counter() - start:.2f} s"
    bands, height, width = result.shape
    typer.echo(
        f"{output}: {width}x{height}, {bands} bands, {fuser.name} x{scale}, "
        f"{fuser.engine_name}, {took}"
    )


def _check_finite(path: Path, values: NDArray[Any]) -> None:
    import numpy as np

    if not np.isfinite(values).all():
        raise InputError(f"{path} holds values that are not finite: fill or mask them")


def _check_range(what: str, values: NDArray[Any], option: str) -> None:
    low, high = float(values.min()), float(values.max())
    if not (low >= -0.05 and high <= 1.2):
        raise InputError(
            f"the {what}'s values go from {low:.3g} to {high:.3g} after division by its peak, "
            f"models know 0 to 1: pass the right {option}"
        )
    if high < 0.02:
        raise InputError(
            f"the {what}'s largest value is {high:.3g} after division by its peak, which is "
            f"probably too large: pass the right {option}"
        )


def _protect(inputs: tuple[Path | None, ...], targets: tuple[Path | None, ...]) -> None:
    """Refuse to write over what is read; an ENVI header stands for its data too."""

    def files(path: Path) -> set[Path]:
        # Beside cube.hdr its values are written to cube.img.
        envi = path.suffix.lower() in (".hdr", ".img")
        return {path.resolve(), *(path.with_suffix(s).resolve() for s in (".hdr", ".img") if envi)}

    for source in filter(None, inputs):
        for target in filter(None, targets):
            if files(source) & files(target):
                raise InputError(
                    f"{target} would overwrite the input {source}: choose another output"
                )


def _read_guide(path: Path, peak: float | None) -> NDArray[Any]:
    """(channels, H, W) float32 in [0, 1], from a picture or from anything `read_cube` reads."""
    import numpy as np

    from vernier.io import PICTURE_SUFFIXES, PictureError, read_picture
    from vernier.io.cubes import read_cube

    if path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES:
        try:
            picture = read_picture(path)
        except PictureError:
            if path.suffix.lower() not in (".tif", ".tiff"):
                raise
        else:
            pixels = picture.pixels
            if pixels.shape[2] in (2, 4):
                show_notes((f"{path}: its transparency is left out",))
                pixels = pixels[..., :-1]
            white = peak or (np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1.0)
            return np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32) / np.float32(white)
    cube = read_cube(path, peak=peak)
    _check_finite(path, cube.values)
    show_notes(cube.notes)
    return cube.unit()
