"""The command line as a whole: what leaves it, and with which exit code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.command import Ran


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["upscal"], ["upscal", "vernier --help"]),
        (["upscale"], ["nothing to upscale"]),
        (["fuse"], ["Missing", "vernier fuse --help"]),
        (["upscale", "a.png", "--sacle", "2"], ["--sacle", "vernier upscale --help"]),
        (["upscale", "a.png", "-s", "two"], ["--scale", "vernier upscale --help"]),
        (["data", "nothing"], ["nothing", "vernier data --help"]),
        (["upscale", "no such [file].png", "-o", "b.png"], ["no such [file].png"]),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], words: list[str], vernier: Callable[..., Ran]
) -> None:
    code, out, err = vernier(*arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


@pytest.mark.parametrize("arguments", [[], ["data"]])
def test_without_arguments_there_is_help(arguments: list[str], vernier: Callable[..., Ran]) -> None:
    code, out, err = vernier(*arguments)
    assert code == 2
    assert "Usage:" in out + err
    assert "error:" not in err


def test_help_and_version_are_0(vernier: Callable[..., Ran]) -> None:
    assert vernier("--version").out.startswith("vernier ")
    assert vernier("--version").code == vernier("upscale", "--help").code == 0
