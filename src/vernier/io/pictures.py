"""Picture files in and out: the one place where pixels leave and enter files.

libvips decodes and encodes. What it leaves open is settled here: which formats are accepted, how
files say which way is up, what happens to colour spaces that are not gray or RGB, which metadata
travels with the pixels, and that a failed write leaves nothing behind.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyvips

from vernier.errors import InputError, MissingPackageError
from vernier.extras import install_command
from vernier.io.colour_chunks import LINEAR, colour_profile
from vernier.io.exif import (
    density_of_exif,
    states_centimetres,
    take_orientation,
)
from vernier.io.files import replacing, shown
from vernier.io.georeference import has_place, has_world_file, scaled_georeference
from vernier.io.heif import PLACEHOLDER
from vernier.io.iptc import iptc_resource
from vernier.io.jpeg_scans import JpegError, complete_jpeg, is_plausible_size
from vernier.io.metadata import (
    Beside,
    add_to_bytes,
    add_to_file,
    metadata_losses,
    read_beside,
)
from vernier.io.other_formats import OtherError, encode_other, is_targa, open_other
from vernier.io.picture_formats import (
    FORMATS,
    OTHER_FORMATS,
    WRITABLE_SUFFIXES,
    PictureFormat,
    format_of_suffix,
    names_of,
)
from vernier.io.png import read_chunks
from vernier.io.tiff_pages import describe_samples, with_described_samples
from vernier.io.tiff_samples import LIBVIPS, RAW_REASON, TiffError, open_tiff
from vernier.io.xmp import fitted_xmp, stated_companions, without_companions

# What libvips and its libraries remark goes to Python's log, and not past it to the terminal.
logging.getLogger("pyvips").addHandler(logging.NullHandler())
# Each file is read once: a cache of operations would only keep it in memory, and what libvips has
# to say of it when it is closed.
pyvips.cache_set_max(0)


def _log_all_of_glib() -> None:
    """Hand remarks of GLib to the log, too, until the interpreter ends."""
    with suppress(AttributeError):  # of a pyvips that names these otherwise
        levels = -4  # all but GLib's own two flags
        for domain in (b"GLib", b"GLib-GObject"):
            glib, callback = pyvips.glib_lib, pyvips._log_handler_cb
            handler = glib.g_log_set_handler(domain, levels, callback, pyvips.ffi.NULL)
            atexit.register(glib.g_log_remove_handler, domain, handler)


_log_all_of_glib()

DEFAULT_MAX_PIXELS = 2**28
DEFAULT_COMPRESSION = 2

# Contents decide, not the suffix. Loaders for documents, vector graphics and raw matrices are
# left out on purpose: they are no photographs, and more code for a hostile file to reach.
_SIGNATURES = re.compile(
    rb"(?P<png>\x89PNG\r\n\x1a\n)|(?P<jpeg>\xff\xd8\xff)|(?P<gif>GIF8[79]a)"
    rb"|(?P<webp>RIFF....WEBP)|(?P<tiff>II[*+]\0|MM\0[*+])"
    rb"|(?P<jp2>\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51)|(?P<exr>\x76\x2f\x31\x01)"
    rb"|(?P<jxl>\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n)|(?P<psd>8BPS\0[\1\2])|(?P<pnm>P[1-7Ff]\s)"
    rb"|(?P<bmp>BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0)"
    rb"|(?P<heif>....ftyp(?:avi[fs]|hei[cfmsx]|hev[cx]|mif1|msf1))",
    re.DOTALL,
)
_DTYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}
_PEAKS = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)([1-8])")
# Raws that are no TIFF, or only nearly: Olympus, Panasonic, Fujifilm, Canon, Sigma, Minolta.
_RAW_SIGNATURES = re.compile(
    rb"IIR[OS]|MMOR|IIU\0|FUJIFILMCCD-RAW|II\x1a\0\0\0HEAPCCDR|....ftypcrx |FOVb|\0MRM", re.DOTALL
)
# pyvips decodes what libvips says as UTF-8, also where it quotes a file that is not.
_VIPS_ERRORS = (pyvips.Error, UnicodeDecodeError)
# Lines that name the path again, or that libvips' other worker threads add, or not, as they start
# before or after the one that failed.
_VIPS_ECHOES = re.compile(r"unable to open|: load error$")
_PHOTOSHOP_HEADER = b"Photoshop 3.0\0"
_USUAL_NO_DATA = frozenset({-9999.0, -99999.0, -32768.0, float(np.finfo(np.float32).min)})
# Below this share of values in [0, 1], floats are no picture but measurements.
_LEAST_IN_UNIT = 0.5
_ROUNDING = 1e-3
_UNKNOWN_CODEC = re.compile(r"not been built in: (\w+)")
_BLOBS = {"icc": "icc-profile", "exif": "exif", "xmp": "xmp"}
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
            alpha, or a band of its own in alpha's place. Alpha is straight (not premultiplied).
            Floats are kept as the file gives them, nominally in [0, 1].
        icc_profile: the profile that says what the numbers mean, never applied to them; None
            where the file has none that fits the channels.
        metadata: "exif" (a TIFF structure, its orientation reset to 1), "xmp" (a packet, likewise),
            "iptc" (Photoshop image resources, "8BIM..."), "text" (PNG's chunks of text, one after
            the other), "colour" (PNG's chunks of gamma, primaries and HDR, likewise), "comments"
            (JPEG's segments of comments, likewise) and "georeference" (a TIFF structure of the tags
            of GeoTIFF and GDAL), each only where the file has it. Sizes in EXIF and XMP become the
            picture's own when it is written.
        density: pixels per millimetre, horizontal and vertical; None where the file is silent.
        density_unit: whether the file counts pixels per inch or per centimetre.
        source_format: "png", "jpeg", "webp", "tiff", "gif", "heif" (AVIF too), "jxl", "jp2",
            "exr", "bmp", "tga", "psd" or "pnm"; "" for a picture that comes from no file.
        frames: how many frames or pages its file holds, of which this is the first. Smaller copies
            of a page are not counted.
        has_extra_band: whether the last of 2 or 4 channels is a band of its own, such as near
            infrared, and not alpha.
        no_data: the value of pixels of which the file knows nothing; None where it names none.
            Floats may be NaN there, too.
        notes: what was recognised or changed while reading, for people.

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
    has_extra_band: bool = False
    notes: tuple[str, ...] = ()
    density_unit: Literal["in", "cm"] = "in"
    no_data: float | None = None

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
        return self.pixels.shape[2] in (2, 4) and not self.has_extra_band

    @property
    def colour_channels(self) -> int:
        """1 for gray, 3 for RGB; alpha and a band of its own are not counted."""
        return 1 if self.pixels.shape[2] < 3 else 3

    @property
    def bands(self) -> np.ndarray:
        """The pixels (H, W, C) without alpha."""
        return self.pixels[..., :-1] if self.has_alpha else self.pixels

    @property
    def peak(self) -> float:
        """The value of white: 255, 65535 or 1."""
        return _PEAKS[self.pixels.dtype]

    def beyond_unit(self) -> tuple[float, float, float]:
        """The share of values outside of [0, 1], the lowest and the highest, in that unit.

        Alpha and pixels without data are not counted.
        """
        if self.pixels.dtype != np.float32:
            return 0.0, 0.0, 1.0
        values = self.pixels[..., :-1] if self.has_alpha else self.pixels
        known = np.isfinite(values)
        if self.no_data is not None:
            known &= values != np.float32(self.no_data)
        if not known.any():
            return 0.0, 0.0, 1.0
        lowest = float(values.min(where=known, initial=np.inf))
        highest = float(values.max(where=known, initial=-np.inf))
        if lowest >= 0 and highest <= 1:
            return 0.0, lowest, highest
        beyond = np.count_nonzero(known & ((values < 0) | (values > 1)))
        return beyond / np.count_nonzero(known), lowest, highest

    def with_pixels(self, pixels: np.ndarray, *, scale: float | None = None) -> Picture:
        """The same picture with other pixels; size, depth and channels may differ.

        Args:
            pixels: the whole picture, of whatever size; its place on the ground stays.
            scale: how many new pixels there are to an old one on each side, where sizes that were
                rounded do not tell it.
        """
        metadata = self.metadata
        across, down = pixels.shape[1] / self.width, pixels.shape[0] / self.height
        if scale is not None:
            across = down = scale
        if "georeference" in metadata and (across, down) != (1, 1):
            place = scaled_georeference(metadata["georeference"], across, down)
            metadata = {**metadata, "georeference": place}
        return replace(self, pixels=pixels, metadata=metadata)


def read_picture(
    source: str | os.PathLike[str] | Content, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> Picture:
    """Read a picture file, complete and upright.

    PNG, JPEG, WebP, TIFF, GIF, AVIF and Netpbm's PPM, PGM, PBM, PAM and PFM are always read. BMP,
    TGA and PSD (the merged picture) need Pillow, JPEG XL and JPEG 2000 imagecodecs, HEIC
    pillow-heif, OpenEXR its own package: all are in the extra "formats".

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
    opened = _open(file)
    if opened.width * opened.height > max_pixels:
        raise PictureError(
            f"{_title(file)}: declares {opened.width} x {opened.height} pixels, more than the "
            f"limit of {max_pixels}; if you trust the file, raise the limit with --max-pixels"
        )
    told = _read_metadata(file, opened)
    try:
        pixels, more_notes = opened.decode()
    except _VIPS_ERRORS as error:
        raise _damaged(file, opened.format, error) from None
    except (JpegError, OtherError) as error:
        raise _damaged(file, opened.format, error) from None
    except (TiffError, OSError) as error:
        raise PictureError(f"{_title(file)}: {_reason(error)}") from None
    picture = Picture(
        _turn_upright(pixels, told.orientation),
        metadata=told.blocks,
        source_format=opened.format,
        density=told.density,
        density_unit=told.density_unit,
        frames=opened.frames,
        has_extra_band=opened.has_extra_band,
        notes=opened.notes + more_notes + told.notes,
        no_data=opened.no_data,
    )
    if picture.no_data is None and (found := _customary_no_data(picture.pixels)) is not None:
        note = f"the value {found:g} is taken for pixels without data"
        picture = replace(picture, no_data=found, notes=(*picture.notes, note))
    fits = _fits(opened.profile, picture)
    return replace(picture, icc_profile=opened.profile if fits else None)


