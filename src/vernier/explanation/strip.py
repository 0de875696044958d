"""What LAM found, for people (a strip of panels) and for machines (a record)."""

from __future__ import annotations

from typing import Any

from PIL import Image
from torch import Tensor

from vernier.drawing import (
    as_rgb,
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
from vernier.imaging import imresize

__all__ = ["record", "strip"]

# Small pictures are shown enlarged to at least so many pixels.
_PANEL_SIDE = 256
_INPUT_NAMES = {"lr": "input", "guide": "guide"}


def strip(name: str, explanation: Explanation, picture: Tensor, lr: Tensor) -> Image.Image:
    """Five panels: picture with the window, attribution, overlay, area of contribution, result.

    A fusion model gets a row for each input that was blurred.

    Args:
        name: of the model.
        explanation: what `vernier.explain` found.
        picture: RGB (3, H, W) in [0, 1], of the result's size, shown beneath the maps.
        lr: (C, h, w), the input that was explained; gives a luma result its colours.
    """
    height, width = picture.shape[-2:]
    zoom = max(1, -(-_PANEL_SIDE // max(height, width)))

    def panel(image: Tensor, caption: str, box: bool = False) -> Image.Image:
        shown = painted(enlarged(image, zoom))
        if box:
            shown = boxed(shown, *(zoom * each for each in explanation.window))
        return captioned(shown, [caption])

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
            panel(as_rgb(explanation.result, lr), "result", box=True),
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
