"""Does a guide show the scene of the cube, and in the same place? Asked before they are fused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vernier.errors import InputError
from vernier.fusion.pair import Pair
from vernier.imaging import imresize

__all__ = ["Plausibility", "check_guide", "compare_guide"]

# Eight whole CAVE scenes reach 0.96 with their own guides, 0.92 where those are gamma-encoded, and
# at most 0.48 with each other's or with mirrored ones.
_LEAST_FIT = 0.7
# A right guide fits best within a pixel of its place, or nearly as well there as elsewhere.
_LEAST_SHIFT = 2
_LEAST_GAIN = 0.01
# Each costs a reduction of the guide and a least-squares fit.
_MOST_FITS = 16
# Bytes of the cube that are looked at together in float64.
_BLOCK = 2**24


@dataclass(frozen=True)
class Plausibility:
    """How well a guide can be simulated from its cube.

    Attributes:
        fit: share of the guide's variance that the best linear spectral response explains, at the
            cube's resolution (R squared); 1 for a guide without structure.
        shift: (rows, columns) in guide pixels by which the guide lies below and to the right of
            the cube: where it fits best, searched from the phase correlation's estimate.
        fit_aligned: the same as ``fit`` after the guide has been moved back by ``shift``.
    """

    fit: float
    shift: tuple[int, int]
    fit_aligned: float


def check_guide(pair: Pair) -> Plausibility:
    """Compare, and refuse what does not belong together.

    Raises:
        InputError: the guide is shifted, or shows something else.
    """
    found = compare_guide(pair)
    explained = f"the cube explains {100 * max(found.fit, 0):.0f} % of the guide"
    down, right = found.shift
    moved = max(abs(down), abs(right)) >= _LEAST_SHIFT
    if moved and found.fit_aligned >= max(_LEAST_FIT, found.fit + _LEAST_GAIN):
        raise InputError(
            f"the guide lies about {right} pixels to the right of the cube and {down} below "
            f"({explained}, {100 * found.fit_aligned:.0f} % after moving it back): align it, or "
            "pass --no-check"
        )
    if found.fit >= _LEAST_FIT:
        return found
    raise InputError(
        f"the guide does not look like the cube's scene ({explained}): check that both show the "
        "same place, are not shifted, mirrored or turned, and are linear in light; or pass "
        "--no-check"
    )


def compare_guide(pair: Pair) -> Plausibility:
    """How well the guide can be simulated from the cube, as it lies and moved.

    Pixels without data are left out. Beside the pair it takes memory for a few guides in float64,
    however many bands there are.
    """
    cube, guide, scale = pair.lr, pair.guide, pair.scale
    known = _known(pair, (0, 0))
    fit, simulated = _fit(cube, _reduced(guide, scale), known)
    fits = {(0, 0): fit}

    def fit_at(shift: tuple[int, int]) -> float:
        if shift not in fits:
            moved = np.roll(guide, (-shift[0], -shift[1]), (1, 2))
            # What came in from the other side belongs to neither; the response fits any small rest.
            margin = [-(-abs(s) // scale) for s in shift]
            inner = (slice(None), *(slice(m, n - m) for m, n in zip(margin, cube.shape[1:])))
            enough = all(4 * m <= n for m, n in zip(margin, cube.shape[1:]))
            fits[shift] = (
                _fit(cube[inner], _reduced(moved, scale)[inner], _known(pair, shift)[inner[1:]])[0]
                if enough
                else -math.inf
            )
        return fits[shift]

    # Phase correlation errs by a pixel or two, since the cube's detail is coarser than the guide's,
    # and by more where the guide is another function of the light.
    seen = _enlarged(simulated.mean(0, keepdims=True), scale)[0]
    estimate = _shift(seen, guide.mean(0, dtype=np.float64))
    best = max((0, 0), estimate, key=fit_at)
    steps = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    tried = 0
    while tried < len(steps) and len(fits) < _MOST_FITS:
        neighbour = (best[0] + steps[0][0], best[1] + steps[0][1])
        if fit_at(neighbour) > fit_at(best):
            best, tried = neighbour, 0
        else:
            steps, tried = [*steps[1:], steps[0]], tried + 1
    return Plausibility(fit, best, fit_at(best))


def _known(pair: Pair, shift: tuple[int, int]) -> NDArray[Any]:
    """Where cube and guide have data when the guide is moved back by a shift, (h, w)."""
    height, width = pair.lr.shape[1:]
    known: NDArray[Any] = np.ones((height, width), np.bool_)
    if pair.gaps is not None:
        # A band without any data says nothing of the pixels.
        known &= ~pair.gaps[~pair.gaps.all((1, 2))].any(0)
    if pair.guide_gaps is not None:
        moved = np.roll(pair.guide_gaps, (-shift[0], -shift[1]), (0, 1))
        blocks = moved.reshape(height, pair.scale, width, pair.scale)
        known &= ~blocks.any((1, 3))
    return known


def _fit(
    cube: NDArray[Any], guide: NDArray[Any], known: NDArray[np.bool_]
) -> tuple[float, NDArray[Any]]:
    """R squared of the best response where ``known``, and the guide that it simulates.

    Args:
        cube: (bands, h, w).
        guide: (channels, h, w).
        known: (h, w).
    """
    size = cube.shape[0] + 1
    gram, products = np.zeros((size, size)), np.zeros((size, guide.shape[0]))
    for rows in _row_blocks(cube):
        block = _with_ones(cube[:, rows])
        # Pixels of zeros weigh nothing; a copy without them would be as large as the block.
        block[:, ~known[rows].ravel()] = 0
        gram += block @ block.T
        products += block @ guide[:, rows].reshape(guide.shape[0], -1).T
    # Neighbouring bands nearly repeat each other: a little of the diagonal keeps it solvable.
    gram += 1e-6 * np.trace(gram) / size * np.eye(size)
    response = np.linalg.solve(gram, products).T
    simulated = np.empty_like(guide)
    for rows in _row_blocks(cube):
        simulated[:, rows] = (response @ _with_ones(cube[:, rows])).reshape(guide[:, rows].shape)
    seen_guide, seen_simulated = guide[:, known], simulated[:, known]
    variance = float(((seen_guide - seen_guide.mean(1, keepdims=True)) ** 2).sum())
    # Flat up to rounding: nothing contradicts the cube.
    if variance <= 1e-9 * seen_guide.size:
        return 1.0, simulated
    return 1 - float(((seen_guide - seen_simulated) ** 2).sum()) / variance, simulated


def _row_blocks(cube: NDArray[Any]) -> list[slice]:
    """Rows of which a copy in float64 is small."""
    bands, height, width = cube.shape
    step = max(_BLOCK // (8 * (bands + 1) * width), 1)
    return [slice(top, top + step) for top in range(0, height, step)]


def _with_ones(cube: NDArray[Any]) -> NDArray[Any]:
    """(bands, H, W) -> (bands + 1, H W) float64, the last row for a response's offset."""
    rows = np.ones((cube.shape[0] + 1, cube[0].size))
    rows[:-1] = cube.reshape(cube.shape[0], -1)
    return rows


def _shift(a: NDArray[Any], b: NDArray[Any]) -> tuple[int, int]:
    """By how many (rows, columns) ``b`` lies below and to the right of ``a``, both (H, W)."""
    window = np.hanning(a.shape[0])[:, None] * np.hanning(a.shape[1])[None]
    spectra = [np.fft.rfft2((x - x.mean()) * window) for x in (a, b)]
    cross = spectra[1] * spectra[0].conj()
    correlation = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-12), s=a.shape)
    peak = np.unravel_index(int(correlation.argmax()), correlation.shape)
    down, right = (
        int(p) - (n if p > n // 2 else 0) for p, n in zip(peak, correlation.shape, strict=True)
    )
    return down, right


def _reduced(guide: NDArray[Any], scale: int) -> NDArray[Any]:
    return imresize(torch.from_numpy(np.float64(guide)), 1 / scale).numpy()


def _enlarged(small: NDArray[Any], scale: int) -> NDArray[Any]:
    return imresize(torch.from_numpy(small), float(scale)).numpy()
