"""What tells people how to take part: it names what is there, and says what the project does."""

from __future__ import annotations

import re
import tomllib
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PATH = re.compile(r"(?:src|tests|docs|recipes|tools|benchmarks|examples|experiments)/[\w./-]*")


def yaml_of(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "README.md", "SECURITY.md"])
def test_every_path_of_the_page_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", text)
    # Only what is set as code is meant as a path of the project.
    paths = [match for code in re.findall(r"`([^`\n]+)`", text) for match in PATH.findall(code)]
    named = links if page != "CONTRIBUTING.md" else [*links, *paths]
    for each in named:
        assert (ROOT / each).exists(), f"{page} names {each}"
    assert page != "CONTRIBUTING.md" or len(paths) > 25


def test_how_to_add_each_kind_of_thing_is_told_with_a_file_and_a_test() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    chapters = dict(re.findall(r"\n## Add an? (\w+)\n(.*?)(?=\n## )", text, re.DOTALL))
    assert chapters.keys() == {"network", "engine", "format", "metric", "command"}
    for kind, chapter in chapters.items():
        named = PATH.findall(chapter)
        assert any(path.startswith("src/") for path in named), kind
        assert any(path.startswith("tests/") for path in named), kind


def test_the_workflow_checks_every_python_that_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    jobs = yaml_of(ROOT / ".github" / "workflows" / "check.yml")["jobs"]
    assert declared == ["3.11", "3.12", "3.13"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == declared
    assert jobs.keys() == {"lint", "test", "lowest", "fuzz"}
    targets = set(re.findall(r"(?m)^(\w+):", (ROOT / "Makefile").read_text()))
    steps = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    used = {name for step in steps for name in re.findall(r"make (\w+)", step)}
    assert used == {"lint", "types", "fuzz"}
    assert used <= targets


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_issue_forms_are_forms(form: Path) -> None:
    content = yaml_of(form)
    if form.stem == "config":
        assert content == {"blank_issues_enabled": True}
        return
    assert content["name"]
    assert content["description"]
    ids = [field["id"] for field in content["body"]]
    assert len(ids) == len(set(ids))
    for field in content["body"]:
        assert field["type"] in ("textarea", "input", "dropdown", "checkboxes", "markdown")
        assert field["attributes"]["label"]


def test_citation_and_hooks_can_be_read() -> None:
    citation = yaml_of(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors", "license"} <= citation.keys()
    # The version stands in one place, and that is not here.
    assert "version" not in citation
    hooks = {
        hook["id"]
        for repository in yaml_of(ROOT / ".pre-commit-config.yaml")["repos"]
        for hook in repository["hooks"]
    }
    assert {"ruff-check", "ruff-format", "end-of-file-fixer", "check-yaml"} <= hooks


def test_warnings_of_our_own_modules_are_errors() -> None:
    for module in ("vernier", "vernier.io.files"):
        with pytest.raises(UserWarning, match="odd"):
            warnings.warn_explicit("odd", UserWarning, "file.py", 1, module=module)
    with pytest.warns(UserWarning, match="odd"):
        warnings.warn_explicit("odd", UserWarning, "file.py", 1, module="somebody.else")
