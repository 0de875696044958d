"""`vernier data subimages`: large pictures cut into squares for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.app import data
from vernier.cli.options import progress_bar


@data.command()
def subimages(
    source: Annotated[
        Path, typer.Option("--from", help="Folder of pictures, searched recursively.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new folder.")],
    size: Annotated[int, typer.Option("--size", min=1, help="Side of a square in pixels.")] = 480,
    step: Annotated[int, typer.Option("--step", min=1, help="Distance of neighbours.")] = 240,
) -> None:
    """Cut pictures into overlapping squares, as DF2K is prepared for training."""
    from vernier.data import cut_subimages

    with progress_bar("cutting") as progress:
        count = cut_subimages(source, output, size=size, step=step, progress=progress)
    typer.echo(f"{output}: {count} squares of {size}x{size}")
