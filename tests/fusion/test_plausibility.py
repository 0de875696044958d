from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from vernier.errors import InputError
from vernier.fusion.pair import Pair
from vernier.fusion.plausibility import check_guide, compare_guide
from vernier.imaging.simulation import find_response, simulate
from vernier.io.cubes import read_cube


@pytest.fixture(scope="module")
def scenes(shared: Path) -> list[Pair]:
    """Two real scenes."""
    pairs = []
    for folder in sorted((shared / "data/CAVE/test").iterdir()):
        cube = read_cube(folder)
        gt = torch.from_numpy(cube.unit())
        response = find_response("a").for_bands(cube.bands, cube.wavelengths)
        lr, guide, _ = simulate(gt, response=response)
        pairs.append(Pair(lr.numpy(), guide.numpy()))
    return pairs


def test_a_scene_s_own_guide_passes_also_gamma_encoded(
    scenes: list[Pair],
) -> None:
    for pair in scenes:
        assert check_guide(pair).fit > 0.95
        assert check_guide(Pair(pair.lr, pair.guide.clip(0, 1) ** (1 / 2.2))).fit > 0.9


def test_another_scene_and_a_mirrored_guide_are_refused(
    scenes: list[Pair],
) -> None:
    first, other = scenes
    for wrong in (other.guide, first.guide[:, :, ::-1], first.guide[:, ::-1]):
        with pytest.raises(InputError, match="does not look like the cube's scene"):
            check_guide(Pair(first.lr, wrong))


@pytest.mark.parametrize("shift", [(3, 0), (2, -3), (6, -9), (-12, 5), (0, 24)])
def test_a_shifted_guide_is_refused_and_the_shift_is_told(
    shift: tuple[int, int], scenes: list[Pair]
) -> None:
    for pair in scenes:
        moved = Pair(pair.lr, np.roll(pair.guide, shift, (1, 2)))
        found = compare_guide(moved)
        np.testing.assert_allclose(found.shift, shift, atol=1)
        assert found.fit_aligned > max(0.9, found.fit + 0.01)
        assert found.fit < 0.9 or max(map(abs, shift)) < 5
        with pytest.raises(InputError, match="to the right of the cube"):
            check_guide(moved)


def test_flat_and_tiny_guides_contradict_nothing() -> None:
    rng = np.random.default_rng(0)
    assert check_guide(Pair(rng.random((5, 8, 8)), np.full((3, 32, 32), 0.4))).fit == 1
    assert check_guide(Pair(rng.random((5, 1, 1)), rng.random((3, 4, 4)))).fit > 0.7


def test_the_check_of_a_large_cube_takes_no_copy_of_it() -> None:
    rng = np.random.default_rng(0)
    light = rng.random((3, 300, 300), np.float32)
    cube = np.einsum("bc,chw->bhw", rng.random((120, 3), np.float32) / 3, light)
    pair = Pair(cube, light.repeat(2, 1).repeat(2, 2))
    tracemalloc.start()
    try:
        found = compare_guide(pair)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.fit > 0.9
    # A copy in float64 would be twice the cube.
    assert most < 1.2 * cube.nbytes


def test_the_fit_is_that_of_all_pixels_at_once() -> None:
    rng = np.random.default_rng(1)
    cube = rng.random((200, 90, 130), np.float32)
    guide = 0.5 * cube[:3] + 0.2 * rng.random((3, 90, 130), np.float32)
    known = np.concatenate([cube.reshape(200, -1), np.ones((1, 90 * 130))]).astype(np.float64)
    wanted = guide.reshape(3, -1).astype(np.float64)
    gram = known @ known.T
    gram += 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram))
    rest = wanted - np.linalg.solve(gram, known @ wanted.T).T @ known
    centred = wanted - wanted.mean(1, keepdims=True)
    expected = 1 - (rest**2).sum() / (centred**2).sum()
    assert compare_guide(Pair(cube, guide)).fit == pytest.approx(expected, abs=1e-12)
