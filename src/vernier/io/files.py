"""Files that are there whole or not at all, inputs that nothing overwrites, and hidden files."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from vernier.errors import InputError

__all__ = [
    "Listing",
    "check_folder",
    "check_target",
    "is_hidden",
    "list_folder",
    "make_folder",
    "new_folders",
    "protect",
    "reason_of",
    "repeated",
    "replacing",
    "safe_names",
    "shown",
    "visible_files",
    "write_whole",
]

# Files that belong together: who names one of them means all.
_ENVI = frozenset({".hdr", ".img", ".dat", ".raw", ".bsq", ".bil", ".bip"})
_WEIGHTS = frozenset({".safetensors", ".json"})
# Of Windows, whatever suffix follows.
_DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
# Bytes; file systems take 255, of which a suffix and what a caller adds need some.
_LONGEST_NAME = 150


@contextmanager
def replacing(
    path: Path,
    error: type[InputError] = InputError,
    *,
    beside: Sequence[str] = (),
    empty_folder: bool = False,
) -> Iterator[Path]:
    """A free name in the folder of ``path``, which takes its place when the block ends well.

    What the block writes there (a file, or a folder where nothing of the name exists) is removed if
    the block fails, and ``path`` is then as it was. A new file has the permissions that the
    process' umask leaves, a replaced one keeps its own. If ``path`` is a symbolic link, the file
    that it points to is replaced and the link stays.

    Args:
        path: the name in the end.
        error: what an OSError becomes.
        beside: suffixes of files that the block writes under the same name, such as the values that
            belong to a header; they take their places together with ``path``.
        empty_folder: whether an empty folder may be replaced by a folder.

    Raises:
        InputError: (``error``) what `check_target` refuses, or it cannot be written.
    """
    if not (empty_folder and _is_empty_folder(path)):
        check_target(path, error)
    target = path.resolve() if path.is_symlink() else path
    temporary = target.with_name(f".{uuid4().hex}{target.suffix}")
    written = [*(temporary.with_suffix(suffix) for suffix in beside), temporary]
    try:
        yield temporary
        if target.is_dir() and temporary.is_dir():
            target.rmdir()
        for source, name in zip(written, [*(_companion(path, s) for s in beside), target]):
            if name.is_file() and source.is_file():
                shutil.copymode(name, source)
            source.replace(name)
    except OSError as failure:
        raise error(f"{shown(path)}: cannot be written ({reason_of(failure)})") from failure
    finally:
        for source in written:
            with suppress(OSError):
                source.unlink()
            shutil.rmtree(source, ignore_errors=True)


def _companion(path: Path, suffix: str) -> Path:
    """The file that belongs to ``path``: beside it, or beside the file that a link points to."""
    companion = path.with_suffix(suffix)
    if companion.is_symlink():
        return companion.resolve()
    if path.is_symlink() and not companion.exists():
        return path.resolve().with_suffix(suffix)
    return companion


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def check_target(path: Path, error: type[InputError] = InputError) -> None:
    """Refuse at once what could not be written in the end.

    Raises:
        InputError: (``error``) the folder is missing, a folder or a device has this name, or no
            file can have it.
    """
    try:
        if "\0" in os.fspath(path):
            raise error(f"{shown(path)}: a file name cannot hold a null character")
        target = path.resolve() if path.is_symlink() else path
        if path.is_symlink() and target.is_symlink():
            raise error(f"{shown(path)}: is a symbolic link in a circle; remove it")
        if not target.parent.is_dir():
            raise error(f"{shown(target.parent)}: no such folder; create it or choose another")
        if target.exists() and not target.is_file():
            raise error(
                f"{shown(path)}: a folder or a device has this name; remove it or choose another"
            )
    # Python up to 3.12 reports links in a circle with a RuntimeError.
    except (OSError, RuntimeError) as failure:
        raise error(f"{shown(path)}: cannot be written ({reason_of(failure)})") from failure


def write_whole(path: Path, content: bytes) -> None:
    """Write a file by `replacing`.

    Raises:
        InputError: the file cannot be written; it is then as it was before.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def check_folder(
    folder: Path, error: type[InputError] = InputError, *, cure: str = "check the path"
) -> None:
    """Insist on a folder that is there.

    Args:
        cure: what to do, the end of the message.

    Raises:
        InputError: (``error``) there is no such folder.
    """
    with suppress(OSError):
        if folder.is_dir():
            return
    raise error(f"{shown(folder)}: no such folder; {cure}")


def make_folder(folder: Path) -> None:
    """Create a folder, and those above it, where they are not there yet.

    Raises:
        InputError: that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(folder)}: cannot be created ({reason_of(error)})") from None


@contextmanager
def new_folders(*folders: Path) -> Iterator[None]:
    """Make folders for what the block writes into them; those that are new and stay empty go again.

    Raises:
        InputError: one cannot be created.
    """
    made: list[Path] = []
    try:
        for folder in folders:
            # The deepest first, as they must go.
            made = [*(p for p in (folder, *folder.parents) if not os.path.lexists(p)), *made]
            make_folder(folder)
        yield
    finally:
        for folder in made:
            with suppress(OSError, ValueError):
                folder.rmdir()


def shown(text: object) -> str:
    """A path or a message in one printable line, whatever characters it has."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def reason_of(error: BaseException) -> str:
    """What the system says of an error, in one line."""
    told = error.strerror if isinstance(error, OSError) else None
    return told or " ".join(str(error).split()) or type(error).__name__


