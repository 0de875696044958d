"""`vernier export`: a trained model as a file for other tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.app import app, stderr


class ExportFormat(StrEnum):
    PTH = "pth"
    SAFETENSORS = "safetensors"


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(help="A model's name, a weight file, or package.module:Class@file.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    scale: Annotated[
        int | None, typer.Option("--scale", "-s", help="Which of a name's weights.")
    ] = None,
    as_format: Annotated[
        ExportFormat | None,
        typer.Option(
            "--format", help="pth: as the authors' code loads it. By the suffix if left out."
        ),
    ] = None,
) -> None:
    """Write a model's weights for other tools, or another tool's weights for Vernier."""
    from vernier import exporting

    card = exporting.export(
        model, output, scale=scale, format=None if as_format is None else as_format.value
    )
    written = f"{output}"
    if output.suffix == ".safetensors":
        written += f", its card to {output.with_suffix('.json')}"
    stderr.print(f"{card.name} x{card.scale} written to {written}", markup=False, highlight=False)
