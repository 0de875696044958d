"""The samples of TIFF files as pixels: planes, YCbCr, CIELab, CMYK, alpha and bands of their own.

TIFF 6.0, sections 16 (CMYK), 18 (alpha), 21 (YCbCr), 22 and 23 (CIELab). libvips decodes; what it
cannot decompress, tifffile does where it is installed.
"""

from __future__ import annotations

import io
import logging
import mmap
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from vernier.devices import ForkGuard
from vernier.errors import InputError, MissingPackageError
from vernier.extras import optional_module
from vernier.io.tiff_pages import (
    CIELAB,
    CMYK,
    ICCLAB,
    JPEG_IN_TIFF,
    RGB,
    YCBCR,
    TiffPage,
    TiffPages,
    blocks_of_chroma,
    planes_as_pages,
    relabelled,
)

__all__ = ["LIBVIPS", "RAW_REASON", "TiffError", "TiffImage", "open_tiff", "srgb_profile"]

# Its threads are made when it decodes or encodes first.
LIBVIPS = ForkGuard("libvips")
RAW_REASON = (
    "is a camera raw file, which holds what the sensor saw and no picture; develop it first with a "
    "raw converter (darktable, RawTherapee, the camera maker's), and export TIFF or PNG"
)

_SUB_DIRECTORIES, _EXTRA = 330, 338
_PALETTE = 3
# Zstandard, LZMA, LERC, JPEG 2000 of three makers, JPEG XL of three.
_FOR_TIFFFILE = frozenset({50000, 34926, 34925, 34887, 34712, 33003, 33004, 33005})
_FOR_TIFFFILE |= {50002, 52546, 52536}
# Bits of cameras' numbers, packed without gaps: they become numbers of 16 bits.
_PACKED = frozenset({10, 12, 14})
_TYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}
_BAND_FORMATS = {np.dtype(np.uint8): "uchar", np.dtype(np.uint16): "ushort"}
_BAND_FORMATS |= {np.dtype(np.float32): "float"}
# What no picture's type holds, but 32-bit floats do.
_KEPT_AS_FLOAT = {
    "char": "8-bit signed integers",
    "short": "16-bit signed integers",
    "int": "32-bit integers",
    "uint": "32-bit integers",
}
_EXACT = 2**24
_ROWS_AT_ONCE = 256

Load = Callable[..., pyvips.Image]
"""Opens a file, or the bytes of one, lazily; takes ``page``."""


class TiffError(InputError):
    """What is wrong with a TIFF file, without its name."""


@dataclass(frozen=True)
class TiffImage:
    """A TIFF file's picture, of which only the header was read.

    Attributes:
        image: libvips' view of it, for the metadata.
        bands: 1 to 4, as `vernier.io.Picture` has them.
        decode: reads the pixels (H, W, C), uint8, uint16 or float32; raises TiffError or what
            libvips raises.
        profile: the profile that the pixels are in.
        has_extra_band: whether the last of 2 or 4 channels is no alpha.
        no_data: the value of pixels without data, where the file has one.
        start: offset of the directory that tells of the picture; None for the file's first.
    """

    image: pyvips.Image
    width: int
    height: int
    bands: int
    decode: Callable[[], NDArray[Any]]
    frames: int = 1
    profile: bytes | None = None
    has_extra_band: bool = False
    no_data: float | None = None
    notes: tuple[str, ...] = ()
    start: int | None = None


@contextmanager
def _damage_told() -> Iterator[None]:
    """What damaged tags lead to becomes one line."""
    try:
        yield
    except (TiffError, UnicodeDecodeError):
        raise
    except (ValueError, KeyError, IndexError, ArithmeticError, struct.error) as error:
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise TiffError(f"is damaged, or of a kind that cannot be read ({told})") from None


def open_tiff(file: Path | bytes, load: Load) -> TiffImage:
    """The first page of a TIFF file that is no smaller copy of another one.

    Raises:
        TiffError: a camera raw file, or samples that cannot be told apart.
        pyvips.Error: what libvips refuses.
    """
    pages = _pages_of(file)
    if pages is None or not pages.pages:
        return _plain(load(file))
    with _damage_told():
        return _open_page(file, load, pages)


