"""Reports as people and programs read them: a table, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from vernier.errors import InputError
from vernier.io.files import replacing

__all__ = ["Format", "Report", "Table", "format_of", "write_together"]

Format = Literal["table", "markdown", "csv", "json"]
_SUFFIXES: dict[str, Format] = {
    ".txt": "table",
    ".md": "markdown",
    ".csv": "csv",
    ".json": "json",
}


@dataclass(frozen=True)
class Table:
    """Rows under columns.

    Attributes:
        columns: their titles.
        rows: as many cells each as there are columns; for people they are texts.
        names: how many of the first columns hold names, which are left-aligned, not figures.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    names: int = 1

    def text(self) -> str:
        """For the screen, in a frame."""
        from rich.console import Console
        from rich.table import Table as RichTable

        table = RichTable()
        for i, title in enumerate(self.columns):
            table.add_column(title, justify="left" if i < self.names else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        # Names are shown as they are: brackets and colons in them are no markup.
        file = io.StringIO()
        Console(file=file, width=10_000, color_system=None, markup=False, emoji=False).print(table)
        return file.getvalue()

    def markdown(self) -> str:
        """The same in Markdown."""
        rule = ["---" if i < self.names else "---:" for i in range(len(self.columns))]
        return "".join(f"| {' | '.join(row)} |\n" for row in (self.columns, rule, *self.rows))

    def csv(self) -> str:
        """Comma-separated, the titles first."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()


class Report(ABC):
    """Figures, how they came about, and the four forms in which they are told.

    A subclass holds its figures as typed data and says what each form shows of them.
    """

    # Whether a line is left free between the table for the screen and the caption.
    _spaced: ClassVar[bool] = False

    @property
    @abstractmethod
    def caption(self) -> str:
        """How the figures came about, in one paragraph; no table is shown without it."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is to be told, a line each."""
        return ()

    @abstractmethod
    def shown(self) -> Table:
        """What people see: rounded figures, as texts."""

    @abstractmethod
    def records(self) -> Table:
        """What CSV holds: every single figure, unrounded."""

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """What JSON holds."""

    def render(self, form: Format) -> str:
        """The whole report as text, ending in a newline.

        "csv" and "json" have every single figure, unrounded; JSON, which knows neither infinity
        nor NaN, has null in their place.
        """
        if form == "json":
            document = _finite(self.document())
            return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        if form == "csv":
            return self.records().csv()
        lines = [self.caption, *self.notes, ""]
        if form == "markdown":
            return self.shown().markdown() + "\n".join(["", *lines])
        return self.shown().text() + "\n".join([*([""] if self._spaced else []), *lines])

    def write(self, path: str | Path, form: Format | None = None) -> list[Path]:
        """Write the report, whole or not at all; the suffix tells the form unless it is given.

        Returns:
            The files that were written, see `paths`.

        Raises:
            InputError: an unknown suffix and no form, or a file cannot be written.
        """
        form = form or format_of(path)
        files = dict(zip(self.paths(path, form), self._contents(form), strict=True))
        write_together(files)
        return list(files)

    @classmethod
    def paths(cls, path: str | Path, form: Format | None = None) -> list[Path]:
        """The files that `write` makes for ``path``.

        Raises:
            InputError: an unknown suffix and no form.
        """
        return [Path(path), *cls._beside(Path(path), form or format_of(path))]

    @classmethod
    def _beside(cls, path: Path, form: Format) -> list[Path]:
        """What `write` makes beside ``path``."""
        del path, form
        return []

    def _contents(self, form: Format) -> list[str]:
        """What stands in each of the `paths`."""
        return [self.render(form)]


def write_together(files: Mapping[Path, str]) -> None:
    """Write texts as UTF-8; where one cannot be written, none is.

    Raises:
        InputError: a file cannot be written.
    """
    with ExitStack() as stack:
        for path, text in files.items():
            stack.enter_context(replacing(path)).write_bytes(text.encode())


def format_of(path: str | Path) -> Format:
    """The form that a file's suffix asks for.

    Raises:
        InputError: the suffix asks for none.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(
            f"{path}: unknown suffix; use one of {', '.join(_SUFFIXES)}, "
            f"or --format with one of {', '.join(get_args(Format))}"
        )
    return _SUFFIXES[suffix]


def _finite(value: Any) -> Any:
    """The same with None for infinity and NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
