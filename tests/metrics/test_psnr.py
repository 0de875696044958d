"""PSNR: the papers' bicubic table, scikit-image, the protocol's arguments."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imread
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from vernier.imaging import imresize, imresize_uint8, rgb_to_luma
from vernier.metrics import psnr

# Bicubic as printed since Kim et al., "Accurate image super-resolution using very deep
# convolutional networks", CVPR 2016 (table 2), and Tai et al., CVPR 2017.
PUBLISHED = [
    ("Set5", 2, 33.66),
    ("Set5", 3, 30.39),
    ("Set5", 4, 28.42),
    ("Set14", 2, 30.24),
    ("Set14", 3, 27.55),
    ("Set14", 4, 26.00),
]


def benchmark(folder: Path, scale: int) -> list[Tensor]:
    """The 8-bit HR pictures, cropped to a multiple of the scale; gray ones keep one channel."""
    pictures = [np.atleast_3d(imread(path)) for path in sorted(folder.glob("*.png"))]
    return [
        torch.from_numpy(p).permute(2, 0, 1)[:, : len(p) // scale * scale][
            ..., : p.shape[1] // scale * scale
        ]
        for p in pictures
    ]


@pytest.mark.parametrize(("name", "scale", "published"), PUBLISHED)
def test_the_papers_bicubic_table(shared: Path, name: str, scale: int, published: float) -> None:
    values = []
    for hr in benchmark(shared / f"data/{name}/HR", scale):
        result = imresize_uint8(imresize_uint8(hr, 1 / scale), scale)
        values.append(psnr(result.float() / 255, hr.float() / 255, crop=scale).item())
    assert len(values) == {"Set5": 5, "Set14": 14}[name]
    assert np.mean(values) == pytest.approx(published, abs=0.02)


@pytest.mark.parametrize(("name", "scale", "published"), PUBLISHED[:3])
def test_the_printed_digits(shared: Path, name: str, scale: int, published: float) -> None:
    """The chain behind the printed figures: luma rounded first, LR from it and left unrounded."""
    values = []
    for hr in benchmark(shared / f"data/{name}/HR", scale):
        luma = (rgb_to_luma(hr.double() / 255) * 255).round() / 255
        result = imresize(imresize(luma, 1 / scale), scale)
        values.append(psnr(result, luma, crop=scale).item())
    assert round(np.mean(values), 2) == published


def test_agrees_with_the_golden_file(shared: Path) -> None:
    golden = np.load(shared / "golden/sesr/data_and_metrics.npz")
    a, b = (torch.from_numpy(golden[key]).permute(0, 3, 1, 2) for key in "ab")
    ours = psnr(a, b, crop=0, rounding=False)
    assert ours.shape == (1,)
    assert ours.item() == pytest.approx(golden["psnr"].item(), abs=1e-5)


@pytest.fixture
def pictures() -> tuple[Tensor, Tensor]:
    target = torch.randint(0, 256, (3, 40, 33)) / 255.0
    return (target + 0.05 * torch.randn(3, 40, 33)).clamp(0, 1), target


@pytest.mark.parametrize("crop", [0, 2, 5])
@pytest.mark.parametrize("luma", [True, False])
@pytest.mark.parametrize("rounding", [True, False])
def test_agrees_with_scikit_image(
    pictures: tuple[Tensor, Tensor], crop: int, luma: bool, rounding: bool
) -> None:
    result, target = (image.double() for image in pictures)
    ours = psnr(result, target, crop=crop, luma=luma, rounding=rounding)
    if rounding:
        result = (result * 255).round() / 255
    if luma:
        result, target = rgb_to_luma(result), rgb_to_luma(target)
    result, target = (x[:, crop : 40 - crop, crop : 33 - crop].numpy() for x in (result, target))
    assert ours.item() == pytest.approx(
        peak_signal_noise_ratio(target, result, data_range=1.0), abs=1e-9
    )


def test_one_value_per_picture(pictures: tuple[Tensor, Tensor]) -> None:
    result, target = pictures
    batch = psnr(torch.stack([result, target]), torch.stack([target, target]), crop=2)
    assert batch.shape == (2,)
    assert batch[0] == psnr(result, target, crop=2)
    assert batch[1] == math.inf


def test_a_known_error() -> None:
    target = torch.full((1, 8, 8), 100 / 255, dtype=torch.float64)
    expected = 20 * math.log10(255 / 5)
    assert psnr(target + 5 / 255, target, crop=0).item() == pytest.approx(expected, abs=1e-9)


def test_gray_is_compared_as_it_is() -> None:
    gray = torch.randint(0, 256, (1, 20, 20)) / 255.0
    result = (gray + 0.1).clamp(0, 1)
    # Expanded to RGB the luma spans 219 levels instead of 255: exactly 1.32 dB apart.
    as_rgb = psnr(result.expand(3, -1, -1), gray.expand(3, -1, -1), crop=2)
    difference = as_rgb - psnr(result, gray, crop=2)
    assert difference.item() == pytest.approx(20 * math.log10(255 / 219), abs=1e-4)
    assert psnr(result, gray, crop=2) == psnr(result, gray, crop=2, luma=False)


def test_rounding_clips_and_touches_the_prediction_alone() -> None:
    target = torch.full((1, 6, 6), 0.5)
    high = torch.full((1, 6, 6), 1.4)
    assert psnr(high, target, crop=0) == psnr(torch.ones(1, 6, 6), target, crop=0)
    # 0.5 is 127.5 of 255: a stored value cannot hit it, an unrounded target stays there.
    assert psnr(target, target, crop=0).item() == pytest.approx(54.1514, abs=1e-3)
    assert psnr(target, target, crop=0, rounding=False) == math.inf


def test_crop_leaves_the_border_out() -> None:
    target = torch.rand(1, 12, 12).mul(255).round() / 255
    result = target.clone()
    result[:, :2], result[:, -2:], result[..., :2], result[..., -2:] = 0, 0, 0, 0
    assert psnr(result, target, crop=2) == math.inf
    assert psnr(result, target, crop=1) < 30


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((3, 8, 8), (3, 8, 9)), {"crop": 0}, r"\(3, 8, 8\) and target \(3, 8, 9\) differ"),
        (((8, 8), (8, 8)), {"crop": 0}, r"expected \(\.\.\., C, H, W\), got \(8, 8\)"),
        (((4, 8, 8), (4, 8, 8)), {"crop": 0}, "1 or 3 channels, got 4"),
        (((3, 8, 8), (3, 8, 8)), {"crop": 4}, "a crop of 4 pixels leaves nothing of 8x8"),
        (((3, 8, 8), (3, 8, 8)), {"crop": -1}, "zero or more pixels, got -1"),
    ],
)
def test_bad_input(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], options: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        psnr(torch.zeros(shapes[0]), torch.zeros(shapes[1]), **options)


def test_integers_are_refused() -> None:
    picture = torch.zeros(3, 8, 8, dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"floating-point pictures in \[0, 1\], got torch\.uint8"):
        psnr(picture, picture, crop=0)
