"""The command as users see it: exit code, stdout, stderr, files."""

from __future__ import annotations

import os
import shutil
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


def test_one_file_says_what_was_written(
    run: Run, picture: Path, tmp_path: Path, weights: dict[int, Path]
) -> None:
    target = tmp_path / "out.png"
    code, out, err = run(picture, "-o", target, "--precision", "fp32")
    assert (code, err) == (0, "")
    assert out.startswith(f"{target}: 42x30, sesr-m3 x2 from {weights[2]}, openvino fp32, ")
    assert picture_size(target) == (42, 30, 3)


def test_options_reach_the_upscaler(run: Run, picture: Path, tmp_path: Path) -> None:
    options = ("--tile", "0", "--engine", "torch", "--ensemble", "-s", "1.5", "--device", "cpu")
    code, out, err = run("-i", picture, "-o", tmp_path / "out.webp", "--quality", "100", *options)
    assert code == 0
    assert "sesr-m3 x1.5 from " in out
    assert ", torch fp32, " in out
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
        (("in/a.png", "-o", "x.png", "-s", "1e200"), "up to a million, not 1e+200"),
        (("in/a.png", "-o", "x.png", "-s", "nan"), "up to a million, not nan"),
        (("in/a.png", "-o", "x.png", "-s", "2", "--width", "9"), "choose one of them"),
        (("in/a.png", "-o", "x.png", "--width", "9", "--height", "9"), "height and width"),
        (("in/a.png", "-o", "x.png", "--width", "0"), "width must be a number of pixels"),
        (("in/a.png", "-o", "x.png", "--at-least", "9"), "give WIDTHxHEIGHT"),
        (("in/a.png", "-o", "x.png", "--print", "9x9@300"), "is no size of a print"),
        (("in/a.png", "-o", "x.png", "--print", "0x9cm@300dpi"), "must be a number above 0"),
        (("in/a.png", "-o", "x.png", "--longest", "9999999"), "choose a smaller scale"),
        (("in/a.png", "-o", "x.png", "--threads", "0"), "--threads"),
        (("in", "-o", "-"), "takes one picture"),
        (("in/a.png", "-", "-o", "-"), "takes one picture"),
        (("n" * 300, "-o", "x.png"), "too long"),
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


@pytest.mark.parametrize(
    ("option", "value", "size"),
    [
        ("--width", "50", (50, 36)),
        ("--height", "31", (43, 31)),
        ("--longest", "63", (63, 45)),
        ("--shortest", "60", (84, 60)),
        ("--at-least", "43x40", (56, 40)),
        ("--print", "4x3cm@30dpi", (49, 35)),
        ("--print", "40 x 30 mm @ 30 dpi", (49, 35)),
        ("--print", "1.5x2in@30dpi", (63, 45)),
        ("-s", "2x", (42, 30)),
        ("-s", "x3", (63, 45)),
        ("-s", "150%", (32, 23)),
    ],
)
def test_a_size_may_be_named_in_many_ways(
    option: str, value: str, size: tuple[int, int], run: Run, picture: Path, tmp_path: Path
) -> None:
    code, _, _ = run(picture, "-o", tmp_path / "out.jpg", option, value)
    assert code == 0
    assert picture_size(tmp_path / "out.jpg")[:2] == size
    if option == "--print":
        assert read_picture(tmp_path / "out.jpg").density == pytest.approx((30 / 25.4,) * 2)


def test_stdin_and_stdout(weights: dict[int, Path], picture: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vernier", "upscale", "-n", str(weights[2]), "-s", "2"]
    expected = tmp_path / "expected.png"
    subprocess.run([*command, str(picture), "-o", str(expected)], check=True)
    for words, suffix in (
        ((str(picture), "-o", "-"), ".png"),
        (("-",), ".png"),
        (("/dev/stdin", "-o", "/dev/stdout", "--format", "tiff"), ".tiff"),
    ):
        ran = subprocess.run(
            [*command, *words], input=picture.read_bytes(), capture_output=True, check=True
        )
        assert ran.stderr.startswith(b"/dev/stdout: 42x30, sesr-m3")
        (tmp_path / f"piped{suffix}").write_bytes(ran.stdout)
        pixels = read_picture(tmp_path / f"piped{suffix}").pixels
        np.testing.assert_array_equal(pixels, read_picture(expected).pixels)
    assert not (tmp_path / "-").exists()
    ran = subprocess.run([*command, "-"], input=b"no picture", capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr.count(b"\n")) == (2, b"", 1)


def test_the_folder_of_a_run_stands_for_its_weights(
    run: Run, picture: Path, tmp_path: Path, weights: dict[int, Path]
) -> None:
    folder = tmp_path / "runs" / "v1.2"
    folder.mkdir(parents=True)
    code, _, err = run(picture, "-o", tmp_path / "out.png", model=folder)
    assert (code, "holds no weights.safetensors" in err) == (2, True)
    shutil.copy(weights[2], folder / "weights.safetensors")
    code, out, err = run(picture, "-o", tmp_path / "out.png", model=folder)
    assert (code, err) == (0, "")
    assert f"sesr-m3 x2 from {folder}, " in out


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
