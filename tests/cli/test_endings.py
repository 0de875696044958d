"""How the command ends: with which code, and without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vernier.io import Picture, write_picture

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and devices of POSIX")

COMMAND = [sys.executable, "-m", "vernier"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with many pictures in ``in``."""
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 1200, 3), dtype=np.uint8)
    for index in range(30):
        write_picture(Picture(pixels), tmp_path / "in" / f"{index:02}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGTERM], 143),
        ([signal.SIGHUP], 129),
        ([signal.SIGINT, signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM, signal.SIGTERM], 143),
    ],
)
def test_signals_leave_no_temporary_file_and_no_traceback(
    signals: list[signal.Signals], code: int, folder: Path
) -> None:
    out = folder / "out"
    process = subprocess.Popen(
        [*COMMAND, "upscale", "in", "-o", "out"], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not (out.is_dir() and any(out.glob(".*"))):
            assert process.poll() is None
            assert time.monotonic() < deadline
        for each in signals:
            process.send_signal(each)
            time.sleep(0.01)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (code, "interrupted\n" if code == 130 else "")
    assert not list(out.glob(".*"))
    assert 0 < len(list(out.iterdir())) < 30


_WHILE_IMPORTING = """
import builtins, os, signal, sys
original = builtins.__import__
def interrupting(name, *rest):
    if name == "typer":
        os.kill(os.getpid(), signal.SIGINT)
    return original(name, *rest)
builtins.__import__ = interrupting
from vernier.__main__ import main
sys.argv = ["vernier", "models"]
main()
"""


def test_an_interruption_while_the_code_is_read_is_one_line() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _WHILE_IMPORTING], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize("words", [["--version"], ["upscale", "-h"], ["models", "sesr-m5"]])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_stdout_is_one_line(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [*COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: the output cannot be written")
    assert ran.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_stderr_changes_no_exit_code(tmp_path: Path) -> None:
    write_picture(Picture(np.zeros((9, 9, 3), np.uint8)), tmp_path / "a.png")
    for words, code in {
        ("upscale", "a.png", "-o", "b.png", "-s", "1.5"): 0,  # with a note
        ("upscale", "none.png", "-o", "b.png"): 2,
    }.items():
        with Path("/dev/full").open("w") as full:
            ran = subprocess.run(
                [*COMMAND, *words], cwd=tmp_path, stderr=full, stdout=subprocess.PIPE, check=False
            )
        assert ran.returncode == code


@pytest.mark.parametrize("words", [["--version"], ["upscale", "--help"], ["models", "sesr-m5"]])
def test_a_closed_pipe_is_quiet(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run([*COMMAND, *words], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (ran.returncode, ran.stderr) == (141, b"")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream_is_no_obstacle(closed: str, tmp_path: Path) -> None:
    write_picture(Picture(np.zeros((9, 9, 3), np.uint8)), tmp_path / "a.png")
    line = f"exec {sys.executable} -m vernier upscale a.png -o b.png {closed}"
    assert subprocess.run(line, shell=True, cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "b.png").exists()


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        (b"bad\xff\xfe.png", "utf-8"),
        ("\u4e2d\u6587.png".encode(), "latin-1"),
        (b"two\nlines.png", "ascii"),
    ],
)
def test_every_name_can_be_printed(name: bytes, encoding: str, tmp_path: Path) -> None:
    write_picture(Picture(np.zeros((9, 9, 3), np.uint8)), tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / os.fsdecode(name))
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for options, code in (([], 0), (["--max-pixels", "10"], 2)):
        ran = subprocess.run(
            [*COMMAND, "upscale", os.fsdecode(name), "-o", "out", *options],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert ran.returncode == code
        assert b"Traceback" not in ran.stderr
        assert (ran.stdout + ran.stderr).count(b"\n") == 1
    assert (tmp_path / "out" / os.fsdecode(name)).exists()


@pytest.mark.parametrize("words", [["-h"], ["upscale", "-h"], ["data", "info", "-h"]])
def test_help_has_a_short_name(words: list[str], vernier: Callable[..., object]) -> None:
    code, out, err = vernier(*words)  # type: ignore[misc]
    assert (code, err) == (0, "")
    assert "Usage:" in out
