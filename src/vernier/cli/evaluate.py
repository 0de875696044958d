"""`vernier evaluate`: the papers' table."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from vernier.cli.app import app, stderr
from vernier.errors import InputError


class EvaluateFormat(StrEnum):
    TABLE = "table"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"


@app.command()
def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Names or weight files; none: bicubic alone."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Benchmark folder; several may follow, or repeat --data."),
    ] = None,
    scale: Annotated[
        int | None, typer.Option("--scale", "-s", help="Default: the scale of the models.")
    ] = None,
    as_format: Annotated[
        EvaluateFormat | None,
        typer.Option("--format", help="Default: by the suffix of -o, else a table."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the report to this file.")
    ] = None,
    rgb: Annotated[bool, typer.Option("--rgb", help="Compare RGB instead of luma.")] = False,
    crop: Annotated[
        int | None, typer.Option("--crop", help="Border pixels left out; default: the scale.")
    ] = None,
    no_rounding: Annotated[
        bool, typer.Option("--no-rounding", help="Do not round results to 8 bit.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Measure models on benchmarks as the papers do, beside what they print."""
    from rich.progress import Progress

    from vernier.evaluation import Protocol, format_of
    from vernier.evaluation import evaluate as evaluate_models
    from vernier.models import list_models

    form = as_format.value if as_format else (format_of(output) if output else "table")
    if output and not output.parent.is_dir():
        raise InputError(f"{output.parent}: no such folder; create it or choose another -o")
    # "--data Set5 Set14" leaves the second folder among the models, which are never folders.
    more = [name for name in models or [] if name not in list_models() and Path(name).is_dir()]
    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("")

        def show(done: int, total: int, image: str) -> None:
            bar.update(task, completed=done, total=total, description=escape(image))

        report = evaluate_models(
            [name for name in models or [] if name not in more],
            [*(data or []), *more],
            scale=scale,
            protocol=Protocol(luma=not rgb, crop=crop, rounding=not no_rounding),
            device=device,
            progress=show,
        )
    if output:
        report.write(output, form)
        typer.echo(f"{output}: written")
    else:
        typer.echo(report.render(form), nl=False)