def picture_size(source: str | os.PathLike[str] | Content) -> tuple[int, int, int]:
    """Width, height and channels that `read_picture` will give, from the file's header alone.

    Args:
        source: as `read_picture` takes it.

    Raises:
        PictureError: as `read_picture`, as far as the header tells.
    """
    file = _file_of(source)
    opened = _open(file)
    is_turned = _read_metadata(file, opened).orientation >= 5
    width, height = opened.width, opened.height
    # Of a JPEG XL the channels are known with the pixels.
    bands = opened.bands or read_picture(file).pixels.shape[2]
    return (height, width, bands) if is_turned else (width, height, bands)


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
    for it; text to PNG, comments to JPEG and PNG, georeference to TIFF. See `losses_in` for what a
    format does not hold.

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
    target = format_of_suffix(path.suffix)
    if target is None or not target.is_written:
        raise PictureError(
            f"{shown(path)}: cannot write {path.suffix or 'a file without suffix'}; "
            f"choose one of {', '.join(sorted(WRITABLE_SUFFIXES))}"
        )
    writer = target.key
    try:
        picture, image, options = _prepared(picture, target, quality, compression)
    except PictureError as error:
        raise PictureError(f"{shown(path)}: {error}") from None
    with replacing(path, PictureError) as temporary:
        try:
            if image is None:
                temporary.write_bytes(encode_other(picture.pixels, writer, quality=quality))
                return
            getattr(image, f"{writer}save")(os.fsencode(temporary), **options)
            if writer == "tiff" and (described := _sample_facts(picture)):
                describe_samples(temporary, **described)
            add_to_file(temporary, writer, picture)
        except MissingPackageError as error:
            raise PictureError(f"{shown(path)}: {error}") from None
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
    target = format_of_suffix(f".{name}")
    if target is None or not target.is_written:
        raise PictureError(
            f"cannot write {shown(suffix) or 'a format without name'}; "
            f"choose one of {', '.join(sorted(WRITABLE_SUFFIXES))}"
        )
    writer = target.key
    picture, image, options = _prepared(picture, target, quality, compression)
    try:
        if image is None:
            return encode_other(picture.pixels, writer, quality=quality)
        content: bytes = getattr(image, f"{writer}save_buffer")(**options)
        if writer == "tiff" and (described := _sample_facts(picture)):
            content = with_described_samples(content, **described)
        content = add_to_bytes(content, writer, picture)
    except MissingPackageError as error:
        raise PictureError(str(error)) from None
    except (pyvips.Error, ValueError) as error:
        raise PictureError(
            f"cannot write {picture.width} x {picture.height} pixels as {name.upper()} "
            f"({_reason(error)}); choose png or tif"
        ) from None
    return content


