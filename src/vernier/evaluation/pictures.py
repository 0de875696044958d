"""Run models and bicubic over benchmarks and measure what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from vernier.data.benchmarks import Benchmark, LoadedPair, Pair, find_benchmark
from vernier.errors import InputError
from vernier.evaluation.candidates import Candidate, on_device, timed
from vernier.evaluation.finished import find_results, load_result
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
    """A row of the table and how it comes to an upscaled picture."""

    name: str
    published_name: str
    upscale: Callable[[Pair, LoadedPair], Tensor]  # -> (C or 1, H, W)
    computes: bool = True  # False: the results were there before


def measure_pictures(
    candidates: Sequence[Candidate],
    folders: Sequence[str | Path],
    *,
    results: Sequence[Path],
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
    lacking = [b.name for b in benchmarks if any(pair.lr_path is None for pair in b.pairs)]
    if scale == 1 and lacking:
        raise InputError(
            f"a model of scale 1 keeps the size, and of {lacking[0]} only the originals are there: "
            "give a benchmark that has the model's inputs too"
        )
    if (name := repeated(benchmark.name for benchmark in benchmarks)) is not None:
        raise InputError(f"two benchmarks are named {name}; rename a folder or give one")
    read = [
        path
        for benchmark in benchmarks
        for pair in benchmark.pairs
        for path in (pair.hr_path, pair.lr_path)
    ]
    finished = [find_results(folder, benchmarks) for folder in results]
    made = [path for files in finished for path in files.values()]
    protect([*(candidate.file for candidate in candidates), *read, *made], outputs)

    contestants = [_bicubic(scale, protocol)]
    for candidate in on_device(candidates, device):
        name = numbered(candidate.name, [contestant.name for contestant in contestants])
        runner = _runner(candidate.module, name, scale, protocol, device)
        contestants.append(_Contestant(name, candidate.published_name, runner))
    for folder, files in zip(results, finished, strict=True):
        name = numbered(folder.resolve().name, [contestant.name for contestant in contestants])
        contestants.append(_Contestant(name, "", partial(_finished, files), computes=False))
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
                own.append(_score(contestant, pair, loaded, scale, protocol))
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
    contestant: _Contestant, pair: Pair, loaded: LoadedPair, scale: int, protocol: Protocol
) -> ImageScore:
    what = f"{contestant.name} on {pair.name}"
    result, seconds = timed(what, lambda: contestant.upscale(pair, loaded))
    # A luma model gives luma alone: the target is the luma of the HR, unrounded.
    target = as_luma(loaded.hr) if len(result) == 1 else loaded.hr
    crop = protocol.crop_for(scale)
    try:
        scores = [
            metric(result, target, crop=crop, luma=protocol.luma, rounding=protocol.rounding)
            for metric in (psnr, ssim)
        ]
    except ValueError as error:
        raise InputError(f"{what}: {error}") from error
    seconds = seconds if contestant.computes else 0.0
    return ImageScore(pair.name, scores[0].item(), scores[1].item(), seconds)


def _finished(files: Mapping[Path, Path], pair: Pair, loaded: LoadedPair) -> Tensor:
    return load_result(files[pair.hr_path], pair, loaded)


def _bicubic(scale: int, protocol: Protocol) -> _Contestant:
    def upscale(_: Pair, loaded: LoadedPair) -> Tensor:
        if not protocol.rounding:
            return imresize(loaded.lr, scale)
        return imresize_uint8((loaded.lr * 255).round().to(torch.uint8), scale).float() / 255

    return _Contestant("bicubic", "bicubic", upscale)


def _runner(
    module: nn.Module, name: str, scale: int, protocol: Protocol, device: torch.device
) -> Callable[[Pair, LoadedPair], Tensor]:
    """LR (C, h, w) on the CPU -> the module's result there, ready to be compared."""

    @torch.inference_mode()
    def run(lr: Tensor) -> Tensor:
        hr: Tensor = module(lr[None].to(device))[0].cpu()
        wanted = (lr.shape[0], scale * lr.shape[1], scale * lr.shape[2])
        if hr.shape != wanted:
            raise InputError(f"{name} made {tuple(hr.shape)} of {tuple(lr.shape)}, not {wanted}")
        return hr

    def upscale(_: Pair, loaded: LoadedPair) -> Tensor:
        lr = loaded.lr
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
