"""Run models and bicubic over benchmarks and measure what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch
from torch import Tensor, nn

from vernier.data.benchmarks import Benchmark, LoadedPair, find_benchmark
from vernier.devices import find_device
from vernier.errors import InputError
from vernier.evaluation.picture_report import (
    PAPERS,
    BenchmarkFacts,
    ImageScore,
    PictureReport,
    Protocol,
    Result,
)
from vernier.evaluation.published import published
from vernier.imaging import as_luma, from_colour, imresize, imresize_uint8, to_colour
from vernier.metrics import psnr, ssim
from vernier.zoo import list_models, load_model

__all__ = ["evaluate"]

ModelSource = str | Path | nn.Module


@dataclass(frozen=True)
class _Loaded:
    """A model, the name for its row, and the name under which its family was published."""

    name: str
    published_name: str
    module: nn.Module
    scale: int


@dataclass(frozen=True)
class _Contestant:
    """A row of the table and how it upscales an LR picture."""

    name: str
    published_name: str
    upscale: Callable[[Tensor], Tensor]  # (C, h, w) -> (C or 1, H, W)


def evaluate(
    models: Sequence[ModelSource],
    folders: Sequence[str | Path],
    *,
    scale: int | None = None,
    protocol: Protocol = PAPERS,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int, str], None] | None = None,
) -> PictureReport:
    """Measure models on benchmarks; bicubic is always the first row.

    Bicubic is MATLAB's, on RGB, rounded to 8 bit after each dimension as the LR were (not at all
    when the protocol does not round). A luma model runs on the unrounded luma of the 8-bit LR;
    under the luma protocol its output is compared as it is, on RGB its chroma is carried by
    bicubic. Gray pictures are their own luma; an RGB model sees three copies, and the mean of its
    outputs is compared.

    Args:
        models: registry names, weight files, or modules with the attributes ``scale`` and
            ``colour`` ("luma" or "rgb"); may be empty.
        folders: what `vernier.data.benchmarks.find_benchmark` recognises.
        scale: upscaling factor; None takes it from the models, which must agree.
        protocol: how results are compared.
        device: where the models run; modules are moved there.
        progress: called before each image with (images done, images in all, benchmark/image).

    Raises:
        InputError: a model or a folder cannot be used, scales differ, a picture is broken, or too
            small to be compared.
    """
    if not folders:
        raise InputError("no benchmark given; name at least one folder of pictures")
    if protocol.crop is not None and protocol.crop < 0:
        raise InputError(f"crop must be zero or more pixels, got {protocol.crop}")
    device = find_device(device)
    loaded = [_load(source, scale) for source in models]
    scale = _common_scale(loaded) if scale is None else scale
    benchmarks = [find_benchmark(folder, scale) for folder in folders]
    names = [benchmark.name for benchmark in benchmarks]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two benchmarks are named {name}; rename a folder or give one")

    contestants = [_bicubic(scale, protocol)]
    training = [model.module.training for model in loaded]
    try:
        for model in loaded:
            name = _numbered(model.name, [contestant.name for contestant in contestants])
            runner = _runner(model.module.eval().to(device), name, scale, protocol, device)
            contestants.append(_Contestant(name, model.published_name, runner))
        return _measure(contestants, benchmarks, scale, protocol, progress)
    finally:
        for model, was_training in zip(loaded, training, strict=True):
            model.module.train(was_training)


def _measure(
    contestants: list[_Contestant],
    benchmarks: list[Benchmark],
    scale: int,
    protocol: Protocol,
    progress: Callable[[int, int, str], None] | None,
) -> PictureReport:
    total = sum(len(benchmark.pairs) for benchmark in benchmarks)
    done = 0
    facts, results = [], []
    for benchmark in benchmarks:
        scores: list[list[ImageScore]] = [[] for _ in contestants]
        gray, notes = 0, list[str]()
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
    start = time.perf_counter()
    result = contestant.upscale(pair.lr)
    seconds = time.perf_counter() - start
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


def _load(source: ModelSource, scale: int | None) -> _Loaded:
    if isinstance(source, nn.Module):
        kind = type(source).__name__
        own_scale, colour = getattr(source, "scale", None), getattr(source, "colour", None)
        if not isinstance(own_scale, int) or colour not in ("luma", "rgb"):
            raise InputError(
                f"{kind} cannot be evaluated: it needs the attributes scale (an integer) "
                'and colour ("luma" or "rgb")'
            )
        if scale is not None and own_scale != scale:
            raise InputError(f"{kind} is a model for scale {own_scale}, not {scale}")
        return _Loaded(kind, kind, source, own_scale)
    module, card = load_model(source, scale)
    path = Path(source)
    # Every training run calls its weights "weights": the run's folder tells them apart.
    stem = path.absolute().parent.name if path.stem == "weights" else path.stem
    name = str(source) if source in list_models() else stem
    return _Loaded(name, card.name, module, card.scale)


def _common_scale(models: list[_Loaded]) -> int:
    scales = sorted({model.scale for model in models})
    if not scales:
        raise InputError("no model to take the scale from; give one, for example --scale 2")
    if len(scales) > 1:
        raise InputError(f"models of scales {scales} in one table; evaluate one scale at a time")
    return scales[0]


def _numbered(name: str, taken: list[str]) -> str:
    """The name, with a number from the second model of that name on."""
    candidates = (name if i == 1 else f"{name} ({i})" for i in count(1))
    return next(candidate for candidate in candidates if candidate not in taken)
