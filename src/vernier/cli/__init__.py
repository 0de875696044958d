"""The command line; the commands are listed in the order they are imported."""

# ruff: noqa: I001

from __future__ import annotations

import sys

from vernier.cli.app import app
from vernier.cli import (
    upscale,
    fuse,
    train,
    ablate,
    models,
    evaluate,
    data_fusion,
    data_preview,
    data_info,
    data_subimages,
    explain,
    compare,
    export,
)
from vernier.cli.options import print_error
from vernier.errors import VernierError
from vernier.extras import named_extras

__all__ = [
    "ablate",
    "app",
    "compare",
    "data_fusion",
    "data_info",
    "data_preview",
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
    """Run the command line; what is wrong with it or with its files is one line, exit code 2."""
    try:
        with named_extras():
            sys.exit(app(prog_name="vernier", standalone_mode=False))
    except VernierError as error:
        print_error(error)
        sys.exit(2)
    except MemoryError as error:
        reason = f" ({error})" if str(error) else ""
        print_error(f"memory ran out{reason}: take less at once, or close other programs")
        sys.exit(2)
    except Exception as error:
        # What typer says of a wrong command line. Its class has no public name in all versions,
        # its method has.
        told = getattr(error, "format_message", None)
        if told is None:
            raise
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "vernier"
        reason = " ".join(told().replace("Value error, ", "").split())
        print_error(f"{reason.rstrip('.')}: see {command} --help")
        sys.exit(2)
