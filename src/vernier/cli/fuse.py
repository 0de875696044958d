"""`vernier fuse`: a coarse cube and a sharp guide, made one sharp cube."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.app import app
from vernier.cli.options import (
    NETWORK,
    AxesOption,
    Engine,
    EngineOption,
    GuidePeakOption,
    KeyOption,
    OptionalDeviceOption,
    PeakOption,
    Precision,
    WavelengthsOption,
    parse_tile,
    parse_wavelengths,
    progress_bar,
    show_notes,
)
from vernier.errors import InputError


@app.command()
def fuse(
    cube_path: Annotated[
        Path, typer.Argument(metavar="CUBE", help="Cube file, PNG folder, or fusion file.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A cube file; of a fusion file with scenes, a folder."),
    ],
    guide: Annotated[
        Path | None,
        typer.Option("--guide", "-g", help="The sharp picture or cube; fusion files hold it."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-n",
            help=f"{NETWORK}; or guided-filter, gsa, bicubic. Default: psrt-s for "
            "cubes such as it was trained on, else guided-filter, for a gray guide gsa.",
        ),
    ] = None,
    scale: Annotated[
        int | None, typer.Option("--scale", "-s", help="Default: the model's.")
    ] = None,
    tile: Annotated[
        str, typer.Option("--tile", "-t", help="Guide pixels a side, 0 for none, or auto.")
    ] = "auto",
    engine: EngineOption = Engine.AUTO,
    precision: Annotated[
        Precision, typer.Option(help="Of the correction; auto is fp32.")
    ] = Precision.AUTO,
    axes: AxesOption = None,
    peak: PeakOption = None,
    key: KeyOption = None,
    wavelengths: WavelengthsOption = None,
    guide_peak: GuidePeakOption = None,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not check that the guide shows the same scene.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Also draw a sheet (PNG) of each scene.")
    ] = None,
    device: OptionalDeviceOption = None,
) -> None:
    """Make a hyperspectral cube as sharp as a picture of the same scene."""
    from vernier.fusion import fuse_each

    try:
        with progress_bar("fuse") as progress:
            for fused in fuse_each(
                cube_path,
                guide,
                output,
                model=model,
                scale=scale,
                tile=parse_tile(tile),
                engine=engine.value,
                precision=precision.value,
                axes=axes,
                peak=peak,
                key=key,
                wavelengths=parse_wavelengths(wavelengths),
                guide_peak=guide_peak,
                check=not no_check,
                report=report,
                device=device,
                progress=progress,
            ):
                show_notes(fused.notes)
                bands, height, width = fused.values.shape
                typer.echo(
                    f"{fused.output}: {width}x{height}, {bands} bands, {fused.method} "
                    f"x{fused.scale}, {fused.engine}, {fused.seconds:.2f} s"
                )
    except InputError as error:
        show_notes(getattr(error, "__notes__", ()))
        raise
