"""Items go through three steps at once, in order, and one that fails is told."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from vernier.upscaling.pipeline import Finished, run_pipeline


def test_items_come_out_in_order_each_through_all_steps() -> None:
    found = list(
        run_pipeline(range(7), lambda i: i * 10, lambda i, x: (i, x + 1), lambda i, y: (*y, -i))
    )
    assert found == [Finished(i, (i, 10 * i + 1, -i)) for i in range(7)]
    assert list(run_pipeline([], str, lambda i, x: x, lambda i, y: y)) == []


@pytest.mark.parametrize("step", ["read", "compute", "write"])
@pytest.mark.parametrize("kind", [ValueError, MemoryError, RuntimeError, OSError, AssertionError])
def test_whatever_ends_an_item_is_told_and_the_others_go_on(
    step: str, kind: type[Exception]
) -> None:
    def fails_at(name: str, item: int) -> int:
        if name == step and item == 2:
            raise kind("no luck")
        return item

    found = list(
        run_pipeline(
            range(5),
            lambda item: fails_at("read", item),
            lambda item, _: fails_at("compute", item),
            lambda item, _: fails_at("write", item),
        )
    )
    assert [each.item for each in found] == [0, 1, 2, 3, 4]
    assert [each.result for each in found] == [0, 1, None, 3, 4]
    assert [type(each.error) for each in found] == [type(None)] * 2 + [kind] + [type(None)] * 2


def test_an_interruption_and_an_error_of_the_items_end_all() -> None:
    def interrupted(item: int, _: int) -> int:
        if item == 1:
            raise KeyboardInterrupt
        return item

    with pytest.raises(KeyboardInterrupt):
        list(run_pipeline(range(9), int, interrupted, lambda item, _: item))

    def broken() -> Iterator[int]:
        yield 0
        raise ValueError("the film ends here")

    with pytest.raises(ValueError, match="the film ends here"):
        list(run_pipeline(broken(), int, lambda item, _: item, lambda item, _: item))


def test_reading_and_writing_go_on_while_an_item_is_computed() -> None:
    """Item 1 is computed only after item 2 was read and item 0 written."""
    ahead, behind = threading.Event(), threading.Event()

    def read(item: int) -> int:
        if item == 2:
            ahead.set()
        return item

    def compute(item: int, _: int) -> int:
        if item == 1:
            assert ahead.wait(30)
            assert behind.wait(30)
        return item

    def write(item: int, _: int) -> int:
        if item == 0:
            behind.set()
        return item

    assert [each.result for each in run_pipeline(range(4), read, compute, write)] == [0, 1, 2, 3]


class Large:
    """Stands for a picture."""


def test_few_items_are_held_at_once() -> None:
    held: weakref.WeakSet[Large] = weakref.WeakSet()
    most = 0

    def read(item: int) -> Large:
        picture = Large()
        held.add(picture)
        return picture

    def compute(item: int, picture: Large) -> Large:
        nonlocal most
        most = max(most, len(held))
        if item % 3 == 0:
            raise RuntimeError("no luck")
        return picture

    found = list(run_pipeline(range(40), read, compute, lambda item, _: item))
    assert 1 < most <= 6
    assert sum(each.error is not None for each in found) == 14
    # The errors, which are kept, do not keep what they happened to.
    gc.collect()
    assert len(held) == 0
