"""Picture files in and out: the one place where pixels leave and enter files.

libvips decodes and encodes. What it leaves open is settled here: which formats are accepted, how
files say which way is up, what happens to colour spaces that are not gray or RGB, which metadata
travels with the pixels, and that a failed write leaves nothing behind.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from vernier.errors import InputError
from vernier.io.exif import (
    TiffStructure,
    add_metadata_to_tiff,
    exif_of_tiff,
    take_orientation,
    tiff_with_metadata,
)
from vernier.io.files import replacing, shown
from vernier.io.iptc import RAW_PROFILE, iptc_records, iptc_resource, png_with_iptc

DEFAULT_MAX_PIXELS = 2**28
DEFAULT_COMPRESSION = 2

_WRITERS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".avif": "heif",
}
PICTURE_SUFFIXES = frozenset({*_WRITERS, ".gif", ".heic", ".heif"})

# Contents decide, not the suffix. Loaders for documents, vector graphics and raw matrices are
# left out on purpose: they are no photographs, and more code for a hostile file to reach.
_SIGNATURES = re.compile(
    rb"(?P<png>\x89PNG\r\n\x1a\n)|(?P<jpeg>\xff\xd8\xff)|(?P<gif>GIF8[79]a)"
    rb"|(?P<webp>RIFF....WEBP)|(?P<tiff>II[*+]\0|MM\0[*+])"
    rb"|(?P<heif>....ftyp(?:avi[fs]|hei[cfmsx]|hev[cx]|mif1|msf1))",
    re.DOTALL,
)
_DTYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32, "double": np.float32}
_PEAKS = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)([1-8])")
# pyvips decodes what libvips says as UTF-8, also where it quotes a file that is not.
_VIPS_ERRORS = (pyvips.Error, UnicodeDecodeError)
# Lines that name the path again, or that libvips' other worker threads add, or not, as they start
# before or after the one that failed.
_VIPS_ECHOES = re.compile(r"unable to open|: load error$")
_PHOTOSHOP_HEADER = b"Photoshop 3.0\0"
_INCH = 25.4
_HEAD = 32

Content = bytes | bytearray | memoryview
"""A whole file in memory."""


class PictureError(InputError):
    """A picture file cannot be read or written; the message is one line."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels as a file holds them, upright, and what has to travel with them.

    Attributes:
        pixels: (H, W, C), uint8, uint16 or float32; C = 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and
            alpha. Alpha is straight (not premultiplied). Floats are kept as the file gives them,
            nominally in [0, 1].
        icc_profile: the profile that says what the numbers mean, never applied to them; None
            where the file has none that fits the channels.
        metadata: "exif" (a TIFF structure, its orientation reset to 1), "xmp" (a packet, likewise)
            and "iptc" (Photoshop image resources, "8BIM..."), each only where the file has it.
        density: pixels per millimetre, horizontal and vertical; None where the file is silent.
        source_format: "png", "jpeg", "webp", "tiff", "gif" or "heif" (AVIF too); "" for a picture
            that comes from no file.
        frames: how many frames or pages its file holds, of which this is the first.

    Raises:
        PictureError: pixels of another shape or type.

    Example:
        >>> gray = Picture(np.zeros((20, 30, 1), np.uint16))
        >>> gray.width, gray.height, gray.has_alpha
        (30, 20, False)
    """

    pixels: np.ndarray = field(repr=False)
    icc_profile: bytes | None = field(default=None, repr=False)
    metadata: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    source_format: str = ""
    density: tuple[float, float] | None = None
    frames: int = 1

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or 0 in shape or shape[2] > 4 or dtype not in _PEAKS:
            raise PictureError(
                f"pixels of shape {shape} and type {dtype} make no picture; "
                "give (height, width, 1 to 4 channels) as uint8, uint16 or float32"
            )

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def has_alpha(self) -> bool:
        return self.pixels.shape[2] in (2, 4)

    @property
    def colour_channels(self) -> int:
        """1 for gray, 3 for RGB; alpha is not counted."""
        return int(self.pixels.shape[2]) - self.has_alpha

    @property
    def peak(self) -> float:
        """The value of white: 255, 65535 or 1."""
        return _PEAKS[self.pixels.dtype]

    def with_pixels(self, pixels: np.ndarray) -> Picture:
        """The same picture with other pixels; size, depth and channels may differ."""
        return replace(self, pixels=pixels)


def read_picture(
    source: str | os.PathLike[str] | Content, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> Picture:
    """Read a PNG, JPEG, WebP, TIFF, GIF, AVIF or HEIF file, complete and upright.

    Gray stays gray, palettes become RGB (or RGBA), 1-, 2- and 4-bit gray becomes 8-bit, 16-bit
    stays 16-bit, float stays float. CMYK (through its own profile, else a generic one) and Lab
    become sRGB and carry the sRGB profile. Of several frames or pages the first is read.
    The orientation is taken from EXIF or the TIFF tag, where they are silent from XMP; HEIF
    and AVIF rotate by their own means.

    Args:
        source: the file's path, or the file itself in memory; its contents decide what it is, not
            its suffix.
        max_pixels: refuse a file that declares more pixels, before anything is decoded.

    Raises:
        PictureError: missing, unreadable, not a picture, damaged, truncated or too large.

    Example:
        >>> picture = read_picture("photo.png")
        >>> picture.pixels.shape, picture.source_format
        ((64, 64, 3), 'png')
    """
    file = _file_of(source)
    image, source_format = _open(file)
    if image.width * image.height > max_pixels:
        raise PictureError(
            f"{_title(file)}: declares {image.width} x {image.height} pixels, more than the limit "
            f"of {max_pixels}; if you trust the file, raise the limit with --max-pixels"
        )
    orientation, metadata = _read_metadata(file, image, source_format)
    try:
        pixels = image.numpy().reshape(image.height, image.width, image.bands)
    except _VIPS_ERRORS as error:
        raise _damaged(file, source_format, error) from None
    # libvips says 1 where a file says nothing, and damaged files say anything.
    stated = image.xres != 1 and 0 < image.xres < 1e6 and 0 < image.yres < 1e6
    picture = Picture(
        _turn_upright(pixels.astype(_DTYPES[image.format], copy=False), orientation),
        metadata=metadata,
        source_format=source_format,
        density=(image.xres, image.yres) if stated else None,
        frames=image.get_n_pages() if source_format != "png" else _png_frames(file),
    )
    profile = _blob(image, "icc-profile-data")
    return replace(picture, icc_profile=profile if _fits(profile, picture) else None)


def picture_size(source: str | os.PathLike[str] | Content) -> tuple[int, int, int]:
    """Width, height and channels that `read_picture` will give, from the file's header alone.

    Args:
        source: as `read_picture` takes it.

    Raises:
        PictureError: as `read_picture`, as far as the header tells.
    """
    file = _file_of(source)
    image, source_format = _open(file)
    orientation, _ = _read_metadata(file, image, source_format)
    width, height = image.width, image.height
    return (height, width, image.bands) if orientation >= 5 else (width, height, image.bands)


def write_picture(
    picture: Picture,
    path: str | os.PathLike[str],
    *,
    quality: int = 95,
    compression: int = DEFAULT_COMPRESSION,
) -> None:
    """Write a picture; the suffix names the format, and an existing file is replaced at once.

    PNG takes 8 or 16 bits (float becomes 16), TIFF everything, AVIF 8 or 12 bits, JPEG and WebP
    8 bits; values are rounded, not cut. JPEG has no alpha: the picture is laid over white. WebP
    has no gray: it reads back as RGB. Profile, EXIF and XMP are written to every format; IPTC to
    JPEG, TIFF and PNG (in text, as ImageMagick and ExifTool do), for WebP and AVIF have no place
    for it.

    Args:
        quality: 1 to 100, for JPEG (full chroma from 90), WebP (100 is lossless) and AVIF.
        compression: 0 to 9, deflate effort for PNG and TIFF. On 8-megapixel photographs and
            upscaled photographs (8-bit RGB), PNG level 2 with the fixed filter "up" took 0.05 to
            0.26 s of processor time, a seventh to a half of what level 6 takes with filters
            chosen by row, for files 5 to 15 % larger. Level 1 takes half to two thirds of that
            again, but its files are 27 to 62 % larger than those of level 2.

    Raises:
        PictureError: unknown suffix, no such folder, a size the format cannot hold, a full disk.
            The target is then as it was before.

    Example:
        >>> picture = read_picture("photo.png")
        >>> write_picture(picture.with_pixels(255 - picture.pixels), "negative.png")
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise PictureError(
            f"{shown(path)}: cannot write {path.suffix or 'a file without suffix'}; "
            f"choose one of {', '.join(sorted(_WRITERS))}"
        )
    picture, image, options = _prepared(picture, writer, quality, compression)
    exif, iptc = picture.metadata.get("exif"), picture.metadata.get("iptc")
    with replacing(path, PictureError) as temporary:
        try:
            getattr(image, f"{writer}save")(os.fsencode(temporary), **options)
            if writer == "tiff":
                records = iptc_records(iptc) if iptc else None
                add_metadata_to_tiff(temporary, exif, records, picture.width, picture.height)
            elif writer == "png" and iptc:
                temporary.write_bytes(png_with_iptc(temporary.read_bytes(), iptc))
        except (pyvips.Error, OSError, ValueError) as error:
            raise PictureError(
                f"{shown(path)}: cannot write {picture.width} x {picture.height} pixels as "
                f"{path.suffix[1:].upper()} ({_reason(error)}); "
                "check the folder, its permissions and the free space, or choose .png or .tif"
            ) from None