def check_unit(picture: Picture, holder: str) -> None:
    """Refuse floats that would be cut to nothing but black and white.

    Args:
        holder: what takes values from 0 to 1, for the message.

    Raises:
        PictureError: more than half of the values are outside of [0, 1].
    """
    share, lowest, highest = picture.beyond_unit()
    if share > 1 - _LEAST_IN_UNIT:
        raise PictureError(
            f"values go from {lowest:g} to {highest:g}, and {holder} takes 0 to 1: write TIFF, "
            "which keeps them, or scale them first"
        )


def losses_in(picture: Picture, suffix: str) -> tuple[str, ...]:
    """What of a picture and of what travels with it a format cannot hold, for people.

    Args:
        suffix: names the format, as in `write_picture`.
    """
    target = format_of_suffix(suffix)
    if target is None or not target.is_written:
        return ()
    losses = []
    if picture.has_extra_band and not target.extra_band:
        kept = names_of(each for each in FORMATS if each.extra_band)
        losses.append(
            f"the band beside the colours is left out, for {target.name} has no place for it; "
            f"{kept} keeps it"
        )
    # AVIF's encoder takes 16 bits, and writes 12.
    held = 12 if target.key == "heif" else 8 * target.dtypes[-1].itemsize
    if held < 8 * picture.pixels.dtype.itemsize:
        deeper = "PNG and TIFF keep" if picture.pixels.dtype == np.uint16 else "TIFF keeps"
        losses.append(
            f"values are rounded to {held} bits, for {target.name} holds no more; {deeper} them"
        )
    if np.dtype(np.float32) not in target.dtypes:
        share, lowest, highest = picture.beyond_unit()
        if share and (lowest < -_ROUNDING or highest > 1 + _ROUNDING):
            losses.append(
                f"values from {lowest:g} to {highest:g} are cut to 0 to 1, for {target.name} holds "
                "no others; TIFF keeps them"
            )
        if not np.isfinite(picture.pixels).all():
            losses.append(f"pixels without data are black, for {target.name} has none; TIFF does")
    if picture.no_data is not None and target.key != "tiff":
        losses.append(
            f"that {picture.no_data:g} stands for pixels without data is not told, for "
            f"{target.name} cannot; TIFF does"
        )
    if picture.has_alpha and not target.alpha and (picture.pixels[..., -1] < picture.peak).any():
        losses.append(
            f"laid over white, for {target.name} has no transparency; PNG, WebP and TIFF do"
        )
    if target.metadata:
        return (*losses, *metadata_losses(picture, target))
    beside = ["profile"] * (picture.icc_profile is not None) + [
        {"exif": "EXIF", "xmp": "XMP", "iptc": "IPTC"}.get(name, name)
        for name, block in picture.metadata.items()
        if not (target.key == "exr" and block == LINEAR)
    ]
    if beside:
        told = f"what travels beside the pixels ({', '.join(beside)}) is left out"
        losses.append(f"{told}, for {target.name} is written without; PNG and TIFF keep it")
    return tuple(losses)


