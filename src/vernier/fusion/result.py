"""What a fusion gives: the sharp cube, and everything that is to be told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vernier.fusion.pair import Pair
from vernier.io.cubes import Cube

__all__ = ["Fused"]


@dataclass(frozen=True, eq=False)
class Fused:
    """A sharp cube.

    Attributes:
        pair: what it was made of.
        values: (bands, H, W) float32, the peak is 1; within [0, 1], or as far beyond as the coarse
            cube goes. Where the coarse cube has no data it is filled; `cube` has no data there.
        method: the network or the classical method.
        engine: what computed it.
        seconds: that the fusion itself took.
        precision: what the network's correction was computed in.
        notes: the pair's, why the method was chosen, what was approximated.
        output: the file that was written, if one was.
    """

    pair: Pair
    values: NDArray[np.float32] = field(repr=False)
    method: str
    engine: str
    seconds: float
    precision: Literal["fp32", "bf16"] = "fp32"
    notes: tuple[str, ...] = ()
    output: Path | None = None

    @property
    def scale(self) -> int:
        """Pixels per pixel of the coarse cube, along each axis."""
        return self.pair.scale

    @property
    def cube(self) -> Cube:
        """The sharp cube in the unit and the type of the coarse one, with what its file says."""
        return self.pair.as_cube(self.values)