def encode_picture(
    picture: Picture, suffix: str, *, quality: int = 95, compression: int = DEFAULT_COMPRESSION
) -> bytes:
    """The file that `write_picture` would write, in memory.

    Args:
        suffix: names the format, as in ".png" or "png".
        quality, compression: as in `write_picture`.

    Raises:
        PictureError: unknown format, or a size that it cannot hold.
    """
    name = suffix.lower().removeprefix(".")
    writer = _WRITERS.get(f".{name}")
    if writer is None:
        raise PictureError(
            f"cannot write {shown(suffix) or 'a format without name'}; "
            f"choose one of {', '.join(sorted(_WRITERS))}"
        )
    picture, image, options = _prepared(picture, writer, quality, compression)
    exif, iptc = picture.metadata.get("exif"), picture.metadata.get("iptc")
    try:
        content: bytes = getattr(image, f"{writer}save_buffer")(**options)
        if writer == "tiff":
            records = iptc_records(iptc) if iptc else None
            content = tiff_with_metadata(content, exif, records, picture.width, picture.height)
        elif writer == "png" and iptc:
            content = png_with_iptc(content, iptc)
    except (pyvips.Error, ValueError) as error:
        raise PictureError(
            f"cannot write {picture.width} x {picture.height} pixels as {name.upper()} "
            f"({_reason(error)}); choose png or tif"
        ) from None
    return content


