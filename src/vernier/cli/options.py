"""What several commands share: options, how their words are read, notes, the progress bar."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from typer.core import TyperCommand

from vernier.cli.app import print_line, stderr
from vernier.errors import InputError
from vernier.io.files import shown
from vernier.progress import Progress

__all__ = [
    "NETWORK",
    "AtLeastOption",
    "AxesOption",
    "DeviceOption",
    "Engine",
    "EngineOption",
    "GuidePeakOption",
    "HeightOption",
    "KeyOption",
    "LongestOption",
    "ModelsOption",
    "OptionalDeviceOption",
    "PaperOption",
    "PeakOption",
    "Precision",
    "PrecisionOption",
    "ReportFormat",
    "ScaleOption",
    "ShortestOption",
    "ThreadsOption",
    "TileOption",
    "WavelengthsOption",
    "WidthOption",
    "command_with_lists",
    "parse_scale",
    "parse_tile",
    "parse_wavelengths",
    "print_error",
    "print_line",
    "progress_bar",
    "show_notes",
]


class Engine(StrEnum):
    """What computes a network."""

    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"


class Precision(StrEnum):
    """The numbers that a network computes with."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class PictureFormat(StrEnum):
    PNG = "png"
    JPG = "jpg"
    WEBP = "webp"
    TIFF = "tiff"
    AVIF = "avif"


class ReportFormat(StrEnum):
    """How a report is printed or written."""

    TABLE = "table"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"


# How a cube file is to be read.
AxesOption = Annotated[
    str | None, typer.Option("--axes", help="Order of a file's axes, such as hwc (c = bands).")
]
PeakOption = Annotated[
    float | None, typer.Option("--peak", help="The value that stands for 1, such as 65535.")
]
KeyOption = Annotated[
    str | None, typer.Option("--key", help="Which array of a file; GT/3 is one of a stack.")
]
WavelengthsOption = Annotated[
    str | None,
    typer.Option("--wavelengths", help="Nanometres: first:last:step, or a,b,c,..."),
]
GuidePeakOption = Annotated[
    float | None, typer.Option("--guide-peak", help="The guide's value that stands for 1.")
]

# Which networks, and how they are computed.
NETWORK = "A model's name, a weight file, a run's folder, or module:Class@file"
ModelsOption = Annotated[
    list[str] | None, typer.Option("--model", "-n", help=f"{NETWORK}; repeat it.")
]
EngineOption = Annotated[Engine, typer.Option("--engine", help="What computes.")]
PrecisionOption = Annotated[
    Precision,
    typer.Option("--precision", help="auto: bf16 where it is faster and costs no quality."),
]
TileOption = Annotated[
    str, typer.Option("--tile", "-t", help="Pixels a side, 0 for none, or auto: by memory.")
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Of the CPU; default: all cores.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ..., mps.")]
OptionalDeviceOption = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda, cuda:1, ..., mps; default: cpu.")
]


def command_with_lists(*options: str) -> type[TyperCommand]:
    """A kind of command in which several folders may follow one of these options."""

    class WithLists(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            spread: list[str] = []
            following = ""
            for word in args:
                if following and not word.startswith("-") and Path(word).is_dir():
                    # The first one has its option before it already.
                    spread += [word] if spread[-1] == following else [following, word]
                    continue
                following = word if word in options else ""
                spread.append(word)
            return super().parse_args(ctx, spread)

    return WithLists


def parse_scale(text: str) -> float:
    """The words of --scale: 2, 1.5, 2x, x2 or 200%.

    Raises:
        ValueError: they are no number. Which numbers can be used, the library knows.
    """
    word = text.strip().lower()
    if word.endswith("%"):
        return float(word[:-1]) / 100
    return float(word.removesuffix("x") if word.endswith("x") else word.removeprefix("x"))


# How large a picture should become.
ScaleOption = Annotated[
    float | None,
    typer.Option(
        "--scale",
        "-s",
        parser=parse_scale,
        metavar="FACTOR",
        help="Any number above 1 (2, 2x, 200%); default: 2, or the file's own.",
    ),
]
_Side = int | None
WidthOption = Annotated[_Side, typer.Option("--width", help="To reach, in pixels.")]
HeightOption = Annotated[_Side, typer.Option("--height", help="To reach, in pixels.")]
LongestOption = Annotated[_Side, typer.Option("--longest", help="Longer side to reach.")]
ShortestOption = Annotated[_Side, typer.Option("--shortest", help="Shorter side to reach.")]
AtLeastOption = Annotated[
    str | None,
    typer.Option("--at-least", metavar="WxH", help="To cover; what does already stays."),
]
PaperOption = Annotated[
    str | None,
    typer.Option("--print", metavar="SIZE", help="To cover a print, such as 30x20cm@300dpi."),
]


def parse_tile(text: str) -> int | Literal["auto"]:
    """The words of --tile: a number of pixels, 0 for none, or auto.

    Raises:
        InputError: it is none of these. Whether a number is large enough, the library knows.
    """
    if text == "auto":
        return "auto"
    if not (text.isascii() and text.isdecimal()):
        raise InputError(f"--tile must be a number of pixels, 0 or auto, not {text!r}")
    return int(text)


def parse_wavelengths(text: str | None) -> list[float] | None:
    """The words of --wavelengths in nanometres: first:last:step, or a,b,c,...

    Raises:
        InputError: they are no numbers, or the steps do not reach the last wavelength.
    """
    if text is None:
        return None
    try:
        if ":" not in text:
            return [float(part) for part in text.split(",")]
        first, last, step = (float(part) for part in text.split(":"))
        steps = round((last - first) / step)
        if steps < 1 or abs(first + steps * step - last) > 1e-6:
            raise ValueError
        return [first + index * step for index in range(steps + 1)]
    except (ValueError, ZeroDivisionError, OverflowError):
        raise InputError(
            f"--wavelengths {text}: give first:last:step, such as 400:700:10, or a,b,c,..."
        ) from None


def show_notes(notes: Iterable[str]) -> None:
    """Print what a user should know of a result; results themselves go to stdout."""
    for note in notes:
        print_line(f"note: {note}")


def print_error(error: object) -> None:
    """Print what went wrong as one line."""
    print_line(f"[bold red]error:[/] {escape(shown(error))}", markup=True)


@contextmanager
def progress_bar(task: str = "") -> Iterator[Progress]:
    """A bar on the terminal while the block runs, for whatever takes a `Progress`.

    Args:
        task: what is shown while the task names no part.
    """
    from rich.progress import Progress as Bar

    bar = Bar(console=stderr, transient=True, disable=not stderr.is_terminal)
    # Of several processes that train together only one tells how far they are.
    row = bar.add_task(escape(task), total=None, visible=False)

    def show(done: int, total: int, what: str, /) -> None:
        name = escape(what or task)
        bar.update(row, completed=done, total=total, description=name, visible=True)

    # A bar that would be gone within the second only flickers.
    timer = threading.Timer(1.0, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield show
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
