"""`vernier upscale`: pictures and folders, larger."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from vernier.cli.app import app, stderr
from vernier.cli.options import Engine, EngineOption, Precision, PrecisionOption, show_notes
from vernier.errors import InputError
from vernier.zoo.registry import DEFAULT_MODEL

_SMALLEST_TILE = 16


class PictureFormat(StrEnum):
    PNG = "png"
    JPG = "jpg"
    WEBP = "webp"
    TIFF = "tiff"
    AVIF = "avif"


@app.command()
def upscale(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="For one picture a file or a folder, else a folder."),
    ],
    inputs: Annotated[
        list[Path] | None, typer.Argument(metavar="INPUT...", help="Pictures and folders.")
    ] = None,
    more_inputs: Annotated[
        list[Path] | None, typer.Option("--input", "-i", help="The same, as an option.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-n", help="A model's name or a weight file.")
    ] = DEFAULT_MODEL,
    scale: Annotated[
        float | None,
        typer.Option("--scale", "-s", help="Any number above 1; default: 2, or the file's own."),
    ] = None,
    tile: Annotated[
        str, typer.Option("--tile", "-t", help="Pixels a side, 0 for none, or auto: by memory.")
    ] = "auto",
    exact_tiles: Annotated[
        bool,
        typer.Option(
            "--exact-tiles", help="GRLA: tiles add up to the whole picture's result (torch)."
        ),
    ] = False,
    engine: EngineOption = Engine.AUTO,
    precision: PrecisionOption = Precision.AUTO,
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
        PictureFormat | None,
        typer.Option("--format", help="Of files in a folder; default: as the input."),
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="For JPEG, WebP and AVIF.")] = 95,
    max_pixels: Annotated[
        int | None, typer.Option("--max-pixels", help="Refuse pictures that are larger.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, cuda:1, ..., mps; default: cpu.")
    ] = None,
) -> None:
    """Make pictures larger; depth, transparency, profile and metadata are kept."""
    import threading
    import time
    from collections import Counter

    from rich.progress import Progress

    from vernier.io import DEFAULT_MAX_PIXELS
    from vernier.upscaling import Outcome, Upscaler, plan_jobs, run_jobs

    start = time.perf_counter()
    if tile != "auto" and not tile.isdecimal():
        raise InputError(f"--tile must be a number of pixels, 0 or auto, not {tile!r}")
    if tile != "auto" and 0 < int(tile) < _SMALLEST_TILE:
        raise InputError(
            f"--tile {tile} would spend nearly all time on overlaps: at least {_SMALLEST_TILE}, "
            "0 for none, or auto"
        )
    if max_pixels is not None and max_pixels < 1:
        raise InputError(f"--max-pixels must be a number of pixels, at least 1, not {max_pixels}")
    suffix = f".{as_format.value}" if as_format else None
    plan = plan_jobs(
        [*(inputs or []), *(more_inputs or [])], output, recursive=recursive, suffix=suffix
    )
    every = plan.jobs
    jobs = [job for job in every if not (skip_existing and job.target.exists())]
    skipped = f", {len(every) - len(jobs)} already there" if len(jobs) < len(every) else ""
    if not jobs:
        typer.echo(f"nothing to do{skipped}")
        return
    upscaler = Upscaler(
        model,
        scale=scale,
        engine=engine.value,
        precision=precision.value,
        tile="auto" if tile == "auto" else int(tile),
        ensemble=ensemble,
        device=device,
        exact_tiles=exact_tiles,
    )
    outcomes: list[Outcome] = []
    bar = Progress(console=stderr, transient=True, disable=not stderr.is_terminal)
    task = bar.add_task("upscale", total=len(jobs))

    def show(done: int, total: int) -> None:
        bar.update(task, completed=len(outcomes) + done / total)

    # A bar that would be gone within the second only flickers.
    timer = threading.Timer(1.0, bar.start)
    timer.start()
    try:
        for outcome in run_jobs(
            upscaler,
            jobs,
            quality=quality,
            max_pixels=DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels,
            progress=show,
        ):
            outcomes.append(outcome)
            bar.update(task, completed=len(outcomes))
    finally:
        timer.cancel()
        timer.join()
        bar.stop()

    written = [outcome for outcome in outcomes if outcome.error is None]
    notes = [upscaler.note] if upscaler.note and written else []
    if upscaler.approximate and written:
        notes.append(
            f"{upscaler.name} looks at the whole picture, so that its tiles come near the whole "
            "picture's result but do not equal it; --tile 0 takes none, and --exact-tiles, which "
            "GRLA has, makes them exact"
        )
    for note, count in Counter(note for outcome in written for note in outcome.notes).items():
        notes.append(note if len(every) == 1 else f"{_counted(count, 'picture')}: {note}")
    if plan.left_out:
        notes.append(f"{_counted(plan.left_out, 'file')} of other kinds left out")
    show_notes(notes)
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(every) == 1 and failed:
        raise failed[0]
    how = f"{upscaler.name} x{upscaler.scale:g}, {upscaler.engine_name}"
    took = f"{time.perf_counter() - start:.2f} s"
    if len(every) == 1:
        (one,) = written
        assert one.size
        typer.echo(f"{one.job.target}: {one.size[0]}x{one.size[1]}, {how} {one.precision}, {took}")
        return
    typer.echo(f"{output}: {_counted(len(written), 'picture')}{skipped}, {how}, {took}")
    for error in failed:
        stderr.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
    if failed:
        raise typer.Exit(2)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