def _prepared(
    picture: Picture, target: PictureFormat, quality: int, compression: int
) -> tuple[Picture, pyvips.Image | None, dict[str, Any]]:
    """The picture as a format can hold it, the same for libvips, and the options of its writer.

    For what libvips does not write there is no such image.
    """
    LIBVIPS.enter()
    if not 1 <= quality <= 100 or not 0 <= compression <= 9:
        raise PictureError(
            f"quality {quality}, compression {compression}: "
            "quality goes from 1 to 100, compression from 0 to 9"
        )
    if picture.has_extra_band and not target.extra_band:
        colours = np.ascontiguousarray(picture.pixels[..., :-1])
        picture = replace(picture, pixels=colours, has_extra_band=False)
    if picture.pixels.dtype.kind == "u" and all(each.kind == "f" for each in target.dtypes):
        raise PictureError(f"{target.name} holds floats alone; write PNG or TIFF")
    if picture.pixels.dtype == np.float32 and picture.pixels.dtype not in target.dtypes:
        check_unit(picture, target.name)
        if picture.no_data is not None:
            empty = picture.pixels == np.float32(picture.no_data)
            picture = picture.with_pixels(np.where(empty, np.float32(0), picture.pixels))
    if picture.pixels.dtype not in target.dtypes:
        picture = picture.with_pixels(_to_integers(picture.pixels, target.dtypes[-1].type))
    writer = target.key
    if writer in OTHER_FORMATS:
        return (picture if target.alpha else _over_white(picture)), None, {}
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
            options["resunit"] = {"in": "inch", "cm": "cm"}[picture.density_unit]
        case "heif":
            options = {"Q": quality, "compression": "av1"}

    if not (writer == "heif" and "exif" in picture.metadata):
        # libvips would make one up, or write one anew.
        options["keep"] = pyvips.enums.ForeignKeep.ALL & ~pyvips.enums.ForeignKeep.EXIF
    return picture, image, options


