"""Pieces of figures: panels with captions, boxes, heat maps.

Pillow writes the text: its font comes with it, while libvips shows empty boxes where the system
has no fonts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vernier.io import Picture, write_picture

__all__ = [
    "blend",
    "boxed",
    "captioned",
    "enlarged",
    "heat",
    "painted",
    "save_figure",
    "side_by_side",
    "stacked",
]

RED = (228, 26, 28)
_GAP = 8
_FONT_SIZE = 14
# The upper half of the map that the LAM paper uses, white over red to dark red: lightness falls
# all the way, so it reads the same without colour.
_HEAT_STOPS = (0.0, 0.5, 1.0)
_HEAT_CHANNELS = ((1.0, 1.0, 0.5), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0))


def heat(values: Tensor) -> Tensor:
    """(h, w) in [0, 1] -> RGB (3, h, w) in [0, 1]: white is 0, dark red is 1."""
    at = values.cpu().numpy()
    channels = [np.interp(at, _HEAT_STOPS, channel) for channel in _HEAT_CHANNELS]
    return torch.from_numpy(np.stack(channels)).float()


def blend(a: Tensor, b: Tensor) -> Tensor:
    """Half and half."""
    return (a + b) / 2


def enlarged(picture: Tensor, factor: int) -> Tensor:
    """Every pixel of (C, h, w) as a square of ``factor`` pixels a side."""
    return picture.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def painted(picture: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1], or uint8 -> an image."""
    if picture.is_floating_point():
        picture = (picture.clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).cpu().numpy()))


def boxed(image: Image.Image, x: int, y: int, size: int, width: int = 2) -> Image.Image:
    """A red frame around the square, its inside left free but at the picture's own edges."""
    image = image.copy()
    corners = (
        max(x - width, 0),
        max(y - width, 0),
        min(x + size + width, image.width) - 1,
        min(y + size + width, image.height) - 1,
    )
    ImageDraw.Draw(image).rectangle(corners, outline=RED, width=width)
    return image


def captioned(image: Image.Image, lines: Sequence[str]) -> Image.Image:
    """The image above centred lines of text; wider where the text is."""
    font = ImageFont.load_default(_FONT_SIZE)
    line_height = int(_FONT_SIZE * 1.4)
    width = max([image.width, *(int(font.getlength(line)) + 2 for line in lines)])
    panel = Image.new("RGB", (width, image.height + line_height * len(lines) + 4), "white")
    panel.paste(image, ((width - image.width) // 2, 0))
    draw = ImageDraw.Draw(panel)
    for i, line in enumerate(lines):
        place = (width / 2, image.height + 4 + line_height * (i + 0.5))
        draw.text(place, line, fill="black", font=font, anchor="mm")
    return panel


def side_by_side(images: Iterable[Image.Image]) -> Image.Image:
    """From left to right, upper edges aligned."""
    images = list(images)
    width = sum(image.width + _GAP for image in images) - _GAP
    row = Image.new("RGB", (width, max(image.height for image in images)), "white")
    x = 0
    for image in images:
        row.paste(image, (x, 0))
        x += image.width + _GAP
    return row


def stacked(images: Iterable[Image.Image]) -> Image.Image:
    """From top to bottom, left edges aligned."""
    images = list(images)
    height = sum(image.height + _GAP for image in images) - _GAP
    column = Image.new("RGB", (max(image.width for image in images), height), "white")
    y = 0
    for image in images:
        column.paste(image, (0, y))
        y += image.height + _GAP
    return column


def save_figure(image: Image.Image, path: str | Path) -> None:
    """Write a figure; the suffix names the format. Whole or not at all.

    Raises:
        PictureError: unknown suffix, no such folder, a full disk.
    """
    write_picture(Picture(np.asarray(image)), path, compression=6)
