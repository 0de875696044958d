"""Packages that only some tasks need, and the command that brings them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vernier.errors import MissingPackageError

__all__ = ["DISTRIBUTION", "install_command", "named_extras", "optional_module"]

# The name ``vernier`` belongs to another project on the package index.
DISTRIBUTION = "vernier-sr"

# Which extra brings a package, by the name that is imported.
_EXTRA_OF: Mapping[str, str] = MappingProxyType(
    {
        "torch": "torch",
        "einops": "torch",
        "PIL": "torch",
        "pillow_heif": "formats",
        "OpenEXR": "formats",
        "h5py": "hsi",
        "scipy": "hsi",
        "tifffile": "hsi",
        "imagecodecs": "hsi",
        "lightning_fabric": "train",
        "tensorboard": "train",
        "pydantic": "train",
        "yaml": "train",
        "onnx": "export",
        "onnxruntime": "export",
        "onnxscript": "export",
    }
)


def install_command(extra: str) -> str:
    """What to type to get an extra, so that it comes from where Vernier itself came from.

    That is the checkout, the folder or the wheel it was installed from, the repository, or the
    package index. Where none of them can be told, the packages are named.
    """
    # Only where something is missing, so that importing Vernier costs nothing.
    import json
    from importlib import metadata
    from urllib.parse import urlparse
    from urllib.request import url2pathname

    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return _by_packages(extra)
    if not text:
        return f'pip install "{DISTRIBUTION}[{extra}]"'
    origin: dict[str, Any] = json.loads(text)
    url = str(origin["url"])
    if not url.startswith("file:"):
        if "vcs_info" in origin:
            facts = origin["vcs_info"]
            url = f"{facts['vcs']}+{url}@{facts['commit_id']}"
        return f'pip install "{DISTRIBUTION}[{extra}] @ {url}"'
    path = Path(url2pathname(urlparse(url).path))
    if not path.exists():
        return _by_packages(extra)
    if "dir_info" not in origin:
        return f'pip install "{path}[{extra}]"'
    constraints = path / "constraints.txt"
    pinned = f'-c "{constraints}" ' if constraints.exists() else ""
    editable = "-e " if origin["dir_info"].get("editable") else ""
    return f'pip install {pinned}{editable}"{path}[{extra}]"'


def _by_packages(extra: str) -> str:
    names = {_INDEX_NAMES.get(name, name) for name, of in _EXTRA_OF.items() if of == extra}
    return f"pip install {' '.join(sorted(names))}"


# Where the index has a package under another name than the one that is imported.
_INDEX_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "PIL": "pillow",
        "yaml": "pyyaml",
        "lightning_fabric": "lightning-fabric",
        "pillow_heif": "pillow-heif",
        "OpenEXR": "openexr",
    }
)


def optional_module(name: str) -> Any:
    """A module of an extra, imported now.

    Args:
        name: as in an import statement, such as "torch" or "scipy.io".

    Raises:
        MissingPackageError: it is not installed; the message says which command brings it.
    """
    with named_extras():
        return import_module(name)


@contextmanager
def named_extras() -> Iterator[None]:
    """Around imports: a package of an extra that is missing becomes one line with the command.

    Raises:
        MissingPackageError: instead of the ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA_OF:
            raise
        command = install_command(_EXTRA_OF[package])
        raise MissingPackageError(f"this needs the package {package}: {command}") from error