def _over_white(picture: Picture) -> Picture:
    if not picture.has_alpha:
        return picture
    share = picture.pixels[..., -1:] / np.float32(picture.peak)
    laid = picture.pixels[..., :-1] * share + np.float32(picture.peak) * (1 - share)
    if picture.pixels.dtype.kind == "u":
        laid = np.rint(laid)
    return picture.with_pixels(laid.astype(picture.pixels.dtype))


def _sample_facts(picture: Picture) -> dict[str, Any]:
    """What a TIFF file must be told of its samples; empty where there is nothing."""
    if not picture.has_extra_band and picture.no_data is None:
        return {}
    return {"has_extra_band": picture.has_extra_band, "no_data": picture.no_data}


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


_Decoded = tuple[np.ndarray, tuple[str, ...]]


@dataclass(frozen=True)
class _Opened:
    """A picture file of which only the header was read.

    Attributes:
        image: libvips' view of it, for the metadata.
        bands: 1 to 4, as `Picture` has them; None where only the pixels tell.
        decode: reads the pixels (H, W, C), and tells what there is to say of them.
        profile: that the pixels are in, whether it fits them or not.
        start: of a TIFF, offset of the directory that tells of the picture; None for the first.
        colour: chunks as a PNG has them, where the format itself says what its values mean.
    """

    format: str
    image: pyvips.Image
    width: int
    height: int
    bands: int | None
    decode: Callable[[], _Decoded]
    profile: bytes | None = None
    frames: int = 1
    has_extra_band: bool = False
    notes: tuple[str, ...] = ()
    no_data: float | None = None
    start: int | None = None
    colour: bytes = b""


