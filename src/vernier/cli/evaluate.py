"""`vernier evaluate`: the papers' tables, of pictures and of hyperspectral fusion."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.app import app
from vernier.cli.options import (
    NETWORK,
    DeviceOption,
    ReportFormat,
    command_with_lists,
    progress_bar,
)

_pictures = partial(typer.Option, rich_help_panel="Pictures")
_fusion = partial(typer.Option, rich_help_panel="Hyperspectral fusion")


@app.command(cls=command_with_lists("--results"))
def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help=f"{NETWORK}; none: bicubic alone."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            help="Benchmark folder, or fusion file or folder of cubes; several may follow, or "
            "repeat --data.",
        ),
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option("--results", help="Folders of finished results, named as their HR pictures."),
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
        _pictures("--rgb", help="Compare RGB instead of luma."),
    ] = False,
    crop: Annotated[
        int | None,
        _pictures("--crop", help="Border pixels left out; default: the scale."),
    ] = None,
    no_rounding: Annotated[
        bool,
        _pictures("--no-rounding", help="Do not round results to 8 bit."),
    ] = False,
    convention: Annotated[
        str | None,
        _fusion(
            "--convention",
            help="Whose definitions: matlab (default; published tables), analysis-accu, "
            "analysis-accu-uncut, psrt-official, torchmetrics or pansharpening.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        _fusion(
            "--preset", help="How sharp cubes are simulated: cave (default), dhif, lso or ltmr."
        ),
    ] = None,
    peak: Annotated[
        float | None,
        _fusion("--peak", help="The value that stands for 1, such as 2047."),
    ] = None,
    no_clamp: Annotated[
        bool,
        _fusion("--no-clamp", help="Do not clamp results to [0, 1]."),
    ] = False,
    sheets: Annotated[
        Path | None,
        _fusion(
            "--sheets", help="Folder for a page per scene and method: pictures, errors, spectra."
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
            results=results or [],
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
