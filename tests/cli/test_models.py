"""`vernier models`: the table, a card, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import Ran

from vernier.zoo import cards


@pytest.mark.usefixtures("few_models")
def test_command_prints_a_table(
    weights_folder: Path, vernier: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = vernier("models")
    assert code == 0
    row = next(line for line in out.splitlines() if "sesr-m3" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    costs = ["8,960", "236,848", "2.05 G", "2.05 G"]
    assert cells == ["sesr-m3", "x2", *costs, "yes", "Set5 37.21 / 0.9577"]
    assert "without attention*" in out
    assert "* Not the cost" in out
    assert out.count("sesr-") == 15


def test_command_shows_a_card(weights_folder: Path, vernier: Callable[..., Ran]) -> None:
    code, out, _ = vernier("models", "sesr-m3", "-s", 2)
    assert code == 0
    assert "licence: Apache-2.0" in out
    assert cards.load_card("sesr-m3", 2).sha256 in out


def test_command_prints_json(weights_folder: Path, vernier: Callable[..., Ran]) -> None:
    found = json.loads(vernier("models", "sesr-m3", "--format", "json").out)
    assert [each["scale"] for each in found] == [2, 3, 4]
    assert found[0]["card"]["measured"]["Set5"]["psnr"] == 37.213
    assert found[1]["card"] is None


def test_an_error_is_one_line_and_exit_code_2(vernier: Callable[..., Ran]) -> None:
    code, out, err = vernier("models", "no[bold]such")
    assert (code, out) == (2, "")
    assert err.startswith("error: no[bold]such: no such weight file or model")
    assert err.count("\n") == 1
