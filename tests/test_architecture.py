"""The page on the architecture says what is true: the floors, and every file."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import vernier

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = Path(vernier.__file__).parent


def test_the_table_names_every_file_once_and_none_that_is_gone() -> None:
    named = re.findall(r"(?m)^\| `([\w/]+\.py)` \| \S", PAGE)
    files = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    assert sorted(named) == sorted(files)


def test_the_floors_are_those_that_the_contracts_hold() -> None:
    (drawing,) = re.findall(r"(?ms)^```\n(cli\n.*?)^```", PAGE)
    drawn = [set(line.split()) for line in drawing.splitlines()]
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (floors,) = (each for each in config["contracts"] if each["id"] == "floors")
    assert drawn == [set(line.split(" | ")) for line in floors["layers"]]


def test_files_that_are_named_elsewhere_on_the_page_exist() -> None:
    text = PAGE[PAGE.index("## Decisions") :]
    named = set(re.findall(r"`([\w/]+\.py)`", text))
    assert len(named) >= 4
    files = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    assert all(any(f"/{file}".endswith(f"/{each}") for file in files) for each in named)


def test_nothing_that_only_unix_has_is_imported_by_name() -> None:
    """Windows has no such modules and functions; what uses them asks for them first."""
    modules = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
    functions = {"chown", "fchmod", "fork", "getloadavg", "getuid", "mkfifo", "statvfs"}
    functions |= {"geteuid", "posix_fadvise", "sched_getaffinity"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named: set[str] = set()
            if isinstance(node, ast.Import):
                named = {each.name.partition(".")[0] for each in node.names} & modules
            elif isinstance(node, ast.ImportFrom):
                named = {(node.module or "").partition(".")[0]} & modules
                if node.module == "os":
                    named |= {each.name for each in node.names} & functions
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                named = {node.attr} & functions if node.value.id == "os" else set()
            assert not named, f"{path.name}: {named}"
