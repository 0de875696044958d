"""`vernier upscale`: pictures and folders, larger."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from vernier.cli import options as given
from vernier.cli.app import app
from vernier.errors import InputError
from vernier.io.files import shown
from vernier.zoo.registry import DEFAULT_MODEL


@app.command()
def upscale(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="INPUT...", help="Pictures and folders; - is stdin."),
    ] = None,
    # Text, for a path loses the slash that a folder's name ends with.
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="A file, or a folder; - is stdout; default: NAME-x2 beside."
        ),
    ] = None,
    more_inputs: Annotated[
        list[Path] | None, typer.Option("--input", "-i", help="The same, as an option.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-n", help=f"{given.NETWORK}.")] = DEFAULT_MODEL,
    scale: given.ScaleOption = None,
    width: given.WidthOption = None,
    height: given.HeightOption = None,
    longest: given.LongestOption = None,
    shortest: given.ShortestOption = None,
    at_least: given.AtLeastOption = None,
    paper: given.PaperOption = None,
    tile: given.TileOption = "auto",
    exact_tiles: Annotated[
        bool,
        typer.Option(
            "--exact-tiles", help="GRLA: tiles add up to the whole picture's result (torch)."
        ),
    ] = False,
    engine: given.EngineOption = given.Engine.AUTO,
    precision: given.PrecisionOption = given.Precision.AUTO,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average eight flips and turns; 8 times slower.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Go into folders' folders, keep the tree.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out what is already there.")
    ] = False,
    as_format: Annotated[
        given.PictureFormat | None,
        typer.Option("--format", help="Of files in a folder; default: as the input."),
    ] = None,
    keep_dates: Annotated[
        bool, typer.Option("--keep-dates", help="Give the files their pictures' dates.")
    ] = False,
    quality: Annotated[int, typer.Option(min=1, max=100, help="For JPEG, WebP and AVIF.")] = 95,
    max_pixels: Annotated[
        int | None, typer.Option("--max-pixels", help="Refuse pictures that are larger.")
    ] = None,
    device: given.OptionalDeviceOption = None,
    threads: given.ThreadsOption = None,
) -> None:
    """Make pictures larger; depth, transparency, profile and metadata are kept."""
    from vernier.io import DEFAULT_MAX_PIXELS
    from vernier.upscaling import Size, upscale_files

    start = time.perf_counter()
    if max_pixels is not None and max_pixels < 1:
        raise InputError(f"--max-pixels must be a number of pixels, at least 1, not {max_pixels}")
    with given.progress_bar("upscale") as progress:
        done = upscale_files(
            [*(inputs or []), *(more_inputs or [])],
            output,
            recursive=recursive,
            skip_existing=skip_existing,
            suffix=f".{as_format.value}" if as_format else None,
            quality=quality,
            max_pixels=DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels,
            model=model,
            scale=scale,
            size=Size.of_words(width, height, longest, shortest, at_least, paper),
            engine=engine.value,
            precision=precision.value,
            tile=given.parse_tile(tile),
            ensemble=ensemble,
            device=device,
            exact_tiles=exact_tiles,
            threads=threads,
            keep_dates=keep_dates,
            progress=progress,
        )
    took = time.perf_counter() - start
    given.show_notes(done.notes)
    if done.is_single and done.errors:
        raise done.errors[0]
    told = shown(f"{done}, {took:.2f} s" if done.outcomes else done)
    typer.echo(told, err=done.is_on_stdout)
    for error in done.errors:
        given.print_error(error)
    if done.errors:
        raise typer.Exit(2)
