"""The pages of TIFF files: which of them is the picture, and how its samples are stored.

TIFF 6.0; the BigTIFF variant; TIFF/EP and DNG for the tags of cameras. libvips decodes strips and
tiles; where it takes their samples for what they are not, a directory written anew behind the file
tells it otherwise, and nothing of the data is moved.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vernier.io.exif import DAMAGE, Directory, Field, TiffStructure, packed

__all__ = [
    "CIELAB",
    "CMYK",
    "GRAY",
    "ICCLAB",
    "RGB",
    "YCBCR",
    "TiffPage",
    "TiffPages",
    "blocks_of_chroma",
    "describe_samples",
    "planes_as_pages",
    "relabelled",
    "with_described_samples",
]

Data = bytes | bytearray | mmap.mmap

GRAY, RGB, CMYK, YCBCR, CIELAB, ICCLAB = 1, 2, 5, 6, 8, 9
_WHITE_IS_ZERO = 0
_COLOUR_FILTERS, _LINEAR_RAW = 32803, 34892
_REDUCED, _MASK, _OLD_REDUCED = 1, 4, 2
JPEG_IN_TIFF = (6, 7)

_SUBFILE, _OLD_SUBFILE, _WIDTH, _LENGTH, _BITS, _COMPRESSION = 254, 255, 256, 257, 258, 259
_PHOTOMETRIC, _MAKE, _STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES = 262, 271, 273, 277, 278, 279
_PLANAR, _PREDICTOR, _TILE_WIDTH, _TILES, _TILE_BYTES = 284, 317, 322, 324, 325
_SUB_DIRECTORIES, _EXTRA, _FORMAT, _MINIMA, _MAXIMA = 330, 338, 339, 340, 341
_COEFFICIENTS, _SUBSAMPLING, _REFERENCE = 529, 530, 532
_FILTER_SIZE, _FILTER_PATTERN, _NO_DATA, _DNG = 33421, 33422, 42113, 50706
_KNOWN = frozenset(
    {
        *(_SUBFILE, _OLD_SUBFILE, _WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _MAKE),
        *(_SAMPLES, _ROWS, _PLANAR, _PREDICTOR, _TILE_WIDTH, _SUB_DIRECTORIES, _EXTRA, _FORMAT),
        *(_COEFFICIENTS, _SUBSAMPLING, _REFERENCE, _FILTER_SIZE, _NO_DATA, _DNG),
    }
)
# Of the makers' own compressions, each of which holds what a sensor saw and nothing else.
_RAW_COMPRESSIONS = frozenset({32767, 32769, 32770, 34713, 65000, 65535})
# Canon's and Phase One's marks behind the header of an ordinary TIFF.
_RAW_MARKS = ((8, b"CR\x02"), (8, b"IIII"), (8, b"MMMM"))

_NUMBERS = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d"}
_NUMBERS |= {13: "I", 16: "Q", 17: "q", 18: "Q"}
_RATIONALS = {5: "I", 10: "i"}
_ASCII, _SHORT, _LONG = 2, 3, 4
# More values than any of these tags has; tables of strips are not among them.
_MOST_VALUES = 4096
_MOST_PAGES = 2**16


@dataclass(frozen=True)
class TiffPage:
    """What one directory says of a picture.

    Attributes:
        index: its place in the chain of directories.
        start: offset of the directory.
        tags: the numbers of the tags that matter here; fractions are divided.
    """

    index: int
    start: int
    tags: Mapping[int, tuple[float, ...]] = field(repr=False)

    def number(self, tag: int, default: int) -> int:
        values = self.tags.get(tag)
        return int(values[0]) if values and math.isfinite(values[0]) else default

    @property
    def width(self) -> int:
        return self.number(_WIDTH, 0)

    @property
    def height(self) -> int:
        return self.number(_LENGTH, 0)

    @property
    def samples(self) -> int:
        """Values of a pixel, alpha and independent bands counted."""
        return self.number(_SAMPLES, 1)

    @property
    def bits(self) -> int:
        """Of the first sample."""
        return self.number(_BITS, 1)

    @property
    def sample_format(self) -> int:
        """1 unsigned, 2 signed, 3 floating point."""
        return self.number(_FORMAT, 1)

    @property
    def compression(self) -> int:
        return self.number(_COMPRESSION, 1)

    @property
    def photometric(self) -> int:
        """What the samples mean; -1 where the page does not say."""
        return self.number(_PHOTOMETRIC, -1)

    @property
    def is_planar(self) -> bool:
        return self.number(_PLANAR, 1) == 2 and self.samples > 1

    @property
    def is_reduced(self) -> bool:
        """Whether it is a smaller copy of another page, or a mask for one."""
        kind = self.number(_SUBFILE, 0)
        return bool(kind & (_REDUCED | _MASK)) or self.number(_OLD_SUBFILE, 1) == _OLD_REDUCED

    @property
    def colours(self) -> int:
        """Samples that are colour; the rest are alpha or something of their own."""
        least = {CMYK: 4, RGB: 3, YCBCR: 3, CIELAB: 3, ICCLAB: 3}.get(self.photometric, 1)
        if least == 1:
            # Bands that are given no colours: three of them are shown as such.
            least = 3 if self.samples >= 3 else 1
        return least

    @property
    def alpha(self) -> int:
        """Of the last sample beyond the colours: 1 premultiplied, 2 straight alpha, else 0."""
        if self.samples <= self.colours:
            return 0
        extra = self.tags.get(_EXTRA, ())
        return int(extra[-1]) if extra and extra[-1] in (1, 2) else 0

    @property
    def subsampling(self) -> tuple[int, int]:
        """Pixels per chroma sample, across and down (YCbCr alone)."""
        stated = self.tags.get(_SUBSAMPLING, ())
        return (int(stated[0]), int(stated[1])) if len(stated) == 2 else (2, 2)

    @property
    def is_tiled(self) -> bool:
        return _TILE_WIDTH in self.tags

    @property
    def predictor(self) -> int:
        return self.number(_PREDICTOR, 1)

    @property
    def luma_coefficients(self) -> tuple[float, float, float]:
        stated = self.tags.get(_COEFFICIENTS, ())
        return (stated[0], stated[1], stated[2]) if len(stated) == 3 else (0.299, 0.587, 0.114)

    @property
    def reference(self) -> tuple[float, ...]:
        """Black and white of Y, Cb and Cr as codes."""
        peak = 2**self.bits - 1
        middle = 2 ** (self.bits - 1)
        usual = (0.0, peak, middle, peak, middle, peak)
        stated = self.tags.get(_REFERENCE, usual)
        return tuple(map(float, stated)) if len(stated) == 6 else usual

    @property
    def no_data(self) -> float | None:
        """The value that GDAL's tag gives to pixels without any."""
        text = bytes(int(code) for code in self.tags.get(_NO_DATA, ()) if 0 <= code < 256)
        with suppress(ValueError):
            return float(text.rstrip(b"\0 ").decode("ascii", "replace"))
        return None


