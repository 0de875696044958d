from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vernier.errors import InputError
from vernier.fusion.plausibility import check_guide, compare_guide
from vernier.imaging.simulation import find_response, simulate
from vernier.io.cubes import read_cube


@pytest.fixture(scope="module")
def scenes(shared: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two real scenes: (cube, guide) each."""
    pairs = []
    for folder in sorted((shared / "data/CAVE/test").iterdir()):
        cube = read_cube(folder)
        gt = torch.from_numpy(cube.unit())
        response = find_response("a").for_bands(cube.bands, cube.wavelengths)
        lr, guide, _ = simulate(gt, response=response)
        pairs.append((lr.numpy(), guide.numpy()))
    return pairs


def test_a_scene_s_own_guide_passes_also_gamma_encoded(
    scenes: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    for lr, guide in scenes:
        assert check_guide(lr, guide, 4).fit > 0.95
        assert check_guide(lr, guide.clip(0, 1) ** (1 / 2.2), 4).fit > 0.9


def test_another_scene_and_a_mirrored_guide_are_refused(
    scenes: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    (lr, guide), (_, other) = scenes
    for wrong in (other, guide[:, :, ::-1].copy(), guide[:, ::-1].copy()):
        with pytest.raises(InputError, match="does not look like the cube's scene"):
            check_guide(lr, wrong, 4)


@pytest.mark.parametrize("shift", [(3, 0), (2, -3), (6, -9), (-12, 5), (0, 24)])
def test_a_shifted_guide_is_refused_and_the_shift_is_told(
    shift: tuple[int, int], scenes: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    for lr, guide in scenes:
        moved = np.roll(guide, shift, (1, 2))
        found = compare_guide(lr, moved, 4)
        np.testing.assert_allclose(found.shift, shift, atol=1)
        assert found.fit_aligned > max(0.9, found.fit + 0.01)
        assert found.fit < 0.9 or max(map(abs, shift)) < 5
        with pytest.raises(InputError, match="to the right of the cube"):
            check_guide(lr, moved, 4)


def test_flat_and_tiny_guides_contradict_nothing() -> None:
    rng = np.random.default_rng(0)
    assert check_guide(rng.random((5, 8, 8)), np.full((3, 32, 32), 0.4), 4).fit == 1
    assert check_guide(rng.random((5, 1, 1)), rng.random((3, 4, 4)), 4).fit > 0.7
