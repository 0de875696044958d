"""The command line. Heavy imports live inside the commands, so that ``--help`` answers at once."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from vernier import __version__
from vernier.errors import InputError, VernierError
from vernier.models.registry import DEFAULT_MODEL

app = typer.Typer(
    name="vernier",
    help="Image super-resolution, measured exactly as the papers measure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# Results go to stdout, everything else here.
stderr = Console(stderr=True, soft_wrap=True)
_SMALLEST_TILE = 16


class EngineOption(StrEnum):
    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"


class PrecisionOption(StrEnum):
    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class PictureFormat(StrEnum):
    PNG = "png"
    JPG = "jpg"
    WEBP = "webp"
    TIFF = "tiff"
    AVIF = "avif"


class ModelsFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


class EvaluateFormat(StrEnum):
    TABLE = "table"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"


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
    engine: Annotated[EngineOption, typer.Option(help="What computes.")] = EngineOption.AUTO,
    precision: Annotated[
        PrecisionOption, typer.Option(help="auto: bf16 where it is faster and costs no quality.")
    ] = PrecisionOption.AUTO,
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
        str | None, typer.Option("--device", help="cpu, cuda, cuda:1, ...; default: cpu.")
    ] = None,
) -> None:
    """Make pictures larger; depth, transparency, profile and metadata are kept."""
    import threading
    import time

    from rich.progress import Progress

    from vernier.inference import Outcome, Upscaler, plan_jobs, run_jobs
    from vernier.io import DEFAULT_MAX_PIXELS

    start = time.perf_counter()
    if tile != "auto" and not tile.isdecimal():
        raise InputError(f"--tile must be a number of pixels, 0 or auto, not {tile!r}")
    if tile != "auto" and 0 < int(tile) < _SMALLEST_TILE:
        raise InputError(
            f"--tile {tile} would spend nearly all time on overlaps: at least {_SMALLEST_TILE}, "
            "0 for none, or auto"
        )
    suffix = f".{as_format.value}" if as_format else None
    every = plan_jobs(
        [*(inputs or []), *(more_inputs or [])], output, recursive=recursive, suffix=suffix
    )
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
    )
    if upscaler.note:
        stderr.print(f"note: {upscaler.note}", markup=False, highlight=False)

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
    typer.echo(f"{output}: {len(written)} pictures{skipped}, {how}, {took}")
    for error in failed:
        stderr.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
    if failed:
        raise typer.Exit(2)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file; see recipes/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, e.g. steps=1000 data.batch_size=8")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run from its last checkpoint.")
    ] = False,
) -> None:
    """Train a model as a recipe says."""
    from vernier.training.recipe import load_recipe
    from vernier.training.trainer import train as train_recipe

    try:
        result = train_recipe(load_recipe(recipe, overrides or []), resume=resume)
    except KeyboardInterrupt:
        stderr.print("interrupted; the same command with --resume goes on from the last checkpoint")
        raise typer.Exit(130) from None
    if result.leader:
        best = f", best validation PSNR {result.best_psnr:.3f} dB" if result.validated else ""
        typer.echo(f"{result.folder}: {result.steps} steps{best}")


@app.command()
def models(
    model: Annotated[
        str | None, typer.Argument(help="A model's name or a weight file; all if left out.")
    ] = None,
    scale: Annotated[int | None, typer.Option("--scale", "-s", help="Only this scale.")] = None,
    as_format: Annotated[
        ModelsFormat, typer.Option("--format", help="How to print.")
    ] = ModelsFormat.TABLE,
) -> None:
    """List the models with their costs, or show the card of one."""
    import json
    from dataclasses import asdict

    from rich.table import Column, Table

    from vernier.analysis.overview import OUTPUT_SIZE, overviews

    found = overviews(model, scale)
    if as_format == ModelsFormat.JSON:
        typer.echo(json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False))
        return
    table = Table(
        Column("model", overflow="fold"), "scale", "parameters", "MACs", "weights", "PSNR / SSIM"
    )
    for each in found:
        measured = each.card.measured if each.card else {}
        table.add_row(
            escape(each.model),
            f"x{each.scale}",
            f"{each.parameters:,}",
            f"{each.macs / 1e9:.2f} G",
            "yes" if each.card else "no",
            "\n".join(f"{k} {v['psnr']:.2f} / {v['ssim']:.4f}" for k, v in measured.items()),
        )
    stdout = Console(soft_wrap=True)
    stdout.print(table)
    stdout.print(f"MACs for one picture of {OUTPUT_SIZE[1]}x{OUTPUT_SIZE[0]} pixels, deployed.")
    if model is None:
        return
    for card in (each.card for each in found if each.card):
        stdout.print(f"\n{card.name} x{card.scale}")
        for key, value in asdict(card).items():
            if key not in ("name", "scale", "measured") and value not in ("", 0):
                stdout.print(f"  {key}: {value}", markup=False, highlight=False)


@app.command()
def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Names or weight files; none: bicubic alone."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Benchmark folder; several may follow, or repeat --data."),
    ] = None,
    scale: Annotated[
        int | None, typer.Option("--scale", "-s", help="Default: the scale of the models.")
    ] = None,
    as_format: Annotated[
        EvaluateFormat | None,
        typer.Option("--format", help="Default: by the suffix of -o, else a table."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the report to this file.")
    ] = None,
    rgb: Annotated[bool, typer.Option("--rgb", help="Compare RGB instead of luma.")] = False,
    crop: Annotated[
        int | None, typer.Option("--crop", help="Border pixels left out; default: the scale.")
    ] = None,
    no_rounding: Annotated[
        bool, typer.Option("--no-rounding", help="Do not round results to 8 bit.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Measure models on benchmarks as the papers do, beside what they print."""
    from rich.progress import Progress

    from vernier.evaluation import Protocol, format_of
    from vernier.evaluation import evaluate as evaluate_models
    from vernier.models import list_models

    form = as_format.value if as_format else (format_of(output) if output else "table")
    if output and not output.parent.is_dir():
        raise InputError(f"{output.parent}: no such folder; create it or choose another -o")
    # "--data Set5 Set14" leaves the second folder among the models, which are never folders.
    more = [name for name in models or [] if name not in list_models() and Path(name).is_dir()]
    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("")

        def show(done: int, total: int, image: str) -> None:
            bar.update(task, completed=done, total=total, description=escape(image))

        report = evaluate_models(
            [name for name in models or [] if name not in more],
            [*(data or []), *more],
            scale=scale,
            protocol=Protocol(luma=not rgb, crop=crop, rounding=not no_rounding),
            device=device,
            progress=show,
        )
    if output:
        report.write(output, form)
        typer.echo(f"{output}: written")
    else:
        typer.echo(report.render(form), nl=False)


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit code 2."""
    try:
        app()
    except VernierError as error:
        stderr.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        stderr.print("interrupted")
        sys.exit(130)
