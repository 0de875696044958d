"""Side-by-side timing: contestants take turns, round after round.

A machine that heats up, or that others use for a while, then slows all of them alike.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Timing", "interleave", "timing_of"]

# Idle worker threads of one library spin for a moment and would slow the next contestant.
_PAUSE = 0.05


@dataclass(frozen=True)
class Timing:
    """Seconds per call.

    Attributes:
        median, fastest, slowest: over the rounds.
        first: of the very first call, compilation included; None where there was none.
    """

    median: float
    fastest: float
    slowest: float
    first: float | None = None


def timing_of(seconds: Sequence[float], first: float | None = None) -> Timing:
    return Timing(statistics.median(seconds), min(seconds), max(seconds), first)


def interleave(
    contestants: Mapping[str, Callable[[], object]], *, repeats: int, turn: float = 0.0
) -> dict[str, Timing]:
    """Time every contestant ``repeats`` times, in turns: A B C A B C ...

    Args:
        contestants: what to call, by name; each is called once before the rounds.
        repeats: rounds.
        turn: seconds that a turn should last; shorter calls are repeated within their turn, whose
            time is then the mean over its calls.
    """
    firsts, calls = {}, {}
    for name, call in contestants.items():
        firsts[name] = _seconds(call, 1)
        calls[name] = max(1, math.ceil(turn / _seconds(call, 1))) if turn else 1
    rounds: dict[str, list[float]] = {name: [] for name in contestants}
    for done in range(repeats):
        for name, call in contestants.items():
            time.sleep(_PAUSE)
            rounds[name].append(_seconds(call, calls[name]))
        print(f"  round {done + 1} of {repeats}", file=sys.stderr)
    return {name: timing_of(rounds[name], firsts[name]) for name in contestants}


def _seconds(call: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times
