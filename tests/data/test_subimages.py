"""Pictures cut into squares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from support.command import Ran

from vernier.data import subimages
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
    assert not target.parent.exists()


def test_what_cannot_be_cut_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="smaller --size"):
        cut_subimages(folder, tmp_path / "squares", size=100)
    with pytest.raises(InputError, match="not empty"):
        cut_subimages(folder / "a.png", folder, size=20)
    inner = folder / "inner"
    inner.mkdir()
    (inner / "a.png").write_bytes((folder / "a.png").read_bytes())
    with pytest.raises(InputError, match="two pictures are named a"):
        cut_subimages(folder, tmp_path / "squares", size=20)


def test_the_source_is_no_target(folder: Path) -> None:
    before = sorted(folder.iterdir())
    with pytest.raises(InputError, match="would overwrite the input"):
        cut_subimages(folder, folder, size=20)
    with pytest.raises(InputError, match="choose a folder outside"):
        cut_subimages(folder, folder / "squares", size=20)
    with pytest.raises(InputError, match="would overwrite the input"):
        cut_subimages(folder / "a.png", folder / "a.png", size=20)
    assert sorted(folder.iterdir()) == before


def test_hidden_files_and_folders_are_passed_over(shared: Path, tmp_path: Path) -> None:
    photos = shared / "cases/mac-dotfiles/photos"
    cut_subimages(photos, tmp_path / "squares", size=32, step=64)
    stems = {path.name.split("_s")[0] for path in (tmp_path / "squares").iterdir()}
    assert stems == {"p0", "p1", "p2"}


def test_an_empty_folder_may_be_the_target(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "squares").mkdir()
    assert cut_subimages(folder, tmp_path / "squares", size=20, step=15) == 7
    assert len(list((tmp_path / "squares").iterdir())) == 7


def test_names_are_compared_once_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two hundred thousand pictures, the last two of one name: no name is compared with all."""
    compared = 0

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    class Named(NamedTuple):
        stem: str

    names = [*range(199_999), 199_998]
    monkeypatch.setattr(
        subimages, "list_pictures", lambda _: [Named(Name(f"p{name}")) for name in names]
    )
    with pytest.raises(InputError, match="two pictures are named p199998"):
        cut_subimages(tmp_path, tmp_path.with_name("squares"), size=20)
    assert compared < 2_000_000


def test_progress_tells_each_picture(folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    cut_subimages(folder, tmp_path / "squares", size=20, progress=lambda *now: told.append(now))
    names = [str(folder / name) for name in ("a.png", "b.png", "small.png")]
    assert told == [(0, 3, names[0]), (1, 3, names[1]), (2, 3, names[2]), (3, 3, "")]
