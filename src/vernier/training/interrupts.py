"""Signals that ask a run to stop, heard between steps, where nothing is half done."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["InterruptedRun", "Signals", "watched_signals"]

# Windows has no SIGHUP, which a terminal sends that is closed.
_WATCHED = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


# Seconds.
_PATIENCE = 2.0


class InterruptedRun(KeyboardInterrupt):
    """A run was asked to stop and has written a checkpoint.

    Attributes:
        number: of the signal.
        step: how many steps the checkpoint has done.
    """

    def __init__(self, number: int | None, step: int) -> None:
        super().__init__(f"interrupted after step {step}")
        self.number = signal.SIGINT if number is None else number
        self.step = step


class Signals:
    """The signal that came first, or None."""

    received: int | None = None


@contextmanager
def watched_signals() -> Iterator[Signals]:
    """Note the first SIGINT, SIGTERM or SIGHUP instead of stopping.

    A second one does what it did before, unless it follows within two seconds: who presses Ctrl-C
    twice means it once.

    Only the main thread hears signals: in another one nothing changes.
    """
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return

    noted = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal noted
        if signals.received is None:
            signals.received, noted = number, time.monotonic()
        elif time.monotonic() - noted > _PATIENCE:
            handler = before[number]
            if callable(handler):
                handler(number, frame)
            raise SystemExit(128 + number)

    # None: a handler that was not installed from Python and cannot be put back.
    before = {number: signal.getsignal(number) for number in _WATCHED}
    for number in _WATCHED:
        if before[number] not in (None, signal.SIG_IGN):
            signal.signal(number, note)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            if handler not in (None, signal.SIG_IGN):
                signal.signal(number, handler)
