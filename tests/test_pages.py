"""Every command and every program of the README and of `docs/` runs, on small files.

What a page shows is run as it stands, line by line, in a folder that holds files of the names that
the page uses. Trainings get a few words more that make them short (`SHORTER`); what cannot be run
at all is listed with the reason (`NOT_RUN`), and so nothing is left out in silence.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from support.command import Ran
from support.desk import make_desk

ROOT = Path(__file__).parents[1]
# A page whose files build on each other has a test of its own.
ELSEWHERE = {"own-network.md": "tests/zoo/test_own_network_page.py"}
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name not in ELSEWHERE),
]

# What a line begins with, and what is added to it.
TINY_RUN = ["steps=2", "validate_every=2", "checkpoint_every=2", "schedule.warmup_steps=1"]
SHORTER = {
    "vernier train recipes/psrt-s-x4.yaml": [*TINY_RUN, "data.patch_size=8"],
    "vernier train recipes/sesr-m5-x2.yaml": [*TINY_RUN, "compile=false", "data.patch_size=16"],
    "vernier train runs/mine/recipe.yaml": ["steps=3"],
    "vernier explain": ["--steps", "4"],
}
# What a line begins with, and why it is not run here; a program goes by its first line that imports
# nothing.
NOT_RUN = {
    "git clone": "needs the repository on a network",
    "make": "the test that installs the wheel does as much; make test would run this test",
    "python -m pip install": "the test that installs the wheel does the same",
    "vernier ablate": "trains many networks; tests/test_ablation.py runs a small experiment",
    "python tools/diffusion_index.py": "attribution maps of all Set14: an hour",
    "class MyCrops": "a sketch, whose batches the reader has to write",
}
# What a page leaves to the reader.
PLACEHOLDERS = {"FUSION_MODEL": "tiny-psrt.safetensors"}


class Block(NamedTuple):
    page: str
    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    for language, text in re.findall(r"(?ms)^```(\w*)\n(.*?)^```", page.read_text("utf-8")):
        yield Block(page.name, language, text)


def commands(text: str) -> list[str]:
    """The lines of a shell block, continued ones joined, without comments."""
    joined = text.replace("\\\n", " ")
    return [line for line in map(str.strip, joined.splitlines()) if line and line[0] != "#"]


def is_shell(block: Block) -> bool:
    # Programs of the shell that the pages use; what else has no language is a drawing.
    return block.language in ("", "bash", "sh") and bool(
        re.match(r"(#|vernier|make|git|python|pip)\b", block.text)
    )


def beginning(text: str, table: dict[str, Any]) -> str | None:
    return next((words for words in table if text.startswith(words)), None)


def statement(program: str) -> str:
    """What a program is known by: its first line that imports nothing."""
    lines = (line for line in program.splitlines() if line.strip())
    return next(line for line in lines if not re.match(r"(import|from|#)\b", line))


WITH_COMMANDS = [page for page in PAGES if any(map(is_shell, blocks(page)))]
WITH_PROGRAMS = [page for page in PAGES if any(b.language == "python" for b in blocks(page))]


@pytest.fixture
def desk(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The windows of LAM's page lie far from the corner.
    make_desk(tmp_path, whole_photo=page.stem == "lam")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_the_commands_of_the_page_run(page: Path, vernier: Callable[..., Ran]) -> None:
    for block in filter(is_shell, blocks(page)):
        for line in commands(block.text):
            if beginning(line, NOT_RUN):
                continue
            words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line, comments=True)]
            assert words[0] == "vernier", f"{page.name}: neither run nor listed: {line}"
            more = SHORTER.get(beginning(line, SHORTER) or "", [])
            ran = vernier(*words[1:], *more)
            assert ran.code == 0, f"{page.name}: {line}\n{ran.err}"


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("page", WITH_PROGRAMS, ids=lambda page: page.stem)
def test_the_programs_of_the_page_run(page: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    # What a page takes for given.
    names: dict[str, Any] = {
        "numpy_uint8_rgb": np.zeros((8, 9, 3), np.uint8),
        "lr": torch.rand(3, 242, 142, generator=generator),
    }
    exec("import vernier", names)
    for block in blocks(page):
        if block.language == "python" and not beginning(statement(block.text), NOT_RUN):
            exec(compile(block.text, page.name, "exec"), names)


def test_nothing_is_listed_that_no_page_shows() -> None:
    every = [block for page in PAGES for block in blocks(page)]
    shown = [line for block in filter(is_shell, every) for line in commands(block.text)]
    shown += [statement(block.text) for block in every if block.language == "python"]
    for words in [*NOT_RUN, *SHORTER]:
        assert any(line.startswith(words) for line in shown), words
    for page, test in ELSEWHERE.items():
        assert (ROOT / "docs" / page).exists()
        assert page in (ROOT / test).read_text(encoding="utf-8")
    assert {block.language for block in every} <= {"", "bash", "sh", "python", "bibtex", "yaml"}
