"""`vernier models`: the list, or one card."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from vernier.cli.app import app

# Columns of text where there is no terminal to tell.
_WIDTH = 160


class ModelsFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


@app.command()
def models(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A model's name, a weight file, or your own as package.module:Class, "
            "with @file where it has weights; all if left out."
        ),
    ] = None,
    scale: Annotated[int | None, typer.Option("--scale", "-s", help="Only this scale.")] = None,
    as_format: Annotated[
        ModelsFormat, typer.Option("--format", help="How to print.")
    ] = ModelsFormat.TABLE,
) -> None:
    """List the models with their costs, or show the card of one."""
    from vernier.zoo import overview

    found = overview.overviews(model, scale)
    if as_format == ModelsFormat.JSON:
        typer.echo(overview.to_json(found))
        return
    stdout = Console(soft_wrap=True)
    if not stdout.is_terminal:
        stdout.width = max(stdout.width, _WIDTH)
    stdout.print(overview.table(found))
    for line in overview.FOOTNOTES:
        stdout.print(line)
    if model is None:
        return
    for card in (each.card for each in found if each.card):
        stdout.print(f"\n{overview.describe(card)}", markup=False, highlight=False)
