"""Formats that libvips does not read here: Netpbm by our own means, others by packages of theirs.

Netpbm's own pages for PBM, PGM, PPM, PAM and PFM; ISO/IEC 15444-1, annex A, for JPEG 2000's header;
ISO/IEC 18181-1, section D.2, for JPEG XL's.
"""

from __future__ import annotations

import ctypes
import io
import os
import re
import struct
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vernier.errors import VernierError
from vernier.extras import optional_module

__all__ = ["OtherError", "OtherImage", "encode_other", "is_targa", "open_other"]

_TOKEN = re.compile(rb"\s*(?:#[^\n\r]*[\n\r]\s*)*([^\s#]+)")
_PILLOW = {"bmp": "BMP", "tga": "TGA", "psd": "PSD"}
_BANDS = {"1": 1, "L": 1, "I;16": 1, "LA": 2, "RGB": 3, "RGBA": 4, "P": 3}
_J2K_START, _J2K_SIZE = b"\xff\x4f\xff\x51", 4
_EXR_CHANNELS = {("Y",): 1, ("A", "Y"): 2, ("B", "G", "R"): 3, ("A", "B", "G", "R"): 4}
_TARGA_TYPES, _TARGA_DEPTHS = frozenset({1, 2, 3, 9, 10, 11}), frozenset({1, 8, 15, 16, 24, 32})
_TARGA_END = b"TRUEVISION-XFILE.\0"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


_EXR_LOCK = threading.Lock()


class OtherError(ValueError):
    """What is wrong with a file, without its name."""


@dataclass(frozen=True)
class OtherImage:
    """A file of which only the header was read.

    Attributes:
        bands: 1 to 4, as `vernier.io.Picture` has them; None where decoding alone tells.
        decode: reads the pixels (H, W, C), uint8, uint16 or float32.
        blocks: "icc", "exif" and "xmp", where there are any.
        is_linear: whether the values are light, and not coded for a screen.
    """

    width: int
    height: int
    bands: int | None
    decode: Callable[[], NDArray[Any]]
    blocks: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    is_linear: bool = False


def open_other(file: Path | bytes, key: str) -> OtherImage:
    """Read the header of a file.

    Args:
        key: of `vernier.io.picture_formats`: "pnm", "bmp", "tga", "psd", "jp2", "jxl", "exr" or
            "heif".

    Raises:
        OtherError: the file is damaged, or of a kind that is not read.
        MissingPackageError: a package is missing.
    """
    openers = {"pnm": _open_netpbm, "jp2": _open_jpeg_2000, "jxl": _open_jpeg_xl}
    openers |= {"exr": _open_exr, "heif": _open_heif}
    with _told_alike():
        kind = _PILLOW.get(key)
        opened = _open_by_pillow(file, kind) if kind else openers[key](file)
    if opened.width < 1 or opened.height < 1:
        raise OtherError("has no pixels")

    def decode() -> NDArray[Any]:
        with _told_alike():
            pixels = opened.decode()
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.shape[:2] != (opened.height, opened.width):
            raise OtherError("its pixels are not as many as its header says")
        return np.ascontiguousarray(pixels)

    return OtherImage(
        opened.width,
        opened.height,
        opened.bands,
        decode,
        opened.blocks,
        opened.notes,
        opened.is_linear,
    )


@contextmanager
def _told_alike() -> Iterator[None]:
    """Whatever a decoder raises becomes one line."""
    try:
        yield
    except (OtherError, VernierError, MemoryError):
        raise
    except Exception as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise OtherError(told[:200]) from None


def _bytes_of(file: Path | bytes) -> bytes:
    return file if isinstance(file, bytes) else file.read_bytes()


# Netpbm


