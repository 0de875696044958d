"""EXIF: a small TIFF structure inside other formats, directories of the file itself in TIFF.

Exif 2.32, section 4.6; TIFF 6.0, section 2; in BigTIFF counts and offsets take 8 bytes. libvips
carries EXIF into and out of every format but TIFF, and of IPTC it writes a quarter there.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = [
    "DAMAGE",
    "Directory",
    "Field",
    "TiffStructure",
    "add_metadata_to_tiff",
    "exif_of_tiff",
    "packed",
    "take_orientation",
    "tiff_with_metadata",
]

_ORIENTATION, _IPTC = 0x0112, 0x83BB
_EXIF, _GPS, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
# What a first directory tells of the picture, and not of how its pixels are stored: names,
# description, camera, software, date, artist, copyright, rating, and what Windows adds.
_ABOUT = {0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298, 0x4746, 0x4749}
_ABOUT |= {*range(0x9C9B, 0x9CA0), _EXIF, _GPS}
# Bytes of a value of each type, and of the numbers that it is made of: a fraction has two.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 129: 1}
_NUMBER_SIZES = _SIZES | {5: 4, 10: 4}
_LONG, _UNDEFINED, _LONG8 = 4, 7, 16
# JPEG has room for no more; larger values (the tables of microscopes) are no EXIF.
_LONGEST = 65535
# All values together: what files of a few kB may not grow to by telling of the same bytes often.
_MOST = 4 * _LONGEST
DAMAGE = (KeyError, ValueError, OverflowError, struct.error)
"""What the methods of `TiffStructure` raise for a damaged one."""

Field = tuple[int, int, bytes]
"""Type, number of values, and the values in the byte order of their structure."""
Directory = dict[int, "Field | Directory"]


@dataclass(frozen=True)
class TiffStructure:
    """A TIFF file, or an EXIF block, in memory.

    Attributes:
        order: "<" or ">", for `struct`.
        big: whether it is BigTIFF.
        start: offset of the first directory.

    Raises (from every method):
        KeyError, struct.error: not a TIFF structure, or a damaged one.
    """

    data: bytes | bytearray | mmap.mmap
    order: str
    big: bool
    start: int

    @classmethod
    def parse(cls, data: bytes | bytearray | mmap.mmap) -> TiffStructure:
        order = {b"II": "<", b"MM": ">"}[bytes(data[:2])]
        (version,) = struct.unpack_from(order + "H", data, 2)
        big = {42: False, 43: True}[version]
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        return cls(data, order, big, start)

    def entries(self, start: int) -> tuple[dict[int, int], int]:
        """Where each tag's entry is in the directory at ``start``, and where they end."""
        number, size = ("Q", 20) if self.big else ("H", 12)
        (count,) = struct.unpack_from(self.order + number, self.data, start)
        first = start + struct.calcsize(number)
        end = first + count * size
        return {
            struct.unpack_from(self.order + "H", self.data, at)[0]: at
            for at in range(first, end, size)
        }, end

    def short_value(self, tag: int) -> int:
        """Where the value of a tag of the first directory is, if it is not longer than 4 bytes."""
        return self.entries(self.start)[0][tag] + (12 if self.big else 8)

    def fields(self, start: int, tags: Collection[int] | None = None) -> Directory:
        """The directory at ``start`` with the directories in it; of all tags, or some.

        A directory is read once, however many refer to it, and no more than 256 KiB of values are
        taken in all.
        """
        return self._fields(start, tags, 2, set(), [_MOST])

    def _fields(
        self,
        start: int,
        tags: Collection[int] | None,
        depth: int,
        seen: set[int],
        left: list[int],
    ) -> Directory:
        found: Directory = {}
        seen.add(start)
        form, room = ("HQQ", 8) if self.big else ("HII", 4)
        for tag, at in self.entries(start)[0].items():
            if tags is not None and tag not in tags:
                continue
            kind, count, offset = struct.unpack_from(self.order + form, self.data, at + 2)
            if tag in (_EXIF, _GPS, _INTEROPERABILITY):
                with suppress(*DAMAGE):
                    if depth and offset not in seen:
                        inner = self._fields(offset, None, depth - 1, seen, left)
                        if inner:
                            found[tag] = inner
                continue
            size = count * _SIZES.get(kind, 0)
            if size <= room:
                offset = at + 2 + struct.calcsize(self.order + form) - room
            elif size > min(_LONGEST, left[0]):
                continue
            value = bytes(self.data[offset : offset + size])
            if value and len(value) == size:
                left[0] -= size
                found[tag] = kind, count, value
        return found


def take_orientation(exif: bytes) -> tuple[int | None, bytes]:
    """The orientation in an EXIF block (None: it says nothing), and the block with it reset to 1.

    The embedded thumbnail is turned like the pixels were, so it goes with the orientation.
    """
    patched = bytearray(exif)
    try:
        tiff = TiffStructure.parse(patched)
        place = tiff.short_value(_ORIENTATION)
        (orientation,) = struct.unpack_from(tiff.order + "H", patched, place)
        if orientation not in range(2, 9):
            return 1, exif
        struct.pack_into(tiff.order + "H", patched, place, 1)
        struct.pack_into(tiff.order + "I", patched, tiff.entries(tiff.start)[1], 0)
    except DAMAGE:
        return None, exif
    return orientation, bytes(patched)


