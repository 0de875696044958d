"""`vernier evaluate`: the papers' tables, of pictures and of hyperspectral fusion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.app import app
from vernier.cli.options import DeviceOption, ReportFormat, progress_bar

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
    device: DeviceOption = "cpu",
    rgb: Annotated[
        bool,
        typer.Option("--rgb", help="Compare RGB instead of luma.", rich_help_panel=_PICTURES),
    ] = False,
    crop: Annotated[
        int | None,
        typer.Option(
            "--crop", help="Border pixels left out; default: the scale.", rich_help_panel=_PICTURES
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
            help="Whose definitions: matlab (default; published tables), analysis-accu, "
            "analysis-accu-uncut, psrt-official, torchmetrics or pansharpening.",
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
    from vernier import evaluation

    names, folders = evaluation.split_arguments(models or [])
    form: evaluation.Format | None = as_format.value if as_format else None
    with progress_bar() as show:
        report = evaluation.evaluate(
            names,
            [*(data or []), *folders],
            scale=scale,
            protocol=evaluation.Protocol(luma=not rgb, crop=crop, rounding=not no_rounding),
            convention=convention,
            preset=preset,
            peak=peak,
            clamp=not no_clamp,
            sheets=sheets,
            device=device,
            output=output,
            form=form,
            progress=show,
        )
    if output is None:
        typer.echo(report.render(form or "table"), nl=False)
    else:
        for path in report.paths(output, form):
            typer.echo(f"{path}: written")
