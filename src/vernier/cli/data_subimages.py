"""`vernier data subimages`: large pictures cut into squares for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.app import data, stderr


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
    from rich.progress import Progress

    from vernier.data.subimages import cut_subimages

    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("cutting")
        count = cut_subimages(
            source,
            output,
            size=size,
            step=step,
            progress=lambda done, total, what: bar.update(task, completed=done, total=total),
        )
    typer.echo(f"{output}: {count} squares of {size}x{size}")
