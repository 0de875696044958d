"""JPEG's segments beside the pixels: EXIF, comments, resolution, and what says of more pictures.

ITU-T T.81, annex B; JFIF 1.02; Exif 2.32, section 4.5; CIPA DC-007 (several pictures in a file).
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = [
    "LONGEST_COMMENT",
    "LONGEST_EXIF",
    "LONGEST_IPTC",
    "LONGEST_XMP",
    "comment_segment",
    "comments_of",
    "further_pictures",
    "jpeg_with_segments",
    "read_segments",
]

_START, _SCAN, _END, _APP0, _APP1, _APP2, _COMMENT = 0xD8, 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xFE
# Markers without a length.
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_EXIF = b"Exif\0\0"
_LONGEST = 65533
LONGEST_COMMENT = _LONGEST
"""Bytes of a comment."""
LONGEST_EXIF = _LONGEST - len(_EXIF)
"""Bytes of a block of EXIF."""
LONGEST_XMP = _LONGEST - 29
"""Bytes of a packet of XMP, behind the name of its kind."""
LONGEST_IPTC = _LONGEST - 14
"""Bytes of Photoshop's image resources, behind the name of their kind."""
_INCH = 25.4
_MOST_JUNK = 2**16

_GAIN_MAPS = (b"urn:iso:std:iso:ts:21496:-1", b"hdrgm:Version", b"HDRGainMap")
_MULTI_PICTURE, _ENTRIES = b"MPF\0", 0xB002
# Kinds of picture of a multi-picture file: the large previews of cameras, and what only says that
# it is the one that everybody sees.
_PREVIEWS = frozenset({0x010001, 0x010002, 0x030000})

Segment = tuple[int, bytes]
"""Marker and body."""


def read_segments(file: Path | bytes) -> Iterator[Segment]:
    """The segments of a JPEG file before its first scan; what follows damage is left out."""
    with io.BytesIO(file) if isinstance(file, bytes) else file.open("rb") as jpeg:
        jpeg.seek(2)
        junk = 0
        while (byte := jpeg.read(1)) and junk < _MOST_JUNK:
            # Other bytes between segments are junk, which decoders pass over.
            junk += 1
            if byte != b"\xff":
                continue
            while (byte := jpeg.read(1)) == b"\xff":
                pass
            marker = byte[0] if byte else _END
            if marker in (_SCAN, _END):
                return
            if marker == 0 or marker in _BARE:
                continue
            junk -= 1
            size = jpeg.read(2)
            length = int.from_bytes(size, "big") - 2
            if len(size) < 2 or length < 0:
                return
            if marker == _COMMENT or marker in range(_APP0, _APP0 + 16):
                body = jpeg.read(length)
                if len(body) < length:
                    return
                yield marker, body
            else:
                jpeg.seek(length, os.SEEK_CUR)


def comments_of(segments: Iterable[Segment]) -> list[bytes]:
    """The comments among segments."""
    return [body for marker, body in segments if marker == _COMMENT]


def comment_segment(comment: bytes) -> bytes:
    """A comment as it is in a file."""
    return _segment(_COMMENT, comment)


def further_pictures(segments: Sequence[Segment]) -> str | None:
    """What of a file is not its picture: "a gain map", or "further pictures"."""
    for marker, body in segments:
        if marker in (_APP1, _APP2) and any(name in body for name in _GAIN_MAPS):
            return "a gain map (HDR)"
    for marker, body in segments:
        if marker == _APP2 and body.startswith(_MULTI_PICTURE):
            with suppress(struct.error, KeyError):
                if any(kind not in _PREVIEWS for kind in _kinds(body[4:])[1:]):
                    return "further pictures (MPF)"
    return None


def _kinds(block: bytes) -> list[int]:
    """What the entries of a multi-picture file say that their pictures are."""
    order = {b"II": "<", b"MM": ">"}[block[:2]]
    (start,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, _, size, offset = struct.unpack_from(order + "HHII", block, at)
        if tag == _ENTRIES:
            places = range(offset, min(offset + size, len(block)), 16)
            return [struct.unpack_from(order + "I", block, p)[0] & 0xFFFFFF for p in places]
    return []


def jpeg_with_segments(
    jpeg: bytes,
    *,
    exif: bytes | None = None,
    comments: bytes = b"",
    density: tuple[float, float] | None = None,
    in_centimetres: bool = False,
) -> bytes:
    """A JPEG file that has none of these, with them.

    Args:
        exif: a TIFF structure, at most `LONGEST_EXIF` bytes.
        comments: segments, see `comment_segment`.
        density: pixels per millimetre, horizontal and vertical.
        in_centimetres: whether the resolution is told per centimetre, not per inch.
    """
    added = []
    if density:
        unit, length = (2, 10) if in_centimetres else (1, _INCH)
        dots = [min(max(round(each * length), 1), 65535) for each in density]
        added.append(_segment(_APP0, struct.pack(">5sHBHHBB", b"JFIF", 0x0102, unit, *dots, 0, 0)))
    if exif:
        added.append(_segment(_APP1, _EXIF + exif))
    return b"".join([jpeg[:2], *added, comments, jpeg[2:]])


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
