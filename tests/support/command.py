"""What a run of the command line gives."""

from __future__ import annotations

from typing import NamedTuple


class Ran(NamedTuple):
    """The exit code, and all that was printed."""

    code: int
    out: str
    err: str
