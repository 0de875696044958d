"""Whether a JPEG file holds all of its picture: what was declared against what is there.

ITU-T T.81, annexes B and G. A decoder makes a picture of any beginning of a file, gray where
nothing was left to decode.
"""

from __future__ import annotations

import logging
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pyvips

__all__ = ["JpegError", "complete_jpeg", "has_all_scans", "is_plausible_size", "without_junk"]

_START_OF_SCAN, _END = 0xDA, 0xD9
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_END_MARKER = b"\xff\xd9"
# A block of 8x8 samples takes a bit at least, so that a byte holds 512 pixels at most; with room
# for odd sampling.
_PIXELS_A_BYTE = 2048
# What libjpeg says of files whose pixels are all there.
_HARMLESS = (
    "extraneous bytes before marker",
    "Invalid SOS parameters",
    "Unknown Adobe color transform code",
    "Inconsistent progression sequence",
    "unknown JFIF revision",
    # Only a count, beside the first of them.
    "read gave",
)
_WITHOUT_END = "premature end of JPEG"


Pixels = TypeVar("Pixels")


class JpegError(ValueError):
    """A file that does not hold all of its picture."""


def is_plausible_size(width: int, height: int, size: int) -> bool:
    """Whether a file of ``size`` bytes can hold so many pixels at all."""
    return width * height <= _PIXELS_A_BYTE * size


def complete_jpeg(
    content: Callable[[], bytes], decode: Callable[[bytes | None, str], Pixels]
) -> tuple[Pixels, bool]:
    """Decode a file that may lack its end marker, or have junk where none belongs.

    Args:
        content: gives the file's bytes.
        decode: takes them, or None for the file as it is, and on what libvips shall give up
            ("warning" or "error"); raises `pyvips.Error`.

    Returns:
        What ``decode`` gave, and whether the end marker was missing.

    Raises:
        JpegError, pyvips.Error: the file is damaged, or more is missing than the marker.
    """
    try:
        return _tolerant(decode, None, content), False
    except pyvips.Error as error:
        if _WITHOUT_END not in error.detail:
            raise
    data = content()
    ended = data + (_END_MARKER[1:] if data.endswith(b"\xff") else _END_MARKER)
    if not has_all_scans(ended):
        raise JpegError("its end is missing")
    return _tolerant(decode, ended, lambda: ended), True


def _tolerant(
    decode: Callable[[bytes | None, str], Pixels],
    data: bytes | None,
    content: Callable[[], bytes],
) -> Pixels:
    """Decode in spite of harmless warnings, of which libjpeg tells the first and none after it."""
    try:
        return _without_remarks(lambda: decode(data, "warning"))
    except pyvips.Error as error:
        if not _is_all_harmless(error):
            raise
    clean = without_junk(content())
    try:
        return _without_remarks(lambda: decode(clean, "warning"))
    except pyvips.Error as error:
        if not _is_all_harmless(error):
            raise
    return _without_remarks(lambda: decode(clean, "error"))


def _is_all_harmless(error: pyvips.Error) -> bool:
    lines = [line for line in error.detail.splitlines() if "VipsJpeg" in line]
    return bool(lines) and all(map(_is_harmless, lines))


def without_junk(data: bytes) -> bytes:
    """The file without bytes that belong to no segment, up to its first scan."""
    parts = [data[:2]]
    at = 2
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 3:
        marker = data[at + 1]
        if marker in (0x00, 0xFF, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (_START_OF_SCAN, _END):
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        parts.append(data[at : at + 2 + length])
        at += 2 + length
    return b"".join([*parts, data[max(at, 0) :]])


def _without_remarks(decode: Callable[[], Pixels]) -> Pixels:
    """What is decoded, unless libvips has something against it once it is done.

    It looks for libjpeg's warnings before each strip of rows and so misses those of the last one,
    of which it only remarks when the picture is closed; that of another picture may be closed at
    the same time, so that a remark must come twice.
    """
    told: list[str] = []
    for _ in range(2):
        with _remarks() as remarks:
            pixels = decode()
        told = [line for line in remarks if not _is_harmless(line)]
        if not told:
            return pixels
    raise JpegError(told[-1].removeprefix("VipsJpeg: "))


def _is_harmless(line: str) -> bool:
    return any(kind in line for kind in _HARMLESS)


@contextmanager
def _remarks() -> Iterator[list[str]]:
    """What libvips logs in this thread, line by line."""
    lines: list[str] = []
    thread = threading.get_ident()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread and record.levelno >= logging.WARNING:
                told = record.getMessage().removeprefix("VIPS: ").splitlines()
                lines.extend(line for line in told if line)

    listener = Listener()
    logger = logging.getLogger("pyvips")
    logger.addHandler(listener)
    try:
        yield lines
    finally:
        logger.removeHandler(listener)


def has_all_scans(data: bytes) -> bool:
    """Whether every coefficient of every component is among the scans, down to its last bit."""
    left: dict[int, set[int]] = {}
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        marker = data[at + 1]
        if marker in (0x00, 0xFF, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == _END:
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        if marker in _FRAMES and len(body) >= 6:
            left = {body[6 + 3 * index]: set(range(64)) for index in range((len(body) - 6) // 3)}
        elif marker == _START_OF_SCAN and len(body) >= 6:
            first, last, bits = body[-3], min(body[-2], 63), body[-1]
            for index in range(body[0]):
                if bits & 15 == 0 and 1 + 2 * index < len(body):
                    left.get(body[1 + 2 * index], set()).difference_update(range(first, last + 1))
        at += 2 + length
    return bool(left) and not any(left.values())
