"""What the tests share: where the data beside the project lies, and deterministic seeds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of benchmark pictures and golden fixtures, named by VERNIER_SHARED."""
    folder = os.environ.get("VERNIER_SHARED")
    if not folder:
        assert not os.environ.get("CI"), "VERNIER_SHARED must be set in CI: nothing may skip there"
        pytest.skip("VERNIER_SHARED is not set: benchmark pictures and golden files are not here")
    path = Path(folder)
    assert path.is_dir(), f"VERNIER_SHARED={folder} is not a folder"
    return path


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Converted networks must not be taken from, nor left in, the user's own folder."""
    os.environ["VERNIER_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
