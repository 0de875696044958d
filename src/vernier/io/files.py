"""Files that are there whole or not at all, inputs that nothing overwrites, and hidden files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from vernier.errors import InputError

__all__ = ["is_hidden", "protect", "reason_of", "replacing", "visible_files", "write_whole"]

# Files that belong together: who names one of them means all.
_ENVI = frozenset({".hdr", ".img", ".dat", ".raw", ".bsq", ".bil", ".bip"})
_WEIGHTS = frozenset({".safetensors", ".json"})


@contextmanager
def replacing(path: Path, error: type[InputError] = InputError) -> Iterator[Path]:
    """A free name in the folder of ``path``, which takes its place when the block ends well.

    What the block writes there (a file, or a folder where nothing of the name exists) is removed if
    the block fails, and ``path`` is then as it was. A new file has the permissions that the
    process' umask leaves, a replaced one keeps its own. If ``path`` is a symbolic link, the file
    that it points to is replaced and the link stays.

    Args:
        path: the name in the end.
        error: what an OSError becomes.

    Raises:
        InputError: (``error``) the folder is missing, or it cannot be written.
    """
    target = path.resolve() if path.is_symlink() else path
    temporary = target.with_name(f".{uuid4().hex}{target.suffix}")
    try:
        if not target.parent.is_dir():
            raise error(f"{path.parent}: no such folder; create it or choose another")
        if target.is_dir():
            raise error(f"{path}: a folder has this name; remove it or choose another")
        yield temporary
        if target.is_file() and temporary.is_file():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except OSError as failure:
        raise error(f"{path}: cannot be written ({reason_of(failure)})") from failure
    finally:
        with suppress(OSError):
            temporary.unlink()
        shutil.rmtree(temporary, ignore_errors=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file by `replacing`.

    Raises:
        InputError: the file cannot be written; it is then as it was before.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def reason_of(error: BaseException) -> str:
    """What the system says of an error, in one line."""
    told = error.strerror if isinstance(error, OSError) else None
    return told or " ".join(str(error).split()) or type(error).__name__


def protect(inputs: Iterable[Path | None], outputs: Iterable[Path | None]) -> None:
    """Refuse to write over what is read.

    A weight file stands for its card too, and each of ENVI's two files for the other. An input
    that is a folder stands for all that is in it.

    Args:
        inputs: files and folders that are read; None is passed over.
        outputs: files that will be written; None is passed over.

    Raises:
        InputError: an output is an input.
    """
    sources = [path for path in inputs if path is not None]
    for target in (path for path in outputs if path is not None):
        written = _belonging(target)
        for source in sources:
            inside = source.is_dir() and any(
                path.exists() and path.is_relative_to(source.resolve()) for path in written
            )
            if inside or any(_same(a, b) for a in _belonging(source) for b in written):
                raise InputError(
                    f"{target} would overwrite the input {source}: choose another output"
                )


def _belonging(path: Path) -> set[Path]:
    resolved = path.resolve()
    for suffixes in (_ENVI, _WEIGHTS):
        if path.suffix.lower() in suffixes:
            others = {resolved.with_suffix(suffix) for suffix in suffixes}
            return {resolved, *(other for other in others if other.exists())}
    return {resolved}


def _same(a: Path, b: Path) -> bool:
    if os.path.normcase(a) == os.path.normcase(b):
        return True
    # Hard links, and names that differ in case alone where the file system does not tell.
    return a.is_file() and b.is_file() and a.samefile(b)


def is_hidden(path: Path) -> bool:
    """Whether a part of a relative path is hidden, as macOS' ``._picture.png`` is."""
    return any(part.startswith(".") and part not in (".", "..") for part in path.parts)


def visible_files(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The files of a folder, sorted, without hidden ones, those in hidden folders, and folders.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(p for p in found if not is_hidden(p.relative_to(folder)) and p.is_file())