def keep_date(source: Path, target: Path) -> str:
    """Give a file the date of another one, when that was last changed.

    Returns:
        Why that cannot be, for people; "" where it is done.
    """
    try:
        dates = source.stat()
        os.utime(target, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    except OSError as error:
        return f"the date of the file could not be kept ({reason_of(error)})"
    return ""


def protect(inputs: Iterable[Path | None], outputs: Iterable[Path | None]) -> None:
    """Refuse to write over what is read.

    A weight file stands for its card too, and each of ENVI's two files for the other. An input
    that is a folder stands for all that is in it.

    Args:
        inputs: files and folders that are read; None is passed over.
        outputs: files and folders that will be written; None is passed over.

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
                    f"{shown(target)} would overwrite the input {shown(source)}: "
                    "choose another output"
                )


def _belonging(path: Path) -> set[Path]:
    """A file and those beside it that belong to it, without symbolic links."""
    found = {path.resolve()}
    for place in (path, path.resolve()):
        suffix = place.suffix.lower()
        others: list[Path] = []
        # ENVI's values may have no suffix, and their header may be named after the whole name.
        if place.is_file():
            others.append(place.with_name(f"{place.name}.hdr"))
        if suffix in _ENVI or (not suffix and place.is_file()):
            others += _of_envi(place)
        if suffix == ".hdr":
            others.append(place.with_suffix(""))
        if suffix in _WEIGHTS:
            others += [place.with_suffix(other) for other in _WEIGHTS]
        found |= {other.resolve() for other in others if other.is_file()}
    return found


def _of_envi(path: Path) -> list[Path]:
    """The files beside a path that are its cube's by their names, in capitals or not."""
    stem = path.stem.casefold()
    try:
        beside = [each for each in path.parent.iterdir() if each.stem.casefold() == stem]
    except OSError:
        beside = []
    return [each for each in beside if each.suffix.lower() in _ENVI]


def _same(a: Path, b: Path) -> bool:
    if os.path.normcase(a) == os.path.normcase(b):
        return True
    # Hard links, and names that differ in case alone where the file system does not tell.
    return a.is_file() and b.is_file() and a.samefile(b)


def safe_names(names: Iterable[str]) -> list[str]:
    """Names that a file holds, as names for files on every system: one each, in any folder.

    Letters, digits, spaces and the signs ``. , @ ( ) + = _ -`` stay. Others become hyphens, so that
    no name leads out of its folder. A name is never empty, hidden, a device's or longer than file
    systems take, and never that of another one, capital letters or not: it is numbered then.
    """
    safe: list[str] = []
    taken: set[str] = set()
    for name in names:
        kept = re.sub(r"[^\w .,@()+=-]+", "-", name).lstrip(". -").rstrip(". ")
        kept = kept.encode()[:_LONGEST_NAME].decode(errors="ignore").rstrip(". ") or "unnamed"
        if _DEVICE_NAMES.fullmatch(kept):
            kept = f"_{kept}"
        numbered, number = kept, 2
        while numbered.casefold() in taken:
            numbered, number = f"{kept}-{number}", number + 1
        taken.add(numbered.casefold())
        safe.append(numbered)
    return safe


def repeated(names: Iterable[str]) -> str | None:
    """The first name that comes a second time; None where each comes once."""
    known: set[str] = set()
    for name in names:
        if name in known:
            return name
        known.add(name)
    return None


def is_hidden(path: Path) -> bool:
    """Whether a part of a relative path is hidden, as macOS' ``._picture.png`` is."""
    return any(part.startswith(".") and part not in (".", "..") for part in path.parts)


@dataclass(frozen=True)
class Listing:
    """What was found in a folder.

    Attributes:
        files: visible ones, sorted; links to files too.
        folders: visible ones that were not gone into.
        broken: links that lead nowhere, or to themselves.
    """

    files: list[Path]
    folders: list[Path]
    broken: list[Path]


def list_folder(folder: Path, *, recursive: bool = False, follow_links: bool = False) -> Listing:
    """The files of a folder, without hidden ones and those in hidden folders.

    Args:
        recursive: go into folders' folders.
        follow_links: also into those that links lead to, each folder once, however many lead there.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    check_folder(folder)
    found = Listing([], [], [])
    linked: list[Path] = []
    # The folders themselves come first, so that none is taken for what a link leads to.
    entered: set[str] = set()
    try:
        waiting = [folder]
        while waiting or linked:
            inside = waiting.pop() if waiting else linked.pop(0)
            if (real := os.path.realpath(inside)) in entered:
                continue
            entered.add(real)
            for each in sorted(inside.iterdir()):
                if each.name.startswith("."):
                    continue
                if not os.path.isdir(each):  # noqa: PTH112 - pathlib raises at links in a circle
                    kind = found.files if os.path.isfile(each) else None  # noqa: PTH113
                    if each.is_symlink() and not os.path.exists(each):  # noqa: PTH110
                        kind = found.broken
                    if kind is not None:
                        kind.append(each)
                elif not recursive:
                    found.folders.append(each)
                elif not each.is_symlink():
                    waiting.append(each)
                elif follow_links:
                    linked.append(each)
                else:
                    found.folders.append(each)
    except OSError as error:
        raise InputError(f"{shown(folder)}: cannot be read ({reason_of(error)})") from None
    found.files.sort()
    return found


def visible_files(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The files of a folder, sorted, without hidden ones, those in hidden folders, and folders.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    return list_folder(folder, recursive=recursive).files