def _open_page(file: Path | bytes, load: Load, pages: TiffPages) -> TiffImage:
    if pages.is_raw:
        raise TiffError(RAW_REASON)
    page = pages.pictures[0]
    notes = []
    if page.is_reduced and _SUB_DIRECTORIES in page.tags:
        raise TiffError(
            "begins with a small preview, and its picture is in a directory beneath, which is not "
            "read; save it as an ordinary TIFF"
        )
    if page.is_reduced:
        notes.append("is marked as a small preview, and its file holds no larger one")
    if page.samples > 5:
        raise _too_many(page)
    _check(page)
    header, samples = _opened(file, page, load)
    bands = header.bands if page.photometric == _PALETTE else page.samples
    colours = 3 if page.photometric in (_PALETTE, CMYK) else page.colours
    if page.photometric == CMYK:
        bands -= 1
    if bands - colours > 1 or bands < 1:
        raise _too_many(page)
    profile = _blob(header, "icc-profile-data")
    if page.photometric in (CMYK, CIELAB, ICCLAB):
        profile = srgb_profile()
    kind = header.format if page.bits < 64 else "double"
    if kind in _KEPT_AS_FLOAT:
        notes.append(f"its {_KEPT_AS_FLOAT[kind]} are kept as 32-bit floats")
    elif kind == "double":
        notes.append("its 64-bit numbers are kept as 32-bit floats")
    elif kind not in _TYPES:
        raise TiffError(f"has samples of type {kind}; convert them to integers or floats")

    def decode() -> NDArray[Any]:
        with _damage_told():
            pixels = _converted(samples(), page, profile=_blob(header, "icc-profile-data"))
            if pixels.shape != (page.height, page.width, bands):
                raise TiffError("holds other pixels than its tags say; get a fresh copy")
            return _as_picture_type(pixels)

    return TiffImage(
        header,
        page.width,
        page.height,
        bands,
        decode,
        frames=len(pages.pictures),
        profile=profile,
        has_extra_band=bands > colours and page.alpha == 0,
        start=page.start,
        no_data=page.no_data,
        notes=tuple(notes),
    )


def _too_many(page: TiffPage) -> TiffError:
    return TiffError(
        f"has {page.samples} channels; a picture has gray or RGB, and at most one more: take out "
        "what you need"
    )


def _plain(image: pyvips.Image) -> TiffImage:
    """What libvips reads though its directories cannot be followed."""

    def decode() -> NDArray[Any]:
        return _as_picture_type(_array(image))

    frames = image.get_n_pages()
    if image.bands > 4 or image.format not in _TYPES:
        raise TiffError(f"has {image.bands} channels of type {image.format}")
    return TiffImage(image, image.width, image.height, image.bands, decode, frames)


