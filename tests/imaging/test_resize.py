"""The resize against the benchmark's own LR files and against MATLAB's definition, written out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imread
from torch import Tensor

from vernier.imaging import imresize, imresize_uint8, resized_length


def keys(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    if x <= 2:
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return 0.0


def resize_line(line: np.ndarray, out_length: int, factor: float) -> np.ndarray:
    """One line of pixels, one-based as MATLAB counts: every output a loop over its taps."""
    length = len(line)
    stretch = min(factor, 1.0)
    result = np.zeros(out_length)
    for i in range(1, out_length + 1):
        centre = i / factor + 0.5 * (1 - 1 / factor)
        first = math.floor(centre - 2 / stretch)
        total = weighted = 0.0
        for j in range(first, first + math.ceil(4 / stretch) + 2):
            weight = keys(stretch * (centre - j))
            mirrored = (j - 1) % (2 * length)
            if mirrored >= length:
                mirrored = 2 * length - 1 - mirrored
            total += weight
            weighted += weight * line[mirrored]
        result[i - 1] = weighted / total
    return result


def reference(image: np.ndarray, size: tuple[int, int], factors: tuple[float, float]) -> np.ndarray:
    rows = np.stack([resize_line(column, size[0], factors[0]) for column in image.T], axis=1)
    return np.stack([resize_line(row, size[1], factors[1]) for row in rows])


def as_tensor(path: Path) -> Tensor:
    return torch.from_numpy(imread(path)).permute(2, 0, 1)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["baby", "bird", "butterfly", "head", "woman"])
def test_benchmark_files_bit_for_bit(shared: Path, name: str, scale: int) -> None:
    hr = as_tensor(shared / f"data/Set5/HR/{name}.png")
    height, width = (n - n % scale for n in hr.shape[-2:])
    lr = as_tensor(shared / f"data/Set5/LR_bicubic/X{scale}/{name}x{scale}.png")
    assert torch.equal(imresize_uint8(hr[:, :height, :width], 1 / scale), lr)


@pytest.mark.parametrize(
    "scale", [2, 3, 4, 5, 8, 1 / 2, 1 / 3, 1 / 4, 1 / 7, 1.5, 0.75, 2 / 3, 2.37, 0.41, math.pi, 1.0]
)
@pytest.mark.parametrize("shape", [(23, 18), (1, 1), (1, 9), (6, 1), (5, 2), (2, 3)])
def test_definition_by_scale(scale: float, shape: tuple[int, int]) -> None:
    image = torch.rand(shape, dtype=torch.float64)
    size = (math.ceil(shape[0] * scale - 1e-9), math.ceil(shape[1] * scale - 1e-9))
    expected = torch.from_numpy(reference(image.numpy(), size, (scale, scale)))
    exact = imresize(image, scale)
    assert exact.shape == size
    assert (exact - expected).abs().max() < 1e-12
    single = imresize(image.float(), scale)
    assert single.dtype == torch.float32
    assert (single - expected).abs().max() < 1e-6


@pytest.mark.parametrize(
    "size", [(46, 36), (69, 54), (11, 9), (7, 6), (24, 18), (23, 5), (1, 1), (40, 11), (3, 61)]
)
def test_definition_by_size(size: tuple[int, int]) -> None:
    image = torch.rand(23, 18, dtype=torch.float64)
    expected = torch.from_numpy(reference(image.numpy(), size, (size[0] / 23, size[1] / 18)))
    assert (imresize(image, size=size) - expected).abs().max() < 1e-12
    assert (imresize(image.float(), size=size) - expected).abs().max() < 1e-6


@pytest.mark.parametrize("scale", [2, 3, 4, 1 / 2, 1 / 3])
def test_float32_does_not_drift_along_a_long_side(scale: float) -> None:
    image = torch.rand(3, 2400, dtype=torch.float64)
    difference = imresize(image.float(), scale) - imresize(image, scale)
    assert difference.abs().max() < 1e-6


@pytest.mark.parametrize("scale", [2, 3, 1 / 2, 0.7])
def test_gradient(scale: float) -> None:
    image = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: imresize(x, scale), image)


@pytest.mark.parametrize("scale", [2, 3, 4, 1 / 2, 1 / 3, 0.7])
def test_a_batch_equals_its_images(scale: float) -> None:
    batch = torch.rand(3, 3, 30, 24)
    one_by_one = torch.stack([imresize(image, scale) for image in batch])
    assert torch.equal(imresize(batch, scale), one_by_one)
    assert torch.equal(imresize(batch[0, 0], scale), one_by_one[0, 0])


@pytest.mark.parametrize("scale", [2, 3, 1 / 2, 1 / 3, 0.41])
def test_a_constant_stays_constant(scale: float) -> None:
    image = torch.full((1, 17, 12), 0.3, dtype=torch.float64)
    assert (imresize(image, scale) - 0.3).abs().max() < 1e-14
    grey = torch.full((1, 17, 12), 77, dtype=torch.uint8)
    assert (imresize_uint8(grey, scale) == 77).all()


def test_uint8_rounds_after_each_dimension() -> None:
    image = torch.randint(0, 256, (12, 15), dtype=torch.uint8)
    rows = np.stack([resize_line(column, 6, 0.5) for column in image.numpy().T], axis=1)
    rows = np.clip(np.floor(rows + 0.5), 0, 255)
    both = np.stack([resize_line(row, 8, 8 / 15) for row in rows])
    both = np.clip(np.floor(both + 0.5), 0, 255)
    assert np.array_equal(imresize_uint8(image, size=(6, 8)).numpy(), both)


def test_the_dimension_that_shrinks_most_comes_first() -> None:
    image = torch.randint(0, 256, (9, 20), dtype=torch.uint8)
    # Columns 20 -> 5 before rows 9 -> 18; with rounding in between the order is visible.
    rows = np.stack([resize_line(row, 5, 0.25) for row in image.numpy()])
    rows = np.clip(np.floor(rows + 0.5), 0, 255)
    both = np.stack([resize_line(column, 18, 2.0) for column in rows.T], axis=1)
    both = np.clip(np.floor(both + 0.5), 0, 255)
    assert np.array_equal(imresize_uint8(image, size=(18, 5)).numpy(), both)


def test_resized_length_rounds_up_but_not_for_binary_noise() -> None:
    assert resized_length(100, 1 / 3) == 34
    assert resized_length(99, 1 / 3) == 33
    assert resized_length(30, 0.1) == 3
    assert resized_length(1, 0.1) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either scale or size"),
        ({"scale": 2, "size": (4, 4)}, "either scale or size"),
        ({"scale": 0}, "positive number, got 0"),
        ({"scale": -1.5}, "positive number, got -1.5"),
        ({"scale": math.nan}, "positive number, got nan"),
        ({"size": (0, 4)}, r"at least 1x1, got \(0, 4\)"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        imresize(torch.rand(4, 4), **arguments)  # type: ignore[arg-type]


def test_bad_types() -> None:
    with pytest.raises(TypeError, match=r"floating-point image, got torch\.uint8"):
        imresize(torch.zeros(4, 4, dtype=torch.uint8), 2)
    with pytest.raises(TypeError, match=r"uint8 image, got torch\.float32"):
        imresize_uint8(torch.zeros(4, 4), 2)