def _open_netpbm(file: Path | bytes) -> OtherImage:
    data = _bytes_of(file)
    kind = data[:2]
    if kind == b"P7":
        facts, at = _pam_header(data)
        width, height, bands, most = (facts[n] for n in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
        if bands > 4:
            raise OtherError(f"has {bands} channels, and a picture at most 4")
    else:
        numbers, at = _numbers(data, 2 if kind in (b"P1", b"P4") else 3)
        width, height = int(numbers[0]), int(numbers[1])
        bands = 3 if kind in (b"P3", b"P6", b"PF") else 1
        if kind in (b"PF", b"Pf"):
            order = "<" if float(numbers[2]) < 0 else ">"
            return OtherImage(
                width, height, bands, lambda: _float_map(data, at, width, height, bands, order)
            )
        most = int(numbers[2]) if len(numbers) > 2 else 1
    if not 0 < most < 65536:
        raise OtherError(f"names {most} as its largest value")
    shape = height, width, bands
    return OtherImage(width, height, bands, lambda: _netpbm_pixels(data, kind, at, shape, most))


def _numbers(data: bytes, count: int) -> tuple[list[bytes], int]:
    at, found = 2, []
    for _ in range(count):
        token = _TOKEN.match(data, at)
        if token is None:
            raise OtherError("its header ends early")
        found.append(token[1])
        at = token.end()
    return found, at + 1


def _pam_header(data: bytes) -> tuple[dict[bytes, int], int]:
    end = data.find(b"ENDHDR\n")
    if not 0 < end < 4096:
        raise OtherError("its header has no end")
    words = [line.split() for line in data[2:end].splitlines()]
    facts = {word[0]: word[1] for word in words if len(word) > 1 and word[1].isdigit()}
    return {name: int(value) for name, value in facts.items()}, end + len(b"ENDHDR\n")


def _netpbm_pixels(
    data: bytes, kind: bytes, at: int, shape: tuple[int, int, int], most: int
) -> NDArray[Any]:
    height, width, bands = shape
    count = height * width * bands
    if kind == b"P4":
        row = -(-width // 8)
        packed = _exactly(data, at, row * height, "u1").reshape(height, row)
        return (1 - np.unpackbits(packed, axis=1)[:, :width])[..., None] * np.uint8(255)
    if kind == b"P1":
        bits = re.sub(rb"#[^\n]*|\s", b"", data[at - 1 :])[:count]
        values = _exactly(bits, 0, count, "u1").reshape(shape)
        return ((1 - (values - np.uint8(ord("0")))) * np.uint8(255)).astype(np.uint8)
    if kind in (b"P2", b"P3"):
        words = re.sub(rb"#[^\n]*", b"", data[at - 1 :]).split()
        if len(words) < count:
            raise OtherError("its end is missing")
        values = np.array(words[:count], dtype=np.int64).reshape(shape)
    else:
        values = _exactly(data, at, count, "u1" if most < 256 else ">u2").reshape(shape)
    if values.max() > most:
        raise OtherError(f"holds {values.max()}, and names {most} as its largest value")
    dtype = np.uint8 if most < 256 else np.uint16
    peak = np.iinfo(dtype).max
    if most != peak:
        values = np.rint(values * (peak / most))
    return values.astype(dtype)


def _exactly(data: bytes, at: int, count: int, dtype: str) -> NDArray[Any]:
    if at + count * np.dtype(dtype).itemsize > len(data):
        raise OtherError("its end is missing")
    return np.frombuffer(data, dtype, count, at)


def _float_map(
    data: bytes, at: int, width: int, height: int, bands: int, order: str
) -> NDArray[Any]:
    values = _exactly(data, at, width * height * bands, f"{order}f4")
    # The last row comes first.
    return values.reshape(height, width, bands)[::-1].astype(np.float32)


def _netpbm(pixels: NDArray[Any]) -> bytes:
    height, width, bands = pixels.shape
    if pixels.dtype == np.float32:
        head = f"{'PF' if bands == 3 else 'Pf'}\n{width} {height}\n-1.0\n"
        return head.encode() + pixels[::-1].astype("<f4").tobytes()
    most = np.iinfo(pixels.dtype).max
    head = f"{'P6' if bands == 3 else 'P5'}\n{width} {height}\n{most}\n"
    if bands in (2, 4):
        kind = "GRAYSCALE_ALPHA" if bands == 2 else "RGB_ALPHA"
        head = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {bands}\nMAXVAL {most}\n"
        head += f"TUPLTYPE {kind}\nENDHDR\n"
    return head.encode() + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()


# BMP, TGA and Photoshop, by Pillow


def is_targa(file: Path | bytes) -> bool:
    """Whether a file of no known signature is a TGA: by its end, or by its name and its header."""
    if isinstance(file, bytes):
        head, end, named = file[:18], file[-18:], False
    else:
        with file.open("rb") as opened:
            head = opened.read(18)
            opened.seek(-min(18, file.stat().st_size), 2)
            end = opened.read()
        named = file.suffix.lower() == ".tga"
    plausible = (len(head) == 18 and head[1] in (0, 1) and head[2] in _TARGA_TYPES) and head[
        16
    ] in _TARGA_DEPTHS
    return plausible and (named or end == _TARGA_END)


@contextmanager
def _pillow(file: Path | bytes, kind: str) -> Iterator[Any]:
    image = optional_module("PIL.Image")
    with warnings.catch_warnings():
        # How large pictures may be is checked by the caller.
        warnings.simplefilter("ignore")
        source = io.BytesIO(file) if isinstance(file, bytes) else file
        with image.open(source, formats=[kind]) as opened:
            yield opened


def _open_by_pillow(file: Path | bytes, kind: str) -> OtherImage:
    with _pillow(file, kind) as opened:
        mode, (width, height) = opened.mode, opened.size
        see_through = mode == "P" and "transparency" in opened.info
        profile = opened.info.get("icc_profile")
    if mode not in _BANDS:
        raise OtherError(f"has colours of the kind {mode}; save it as RGB")

    def decode() -> NDArray[Any]:
        with _pillow(file, kind) as opened:
            opened.load()
            wanted = {"P": "RGBA" if see_through else "RGB", "1": "L"}.get(mode, mode)
            image = opened if wanted == mode else opened.convert(wanted)
            return np.asarray(image)

    blocks = {"icc": bytes(profile)} if profile else {}
    return OtherImage(width, height, _BANDS[mode] + see_through, decode, blocks)


def _encode_by_pillow(pixels: NDArray[Any], kind: str) -> bytes:
    image = optional_module("PIL.Image")
    file = io.BytesIO()
    picture = image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture.save(file, kind, **({"compression": "tga_rle"} if kind == "TGA" else {}))
    return file.getvalue()


# JPEG 2000 and JPEG XL, by imagecodecs


def _open_jpeg_2000(file: Path | bytes) -> OtherImage:
    data = _bytes_of(file)
    at = data.find(_J2K_START)
    if at < 0 or len(data) < at + 60:
        raise OtherError("its header is missing")
    codecs = optional_module("imagecodecs")
    sizes = struct.unpack_from(">4I", data, at + _J2K_SIZE + 4)
    width, height = sizes[0] - sizes[2], sizes[1] - sizes[3]
    bands = int.from_bytes(data[at + 40 : at + 42], "big")
    parts = data[at + 42 : at + 42 + 3 * bands]
    depth = parts[0] + 1
    if bands > 4 or depth > 16 or parts != bytes([parts[0], 1, 1]) * bands:
        raise OtherError("has channels that make no gray or RGB of up to 16 bits; save it so")
    colour = data.find(b"colr", 0, at)
    if data[colour + 4 : colour + 5] == b"\x01" and colour > 0:
        named = int.from_bytes(data[colour + 7 : colour + 11], "big")
        if named not in (16, 17):
            raise OtherError(f"has colours of the kind {named}; save it as sRGB or gray")
    blocks = {}
    if colour > 0 and data[colour + 4 : colour + 5] == b"\x02":
        size = int.from_bytes(data[colour - 4 : colour], "big")
        blocks["icc"] = data[colour + 7 : colour - 4 + size]
    if data.find(b"pclr", 0, at) > 0:
        raise OtherError("has a palette; save it as RGB")

    def decode() -> NDArray[Any]:
        pixels = np.asarray(codecs.jpeg2k_decode(data))
        if pixels.dtype not in (np.uint8, np.uint16):
            raise OtherError(f"has samples of type {pixels.dtype}")
        peak = np.iinfo(pixels.dtype).max
        if (most := 2**depth - 1) != peak:
            pixels = np.rint(pixels * (peak / most)).astype(pixels.dtype)
        return pixels

    return OtherImage(width, height, bands, decode, blocks)


def _open_jpeg_xl(file: Path | bytes) -> OtherImage:
    data = _bytes_of(file)
    codecs = optional_module("imagecodecs")
    width, height = _jpeg_xl_size(_jpeg_xl_codestream(data))

    def decode() -> NDArray[Any]:
        pixels = np.asarray(codecs.jpegxl_decode(data))
        if pixels.ndim == 4:
            pixels = pixels[0]
        return pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels

    note = "what the JPEG XL file tells beside its pixels (profile, EXIF, XMP) is not read"
    return OtherImage(width, height, None, decode, notes=(note,))


def _jpeg_xl_codestream(data: bytes) -> bytes:
    """The beginning of the codestream, which may lie in a box of a container."""
    at = 0
    while not data.startswith(b"\xff\x0a", at) and at + 8 <= len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name in (b"jxlc", b"jxlp"):
            begin = at + (16 if size == 1 else 8) + (4 if name == b"jxlp" else 0)
            return data[begin : begin + 32]
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:
            break
        at += size
    return data[at : at + 32]


def _jpeg_xl_size(stream: bytes) -> tuple[int, int]:
    if not stream.startswith(b"\xff\x0a"):
        raise OtherError("its header is missing")
    bits, at = int.from_bytes(stream[2:], "little"), 0

    def take(count: int) -> int:
        nonlocal at
        value = bits >> at & ((1 << count) - 1)
        at += count
        return value

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    if ratio := take(3):
        across, down = _RATIOS[ratio - 1]
        return height * across // down, height
    return side(), height


def _encode_jpeg_xl(pixels: NDArray[Any], quality: int) -> bytes:
    codecs = optional_module("imagecodecs")
    squeezed = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    if quality == 100:
        return bytes(codecs.jpegxl_encode(squeezed, lossless=True))
    # libjxl's own scale: distances that eyes see, for qualities as of JPEG.
    distance = 0.1 + (100 - quality) * 0.09 if quality >= 30 else 25 - quality * 0.6
    return bytes(codecs.jpegxl_encode(squeezed, distance=min(distance, 15.0)))


# OpenEXR


@contextmanager
def _on_disk(file: Path | bytes) -> Iterator[str]:
    """A path for libraries that read no bytes."""
    if isinstance(file, Path):
        yield str(file)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture.exr")
        path.write_bytes(file)
        yield str(path)


def _flush() -> None:
    """Send what waits in the buffers of Python and C."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).fflush(None)


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What OpenEXR says on the terminal, for it gives pixels of damaged files all the same.

    What others write meanwhile goes to the terminal a little later.
    """
    found: list[str] = []
    with _EXR_LOCK, tempfile.TemporaryFile() as file:
        _flush()
        kept = [(number, os.dup(number)) for number in (1, 2)]
        for number, _ in kept:
            os.dup2(file.fileno(), number)
        said = io.StringIO()
        try:
            with redirect_stdout(said):
                yield found
        finally:
            _flush()
            for number, copy in kept:
                os.dup2(copy, number)
                os.close(copy)
            file.seek(0)
            lines = file.read() + said.getvalue().encode(errors="replace")
            for line in lines.splitlines(keepends=True):
                told = line.decode(errors="replace").strip()
                if "EXR_ERR" in told or "xception raised reading" in told:
                    found.append(told)
                else:
                    os.write(2, line)


def _open_exr(file: Path | bytes) -> OtherImage:
    library = optional_module("OpenEXR")
    with _on_disk(file) as path, library.File(path, header_only=True) as opened:
        header = opened.header()
        (left, top), (right, bottom) = header["dataWindow"]
        names = tuple(sorted(channel.name for channel in header["channels"]))
        frames = len(opened.parts)
    if names not in _EXR_CHANNELS:
        raise OtherError(f"has the channels {', '.join(names)[:100]}, and not R, G, B or Y")

    def decode() -> NDArray[Any]:
        order = [name for name in ("Y", "R", "G", "B", "A") if name in names]
        with (
            _on_disk(file) as path,
            _complaints() as complaints,
            library.File(path, separate_channels=True) as opened,
        ):
            channels = opened.channels()
            pixels = np.stack([np.asarray(channels[n].pixels, np.float32) for n in order], -1)
        if complaints:
            raise OtherError(re.sub(r"^.*\(EXR_ERR_\w+\) ", "", complaints[0]))
        if "A" in names:
            alpha = pixels[..., -1:]
            pixels[..., :-1] /= np.where(alpha > 0, alpha, 1)
        return pixels

    notes = ("of several parts only the first is read",) if frames > 1 else ()
    size = int(right - left) + 1, int(bottom - top) + 1
    return OtherImage(*size, _EXR_CHANNELS[names], decode, notes=notes, is_linear=True)


def _encode_exr(pixels: NDArray[Any]) -> bytes:
    library = optional_module("OpenEXR")
    names = {1: "Y", 2: "YA", 3: "RGB", 4: "RGBA"}[pixels.shape[2]]
    if "A" in names:
        pixels = np.concatenate([pixels[..., :-1] * pixels[..., -1:], pixels[..., -1:]], 2)
    channels = {name: np.ascontiguousarray(pixels[..., i]) for i, name in enumerate(names)}
    header = {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture.exr")
        with library.File(header, channels) as made:
            made.write(str(path))
        return path.read_bytes()


# HEIC


def _open_heif(file: Path | bytes) -> OtherImage:
    library = optional_module("pillow_heif")
    source = io.BytesIO(file) if isinstance(file, bytes) else str(file)
    opened = library.open_heif(source, convert_hdr_to_8bit=False)
    bands = {"L": 1, "RGB": 3, "RGBA": 4}.get(opened.mode.split(";")[0])
    blocks = {}
    for name, key in (("icc", "icc_profile"), ("exif", "exif"), ("xmp", "xmp")):
        with suppress(TypeError):
            if value := opened.info.get(key):
                blocks[name] = bytes(value)
    width, height = opened.size

    def decode() -> NDArray[Any]:
        return np.asarray(opened)

    return OtherImage(width, height, bands, decode, blocks)


def encode_other(pixels: NDArray[Any], key: str, *, quality: int) -> bytes:
    """A file of a format, without anything beside the pixels.

    Args:
        pixels: (H, W, C) of a type that the format holds, C as in `vernier.io.Picture`.
        quality: 1 to 100, for JPEG XL (100 is lossless).

    Raises:
        OtherError: the format cannot hold it.
        MissingPackageError: a package is missing.
    """
    with _told_alike():
        match key:
            case "pnm":
                return _netpbm(pixels)
            case "jxl":
                return _encode_jpeg_xl(pixels, quality)
            case "exr":
                return _encode_exr(pixels)
            case "jp2":
                codecs = optional_module("imagecodecs")
                one = pixels[..., 0] if pixels.shape[2] == 1 else pixels
                return bytes(codecs.jpeg2k_encode(one, reversible=True, codecformat="jp2"))
            case _:
                return _encode_by_pillow(pixels, _PILLOW[key])