def _pages_of(file: Path | bytes) -> TiffPages | None:
    if isinstance(file, bytes):
        return TiffPages.parse(file)
    try:
        with (
            file.open("rb") as opened,
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return TiffPages.parse(data)
    except OSError:
        return None


def _check(page: TiffPage) -> None:
    extra = page.tags.get(_EXTRA, ())
    transparent = [index for index, value in enumerate(extra) if value in (1, 2)]
    if transparent and (transparent != [len(extra) - 1] or page.samples <= page.colours):
        raise TiffError(
            "holds transparency among other bands; save gray or RGB, with transparency last"
        )
    subsampled = page.subsampling != (1, 1)
    if page.photometric == YCBCR and page.compression not in JPEG_IN_TIFF and subsampled:
        across, down = page.subsampling
        odd = page.is_planar or page.is_tiled or page.predictor != 1
        if odd or page.samples != 3 or page.bits != 8 or not {across, down} <= {1, 2, 4}:
            raise TiffError("stores YCbCr in a way that Vernier cannot read; save it as RGB")
    if page.is_planar and page.photometric == YCBCR and page.compression in JPEG_IN_TIFF:
        raise TiffError("stores JPEG planes of YCbCr, which Vernier cannot read; save it as RGB")
    if page.is_planar and page.photometric == _PALETTE:
        raise TiffError("stores a palette in planes, which Vernier cannot read; save it as RGB")


def _opened(
    file: Path | bytes, page: TiffPage, load: Load
) -> tuple[pyvips.Image, Callable[[], NDArray[Any]]]:
    """libvips' view of the header, and what reads the samples (H, W, samples) as stored."""

    def whole() -> bytes:
        return file if isinstance(file, bytes) else file.read_bytes()

    if page.compression in _FOR_TIFFFILE or page.bits == 64:
        plain = {258: [8] * page.samples, 339: [1] * page.samples, 317: [1], 259: [1]}
        data = relabelled(whole(), page, {**plain, 262: [1], 338: None})
        return load(data), lambda: _by_tifffile(file, page)
    if page.bits in _PACKED:
        data = relabelled(whole(), page, {258: [16] * page.samples, 259: [1], 317: [1]})
        return load(data), lambda: _by_tifffile(file, page)
    if page.is_planar:
        try:
            data = planes_as_pages(whole(), page)
        except (KeyError, ValueError) as error:
            raise TiffError(f"stores its bands in planes that cannot be read ({error})") from None
        planes = [load(data, page=number) for number in range(page.samples)]
        first = planes[0]
        return first, lambda: np.concatenate([_array(plane) for plane in planes], 2)
    raw_colours = page.photometric in (CIELAB, ICCLAB) or (
        page.photometric == YCBCR and page.compression not in JPEG_IN_TIFF
    )
    if not raw_colours:
        image = load(file, page=page.index) if page.index else load(file)
        return image, lambda: _array(image)
    if page.photometric == YCBCR and page.subsampling != (1, 1):
        image = load(blocks_of_chroma(whole(), page))
        return image, lambda: _unpacked(_array(image), page)
    # As RGB libvips leaves the numbers alone; alpha, if any, it must not divide by.
    straight = {338: [2 if page.alpha else 0] * (page.samples - 3)} if page.samples > 3 else {}
    unsigned = {339: [1] * page.samples} if page.sample_format == 2 else {}
    image = load(relabelled(whole(), page, {262: [RGB], **straight, **unsigned}))
    return image, lambda: _array(image)


def _by_tifffile(file: Path | bytes, page: TiffPage) -> NDArray[Any]:
    try:
        tifffile = optional_module("tifffile")
    except MissingPackageError as error:
        raise TiffError(str(error)) from None
    # What it remarks of odd tags goes to Python's log, and not past it to the terminal.
    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    source = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        with tifffile.TiffFile(source) as opened:
            stored = opened.pages[page.index]
            values = np.asarray(stored.asarray())
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TiffError(f"cannot be decoded ({reason}); save it with LZW or deflate") from None
    if page.is_planar:
        values = np.moveaxis(values, 0, -1)
    values = values.reshape(page.height, page.width, page.samples)
    if page.bits in _PACKED:
        top = 2**page.bits - 1
        values = np.rint(values * (65535 / top)).astype(np.uint16)
    if page.photometric == 0 and values.dtype.kind == "u":
        values = np.asarray(np.iinfo(values.dtype).max - values)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _array(image: pyvips.Image) -> NDArray[Any]:
    LIBVIPS.enter()
    pixels: NDArray[Any] = image.numpy().reshape(image.height, image.width, image.bands)
    return pixels


def _as_picture_type(pixels: NDArray[Any]) -> NDArray[Any]:
    """uint8, uint16 or float32, with the values unchanged.

    Raises:
        TiffError: integers that floats cannot hold.
    """
    if pixels.dtype.type in _TYPES.values():
        return pixels
    if pixels.dtype.kind in "iu":
        highest, lowest = int(pixels.max()), int(pixels.min())
        if max(highest, -lowest) > _EXACT:
            raise TiffError(
                f"holds integers up to {max(highest, -lowest)}, more than 32-bit floats tell "
                "apart; scale them to 16 bits first"
            )
    elif pixels.dtype.kind != "f":
        raise TiffError(f"has samples of type {pixels.dtype}; convert them to integers or floats")
    with np.errstate(over="ignore"):
        return pixels.astype(np.float32)


def _converted(samples: NDArray[Any], page: TiffPage, profile: bytes | None) -> NDArray[Any]:
    """Samples as gray or RGB, with straight alpha or the band of its own behind."""
    kind = page.photometric
    colours, rest = samples[..., : page.colours], samples[..., page.colours :]
    if kind in (CIELAB, ICCLAB):
        made = _srgb_of_lab(colours, page)
    elif kind == CMYK:
        made = _srgb_of_cmyk(colours, profile)
    elif kind == YCBCR and page.compression not in JPEG_IN_TIFF:
        made = _rgb_of_ycbcr(colours, page)
    else:
        made = colours
    if not rest.shape[2]:
        return made
    divided = page.is_planar or page.compression in _FOR_TIFFFILE or page.bits == 64
    if page.alpha == 1 and (divided or kind in (CIELAB, ICCLAB, YCBCR)):
        made = _straight(made, rest)
    if rest.dtype != made.dtype:
        rest = _in_depth_of(rest, made.dtype)
    return np.concatenate([made, rest], 2)


def _in_depth_of(band: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A band beside colours that changed their type: alpha from 0 to its peak, whatever that is."""
    values = band.astype(np.float64)
    if band.dtype.kind in "iu":
        values = values / np.iinfo(band.dtype).max
    peak = np.iinfo(dtype).max if dtype.kind in "iu" else 1
    return np.asarray(np.rint(np.clip(values, 0, 1) * peak), dtype)


def _straight(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    peak = float(np.iinfo(colours.dtype).max) if colours.dtype.kind in "iu" else 1.0
    most = float(np.iinfo(alpha.dtype).max) if alpha.dtype.kind in "iu" else 1.0
    share = alpha.astype(np.float32) / np.float32(most)
    divided = colours / np.where(share > 0, share, 1)
    if colours.dtype.kind in "iu":
        divided = np.rint(np.clip(divided, 0, peak))
    return divided.astype(colours.dtype)


def srgb_profile() -> bytes:
    """The profile of sRGB that libvips brings."""
    profile: bytes = pyvips.Image.profile_load("srgb")
    return profile


def _image_of(values: NDArray[Any], interpretation: str) -> pyvips.Image:
    values = np.ascontiguousarray(values)
    height, width, bands = values.shape
    image = pyvips.Image.new_from_memory(values, width, height, bands, _BAND_FORMATS[values.dtype])
    return image.copy(interpretation=interpretation)


def _srgb_of_cmyk(inks: NDArray[Any], profile: bytes | None) -> NDArray[Any]:
    """Through the file's own profile, else a generic one."""
    if inks.dtype not in (np.uint8, np.uint16):
        raise TiffError(f"has CMYK of type {inks.dtype}; convert it to RGB")
    image = _image_of(inks, "cmyk")
    if profile is not None:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    image = image.icc_import(embedded=True, input_profile="cmyk", intent="relative")
    depth = 8 * inks.itemsize
    return _array(image.icc_export(output_profile="srgb", depth=depth, intent="relative"))


def _srgb_of_lab(codes: NDArray[Any], page: TiffPage) -> NDArray[Any]:
    """CIELab, a and b signed; in ICC's variant they are unsigned, and 128 stands for 0."""
    if codes.dtype == np.float32:
        lab = codes
    else:
        steps = 1 if codes.dtype == np.uint8 else 256
        signed = codes[..., 1:].view(f"i{codes.dtype.itemsize}").astype(np.float32) / steps
        if page.photometric == ICCLAB:
            signed = codes[..., 1:].astype(np.float32) / steps - 128
        lightness = codes[..., :1].astype(np.float32) * (100 / np.iinfo(codes.dtype).max)
        lab = np.concatenate([lightness, signed], 2, dtype=np.float32)
    depth = 8 if codes.dtype == np.uint8 else 16
    image = _image_of(lab, "lab")
    return _array(image.icc_export(output_profile="srgb", depth=depth, intent="relative"))


def _unpacked(rows: NDArray[Any], page: TiffPage) -> NDArray[Any]:
    """Blocks of subsampled YCbCr as pixels (H, W, 3): a chroma sample stands for its block."""
    across, down = page.subsampling
    luma = across * down
    blocks = rows.reshape(rows.shape[0], -1, luma + 2)
    lumas = blocks[..., :luma].reshape(*blocks.shape[:2], down, across).swapaxes(1, 2)
    y = lumas.reshape(blocks.shape[0] * down, -1)
    chroma = blocks[..., luma:].repeat(down, 0).repeat(across, 1)
    return np.dstack([y, chroma])[: page.height, : page.width]


def _rgb_of_ycbcr(codes: NDArray[Any], page: TiffPage) -> NDArray[Any]:
    """By the file's coefficients of luma and its codes for black and white."""
    if codes.dtype not in (np.uint8, np.uint16):
        raise TiffError(f"has YCbCr of type {codes.dtype}; convert it to RGB")
    peak = np.float32(np.iinfo(codes.dtype).max)
    reference = np.asarray(page.reference, np.float32).reshape(3, 2)
    span = reference[:, 1] - reference[:, 0]
    if (span == 0).any():
        raise TiffError("names the same code for black and white; save it as RGB")
    # Luma fills the range, chroma half of it to either side (TIFF 6.0, section 20).
    coding = np.array([peak, peak // 2, peak // 2], np.float32) / span
    red, green, blue = page.luma_coefficients
    if green == 0:
        raise TiffError("names no coefficient for green; save it as RGB")
    rgb = np.empty(codes.shape, codes.dtype)
    for start in range(0, codes.shape[0], _ROWS_AT_ONCE):
        y, cb, cr = np.moveaxis(
            (codes[start : start + _ROWS_AT_ONCE] - reference[:, 0]) * coding, -1, 0
        )
        r = y + cr * np.float32(2 - 2 * red)
        b = y + cb * np.float32(2 - 2 * blue)
        g = (y - np.float32(red) * r - np.float32(blue) * b) / np.float32(green)
        rows = np.stack([r, g, b], -1)
        rgb[start : start + _ROWS_AT_ONCE] = np.rint(np.clip(rows, 0, peak))
    return rgb


def _blob(image: pyvips.Image, name: str) -> bytes | None:
    return image.get(name) if image.get_typeof(name) else None
