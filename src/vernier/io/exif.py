"""EXIF: a small TIFF structure inside other formats, directories of the file itself in TIFF.

Exif 2.32, section 4.6; TIFF 6.0, section 2; in BigTIFF counts and offsets take 8 bytes. libvips
carries EXIF into and out of every format but TIFF, and of IPTC it writes a quarter there.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection, Iterator
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
    "density_of_exif",
    "exif_of_tiff",
    "fitted_exif",
    "packed",
    "states_centimetres",
    "tags_of_tiff",
    "take_orientation",
    "tells_of_layout",
    "tiff_with_metadata",
    "without_thumbnail",
]

_WIDTH, _HEIGHT, _ORIENTATION, _IPTC = 0x0100, 0x0101, 0x0112, 0x83BB
_X_RESOLUTION, _Y_RESOLUTION, _UNIT = 0x011A, 0x011B, 0x0128
_NO_UNIT, _INCHES, _CENTIMETRES = 1, 2, 3
_MILLIMETRES = {_INCHES: 25.4, _CENTIMETRES: 10.0}
_EXIF, _GPS, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
_DESCRIPTION = 0x010E
_RESOLUTION = frozenset({_X_RESOLUTION, _Y_RESOLUTION, _UNIT})
# What a first directory tells of the picture, and not of how its pixels are stored: names,
# description, camera, software, date, artist, copyright, rating, resolution, what Windows adds,
# settings of printers, and what TIFF/EP and DNG add on the camera.
_ABOUT = {0x000B, 0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298}
_ABOUT |= {*range(0x4746, 0x474A), *range(0x9C9B, 0x9CA0), *_RESOLUTION, _EXIF, _GPS}
_ABOUT |= {0x882A, 0x9211, 0x9216, 0xC4A5, 0xC614, 0xC62F, 0xC68B, *range(0xA430, 0xA43D)}
# Of an EXIF block more is taken: all but what says how a TIFF file's own pixels are stored, and
# blocks that are carried by themselves.
_STORAGE = frozenset(
    {
        *(*range(0x00FE, 0x010D), *range(0x0111, 0x011A), *range(0x011C, 0x0129), 0x012D, 0x013D),
        *(0x013E, 0x013F, *range(0x0140, 0x0160), *range(0x0200, 0x0215), 0x02BC, 0x015B),
        *(0x828D, 0x828E, 0x83BB, 0x8649, 0x8773, *_RESOLUTION, _ORIENTATION),
        *(33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113, 50844),
    }
)
# Bytes of a value of each type, and of the numbers that it is made of: a fraction has two.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 129: 1}
_NUMBER_SIZES = _SIZES | {5: 4, 10: 4}
_SHORT, _LONG, _RATIONAL, _UNDEFINED, _LONG8 = 3, 4, 5, 7, 16
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
        """Where each tag's entry is in the directory at ``start``, and where they end.

        Of a tag that is there twice the first counts, as for libtiff.
        """
        number, size = ("Q", 20) if self.big else ("H", 12)
        (count,) = struct.unpack_from(self.order + number, self.data, start)
        places: dict[int, int] = {}
        for tag, at in self.all_entries(start):
            places.setdefault(tag, at)
        return places, start + struct.calcsize(number) + count * size

    def all_entries(self, start: int) -> Iterator[tuple[int, int]]:
        """Each tag with its entry's place, also of tags that a damaged directory has twice."""
        number, size = ("Q", 20) if self.big else ("H", 12)
        (count,) = struct.unpack_from(self.order + number, self.data, start)
        first = start + struct.calcsize(number)
        for at in range(first, first + count * size, size):
            yield struct.unpack_from(self.order + "H", self.data, at)[0], at

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
    found = []
    try:
        tiff = TiffStructure.parse(patched)
        for tag, at in tiff.all_entries(tiff.start):
            if tag == _ORIENTATION:
                found.append(_whole_number(tiff, at))
                struct.pack_into(tiff.order + "HIHH", patched, at + 2, _SHORT, 1, 1, 0)
        if not found:
            return None, exif
        # Of several, readers take the first or the last; none must be left.
        orientation = next((each for each in found if each in range(2, 9)), 1)
        if orientation == 1:
            return 1, exif if found == [1] else bytes(patched)
        return orientation, without_thumbnail(bytes(patched))
    except DAMAGE:
        return None, exif


def without_thumbnail(exif: bytes) -> bytes:
    """An EXIF block without its embedded thumbnail, whose bytes go where nothing follows them."""
    patched = bytearray(exif)
    try:
        tiff = TiffStructure.parse(patched)
        pointer = tiff.entries(tiff.start)[1]
        (thumbnail,) = struct.unpack_from(tiff.order + "I", patched, pointer)
        struct.pack_into(tiff.order + "I", patched, pointer, 0)
        end = _end_of_values(tiff, tiff.start, set())
    except DAMAGE:
        return exif
    return bytes(patched[:end] if end <= thumbnail else patched)


