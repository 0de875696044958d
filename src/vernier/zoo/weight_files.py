"""Weight files told by what they hold, and read no further than what they say can be true.

Nothing here needs torch. A file may be damaged, or made to harm: sizes that it declares are
compared with what is there before memory is taken.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vernier.errors import InputError
from vernier.io.files import reason_of, shown

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "WeightKind",
    "check_archive",
    "check_config",
    "check_finite",
    "check_shapes",
    "kind_of",
    "parse_arrays",
    "parse_header",
    "parse_json",
    "read_by_kind",
    "read_header",
    "read_npz",
]

WeightKind = Literal["safetensors", "torch", "npz"]

# A safetensors file begins with the size of its JSON header, which its own library bounds.
_SIZE_BYTES = 8
_MAX_HEADER = 100_000_000
_KNOWN_SUFFIXES: Mapping[str, WeightKind] = {
    ".safetensors": "safetensors",
    ".npz": "npz",
    ".pth": "torch",
    ".pt": "torch",
    ".ckpt": "torch",
}
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
# Weights hardly shrink; an archive that grows more than this is made to fill the memory.
_MAX_GROWTH = 16
_ANY_SIZE = 2**26
# Arguments that count layers, each of which has a tensor.
_LAYERS = ("num_blocks", "num_steps", "depths")
# Other sizes may exceed what a tiny network has numbers: the width inside a block that collapsed.
_ANY_ARGUMENT = 4096


def kind_of(path: Path) -> WeightKind:
    """What a weight file is by its first bytes, whatever its name.

    Raises:
        InputError: it cannot be read, or is none.
    """
    return read_by_kind(path, whole=False)[0]


def read_by_kind(path: Path, *, whole: bool = True) -> tuple[WeightKind, bytes]:
    """The kind of a weight file, and of safetensors what is in it; the file is opened once.

    Args:
        path: of any name. Only if the first bytes tell nothing its suffix decides.
        whole: False reads no further than needed to tell the kind.

    Raises:
        InputError: it cannot be read, or is no weight file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_SIZE_BYTES + 1)
            kind = _told_by(head, path)
            rest = file.read() if whole and kind == "safetensors" else b""
    except OSError as error:
        raise InputError(f"cannot read the weight file {path}: {reason_of(error)}") from error
    return kind, head + rest


def _told_by(head: bytes, path: Path) -> WeightKind:
    if head.startswith(b"PK\x03\x04"):
        return _archive_kind(path)
    size = int.from_bytes(head[:_SIZE_BYTES], "little")
    if head[_SIZE_BYTES:] == b"{" and size <= _MAX_HEADER:
        return "safetensors"
    # A pickle of protocol 2 or later.
    if head.startswith(b"\x80"):
        return "torch"
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".tar"]:
        suffixes.pop()
    if suffixes and (known := _KNOWN_SUFFIXES.get(suffixes[-1])):
        return known
    raise InputError(
        f"{path}: weights are .safetensors, .pth, .pt, .ckpt or .npz, and this file holds none"
    )


def _archive_kind(path: Path) -> WeightKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        names = []
    if any(name.endswith("data.pkl") for name in names):
        return "torch"
    is_npz = any(name.endswith(".npy") for name in names) or path.suffix.lower() == ".npz"
    return "npz" if is_npz else "torch"


