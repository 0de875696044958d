"""Small scenes for the tests of fusion files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vernier.io.cubes import Cube, write_cube

WAVELENGTHS = tuple(400.0 + 10 * band for band in range(31))


def write_scenes(folder: Path) -> Path:
    """Two scenes of 34x32 pixels: the last two columns go beyond a multiple of the scale."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ("balloons", "beads"):
        values = generator.integers(0, 65536, (31, 32, 34), dtype=np.uint16)
        write_cube(Cube(values, 65535.0, WAVELENGTHS), folder / f"{name}.npz")
    return folder