def _open(file: Path | bytes) -> _Opened:
    """The file's header, and how to read the rest."""
    head = _head(file)
    if not head:
        raise PictureError(f"{_title(file)}: the file is empty; get a fresh copy")
    if _RAW_SIGNATURES.match(head):
        raise _raw(file)
    signature = _SIGNATURES.match(head)
    source_format = signature.lastgroup if signature else "tga" if is_targa(file) else None
    if source_format is None:
        raise PictureError(
            f"{_title(file)}: is no {names_of()} file; "
            "convert it to one of these, or get a fresh copy if it should be one"
        )
    if source_format in OTHER_FORMATS:
        return _opened_other(file, source_format)
    try:
        if source_format == "tiff":
            return _opened_tiff(file)
        image = _to_gray_or_rgb(_load(file, source_format))
    except _VIPS_ERRORS as error:
        raise _damaged(file, source_format, error) from None
    if image.bands > 4 or image.format not in _DTYPES:
        raise _no_picture(file, image.bands, image.format)
    frames = _png_frames(file) if source_format == "png" else image.get_n_pages()
    if source_format == "heif":
        return _of_image(image, source_format, frames, partial(_decode_heif, file, image))
    if source_format != "jpeg":
        return _of_image(image, source_format, frames, lambda: (_pixels(image), ()))
    size = len(file) if isinstance(file, bytes) else file.stat().st_size
    if not is_plausible_size(image.width, image.height, size):
        raise PictureError(
            f"{_title(file)}: declares {image.width} x {image.height} pixels, more than its "
            f"{size} bytes can hold; get a fresh copy"
        )
    return _of_image(image, source_format, frames, partial(_decode_jpeg, file))


def _decode_jpeg(file: Path | bytes) -> _Decoded:
    def decode(content: bytes | None, fail_on: str) -> np.ndarray:
        source = file if content is None else content
        return _pixels(_to_gray_or_rgb(_load(source, "jpeg", fail_on=fail_on)))

    def content() -> bytes:
        return file if isinstance(file, bytes) else file.read_bytes()

    try:
        pixels, had_no_end = complete_jpeg(content, decode)
    finally:
        # Warnings wait there for the next error's message.
        pyvips.vips_lib.vips_error_clear()
    note = "the file lacks its end mark, but all pixels are there"
    return pixels, (note,) * had_no_end


def _pixels(image: pyvips.Image) -> np.ndarray:
    LIBVIPS.enter()
    pixels: np.ndarray = image.numpy().reshape(image.height, image.width, image.bands)
    return pixels.astype(_DTYPES[image.format], copy=False)


def _of_image(
    image: pyvips.Image, source_format: str, frames: int, decode: Callable[[], _Decoded]
) -> _Opened:
    size = image.width, image.height, image.bands
    profile = _blob(image, "icc-profile-data")
    return _Opened(source_format, image, *size, decode, profile, frames)


def _to_gray_or_rgb(image: pyvips.Image) -> pyvips.Image:
    if image.interpretation != "cmyk":
        return image
    image = image.icc_import(embedded=True, input_profile="cmyk", intent="relative")
    return image.icc_export(output_profile="srgb", depth=8, intent="relative")


def _load(file: Path | bytes, source_format: str, **more: Any) -> pyvips.Image:
    """Opened by libvips: the header is read."""
    # Without revalidation, libvips answers from its cache after the file has changed.
    options = {"access": "sequential", "fail_on": "error", "revalidate": True, **more}
    if isinstance(file, bytes):
        return getattr(pyvips.Image, f"{source_format}load_buffer")(file, **options)
    return getattr(pyvips.Image, f"{source_format}load")(os.fsencode(file), **options)


