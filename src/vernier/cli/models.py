"""`vernier models`: the list, or one card."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from vernier.cli.app import app

# Columns of text where there is no terminal to tell.
_WIDTH = 160


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

    from vernier.zoo.overview import OUTPUT_SIZE, overviews

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
    for each in found:
        measured = each.card.measured if each.card else {}
        table.add_row(
            escape(each.model),
            f"x{each.scale}",
            f"{each.parameters:,}",
            f"{each.trainable_parameters:,}",
            f"{each.macs / 1e9:.2f} G",
            f"{each.macs_without_attention / 1e9:.2f} G",
            "yes" if each.card else "no",
            "\n".join(f"{name} {_scores(scores)}" for name, scores in measured.items()),
        )
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


def _scores(measured: Mapping[str, float]) -> str:
    told = f"{measured['psnr']:.2f} / {measured['ssim']:.4f}"
    return f"{told}, SAM {measured['sam']:.2f}" if "sam" in measured else told
