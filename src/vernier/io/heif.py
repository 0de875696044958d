"""EXIF in HEIF files, of which AVIF is one: an item, which a table says where to find.

ISO/IEC 23008-12, annex A; ISO/IEC 14496-12, sections 8.11.3 and 8.11.6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["PLACEHOLDER", "further_heif_pictures", "heif_with_exif"]

# The shortest block that libexif takes: an orientation.
PLACEHOLDER = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0\0\0\0\0"
"""A block of EXIF for the encoder, so that there is an item for `heif_with_exif` to fill."""

_GAIN_MAPS = (b"tmap", b"hdrgainmap")
_HEAD = 2**16


def heif_with_exif(heif: bytes, exif: bytes) -> bytes:
    """A HEIF file whose item of EXIF holds another block.

    The block goes to the file's end and the table is told so: nothing is moved.

    Args:
        exif: a TIFF structure.

    Raises:
        ValueError: the file has no such item, or is not as the encoder writes it.
    """
    try:
        return _with_exif(bytearray(heif), exif)
    except (KeyError, struct.error, IndexError) as error:
        raise ValueError("no place for EXIF in this file") from error


def further_heif_pictures(head: bytes) -> str | None:
    """What of a file is not its picture: "a gain map"; from the file's beginning."""
    found = any(name in head[:_HEAD] for name in _GAIN_MAPS)
    return "a gain map (HDR)" if found else None


def _with_exif(heif: bytearray, exif: bytes) -> bytes:
    start, end = dict(_boxes(heif, 0, len(heif)))[b"meta"]
    boxes = dict(_boxes(heif, start + 4, end))
    item = _exif_item(heif, *boxes[b"iinf"])
    base, place, length, offset_form, length_form = _extent(heif, boxes[b"iloc"][0], item)
    (offset,) = struct.unpack_from(offset_form, heif, place)
    (size,) = struct.unpack_from(length_form, heif, length)
    # What the encoder wrote is in nobody's way, but is not to be found by anybody either.
    heif[base + offset : base + offset + size] = bytes(size)
    # The four bytes say how many more lie before the TIFF structure.
    content = bytes(4) + exif
    struct.pack_into(offset_form, heif, place, len(heif) + 8 - base)
    struct.pack_into(length_form, heif, length, len(content))
    return bytes(heif) + struct.pack(">I4s", 8 + len(content), b"mdat") + content


def _boxes(data: bytearray, start: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Names of boxes, and from where to where their contents go."""
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        if size == 0:
            size = end - start
        if size < head:
            return
        yield name, (start + head, start + size)
        start += size


def _exif_item(data: bytearray, start: int, end: int) -> int:
    """The number of the item that is EXIF."""
    counted = 2 if data[start] == 0 else 4
    for name, (at, _) in _boxes(data, start + 4 + counted, end):
        if name == b"infe" and data[at] in (2, 3):
            number, form = at + 4, ">H" if data[at] == 2 else ">I"
            kind = number + struct.calcsize(form) + 2
            if data[kind : kind + 4] == b"Exif":
                return int(struct.unpack_from(form, data, number)[0])
    raise KeyError("Exif")


def _extent(data: bytearray, at: int, wanted: int) -> tuple[int, int, int, str, str]:
    """From where an item's only extent is counted, where its offset and length are, their forms."""
    version = data[at]
    forms = {0: "", 4: "I", 8: "Q"}
    offset, length = forms[data[at + 4] >> 4], forms[data[at + 4] & 15]
    base, index = forms[data[at + 5] >> 4], forms[data[at + 5] & 15] if version else ""
    number = "H" if version < 2 else "I"
    (count,) = struct.unpack_from(">" + number, data, at + 6)
    at += 6 + struct.calcsize(">" + number)
    head = struct.Struct(f">{number}{'H' if version else ''}H{base}H")
    for _ in range(count):
        fields = head.unpack_from(data, at)
        at += head.size
        extent = struct.calcsize(f">{index}{offset}{length}")
        if fields[0] == wanted:
            in_file = not version or not fields[1] & 15
            if not (in_file and offset and length) or fields[-1] != 1:
                raise KeyError(wanted)
            at += struct.calcsize(">" + index)
            start = fields[-2] if base else 0
            return start, at, at + struct.calcsize(">" + offset), f">{offset}", f">{length}"
        at += fields[-1] * extent
    raise KeyError(wanted)
