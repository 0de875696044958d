"""What an evaluation found, and its forms: a table, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_args

from rich.console import Console
from rich.table import Table

from vernier.data.benchmarks import LrSource
from vernier.errors import InputError
from vernier.evaluation.published import Figure, Published
from vernier.io.files import write_whole

__all__ = [
    "PAPERS",
    "BenchmarkFacts",
    "Format",
    "ImageScore",
    "Protocol",
    "Report",
    "Result",
    "finite",
    "format_of",
    "markdown_table",
    "text_table",
]

Format = Literal["table", "markdown", "csv", "json"]
_SUFFIXES: dict[str, Format] = {
    ".txt": "table",
    ".md": "markdown",
    ".csv": "csv",
    ".json": "json",
}
_CSV_COLUMNS = (
    *("model", "benchmark", "image", "psnr_db", "ssim", "seconds"),
    *(
        "published_psnr_db",
        "psnr_confirmed",
        "published_ssim",
        "ssim_confirmed",
        "scale",
        "luma",
        "crop",
        "rounding",
        "lr",
    ),
)


@dataclass(frozen=True)
class Protocol:
    """How a result is compared with its HR picture.

    Attributes:
        luma: on BT.601 luma, unrounded; False: on RGB, all channels together.
        crop: pixels left out on every side; None is the scale.
        rounding: round the result to 8 bit first.
    """

    luma: bool = True
    crop: int | None = None
    rounding: bool = True

    def crop_for(self, scale: int) -> int:
        return scale if self.crop is None else self.crop


PAPERS = Protocol()


@dataclass(frozen=True)
class ImageScore:
    """PSNR in dB (infinite for an equal picture), SSIM, and seconds that the upscaling took."""

    image: str
    psnr: float
    ssim: float
    seconds: float


@dataclass(frozen=True)
class Result:
    """One model on one benchmark; ``published`` only where the protocol is the papers'."""

    model: str
    benchmark: str
    images: tuple[ImageScore, ...]
    published: Published | None

    @property
    def psnr(self) -> float:
        """Mean over images, dB."""
        return fmean(image.psnr for image in self.images)

    @property
    def ssim(self) -> float:
        """Mean over images."""
        return fmean(image.ssim for image in self.images)

    @property
    def seconds(self) -> float:
        """Sum over images."""
        return math.fsum(image.seconds for image in self.images)


