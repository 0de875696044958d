"""What an evaluation of pictures found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from vernier.data.benchmarks import LrSource
from vernier.evaluation.published import Figure, Published
from vernier.tables import Report, Table

__all__ = ["PAPERS", "BenchmarkFacts", "ImageScore", "PictureReport", "Protocol", "Result"]

_FIGURES = ("model", "benchmark", "image", "psnr_db", "ssim", "seconds")
_PRINTED = ("published_psnr_db", "psnr_confirmed", "published_ssim", "ssim_confirmed")
_SETTINGS = ("scale", "luma", "crop", "rounding", "lr")


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
class PictureReport(Report):
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
            names = [
                f"{facts.name} ({facts.images} picture{'s' * (facts.images != 1)})"
                for facts in self.benchmarks
                if facts.lr_source == source
            ]
            if names:
                text += f"; {words}: {', '.join(names)}"
        if "~" in "".join(_published(result) for result in self.results):
            text += "; ~ published figure not confirmed by a second source"
        return text + "."

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(f"{facts.name}: {note}" for facts in self.benchmarks for note in facts.notes)

    def shown(self) -> Table:
        """A column per benchmark, and one beside it where something is printed."""
        header, columns = ["model"], [list(dict.fromkeys(r.model for r in self.results))]
        for facts in self.benchmarks:
            own = [result for result in self.results if result.benchmark == facts.name]
            header.append(facts.name)
            columns.append([f"{result.psnr:.2f} / {result.ssim:.4f}" for result in own])
            if any(result.published for result in own):
                header.append("published")
                columns.append([_published(result) for result in own])
        return Table(header, list(zip(*columns, strict=True)))

    def records(self) -> Table:
        """A row per model, benchmark and picture, and one for their mean."""
        sources = {facts.name: facts.lr_source for facts in self.benchmarks}
        protocol = self.protocol
        shared = (self.scale, protocol.luma, protocol.crop_for(self.scale), protocol.rounding)
        rows: list[tuple[Any, ...]] = []
        for result in self.results:
            of = (result.model, result.benchmark)
            settings = (*shared, sources[result.benchmark])
            for image in result.images:
                figures = (image.image, image.psnr, image.ssim, image.seconds)
                rows.append((*of, *figures, *len(_PRINTED) * ("",), *settings))
            printed: tuple[Any, ...] = len(_PRINTED) * ("",)
            if result.published:
                psnr, ssim = result.published.psnr, result.published.ssim
                printed = (psnr.value, psnr.confirmed, ssim.value, ssim.confirmed)
            means = ("mean", result.psnr, result.ssim, result.seconds)
            rows.append((*of, *means, *printed, *settings))
        return Table((*_FIGURES, *_PRINTED, *_SETTINGS), rows)

    def document(self) -> dict[str, Any]:
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
                    "psnr_db": result.psnr,
                    "ssim": result.ssim,
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
                            "psnr_db": image.psnr,
                            "ssim": image.ssim,
                            "seconds": image.seconds,
                        }
                        for image in result.images
                    ],
                }
                for result in self.results
            ],
        }


def _published(result: Result) -> str:
    if result.published is None:
        return ""
    return f"{_mark(result.published.psnr, 2)} / {_mark(result.published.ssim, 4)}"


def _mark(figure: Figure, digits: int) -> str:
    return f"{'' if figure.confirmed else '~'}{figure.value:.{digits}f}"
