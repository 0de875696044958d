"""The command as users see it: exit code, stdout, stderr, files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.command import Ran

from vernier.io import Picture, picture_size, read_picture, write_picture
from vernier.zoo import available_scales, create_model, new_card, save_weights
from vernier.zoo.registry import DEFAULT_MODEL

Run = Callable[..., Ran]


@pytest.fixture
def run(weights: dict[int, Path], vernier: Callable[..., Ran]) -> Run:
    def call(*arguments: str | Path, model: Path | str = weights[2]) -> Ran:
        return vernier("upscale", *arguments, "-n", model)

    return call


@pytest.fixture
def picture(tmp_path: Path, photo: Callable[..., np.ndarray]) -> Path:
    path = tmp_path / "in" / "a.png"
    path.parent.mkdir()
    write_picture(Picture(photo(15, 21, 3)), path)
    return path


def test_one_file_says_what_was_written(run: Run, picture: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    code, out, err = run(picture, "-o", target, "--precision", "fp32")
    assert (code, err) == (0, "")
    assert out.startswith(f"{target}: 42x30, sesr-m3 x2, openvino fp32, ")
    assert picture_size(target) == (42, 30, 3)


def test_options_reach_the_upscaler(run: Run, picture: Path, tmp_path: Path) -> None:
    options = ("--tile", "0", "--engine", "torch", "--ensemble", "-s", "1.5", "--device", "cpu")
    code, out, err = run("-i", picture, "-o", tmp_path / "out.webp", "--quality", "100", *options)
    assert code == 0
    assert "sesr-m3 x1.5, torch fp32" in out
    assert err == "note: sesr-m3 has no weights for x1.5: runs x2, then bicubic down to x1.5\n"
    assert picture_size(tmp_path / "out.webp") == (32, 23, 3)


def test_exact_tiles_are_for_grla(run: Run, picture: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    code, _, err = run(picture, "-o", target, "--exact-tiles")
    assert (code, "exact tiles are for GRLA" in err, target.exists()) == (2, True, False)
    code, out, err = run(picture, "-o", target, "--exact-tiles", "-t", "16", model="grla-s")
    assert (code, err) == (0, "")
    assert "42x30, grla-s x2, torch fp32" in out


@pytest.mark.parametrize(
    ("network", "options", "told"),
    [
        ("hat", ("--tile", "16"), True),
        ("hat", ("--tile", "0"), False),
        ("hat", ("--tile", "auto"), False),
        ("hat", ("--tile", "40"), False),
        ("grla-s", ("--tile", "16"), True),
        ("sesr", ("--tile", "16"), False),
    ],
)
def test_tiles_that_are_not_the_whole_pictures_result_are_told_once(
    network: str,
    options: tuple[str, ...],
    told: bool,
    run: Run,
    picture: Path,
    photo: Callable[..., np.ndarray],
    weights: dict[int, Path],
    tmp_path: Path,
) -> None:
    for name in ("a", "b"):
        write_picture(Picture(photo(20, 100, 3)), picture.with_name(f"{name}.png"))
    hat = create_model(
        "hat-s", scale=2, embed_dim=24, depths=[1], num_heads=[2], window_size=8, squeeze_factor=6
    )
    save_weights(hat, tmp_path / "hat.safetensors", new_card(hat, "hat-s"))
    model = {"hat": tmp_path / "hat.safetensors", "sesr": weights[2]}.get(network, network)
    code, _, err = run(picture.parent, "-o", tmp_path / "out", *options, model=model)
    assert code == 0
    name = "hat-s" if network == "hat" else network
    note = f"note: {name} looks at the whole picture, so that its tiles come near the whole picture"
    ways = "--tile 0 takes none, and --exact-tiles, which GRLA has, makes them exact"
    assert err == (f"{note}'s result but do not equal it; {ways}\n" if told else "")


def test_a_folder_run_skips_what_exists(run: Run, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(picture.parent, "-o", out, "--format", "tiff")[0] == 0
    before = (out / "a.tiff").stat().st_mtime_ns
    write_picture(read_picture(picture), picture.with_name("b.png"))
    code, said, _ = run(picture.parent, "-o", out, "--format", "tiff", "--skip-existing")
    assert code == 0
    assert said.startswith(f"{out}: 1 picture, 1 already there")
    assert (out / "a.tiff").stat().st_mtime_ns == before
    assert (out / "b.tiff").exists()
    code, said, _ = run(picture.parent, "-o", out, "--format", "tiff", "--skip-existing")
    assert (code, said) == (0, "nothing to do, 2 already there\n")


def test_dates_are_kept_where_that_is_asked_for(run: Run, picture: Path, tmp_path: Path) -> None:
    before = 1_234_567_890_123_456_789
    other = picture.with_name("b.png")
    other.write_bytes(picture.read_bytes())
    for each, date in ((picture, before), (other, before + 10**9)):
        os.utime(each, ns=(date, date))
    assert run(picture, "-o", tmp_path / "a.jpg", "--keep-dates").code == 0
    assert run(picture, "-o", tmp_path / "now.jpg").code == 0
    assert run(picture.parent, "-o", tmp_path / "out", "--keep-dates").code == 0
    dates = [(tmp_path / name).stat().st_mtime_ns for name in ("a.jpg", "out/a.png", "out/b.png")]
    assert dates == [before, before, before + 10**9]
    assert (tmp_path / "now.jpg").stat().st_mtime_ns > before + 10**9


def test_a_broken_picture_in_a_folder_is_one_line_at_the_end(
    run: Run, picture: Path, tmp_path: Path
) -> None:
    (picture.parent / "Broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    code, said, err = run(picture.parent, "-o", tmp_path / "out")
    assert code == 2
    assert "1 picture," in said
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Broken.jpg" in err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.png"]


def test_notes_say_what_was_left_out(run: Run, picture: Path, tmp_path: Path) -> None:
    pixels = read_picture(picture).pixels
    half = np.dstack([pixels, np.full(pixels.shape[:2], 128, np.uint8)])
    for name in ("b.png", "c.png"):
        write_picture(Picture(half), picture.with_name(name))
    picture.with_name("notes.txt").write_text("notes")
    code, _, err = run(picture.parent, "-o", tmp_path / "out", "--format", "jpg")
    assert code == 0
    white = "laid over white, for JPEG has no transparency; PNG, WebP and TIFF do"
    assert err == f"note: 2 pictures: {white}\nnote: 1 file of other kinds left out\n"
    code, _, err = run(picture.with_name("b.png"), "-o", tmp_path / "b.jpg")
    assert (code, err) == (0, f"note: {white}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.png", "-o", "x.png"), "missing.png: no such file"),
        (("in/a.png", "-o", "in/a.png"), "would overwrite the input"),
        (("empty", "-o", "out"), "no pictures in this folder"),
        (("-o", "out"), "nothing to upscale"),
        (("in/a.png", "-o", "x.png", "-t", "big"), "--tile must be"),
        (("in/a.png", "-o", "x.png", "-t", "3"), "at least 16"),
        (("in/a.png", "-o", "x.png", "-s", "1"), "scale must be a number above 1"),
        (("in/a.png", "-o", "x.png", "--max-pixels", "100"), "more than the limit"),
        (("in/a.png", "-o", "x.png", "--max-pixels", "-1"), "--max-pixels must be"),
        (("in/a.png", "-o", "in/a.png/x.png"), "a.png is a file, not a folder"),
        (("in/a.png", "-o", "x.png", "-s", "100000"), "choose a smaller scale"),
        (
            ("in/a.png", "-o", "x.png", "--device", "banana"),
            "choose cpu, cuda (cuda:1, ...) or mps",
        ),
        (("in/a.png", "-o", "x.png", "--engine", "openvino", "--device", "cuda"), "on the CPU"),
    ],
)
def test_errors_are_one_line_and_exit_two(
    arguments: tuple[str, ...],
    message: str,
    run: Run,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "in"]
    assert picture_size(picture) == (21, 15, 3)


_WITHOUT_TORCH = """
import sys
from vernier.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert "openvino" in sys.modules
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("scale", ["2", "1.5"])
def test_sesr_on_openvino_never_imports_torch(
    scale: str, weights: dict[int, Path], picture: Path, tmp_path: Path
) -> None:
    model = DEFAULT_MODEL if available_scales(DEFAULT_MODEL) else str(weights[2])
    target = tmp_path / "out.png"
    words = ["upscale", str(picture), "-o", str(target), "-n", model, "-s", scale, "-t", "16"]
    subprocess.run([sys.executable, "-c", _WITHOUT_TORCH, *words], check=True)
    assert target.exists()
