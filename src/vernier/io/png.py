"""PNG's chunks beside the pixels: text, EXIF and XMP, wherever in the file they are.

PNG (third edition), sections 5.3 and 11.3. libvips reads none behind the pixels and writes no text.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from vernier.io.iptc import RAW_PROFILE

__all__ = [
    "add_chunks_to_png",
    "chunk",
    "chunks_of",
    "comment_chunk",
    "decoded_text",
    "density_of",
    "is_text",
    "png_chunks",
    "png_with_chunks",
    "raw_profile",
    "read_chunks",
    "xmp_of",
]

# Signature and IHDR (sections 5.2 and 11.2.1).
_SIGNATURE, _HEADER = 8, 8 + 25
_PIXELS = frozenset({b"IDAT", b"fdAT"})
_TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_XMP = b"XML:com.adobe.xmp"
# Text that says more is no comment, and compressed text may say a thousand times as much.
_LONGEST_TEXT = 2**24
# Kinds of raw profiles that are read as what they are, and not as text.
_PROFILES = frozenset({"exif", "APP1", "xmp", "iptc", "8bim", "icc", "icm"})
_BLOCK = 2**20
_METRES = 1

Chunk = tuple[bytes, bytes]
"""Name and body."""


def read_chunks(file: Path | bytes) -> Iterator[Chunk]:
    """The chunks of a PNG file, in order; those of pixels without their bodies.

    Chunks whose check sum is wrong are left out, and so is what follows damage.
    """
    with io.BytesIO(file) if isinstance(file, bytes) else file.open("rb") as png:
        png.seek(_SIGNATURE)
        yield from png_chunks(png)


def png_chunks(png: BinaryIO | io.BytesIO) -> Iterator[Chunk]:
    """The chunks from where a file stands, as `read_chunks` gives them."""
    while len(head := png.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name in _PIXELS:
            png.seek(length + 4, os.SEEK_CUR)
            yield name, b""
            continue
        # A length that lies must not take memory that the file does not have.
        body = _exactly(png, length)
        if body is None:
            return
        if png.read(4) == struct.pack(">I", zlib.crc32(name + body)):
            yield name, body
        if name == b"IEND":
            return


def _exactly(file: BinaryIO | io.BytesIO, length: int) -> bytes | None:
    parts, left = [], length
    while left:
        part = file.read(min(left, _BLOCK))
        if not part:
            return None
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def chunks_of(data: bytes) -> list[Chunk]:
    """Chunks that `chunk` made, one after the other."""
    return list(png_chunks(io.BytesIO(data)))


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk as it is in a file."""
    check = zlib.crc32(body, zlib.crc32(name))
    return b"".join([struct.pack(">I", len(body)), name, body, struct.pack(">I", check)])


def is_text(name: bytes, body: bytes) -> bool:
    """Whether a chunk is text for people or programs, and not XMP or another block in disguise."""
    keyword = _keyword(body)
    if name not in _TEXT or not keyword or keyword == _XMP:
        return False
    kind = keyword.decode("latin-1").removeprefix(RAW_PROFILE)
    return not keyword.startswith(RAW_PROFILE.encode()) or kind not in _PROFILES


def decoded_text(name: bytes, body: bytes) -> tuple[str, str | None]:
    """The keyword and the text of a text chunk; None for text that is damaged or endless."""
    keyword, _, rest = body.partition(b"\0")
    compressed, encoding = name == b"zTXt", "utf-8" if name == b"iTXt" else "latin-1"
    if name == b"iTXt":
        compressed, rest = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
    elif compressed:
        rest = rest[1:]
    try:
        text = (_inflated(rest) if compressed else rest).decode(encoding)
    except (zlib.error, ValueError):
        return keyword.decode("latin-1"), None
    return keyword.decode("latin-1"), text


def comment_chunk(text: str) -> Chunk:
    """A comment as a text chunk, in Latin-1 where that has its letters."""
    try:
        return b"tEXt", b"Comment\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", b"Comment\0\0\0\0\0" + text.encode()


def xmp_of(chunks: Iterable[Chunk]) -> bytes | None:
    """The XMP packet among chunks."""
    for name, body in chunks:
        if name == b"iTXt" and _keyword(body) == _XMP:
            text = decoded_text(name, body)[1]
            return None if text is None else text.encode()
    return None


def density_of(chunks: Iterable[Chunk]) -> tuple[float, float] | None:
    """Pixels per millimetre, horizontal and vertical; None where chunks do not tell."""
    for name, body in chunks:
        if name == b"pHYs" and len(body) == 9:
            across, down, unit = struct.unpack(">IIB", body)
            return (across / 1000, down / 1000) if unit == _METRES and across and down else None
    return None


def raw_profile(chunks: Iterable[Chunk], *kinds: str) -> bytes | None:
    """A block that ImageMagick and ExifTool keep in text: kind, length, hexadecimal digits."""
    keywords = {(RAW_PROFILE + kind).encode() for kind in kinds}
    for name, body in chunks:
        if name in _TEXT and _keyword(body) in keywords:
            text = decoded_text(name, body)[1] or ""
            try:
                return bytes.fromhex("".join(text.split()[2:]))
            except ValueError:
                continue
    return None


def png_with_chunks(png: bytes, added: Iterable[Chunk], without: Collection[bytes] = ()) -> bytes:
    """A PNG file with more chunks behind its header, and without some of those before its pixels.

    Args:
        added: chunks, in order.
        without: names of chunks that go.
    """
    end = _end_of_head(io.BytesIO(png))
    return b"".join([_head(png[:end], added, without), png[end:]])


def add_chunks_to_png(path: Path, added: Iterable[Chunk], without: Collection[bytes] = ()) -> None:
    """The same for a file on the disk, which is changed in place and never held in memory.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("r+b") as file:
        end = _end_of_head(file)
        file.seek(0)
        old = file.read(end)
        new = _head(old, added, without)
        if new == old:
            return
        _shift(file, end, len(new) - end)
        file.seek(0)
        file.write(new)


def _head(head: bytes, added: Iterable[Chunk], without: Collection[bytes]) -> bytes:
    kept = [each for each in chunks_of(head[_HEADER:]) if each[0] not in without]
    return head[:_HEADER] + b"".join(chunk(name, body) for name, body in [*added, *kept])


def _end_of_head(png: BinaryIO | io.BytesIO) -> int:
    """Where the first pixels are."""
    png.seek(_SIGNATURE)
    while len(head := png.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name == b"IDAT":
            break
        png.seek(length + 4, os.SEEK_CUR)
    return png.tell() - len(head)


def _shift(file: BinaryIO, start: int, by: int) -> None:
    """Move what stands from ``start`` on by so many bytes, in blocks."""
    end = file.seek(0, os.SEEK_END)
    places = range(start, end, _BLOCK)
    # What moves up is taken from its end on, or it would be written over before it is read.
    for place in reversed(places) if by > 0 else places:
        file.seek(place)
        block = file.read(min(_BLOCK, end - place))
        file.seek(place + by)
        file.write(block)
    if by < 0:
        file.truncate(end + by)


def _keyword(body: bytes) -> bytes:
    return body[:80].partition(b"\0")[0]


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    text = stream.decompress(data, _LONGEST_TEXT)
    if not stream.eof:
        raise ValueError("text is cut off, or too long")
    return text