def fitted_exif(
    exif: bytes, width: int, height: int, density: tuple[float, float] | None = None
) -> bytes:
    """An EXIF block that is told the size of its picture; all else stays, byte for byte.

    Nothing moves, for makers' notes hold offsets that nobody else knows of.

    Args:
        width, height: for the tags of the size, where there are any.
        density: pixels per millimetre, for the tags of the resolution, where there are any that
            say something else; None leaves them.
    """
    patched = bytearray(exif)
    with suppress(*DAMAGE):
        tiff = TiffStructure.parse(patched)
        main = tiff.entries(tiff.start)[0]
        _set_numbers(tiff, patched, main, {_WIDTH: width, _HEIGHT: height})
        if density:
            _set_density(tiff, patched, main, density)
        if _EXIF in main:
            (start,) = struct.unpack_from(tiff.order + "I", patched, main[_EXIF] + 8)
            sizes = {_PIXEL_WIDTH: width, _PIXEL_HEIGHT: height}
            _set_numbers(tiff, patched, tiff.entries(start)[0], sizes)
    return bytes(patched)


def _set_numbers(
    tiff: TiffStructure, patched: bytearray, entries: dict[int, int], numbers: dict[int, int]
) -> None:
    for tag, number in numbers.items():
        if tag not in entries:
            continue
        (kind,) = struct.unpack_from(tiff.order + "H", patched, entries[tag] + 2)
        if kind == _SHORT and number < 2**16:
            struct.pack_into(tiff.order + "IHH", patched, entries[tag] + 4, 1, number, 0)
        else:
            struct.pack_into(tiff.order + "HII", patched, entries[tag] + 2, _LONG, 1, number)


def density_of_exif(exif: bytes) -> tuple[float, float] | None:
    """Pixels per millimetre, horizontal and vertical, that an EXIF block states; None for none."""
    try:
        tiff = TiffStructure.parse(exif)
        stated = _densities(tiff, tiff.entries(tiff.start)[0])
    except DAMAGE:
        return None
    return stated[0] if stated else None


def states_centimetres(exif: bytes) -> bool:
    """Whether an EXIF block counts pixels per centimetre."""
    try:
        tiff = TiffStructure.parse(exif)
        entries = tiff.entries(tiff.start)[0]
        return _UNIT in entries and _whole_number(tiff, entries[_UNIT]) == _CENTIMETRES
    except DAMAGE:
        return False


def _densities(
    tiff: TiffStructure, entries: dict[int, int]
) -> tuple[tuple[float, float], tuple[int, int]] | None:
    """Both resolutions in pixels per millimetre, and the places of their fractions."""
    unit = _whole_number(tiff, entries[_UNIT]) if _UNIT in entries else _INCHES
    if unit not in _MILLIMETRES:
        return None
    places, stated = [], []
    for tag in (_X_RESOLUTION, _Y_RESOLUTION):
        if tag not in entries:
            return None
        kind, count, place = struct.unpack_from(tiff.order + "HII", tiff.data, entries[tag] + 2)
        numerator, denominator = struct.unpack_from(tiff.order + "II", tiff.data, place)
        if (kind, count) != (_RATIONAL, 1) or not numerator or not denominator:
            return None
        places.append(place)
        stated.append(numerator / denominator / _MILLIMETRES[unit])
    return (stated[0], stated[1]), (places[0], places[1])


def _set_density(
    tiff: TiffStructure,
    patched: bytearray,
    entries: dict[int, int],
    density: tuple[float, float],
) -> None:
    """Write both resolutions and their unit, unless they say the same but for rounding."""
    found = _densities(tiff, entries)
    if found is None or all(abs(a - b) <= 0.005 * b for a, b in zip(found[0], density)):
        return
    for place, each in zip(found[1], density):
        struct.pack_into(tiff.order + "II", patched, place, round(each * 25400), 1000)
    if _UNIT in entries:
        struct.pack_into(tiff.order + "HIHH", patched, entries[_UNIT] + 2, _SHORT, 1, _INCHES, 0)


def _whole_number(tiff: TiffStructure, at: int) -> int:
    """The number of an entry that has one, whatever type a writer took for it; 0 for others."""
    kind, count = struct.unpack_from(tiff.order + "HI", tiff.data, at + 2)
    form = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}.get(kind)
    if form is None or count < 1:
        return 0
    return int(struct.unpack_from(tiff.order + form, tiff.data, at + 8)[0])


def _end_of_values(tiff: TiffStructure, start: int, seen: set[int]) -> int:
    """Where a directory, its values and the directories in it end."""
    seen.add(start)
    entries, end = tiff.entries(start)
    end += 4
    for tag, at in entries.items():
        kind, count, offset = struct.unpack_from(tiff.order + "HII", tiff.data, at + 2)
        if tag in (_EXIF, _GPS, _INTEROPERABILITY):
            if offset not in seen:
                with suppress(*DAMAGE):
                    end = max(end, _end_of_values(tiff, offset, seen))
        elif (size := count * _SIZES.get(kind, 0)) > 4:
            end = max(end, offset + size)
    return end


