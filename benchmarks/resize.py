"""Exact resize and metrics against plain implementations of the same definitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from benchmarks import textbook
from benchmarks.material import Settings, photograph, require
from benchmarks.report import Column, Section, Table
from benchmarks.timing import interleave
from vernier.imaging import imresize, imresize_uint8
from vernier.metrics import psnr, ssim

__all__ = ["run"]

_CROP = 2


@dataclass(frozen=True)
class _Duel:
    name: str
    ours: Callable[[], Tensor]
    plain: Callable[[], Tensor]
    allowed: float


def run(settings: Settings) -> Section:
    sizes = {"64x48": (48, 64)} if settings.quick else {"1080p": (1080, 1920)}
    duels = [duel for name, size in sizes.items() for duel in _duels(name, *size)]
    calls: dict[str, Callable[[], object]] = {}
    differences = {}
    for duel in duels:
        difference = float((duel.ours().double() - duel.plain().double()).abs().max())
        differences[duel.name] = require(duel.name, difference, duel.allowed)
        calls[f"{duel.name} ours"] = duel.ours
        calls[f"{duel.name} plain"] = duel.plain
    timings = interleave(calls, repeats=settings.repeats)
    rows = [
        {
            "name": duel.name,
            "ours": asdict(timings[f"{duel.name} ours"]),
            "plain": asdict(timings[f"{duel.name} plain"]),
            "ratio": timings[f"{duel.name} plain"].median / timings[f"{duel.name} ours"].median,
            "difference": differences[duel.name],
            "allowed": duel.allowed,
        }
        for duel in duels
    ]
    columns = [
        Column("name", "operation"),
        Column("ours", "Vernier, ms", "milliseconds"),
        Column("plain", "plain, ms", "milliseconds"),
        Column("ratio", "speed", "ratio"),
        Column("difference", "largest difference", "tiny"),
    ]
    note = (
        f"RGB pictures, {settings.threads} threads. The plain resize picks and adds input rows tap "
        "by tap, the plain SSIM convolves with the whole 11x11 window; both are torch too "
        "(`benchmarks/textbook.py`). Sizes are those of the input."
    )
    return Section("Resize and metrics", [note], [Table("Against the textbook", columns, rows)])


def _duels(size: str, height: int, width: int) -> list[_Duel]:
    picture = torch.from_numpy(photograph(height, width)).permute(2, 0, 1).contiguous()
    image = picture.float() / 255
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    noisy = image + 0.02 * noise
    duels = []
    for scale, shown in ((1 / 2, "1/2"), (1 / 3, "1/3"), (2.0, "2")):
        duels += [
            _Duel(
                f"imresize {size} x{shown}",
                lambda scale=scale: imresize(image, scale),  # type: ignore[misc]
                lambda scale=scale: textbook.imresize(image, scale),  # type: ignore[misc]
                1e-5,
            ),
            _Duel(
                f"imresize_uint8 {size} x{shown}",
                lambda scale=scale: imresize_uint8(picture, scale),  # type: ignore[misc]
                lambda scale=scale: textbook.imresize_uint8(picture, scale),  # type: ignore[misc]
                0.0,
            ),
        ]
    return [
        *duels,
        _Duel(
            f"psnr {size}",
            lambda: psnr(noisy, image, crop=_CROP),
            lambda: textbook.psnr(noisy, image, _CROP),
            1e-5,
        ),
        _Duel(
            f"ssim {size}",
            lambda: ssim(noisy, image, crop=_CROP),
            lambda: textbook.ssim(noisy, image, _CROP),
            1e-7,
        ),
    ]
