"""The command line as a whole: what leaves it, and with which exit code."""

from __future__ import annotations

import pytest

from vernier.cli import main


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    monkeypatch.setattr("sys.argv", ["vernier", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return exit_.value.code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["upscal"], ["upscal", "vernier --help"]),
        (["upscale"], ["Missing", "vernier upscale --help"]),
        (["upscale", "a.png", "--sacle", "2"], ["--sacle", "vernier upscale --help"]),
        (["upscale", "a.png", "-s", "two"], ["--scale", "vernier upscale --help"]),
        (["data", "nothing"], ["nothing", "vernier data --help"]),
        (["upscale", "no such [file].png", "-o", "b.png"], ["no such [file].png"]),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(arguments, monkeypatch) == 2
    captured = capsys.readouterr()
    assert not captured.out
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


@pytest.mark.parametrize("arguments", [[], ["data"]])
def test_without_arguments_there_is_help(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments, monkeypatch) == 2
    captured = capsys.readouterr()
    assert "Usage:" in captured.out + captured.err
    assert "error:" not in captured.err


def test_help_version_and_success_are_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--version"], monkeypatch) in (0, None)
    assert capsys.readouterr().out.startswith("vernier ")
    assert run(["upscale", "--help"], monkeypatch) in (0, None)
