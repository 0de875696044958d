"""Measurements in a process of their own: peak memory, and what nothing before may have warmed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.material import ROOT

__all__ = ["Peak", "ask", "watch_memory"]

_PAUSE = 0.002


@dataclass
class Peak:
    """Bytes above what the process held before; 0 until the measurement has ended."""

    size: int = 0


@contextmanager
def watch_memory() -> Iterator[Peak]:
    """Watch this process's resident memory while the block runs.

    The kernel's own high-water mark would include what importing took.
    """
    found = Peak()
    before = highest = _resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(_PAUSE):
            highest = max(highest, _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()
    found.size = max(highest, _resident()) - before


def _resident() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def ask(module: str, question: Mapping[str, Any], times: int = 1) -> list[Any]:
    """What ``python -m module`` prints as JSON, given the question as JSON, by that many processes.

    Tracing a network is part of what the first measures: nothing comes from the user's cache.
    """
    command = [sys.executable, "-m", module, json.dumps(question)]
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"VERNIER_CACHE": cache}
        return [
            json.loads(subprocess.check_output(command, text=True, cwd=ROOT, env=environment))
            for _ in range(times)
        ]
