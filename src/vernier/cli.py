"""The command line. Heavy imports live inside the commands, so that ``--help`` answers at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from vernier import __version__
from vernier.errors import VernierError

app = typer.Typer(
    name="vernier",
    help="Image super-resolution, measured exactly as the papers measure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# Results go to stdout, everything else here.
stderr = Console(stderr=True, soft_wrap=True)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"vernier {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit code 2."""
    try:
        app()
    except VernierError as error:
        stderr.print(f"[bold red]error:[/] {error}", highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        stderr.print("interrupted")
        sys.exit(130)