@dataclass(frozen=True)
class TiffPages:
    """A TIFF file's chain of pages.

    Attributes:
        pages: all, in order.
        is_raw: whether they are what a camera's sensor saw, with previews at most.
    """

    pages: tuple[TiffPage, ...]
    is_raw: bool

    @classmethod
    def parse(cls, data: Data) -> TiffPages | None:
        """The pages of a file; None where it is no TIFF that can be understood."""
        try:
            tiff = TiffStructure.parse(data)
            starts = _chain(tiff)
            pages = tuple(_page(tiff, index, start) for index, start in enumerate(starts))
        except DAMAGE:
            return None
        inner = [page for outer in pages[:16] for page in _inner(tiff, outer)]
        marked = any(bytes(data[at : at + len(mark)]) == mark for at, mark in _RAW_MARKS)
        return cls(pages, marked or any(map(_is_raw, [*pages, *inner])))

    @property
    def pictures(self) -> tuple[TiffPage, ...]:
        """The pages that are no smaller copies and no masks; all, if there are only such."""
        return tuple(page for page in self.pages if not page.is_reduced) or self.pages


def _chain(tiff: TiffStructure) -> list[int]:
    pointer = "Q" if tiff.big else "I"
    starts: list[int] = []
    seen = set()
    start = tiff.start
    while start and start not in seen and len(starts) < _MOST_PAGES:
        seen.add(start)
        try:
            _, end = tiff.entries(start)
            (following,) = struct.unpack_from(tiff.order + pointer, tiff.data, end)
        except DAMAGE:
            if not starts:
                raise
            break
        starts.append(start)
        start = following
    return starts


