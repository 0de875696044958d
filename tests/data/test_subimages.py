"""Pictures cut into squares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.command import Ran

from vernier.data.subimages import cut_subimages
from vernier.errors import InputError
from vernier.io import Picture, read_picture, write_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, height, width in (("a", 30, 50), ("b", 20, 20), ("small", 19, 60)):
        pixels = generator.integers(0, 65536, (height, width, 3), dtype=np.uint16)
        write_picture(Picture(pixels), folder / f"{name}.png")
    return folder


def test_squares_cover_the_picture_to_its_borders(
    folder: Path, tmp_path: Path, vernier: Callable[..., Ran]
) -> None:
    target = tmp_path / "new" / "squares"
    arguments = ("--from", folder, "-o", target, "--size", 20, "--step", 15)
    code, out, err = vernier("data", "subimages", *arguments)
    assert code == 0, err
    # a: rows from 0 and 10, columns from 0, 15 and 30; b: one; the last is too small.
    assert "7 squares of 20x20" in out
    whole = read_picture(folder / "a.png").pixels
    places = [(top, left) for top in (0, 10) for left in (0, 15, 30)]
    for number, (top, left) in enumerate(places, start=1):
        square = read_picture(target / f"a_s00{number}.png").pixels
        assert np.array_equal(square, whole[top : top + 20, left : left + 20])
    names = {path.name for path in target.iterdir()}
    assert names == {f"a_s00{i}.png" for i in range(1, 7)} | {"b_s001.png"}
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    (folder / "c.png").write_bytes(b"no picture")
    target = tmp_path / "new" / "squares"
    with pytest.raises(InputError, match=r"c\.png"):
        cut_subimages(folder, target, size=20, step=15)
    assert not list(target.parent.iterdir())


def test_what_cannot_be_cut_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="smaller --size"):
        cut_subimages(folder, tmp_path / "squares", size=100)
    with pytest.raises(InputError, match="not empty"):
        cut_subimages(folder, folder, size=20)
    inner = folder / "inner"
    inner.mkdir()
    (inner / "a.png").write_bytes((folder / "a.png").read_bytes())
    with pytest.raises(InputError, match="two pictures are named a"):
        cut_subimages(folder, tmp_path / "squares", size=20)
