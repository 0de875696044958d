"""Packages that only some tasks need: which extra brings them, and what a user is told."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import vernier
from vernier import extras
from vernier.errors import MissingPackageError
from vernier.extras import DISTRIBUTION, install_command, named_extras, optional_module

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def installed_from(monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any] | None) -> None:
    """As if Vernier had been installed from there; None: from the package index."""

    class Installed:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return None if origin is None else json.dumps(origin)

    def distribution(name: str) -> Installed:
        assert name == "vernier-sr"
        return Installed()

    monkeypatch.setattr(metadata, "distribution", distribution)


def test_the_command_is_right_wherever_vernier_came_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "my checkout"
    folder.mkdir()
    (folder / "constraints.txt").touch()
    wheel = tmp_path / "vernier_sr-1-py3-none-any.whl"
    wheel.touch()
    for origin, command in (
        (
            {"url": folder.as_uri(), "dir_info": {"editable": True}},
            f'pip install -c "{folder}/constraints.txt" -e "{folder}[train]"',
        ),
        (
            {"url": folder.as_uri(), "dir_info": {}},
            f'pip install -c "{folder}/constraints.txt" "{folder}[train]"',
        ),
        ({"url": wheel.as_uri(), "archive_info": {}}, f'pip install "{wheel}[train]"'),
        (
            {"url": "https://a.org/v.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            'pip install "vernier-sr[train] @ git+https://a.org/v.git@abc"',
        ),
        (
            {"url": "https://a.org/v.whl", "archive_info": {}},
            'pip install "vernier-sr[train] @ https://a.org/v.whl"',
        ),
        (None, 'pip install "vernier-sr[train]"'),
        # The wheel was removed after it had been installed.
        (
            {"url": (tmp_path / "gone.whl").as_uri(), "archive_info": {}},
            "pip install lightning-fabric pydantic pyyaml tensorboard",
        ),
    ):
        installed_from(monkeypatch, origin)
        assert install_command("train") == command


def test_without_an_installed_distribution_packages_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> object:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert install_command("torch") == "pip install einops pillow torch"


def test_a_missing_package_of_an_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    installed_from(monkeypatch, None)
    real = importlib.import_module

    def without_scipy(name: str, package: str | None = None) -> object:
        if name.startswith("scipy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, package)

    monkeypatch.setattr(extras, "import_module", without_scipy)
    assert optional_module("json") is json
    expected = r'this needs the package scipy: pip install "vernier-sr\[hsi\]"'
    with pytest.raises(MissingPackageError, match=expected):
        optional_module("scipy.io")
    # Somebody else's module is somebody else's error.
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), named_extras():
        real("no_such_module")


def test_extras_and_what_is_said_of_them_agree() -> None:
    declared = {
        extra: {Requirement(text).name.lower() for text in needs}
        for extra, needs in PROJECT["optional-dependencies"].items()
    }
    for name, extra in extras._EXTRA_OF.items():
        assert extras._INDEX_NAMES.get(name, name).lower() in declared[extra], name
    told = {extras._INDEX_NAMES.get(name, name).lower() for name in extras._EXTRA_OF}
    for extra in ("torch", "train", "hsi", "export"):
        assert declared[extra] - {DISTRIBUTION} <= told, extra
    assert {"film", "geo", "serve", "cluster", "all", "dev"} <= declared.keys()


def test_the_core_needs_no_torch_and_private_names_have_upper_bounds() -> None:
    core = {Requirement(text).name: Requirement(text) for text in PROJECT["dependencies"]}
    heavy = {"torch", "einops", "pillow", "scipy", "h5py", "lightning-fabric"}
    assert not core.keys() & heavy
    (torch,) = (
        Requirement(text)
        for text in PROJECT["optional-dependencies"]["torch"]
        if Requirement(text).name == "torch"
    )
    for needed in (torch, core["openvino"], core["typer"]):
        assert any(each.operator == "<" for each in needed.specifier), needed


def test_the_version_stands_in_one_place() -> None:
    assert "version" in PROJECT["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", vernier.__version__)
    tracked = subprocess.run(
        ["git", "grep", "-lF", f'"{vernier.__version__}"', "--", "src", "pyproject.toml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert tracked.stdout.split() == ["src/vernier/__init__.py"]


def test_nobody_is_told_to_install_another_projects_package() -> None:
    """The name vernier belongs to somebody else on the package index."""
    files = [*(ROOT / "src").rglob("*.py"), *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    assert len(files) > 100
    for path in files:
        assert not re.search(r"install\b[^\n]*[ '\"]vernier[\[ '\"\n]", path.read_text()), path
