"""Benchmark folders: the layouts of the field, LR made on the fly, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vernier.data.benchmarks import find_benchmark
from vernier.errors import InputError
from vernier.imaging import imresize_uint8
from vernier.io import Picture, write_picture


def save(path: Path, height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(Picture(pixels), path)
    return pixels


def test_lr_files_of_set5(shared: Path) -> None:
    benchmark = find_benchmark(shared / "data/Set5", 4)
    assert (benchmark.name, benchmark.lr_source) == ("Set5", "files")
    names = ["baby", "bird", "butterfly", "head", "woman"]
    assert [pair.name for pair in benchmark.pairs] == names
    assert [pair.lr_path.name for pair in benchmark.pairs if pair.lr_path] == [
        f"{name}x4.png" for name in names
    ]
    hr, lr, notes = benchmark.pairs[4].load()
    assert (hr.shape, lr.shape, notes) == ((3, 344, 228), (3, 86, 57), ())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_made_lr_equal_the_files(shared: Path, scale: int) -> None:
    files = find_benchmark(shared / "data/Set5/HR", scale, lr="files")
    made = find_benchmark(shared / "data/Set5/HR", scale, lr="made")
    assert (files.name, files.lr_source, made.name, made.lr_source) == (
        *("Set5", "files"),
        *("Set5", "made"),
    )
    for a, b in zip(files.pairs, made.pairs, strict=True):
        assert torch.equal(a.load().lr, b.load().lr)
        assert torch.equal(a.load().hr, b.load().hr)


def test_without_lr_files_they_are_made(shared: Path) -> None:
    benchmark = find_benchmark(shared / "data/Set14", 3)
    assert (benchmark.name, benchmark.lr_source, len(benchmark.pairs)) == ("Set14", "made", 14)
    bridge = next(pair for pair in benchmark.pairs if pair.name == "bridge").load()
    assert (bridge.hr.shape[0], bridge.lr.shape[0]) == (1, 1)


@pytest.mark.parametrize(
    ("hr", "lr", "asked", "name"),
    [
        ("Set5/HR/a.png", "Set5/LR_bicubic/X4/ax4.png", "Set5", "Set5"),
        ("Set5/HR/a.png", "Set5/LR_bicubic/X4/a.png", "Set5/HR", "Set5"),
        ("Set5/HR/a.png", "Set5/LR_bicubic/x4/ax4.webp", "Set5", "Set5"),
        ("Set5/GTmod12/a.png", "Set5/LRbicx4/a.png", "Set5", "Set5"),
        ("Set5/GTmod12/a.png", "Set5/LRbicx4/a.png", "Set5/GTmod12", "Set5"),
        (
            "D/DIV2K_valid_HR/0801.png",
            "D/DIV2K_valid_LR_bicubic/X4/0801x4.png",
            "D/DIV2K_valid_HR",
            "DIV2K_valid",
        ),
        (
            "D/DIV2K_valid_HR/0801.png",
            "D/DIV2K_valid_LR_bicubic/X4/0801x4.png",
            "D",
            "DIV2K_valid",
        ),
    ],
)
def test_layouts(tmp_path: Path, hr: str, lr: str, asked: str, name: str) -> None:
    save(tmp_path / hr, 26, 31)
    save(tmp_path / lr, 6, 7)
    benchmark = find_benchmark(tmp_path / asked, 4)
    assert (benchmark.name, benchmark.lr_source) == (name, "files")
    (pair,) = benchmark.pairs
    assert pair.lr_path is not None
    assert pair.lr_path.samefile(tmp_path / lr)
    assert pair.load().hr.shape == (3, 24, 28)
    assert find_benchmark(tmp_path / asked, 3).lr_source == "made"


def test_flat_folder_crops_and_makes_lr(tmp_path: Path) -> None:
    pixels = save(tmp_path / "mine" / "a.png", 13, 17)
    benchmark = find_benchmark(tmp_path / "mine", 3)
    assert (benchmark.name, benchmark.lr_source) == ("mine", "made")
    hr, lr, _ = benchmark.pairs[0].load()
    cropped = torch.from_numpy(pixels[:12, :15]).permute(2, 0, 1)
    assert torch.equal((hr * 255).round().byte(), cropped)
    assert torch.equal((lr * 255).round().byte(), imresize_uint8(cropped, 1 / 3))


def test_a_folder_named_relatively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "Set5/HR/a.png", 8, 8)
    save(tmp_path / "Set5/LR_bicubic/X2/ax2.png", 4, 4)
    monkeypatch.chdir(tmp_path / "Set5/HR")
    benchmark = find_benchmark(".", 2)
    assert (benchmark.name, benchmark.lr_source) == ("Set5", "files")


def test_alpha_is_left_out_with_a_note(tmp_path: Path) -> None:
    pixels = save(tmp_path / "a.png", 8, 8, channels=4)
    hr, lr, notes = find_benchmark(tmp_path, 2).pairs[0].load()
    assert torch.equal(
        (hr * 255).round().byte().permute(1, 2, 0), torch.from_numpy(pixels[..., :3])
    )
    assert (lr.shape[0], notes) == (3, ("a.png: alpha left out",))


def test_refuses_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing: no such folder"):
        find_benchmark(tmp_path / "missing", 2)
    with pytest.raises(InputError, match="no pictures in it"):
        find_benchmark(tmp_path, 2)
    save(tmp_path / "A_HR/a.png", 8, 8)
    save(tmp_path / "B_HR/a.png", 8, 8)
    with pytest.raises(InputError, match=r"several HR folders \(A_HR, B_HR\); name one"):
        find_benchmark(tmp_path, 2)
    with pytest.raises(InputError, match=r"no LR files for x2 \(looked for .*A_LR_bicubic/X2\)"):
        find_benchmark(tmp_path / "A_HR", 2, lr="files")
    with pytest.raises(InputError, match="scale must be at least 1, got 0"):
        find_benchmark(tmp_path / "A_HR", 0)


def test_refuses_a_missing_partner(tmp_path: Path) -> None:
    save(tmp_path / "HR/a.png", 8, 8)
    save(tmp_path / "HR/b.png", 8, 8)
    save(tmp_path / "LR_bicubic/X2/ax2.png", 4, 4)
    with pytest.raises(InputError, match=r"b\.png: no LR picture bx2 or b in .*X2"):
        find_benchmark(tmp_path, 2)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 5, 3), r"ax2\.png: is 5x4, but .*a\.png \(9x8\) needs 4x4 for x2"),
        ((4, 4, 1), r"ax2\.png: is gray, but .*a\.png is RGB"),
    ],
)
def test_refuses_a_wrong_partner(tmp_path: Path, shape: tuple[int, int, int], message: str) -> None:
    save(tmp_path / "HR/a.png", 8, 9)
    save(tmp_path / "LR_bicubic/X2/ax2.png", *shape)
    pair = find_benchmark(tmp_path, 2).pairs[0]
    with pytest.raises(InputError, match=message):
        pair.load()


def test_refuses_broken_and_tiny_pictures(tmp_path: Path) -> None:
    save(tmp_path / "tiny/a.png", 8, 2)
    with pytest.raises(InputError, match=r"a\.png: 2x8 is too small for x3"):
        find_benchmark(tmp_path / "tiny", 3).pairs[0].load()
    save(tmp_path / "whole.png", 40, 40)
    (tmp_path / "broken").mkdir()
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "broken/a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"a\.png.*damaged") as caught:
        find_benchmark(tmp_path / "broken", 2).pairs[0].load()
    assert "\n" not in str(caught.value)


def test_hidden_files_and_folders_are_no_pictures(tmp_path: Path) -> None:
    save(tmp_path / "HR/a.png", 8, 8)
    (tmp_path / "HR/._a.png").write_bytes(b"")
    (tmp_path / "HR/b.png").mkdir()
    assert [pair.name for pair in find_benchmark(tmp_path, 2).pairs] == ["a"]
    save(tmp_path / "set/DIV2K_valid_HR/a.png", 8, 8)
    (tmp_path / "set/._DIV2K_HR").mkdir()
    assert find_benchmark(tmp_path / "set", 2).name == "DIV2K_valid"
