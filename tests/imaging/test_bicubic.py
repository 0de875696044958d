from __future__ import annotations

import numpy as np
import pytest
import torch

from vernier.imaging import imresize, resized_length
from vernier.imaging.bicubic import phase_kernels, resize_pixels, to_pixels


@pytest.mark.parametrize("factor", [0.5, 0.75, 2 / 3, 0.37, 1.25, 1.5, 2, 3])
@pytest.mark.parametrize("size", [(1, 1), (5, 2), (31, 44)])
def test_pixels_are_resized_as_tensors_are(factor: float, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    target = (resized_length(size[0], factor), resized_length(size[1], factor))
    result = resize_pixels(pixels, factor, target, np.dtype(np.float32))
    expected = imresize(torch.from_numpy(pixels).permute(2, 0, 1).double(), factor)
    expected = expected.clamp(0, 1).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_blocks_of_rows_join_without_a_seam() -> None:
    rows = np.arange(700, dtype=np.uint16)[:, None, None] * 64
    pixels = np.broadcast_to(rows, (700, 3, 1))
    result = resize_pixels(pixels, 1.5, (1050, 5), np.dtype(np.uint16))
    inner = result[10:-10, 0, 0].astype(float)
    np.testing.assert_allclose(inner, (np.arange(10, 1040) + 0.5) / 1.5 * 64 - 32, atol=0.51)


def test_depths_convert_between_black_and_white() -> None:
    pixels = np.array([0, 128, 255], np.uint8).reshape(3, 1, 1)
    wide = resize_pixels(pixels, 1, (3, 1), np.dtype(np.uint16))
    np.testing.assert_array_equal(wide.ravel(), [0, 128 * 257, 65535])
    values = np.array([-1, 0.5, 2], np.float32)
    np.testing.assert_array_equal(to_pixels(values, np.dtype(np.uint8)), [0, 128, 255])


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_phase_kernels_sum_to_one_and_make_matlabs_bicubic(scale: int) -> None:
    kernels = phase_kernels(scale)
    np.testing.assert_allclose(kernels.sum((2, 3)), 1, atol=1e-12)
    image = torch.rand(1, 1, 12, 9, dtype=torch.float64)
    weight = torch.from_numpy(kernels).reshape(-1, 1, 5, 5)
    phases = torch.nn.functional.conv2d(image, weight)
    expected = imresize(image, scale)[..., 2 * scale : -2 * scale, 2 * scale : -2 * scale]
    enlarged = torch.nn.functional.pixel_shuffle(phases, scale)
    torch.testing.assert_close(enlarged, expected, atol=1e-12 if scale != 1 else 0, rtol=0)
