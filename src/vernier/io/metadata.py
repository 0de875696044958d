"""What travels beside a picture's pixels: taken out of files and put into them, byte for byte.

libvips writes EXIF anew and leaves out all that its library does not know, and carries neither text
of PNG nor comments of JPEG. So these are put in behind the encoder. Profile, XMP and IPTC in JPEG
and TIFF are libvips' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vernier.io.colour_chunks import colour_of, unkept_colour
from vernier.io.exif import (
    add_metadata_to_tiff,
    exif_of_tiff,
    fitted_exif,
    tags_of_tiff,
    tiff_with_metadata,
    without_thumbnail,
)
from vernier.io.files import shown
from vernier.io.georeference import GEOREFERENCE_TAGS, has_place
from vernier.io.gif import gif_comments
from vernier.io.heif import further_heif_pictures, heif_with_exif
from vernier.io.iptc import iptc_chunk, iptc_records
from vernier.io.jpeg import (
    LONGEST_COMMENT,
    LONGEST_EXIF,
    LONGEST_IPTC,
    LONGEST_XMP,
    comment_segment,
    comments_of,
    further_pictures,
    jpeg_with_segments,
    read_segments,
)
from vernier.io.png import (
    Chunk,
    add_chunks_to_png,
    chunk,
    chunks_of,
    comment_chunk,
    decoded_text,
    density_of,
    is_text,
    png_with_chunks,
    raw_profile,
    read_chunks,
    xmp_of,
)
from vernier.io.webp import webp_with_exif

if TYPE_CHECKING:
    from vernier.io.picture_formats import PictureFormat
    from vernier.io.pictures import Picture

__all__ = [
    "Beside",
    "add_to_bytes",
    "add_to_file",
    "metadata_losses",
    "read_beside",
]

_COMMENT = "Comment"
# How many keywords a note names.
_NAMED = 5
# pHYs, which libvips always writes.
_DENSITY = frozenset({b"pHYs"})
_HEAD = 2**16


@dataclass(frozen=True)
class Beside:
    """What libvips does not read of a file.

    Attributes:
        blocks: "text", "comments" and "georeference", see `vernier.io.Picture.metadata`.
        companion: what else of the file is no part of its picture, such as a gain map.
        exif, xmp, iptc: of a PNG, which may hold them where libvips does not look. Of a TIFF, whose
            EXIF it does not read, exif alone.
        density: of a PNG, in pixels per millimetre; libvips makes one up where there is none.
    """

    blocks: dict[str, bytes]
    companion: str | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    density: tuple[float, float] | None = None


def read_beside(file: Path | bytes, source_format: str, start: int | None = None) -> Beside:
    """Read what libvips does not; of a damaged file as much as is whole.

    Args:
        source_format: as in `vernier.io.Picture`.
        start: of a TIFF, offset of the directory that tells of the picture; None for the first.
    """
    match source_format:
        case "png":
            chunks = list(read_chunks(file))
            text = b"".join(chunk(*each) for each in chunks if is_text(*each))
            exif = next((body for name, body in chunks if name == b"eXIf"), None)
            has_profile = any(name == b"iCCP" for name, _ in chunks)
            blocks = {"text": text, "colour": colour_of(chunks, has_profile=has_profile)}
            return Beside(
                {name: block for name, block in blocks.items() if block},
                exif=exif or raw_profile(chunks, "exif", "APP1"),
                xmp=xmp_of(chunks) or raw_profile(chunks, "xmp"),
                iptc=raw_profile(chunks, "iptc", "8bim"),
                density=density_of(chunks),
            )
        case "jpeg":
            segments = list(read_segments(file))
            comments = _joined(comments_of(segments))
            blocks = {"comments": comments} if comments else {}
            return Beside(blocks, companion=further_pictures(segments))
        case "tiff":
            place = tags_of_tiff(file, GEOREFERENCE_TAGS, start)
            # Where a preview comes first, it is told who took the picture.
            exif = exif_of_tiff(file, start) or exif_of_tiff(file)
            return Beside({"georeference": place} if place else {}, exif=exif)
        case "gif":
            comments = _joined(gif_comments(file))
            return Beside({"comments": comments} if comments else {})
        case "heif":
            return Beside({}, companion=further_heif_pictures(_head(file)))
    return Beside({})


def _head(file: Path | bytes) -> bytes:
    if isinstance(file, bytes):
        return file[:_HEAD]
    with file.open("rb") as opened:
        return opened.read(_HEAD)


def _joined(comments: Sequence[bytes]) -> bytes:
    """Comments as `vernier.io.Picture.metadata` holds them, cut where a segment ends."""
    return b"".join(comment_segment(comment[:LONGEST_COMMENT]) for comment in comments)


def add_to_file(path: Path, writer: str, picture: Picture) -> None:
    """Put into a file of libvips what the picture has beside its pixels.

    Args:
        writer: libvips' name of the format.

    Raises:
        OSError, ValueError: the file cannot be written, or is not as libvips writes it.
    """
    # What is large stays on the disk; the others are compressed too well for that to matter.
    match writer:
        case "png":
            add_chunks_to_png(path, _png_chunks(picture), _unwanted(picture))
        case "tiff":
            exif, records = picture.metadata.get("exif"), _records(picture)
            add_metadata_to_tiff(
                path,
                exif,
                records,
                picture.width,
                picture.height,
                more=picture.metadata.get("georeference"),
                has_density=picture.density is not None,
            )
        case _:
            content = path.read_bytes()
            if (whole := add_to_bytes(content, writer, picture)) != content:
                path.write_bytes(whole)


def add_to_bytes(content: bytes, writer: str, picture: Picture) -> bytes:
    """The same for a file in memory."""
    exif, width, height = _exif(picture, writer), picture.width, picture.height
    match writer:
        case "png":
            return png_with_chunks(content, _png_chunks(picture), _unwanted(picture))
        case "tiff":
            return tiff_with_metadata(
                content,
                picture.metadata.get("exif"),
                _records(picture),
                width,
                height,
                more=picture.metadata.get("georeference"),
                has_density=picture.density is not None,
            )
        case "jpeg":
            return jpeg_with_segments(
                content,
                exif=exif,
                comments=_joined(_comments_for_jpeg(picture)),
                density=picture.density,
                in_centimetres=picture.density_unit == "cm",
            )
        case "webp" if exif:
            return webp_with_exif(content, exif, width, height)
        case "heif" if exif:
            return heif_with_exif(content, exif)
    return content


def metadata_losses(picture: Picture, target: PictureFormat) -> tuple[str, ...]:
    """What of the picture's metadata a format does not hold, in sentences for people."""
    metadata, writer, name = picture.metadata, target.key, target.name
    notes = []
    if metadata.get("exif") and writer != "tiff" and not _exif(picture, writer):
        notes.append(f"EXIF is left out, for {name} has room for 64 kB of it")
    if writer == "jpeg" and len(metadata.get("xmp", b"")) > LONGEST_XMP:
        notes.append(f"XMP is left out, for {name} has room for 64 kB of it")
    if writer == "jpeg" and len(metadata.get("iptc", b"")) > LONGEST_IPTC:
        notes.append(f"IPTC is left out, for {name} has room for 64 kB of it")
    if writer in ("webp", "heif") and _records(picture):
        notes.append(f"IPTC is left out, for {name} has no place for it; JPEG, PNG and TIFF do")
    if keywords := _lost_text(picture, writer):
        notes.append(f"text of PNG is left out, for {name} has no place for it: {keywords}")
    if _lost_comments(picture, writer):
        notes.append(f"a comment is left out, for {name} has no place for it; JPEG and PNG do")
    colour = unkept_colour(metadata.get("colour", b"")) if writer != "png" else None
    if colour and (colour.startswith("HDR") or not picture.icc_profile):
        notes.append(
            f"what the file tells of its colours, {colour}, is left out, for {name} has no place "
            "for it; PNG does"
        )
    if writer != "tiff" and (place := metadata.get("georeference")):
        what = "the place on the ground (GeoTIFF)" if has_place(place) else "GDAL's metadata"
        notes.append(f"{what} is left out, for {name} has no place for it; TIFF does")
    return tuple(notes)


