"""The application that the commands join, one file each.

Heavy imports live inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from vernier import __version__

# Results go to stdout, everything else here.
stderr = Console(stderr=True, soft_wrap=True)


def print_line(line: str, *, markup: bool = False) -> None:
    """Print a line on stderr; one that takes no more is not worth an error of its own."""
    with suppress(OSError):
        stderr.print(line, markup=markup, highlight=False)


class _Interruptible(TyperGroup):
    """Says that a command was interrupted; typer would end without a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print_line("interrupted")
            raise typer.Exit(130) from None


def _show_help(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit(2)


app = typer.Typer(
    name="vernier",
    cls=_Interruptible,
    help="Super-resolution of pictures and hyperspectral cubes, measured as the papers measure.",
    invoke_without_command=True,
    # Commands take this over.
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)
data = typer.Typer(
    help="Make fusion data sets, look at cubes.", callback=_show_help, invoke_without_command=True
)
app.add_typer(data, name="data")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"vernier {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    _show_help(ctx)
