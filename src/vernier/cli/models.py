"""`vernier models`: the list, or one card."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from vernier.cli.app import app

if TYPE_CHECKING:
    from vernier.analysis.overview import Overview

# Columns of text where there is no terminal to tell.
_WIDTH = 160
# Scales of equal rows that are named one by one.
_NAMED = 3


class ModelsFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


@app.command()
def models(
    model: Annotated[
        str | None, typer.Argument(help="A model's name or a weight file; all if left out.")
    ] = None,
    scale: Annotated[int | None, typer.Option("--scale", "-s", help="Only this scale.")] = None,
    as_format: Annotated[
        ModelsFormat, typer.Option("--format", help="How to print.")
    ] = ModelsFormat.TABLE,
) -> None:
    """List the models with their costs, or show the card of one."""
    import json
    from dataclasses import asdict

    from rich.table import Column, Table

    from vernier.analysis.overview import OUTPUT_SIZE, overviews

    found = overviews(model, scale)
    if as_format == ModelsFormat.JSON:
        typer.echo(json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False))
        return
    table = Table(
        Column("model", overflow="fold"),
        "scale",
        Column("parameters", no_wrap=True),
        Column("in training", no_wrap=True),
        Column("MACs", no_wrap=True),
        Column("without attention*", no_wrap=True),
        "weights",
        Column("PSNR / SSIM", no_wrap=True),
    )
    for (name, *cells), same in groupby(found, _cells):
        scales = [each.scale for each in same]
        told = ", ".join(f"x{scale}" for scale in scales)
        if len(scales) > _NAMED and scales == list(range(scales[0], scales[-1] + 1)):
            told = f"x{scales[0]} to x{scales[-1]}"
        table.add_row(name, told, *cells)
    stdout = Console(soft_wrap=True)
    if not stdout.is_terminal:
        stdout.width = max(stdout.width, _WIDTH)
    stdout.print(table)
    stdout.print(f"MACs for one picture of {OUTPUT_SIZE[1]}x{OUTPUT_SIZE[0]} pixels, deployed.")
    stdout.print(
        "* Not the cost: the count that several papers print. It leaves out the products of two "
        "feature maps, which attention consists of, and adds 4 for each element of a batch or "
        "layer norm and 3 of a softmax."
    )
    if model is None:
        return
    for card in (each.card for each in found if each.card):
        stdout.print(f"\n{card.name} x{card.scale}")
        for key, value in asdict(card).items():
            if key not in ("name", "scale", "measured") and value not in ("", 0, ()):
                stdout.print(f"  {key}: {value}", markup=False, highlight=False)


def _cells(overview: Overview) -> tuple[str, ...]:
    """The row of a model at one scale, without the scale."""
    measured = overview.card.measured if overview.card else {}
    return (
        escape(overview.model),
        f"{overview.parameters:,}",
        f"{overview.trainable_parameters:,}",
        f"{overview.macs / 1e9:.2f} G",
        f"{overview.macs_without_attention / 1e9:.2f} G",
        "yes" if overview.card else "no",
        "\n".join(f"{name} {_scores(scores)}" for name, scores in measured.items()),
    )


def _scores(measured: Mapping[str, float]) -> str:
    told = f"{measured['psnr']:.2f} / {measured['ssim']:.4f}"
    return f"{told}, SAM {measured['sam']:.2f}" if "sam" in measured else told
