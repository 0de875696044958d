"""`vernier data info`: what cubes and fusion files hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.app import data
from vernier.cli.options import (
    AxesOption,
    KeyOption,
    PeakOption,
    WavelengthsOption,
    parse_wavelengths,
    show_notes,
)
from vernier.io.files import shown

# Letters of a fact that are printed; some files hold a book.
_LONGEST = 300


@data.command()
def info(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Cubes, PNG folders or fusion files.")
    ],
    axes: AxesOption = None,
    peak: PeakOption = None,
    key: KeyOption = None,
    wavelengths: WavelengthsOption = None,
) -> None:
    """Say what cubes or fusion files hold, and what was recognised rather than stated."""
    from vernier.data import describe

    known = parse_wavelengths(wavelengths)
    for path in paths:
        description = describe(path, axes=axes, peak=peak, key=key, wavelengths=known)
        typer.echo(str(path))
        for name, value in description.facts.items():
            typer.echo(f"  {shown(name)}: {_short(value)}")
        show_notes(description.notes)


def _short(value: object) -> str:
    text = shown(" ".join(str(value).split()))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ... ({len(text):,} letters)"
