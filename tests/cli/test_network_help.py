"""What names a network is told in the same words by every command that takes one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.command import Ran


@pytest.mark.parametrize("command", ["upscale", "fuse", "evaluate", "explain", "compare"])
def test_the_help_tells_all_that_names_a_network(
    command: str, vernier: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    told = vernier(command, "--help").out
    assert "A model's name, a weight file, a run's folder, or module:Class@file" in told
    # On a narrow terminal no word is cut.
    monkeypatch.setenv("COLUMNS", "80")
    assert "module:Class@file" in vernier(command, "--help").out
