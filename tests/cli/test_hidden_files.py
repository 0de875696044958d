"""What macOS and file managers leave in folders is no data, whichever command reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import Ran
from support.data import make_cave, make_pictures

LITTER = b"\0\5\x16\7\0\2\0\0Mac OS X"


@pytest.fixture
def littered(tmp_path: Path) -> Path:
    """Pictures and scenes, a hidden companion beside each file, hidden folders, other folders."""
    for folder in (make_pictures(tmp_path / "pictures"), make_cave(tmp_path / "CAVE")):
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            path.with_name(f"._{path.name}").write_bytes(LITTER)
        (folder / ".DS_Store").write_bytes(LITTER)
        (folder / ".thumbnails").mkdir()
        (folder / ".thumbnails" / "t.png").write_bytes(LITTER)
    (tmp_path / "pictures" / "crops.png").mkdir()
    return tmp_path


def test_pictures(vernier: Callable[..., Ran], littered: Path) -> None:
    folder = littered / "pictures"
    code, out, err = vernier("data", "subimages", "--from", folder, "-o", littered / "s")
    assert (code, out) == (2, "")
    assert "no picture is 480 pixels a side" in err
    code, out, _ = vernier(
        "data", "subimages", "--from", folder, "-o", littered / "s", "--size", 32
    )
    assert code == 0
    stems = {path.name.rpartition("_s")[0] for path in (littered / "s").iterdir()}
    assert stems == {"colour", "gray"}
    code, out, _ = vernier("evaluate", "--data", folder, "-s", 2, "--format", "json")
    assert code == 0
    images = json.loads(out)["results"][0]["images"]
    assert [image["image"] for image in images] == ["colour", "gray"]


def test_cubes(vernier: Callable[..., Ran], littered: Path) -> None:
    cave = littered / "CAVE"
    code, out, _ = vernier("data", "info", cave / "one_ms")
    assert (code, "31" in out) == (0, True)
    file = littered / "f.h5"
    assert vernier("data", "fusion", "--from", cave, "-o", file, "-s", 4, "--patch", 32).code == 0
    code, out, _ = vernier("evaluate", "--data", cave, "-s", 4, "--format", "json")
    assert code == 0
    scenes = json.loads(out)["results"][0]["scenes"]
    assert [scene["scene"] for scene in scenes] == ["one", "two"]
