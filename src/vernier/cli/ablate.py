"""`vernier ablate`: variants of a recipe under equal budget, and their table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.app import app, stderr
from vernier.cli.options import ReportFormat


@app.command()
def ablate(
    experiment: Annotated[
        Path, typer.Argument(help="The experiment, a YAML file; see experiments/.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, e.g. shared.steps=500 seeds=[0]")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="Where arms are measured: cpu, cuda, ...")
    ] = "cpu",
    as_format: Annotated[
        ReportFormat, typer.Option("--format", help="Of what is printed.")
    ] = ReportFormat.TABLE,
) -> None:
    """Train the arms of an experiment under equal budget and print how they compare.

    Finished arms are not trained again, interrupted ones go on. The table is written beside the
    runs too, as Markdown, CSV and JSON.
    """
    from vernier.ablation import ablate as run

    def tell(_: int, __: int, what: str, /) -> None:
        stderr.print(what, markup=False)

    try:
        report = run(experiment, overrides or [], device=device, progress=tell)
    except KeyboardInterrupt:
        stderr.print("interrupted; the same command goes on where it stopped")
        raise typer.Exit(130) from None
    for path in report.experiment.results:
        stderr.print(f"{path}: written", markup=False, highlight=False)
    typer.echo(report.render(as_format.value), nl=False)
