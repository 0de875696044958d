"""A picture to analyse, and the command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vernier import cli
from vernier.data.pictures import read_uint8
from vernier.io import Picture, write_picture

ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.png"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """The astronaut's face, 97x96 pixels: the width is no multiple of 2."""
    face = read_uint8(ASTRONAUT)[:, 72:168, 172:269].permute(1, 2, 0).contiguous()
    path = tmp_path / "face.png"
    write_picture(Picture(face.numpy()), path)
    return path


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run ``vernier`` with these arguments; gives the exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["vernier", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return int(caught.value.code or 0)

    return run
