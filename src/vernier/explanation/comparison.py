"""The papers' visual comparison: one window as several methods make it, with PSNR and SSIM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from vernier.drawing import (
    boxed,
    captioned,
    enlarged,
    heat,
    painted,
    side_by_side,
    stacked,
)
from vernier.explanation.features import FeatureMap, blocking
from vernier.explanation.lam import Window
from vernier.imaging import as_rgb
from vernier.metrics import psnr, ssim

__all__ = ["Score", "comparison", "feature_sheet", "scores"]

_CROP_SIDE = 192
_SSIM_SIDE = 11


@dataclass(frozen=True)
class Score:
    """How near a result is to the HR picture inside the window; SSIM needs 11 pixels a side."""

    name: str
    psnr: float
    ssim: float | None


def scores(hr: Tensor, results: Mapping[str, Tensor], window: Window) -> list[Score]:
    """PSNR and SSIM on BT.601 luma of the window alone, results rounded to 8 bit, no border left
    out.

    Args:
        hr: (C, H, W) in [0, 1].
        results: the same size by name.

    Raises:
        InputError: the window lies outside.
    """
    window.check(hr.shape[-2], hr.shape[-1])
    target = _cut(hr, window)
    found = []
    for name, result in results.items():
        part = _cut(result, window)
        similarity = ssim(part, target, crop=0).item() if window.size >= _SSIM_SIDE else None
        found.append(Score(name, psnr(part, target, crop=0).item(), similarity))
    return found


def comparison(
    hr: Tensor, lr: Tensor, results: Mapping[str, Tensor], window: Window
) -> Image.Image:
    """The figure: the HR picture with a box, beside it the box as each method makes it.

    Args:
        hr: (C, scale h, scale w) in [0, 1], gray or RGB.
        lr: (C, h, w).
        results: the size of ``hr``, by name, in the order they are shown.
        window: in HR pixels.
    """
    scale = hr.shape[-1] // lr.shape[-1]
    zoom = max(1, _CROP_SIDE // window.size)
    side = window.size * zoom
    # Whole LR pixels, those that the window touches.
    rows, columns = (
        slice(start // scale, (start + window.size - 1) // scale + 1)
        for start in (window.y, window.x)
    )
    low = painted(as_rgb(lr[:, rows, columns])).resize((side, side), Image.Resampling.NEAREST)
    panels = [captioned(low, ["LR", ""])]
    for score in scores(hr, results, window):
        crop = painted(enlarged(as_rgb(_cut(results[score.name], window)), zoom))
        panels.append(captioned(crop, [score.name, _figures(score)]))
    reference = painted(enlarged(as_rgb(_cut(hr, window)), zoom))
    panels.append(captioned(reference, ["HR", "PSNR / SSIM"]))
    half = -(-len(panels) // 2)
    grid = stacked([side_by_side(panels[:half]), side_by_side(panels[half:])])
    whole = boxed(painted(as_rgb(hr)), *window, width=max(2, hr.shape[-1] // 150))
    ratio = grid.height / whole.height
    size = (max(1, round(whole.width * ratio)), grid.height)
    return side_by_side([whole.resize(size, Image.Resampling.LANCZOS), grid])


def feature_sheet(
    maps: Mapping[str, Sequence[FeatureMap]], window_sizes: Mapping[str, int | None]
) -> Image.Image:
    """A row per model, a panel per group; beneath it the blocking along the window grid.

    Args:
        maps: by model, see `vernier.explanation.features.feature_maps`.
        window_sizes: by model, of the grid in LR pixels; None measures no blocking.
    """
    rows = []
    for name, each in maps.items():
        panels = []
        for feature in each:
            zoom = max(1, _CROP_SIDE // max(feature.values.shape[-2:]))
            panel = painted(enlarged(heat(feature.strength), zoom))
            lines = [f"{name}: {feature.name}"]
            side = window_sizes[name]
            if side is not None:
                lines.append(f"blocking {blocking(feature.values, side):.3f}")
            panels.append(captioned(panel, lines))
        rows.append(side_by_side(panels))
    return stacked(rows)


def _figures(score: Score) -> str:
    second = "-" if score.ssim is None else f"{score.ssim:.4f}"
    return f"{score.psnr:.2f} dB / {second}"


def _cut(picture: Tensor, window: Window) -> Tensor:
    x, y, size = window
    return picture[..., y : y + size, x : x + size]
