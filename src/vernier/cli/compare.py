"""`vernier compare`: one window as several models make it, or what they compute on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.app import app
from vernier.cli.options import DeviceOption, ModelsOption, progress_bar


@app.command()
def compare(
    picture: Annotated[Path, typer.Argument(metavar="HR", help="The original.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The figure, for example .png.")],
    models: ModelsOption = None,
    window: Annotated[
        str | None,
        typer.Option(
            help="X,Y,SIZE in pixels of HR. Default: 64 pixels where the models gain most over "
            "bicubic."
        ),
    ] = None,
    scale: Annotated[
        int | None, typer.Option("--scale", "-s", help="Default: 2 if the models have it.")
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="Feature maps after each group instead.")
    ] = False,
    grid: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="With --features: side of the windows along which blocking is measured, "
            "in LR pixels; default: the model's own.",
        ),
    ] = None,
    device: DeviceOption = "cpu",
) -> None:
    """Draw the papers' figure: a window of LR, bicubic, each model and HR, with PSNR and SSIM."""
    from vernier.explanation.comparison import compare as compare_models
    from vernier.explanation.lam import Window
    from vernier.io.files import check_target

    chosen = None if window is None else Window.parse(window)
    check_target(output)
    with progress_bar("compare") as progress:
        found = compare_models(
            picture,
            output,
            models=models or [],
            window=chosen,
            scale=scale,
            features=features,
            grid=grid,
            device=device,
            progress=progress,
        )
    if found.reason is not None:
        typer.echo(found.reason)
    for score in found.scores:
        second = "" if score.ssim is None else f", SSIM {score.ssim:.4f}"
        typer.echo(f"{score.name}: PSNR {score.psnr:.2f} dB{second} (in the window)")
    for group in found.groups:
        blocking = "" if group.blocking is None else f": blocking {group.blocking:.3f}"
        typer.echo(f"{group.model} {group.name}{blocking}")
    typer.echo(f"{output}: written")
