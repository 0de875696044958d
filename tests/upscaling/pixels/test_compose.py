from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vernier.imaging import from_colour, imresize, rgb_to_ycbcr, to_colour, ycbcr_to_rgb
from vernier.imaging.colour import PictureColour
from vernier.upscaling.pixels.compose import CARRY_RADIUS, Composition, composition


def compose(mix: Composition, pixels: torch.Tensor, hr: torch.Tensor, scale: int) -> torch.Tensor:
    """(C, H, W) pixels and (N, sH, sW) network output -> (C, sH, sW), by the definition."""
    result = torch.einsum("cn,nhw->chw", torch.from_numpy(mix.output_matrix), hr)
    result = result + torch.from_numpy(mix.output_offset)[:, None, None]
    if mix.carry is not None:
        edge = ((0, 0), (CARRY_RADIUS, CARRY_RADIUS), (CARRY_RADIUS, CARRY_RADIUS))
        mirrored = torch.from_numpy(np.pad(pixels.numpy(), edge, mode="symmetric"))
        phases = F.conv2d(mirrored[None], torch.from_numpy(mix.carry).flatten(0, 2))
        result = result + F.pixel_shuffle(phases, scale)[0]
    return result


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (23, 17)])
def test_colour_is_network_luma_and_matlab_bicubic_chroma(
    scale: int, size: tuple[int, int]
) -> None:
    rgb = torch.rand(3, *size)
    luma = torch.rand(1, size[0] * scale, size[1] * scale)
    mix = composition(3, "luma", scale)
    ycbcr = rgb_to_ycbcr(rgb)
    seen = torch.einsum("nc,chw->nhw", torch.from_numpy(mix.input_matrix), rgb)
    seen = seen + torch.from_numpy(mix.input_offset)[:, None, None]
    torch.testing.assert_close(seen, ycbcr[:1], atol=1e-6, rtol=0)
    expected = ycbcr_to_rgb(torch.cat([luma, imresize(ycbcr[1:], scale)]))
    torch.testing.assert_close(compose(mix, rgb, luma, scale), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("colour", ["luma", "rgb"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_matrices_say_what_tensors_say_and_alpha_is_bicubic(
    channels: int, colour: PictureColour
) -> None:
    mix = composition(channels, colour, 2)
    pixels = torch.rand(channels, 9, 8)
    colours = channels - (channels in (2, 4))
    hr = torch.rand(1 if colour == "luma" else 3, 18, 16)
    seen = torch.einsum("nc,chw->nhw", torch.from_numpy(mix.input_matrix), pixels)
    seen = seen + torch.from_numpy(mix.input_offset)[:, None, None]
    torch.testing.assert_close(seen, to_colour(pixels[:colours], colour), atol=1e-6, rtol=0)
    result = compose(mix, pixels, hr, 2)
    expected = from_colour(hr, pixels[:colours])
    torch.testing.assert_close(result[:colours], expected, atol=1e-5, rtol=0)
    if channels != colours:
        torch.testing.assert_close(result[-1:], imresize(pixels[-1:], 2), atol=1e-6, rtol=0)


def test_nothing_is_carried_where_the_network_sees_all() -> None:
    assert composition(1, "luma", 2).carry is None
    assert composition(3, "rgb", 2).carry is None
    assert composition(3, "luma", 2).carry is not None
