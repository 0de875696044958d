"""MATLAB's bicubic ``imresize`` on pixel arrays (H, W, C), free of torch.

The same definition as `vernier.imaging.resize`, for paths that must start fast; the tests hold the
two against each other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["peak_value", "phase_kernels", "resize_pixels", "resized_length", "taps", "to_pixels"]

_ROWS_AT_ONCE = 256


def resized_length(length: int, factor: float) -> int:
    """Output length of one dimension: ceil(length * factor), immune to binary rounding."""
    return max(1, math.ceil(round(length * factor, 9)))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel with a = -0.5, zero beyond 2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.select([x <= 1, x <= 2], [near, far])


def phase_kernels(scale: int) -> NDArray[np.float64]:
    """Enlarging by an integer as ``scale**2`` convolutions: (scale, scale, 5, 5).

    Kernel [dy, dx] makes output pixels (scale y + dy, scale x + dx) from the 5x5 input pixels
    around (y, x); each sums to one.
    """
    offset = (np.arange(scale) + 0.5) / scale - 0.5
    row = _cubic(offset[:, None] - np.arange(-2, 3))
    return row[:, None, :, None] * row[None, :, None, :]


def peak_value(dtype: np.dtype[Any]) -> float:
    """White: 255, 65535, or 1 for floating point."""
    return float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1.0


def to_pixels(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values in [0, 1] to pixels of a type: scaled to its peak, clipped, rounded if integer."""
    scaled = np.clip(values, 0, 1) * np.float32(peak_value(dtype))
    if np.issubdtype(dtype, np.integer):
        scaled = np.rint(scaled)
    return np.asarray(scaled, dtype)


def resize_pixels(
    pixels: NDArray[Any],
    factor: float | tuple[float, float],
    size: tuple[int, int],
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Resize as MATLAB's ``imresize`` (bicubic, antialiased), rounding once at the end.

    Args:
        pixels: (H, W, C), uint8, uint16 or float32 in [0, 1].
        factor: > 0, for both dimensions, or one for each (vertical, horizontal).
        size: (H_out, W_out), of one factor ``ceil(length * factor)``.
        dtype: of the result; values keep their meaning between black and the peak.

    Returns:
        (H_out, W_out, C).
    """
    vertical, horizontal = factor if isinstance(factor, tuple) else (factor, factor)
    rows, row_weights = taps(pixels.shape[0], size[0], vertical)
    columns, column_weights = taps(pixels.shape[1], size[1], horizontal)
    result = np.empty((*size, pixels.shape[2]), dtype)
    # Blocks of rows bound the memory: the float intermediate never holds the whole picture.
    for start in range(0, size[0], _ROWS_AT_ONCE):
        block = rows[start : start + _ROWS_AT_ONCE]
        first, last = int(block.min()), int(block.max()) + 1
        source = pixels[first:last].astype(np.float32) / np.float32(peak_value(pixels.dtype))
        narrow = _weighted(source, columns, column_weights, axis=1)
        weights = row_weights[start : start + _ROWS_AT_ONCE]
        values = _weighted(narrow, block - first, weights, axis=0)
        result[start : start + _ROWS_AT_ONCE] = to_pixels(values, np.dtype(dtype))
    return result


def taps(
    length: int, out_length: int, factor: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """One dimension: which input pixels every output pixel takes, and their weights.

    Beyond the image the index is mirrored, the edge pixel repeated (.. 1 0 | 0 1 ..); shrinking
    stretches the kernel (antialiasing).

    Returns:
        indices and weights, both (out_length, taps); the weights of a row sum to one.
    """
    stretch = min(factor, 1.0)
    # Pixel centres: output pixel u looks at (u + 0.5) / factor - 0.5.
    centre = (np.arange(out_length) + 0.5) / factor - 0.5
    left = np.floor(centre - 2 / stretch)
    index = left[:, None] + np.arange(math.ceil(4 / stretch) + 2)
    weight = _cubic(stretch * (centre[:, None] - index))
    weight /= weight.sum(1, keepdims=True)
    used = weight.any(0)
    folded = index[:, used].astype(np.int64) % (2 * length)
    return np.minimum(folded, 2 * length - 1 - folded), weight[:, used]


def _weighted(
    image: NDArray[Any], index: NDArray[np.int64], weight: NDArray[np.float64], axis: int
) -> NDArray[Any]:
    shape = [1, 1, 1]
    shape[axis] = len(index)
    total: NDArray[Any] = np.zeros((), np.float32)
    for tap in range(index.shape[1]):
        weights = weight[:, tap].astype(np.float32).reshape(shape)
        total = total + image.take(index[:, tap], axis) * weights
    return total
