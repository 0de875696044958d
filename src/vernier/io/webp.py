"""WebP's chunk of EXIF, put in behind the encoder (WebP container specification, RFC 9649)."""

from __future__ import annotations

import struct

__all__ = ["webp_with_exif"]

_EXTENDED, _METADATA = b"VP8X", (b"XMP ",)
_HAS_ALPHA, _HAS_EXIF = 0x10, 0x08


def webp_with_exif(webp: bytes, exif: bytes, width: int, height: int) -> bytes:
    """A WebP file that has no EXIF, with it.

    Args:
        exif: a TIFF structure.
        width, height: of the picture.

    Raises:
        ValueError: no WebP file.
    """
    chunks = _chunks(webp)
    if chunks[0][0] == _EXTENDED:
        flags = bytearray(chunks.pop(0)[1])
    else:
        name, body = chunks[0]
        # Behind the signature and the sizes, less one, of a lossless picture is its flag of alpha.
        lossless_alpha = name == b"VP8L" and body[4] & 0x10
        flags = bytearray([_HAS_ALPHA if lossless_alpha else 0, 0, 0, 0])
        flags += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    flags[0] |= _HAS_EXIF
    pixels = [chunk for chunk in chunks if chunk[0] not in _METADATA]
    behind = [chunk for chunk in chunks if chunk[0] in _METADATA]
    parts = [
        struct.pack("<4sI", name, len(body)) + body + bytes(len(body) % 2)
        for name, body in [(_EXTENDED, bytes(flags)), *pixels, (b"EXIF", exif), *behind]
    ]
    return struct.pack("<4sI4s", b"RIFF", 4 + sum(map(len, parts)), b"WEBP") + b"".join(parts)


def _chunks(webp: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 12
    while at + 8 <= len(webp):
        name, length = struct.unpack_from("<4sI", webp, at)
        found.append((name, webp[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    if webp[8:12] != b"WEBP" or not found:
        raise ValueError("no WebP file")
    return found
