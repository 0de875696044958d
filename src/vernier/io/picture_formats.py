"""The formats of pictures: one table, from which suffixes, messages and what is lost follow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vernier.errors import InputError

__all__ = [
    "FORMATS",
    "OTHER_FORMATS",
    "PICTURE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "PictureFormat",
    "check_sides",
    "format_of_suffix",
    "names_of",
]

_EIGHT, _SIXTEEN, _FLOAT = np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32)


@dataclass(frozen=True)
class PictureFormat:
    """What a format is called and what its files can hold.

    Attributes:
        key: as in `vernier.io.Picture.source_format`.
        name: for people.
        suffixes: of its files, lower case, the usual one first.
        dtypes: of the pixels that it is written with, the deepest last; none where it is only read.
        alpha: whether it holds transparency.
        extra_band: whether it holds a band that is neither colour nor transparency.
        metadata: whether profile, EXIF and the like are written.
        longest_side: in pixels; None = more than memory holds.
    """

    key: str
    name: str
    suffixes: tuple[str, ...]
    dtypes: tuple[np.dtype[Any], ...] = ()
    alpha: bool = True
    extra_band: bool = False
    metadata: bool = True
    longest_side: int | None = None

    @property
    def is_written(self) -> bool:
        return bool(self.dtypes)


FORMATS = (
    PictureFormat("png", "PNG", (".png",), (_EIGHT, _SIXTEEN)),
    PictureFormat(
        "jpeg",
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        (_EIGHT,),
        alpha=False,
        longest_side=65500,
    ),
    PictureFormat("webp", "WebP", (".webp",), (_EIGHT,), longest_side=16383),
    PictureFormat("tiff", "TIFF", (".tif", ".tiff"), (_EIGHT, _SIXTEEN, _FLOAT), extra_band=True),
    PictureFormat("gif", "GIF", (".gif",)),
    PictureFormat("heif", "AVIF", (".avif",), (_EIGHT, _SIXTEEN), longest_side=16384),
    PictureFormat("heif", "HEIC", (".heic", ".heif")),
    PictureFormat("jxl", "JPEG XL", (".jxl",), (_EIGHT, _SIXTEEN, _FLOAT), metadata=False),
    PictureFormat("jp2", "JPEG 2000", (".jp2", ".j2k"), (_EIGHT, _SIXTEEN), metadata=False),
    PictureFormat("exr", "OpenEXR", (".exr",), (_FLOAT,), metadata=False),
    PictureFormat("bmp", "BMP", (".bmp",), (_EIGHT,), alpha=False, metadata=False),
    PictureFormat("tga", "TGA", (".tga",), (_EIGHT,), metadata=False, longest_side=65535),
    PictureFormat("psd", "PSD", (".psd",)),
    PictureFormat(
        "pnm", "PPM", (".ppm", ".pgm", ".pnm"), (_EIGHT, _SIXTEEN), alpha=False, metadata=False
    ),
    PictureFormat("pnm", "PAM", (".pam",), (_EIGHT, _SIXTEEN), metadata=False),
    PictureFormat("pnm", "PFM", (".pfm",), (_FLOAT,), alpha=False, metadata=False),
    PictureFormat("pnm", "PBM", (".pbm",)),
)

OTHER_FORMATS = frozenset({"jxl", "jp2", "exr", "bmp", "tga", "psd", "pnm"})
"""Those that libvips does not decode."""

PICTURE_SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes)
"""Of files that are read: what a folder is searched for."""

WRITABLE_SUFFIXES = frozenset(
    suffix for each in FORMATS for suffix in each.suffixes if each.is_written
)


def format_of_suffix(suffix: str) -> PictureFormat | None:
    """The format whose files end so, capitals or not."""
    return next((each for each in FORMATS if suffix.lower() in each.suffixes), None)


def check_sides(width: int, height: int, suffix: str) -> None:
    """Refuse a size that a format cannot hold, before anything is computed.

    Args:
        suffix: names the format, as in ".jpg"; others than those of `FORMATS` are passed over.

    Raises:
        InputError: a side is too long.
    """
    chosen = format_of_suffix(suffix)
    if chosen and chosen.longest_side and max(width, height) > chosen.longest_side:
        raise InputError(
            f"{width}x{height} pixels are too many for {chosen.name}, whose sides have "
            f"{chosen.longest_side} at most: choose png or tif, or a smaller size"
        )


def names_of(formats: Iterable[PictureFormat] = FORMATS) -> str:
    """For people, as in: PNG, JPEG or TIFF."""
    *most, last = (each.name for each in formats)
    return f"{', '.join(most)} or {last}" if most else last
