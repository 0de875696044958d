from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

from hypothesis import given
from hypothesis import strategies as st

from vernier.io.files import safe_names


def test_names_that_are_safe_stay_and_others_are_told_apart() -> None:
    kept = ["balloons", "flowers@0,128", "Größe 3", "a_b.c"]
    assert safe_names(kept) == kept
    assert safe_names(["../../up", "/etc/x", "a/b", "a\\b", "C:d"]) == [
        "up",
        "etc-x",
        "a-b",
        "a-b-2",
        "C-d",
    ]
    assert safe_names(["", "..", "con", "NUL.txt", ".hidden", "end. "]) == [
        "unnamed",
        "unnamed-2",
        "_con",
        "_NUL.txt",
        "hidden",
        "end",
    ]
    assert safe_names(["one", "One", "one-2"]) == ["one", "One-2", "one-2-2"]


@given(st.lists(st.text(max_size=300), max_size=6))
def test_every_name_is_one_part_of_a_path_and_its_own(names: list[str]) -> None:
    safe = safe_names(names)
    assert len({name.casefold() for name in safe}) == len(safe) == len(names)
    for name in safe:
        for kind in (PurePosixPath, PureWindowsPath):
            assert kind("folder", name).parts == ("folder", name)
        assert not name.startswith((".", "-"))
        assert 0 < len(name.encode()) < 200
        assert name.isprintable()
