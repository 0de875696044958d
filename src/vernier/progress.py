"""How long tasks tell how far they are."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress"]


class Progress(Protocol):
    """Called as a task goes on, always with all three arguments."""

    def __call__(self, done: int, total: int, what: str, /) -> None:
        """Tell how far the task is.

        Args:
            done: parts that are finished.
            total: parts in all.
            what: the part that comes next, for people; may be empty.
        """
        ...