def exif_of_tiff(file: Path | bytes, start: int | None = None) -> bytes | None:
    """What a TIFF file tells of a picture, as an EXIF block without orientation.

    Args:
        file: its path, or the file itself.
        start: offset of the picture's directory; None for the first.

    Returns:
        None where the file tells nothing, or nothing that can be understood.
    """
    return tags_of_tiff(file, _ABOUT, start)


def tags_of_tiff(
    file: Path | bytes, tags: Collection[int], start: int | None = None
) -> bytes | None:
    """Some tags of a TIFF file's picture, as a TIFF structure of their own.

    Args:
        file: its path, or the file itself.
        start: offset of the picture's directory; None for the first.

    Returns:
        None where the file has none of them, or is not understood.
    """
    try:
        if isinstance(file, bytes):
            return _tags_of(file, tags, start)
        with (
            file.open("rb") as opened,
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _tags_of(data, tags, start)
    except (OSError, *DAMAGE):
        return None


def _tags_of(data: bytes | mmap.mmap, tags: Collection[int], start: int | None) -> bytes | None:
    tiff = TiffStructure.parse(data)
    found = tiff.fields(tiff.start if start is None else start, tags)
    description = found.get(_DESCRIPTION)
    if isinstance(description, tuple) and tells_of_layout(description[2]):
        del found[_DESCRIPTION]
    if not found.keys() - _RESOLUTION:
        return None
    head = struct.pack(tiff.order + "2sHI", b"II" if tiff.order == "<" else b"MM", 42, 8)
    return head + packed(found, tiff.order, big=False, start=8)


def tells_of_layout(description: bytes) -> bool:
    """Whether a program wrote down sizes and pages, which are not those of a result."""
    text = description.lstrip()
    return text.startswith((b'{"shape":', b"ImageJ=")) or b"openmicroscopy.org/Schemas/OME" in text


def add_metadata_to_tiff(
    path: Path,
    exif: bytes | None,
    iptc: bytes | None,
    width: int,
    height: int,
    *,
    more: bytes | None = None,
    has_density: bool = True,
) -> None:
    """Put an EXIF block and IPTC records into a TIFF file that holds one picture.

    Left out are the EXIF thumbnail and what describes stored pixels; a maker's notes are copied as
    they are. An EXIF block that cannot be understood is left out.

    Args:
        path: a TIFF or BigTIFF file; its directory is written anew, behind all that is there.
        width, height: of the file's picture, for EXIF's own tags of them.
        more: tags for the first directory as they are, as a TIFF structure of their own.
        has_density: whether the resolution in the file is one; else it becomes the shape of its
            pixels, without a unit.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            added = _added_to_tiff(data, exif, iptc, width, height, more, has_density)
        if added is not None:
            file.seek(0, 2)
            file.write(added.end)
            file.seek(added.at)
            file.write(added.pointer)


def tiff_with_metadata(
    data: bytes,
    exif: bytes | None,
    iptc: bytes | None,
    width: int,
    height: int,
    *,
    more: bytes | None = None,
    has_density: bool = True,
) -> bytes:
    """A TIFF file in memory, with what `add_metadata_to_tiff` puts into one on the disk."""
    added = _added_to_tiff(data, exif, iptc, width, height, more, has_density)
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
    data: bytes | mmap.mmap,
    exif: bytes | None,
    iptc: bytes | None,
    width: int,
    height: int,
    more: bytes | None,
    has_density: bool,
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
    if more:
        added |= _all_of(more, tiff.order)
    if not has_density:
        one = struct.pack(tiff.order + "II", 1, 1)
        added[_X_RESOLUTION] = added[_Y_RESOLUTION] = _RATIONAL, 1, one
        added[_UNIT] = _SHORT, 1, struct.pack(tiff.order + "H", _NO_UNIT)
    if not added:
        return None
    gap = bytes(len(data) % 2)
    start = len(data) + len(gap)
    directory = packed(stored | added, tiff.order, big=tiff.big, start=start)
    return _Added(gap + directory, room, struct.pack(tiff.order + offset, start))


def _about(exif: bytes, order: str) -> Directory:
    """What an EXIF block tells of a picture, values in byte order ``order``."""
    return {tag: field for tag, field in _all_of(exif, order).items() if tag not in _STORAGE}


def _all_of(block: bytes, order: str) -> Directory:
    try:
        tiff = TiffStructure.parse(block)
        fields = tiff.fields(tiff.start)
    except DAMAGE:
        return {}
    return fields if tiff.order == order else _swapped(fields)


def packed(directory: Directory, order: str, *, big: bool, start: int) -> bytes:
    """The bytes of a directory at offset ``start``: entries, then long values and directories."""
    number, form, offset, room = ("Q", "HHQ", "Q", 8) if big else ("H", "HHI", "I", 4)
    table = bytearray(struct.pack(order + number, len(directory)))
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
