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
    ran = vernier(command, "--help")
    # Columns of a table break words anywhere.
    told = "".join(ran.out.replace("│", "").split())
    for words in ("Amodel'sname,", "aweightfile,", "arun'sfolder,", "package.module:Class@file"):
        assert words in told
