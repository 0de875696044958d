"""Tables, and the form that a file's suffix asks for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from vernier.errors import InputError
from vernier.tables import Report, Table, format_of, write_together


class Found(Report):
    @property
    def caption(self) -> str:
        return "How it was found."

    def shown(self) -> Table:
        return Table(["what", "much"], [["a [b]", "1.0"]])

    def records(self) -> Table:
        return Table(["what", "much"], [['a, "b"', math.inf]])

    def document(self) -> dict[str, Any]:
        return {"much": [1.5, math.nan, {"deep": (-math.inf, True, None, "é")}]}


def test_forms() -> None:
    report = Found()
    assert report.render("markdown") == (
        "| what | much |\n| --- | ---: |\n| a [b] | 1.0 |\n\nHow it was found.\n"
    )
    assert report.render("csv") == 'what,much\n"a, ""b""",inf\n'
    assert (
        "".join(report.render("json").split())
        == '{"much":[1.5,null,{"deep":[null,true,null,"é"]}]}'
    )
    assert report.render("table").splitlines()[3:] == [
        "│ a [b] │  1.0 │",
        "└───────┴──────┘",
        "How it was found.",
    ]


@pytest.mark.parametrize("name", ["a.txt", "a.MD", "a.csv", "a.json"])
def test_the_suffix_tells_the_form(name: str, tmp_path: Path) -> None:
    form = format_of(name)
    assert Found().write(tmp_path / name) == [tmp_path / name]
    assert (tmp_path / name).read_text(encoding="utf-8") == Found().render(form)


def test_a_suffix_that_tells_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.xyz: unknown suffix; use one of \.txt, \.md"):
        Found().write(tmp_path / "a.xyz")
    assert Found().write(tmp_path / "a.xyz", "json") == [tmp_path / "a.xyz"]


def test_texts_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        write_together({tmp_path / "a": "1", tmp_path / "missing" / "b": "2"})
    assert not list(tmp_path.iterdir())
    write_together({tmp_path / "a": "1", tmp_path / "b": "é\n"})
    assert (tmp_path / "b").read_bytes() == "é\n".encode()
