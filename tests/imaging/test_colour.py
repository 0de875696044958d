"""BT.601 against scikit-image and against the recorded conversion of the SESR code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr

from vernier.imaging import (
    as_luma,
    as_rgb,
    from_colour,
    imresize,
    rgb_to_luma,
    rgb_to_ycbcr,
    to_colour,
    ycbcr_to_rgb,
)


def test_agrees_with_scikit_image() -> None:
    rgb = torch.rand(3, 13, 8, dtype=torch.float64)
    expected = torch.from_numpy(rgb2ycbcr(rgb.permute(1, 2, 0).numpy())).permute(2, 0, 1) / 255
    assert (rgb_to_ycbcr(rgb) - expected).abs().max() < 1e-12
    assert (rgb_to_luma(rgb) - expected[:1]).abs().max() < 1e-12


def test_agrees_with_the_golden_file(shared: Path) -> None:
    golden = np.load(shared / "golden/sesr/data_and_metrics.npz")
    rgb = torch.from_numpy(golden["rgb"]).permute(2, 0, 1).float() / 255
    ycbcr = torch.from_numpy(golden["ycbcr"]).permute(2, 0, 1)
    y = torch.from_numpy(golden["y"]).permute(2, 0, 1)
    assert (rgb_to_ycbcr(rgb) * 255 - ycbcr).abs().max() < 1e-4  # float32 at 255: 1.5e-5 a step
    assert (rgb_to_luma(rgb) - y).abs().max() < 3e-7


def test_studio_range() -> None:
    black_and_white = torch.tensor([0.0, 1.0]).expand(3, 1, 2)
    assert torch.allclose(rgb_to_luma(black_and_white) * 255, torch.tensor([[[16.0, 235.0]]]))
    assert torch.allclose(rgb_to_ycbcr(black_and_white)[1:] * 255, torch.tensor(128.0))


@pytest.mark.parametrize("shape", [(3, 7, 5), (2, 3, 7, 5), (2, 4, 3, 7, 5)])
def test_round_trip(shape: tuple[int, ...]) -> None:
    rgb = torch.rand(shape, dtype=torch.float64)
    assert (ycbcr_to_rgb(rgb_to_ycbcr(rgb)) - rgb).abs().max() < 1e-13
    assert (ycbcr_to_rgb(rgb_to_ycbcr(rgb.float())) - rgb).abs().max() < 1e-6
    # A product of a matrix may sum in another order than that of a vector, by where tensors lie.
    difference = (rgb_to_luma(rgb) - rgb_to_ycbcr(rgb)[..., :1, :, :]).abs().max()
    assert difference <= 2 * torch.finfo(torch.float64).eps


def test_round_trip_of_8_bit_is_exact_after_rounding() -> None:
    levels = torch.randint(0, 256, (3, 64, 64))
    back = ycbcr_to_rgb(rgb_to_ycbcr(levels.float() / 255))
    assert torch.equal((back * 255).round().long(), levels)


def test_gradient() -> None:
    rgb = torch.rand(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rgb_to_luma, rgb)
    assert torch.autograd.gradcheck(ycbcr_to_rgb, rgb)


@pytest.mark.parametrize("convert", [rgb_to_luma, rgb_to_ycbcr, ycbcr_to_rgb])
def test_bad_images(convert: object) -> None:
    assert callable(convert)
    with pytest.raises(TypeError, match=r"floating-point image in \[0, 1\], got torch\.uint8"):
        convert(torch.zeros(3, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"three channels .* got \(1, 4, 4\)"):
        convert(torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match=r"three channels .* got \(3, 4\)"):
        convert(torch.zeros(3, 4))


@pytest.mark.parametrize("batch", [(), (2,)])
def test_a_network_reads_its_colour_and_its_result_becomes_the_pictures(
    batch: tuple[int, ...],
) -> None:
    gray, rgb = torch.rand(*batch, 1, 5, 4), torch.rand(*batch, 3, 5, 4)
    luma_result, rgb_result = torch.rand(*batch, 1, 10, 8), torch.rand(*batch, 3, 10, 8)
    assert torch.equal(to_colour(gray, "luma"), gray)
    assert torch.equal(to_colour(gray, "rgb"), torch.cat([gray] * 3, dim=-3))
    assert torch.equal(to_colour(rgb, "luma"), rgb_to_luma(rgb))
    assert torch.equal(to_colour(rgb, "rgb"), rgb)
    assert torch.equal(from_colour(luma_result, gray), luma_result)
    assert torch.equal(from_colour(rgb_result, rgb), rgb_result)
    assert torch.equal(from_colour(rgb_result, gray), rgb_result.mean(-3, keepdim=True))
    coloured = rgb_to_ycbcr(from_colour(luma_result, rgb))
    torch.testing.assert_close(coloured[..., :1, :, :], luma_result)
    chroma = imresize(rgb_to_ycbcr(rgb)[..., 1:, :, :], 2)
    torch.testing.assert_close(coloured[..., 1:, :, :], chroma)
    assert torch.equal(as_luma(rgb), rgb_to_luma(rgb))
    with pytest.raises(ValueError, match=r"gray or RGB .* got \(2, 5, 4\)"):
        as_rgb(torch.zeros(2, 5, 4))
