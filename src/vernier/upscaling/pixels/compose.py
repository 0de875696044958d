"""How the pixels of a picture and the output of a network make the upscaled picture.

Everything but the network is linear, so one set of small matrices serves gray and colour, with
and without alpha, on every engine:

    network input = input_matrix . pixels + input_offset
    result        = carry * pixels + output_matrix . network output + output_offset

where ``*`` is a convolution with 5x5 kernels, one for each of the ``scale**2`` output phases: the
exact MATLAB bicubic of whatever the network does not see (chroma, alpha).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vernier.imaging.bicubic import phase_kernels
from vernier.imaging.bt601 import RGB_TO_YCBCR, YCBCR_OFFSET
from vernier.zoo.facts import Colour

__all__ = ["CARRY_RADIUS", "Composition", "composition"]

# The carry kernels are 5x5: the picture is mirrored by two pixels around them.
CARRY_RADIUS = 2


@dataclass(frozen=True)
class Composition:
    """Float32 arrays for pixels in [0, 1] with C channels and a network with N.

    Attributes:
        input_matrix: (N, C).
        input_offset: (N,).
        output_matrix: (C, N).
        output_offset: (C,).
        carry: (C, scale, scale, C, 5, 5), or None when there is nothing to carry.
    """

    input_matrix: NDArray[np.float32]
    input_offset: NDArray[np.float32]
    output_matrix: NDArray[np.float32]
    output_offset: NDArray[np.float32]
    carry: NDArray[np.float32] | None


def composition(channels: int, colour: Colour, scale: int) -> Composition:
    """For pictures of 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha) channels.

    A luma network sees a gray picture's own values, an RGB network three copies of them, whose
    outputs are averaged.
    """
    colours = channels - (channels in (2, 4))
    to_network: NDArray[Any] = np.eye(colours)
    from_network: NDArray[Any] = np.eye(colours)
    mix = np.zeros((channels, channels))
    input_offset, output_offset = np.zeros(1 if colour == "luma" else 3), np.zeros(channels)
    if colour == "luma" and colours == 3:
        to_ycbcr = np.array(RGB_TO_YCBCR) / 255
        to_rgb = np.linalg.inv(to_ycbcr)
        to_network, from_network = to_ycbcr[:1], to_rgb[:, :1]
        # RGB -> chroma -> RGB; the chroma offsets cancel, because bicubic keeps constants.
        mix[:3, :3] = to_rgb[:, 1:] @ to_ycbcr[1:]
        input_offset[:] = YCBCR_OFFSET[0] / 255
        output_offset[:3] = -from_network[:, 0] * input_offset
    elif colour == "rgb" and colours == 1:
        to_network, from_network = np.ones((3, 1)), np.full((1, 3), 1 / 3)
    if channels != colours:
        mix[-1, -1] = 1
        to_network = np.pad(to_network, ((0, 0), (0, 1)))
        from_network = np.pad(from_network, ((0, 1), (0, 0)))
    carry = np.einsum("oi,abyx->oabiyx", mix, phase_kernels(scale)) if mix.any() else None

    def single(array: NDArray[Any]) -> NDArray[np.float32]:
        return np.ascontiguousarray(array, np.float32)

    return Composition(
        single(to_network),
        single(input_offset),
        single(from_network),
        single(output_offset),
        None if carry is None else single(carry),
    )
