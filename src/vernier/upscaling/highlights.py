"""Values outside of black and white, which float pictures may hold and networks have never seen.

A network is given what it was trained on, values from black to white. What is beyond is carried
beside it: dividing a picture by its brightest pixel instead would make every error of the network
as much larger as that pixel is brighter than white, in the whole picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vernier.imaging.bicubic import resize_pixels

__all__ = ["Highlights", "split_highlights"]


@dataclass(frozen=True)
class Highlights:
    """What is above white, or below black.

    Attributes:
        pixels: (H, W, C) float32, as a share of the most.
        most: by how much the farthest pixel is beyond; negative below black.
    """

    pixels: NDArray[np.float32]
    most: np.float32

    def enlarged(
        self, scale: float | tuple[float, float], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """By bicubic, within what there was: neither short of the end nor beyond the farthest."""
        share = resize_pixels(self.pixels, scale, size, np.dtype(np.float32))
        return share * self.most


def split_highlights(
    pixels: NDArray[np.float32],
) -> tuple[NDArray[np.float32], tuple[Highlights, ...]]:
    """What a network sees of a float picture, and what is above and below that.

    Args:
        pixels: (H, W, C) float32; with an even number of channels the last is alpha.

    Returns:
        The pixels in [0, 1], what is not finite as 0; and the rest, in up to two parts. Of
        transparent pixels, and of alpha itself, there is none.
    """
    if not np.isfinite(pixels).all():
        pixels = np.nan_to_num(pixels, posinf=0.0, neginf=0.0)
    if pixels.min() >= 0 and pixels.max() <= 1:
        return pixels, ()
    seen = np.clip(pixels, 0, 1)
    parts = []
    for sign in (np.float32(1), np.float32(-1)):
        beyond = np.maximum((pixels - seen) * sign, 0)
        if pixels.shape[2] in (2, 4):
            beyond[pixels[..., -1] <= 0] = 0
            beyond[..., -1] = 0
        most = beyond.max()
        if most > 0:
            parts.append(Highlights(beyond / most, most * sign))
    return seen, tuple(parts)