def parse_json(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is none, or nested or of numbers too long to be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_header(content: bytes, path: Path) -> dict[str, Any]:
    """The header of safetensors: its tensors and, under ``__metadata__``, texts by name.

    Args:
        content: the file's, or its beginning as far as the header goes.
        path: for messages.

    Raises:
        InputError: it is damaged.
    """
    size = int.from_bytes(content[:_SIZE_BYTES], "little")
    try:
        header = parse_json(content[_SIZE_BYTES : _SIZE_BYTES + size])
    except ValueError as error:
        raise _no_safetensors(path, reason_of(error)) from error
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise _no_safetensors(path, "its header is damaged")
    return header


def read_header(path: Path) -> dict[str, Any]:
    """As `parse_header`, without reading the tensors.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            size = file.read(_SIZE_BYTES)
            length = int.from_bytes(size, "little")
            if length > min(path.stat().st_size, _MAX_HEADER):
                raise _no_safetensors(path, "it is cut off")
            return parse_header(size + file.read(length), path)
    except OSError as error:
        raise InputError(f"cannot read the weight file {path}: {reason_of(error)}") from error


def parse_arrays(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """The arrays of safetensors by name; those of any floating-point type become float32.

    Raises:
        InputError: it is damaged, of a type that cannot be read, or holds values that are not
            finite.
    """
    import numpy as np
    from safetensors import SafetensorError, deserialize

    try:
        # In no order of its own.
        parts = sorted(deserialize(content))  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError, MemoryError) as error:
        raise _no_safetensors(path, reason_of(error)) from error
    arrays: dict[str, np.ndarray] = {}
    for name, part in parts:
        kind = str(part["dtype"])
        if kind == "BF16":
            # The upper half of a float32.
            bits = np.frombuffer(part["data"], "<u2").astype(np.uint32) << 16
            array = bits.view(np.float32)
        elif kind in _DTYPES:
            array = np.frombuffer(part["data"], _DTYPES[kind])
        else:
            raise InputError(
                f"{path}: {shown(name)} is of the type {kind}, which is not read: "
                "save it as F32, F16 or BF16"
            )
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                array = array.astype(np.float32, copy=False)
        arrays[name] = array.reshape(part["shape"])
    check_finite(arrays, path)
    return arrays


def _no_safetensors(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is not a readable safetensors file: {shown(reason)}")


def check_archive(path: Path) -> None:
    """Refuse a zip archive that would grow out of all proportion; other files are passed over.

    Raises:
        InputError: its parts declare far more than the file can hold.
        zipfile.BadZipFile, OSError, ValueError: it is damaged.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        declared = sum(info.file_size for info in archive.infolist())
    _check_size(declared, path)


def _check_size(declared: int, path: Path) -> None:
    size = path.stat().st_size
    if declared > _ANY_SIZE + _MAX_GROWTH * size:
        raise InputError(
            f"{path} declares {declared / 2**30:.1f} GiB in a file of {size / 2**20:.1f} MiB: "
            "these are no weights"
        )


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a numpy archive by name.

    Raises:
        InputError: it is damaged, encrypted, packed in a way that is not read, holds anything but
            arrays of numbers, declares more than it holds, or holds values that are not finite.
    """
    import numpy as np

    try:
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                _check_member(archive, info, path)
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, np.ndarray] = {key: file[key] for key in file.files}
    except InputError:
        raise
    except (
        ValueError,
        OSError,
        EOFError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = shown(reason_of(error))
        raise InputError(f"{path} is not a readable npz file: {reason}") from error
    check_finite(arrays, path)
    return arrays


def _check_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    """Compare what an array's header declares with the size of its part of the archive."""
    import numpy as np

    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"{info.filename} has fields by name")
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize > info.file_size:
        raise InputError(f"{path}: {shown(info.filename)} declares more values than the file holds")


def check_finite(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Refuse weights that a training which diverged left behind.

    Raises:
        InputError: one of them is infinite or no number.
    """
    import numpy as np

    for key, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{path} holds values that are not finite (first: {shown(key)})")


def check_shapes(
    wanted: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    path: Path,
    network: str,
) -> None:
    """Insist on exactly the tensors of a network.

    Args:
        wanted, found: shapes by name, of the network and in the file.
        path, network: for messages.

    Raises:
        InputError: one is missing, unknown or of another shape.
    """
    for key in wanted:
        if key not in found:
            raise InputError(f"{path} lacks {key}, which {network} needs")
    for key, shape in found.items():
        if key not in wanted:
            raise InputError(f"{path} has {shown(key)}, which {network} does not know")
        if shape != wanted[key]:
            raise InputError(f"{path}: {key} is {shape}, expected {wanted[key]}")


def check_config(config: Mapping[str, Any], shapes: Iterable[tuple[int, ...]], path: Path) -> None:
    """Refuse constructor arguments that no network with so few numbers can have.

    A network is built, if only to learn its shapes, layer by layer: of 10**9 there is no end.

    Raises:
        InputError: an argument is beyond what the file's tensors allow.
    """
    sizes = [math.prod(shape) for shape in shapes]
    numbers = max(sum(sizes), _ANY_ARGUMENT)
    for key, value in config.items():
        values = value if isinstance(value, list | tuple) else [value]
        counts = [each for each in values if isinstance(each, int)]
        most = max((abs(count) for count in counts), default=0)
        too_many = key in _LAYERS and sum(map(abs, counts)) > len(sizes)
        if too_many or most > numbers:
            raise InputError(
                f"{path}: it says {shown(key)} {most}, but holds {len(sizes)} tensors "
                f"of {sum(sizes)} numbers"
            )