def _decode_heif(file: Path | bytes, image: pyvips.Image) -> _Decoded:
    try:
        return _pixels(image), ()
    except _VIPS_ERRORS as error:
        if not _UNKNOWN_CODEC.search(str(error)):
            raise
        # Of telephones' files libvips reads all but the pixels.
        try:
            return open_other(file, "heif").decode(), ()
        except MissingPackageError:
            raise error from None


def _opened_other(file: Path | bytes, source_format: str) -> _Opened:
    try:
        found = open_other(file, source_format)
    except (OtherError, OSError) as error:
        raise _damaged(file, source_format, error) from None
    except MissingPackageError as error:
        raise PictureError(f"{_title(file)}: {error}") from None
    image = pyvips.Image.black(1, 1)
    for name, block in found.blocks.items():
        image.set_type(pyvips.GValue.blob_type, f"{_BLOBS[name]}-data", block)

    return _Opened(
        source_format,
        image,
        found.width,
        found.height,
        found.bands,
        lambda: (found.decode(), ()),
        found.blocks.get("icc"),
        notes=found.notes,
        colour=LINEAR if found.is_linear else b"",
    )


def _opened_tiff(file: Path | bytes) -> _Opened:
    try:
        found = open_tiff(file, partial(_load, source_format="tiff"))
    except TiffError as error:
        raise PictureError(f"{_title(file)}: {error}") from None
    return _Opened(
        "tiff",
        found.image,
        found.width,
        found.height,
        found.bands,
        lambda: (found.decode(), ()),
        found.profile,
        found.frames,
        found.has_extra_band,
        found.notes,
        found.no_data,
        found.start,
    )


def _raw(file: Path | bytes) -> PictureError:
    return PictureError(f"{_title(file)}: {RAW_REASON}")


def _no_picture(file: Path | bytes, bands: int, kind: str) -> PictureError:
    return PictureError(
        f"{_title(file)}: has {bands} channels of type {kind}; "
        "convert it to gray or RGB, with or without alpha, in 8-bit, 16-bit or float"
    )


class _Told(NamedTuple):
    """What a file tells beside its pixels.

    Attributes:
        orientation: what the pixels still need, 1 to 8.
        blocks: as in `Picture.metadata`.
        notes, density, density_unit: as in `Picture`.
    """

    orientation: int
    blocks: dict[str, bytes]
    notes: tuple[str, ...]
    density: tuple[float, float] | None
    density_unit: Literal["in", "cm"]


def _read_metadata(file: Path | bytes, opened: _Opened) -> _Told:
    """What a file tells, in blocks that speak neither of turning nor of what is not taken over."""
    image, source_format = opened.image, opened.format
    noted: list[int | None] = []
    beside = read_beside(file, source_format, opened.start)
    blocks = dict(beside.blocks)
    if opened.colour:
        blocks["colour"] = opened.colour
    if opened.colour:
        blocks["colour"] = opened.colour
    companions = [beside.companion] if beside.companion else []
    if source_format == "heif":
        noted.append(1)
    elif image.get_typeof("orientation"):
        noted.append(image.get("orientation"))
    if exif := _read_exif(image, beside):
        orientation, blocks["exif"] = take_orientation(exif)
        noted.append(orientation)
    if xmp := _blob(image, "xmp-data") or beside.xmp:
        found = _XMP_ORIENTATION.search(xmp)
        noted.append(int(found[2]) if found else None)
        companions += stated_companions(xmp)
        blocks["xmp"] = without_companions(_XMP_ORIENTATION.sub(rb"\g<1>1", xmp))
    iptc = (
        _blob(image, "photoshop-data") or _blob(image, "iptc-data") or beside.iptc or b""
    ).removeprefix(_PHOTOSHOP_HEADER)
    if iptc.startswith(b"\x1c"):
        iptc = iptc_resource(iptc)
    if iptc.startswith(b"8BIM"):
        blocks["iptc"] = iptc
    orientation = next((value for value in noted if value), 1)
    density, unit = _density(image, exif, beside)
    if density and orientation >= 5:
        density = density[1], density[0]
    notes = tuple(f"{what} in the file is left out" for what in dict.fromkeys(companions))
    if isinstance(file, Path) and has_world_file(file):
        notes += (
            "the world file beside it is left as it is, and holds for its own pixels: "
            "a larger picture needs one of its own",
        )
    if orientation != 1 and has_place(blocks.get("georeference", b"")):
        del blocks["georeference"]
        notes += ("the place on the ground (GeoTIFF) is left out, for the picture was turned",)
    return _Told(orientation, blocks, notes, density, unit)