def exif_of_tiff(file: Path | bytes) -> bytes | None:
    """What a TIFF file tells of its first picture, as an EXIF block without orientation.

    Args:
        file: its path, or the file itself.

    Returns:
        None where the file tells nothing, or nothing that can be understood.
    """
    try:
        if isinstance(file, bytes):
            return _exif_of(file)
        with (
            file.open("rb") as opened,
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _exif_of(data)
    except (OSError, *DAMAGE):
        return None


def _exif_of(data: bytes | mmap.mmap) -> bytes | None:
    tiff = TiffStructure.parse(data)
    about = tiff.fields(tiff.start, _ABOUT)
    if not about:
        return None
    head = struct.pack(tiff.order + "2sHI", b"II" if tiff.order == "<" else b"MM", 42, 8)
    return head + packed(about, tiff.order, big=False, start=8)


def add_metadata_to_tiff(
    path: Path, exif: bytes | None, iptc: bytes | None, width: int, height: int
) -> None:
    """Put an EXIF block and IPTC records into a TIFF file that holds one picture.

    Left out are the EXIF thumbnail and what describes stored pixels; a maker's notes are copied as
    they are. An EXIF block that cannot be understood is left out.

    Args:
        path: a TIFF or BigTIFF file; its directory is written anew, behind all that is there.
        width, height: of the file's picture, for EXIF's own tags of them.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            added = _added_to_tiff(data, exif, iptc, width, height)
        if added is not None:
            file.seek(0, 2)
            file.write(added.end)
            file.seek(added.at)
            file.write(added.pointer)


def tiff_with_metadata(
    data: bytes, exif: bytes | None, iptc: bytes | None, width: int, height: int
) -> bytes:
    """A TIFF file in memory, with what `add_metadata_to_tiff` puts into one on the disk."""
    added = _added_to_tiff(data, exif, iptc, width, height)
    if added is None:
        return data
    behind = data[added.at + len(added.pointer) :]
    return b"".join([data[: added.at], added.pointer, behind, added.end])


class _Added(NamedTuple):
    """What changes in a TIFF file: bytes behind its end, and the pointer to its directory."""

    end: bytes
    at: int
    pointer: bytes


def _added_to_tiff(
    data: bytes | mmap.mmap, exif: bytes | None, iptc: bytes | None, width: int, height: int
) -> _Added | None:
    tiff = TiffStructure.parse(data)
    form, offset, room = ("HQ8s", "Q", 8) if tiff.big else ("HI4s", "I", 4)
    # Short values and offsets of long ones stay as they are: nothing is moved.
    stored: Directory = {
        tag: struct.unpack_from(tiff.order + form, data, at + 2)
        for tag, at in tiff.entries(tiff.start)[0].items()
    }
    added = _about(exif, tiff.order) if exif else {}
    if isinstance(camera := added.get(_EXIF), dict):
        for tag, pixels in ((_PIXEL_WIDTH, width), (_PIXEL_HEIGHT, height)):
            if tag in camera:
                camera[tag] = _LONG, 1, struct.pack(tiff.order + "I", pixels)
    if iptc:
        added[_IPTC] = _UNDEFINED, len(iptc), iptc
    if not added:
        return None
    gap = bytes(len(data) % 2)
    start = len(data) + len(gap)
    directory = packed(stored | added, tiff.order, big=tiff.big, start=start)
    return _Added(gap + directory, room, struct.pack(tiff.order + offset, start))


def _about(exif: bytes, order: str) -> Directory:
    """What an EXIF block tells of a picture, values in byte order ``order``."""
    try:
        block = TiffStructure.parse(exif)
        about = block.fields(block.start, _ABOUT)
    except DAMAGE:
        return {}
    return about if block.order == order else _swapped(about)


def packed(directory: Directory, order: str, *, big: bool, start: int) -> bytes:
    """The bytes of a directory at offset ``start``: entries, then long values and directories."""
    number, form, offset, room = ("Q", "HHQ", "Q", 8) if big else ("H", "HHI", "I", 4)
    table = struct.pack(order + number, len(directory))
    end = start + len(table) + len(directory) * (struct.calcsize(order + form) + room) + room
    behind: list[bytes] = []
    at = end
    for tag, field in sorted(directory.items()):
        more = b""
        if isinstance(field, dict):
            kind, count, value = (_LONG8 if big else _LONG), 1, struct.pack(order + offset, at)
            more = packed(field, order, big=big, start=at)
        else:
            kind, count, value = field
            if len(value) > room:
                more = value + bytes(len(value) % 2)
                value = struct.pack(order + offset, at)
        behind.append(more)
        at += len(more)
        table += struct.pack(order + form, tag, kind, count) + value.ljust(room, b"\0")
    return b"".join([table, bytes(room), *behind])


def _swapped(directory: Directory) -> Directory:
    """The same values in the other byte order."""
    swapped: Directory = {}
    for tag, field in directory.items():
        if isinstance(field, dict):
            swapped[tag] = _swapped(field)
        else:
            kind, count, value = field
            numbers = np.frombuffer(value, f"u{_NUMBER_SIZES[kind]}")
            swapped[tag] = kind, count, numbers.byteswap().tobytes()
    return swapped