@dataclass(frozen=True)
class BenchmarkFacts:
    """How many pictures a benchmark has, where its LR came from, and what was left out of files."""

    name: str
    images: int
    gray: int
    lr_source: LrSource
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Everything an evaluation found; ``results`` has one entry per benchmark and model."""

    scale: int
    protocol: Protocol
    benchmarks: tuple[BenchmarkFacts, ...]
    results: tuple[Result, ...]

    def result(self, model: str, benchmark: str) -> Result:
        """The result of one model on one benchmark; KeyError if there is none."""
        for result in self.results:
            if (result.model, result.benchmark) == (model, benchmark):
                return result
        raise KeyError((model, benchmark))

    @property
    def caption(self) -> str:
        """The protocol in one paragraph; no figure of ours is shown without it."""
        protocol = self.protocol
        parts = [
            f"x{self.scale}, PSNR in dB / SSIM on {'BT.601 luma' if protocol.luma else 'RGB'}",
            "result rounded to 8 bit" if protocol.rounding else "result not rounded",
            f"{protocol.crop_for(self.scale)} pixels cropped",
            "mean over images",
        ]
        text = ", ".join(parts)
        if gray := sum(facts.gray for facts in self.benchmarks):
            text += f"; {gray} gray {'picture' if gray == 1 else 'pictures'} kept gray"
        for source, words in (("files", "LR from files"), ("made", "LR made by MATLAB bicubic")):
            names = [facts.name for facts in self.benchmarks if facts.lr_source == source]
            if names:
                text += f"; {words}: {', '.join(names)}"
        if "~" in "".join(_published(result) for result in self.results):
            text += "; ~ published figure not confirmed by a second source"
        return text + "."

    def render(self, form: Format) -> str:
        """The whole report as text, ending in a newline.

        "csv" and "json" have every image and the unrounded figures; JSON, which knows
        neither infinity nor NaN, has null in their place.
        """
        if form == "json":
            return json.dumps(self._to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        return {"table": self._table, "markdown": self._markdown, "csv": self._csv}[form]()

    def write(self, path: str | Path, form: Format | None = None) -> list[Path]:
        """Write the report, whole or not at all; the suffix tells the form unless it is given.

        Returns:
            The file that was written.

        Raises:
            InputError: an unknown suffix and no form, or the file cannot be written.
        """
        path = Path(path)
        write_whole(path, self.render(form or format_of(path)).encode())
        return [path]

    def _grid(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows: a column per benchmark, and one beside it where something is printed."""
        header, columns = ["model"], [list(dict.fromkeys(r.model for r in self.results))]
        for facts in self.benchmarks:
            own = [result for result in self.results if result.benchmark == facts.name]
            header.append(facts.name)
            columns.append([f"{result.psnr:.2f} / {result.ssim:.4f}" for result in own])
            if any(result.published for result in own):
                header.append("published")
                columns.append([_published(result) for result in own])
        return header, [list(row) for row in zip(*columns, strict=True)]

    def _table(self) -> str:
        return text_table(*self._grid()) + "\n".join([self.caption, *self._notes(), ""])

    def _markdown(self) -> str:
        return markdown_table(*self._grid()) + "\n".join(["", self.caption, *self._notes(), ""])

    def _notes(self) -> list[str]:
        return [f"{facts.name}: {note}" for facts in self.benchmarks for note in facts.notes]

    def _csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_CSV_COLUMNS)
        sources = {facts.name: facts.lr_source for facts in self.benchmarks}
        protocol = self.protocol
        shared = (self.scale, protocol.luma, protocol.crop_for(self.scale), protocol.rounding)
        for result in self.results:
            of = (result.model, result.benchmark)
            settings = (*shared, sources[result.benchmark])
            for image in result.images:
                figures = (image.image, image.psnr, image.ssim, image.seconds, *4 * ("",))
                writer.writerow((*of, *figures, *settings))
            printed = result.published
            marks: tuple[Any, ...] = 4 * ("",)
            if printed:
                psnr, ssim = printed.psnr, printed.ssim
                marks = (psnr.value, psnr.confirmed, ssim.value, ssim.confirmed)
            means = ("mean", result.psnr, result.ssim, result.seconds)
            writer.writerow((*of, *means, *marks, *settings))
        return text.getvalue()

    def _to_dict(self) -> dict[str, Any]:
        protocol = self.protocol
        return {
            "scale": self.scale,
            "protocol": {
                "luma": protocol.luma,
                "crop": protocol.crop_for(self.scale),
                "rounding": protocol.rounding,
                "text": self.caption,
            },
            "benchmarks": [
                {
                    "name": facts.name,
                    "images": facts.images,
                    "gray": facts.gray,
                    "lr": facts.lr_source,
                    "notes": facts.notes,
                }
                for facts in self.benchmarks
            ],
            "results": [
                {
                    "model": result.model,
                    "benchmark": result.benchmark,
                    "psnr_db": finite(result.psnr),
                    "ssim": finite(result.ssim),
                    "seconds": result.seconds,
                    "published": result.published
                    and {
                        "psnr_db": result.published.psnr.value,
                        "psnr_confirmed": result.published.psnr.confirmed,
                        "ssim": result.published.ssim.value,
                        "ssim_confirmed": result.published.ssim.confirmed,
                    },
                    "images": [
                        {
                            "image": image.image,
                            "psnr_db": finite(image.psnr),
                            "ssim": finite(image.ssim),
                            "seconds": image.seconds,
                        }
                        for image in result.images
                    ],
                }
                for result in self.results
            ],
        }


def format_of(path: Path) -> Format:
    """The form that a file's suffix asks for.

    Raises:
        InputError: the suffix asks for none.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"{path}: unknown suffix; use one of {', '.join(_SUFFIXES)}, "
            f"or --format with one of {', '.join(get_args(Format))}"
        )
    return _SUFFIXES[path.suffix.lower()]


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """For the screen; the first ``names`` columns hold names, the others figures."""
    table = Table()
    for i, title in enumerate(header):
        table.add_column(title, justify="left" if i < names else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # Names are shown as they are: brackets and colons in them are no markup.
    console = Console(
        file=io.StringIO(), width=10_000, color_system=None, markup=False, emoji=False
    )
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """The same in Markdown."""
    rule = ["---" if i < names else "---:" for i in range(len(header))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *rows))


def finite(value: float) -> float | None:
    """None for infinity and NaN, which JSON does not know."""
    return value if math.isfinite(value) else None


def _published(result: Result) -> str:
    if result.published is None:
        return ""
    return f"{_mark(result.published.psnr, 2)} / {_mark(result.published.ssim, 4)}"


def _mark(figure: Figure, digits: int) -> str:
    return f"{'' if figure.confirmed else '~'}{figure.value:.{digits}f}"