def _density(
    image: pyvips.Image, exif: bytes | None, beside: Beside
) -> tuple[tuple[float, float] | None, Literal["in", "cm"]]:
    """Pixels per millimetre that the file itself states, and per what it counts them."""
    if exif and (stated := density_of_exif(exif)) and _is_plausible(stated):
        return stated, "cm" if states_centimetres(exif) else "in"
    unit = image.get("resolution-unit") if image.get_typeof("resolution-unit") else None
    # Without a unit libvips makes numbers up, and it says 1 where a file says nothing.
    if unit and image.xres != 1 and _is_plausible((image.xres, image.yres)):
        return (image.xres, image.yres), "cm" if unit == "cm" else "in"
    of_png = beside.density
    return of_png if of_png and _is_plausible(of_png) else None, "in"


def _is_plausible(density: tuple[float, float]) -> bool:
    """Whether a resolution is a number at all: damaged files say anything."""
    return all(0 < each < 1e6 for each in density)


def _read_exif(image: pyvips.Image, beside: Beside) -> bytes | None:
    """The EXIF block, as a bare TIFF structure."""
    exif = (beside.exif or _blob(image, "exif-data") or b"").removeprefix(b"Exif\0\0")
    return exif if exif[:4] in (b"II*\0", b"MM\0*") else None


def _customary_no_data(pixels: np.ndarray) -> float | None:
    """The value by which files without GDAL's tag say that they know nothing; None if none does.

    It is one of those that are usual, and all others are far above it.
    """
    if pixels.dtype != np.float32:
        return None
    finite = np.isfinite(pixels)
    lowest = float(pixels.min(where=finite, initial=np.inf))
    if lowest not in _USUAL_NO_DATA:
        return None
    others = finite & (pixels != np.float32(lowest))
    return lowest if pixels.min(where=others, initial=np.inf) > lowest / 2 else None


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
    profile = picture.icc_profile if _fits(picture.icc_profile, picture) else None
    if profile is None and writer != "png" and (colour := picture.metadata.get("colour")):
        # WebP has no gray.
        is_gray = picture.colour_channels == 1 and writer != "webp"
        profile = colour_profile(colour, gray=is_gray)
    blocks = {
        "icc-profile-data": profile,
        "exif-data": PLACEHOLDER,
    }
    if xmp := picture.metadata.get("xmp"):
        blocks["xmp-data"] = fitted_xmp(xmp, picture.width, picture.height)
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
    for name, body in read_chunks(file):
        if name == b"acTL":
            return max(int.from_bytes(body[:4], "big"), 1)
        if name == b"IDAT":
            break
    return 1


def _blob(image: pyvips.Image, name: str) -> bytes | None:
    return image.get(name) if image.get_typeof(name) else None


def _damaged(file: Path | bytes, source_format: str, error: Exception) -> PictureError:
    if codec := _UNKNOWN_CODEC.search(str(error)):
        return PictureError(
            f"{_title(file)}: is compressed as {codec[1]}, which Vernier cannot decode; convert it "
            "to JPEG or PNG first (telephones and photo libraries do so on export), or install the "
            f"decoder: {install_command('formats')}"
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
