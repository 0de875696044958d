"""Where to look: the windows in which models gain most over bicubic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vernier.errors import InputError
from vernier.explanation.lam import Window
from vernier.imaging import as_luma

__all__ = ["Gain", "Proposal", "hardest_windows", "proposed_windows"]


class Gain(NamedTuple):
    """A window and what the models gain there over bicubic: dB of their mean squared error."""

    window: Window
    decibels: float


class Proposal(NamedTuple):
    """A window to look at, the gain there if it was chosen by it, and a sentence that says why."""

    window: Window
    decibels: float | None
    reason: str


def proposed_windows(
    hr: Tensor, bicubic: Tensor, results: Mapping[str, Tensor], *, size: int, count: int = 1
) -> list[Proposal]:
    """The `hardest_windows`, even where some models, or all, are worse than bicubic.

    If the models gain nowhere in the mean, those count that gain over the whole picture; if there
    are none, the central window is proposed.

    Args:
        results: by the name of the model; for the others see `hardest_windows`.

    Raises:
        InputError: the picture is smaller than a window.
    """
    target = as_luma(hr)

    def error(picture: Tensor) -> float:
        return (as_luma(picture) - target).square().mean().item()

    better = [name for name, result in results.items() if error(result) < error(bicubic)]
    for names in (list(results), better):
        made = [results[name] for name in names]
        gains = _gains(hr, bicubic, made, size, count) if made else []
        if gains:
            verb = "gains" if len(names) == 1 else "gain"
            return [
                Proposal(
                    window,
                    decibels,
                    f"proposed window {','.join(map(str, window))}, where {' and '.join(names)} "
                    f"{verb} {decibels:.2f} dB over bicubic",
                )
                for window, decibels in gains
            ]
    height, width = hr.shape[-2:]
    window = Window((width - size) // 2, (height - size) // 2, size)
    place = ",".join(map(str, window))
    return [Proposal(window, None, f"no model gains over bicubic: the central window {place}")]


def hardest_windows(
    hr: Tensor, bicubic: Tensor, results: Sequence[Tensor], *, size: int, count: int = 1
) -> list[Gain]:
    """The windows with the largest drop of the squared luma error from bicubic to the models.

    Largest first, none overlapping another; candidates lie on a grid of a quarter of their side.

    Args:
        hr, bicubic, results: (C, H, W) in [0, 1], C = 1 or 3; the error of the models is the mean
            over ``results``.
        size: side in pixels.
        count: at most so many.

    Raises:
        InputError: the picture is smaller than a window, or the models gain nowhere.
    """
    if not results:
        raise InputError("no model to gain over bicubic")
    found = _gains(hr, bicubic, results, size, count)
    if not found:
        raise InputError("the models gain nothing over bicubic on this picture; give a --window")
    return found


def _gains(
    hr: Tensor, bicubic: Tensor, results: Sequence[Tensor], size: int, count: int
) -> list[Gain]:
    height, width = hr.shape[-2:]
    if min(height, width) < size:
        raise InputError(f"a window of {size} pixels does not fit into a picture {width}x{height}")
    target = as_luma(hr)
    step = max(size // 4, 1)

    def error(picture: Tensor) -> Tensor:
        square = (as_luma(picture) - target).square()
        return F.avg_pool2d(square[None], size, stride=step)[0, 0]

    before = error(bicubic)
    after = torch.stack([error(result) for result in results]).mean(0)
    drop = before - after
    found: list[Gain] = []
    for index in drop.flatten().argsort(descending=True).tolist():
        row, column = divmod(index, drop.shape[1])
        if len(found) == count or drop[row, column] <= 0:
            break
        window = Window(column * step, row * step, size)
        if all(_apart(window, other.window) for other in found):
            decibels = 10 * torch.log10(before[row, column] / after[row, column]).item()
            found.append(Gain(window, decibels))
    return found


def _apart(a: Window, b: Window) -> bool:
    return max(abs(a.x - b.x), abs(a.y - b.y)) >= a.size