def _prepared(
    picture: Picture, writer: str, quality: int, compression: int
) -> tuple[Picture, pyvips.Image, dict[str, Any]]:
    """The picture as a format can hold it, the same for libvips, and the options of its writer."""
    if not 1 <= quality <= 100 or not 0 <= compression <= 9:
        raise PictureError(
            f"quality {quality}, compression {compression}: "
            "quality goes from 1 to 100, compression from 0 to 9"
        )
    if writer in ("jpeg", "webp"):
        picture = picture.with_pixels(_to_integers(picture.pixels, np.uint8))
    elif picture.pixels.dtype == np.float32 and writer != "tiff":
        picture = picture.with_pixels(_to_integers(picture.pixels, np.uint16))
    image = _to_vips(picture, writer)
    options: dict[str, Any] = {}
    match writer:
        case "png":
            options = {"compression": compression, "filter": "up"}
        case "jpeg":
            options = {"Q": quality}
            if picture.has_alpha:
                image = image.flatten(background=255)
        case "webp":
            options = {"lossless": True, "exact": True} if quality == 100 else {"Q": quality}
        case "tiff":
            predictor = "float" if picture.pixels.dtype == np.float32 else "horizontal"
            options = {"compression": "deflate", "level": compression, "predictor": predictor}
            options["bigtiff"] = picture.pixels.nbytes > 2**31
        case "heif":
            options = {"Q": quality, "compression": "av1"}

    if "exif" not in picture.metadata and not (writer == "jpeg" and picture.density):
        # libvips would make one up; only JPEG needs it, to hold the density.
        options["keep"] = pyvips.enums.ForeignKeep.ALL & ~pyvips.enums.ForeignKeep.EXIF
    return picture, image, options


def _file_of(source: str | os.PathLike[str] | Content) -> Path | bytes:
    return bytes(source) if isinstance(source, bytes | bytearray | memoryview) else Path(source)


def _title(file: Path | bytes) -> str:
    """What messages call a file."""
    return shown(file) if isinstance(file, Path) else "picture in memory"


def _head(file: Path | bytes) -> bytes:
    """The first bytes, which tell the format."""
    if isinstance(file, bytes):
        return file[:_HEAD]
    try:
        # A pipe or a device would block, or never end.
        if stat.S_ISREG(file.stat().st_mode):
            with file.open("rb") as opened:
                return opened.read(_HEAD)
    except FileNotFoundError:
        raise PictureError(f"{_title(file)}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise PictureError(
            f"{_title(file)}: cannot be opened ({_reason(error)}); check the path and permissions"
        ) from None
    raise PictureError(f"{_title(file)}: is a folder or a device; give a picture file")