def _page(tiff: TiffStructure, index: int, start: int) -> TiffPage:
    tags = {}
    for tag, at in tiff.entries(start)[0].items():
        if tag in _KNOWN:
            with suppress(*DAMAGE):
                tags[tag] = _numbers(tiff, at)
    return TiffPage(index, start, tags)


def _numbers(tiff: TiffStructure, at: int) -> tuple[float, ...]:
    kind, count, value = _value(tiff, at)
    if kind in _RATIONALS:
        parts = struct.unpack(f"{tiff.order}{2 * count}{_RATIONALS[kind]}", value)
        return tuple(a / b if b else 0.0 for a, b in zip(parts[::2], parts[1::2]))
    return struct.unpack(f"{tiff.order}{count}{_NUMBERS[kind]}", value)


def _value(tiff: TiffStructure, at: int, most: int = _MOST_VALUES) -> Field:
    """Type, count and value of the entry at ``at``, wherever the value is."""
    form, room = ("HQQ", 8) if tiff.big else ("HII", 4)
    kind, count, offset = struct.unpack_from(tiff.order + form, tiff.data, at + 2)
    number = _RATIONALS.get(kind) or _NUMBERS[kind]
    size = count * struct.calcsize("=" + number) * (2 if kind in _RATIONALS else 1)
    if count > most:
        raise ValueError("more values than such a tag has")
    if size <= room:
        offset = at + 2 + struct.calcsize(tiff.order + form) - room
    value = bytes(tiff.data[offset : offset + size])
    if len(value) != size:
        raise ValueError("a value lies outside of the file")
    return kind, count, value


def _inner(tiff: TiffStructure, page: TiffPage) -> list[TiffPage]:
    found = []
    for start in page.tags.get(_SUB_DIRECTORIES, ())[:16]:
        with suppress(*DAMAGE):
            found.append(_page(tiff, -1, int(start)))
    return found


def _is_raw(page: TiffPage) -> bool:
    return (
        page.photometric in (_COLOUR_FILTERS, _LINEAR_RAW)
        or _DNG in page.tags
        or _FILTER_SIZE in page.tags
        or page.compression in _RAW_COMPRESSIONS
    )


def relabelled(data: bytes, page: TiffPage, changes: Mapping[int, Sequence[int] | None]) -> bytes:
    """The file with one page, some of whose tags say something else.

    Args:
        data: the whole file.
        changes: numbers by tag; None takes a tag away.
    """
    tiff = TiffStructure.parse(data)
    directory = _stored(tiff, page.start)
    _change(directory, tiff, changes)
    return _with_pages(tiff, data, [directory])


def planes_as_pages(data: bytes, page: TiffPage) -> bytes:
    """The file with a gray page for each sample of a page whose samples lie in planes.

    Raises:
        ValueError: the planes cannot be told apart.
    """
    tiff = TiffStructure.parse(data)
    places = tiff.entries(page.start)[0]
    kept = page.photometric if page.photometric == _WHITE_IS_ZERO else GRAY
    tables = [tag for tag in (_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES) if tag in places]
    planes = []
    for number in range(page.samples):
        directory = _stored(tiff, page.start)
        for tag in (_BITS, _FORMAT):
            if tag in page.tags:
                values = page.tags[tag]
                _change(directory, tiff, {tag: [int(values[min(number, len(values) - 1)])]})
        single = {_SAMPLES: [1], _PLANAR: [1], _PHOTOMETRIC: [kept]}
        _change(directory, tiff, {**single, **dict.fromkeys((_EXTRA, *_OF_COLOUR))})
        for tag in tables:
            kind, count, value = _value(tiff, places[tag], most=len(data))
            if count % page.samples:
                raise ValueError("its planes have not as many parts each")
            size = len(value) // page.samples
            part = value[number * size : (number + 1) * size]
            directory[tag] = kind, count // page.samples, part
        planes.append(directory)
    return _with_pages(tiff, data, planes)


# Tags that go with several samples, or with colours that the planes do not have by themselves.
_OF_COLOUR = (_MINIMA, _MAXIMA, _COEFFICIENTS, _SUBSAMPLING, 531, _REFERENCE, 34675)


