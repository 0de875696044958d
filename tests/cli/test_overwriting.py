"""No command writes over what it reads: a row for each command and each way to do it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.command import Ran

from vernier.io import Picture, write_picture
from vernier.io.cubes import Cube, write_cube


@pytest.fixture
def folder(tmp_path: Path, weights: dict[int, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures, cubes, a guide and weights with their cards, in the working directory."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name in ("a.png", "guide.png", "in/b.png"):
        pixels = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        write_picture(Picture(pixels), tmp_path / name)
    (tmp_path / "link.png").symlink_to("a.png")
    (tmp_path / "twin.png").hardlink_to(tmp_path / "a.png")
    values = random.random((6, 12, 16), dtype=np.float32)
    cube = Cube(values, 1.0, tuple(450.0 + 50 * band for band in range(6)))
    for name in ("cube.h5", "cube.hdr", "cube.tif", "cube.mat"):
        write_cube(cube, tmp_path / name)
    for suffix in (".safetensors", ".json"):
        shutil.copy(weights[2].with_suffix(suffix), tmp_path / f"net{suffix}")
        shutil.copy(weights[2].with_suffix(suffix), tmp_path / f"explain{suffix}")
    return tmp_path


FUSE = ("fuse", "cube.h5", "-g", "guide.png", "-n", "gsa", "--no-check")


@pytest.mark.parametrize(
    "arguments",
    [
        ("upscale", "a.png", "-o", "a.png"),
        ("upscale", "a.png", "-o", "link.png"),
        ("upscale", "a.png", "-o", "twin.png"),
        ("upscale", "a.png", "-o", "in/../a.png"),
        ("upscale", "in", "-o", "in"),
        ("compare", "a.png", "-n", "net.safetensors", "-o", "a.png"),
        ("compare", "a.png", "-n", "net.safetensors", "-o", "link.png"),
        ("explain", "a.png", "-n", "explain.safetensors", "--steps", "2", "-o", "."),
        ("evaluate", "net.safetensors", "--data", "in", "-o", "net.json"),
        ("export", "net.safetensors", "-o", "net.safetensors"),
        (*FUSE, "-o", "cube.h5"),
        (*FUSE, "-o", "out.h5", "--report", "guide.png"),
        ("fuse", "cube.hdr", "-g", "guide.png", "-n", "gsa", "--no-check", "-o", "cube.hdr"),
        ("fuse", "cube.img", "-g", "guide.png", "-n", "gsa", "--no-check", "-o", "cube.hdr"),
        ("data", "preview", "cube.tif", "-o", "cube.tif"),
        ("data", "fusion", "--from", "cube.h5", "-o", "cube.h5"),
        ("data", "subimages", "--from", "in", "--size", "16", "-o", "in"),
    ],
)
def test_what_is_read_is_not_written_over(
    arguments: tuple[str, ...], folder: Path, vernier: Callable[..., Ran]
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    ran = vernier(*arguments)
    assert ran.code == 2, ran
    assert len(ran.err.splitlines()) == 1
    assert "overwrite" in ran.err, ran.err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