def _exif(picture: Picture, writer: str) -> bytes | None:
    """The block of EXIF as a format takes it; None where there is none, or no room."""
    exif = picture.metadata.get("exif")
    if not exif:
        return None
    exif = fitted_exif(exif, picture.width, picture.height, picture.density)
    if writer == "jpeg" and len(exif) > LONGEST_EXIF:
        exif = without_thumbnail(exif)
        return exif if len(exif) <= LONGEST_EXIF else None
    return exif


def _records(picture: Picture) -> bytes | None:
    iptc = picture.metadata.get("iptc")
    return iptc_records(iptc) if iptc else None


def _unwanted(picture: Picture) -> frozenset[bytes]:
    return frozenset() if picture.density else _DENSITY


def _png_chunks(picture: Picture) -> list[Chunk]:
    chunks = chunks_of(picture.metadata.get("colour", b""))
    if exif := _exif(picture, "png"):
        chunks.append((b"eXIf", exif))
    if iptc := picture.metadata.get("iptc"):
        chunks.append(iptc_chunk(iptc))
    comments = [_comment_text(each) for each in _stored_comments(picture)]
    chunks += [comment_chunk(text) for text in comments if text is not None]
    return chunks + chunks_of(picture.metadata.get("text", b""))


def _comments_for_jpeg(picture: Picture) -> list[bytes]:
    texts = [decoded_text(*each) for each in chunks_of(picture.metadata.get("text", b""))]
    of_png = [text.encode() for keyword, text in texts if _fits_in_jpeg(keyword, text) and text]
    return _stored_comments(picture) + of_png


def _fits_in_jpeg(keyword: str, text: str | None) -> bool:
    return keyword == _COMMENT and text is not None and len(text.encode()) <= LONGEST_COMMENT


def _lost_text(picture: Picture, writer: str) -> str:
    """The keywords of text that a format does not hold."""
    if writer == "png":
        return ""
    texts = [decoded_text(*each) for each in chunks_of(picture.metadata.get("text", b""))]
    lost = [each for each, text in texts if writer != "jpeg" or not _fits_in_jpeg(each, text)]
    keywords = [shown(each) for each in dict.fromkeys(lost)]
    more = f" and {len(keywords) - _NAMED} more" if len(keywords) > _NAMED else ""
    return ", ".join(keywords[:_NAMED]) + more


def _lost_comments(picture: Picture, writer: str) -> bool:
    comments = _stored_comments(picture)
    if writer == "png":
        return None in map(_comment_text, comments)
    return bool(comments) and writer != "jpeg"


def _stored_comments(picture: Picture) -> list[bytes]:
    return comments_of(read_segments(b"\xff\xd8" + picture.metadata.get("comments", b"")))


def _comment_text(comment: bytes) -> str | None:
    """A comment's letters; None for bytes that are no text."""
    comment = comment.rstrip(b"\0")
    if b"\0" in comment:
        return None
    with suppress(UnicodeDecodeError):
        return comment.decode()
    return comment.decode("latin-1")
