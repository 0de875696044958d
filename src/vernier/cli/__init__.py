"""The command line; the commands are listed in the order they are imported."""

# ruff: noqa: I001

from __future__ import annotations

import sys
from typing import cast

import typer
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


# What a command line can have wrong; typer has no public name for it.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__base__)


def main() -> None:
    """Run the command line; what is wrong with it or with its files is one line, exit code 2."""
    try:
        sys.exit(app(prog_name="vernier", standalone_mode=False))
    except _UsageError as error:
        # Without arguments there is help, which has been printed.
        if type(error).__name__ != "NoArgsIsHelpError":
            command = error.ctx.command_path if error.ctx else "vernier"
            reason = " ".join(error.format_message().replace("Value error, ", "").split())
            _print_error(f"{reason.rstrip('.')}: see {command} --help")
        sys.exit(2)
    except VernierError as error:
        _print_error(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        stderr.print("interrupted")
        sys.exit(130)


def _print_error(message: str) -> None:
    stderr.print(f"[bold red]error:[/] {escape(message)}", highlight=False)
