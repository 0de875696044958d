"""The command line; the commands are listed in the order they are imported."""

# ruff: noqa: I001

from __future__ import annotations

import sys

from rich.markup import escape

from vernier.cli.app import app, stderr
from vernier.cli import (
    upscale,
    fuse,
    train,
    ablate,
    models,
    evaluate,
    data,
    data_subimages,
    explain,
    compare,
    export,
)
from vernier.errors import VernierError

__all__ = [
    "ablate",
    "app",
    "compare",
    "data",
    "data_subimages",
    "evaluate",
    "explain",
    "export",
    "fuse",
    "main",
    "models",
    "train",
    "upscale",
]


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit code 2."""
    try:
        app()
    except VernierError as error:
        stderr.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        stderr.print("interrupted")
        sys.exit(130)