def blocks_of_chroma(data: bytes, page: TiffPage) -> bytes:
    """The file with a gray page whose rows are rows of blocks of subsampled YCbCr (TIFF 6.0, 21).

    A block holds the Y of ``across * down`` pixels, then one Cb and one Cr; a row of blocks
    stands for ``down`` rows of pixels.
    """
    across, down = page.subsampling
    row = -(-page.width // across) * (across * down + 2)
    rows = -(-page.height // down)
    of_strip = min(page.number(_ROWS, page.height), page.height)
    changes: dict[int, Sequence[int] | None] = {
        **{_WIDTH: [row], _LENGTH: [rows], _ROWS: [-(-of_strip // down)]},
        **{_SAMPLES: [1], _BITS: [8], _PHOTOMETRIC: [GRAY]},
        **dict.fromkeys((_EXTRA, *_OF_COLOUR)),
    }
    return relabelled(data, page, changes)


def _stored(tiff: TiffStructure, start: int) -> Directory:
    """A directory as it stands: short values, and offsets of long ones."""
    form = "HQ8s" if tiff.big else "HI4s"
    return {
        tag: struct.unpack_from(tiff.order + form, tiff.data, at + 2)
        for tag, at in tiff.entries(start)[0].items()
    }


def _change(
    directory: Directory, tiff: TiffStructure, changes: Mapping[int, Sequence[int] | None]
) -> None:
    for tag, values in changes.items():
        if values is None:
            directory.pop(tag, None)
            continue
        kind, code = (_SHORT, "H") if max(values) < 2**16 else (_LONG, "I")
        packed_values = struct.pack(f"{tiff.order}{len(values)}{code}", *values)
        directory[tag] = kind, len(values), packed_values


def _with_pages(tiff: TiffStructure, data: bytes, directories: Sequence[Directory]) -> bytes:
    """The file with another chain of directories, which stand behind all that is there."""
    pointer, at = ("Q", 8) if tiff.big else ("I", 4)
    size = struct.calcsize(tiff.order + pointer)
    parts: list[Any] = [data[:at], b"", data[at + size :], bytes(len(data) % 2)]
    start = len(data) + len(data) % 2
    parts[1] = struct.pack(tiff.order + pointer, start)
    for index, directory in enumerate(directories):
        block = bytearray(packed(directory, tiff.order, big=tiff.big, start=start))
        block += bytes(len(block) % 2)
        start += len(block)
        if index + 1 < len(directories):
            entries = struct.calcsize(tiff.order + ("Q" if tiff.big else "H"))
            entries += len(directory) * (20 if tiff.big else 12)
            struct.pack_into(tiff.order + pointer, block, entries, start)
        parts.append(block)
    return b"".join(parts)


def describe_samples(path: Path, *, has_extra_band: bool, no_data: float | None) -> None:
    """Say of a file's picture what libvips does not.

    Args:
        has_extra_band: whether its last band is no alpha.
        no_data: the value of pixels of which nothing is known, for GDAL's tag.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            pieces = _described(data, has_extra_band, no_data)
        for at, piece in pieces:
            file.seek(at)
            file.write(piece)


def with_described_samples(data: bytes, *, has_extra_band: bool, no_data: float | None) -> bytes:
    """A file in memory, with what `describe_samples` says."""
    whole = bytearray(data)
    for at, piece in _described(data, has_extra_band, no_data):
        whole[at : at + len(piece)] = piece
    return bytes(whole)


def _described(data: Data, has_extra_band: bool, no_data: float | None) -> list[tuple[int, bytes]]:
    """What changes, and where: the pointer to a directory, and the directory behind the end."""
    tiff = TiffStructure.parse(data)
    directory = _stored(tiff, tiff.start)
    if has_extra_band:
        _change(directory, tiff, {_EXTRA: [0]})
    if no_data is not None:
        text = f"{no_data:.9g}".encode() + b"\0"
        directory[_NO_DATA] = _ASCII, len(text), text
    pointer, at = ("Q", 8) if tiff.big else ("I", 4)
    start = len(data) + len(data) % 2
    block = bytes(len(data) % 2) + packed(directory, tiff.order, big=tiff.big, start=start)
    return [(at, struct.pack(tiff.order + pointer, start)), (len(data), block)]
