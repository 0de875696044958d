"""Indices beyond the border against NumPy's padding."""

import numpy as np
import pytest
import torch

from vernier.imaging.borders import mirrored, reflected


@pytest.mark.parametrize("length", [1, 2, 3, 7])
@pytest.mark.parametrize("beyond", [0, 1, 3, 20])
def test_indices_walk_as_numpy_pads(length: int, beyond: int) -> None:
    index = torch.arange(-beyond, length + beyond)
    pixels = np.arange(length)
    assert mirrored(index, length).tolist() == np.pad(pixels, beyond, mode="symmetric").tolist()
    assert reflected(index, length).tolist() == np.pad(pixels, beyond, mode="reflect").tolist()
