"""Data to evaluate on."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.data import make_cave, make_fusion_file, make_pictures


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "pictures")


@pytest.fixture
def cave(tmp_path: Path) -> Path:
    return make_cave(tmp_path / "CAVE")


@pytest.fixture
def fusion_file(tmp_path: Path) -> Path:
    return make_fusion_file(tmp_path / "test.h5")
