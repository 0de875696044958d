"""`vernier evaluate`: the papers' tables, of pictures and of hyperspectral fusion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from vernier.cli.app import app, stderr
from vernier.cli.options import ReportFormat
from vernier.errors import InputError

if TYPE_CHECKING:
    from vernier.evaluation import Report

_PICTURES = "Pictures"
_FUSION = "Hyperspectral fusion"


@app.command()
def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Names or weight files; none: bicubic alone."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            help="Benchmark folder, or fusion file or folder of cubes; several may follow, or "
            "repeat --data.",
        ),
    ] = None,
    scale: Annotated[
        int | None, typer.Option("--scale", "-s", help="Default: the scale of the models.")
    ] = None,
    as_format: Annotated[
        ReportFormat | None,
        typer.Option("--format", help="Default: by the suffix of -o, else a table."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the report to this file.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = "cpu",
    rgb: Annotated[
        bool,
        typer.Option("--rgb", help="Compare RGB instead of luma.", rich_help_panel=_PICTURES),
    ] = False,
    crop: Annotated[
        int | None,
        typer.Option(
            "--crop",
            help="Border pixels left out; default: the scale.",
            rich_help_panel=_PICTURES,
        ),
    ] = None,
    no_rounding: Annotated[
        bool,
        typer.Option(
            "--no-rounding", help="Do not round results to 8 bit.", rich_help_panel=_PICTURES
        ),
    ] = False,
    convention: Annotated[
        str | None,
        typer.Option(
            "--convention",
            help="Whose definitions: matlab (default), analysis-accu, analysis-accu-uncut, "
            "psrt-official, torchmetrics or pansharpening.",
            rich_help_panel=_FUSION,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="How sharp cubes are simulated: cave (default), dhif, lso or ltmr.",
            rich_help_panel=_FUSION,
        ),
    ] = None,
    peak: Annotated[
        float | None,
        typer.Option(
            "--peak", help="The value that stands for 1, such as 2047.", rich_help_panel=_FUSION
        ),
    ] = None,
    no_clamp: Annotated[
        bool,
        typer.Option("--no-clamp", help="Do not clamp results to [0, 1].", rich_help_panel=_FUSION),
    ] = False,
    sheets: Annotated[
        Path | None,
        typer.Option(
            "--sheets",
            help="Folder for a page per scene and method: pictures, errors, spectra.",
            rich_help_panel=_FUSION,
        ),
    ] = None,
) -> None:
    """Measure models as the papers do: on benchmarks, beside what they print, or on cubes."""
    from vernier.data.scenes import is_fusion_file
    from vernier.evaluation import (
        Protocol,
        evaluate_fusion,
        format_of,
        is_fusion_data,
        is_fusion_model,
    )
    from vernier.evaluation import evaluate as evaluate_models
    from vernier.zoo import list_models
    from vernier.zoo.registry import nearest

    form = as_format.value if as_format else (format_of(output) if output else "table")
    if output and not output.parent.is_dir():
        raise InputError(f"{output.parent}: no such folder; create it or choose another -o")
    # "--data Set5 Set14" leaves the second folder among the models, which are never folders.
    more = [
        name
        for name in models or []
        if name not in list_models() and (Path(name).is_dir() or is_fusion_file(name))
    ]
    names = [name for name in models or [] if name not in more]
    for name in names:
        if name not in list_models() and not Path(name).is_file():
            raise InputError(
                f"{name}: no such folder, weight file or model{nearest(name, list_models())}; "
                "`vernier models` lists the models"
            )
    folders = [*(data or []), *map(Path, more)]
    report: Report
    if any(map(is_fusion_model, names)) or any(map(is_fusion_data, folders)):
        _refuse("cubes", {"--rgb": rgb, "--crop": crop is not None, "--no-rounding": no_rounding})
        with _progress() as show:
            report = evaluate_fusion(
                names,
                folders,
                scale=scale,
                convention=convention or "matlab",
                clamp=not no_clamp,
                preset=preset or "cave",
                peak=peak,
                device=device,
                sheets=sheets,
                progress=show,
            )
    else:
        fusion_only = {"--convention": convention, "--preset": preset, "--peak": peak}
        given = {name: value is not None for name, value in fusion_only.items()}
        _refuse("pictures", {**given, "--no-clamp": no_clamp, "--sheets": sheets is not None})
        with _progress() as show:
            report = evaluate_models(
                names,
                folders,
                scale=scale,
                protocol=Protocol(luma=not rgb, crop=crop, rounding=not no_rounding),
                device=device,
                progress=show,
            )
    if output:
        for path in report.write(output, form):
            typer.echo(f"{path}: written")
    else:
        typer.echo(report.render(form), nl=False)


def _refuse(measured: str, given: dict[str, bool]) -> None:
    if wrong := [name for name, is_given in given.items() if is_given]:
        raise InputError(f"{', '.join(wrong)}: not for {measured}; leave it out")


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    from rich.progress import Progress

    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("")

        def show(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=escape(name))

        yield show
