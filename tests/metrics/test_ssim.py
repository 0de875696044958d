"""SSIM: the papers' bicubic table, scikit-image, the protocol's arguments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imread
from skimage.metrics import structural_similarity
from torch import Tensor

from vernier.imaging import imresize, imresize_uint8, rgb_to_luma
from vernier.metrics import ssim


def skimage_ssim(result: np.ndarray, target: np.ndarray) -> float:
    """The original definition; skimage pads, so its mean is taken over the valid region."""
    _, full = structural_similarity(
        target,
        result,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return float(full[5:-5, 5:-5].mean())


@pytest.mark.parametrize(
    ("name", "scale", "published"),
    [
        ("Set5", 2, 0.9299),
        ("Set5", 3, 0.8682),
        ("Set5", 4, 0.8104),
        ("Set14", 2, 0.8688),
        ("Set14", 3, 0.7742),
        ("Set14", 4, 0.7027),
    ],
)
def test_the_papers_bicubic_table(shared: Path, name: str, scale: int, published: float) -> None:
    values = []
    for path in sorted((shared / f"data/{name}/HR").glob("*.png")):
        hr = torch.from_numpy(np.atleast_3d(imread(path))).permute(2, 0, 1)
        hr = hr[:, : hr.shape[1] // scale * scale, : hr.shape[2] // scale * scale]
        result = imresize_uint8(imresize_uint8(hr, 1 / scale), scale)
        values.append(ssim(result.float() / 255, hr.float() / 255, crop=scale).item())
    assert len(values) == {"Set5": 5, "Set14": 14}[name]
    assert np.mean(values) == pytest.approx(published, abs=0.001)


@pytest.mark.parametrize(("scale", "published"), [(2, 0.9299), (3, 0.8682), (4, 0.8104)])
def test_the_printed_digits(shared: Path, scale: int, published: float) -> None:
    """The chain behind the printed figures: luma rounded first, LR from it and left unrounded."""
    values = []
    for path in sorted((shared / "data/Set5/HR").glob("*.png")):
        rgb = torch.from_numpy(imread(path)).permute(2, 0, 1).double() / 255
        height, width = (n - n % scale for n in rgb.shape[-2:])
        luma = (rgb_to_luma(rgb[:, :height, :width]) * 255).round() / 255
        values.append(ssim(imresize(imresize(luma, 1 / scale), scale), luma, crop=scale).item())
    assert round(np.mean(values), 4) == published


def test_agrees_with_the_golden_file(shared: Path) -> None:
    golden = np.load(shared / "golden/sesr/data_and_metrics.npz")
    a, b = (torch.from_numpy(golden[key]).permute(0, 3, 1, 2) for key in "ab")
    ours = ssim(a, b, crop=0, rounding=False)
    assert ours.shape == (1,)
    assert ours.item() == pytest.approx(golden["ssim"].item(), abs=1e-6)


@pytest.fixture
def pictures() -> tuple[Tensor, Tensor]:
    target = torch.randint(0, 256, (3, 40, 33)) / 255.0
    return (target + 0.1 * torch.randn(3, 40, 33)).clamp(0, 1), target


@pytest.mark.parametrize("crop", [0, 3])
@pytest.mark.parametrize("rounding", [True, False])
def test_luma_agrees_with_scikit_image(
    pictures: tuple[Tensor, Tensor], crop: int, rounding: bool
) -> None:
    result, target = (image.double() for image in pictures)
    ours = ssim(result, target, crop=crop, rounding=rounding)
    if rounding:
        result = (result * 255).round() / 255
    result, target = (rgb_to_luma(x)[0] * 255 for x in (result, target))
    result, target = (x[crop : 40 - crop, crop : 33 - crop] for x in (result, target))
    assert ours.item() == pytest.approx(skimage_ssim(result.numpy(), target.numpy()), abs=1e-9)


def test_rgb_is_the_mean_over_channels(pictures: tuple[Tensor, Tensor]) -> None:
    result, target = pictures
    expected = np.mean(
        [
            skimage_ssim((a * 255).round().double().numpy(), b.double().numpy() * 255)
            for a, b in zip(result, target, strict=True)
        ]
    )
    assert ssim(result, target, crop=0, luma=False).item() == pytest.approx(expected, abs=1e-9)


def test_one_value_per_picture(pictures: tuple[Tensor, Tensor]) -> None:
    result, target = pictures
    batch = ssim(torch.stack([result, target]), torch.stack([target, target]), crop=2)
    assert batch.shape == (2,)
    assert batch[0].item() == pytest.approx(ssim(result, target, crop=2).item(), abs=1e-12)
    assert batch[1].item() == pytest.approx(1, abs=1e-12)


def test_too_small_after_the_crop() -> None:
    picture = torch.zeros(3, 14, 20)
    with pytest.raises(ValueError, match="needs 11x11 pixels after the crop, got 10x16"):
        ssim(picture, picture, crop=2)
