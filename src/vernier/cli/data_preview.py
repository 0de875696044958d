"""`vernier data preview`: a cube as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.app import data
from vernier.cli.options import (
    AxesOption,
    KeyOption,
    WavelengthsOption,
    parse_wavelengths,
    show_notes,
)
from vernier.errors import InputError


@data.command()
def preview(
    cube_path: Annotated[Path, typer.Argument(metavar="CUBE", help="Cube file or PNG folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write.")],
    bands: Annotated[
        str | None, typer.Option("--bands", help="Three bands for R,G,B, counted from 1.")
    ] = None,
    response: Annotated[
        str | None,
        typer.Option("--response", help="Render through a, b (Nikon D700) or a CSV file."),
    ] = None,
    white: Annotated[
        float, typer.Option("--white", min=1, max=100, help="Percentile shown as white.")
    ] = 99.5,
    axes: AxesOption = None,
    key: KeyOption = None,
    wavelengths: WavelengthsOption = None,
) -> None:
    """Show a cube as a picture: three bands, or the colours that a camera sees.

    Without --bands and --response, the bands nearest to 650, 550 and 450 nm are shown.
    """
    from vernier.data import preview as show

    shown = show(
        cube_path,
        output,
        bands=_parse_bands(bands),
        response=response,
        white=white,
        axes=axes,
        key=key,
        wavelengths=parse_wavelengths(wavelengths),
    )
    show_notes(shown.notes)
    typer.echo(f"{output}: written")


def _parse_bands(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--bands {text}: give three numbers, such as 3,2,1") from None
