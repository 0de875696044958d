"""A fused scene on one page: pictures, error maps, spectra at chosen pixels.

Upper row: the guide, the upsampled cube, the result and, where it is known, the reference. Middle
row: mean absolute error over the bands, and spectral angle, of the upsampled cube and of the
result, each pair on one scale. Lower row: spectra of the pixels that are marked in the result.
Without a reference the middle row shows what the result changed in the upsampled cube.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vernier.drawing import (
    captioned,
    enlarged,
    heat,
    painted,
    save_figure,
    side_by_side,
    stacked,
)
from vernier.imaging import imresize
from vernier.imaging.display import cube_as_rgb, to_display
from vernier.metrics import cube_psnr, sam
from vernier.metrics.spectral import spectral_angle

__all__ = ["bright_pixels", "draw_sheet"]

_Cube = Tensor | NDArray[np.floating]
_PANEL = 320
_BLACK, _GRAY, _BLUE, _RED = (0, 0, 0), (150, 150, 150), (55, 126, 184), (228, 26, 28)


def draw_sheet(
    path: str | Path,
    *,
    lr: _Cube,
    guide: _Cube,
    result: _Cube,
    gt: _Cube | None = None,
    upsampled: _Cube | None = None,
    wavelengths: Sequence[float] | None = None,
    pixels: Sequence[tuple[int, int]] | None = None,
    title: str = "",
) -> None:
    """Write the sheet of a scene.

    Args:
        path: the file; its suffix names the format (PNG).
        lr: the coarse cube (bands, h, w), in [0, 1] as all that follow.
        guide: (channels, H, W).
        result: the fused cube (bands, H, W).
        gt: the reference, if there is one.
        upsampled: the cube that the result is compared with; default: bicubic of ``lr``. Clamped
            to [0, 1], or as far beyond as the result goes.
        wavelengths: of the bands, nanometres; without them bands are numbered.
        pixels: (x, y) whose spectra are drawn; default: `bright_pixels` of the result.
        title: a line above it all.

    Raises:
        ValueError: shapes that do not belong together, or a pixel outside the cube.
        PictureError: the file cannot be written.
    """
    lr, guide, result = (torch.as_tensor(x).float() for x in (lr, guide, result))
    size = (result.shape[-2], result.shape[-1])
    before = imresize(lr, size=size) if upsampled is None else torch.as_tensor(upsampled).float()
    # As the result is: a cube may go beyond its peak.
    before = before.clamp(min(0.0, float(result.min())), max(1.0, float(result.max())))
    truth = None if gt is None else torch.as_tensor(gt).float()
    for cube in (before, *(() if truth is None else (truth,))):
        if cube.shape != result.shape:
            raise ValueError(f"cubes {tuple(cube.shape)} and {tuple(result.shape)} on one sheet")
    pixels = bright_pixels(result) if pixels is None else pixels
    for x, y in pixels:
        if not (0 <= x < size[1] and 0 <= y < size[0]):
            raise ValueError(f"pixel {x},{y} lies outside of {size[1]}x{size[0]}")

    rows = [
        side_by_side(_pictures(guide, before, result, truth, wavelengths, pixels)),
        side_by_side(_error_maps(before, result, truth)),
        side_by_side(_spectra(before, result, truth, wavelengths, pixels)),
    ]
    sheet = stacked(rows)
    if title:
        heading = captioned(Image.new("RGB", (1, 1), "white"), [title])
        sheet = stacked([heading, sheet])
    save_figure(sheet, path)


def bright_pixels(cube: Tensor, count: int = 2) -> list[tuple[int, int]]:
    """(x, y) of a pixel in each of ``count`` x ``count`` fields: brighter than nine tenths of it.

    The brightest are often highlights, the centre is often background.
    """
    brightness = cube.mean(0)
    height, width = brightness.shape
    pixels = []
    for top, bottom in _halves(height, count):
        for left, right in _halves(width, count):
            field = brightness[top:bottom, left:right].flatten()
            rank = int(0.9 * (len(field) - 1))
            place = int(field.argsort(stable=True)[rank])
            pixels.append((left + place % (right - left), top + place // (right - left)))
    return list(dict.fromkeys(pixels))


def _halves(length: int, count: int) -> list[tuple[int, int]]:
    """``count`` stretches of an axis, each of one pixel or more."""
    edges = [length * i // count for i in range(count + 1)]
    return [(a, max(b, a + 1)) for a, b in pairwise(edges) if a < length]


def _pictures(
    guide: Tensor,
    before: Tensor,
    result: Tensor,
    truth: Tensor | None,
    wavelengths: Sequence[float] | None,
    pixels: Sequence[tuple[int, int]],
) -> list[Image.Image]:
    shown = {"upsampled": before, "result": result}
    if truth is not None:
        shown["reference"] = truth
    # One brightness for all cubes, so that they can be compared.
    colours = [cube_as_rgb(cube.numpy(), wavelengths=wavelengths) for cube in shown.values()]
    together = torch.from_numpy(to_display(np.concatenate(colours, -1))).permute(2, 0, 1)
    panels = dict(zip(shown, together.chunk(len(shown), -1), strict=True))
    channels = guide.numpy() if len(guide) == 3 else cube_as_rgb(guide.numpy())
    sharp = torch.from_numpy(to_display(channels)).permute(2, 0, 1)
    images = [captioned(_fitted(sharp), ["guide"])]
    for name, picture in panels.items():
        image = _fitted(picture)
        caption = name
        if name == "result":
            image = _marked(image, pixels, image.width / picture.shape[-1])
        if truth is not None and name != "reference":
            psnr, angle = cube_psnr(shown[name], truth).item(), sam(shown[name], truth).item()
            caption = f"{name}: {psnr:.2f} dB, {angle:.2f} deg"
        images.append(captioned(image, [caption]))
    return images


def _error_maps(before: Tensor, result: Tensor, truth: Tensor | None) -> list[Image.Image]:
    compared = {"upsampled": before, "result": result}
    if truth is None:
        compared, truth, words = {"result": result}, before, "change of the upsampled cube"
    else:
        words = "error"
    images = []
    for what, unit, maps in (
        ("mean absolute", "", {n: (c - truth).abs().mean(0) for n, c in compared.items()}),
        (
            "spectral angle",
            " deg",
            {n: spectral_angle(c, truth).nan_to_num(0).float() for n, c in compared.items()},
        ),
    ):
        # The result fills the scale; where the upsampled cube is worse still, it is dark.
        top = max(float(np.quantile(maps["result"].numpy(), 0.99)), 1e-9)
        for name, values in maps.items():
            picture = _fitted(heat((values / top).clamp(0, 1)))
            images.append(
                captioned(
                    picture,
                    [
                        f"{name}: {what} {words}",
                        f"white 0, dark red {top:.3g}{unit} and more",
                    ],
                )
            )
    return images


def _fitted(picture: Tensor) -> Image.Image:
    """(3, H, W) drawn at about the panel's size: whole pixels enlarged, or areas averaged."""
    longest = max(picture.shape[-2:])
    if longest > _PANEL:
        size = [max(round(side * _PANEL / longest), 1) for side in picture.shape[-2:]]
        peak = 1.0 if picture.is_floating_point() else 255.0
        return painted(F.interpolate(picture.float()[None] / peak, size=size, mode="area")[0])
    return painted(enlarged(picture, max(_PANEL // longest, 1)))


def _marked(
    image: Image.Image, pixels: Sequence[tuple[int, int]], magnification: float
) -> Image.Image:
    """A numbered ring around each pixel."""
    image = image.copy()
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    for number, pixel in enumerate(pixels, start=1):
        x, y = ((at + 0.5) * magnification for at in pixel)
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), outline=_BLACK, width=3)
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), outline="white", width=1)
        place = (x + 8 if x < image.width - 24 else x - 8, y)
        anchor = "lm" if x < image.width - 24 else "rm"
        draw.text(place, str(number), "white", font, anchor, stroke_width=2, stroke_fill=_BLACK)
    return image


