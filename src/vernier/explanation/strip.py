"""What LAM found, for people (a strip of panels) and for machines (a record)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image
from torch import Tensor

from vernier.drawing import (
    blend,
    boxed,
    captioned,
    enlarged,
    heat,
    painted,
    side_by_side,
    stacked,
)
from vernier.explanation.lam import Explanation
from vernier.imaging import as_rgb, from_colour, imresize
from vernier.imaging.display import shown_bands

__all__ = ["record", "shown", "strip"]

# Small pictures are shown enlarged to at least so many pixels.
_PANEL_SIDE = 256
_INPUT_NAMES = {"lr": "input", "guide": "guide"}


def shown(result: Tensor, lr: Tensor, wavelengths: Sequence[float] | None = None) -> Tensor:
    """A network's result (C, H, W) as RGB (3, H, W) in [0, 1], whatever the network reads.

    Luma gets the chroma of an RGB ``lr``; of a cube the bands are taken that a screen shows.

    Args:
        lr: (C, h, w), the input that the result was made of.
        wavelengths: of a cube's bands, nanometres.
    """
    if len(result) == 1 and len(lr) == 3:
        result = from_colour(result.cpu().to(lr), lr)
    if len(result) not in (1, 3):
        result = result[shown_bands(len(result), wavelengths)]
    return as_rgb(result).detach().float().cpu().clamp(0, 1)


def strip(
    name: str,
    explanation: Explanation,
    picture: Tensor,
    lr: Tensor,
    wavelengths: Sequence[float] | None = None,
) -> Image.Image:
    """Five panels: picture with the window, attribution, overlay, area of contribution, result.

    A fusion model gets a row for each input that was blurred.

    Args:
        name: of the model.
        explanation: what `vernier.explain` found.
        picture: RGB (3, H, W) in [0, 1], of the result's size, shown beneath the maps.
        lr: (C, h, w), the input that was explained; gives a luma result its colours.
        wavelengths: of a cube's bands, nanometres; they tell which bands are shown.
    """
    height, width = picture.shape[-2:]
    zoom = max(1, -(-_PANEL_SIDE // max(height, width)))

    def panel(pixels: Tensor, caption: str, box: bool = False) -> Image.Image:
        image = painted(enlarged(pixels, zoom))
        if box:
            image = boxed(image, *(zoom * each for each in explanation.window))
        return captioned(image, [caption])

    rows = []
    for key, found in explanation.maps.items():
        factor = height // found.saliency.shape[0]
        attribution = enlarged(heat(found.saliency), factor)
        density = imresize(found.density, float(factor)) if factor > 1 else found.density
        panels = [
            panel(picture, "window", box=True),
            panel(attribution, "attribution"),
            panel(blend(attribution, picture), "overlay"),
            panel(blend(heat(density.clamp(0, 1)), picture), "area of contribution"),
            panel(shown(explanation.result, lr, wavelengths), "result", box=True),
        ]
        caption = (
            f"{name}, {_INPUT_NAMES[key]}: diffusion index {found.diffusion_index:.2f}, "
            f"Gini {found.gini:.4f}, 95 % in {found.pixels} pixels, "
            f"completeness error {100 * explanation.completeness_error:.2g} %"
        )
        rows.append(captioned(side_by_side(panels), [caption]))
    return stacked(rows)


def record(explanation: Explanation) -> dict[str, Any]:
    """The figures, ready for JSON: the window, the completeness, and per input the indices."""
    return {
        "window": list(explanation.window),
        "detail": explanation.detail,
        "detail_at_start": explanation.detail_at_start,
        "attributed": explanation.attributed,
        "completeness_error": explanation.completeness_error,
        "maps": {
            name: {
                "size": list(found.saliency.shape),
                "diffusion_index": found.diffusion_index,
                "gini": found.gini,
                "pixels_95": found.pixels,
            }
            for name, found in explanation.maps.items()
        },
    }