def _open(file: Path | bytes) -> tuple[pyvips.Image, str]:
    """The file as a lazy image with 1 to 4 gray or RGB channels, and its format."""
    head = _head(file)
    if not head:
        raise PictureError(f"{_title(file)}: the file is empty; get a fresh copy")
    signature = _SIGNATURES.match(head)
    if signature is None or signature.lastgroup is None:
        raise PictureError(
            f"{_title(file)}: is no PNG, JPEG, WebP, TIFF, GIF, AVIF or HEIF file; "
            "convert it to one of these, or get a fresh copy if it should be one"
        )
    source_format = signature.lastgroup
    # Without revalidation, libvips answers from its cache after the file has changed.
    options = {"access": "sequential", "fail_on": "error", "revalidate": True}
    try:
        try:
            if isinstance(file, bytes):
                image = getattr(pyvips.Image, f"{source_format}load_buffer")(file, **options)
            else:
                load = getattr(pyvips.Image, f"{source_format}load")
                image = load(os.fsencode(file), **options)
        except _VIPS_ERRORS:
            if source_format != "tiff" or (image := _open_8bit_lab(file)) is None:
                raise
        image = _to_gray_or_rgb(image)
    except _VIPS_ERRORS as error:
        raise _damaged(file, source_format, error) from None
    if image.bands > 4 or image.format not in _DTYPES:
        raise PictureError(
            f"{_title(file)}: has {image.bands} channels of type {image.format}; "
            "convert it to gray or RGB, with or without alpha, in 8-bit, 16-bit or float"
        )
    return image, source_format


def _to_gray_or_rgb(image: pyvips.Image) -> pyvips.Image:
    if image.interpretation not in ("cmyk", "lab", "labs"):
        return image
    depth = 8 if image.format == "uchar" else 16
    if image.interpretation == "cmyk":
        image = image.icc_import(embedded=True, input_profile="cmyk", intent="relative")
    return image.icc_export(output_profile="srgb", depth=depth, intent="relative")


def _open_8bit_lab(file: Path | bytes) -> pyvips.Image | None:
    """An 8-bit CIELab TIFF, which libvips refuses, in sRGB; None for any other file.

    Relabelled as RGB it can be decoded; the bytes are then L in [0, 255] for [0, 100] and signed
    a, b (TIFF 6.0, section 23).
    """
    rgb, cielab = 2, 8
    data = bytearray(file if isinstance(file, bytes) else file.read_bytes())
    try:
        tiff = TiffStructure.parse(data)
        photometric = tiff.short_value(0x0106)
        if struct.unpack_from(tiff.order + "H", data, photometric)[0] != cielab:
            return None
        struct.pack_into(tiff.order + "H", data, photometric, rgb)
    except (KeyError, struct.error):
        return None
    image = pyvips.Image.tiffload_buffer(bytes(data), access="sequential", fail_on="error")
    if image.format != "uchar" or image.bands != 3:
        return None
    signed = image[1:3].copy(format="char")
    lab = (image[0] * (100 / 255)).bandjoin(signed).copy(interpretation="lab")
    return lab.icc_export(output_profile="srgb", depth=8, intent="relative")


def _read_metadata(
    file: Path | bytes, image: pyvips.Image, source_format: str
) -> tuple[int, dict[str, bytes]]:
    """The orientation that the pixels still need (1 to 8), and blocks that no longer ask for it."""
    noted: list[int | None] = []
    if source_format == "heif":
        noted.append(1)
    elif image.get_typeof("orientation"):
        noted.append(image.get("orientation"))
    blocks = {}
    if exif := exif_of_tiff(file) if source_format == "tiff" else _read_exif(image):
        orientation, blocks["exif"] = take_orientation(exif)
        noted.append(orientation)
    if xmp := _blob(image, "xmp-data"):
        found = _XMP_ORIENTATION.search(xmp)
        noted.append(int(found[2]) if found else None)
        blocks["xmp"] = _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    iptc = (
        _blob(image, "photoshop-data")
        or _blob(image, "iptc-data")
        or _read_raw_profile(image, "iptc")
        or b""
    ).removeprefix(_PHOTOSHOP_HEADER)
    if iptc.startswith(b"\x1c"):
        iptc = iptc_resource(iptc)
    if iptc.startswith(b"8BIM"):
        blocks["iptc"] = iptc
    return next((value for value in noted if value), 1), blocks


def _read_exif(image: pyvips.Image) -> bytes | None:
    """The EXIF block, as a bare TIFF structure."""
    exif = _blob(image, "exif-data") or _read_raw_profile(image, "exif") or b""
    exif = exif.removeprefix(b"Exif\0\0")
    return exif if exif[:4] in (b"II*\0", b"MM\0*") else None


