"""Run models and bicubic over benchmarks and measure what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vernier.data.benchmarks import Benchmark, LoadedPair, find_benchmark
from vernier.errors import InputError
from vernier.evaluation.candidates import Candidate, on_device, timed
from vernier.evaluation.picture_report import (
    BenchmarkFacts,
    ImageScore,
    PictureReport,
    Protocol,
    Result,
)
from vernier.evaluation.published import published
from vernier.imaging import as_luma, from_colour, imresize, imresize_uint8, to_colour
from vernier.io.files import protect, repeated
from vernier.metrics import psnr, ssim
from vernier.progress import Progress
from vernier.zoo.contestants import numbered

__all__ = ["measure_pictures"]


@dataclass(frozen=True)
class _Contestant:
    """A row of the table and how it upscales an LR picture."""

    name: str
    published_name: str
    upscale: Callable[[Tensor], Tensor]  # (C, h, w) -> (C or 1, H, W)


def measure_pictures(
    candidates: Sequence[Candidate],
    folders: Sequence[str | Path],
    *,
    scale: int | None,
    protocol: Protocol,
    device: torch.device,
    outputs: Sequence[Path],
    progress: Progress | None,
) -> PictureReport:
    """Measure networks on benchmarks, see `vernier.evaluate`.

    Raises:
        InputError: see `vernier.evaluate`; ``outputs`` has a file that is read.
    """
    if not folders:
        raise InputError("no benchmark given; name at least one folder of pictures")
    if protocol.crop is not None and protocol.crop < 0:
        raise InputError(f"crop must be zero or more pixels, got {protocol.crop}")
    scale = _common_scale(candidates) if scale is None else scale
    benchmarks = [find_benchmark(folder, scale) for folder in folders]
    if (name := repeated(benchmark.name for benchmark in benchmarks)) is not None:
        raise InputError(f"two benchmarks are named {name}; rename a folder or give one")
    read = [
        path
        for benchmark in benchmarks
        for pair in benchmark.pairs
        for path in (pair.hr_path, pair.lr_path)
    ]
    protect([*(candidate.file for candidate in candidates), *read], outputs)

    contestants = [_bicubic(scale, protocol)]
    for candidate in on_device(candidates, device):
        name = numbered(candidate.name, [contestant.name for contestant in contestants])
        runner = _runner(candidate.module, name, scale, protocol, device)
        contestants.append(_Contestant(name, candidate.published_name, runner))
    return _measure(contestants, benchmarks, scale, protocol, progress)


def _measure(
    contestants: list[_Contestant],
    benchmarks: list[Benchmark],
    scale: int,
    protocol: Protocol,
    progress: Progress | None,
) -> PictureReport:
    total = sum(len(benchmark.pairs) for benchmark in benchmarks)
    done = 0
    facts, results = [], []
    for benchmark in benchmarks:
        scores: list[list[ImageScore]] = [[] for _ in contestants]
        gray, notes = 0, list(benchmark.notes)
        for pair in benchmark.pairs:
            if progress is not None:
                progress(done, total, f"{benchmark.name}/{pair.name}")
            loaded = pair.load()
            gray += loaded.hr.shape[0] == 1
            notes += loaded.notes
            for contestant, own in zip(contestants, scores, strict=True):
                own.append(_score(contestant, pair.name, loaded, scale, protocol))
            done += 1
        facts.append(
            BenchmarkFacts(
                benchmark.name, len(benchmark.pairs), gray, benchmark.lr_source, tuple(notes)
            )
        )
        for contestant, own in zip(contestants, scores, strict=True):
            printed = published(contestant.published_name, benchmark.name, scale)
            comparable = protocol.luma and protocol.rounding and protocol.crop_for(scale) == scale
            results.append(
                Result(contestant.name, benchmark.name, tuple(own), printed if comparable else None)
            )
    return PictureReport(scale, protocol, tuple(facts), tuple(results))


def _score(
    contestant: _Contestant, name: str, pair: LoadedPair, scale: int, protocol: Protocol
) -> ImageScore:
    result, seconds = timed(f"{contestant.name} on {name}", lambda: contestant.upscale(pair.lr))
    # A luma model gives luma alone: the target is the luma of the HR, unrounded.
    target = as_luma(pair.hr) if len(result) == 1 else pair.hr
    crop = protocol.crop_for(scale)
    try:
        scores = [
            metric(result, target, crop=crop, luma=protocol.luma, rounding=protocol.rounding)
            for metric in (psnr, ssim)
        ]
    except ValueError as error:
        raise InputError(f"{contestant.name} on {name}: {error}") from error
    return ImageScore(name, scores[0].item(), scores[1].item(), seconds)


def _bicubic(scale: int, protocol: Protocol) -> _Contestant:
    def upscale(lr: Tensor) -> Tensor:
        if not protocol.rounding:
            return imresize(lr, scale)
        return imresize_uint8((lr * 255).round().to(torch.uint8), scale).float() / 255

    return _Contestant("bicubic", "bicubic", upscale)


def _runner(
    module: nn.Module, name: str, scale: int, protocol: Protocol, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """(C, h, w) on the CPU -> the module's result there, ready to be compared."""

    @torch.inference_mode()
    def run(lr: Tensor) -> Tensor:
        hr: Tensor = module(lr[None].to(device))[0].cpu()
        wanted = (lr.shape[0], scale * lr.shape[1], scale * lr.shape[2])
        if hr.shape != wanted:
            raise InputError(f"{name} made {tuple(hr.shape)} of {tuple(lr.shape)}, not {wanted}")
        return hr

    def upscale(lr: Tensor) -> Tensor:
        result = run(to_colour(lr, "rgb" if module.colour == "rgb" else "luma"))
        return result if len(result) == 1 and protocol.luma else from_colour(result, lr)

    return upscale


def _common_scale(candidates: Sequence[Candidate]) -> int:
    scales = sorted({candidate.scale for candidate in candidates})
    if not scales:
        raise InputError("no model to take the scale from; give one, for example --scale 2")
    if len(scales) > 1:
        raise InputError(f"models of scales {scales} in one table; evaluate one scale at a time")
    return scales[0]
