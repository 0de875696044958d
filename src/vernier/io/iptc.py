"""IPTC records (IIM 4.2), which files hold bare or among Photoshop's image resources.

PNG has no chunk for them; ImageMagick and ExifTool keep them as hexadecimal digits in text.
"""

from __future__ import annotations

import struct
import zlib

__all__ = ["RAW_PROFILE", "iptc_chunk", "iptc_records", "iptc_resource"]

RAW_PROFILE = "Raw profile type "
"""What the keyword of such text begins with; the kind of block follows."""

_RESOURCE = b"8BIM"
_IPTC = 0x0404


def iptc_records(resources: bytes) -> bytes | None:
    """The IPTC records among image resources; None where there are none."""
    at = 0
    try:
        while resources.startswith(_RESOURCE, at):
            number, name_length = struct.unpack_from(">HB", resources, at + 4)
            at += 6 + (1 + name_length + 1) // 2 * 2
            (size,) = struct.unpack_from(">I", resources, at)
            if number == _IPTC:
                return resources[at + 4 : at + 4 + size]
            at += 4 + (size + 1) // 2 * 2
    except struct.error:
        pass
    return None


def iptc_resource(records: bytes) -> bytes:
    """Bare records as an image resource without a name."""
    header = _RESOURCE + struct.pack(">HHI", _IPTC, 0, len(records))
    return header + records + bytes(len(records) % 2)


def iptc_chunk(resources: bytes) -> tuple[bytes, bytes]:
    """Image resources as a PNG's chunk of compressed text: its name and body."""
    digits = resources.hex()
    lines = [digits[start : start + 72] for start in range(0, len(digits), 72)]
    text = "\n".join(["", "iptc", f"{len(resources):8}", *lines, ""])
    return b"zTXt", f"{RAW_PROFILE}iptc\0\0".encode() + zlib.compress(text.encode())
