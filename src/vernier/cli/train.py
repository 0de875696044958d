"""`vernier train`: a recipe, run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.app import app, stderr
from vernier.cli.options import progress_bar


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file; see recipes/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, e.g. steps=1000 data.batch_size=8")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run from its last checkpoint.")
    ] = False,
) -> None:
    """Train a model as a recipe says."""
    from vernier.training import InterruptedRun
    from vernier.training import train as train_recipe

    try:
        with progress_bar("training") as progress:
            result = train_recipe(recipe, overrides or [], resume=resume, progress=progress)
    except InterruptedRun as stopped:
        stderr.print(f"{stopped}; the same command with --resume goes on from there")
        raise typer.Exit(128 + stopped.number) from None
    except KeyboardInterrupt:
        stderr.print("interrupted; the same command with --resume goes on from the last checkpoint")
        raise typer.Exit(130) from None
    if result.leader:
        best = f", best validation PSNR {result.best_psnr:.3f} dB" if result.validated else ""
        typer.echo(f"{result.folder}: {result.steps} steps{best}")
