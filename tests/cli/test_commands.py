"""The files of the commands: short, apart from each other, and quick to answer."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from vernier import cli

ROOT = Path(__file__).parents[2]
FOLDER = Path(cli.__file__).parent
SHARED = {"__init__", "app", "endings", "options"}
COMMANDS = sorted(path for path in FOLDER.glob("*.py") if path.stem not in SHARED)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
    return names


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 10
    names = {path.stem for path in COMMANDS}
    assert names <= set(cli.__all__)
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = (
        each for each in config["tool"]["importlinter"]["contracts"] if each["id"] == "commands"
    )
    assert {name.rpartition(".")[2] for name in contract["modules"]} == names


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_command_is_short_and_imports_no_other(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 120
    others = {f"vernier.cli.{other.stem}" for other in COMMANDS if other != path}
    assert not imported(path) & others
