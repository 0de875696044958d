"""`vernier data fusion`: make fusion data sets."""

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
    progress_bar,
    show_notes,
)


@data.command()
def fusion(
    sources: Annotated[
        list[Path],
        typer.Option("--from", help="Folder of cubes, or a cube; several may follow."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HDF5 file to write.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FOLDER]...", hidden=True)] = None,
    preset: Annotated[
        str, typer.Option("--preset", help="Settings of a group: cave, dhif, lso or ltmr.")
    ] = "cave",
    response: Annotated[
        str | None,
        typer.Option("--response", help="Guide camera: a, b (Nikon D700) or a CSV file."),
    ] = None,
    blur_size: Annotated[
        int | None, typer.Option("--blur-size", help="Taps of the Gaussian along each axis.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option("--sigma", help="Width of the Gaussian in pixels.")
    ] = None,
    padding: Annotated[
        str | None, typer.Option("--padding", help="reflect, replicate, circular or zeros.")
    ] = None,
    offset: Annotated[
        int | None, typer.Option("--offset", help="Pixel of each cell that is kept, from 0.")
    ] = None,
    scale: Annotated[int, typer.Option("--scale", "-s", help="Reduction along each axis.")] = 4,
    patch: Annotated[
        int | None,
        typer.Option("--patch", help="Cut squares of this side; whole scenes if left out."),
    ] = None,
    stride: Annotated[
        int | None, typer.Option("--stride", help="Distance of the patches; default: their side.")
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            help="train=a,b or test=rest (repeat it), or cave (the published division): one file "
            "each, named FILE-train.h5, ...; test scenes stay whole.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Leave this scene out (repeat it).")
    ] = None,
    axes: AxesOption = None,
    peak: PeakOption = None,
    key: KeyOption = None,
    wavelengths: WavelengthsOption = None,
) -> None:
    """Simulate a fusion data set from sharp cubes; the file states every setting."""
    from vernier.data import simulate_fusion

    with progress_bar() as progress:
        files = simulate_fusion(
            [*sources, *(more or [])],
            output,
            preset=preset,
            response=response,
            blur_size=blur_size,
            sigma=sigma,
            padding=padding,
            offset=offset,
            scale=scale,
            patch=patch,
            stride=stride,
            split=split or [],
            without=without or [],
            axes=axes,
            peak=peak,
            key=key,
            wavelengths=parse_wavelengths(wavelengths),
            progress=progress,
        )
    for file in files:
        show_notes(file.notes)
        cut = "" if file.patches is None else f"{file.patches} patches of "
        plural = "s" if len(file.scenes) > 1 else ""
        names = ", ".join(file.scenes)
        typer.echo(f"{file.path}: {cut}{len(file.scenes)} scene{plural} ({names})")
