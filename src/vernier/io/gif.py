"""GIF's comments (GIF89a specification, sections 15 to 24), which libvips does not read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["gif_comments"]

_HEADER, _EXTENSION, _IMAGE, _COMMENT = 13, 0x21, 0x2C, 0xFE


def gif_comments(file: Path | bytes) -> list[bytes]:
    """The comments of a GIF file; of a damaged one those before the damage."""
    data = file if isinstance(file, bytes) else file.read_bytes()
    found = []
    try:
        at = _HEADER + _table(data[10])
        while data[at] in (_EXTENSION, _IMAGE):
            is_comment = data[at] == _EXTENSION and data[at + 1] == _COMMENT
            # An image has a table of colours of its own, and then the size of its codes.
            at += 2 if data[at] == _EXTENSION else 10 + _table(data[at + 9]) + 1
            blocks = list(_blocks(data, at))
            at += sum(len(block) + 1 for block in blocks) + 1
            if is_comment:
                found.append(b"".join(blocks))
    except IndexError:
        pass
    return found


def _table(flags: int) -> int:
    """Bytes of a table of colours."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _blocks(data: bytes, at: int) -> Iterator[bytes]:
    while length := data[at]:
        yield data[at + 1 : at + 1 + length]
        at += length + 1
