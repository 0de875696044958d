"""How the command ends when it cannot end by itself: signals, and streams that take no more.

Whatever ends it, the temporary files of what is being written are removed, and no traceback is
shown.
"""

from __future__ import annotations

import errno
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from types import FrameType

__all__ = [
    "BROKEN_PIPE",
    "FULL",
    "ending_cleanly",
    "leads_nowhere",
    "printing_anything",
    "silence",
    "silence_if_broken",
]

# What shells report of a command whose reader has gone.
BROKEN_PIPE = 141
# What the system says of a stream or a disk that takes no more.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
# Seconds; who presses Ctrl-C twice means it once.
_PATIENCE = 2.0


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Turn signals that end a process into exceptions, so that what is open is cleaned up.

    An interruption (Ctrl-C) becomes a KeyboardInterrupt; a SIGTERM, or a terminal that is closed,
    becomes a SystemExit with 128 and the signal's number. One that follows within two seconds is
    passed over: it would only cut off the cleaning up. What the process was told to ignore stays
    ignored, as ``nohup`` wants.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}
    last = -math.inf

    def end(number: int, _: FrameType | None) -> None:
        nonlocal last
        before_this, last = last, time.monotonic()
        if last - before_this < _PATIENCE:
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        usual = (signal.SIG_DFL, signal.default_int_handler)
        if number is not None and signal.getsignal(number) in usual:
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        # A process that was told to end is not disturbed on its last steps either.
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if math.isfinite(last) else handler)


def printing_anything(*streams: TextIO | None) -> None:
    """Let text streams show what their encoding cannot hold, such as file names, as escapes."""
    for stream in streams:
        reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
        if reconfigure:
            with suppress(ValueError, OSError):
                reconfigure(errors="backslashreplace")


def silence_if_broken(stream: TextIO | None) -> bool:
    """Whether a stream takes no more; if so it is silenced."""
    if stream is None:
        return False
    try:
        stream.flush()
    except (OSError, ValueError):
        silence(stream)
        return True
    return False


def silence(stream: TextIO | None) -> None:
    """Drop what is still to be printed: Python would try when the process ends, and complain."""
    if stream is None:
        return
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def leads_nowhere(stream: TextIO | None) -> bool:
    """Whether what is printed there is dropped."""
    try:
        return stream is not None and os.path.samestat(
            os.fstat(stream.fileno()), Path(os.devnull).stat()
        )
    except (OSError, ValueError):
        return False
