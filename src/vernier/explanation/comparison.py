"""The papers' visual comparison: one window as several methods make it, with PSNR and SSIM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from vernier.data.benchmarks import LoadedPair
from vernier.data.benchmarks import Pair as PicturePair
from vernier.drawing import (
    boxed,
    captioned,
    enlarged,
    heat,
    painted,
    save_figure,
    side_by_side,
    stacked,
)
from vernier.errors import InputError
from vernier.explanation.features import FeatureMap, blocking, feature_maps
from vernier.explanation.lam import Window
from vernier.explanation.upscaled import bicubic, upscaled
from vernier.explanation.windows import proposed_windows
from vernier.imaging import as_rgb
from vernier.io.files import protect
from vernier.metrics import psnr, ssim
from vernier.models.layers import FusionModel, Model
from vernier.progress import Progress
from vernier.zoo.contestants import load_contestants
from vernier.zoo.own import file_of

__all__ = ["Comparison", "Group", "Score", "compare", "draw_comparison", "draw_features", "scores"]

_CROP_SIDE = 192
_SSIM_SIDE = 11
# Of the window that is proposed.
_WINDOW_SIDE = 64


@dataclass(frozen=True)
class Score:
    """How near a result is to the HR picture inside the window; SSIM needs 11 pixels a side."""

    name: str
    psnr: float
    ssim: float | None


@dataclass(frozen=True)
class Group:
    """A group of a model's layers, and the `blocking` of its feature map, if a grid is known."""

    model: str
    name: str
    blocking: float | None


@dataclass(frozen=True)
class Comparison:
    """What `compare` measured for the figure that it wrote.

    Attributes:
        window: in HR pixels; None where feature maps of the whole picture are shown.
        reason: why the window was proposed; None where it was given.
        scores: of bicubic and each model in the window; empty where feature maps are shown.
        groups: of each model, where feature maps are shown.
    """

    window: Window | None
    reason: str | None = None
    scores: tuple[Score, ...] = ()
    groups: tuple[Group, ...] = ()


def compare(
    picture: str | Path,
    output: str | Path,
    *,
    models: Sequence[str],
    window: Window | tuple[int, int, int] | None = None,
    scale: int | None = None,
    features: bool = False,
    grid: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Comparison:
    """Write a figure: a window of LR, bicubic, each model and HR, or the models' feature maps.

    Args:
        picture: the original; its LR is made by MATLAB's bicubic.
        output: the figure; the suffix names the format.
        models: names and weight files, of one scale.
        window: in HR pixels; default: 64 pixels where the models gain most over bicubic, and of
            feature maps the whole picture.
        scale: default: 2 if all models have it, else the smallest that they share.
        features: show feature maps after each group of layers instead.
        grid: with ``features``: side of the windows along which blocking is measured, in LR
            pixels, 2 or more; default: the model's own.
        device: where the models run.
        progress: told before each model.

    Raises:
        InputError: a file, model, window or setting that cannot be used, or ``output`` would
            overwrite an input.

    Example:
        >>> found = compare("photo.png", "figure.png", models=["sesr-m3"], window=(16, 16, 24))
        >>> [score.name for score in found.scores]
        ['bicubic', 'sesr-m3']
    """
    picture, output = Path(picture), Path(output)
    protect([picture, *map(file_of, models)], [output])
    scale, contestants = load_contestants(models, scale, device)
    for name, model in contestants.items():
        if isinstance(model, FusionModel):
            raise InputError(f"{name} fuses a cube with a guide: compare takes models of pictures")
    pair = PicturePair(picture.stem, scale, picture, None).load()
    if window is not None:
        window = Window(*window)
        window.check(pair.hr.shape[-2], pair.hr.shape[-1])
    if features:
        return _compare_features(pair, output, contestants, scale, window, grid, progress)
    return _compare_results(pair, output, contestants, scale, window, device, progress)


def _compare_results(
    pair: LoadedPair,
    output: Path,
    contestants: Mapping[str, Model],
    scale: int,
    window: Window | None,
    device: str,
    progress: Progress | None,
) -> Comparison:
    made = {}
    for done, (name, model) in enumerate(contestants.items()):
        if progress is not None:
            progress(done, len(contestants), name)
        made[name] = upscaled(model, pair.lr, scale, device)
    enlarged_lr = bicubic(pair.lr, scale)
    reason = None
    if window is None:
        size = min(_WINDOW_SIDE, *pair.hr.shape[-2:])
        (best,) = proposed_windows(pair.hr, enlarged_lr, made, size=size)
        window, reason = best.window, best.reason
    results = {"bicubic": enlarged_lr, **made}
    save_figure(draw_comparison(pair.hr, pair.lr, results, window), output)
    return Comparison(window, reason, tuple(scores(pair.hr, results, window)))


def _compare_features(
    pair: LoadedPair,
    output: Path,
    contestants: Mapping[str, Model],
    scale: int,
    window: Window | None,
    grid: int | None,
    progress: Progress | None,
) -> Comparison:
    lr = pair.lr
    if window is not None:
        x, y, size = (-(-each // scale) for each in window)
        lr = lr[:, y : y + size, x : x + size]
    maps, grids = {}, {}
    for done, (name, model) in enumerate(contestants.items()):
        if progress is not None:
            progress(done, len(contestants), name)
        maps[name] = feature_maps(model, lr)
        # A network pads to a multiple of its windows.
        own = model.size_multiple if model.size_multiple > 1 else None
        grids[name] = grid or own
    save_figure(draw_features(maps, grids), output)
    groups = [
        Group(name, each.name, None if side is None else blocking(each.values, side))
        for name, side in grids.items()
        for each in maps[name]
    ]
    return Comparison(window, groups=tuple(groups))


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


def draw_comparison(
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


def draw_features(
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