def _read_raw_profile(image: pyvips.Image, kind: str) -> bytes | None:
    """A block that ImageMagick and ExifTool keep in a PNG's text: kind, length, hexadecimal."""
    for name in (f"png-comment-{index}-{RAW_PROFILE}{kind}" for index in range(16)):
        if image.get_typeof(name):
            with suppress(ValueError):
                return bytes.fromhex("".join(image.get(name).split()[2:]))
    return None


def _turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _to_integers(pixels: np.ndarray, dtype: type[np.unsignedinteger[Any]]) -> np.ndarray:
    """Pixels rounded to the nearest value of an integer type; the same array if it is that type."""
    if pixels.dtype == dtype:
        return pixels
    if pixels.dtype == np.float32:
        unit: np.ndarray = np.clip(np.nan_to_num(pixels), 0, 1)
        return np.asarray(np.rint(unit * np.iinfo(dtype).max), dtype=dtype)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(dtype)


def _to_vips(picture: Picture, writer: str) -> pyvips.Image:
    """The picture with its metadata as a writer wants it; the pixels are shared, not copied."""
    pixels = np.ascontiguousarray(picture.pixels)
    band_format, gray, rgb = {
        np.uint8: ("uchar", "b-w", "srgb"),
        np.uint16: ("ushort", "grey16", "rgb16"),
        np.float32: ("float", "b-w", "scrgb"),
    }[pixels.dtype.type]
    image = pyvips.Image.new_from_memory(
        pixels, picture.width, picture.height, pixels.shape[2], band_format
    )
    xres, yres = picture.density or (72 / _INCH, 72 / _INCH)
    image = image.copy(
        interpretation=gray if picture.colour_channels == 1 else rgb, xres=xres, yres=yres
    )
    blocks = {
        "icc-profile-data": picture.icc_profile if _fits(picture.icc_profile, picture) else None,
        "exif-data": picture.metadata.get("exif"),
        "xmp-data": picture.metadata.get("xmp"),
    }
    if iptc := picture.metadata.get("iptc"):
        match writer:
            case "jpeg":
                blocks["iptc-data"] = _PHOTOSHOP_HEADER + iptc
            case "tiff":
                blocks["photoshop-data"] = iptc
    for name, block in blocks.items():
        if block:
            image.set_type(pyvips.GValue.blob_type, name, block)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    return image


def _fits(profile: bytes | None, picture: Picture) -> bool:
    """Whether an ICC profile is one (ICC.1, section 7.2) and is for these channels."""
    space = b"GRAY" if picture.colour_channels == 1 else b"RGB "
    return profile is not None and profile[36:40] == b"acsp" and profile[16:20] == space


def _png_frames(file: Path | bytes) -> int:
    """The frames of an animated PNG, which libvips does not know; 1 for any other."""
    with io.BytesIO(file) if isinstance(file, bytes) else file.open("rb") as png:
        png.seek(8)
        while len(head := png.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"acTL":
                (frames,) = struct.unpack(">I", png.read(4).rjust(4, b"\0"))
                return max(int(frames), 1)
            if name == b"IDAT":
                break
            png.seek(length + 4, os.SEEK_CUR)
    return 1


def _blob(image: pyvips.Image, name: str) -> bytes | None:
    return image.get(name) if image.get_typeof(name) else None


def _damaged(file: Path | bytes, source_format: str, error: Exception) -> PictureError:
    if codec := re.search(r"not been built in: (\w+)", str(error)):
        return PictureError(
            f"{_title(file)}: is compressed as {codec[1]}, which Vernier cannot decode; convert it "
            "to JPEG or PNG first (telephones and photo libraries do so on export)"
        )
    return PictureError(
        f"{_title(file)}: this {source_format.upper()} file is damaged, incomplete or of an "
        f"unsupported kind ({_reason(error)}); get a fresh copy or re-save it as PNG"
    )


def _reason(error: Exception) -> str:
    """The telling line of an error, without the path and the library's own names."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, UnicodeDecodeError):
        # The message is still waiting, and would spoil the next one.
        pyvips.vips_lib.vips_error_clear()
        return "no readable message"
    if not isinstance(error, pyvips.Error):
        return str(error)
    lines = [line for line in error.detail.splitlines() if line and not _VIPS_ECHOES.search(line)]
    cause = next((line for line in lines if line.startswith("system error")), "")
    return shown((cause or [": no details given", *lines][-1]).split(": ", 1)[-1])[:200]
