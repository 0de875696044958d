"""The application that the commands join, one file each.

Heavy imports live inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from vernier import __version__

app = typer.Typer(
    name="vernier",
    help="Super-resolution of pictures and hyperspectral cubes, measured as the papers measure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="Make fusion data sets, look at cubes.", no_args_is_help=True)
app.add_typer(data, name="data")
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
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None: ...
