"""Results as JSON, and as a page of markdown made from nothing but that JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["Column", "Kind", "Section", "Table", "merged", "render", "write"]

Kind = Literal["text", "seconds", "milliseconds", "number", "percent", "ratio", "tiny"]

_HEADER = """# Benchmarks

Written by `python -m benchmarks`; change the code in `benchmarks/`, not this page.

Contestants take turns, round after round, in one run. Times are medians over the rounds, with the
fastest and the slowest in brackets. All numbers are in `benchmarks/results.json`.
"""


def _number(value: float) -> str:
    """Three significant digits, none of a whole part cut; whole numbers as they are."""
    if isinstance(value, int):
        return f"{value:,}"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{digits}f}"


def _timing(value: Any, unit: float, digits: int) -> str:
    middle, low, high = (
        f"{value[key] * unit:.{digits}f}" for key in ("median", "fastest", "slowest")
    )
    return f"{middle} ({low} to {high})"


_FORMATS: dict[Kind, Callable[[Any], str]] = {
    "text": str,
    "seconds": lambda value: _timing(value, 1, 3),
    "milliseconds": lambda value: _timing(value, 1e3, 2),
    "number": _number,
    "percent": lambda value: f"{100 * value:.1f} %",
    "ratio": lambda value: f"{value:.2f}x",
    "tiny": lambda value: "0" if value == 0 else f"{value:.1e}",
}


@dataclass(frozen=True)
class Column:
    """Which value of a row to show, and how.

    Attributes:
        kind: "seconds" and "milliseconds" take a `benchmarks.timing.Timing` (in seconds), "text"
            what is no number, the others a number.
    """

    key: str
    heading: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """Rows hold a value for every column's key, None where there is none, and may hold more."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Section:
    """What a suite found out; ``timed``: a machine that is busy with something else spoils it."""

    title: str
    notes: Sequence[str]
    tables: Sequence[Table]
    timed: bool = True


def merged(path: Path, name: str, section: Section, environment: Mapping[str, Any]) -> str:
    """The results file as text, with one suite's results put in or replaced."""
    suites = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    suites[name] = {"environment": dict(environment), **asdict(section)}
    return json.dumps(suites, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def render(suites: Mapping[str, Any]) -> str:
    """The page."""
    parts = [_HEADER]
    for name, suite in suites.items():
        parts.append(f"## {suite['title']}\n")
        parts.append(f"`python -m benchmarks {name}`: {_circumstances(suite)}\n")
        parts += [f"{note}\n" for note in suite["notes"]]
        for table in suite["tables"]:
            parts.append(f"### {table['title']}\n")
            parts.append(_table(table["columns"], table["rows"]))
    return "\n".join(parts)


def _circumstances(suite: Mapping[str, Any]) -> str:
    environment = suite["environment"]
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    text = (
        f"{environment['date']}, {environment['processor']} ({environment['instructions']}), "
        f"{environment['system']}, {environment['cores']} cores, of which others "
        f"kept {environment['busy_cores']:.2f} busy at the start; "
        f"rounds: {environment['repeats']}; {versions}."
    )
    if environment["quick"]:
        text += " **Tiny sizes (`--quick`): no number here means anything.**"
    if not environment["quiet"] and suite.get("timed", True):
        text += " **The machine was busy with something else: do not trust these times.**"
    return text


def _table(columns: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [column["heading"] for column in columns],
        ["---" if column["kind"] == "text" else "---:" for column in columns],
    ]
    for row in rows:
        values = [(row[column["key"]], column["kind"]) for column in columns]
        lines.append(["" if value is None else _FORMATS[kind](value) for value, kind in values])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write(path: Path, text: str) -> None:
    """All or nothing."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)  # noqa: PTH105
