"""What the suites share: their settings, the network and the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vernier.io import read_picture
from vernier.models.sesr import SESR
from vernier.zoo import create_model, load_model, weights_path

__all__ = ["MODEL", "ROOT", "SCALE", "Settings", "network", "photograph", "require"]

ROOT = Path(__file__).resolve().parent.parent
MODEL, SCALE = "sesr-m5", 2


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        repeats: rounds.
        quick: tiny sizes and nothing that torch must compile: to see that all works.
        threads: of every library.
        folder: for temporary files.
        data: folder of training pictures; None makes some.
        weights: files of networks to measure beside those that come with the package.
        only: pattern that a network's case must hold to be measured.
    """

    repeats: int
    quick: bool
    threads: int
    folder: Path
    data: Path | None
    weights: Sequence[Path] = ()
    only: str = ""

    @property
    def lr_size(self) -> tuple[int, int]:
        """Height and width of the picture to upscale."""
        return (48, 64) if self.quick else (1080, 1920)


def network() -> tuple[SESR, str]:
    """The deployed network in eval mode, and one sentence on its weights."""
    if weights_path(MODEL, SCALE):
        model, _ = load_model(MODEL, SCALE)
        note = f"{MODEL} x{SCALE} with the weights that come with the package."
    else:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = create_model(MODEL, scale=SCALE).deploy().eval()  # type: ignore[operator]
        note = (
            f"{MODEL} x{SCALE} with random weights (seed 0), because none come with the package: "
            "times do not depend on weights, differences between outputs do."
        )
    assert isinstance(model, SESR)
    return model, note


def photograph(height: int, width: int) -> NDArray[Any]:
    """(height, width, 3) uint8: the example photograph, mirrored at its edges as often as needed.

    Its pixels keep the detail and noise of a photograph, which enlarging would smooth away.
    """
    pixels = read_picture(ROOT / "examples" / "astronaut.png").pixels[..., :3]
    missing = [(0, max(0, side - have)) for side, have in zip((height, width), pixels.shape)]
    return np.ascontiguousarray(np.pad(pixels, [*missing, (0, 0)], "symmetric")[:height, :width])


def require(what: str, difference: float, allowed: float) -> float:
    """The difference, if allowed: only what computes the same may be compared in speed.

    Raises:
        RuntimeError: it is larger, or not a number.
    """
    if not difference <= allowed:
        raise RuntimeError(f"{what} differs by {difference:.3g}, more than {allowed:.3g}")
    return difference