def _spectra(
    before: Tensor,
    result: Tensor,
    truth: Tensor | None,
    wavelengths: Sequence[float] | None,
    pixels: Sequence[tuple[int, int]],
) -> list[Image.Image]:
    bands = list(range(1, len(result) + 1)) if wavelengths is None else list(wavelengths)
    axis = "band" if wavelengths is None else "nm"
    images = []
    for number, (x, y) in enumerate(pixels, start=1):
        curves = {"upsampled": (before[:, y, x], _GRAY)}
        if truth is not None:
            curves["reference"] = (truth[:, y, x], _BLUE)
        curves["result"] = (result[:, y, x], _RED)
        plot = _plot(bands, {name: (c.tolist(), colour) for name, (c, colour) in curves.items()})
        images.append(captioned(plot, [f"{number}: pixel {x},{y} ({axis})"]))
    return images


def _plot(
    x: Sequence[float], curves: Mapping[str, tuple[Sequence[float], tuple[int, int, int]]]
) -> Image.Image:
    """Curves over an axis from 0 up, drawn at twice the size and reduced, which smooths them."""
    width, height, left, right, top, bottom = 2 * _PANEL, 440, 90, 24, 60, 56
    image = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(24)
    low = min(0.0, *(min(values) for values, _ in curves.values()))
    high = max(low + 1e-6, *(max(values) for values, _ in curves.values()))
    span = max(x[-1] - x[0], 1e-9)

    def place(at: float, value: float) -> tuple[float, float]:
        across = (at - x[0]) / span if len(x) > 1 else 0.5
        up = (value - low) / (high - low)
        return (
            left + across * (width - left - right),
            height - bottom - up * (height - top - bottom),
        )

    draw.line((left, top, left, height - bottom), _BLACK, 2)
    draw.line((left, height - bottom, width - right, height - bottom), _BLACK, 2)
    for value in (low, (low + high) / 2, high):
        draw.text((left - 8, place(x[0], value)[1]), f"{value:.3g}", _BLACK, font, "rm")
    for at in dict.fromkeys((x[0], x[len(x) // 2], x[-1])):
        draw.text((place(at, low)[0], height - bottom + 14), f"{at:g}", _BLACK, font, "mt")
    legend = float(left)
    for name, (values, colour) in curves.items():
        points = [place(at, value) for at, value in zip(x, values, strict=True)]
        if len(points) > 1:
            draw.line(points, colour, 4, joint="curve")
        for px, py in points if len(points) < 12 else ():
            draw.ellipse((px - 5, py - 5, px + 5, py + 5), fill=colour)
        draw.text((legend, 8), name, colour, font)
        legend += font.getlength(name) + 24
    return image.resize((width // 2, height // 2), Image.Resampling.BOX)
