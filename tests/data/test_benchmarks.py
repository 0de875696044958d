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


def lay(folder: Path, *names: str, hr: tuple[int, int] = (26, 31), scale: int = 2) -> Path:
    """Pictures of these names; those that say LR or lie in such a folder are smaller."""
    for seed, name in enumerate(names):
        low = "LR" in name or "X" in name or f"x{scale}" in name
        height, width = (side // scale if low else side for side in hr)
        save(folder / f"{name}.png", height, width, seed=seed)
    return folder


def pairs_of(folder: Path, scale: int) -> dict[str, str | None]:
    benchmark = find_benchmark(folder, scale)
    for pair in benchmark.pairs:
        pair.load()
    return {p.hr_path.stem: p.lr_path.stem if p.lr_path else None for p in benchmark.pairs}


@pytest.mark.parametrize(
    ("hr", "lr"),
    [
        ("img_001_SRF_2_HR", "img_001_SRF_2_LR"),
        ("baby_HR", "baby_LR"),
        ("baby-hr", "baby-lr"),
        ("HR_baby", "LR_baby"),
        ("HR", "LR"),
        ("baby_GT", "baby_LQ"),
        ("baby_HR_x2", "baby_LRBI_x2"),
        ("baby", "babyx2"),
        ("baby", "baby_x2"),
        ("baby", "baby_LR"),
        ("baby", "baby_bicLRx2"),
        ("baby", "baby_x2_bic"),
        ("box2", "box2x2"),
    ],
)
def test_lr_beside_hr_is_told_apart(tmp_path: Path, hr: str, lr: str) -> None:
    save(tmp_path / f"{hr}.png", 26, 31)
    save(tmp_path / f"{lr}.png", 13, 15)
    assert pairs_of(tmp_path, 2) == {hr: lr}


def test_the_layout_of_selfexsr(tmp_path: Path) -> None:
    for scale in (2, 3):
        folder = tmp_path / "Set5" / f"image_SRF_{scale}"
        for name in ("img_001", "img_002"):
            save(folder / f"{name}_SRF_{scale}_HR.png", 30, 36)
            save(folder / f"{name}_SRF_{scale}_LR.png", 30 // scale, 36 // scale)
            save(folder / f"{name}_SRF_{scale}_bicubic.png", 30, 36)
            save(folder / f"{name}_SRF_{scale}_ScSR.png", 30, 36)
        (folder / "._img_001_SRF_2_HR.png").write_bytes(b"")
    for asked in ("Set5", "Set5/image_SRF_3"):
        benchmark = find_benchmark(tmp_path / asked, 3)
        assert (benchmark.name, benchmark.lr_source) == ("Set5", "files")
        assert [pair.name for pair in benchmark.pairs] == ["img_001_SRF_3_HR", "img_002_SRF_3_HR"]
        assert [pair.lr_path.stem for pair in benchmark.pairs if pair.lr_path] == [
            "img_001_SRF_3_LR",
            "img_002_SRF_3_LR",
        ]
        assert benchmark.notes == (
            "4 other pictures beside HR left out, such as img_001_SRF_3_ScSR.png",
        )
    other = find_benchmark(tmp_path / "Set5/image_SRF_3", 2)
    assert (other.lr_source, len(other.pairs), other.pairs[0].lr_path) == ("made", 2, None)
    assert other.notes[0].startswith("6 other pictures beside HR left out")
    with pytest.raises(InputError, match=r"several HR folders \(image_SRF_2, image_SRF_3\)"):
        find_benchmark(tmp_path / "Set5", 4)


def test_several_scales_in_one_folder(tmp_path: Path) -> None:
    for scale in (2, 4):
        save(tmp_path / f"img_001_SRF_{scale}_HR.png", 32, 32)
        save(tmp_path / f"img_001_SRF_{scale}_LR.png", 32 // scale, 32 // scale)
    assert pairs_of(tmp_path, 4) == {"img_001_SRF_4_HR": "img_001_SRF_4_LR"}
    with pytest.raises(InputError, match="holds HR pictures for x2, x4, not for x3"):
        find_benchmark(tmp_path, 3)
    for scale in (2, 4):
        save(tmp_path / "plain" / f"babyx{scale}.png", 32 // scale, 32 // scale)
    save(tmp_path / "plain" / "baby.png", 32, 32)
    assert pairs_of(tmp_path / "plain", 4) == {"baby": "babyx4"}
    assert pairs_of(tmp_path / "plain", 3) == {"baby": None}


def test_what_is_no_lr_is_measured(tmp_path: Path) -> None:
    """A larger result beside its picture, and names that only look like marks."""
    save(tmp_path / "photo.png", 20, 20)
    save(tmp_path / "photo-x2.png", 40, 40)
    save(tmp_path / "box2.png", 20, 20)
    save(tmp_path / "the_HR.png", 20, 20)
    save(tmp_path / "colr.png", 20, 20)
    names = ["box2", "colr", "photo", "photo-x2", "the_HR"]
    assert pairs_of(tmp_path, 2) == dict.fromkeys(names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a_LR", "b_LR"), r"holds LR pictures alone, such as a_LR\.png; name the folder of HR"),
        (("a", "b_LR"), r"b_LR\.png: is an LR picture by its name, but has no HR picture b"),
        (("a_HR", "a_LR", "c"), r"c\.png: is neither HR nor LR by its name"),
        (("a_HR", "a_LR", "b_HR"), r"b_HR\.png: no LR picture"),
        (("HR/a", "LR/X2/a_LRBI", "LR/X2/a_LRBD"), r"both a_LRBD.png and a_LRBI.png in .*X2 may"),
    ],
)
def test_open_questions_are_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    lay(tmp_path, *names)
    with pytest.raises(InputError, match=message) as caught:
        find_benchmark(tmp_path, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folder", ["LR", "LR_bicubic/X2", "DIV2K_valid_LR_bicubic/X2", "LRbicx2"])
def test_a_folder_of_lr_is_not_measured(tmp_path: Path, folder: str) -> None:
    lay(tmp_path / folder, "a")
    with pytest.raises(InputError, match="holds LR pictures, by its name; name the HR folder"):
        find_benchmark(tmp_path / folder, 2)


@pytest.mark.parametrize(
    "lr", ["a", "ax2", "a_x2", "a-x2", "a.x2", "a_bicLRx2", "a_LRBI_x2", "a_x2_bic", "a_LR", "LR_a"]
)
@pytest.mark.parametrize(
    "folder",
    [
        "LR_bicubic/X2",
        "LR/X2",
        "LR/x2",
        "X2",
        "x2",
        "LR_x2",
        "LRx2",
        "LR_bicubic_X2",
        "lr/2x",
        "LR",
    ],
)
def test_names_of_lr_files_and_folders(tmp_path: Path, lr: str, folder: str) -> None:
    save(tmp_path / "HR/a.png", 26, 31)
    save(tmp_path / "HR/ab.png", 26, 31)
    save(tmp_path / folder / f"{lr}.png", 13, 15)
    save(tmp_path / folder / f"{lr.replace('a', 'ab', 1)}.png", 13, 15)
    second = lr.replace("a", "ab", 1)
    assert pairs_of(tmp_path, 2) == {"a": lr, "ab": second}
    assert pairs_of(tmp_path, 3) == {"a": None, "ab": None}


def test_lr_folders_inside_and_in_trees_of_their_own(tmp_path: Path) -> None:
    save(tmp_path / "flat/a.png", 26, 31)
    save(tmp_path / "flat/X2/a.png", 13, 15)
    assert pairs_of(tmp_path / "flat", 2) == {"a": "a"}
    save(tmp_path / "HR/Set5/x2/baby_HR_x2.png", 26, 31)
    save(tmp_path / "LR/LRBI/Set5/x2/baby_LRBI_x2.png", 13, 15)
    tree = tmp_path / "HR/Set5/x2"
    assert pairs_of(tree, 2) == {"baby_HR_x2": "baby_LRBI_x2"}
    assert find_benchmark(tree, 2).name == "Set5"
    save(tmp_path / "D/DIV2K_valid_HR/0801.png", 26, 31)
    save(tmp_path / "D/DIV2K_valid_LR_x2/0801.png", 13, 15)
    assert pairs_of(tmp_path / "D", 2) == {"0801": "0801"}


def test_a_folder_that_is_named_like_lr_but_is_not_as_small_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path / "HR/a.png", 26, 31)
    save(tmp_path / "bicubic_2x/a.png", 26, 31)
    save(tmp_path / "LR/a.png", 13, 15)
    assert pairs_of(tmp_path, 2) == {"a": "a"}
    assert find_benchmark(tmp_path, 2).lr_source == "files"
    assert find_benchmark(tmp_path, 4).lr_source == "made"


def test_a_folder_of_lr_of_another_size_is_told_of(tmp_path: Path) -> None:
    save(tmp_path / "HR/a.png", 26, 31)
    save(tmp_path / "LR/X2/a.png", 26, 31)
    benchmark = find_benchmark(tmp_path, 2)
    assert benchmark.lr_source == "made"
    assert benchmark.notes == ("LR/X2 left out: its pictures are not 1/2 of HR's size",)
    assert find_benchmark(tmp_path, 2, lr="made").notes == ()
