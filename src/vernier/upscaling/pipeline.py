"""Reading, computing and writing at the same time, for any items one after the other."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Finished", "run_pipeline"]

Item = TypeVar("Item")
Source = TypeVar("Source")
Computed = TypeVar("Computed")
Result = TypeVar("Result")

# Items read ahead, and items waiting to be written: enough to hide both, little memory.
_AHEAD = 2


@dataclass(frozen=True)
class Finished(Generic[Item, Result]):
    """What became of an item: a result, or the error that ended it."""

    item: Item
    result: Result | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class _Read(Generic[Item, Source]):
    item: Item
    source: Source | None = None
    error: Exception | None = None


def run_pipeline(
    items: Iterable[Item],
    read: Callable[[Item], Source],
    compute: Callable[[Item, Source], Computed],
    write: Callable[[Item, Computed], Result],
) -> Iterator[Finished[Item, Result]]:
    """Run three steps on every item, each step on another item, in the order of the items.

    The items are drawn and read in one thread, computed in the caller's and written in a third. At
    most two items wait before and after the computation. Whatever error ends an item is told with
    it, and the others go on; an interruption, and an error of ``items`` itself, end all of them.

    Args:
        items: may be drawn from a file that is read on the way.
        read: an item to what is computed on.
        compute: of an item, on what was read of it.
        write: of an item, what was computed.
    """
    waiting = iter(items)

    def draw() -> _Read[Item, Source] | None:
        for item in waiting:
            try:
                return _Read(item, read(item))
            except Exception as error:
                return _Read(item, error=_without_frames(error))
        return None

    def finish(item: Item, computed: Computed) -> Finished[Item, Result]:
        try:
            return Finished(item, write(item, computed))
        except Exception as error:
            return Finished(item, error=_without_frames(error))

    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        reading = deque(reader.submit(draw) for _ in range(_AHEAD))
        writing: deque[Future[Finished[Item, Result]]] = deque()
        while (drawn := reading.popleft().result()) is not None:
            reading.append(reader.submit(draw))
            item, source, failure = drawn.item, drawn.source, drawn.error
            del drawn
            if failure is None:
                try:
                    computed = compute(item, source)  # type: ignore[arg-type]
                    writing.append(writer.submit(finish, item, computed))
                    del computed
                except Exception as error:
                    failure = _without_frames(error)
            del source
            if failure is not None:
                writing.append(writer.submit(Finished, item, None, failure))
            while len(writing) >= _AHEAD:
                yield writing.popleft().result()
        for written in writing:
            yield written.result()


def _without_frames(error: Exception) -> Exception:
    """The error, whose traceback no longer holds what the failed calls worked on."""
    told: BaseException | None = error
    while told is not None:
        traceback.clear_frames(told.__traceback__)
        told = told.__cause__ or told.__context__
    return error
