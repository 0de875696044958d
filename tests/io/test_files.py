"""Files whole or not at all, inputs that stay, hidden files that are passed over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vernier.errors import InputError
from vernier.io import Picture, write_picture
from vernier.io.cubes import Cube, write_cube
from vernier.io.files import (
    check_folder,
    check_target,
    is_hidden,
    make_folder,
    new_folders,
    protect,
    repeated,
    replacing,
    shown,
    visible_files,
    write_whole,
)
from vernier.tables import write_together
from vernier.zoo import create_model, new_card, save_weights

PIXELS = np.zeros((8, 9, 3), np.uint8)
CUBE = Cube(np.zeros((3, 8, 9), np.uint8), 255.0)
WRITERS = {
    **{
        f"picture{suffix}": lambda path: write_picture(Picture(PIXELS), path)
        for suffix in (".png", ".jpg", ".webp", ".tif", ".avif")
    },
    **{
        f"cube{suffix}": lambda path: write_cube(CUBE, path)
        for suffix in (".h5", ".mat", ".npz", ".npy", ".tif", ".hdr")
    },
    "report.md": lambda path: write_whole(path, b"text"),
}


@pytest.fixture
def strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.usefixtures("strict_umask")
def test_new_files_have_what_the_umask_leaves(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    assert {mode(path) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.usefixtures("strict_umask")
def test_weights_cards_and_reports_have_what_the_umask_leaves(tmp_path: Path) -> None:
    model = create_model("sesr-m3", scale=2, expansion=16)
    save_weights(model, tmp_path / "net.safetensors", new_card(model, "sesr-m3"))
    write_together({tmp_path / "report.md": "a", tmp_path / "report.csv": "b"})
    names = {"net.safetensors", "net.json", "report.md", "report.csv"}
    assert {path.name: mode(path) for path in tmp_path.iterdir()} == dict.fromkeys(names, 0o600)


@pytest.mark.usefixtures("strict_umask")
def test_new_folders_have_what_the_umask_leaves(tmp_path: Path) -> None:
    write_cube(CUBE, tmp_path / "scene")
    assert mode(tmp_path / "scene") == 0o700
    assert {mode(path) for path in (tmp_path / "scene").iterdir()} == {0o600}


@pytest.mark.parametrize("name", WRITERS)
def test_replaced_files_keep_their_mode(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"before")
    path.chmod(0o640)
    WRITERS[name](path)
    assert path.read_bytes() != b"before"
    assert mode(path) == 0o640


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("existing", [True, False])
def test_the_file_behind_a_link_is_replaced(name: str, existing: bool, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    behind, link = tmp_path / "far" / name, tmp_path / name
    if existing:
        behind.write_bytes(b"before")
    link.symlink_to(behind)
    WRITERS[name](link)
    assert link.is_symlink()
    assert behind.read_bytes() != b"before"
    assert [path.name for path in tmp_path.iterdir() if path.name != "far"] == [name]
    assert all(not is_hidden(Path(path.name)) for path in behind.parent.iterdir())


def write_and_fail(path: Path, error: Exception, beside: tuple[str, ...] = ()) -> None:
    with replacing(path, beside=beside) as temporary:
        for suffix in (temporary.suffix, *beside):
            temporary.with_suffix(suffix).write_bytes(b"half")
        raise error


def test_a_failing_block_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"before")
    with pytest.raises(InputError, match=r"a\.txt: cannot be written \(No space"):
        write_and_fail(path, OSError(28, "No space left on device"))
    with pytest.raises(ZeroDivisionError):
        write_and_fail(path, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        write_and_fail(tmp_path / "new.hdr", ZeroDivisionError(), (".img",))
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unfinished_folder_goes(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "new") as temporary:
            temporary.mkdir()
            (temporary / "a").write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert not list(tmp_path.iterdir())


def test_files_that_belong_together_change_together(tmp_path: Path) -> None:
    for suffix in (".hdr", ".img"):
        (tmp_path / f"c{suffix}").write_bytes(b"before")
    with pytest.raises(ZeroDivisionError):
        write_and_fail(tmp_path / "c.hdr", ZeroDivisionError(), (".img",))
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"before"}
    with replacing(tmp_path / "c.hdr", beside=[".img"]) as temporary:
        temporary.write_bytes(b"after")
        temporary.with_suffix(".img").write_bytes(b"after")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "c.hdr": b"after",
        "c.img": b"after",
    }


def test_what_cannot_be_written_is_said_before(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    for name, words in {
        "none/a": "none: no such folder; create it",
        "folder": "a folder or a device has this name",
        "pipe": "a folder or a device has this name",
        "circle": "circle",
        "a\0b": "null character",
        "x" * 300: "too long",
    }.items():
        with pytest.raises(InputError, match=words) as caught:
            check_target(tmp_path / name)
        assert shown(caught.value) == str(caught.value)
    with pytest.raises(InputError, match="none: no such folder; name one"):
        check_folder(tmp_path / "none", cure="name one")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"file/a: cannot be created \(Not a directory"):
        make_folder(tmp_path / "file" / "a")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("a.png", "a.png"),
        ("a.png", "../here/a.png"),
        ("link.png", "a.png"),
        ("a.png", "link.png"),
        ("a.png", "hard.png"),
        (".", "a.png"),
        ("cube.hdr", "cube.img"),
        ("cube.img", "cube.hdr"),
        ("raw.dat", "raw.hdr"),
        ("plain", "plain.hdr"),
        ("full.bsq", "full.bsq.hdr"),
        ("net.safetensors", "net.json"),
        ("net.json", "net.safetensors"),
    ],
)
def test_inputs_are_not_overwritten(source: str, target: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    names = ["a.png", "cube.hdr", "cube.img", "raw.dat", "raw.hdr", "plain", "plain.hdr"]
    for name in [*names, "full.bsq", "full.bsq.hdr", "net.safetensors", "net.json"]:
        (here / name).write_bytes(name.encode())
    (here / "link.png").symlink_to("a.png")
    (here / "hard.png").hardlink_to(here / "a.png")
    with pytest.raises(InputError, match="would overwrite the input"):
        protect([None, here / source], [None, here / target])


def test_other_files_may_be_written(tmp_path: Path) -> None:
    for name in ("a.png", "cube.hdr", "cube.img"):
        (tmp_path / name).write_bytes(name.encode())
    protect(
        [tmp_path / "a.png", tmp_path / "cube.hdr", None],
        [tmp_path / "b.png", tmp_path / "cube.h5", tmp_path / "cube", tmp_path / "a.json"],
    )
    protect([tmp_path], [tmp_path / "new.png", None])


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("b.png", "a/c.png", "._b.png", ".thumbnails/t.png", "a/._c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert visible_files(tmp_path) == [tmp_path / "b.png"]
    assert visible_files(tmp_path, recursive=True) == [tmp_path / "a/c.png", tmp_path / "b.png"]
    assert not is_hidden(Path("../a.png"))
    with pytest.raises(InputError, match="no such folder"):
        visible_files(tmp_path / "none")


def test_new_folders_that_stay_empty_go(tmp_path: Path) -> None:
    kept, empty = tmp_path / "a" / "kept", tmp_path / "a" / "b" / "empty"
    (tmp_path / "there").mkdir()

    def fill() -> None:
        with new_folders(kept, empty, tmp_path / "there"):
            assert empty.is_dir()
            (kept / "result").write_bytes(b"")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]
    assert (tmp_path / "there").is_dir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be created"), new_folders(tmp_path / "file" / "c"):
        pass
    with pytest.raises(InputError, match="cannot be created"), new_folders(tmp_path / "d" / "e\0"):
        pass
    assert not (tmp_path / "d").exists()


def test_the_first_repeated_name() -> None:
    assert repeated(["a", "b", "c", "b", "a"]) == "b"
    assert repeated([]) is None
    assert repeated(iter("abc")) is None
