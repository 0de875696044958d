"""Tiles: how far their result is from the whole picture's, and how much memory they need."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.alone import ask, watch_memory
from benchmarks.material import Settings, photograph, require
from benchmarks.report import Column, Section, Table
from vernier.engines import EngineName
from vernier.imaging import imresize_uint8
from vernier.metrics import psnr
from vernier.models.grla import GRLA
from vernier.upscaling import Upscaler, upscaler
from vernier.upscaling.pixels.openvino import BesidePixelGraph
from vernier.upscaling.pixels.pytorch import TorchPixels
from vernier.zoo import create_model
from vernier.zoo.networks import networks_of

__all__ = ["run"]

_SHIPPED = ("sesr-m5", "grla-s")
_ENGINES: dict[EngineName, Any] = {
    "torch": TorchPixels,
    "openvino": BesidePixelGraph,
}
# Of values in [0, 1], where tiles add up to the whole picture's result in another order.
_ROUNDING = 1e-4
# What "auto" is told, so that its tiles do not depend on the machine.
_FREE = 2 * 2**30
_NETWORKS: dict[str, dict[str, Any]] = {
    "whole": {},
    "group": {"depths": [2], "num_heads": [6]},
    "tiny group": {"depths": [2], "num_heads": [3], "embed_dim": 24, "squeeze_factor": 6},
}


def run(settings: Settings) -> Section:
    notes = [
        f"{settings.threads} threads. The first table: the example photograph reduced by bicubic "
        "to 8 bits, and enlarged again by torch in float32, which is not rounded. Differences are "
        "of values in [0, 1] over all colours, PSNR to the photograph is that of the papers (of "
        "luma, without the borders).",
        "The second table: one residual group of two blocks, as wide as HAT's, with random weights "
        "(seed 0), on an 8-bit photograph. Groups run one after the other, and what one works with "
        "is free before the next begins; what the whole network takes beside that, its weights and "
        "what each engine makes of them, the last rows show. Every row is a process of its own; "
        "its peak, above what it held with weights and picture loaded, includes OpenVINO's "
        f'conversion and the output array. "auto" is told of {_FREE / 2**30:g} GiB free memory, '
        "of which it plans with half.",
        "Not all windows are computed: the first few, and then those of a new shape; the others "
        "are filled with repeated pixels. Seconds are the mean of the computed windows of each "
        "shape, times how many have it.",
    ]
    return Section("Tiles", notes, [_against_whole(settings), _memory(settings)])


def _against_whole(settings: Settings) -> Table:
    sides = (64,) if settings.quick else (64, 128)
    truth = photograph(*(2 * (420 if settings.quick else 512,)))
    models: list[str | Path] = [*_SHIPPED, *settings.weights]
    rows = [row for model in models for row in _rows(model, truth, sides)]
    columns = [
        Column("name", "network"),
        Column("how", "tiles"),
        Column("side", "side, LR pixels", "number"),
        Column("difference", "largest difference", "tiny"),
        Column("between", "PSNR to whole, dB", "number"),
        Column("whole", "whole to photograph, dB", "number"),
        Column("lost", "lost in tiles, dB", "tiny"),
    ]
    return Table("Tiled against whole", columns, rows)


def _rows(
    model: str | Path, truth: NDArray[Any], sides: tuple[int, ...]
) -> Iterator[dict[str, Any]]:
    plain = Upscaler(model, engine="torch", tile=None)
    scale = int(plain.scale)
    network = networks_of(model)[scale]()
    height, width = (length // scale * scale for length in truth.shape[:2])
    hr = _tensor(truth[:height, :width]) / 255
    lr = imresize_uint8(_tensor(truth[:height, :width]), 1 / scale)
    pixels = np.ascontiguousarray(lr.permute(1, 2, 0).numpy().astype(np.float32) / 255)
    whole = _tensor(plain.upscale_array(pixels))
    quality = float(psnr(whole, hr, crop=scale))
    ways = {"with a halo": (False, 0.0)}
    if network.facts.receptive_radius is None:
        ways = {"faded into each other": (False, math.inf)}
        if isinstance(network.module(), GRLA):
            ways["exact"] = (True, _ROUNDING)
    for how, (exact, allowed) in ways.items():
        for side in sides:
            cut = Upscaler(model, engine="torch", tile=side, exact_tiles=exact)
            tiled = _tensor(cut.upscale_array(pixels))
            difference = float((tiled - whole).abs().max())
            require(f"{plain.name} in tiles {how}", difference, allowed)
            between = float(psnr(tiled, whole, crop=0, luma=False, rounding=False))
            yield {
                "name": model.stem if isinstance(model, Path) else f"{plain.name} x{scale}",
                "how": how,
                "side": side,
                "difference": difference,
                "between": between if math.isfinite(between) else None,
                "whole": quality,
                "lost": quality - float(psnr(tiled, hr, crop=scale)),
            }


def _tensor(pixels: NDArray[Any]) -> Tensor:
    """(H, W, C) -> (C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


@dataclass(frozen=True)
class _Case:
    """A network, an engine and a picture.

    Attributes:
        size: of the picture, height and width.
        computed: pixels that windows may have together before only new shapes are computed.
    """

    network: str
    scale: int
    engine: EngineName
    size: tuple[int, int]
    tile: int | Literal["auto"]
    computed: int = 150_000


def _cases(settings: Settings) -> list[_Case]:
    if settings.quick:
        return [_Case("tiny group", 2, engine, (120, 224), 32, computed=0) for engine in _ENGINES]
    large, half = (1500, 2000), (750, 1000)
    pictures: list[tuple[int, tuple[int, int], int | Literal["auto"]]] = [
        (2, large, "auto"),
        (2, large, 128),
        (4, large, "auto"),
        (4, large, 128),
        (4, half, 128),
    ]
    group = [
        _Case("group", scale, engine, size, tile)
        for scale, size, tile in pictures
        for engine in _ENGINES
    ]
    return group + [
        _Case(network, 2, engine, (128, 128), 0)
        for network in ("group", "whole")
        for engine in _ENGINES
    ]


def _memory(settings: Settings) -> Table:
    rows = []
    for case in _cases(settings):
        (found,) = ask("benchmarks.tiles", {**asdict(case), "threads": settings.threads})
        peak, output = found.pop("peak") / 2**20, found.pop("output") / 2**20
        rows.append(
            {
                "name": f"{case.network} of hat x{case.scale}",
                "engine": case.engine,
                "size": f"{case.size[1]}x{case.size[0]}",
                "tile": str(case.tile or "none"),
                "peak": peak,
                "output": output,
                "beside": peak - output,
                **found,
            }
        )
    columns = [
        Column("name", "network"),
        Column("engine", "engine"),
        Column("size", "input"),
        Column("tile", "tile"),
        Column("windows", "windows", "number"),
        Column("computed", "computed", "number"),
        Column("call", "seconds", "number"),
        Column("peak", "peak, MiB", "number"),
        Column("output", "output array, MiB", "number"),
        Column("beside", "beside it, MiB", "number"),
    ]
    return Table("Peak memory of a large picture", columns, rows)


def _measure(case: _Case, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = create_model("hat", scale=case.scale, **_NETWORKS[case.network]).eval()
    pixels = photograph(*case.size)
    kind = _ENGINES[case.engine]
    compute = kind.run
    windows: Counter[tuple[int, ...]] = Counter()
    seconds: defaultdict[tuple[int, ...], list[float]] = defaultdict(list)
    computed = 0

    def run(engine: Any, window: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        nonlocal computed
        windows[window.shape] += 1
        if window.shape in seconds and computed >= case.computed:
            return window.repeat(case.scale, 0).repeat(case.scale, 1)
        computed += window.shape[0] * window.shape[1]
        start = time.perf_counter()
        upscaled: NDArray[Any] = compute(engine, window, dtype)
        seconds[window.shape].append(time.perf_counter() - start)
        return upscaled

    with (
        mock.patch.object(kind, "run", run),
        mock.patch.object(upscaler, "available_memory", return_value=_FREE),
        watch_memory() as peak,
    ):
        result = Upscaler(model, engine=case.engine, tile=case.tile).upscale_array(pixels)
    return {
        "windows": windows.total(),
        "computed": sum(map(len, seconds.values())),
        "call": sum(fmean(seconds[shape]) * count for shape, count in windows.items()),
        "peak": peak.size,
        "output": result.nbytes,
    }


if __name__ == "__main__":
    question = json.loads(sys.argv[1])
    threads = question.pop("threads")
    question["size"] = tuple(question["size"])
    print(json.dumps(_measure(_Case(**question), threads)))
