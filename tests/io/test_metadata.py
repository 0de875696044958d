"""What travels beside the pixels, read back by Pillow and tifffile and byte by byte."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from vernier.io import Picture, PictureError, encode_picture, losses_in, read_picture, write_picture
from vernier.io.heif import further_heif_pictures
from vernier.io.jpeg import read_segments
from vernier.io.png import read_chunks

SUFFIXES = (".png", ".jpg", ".webp", ".avif", ".tif")
CAMERA, GPS = 0x8769, 0x8825
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)

# Tags that came after the library which libvips writes EXIF with, and makers' own.
MAIN_TAGS: dict[int, Any] = {
    **{0x000B: "ACDSee", 0x010F: "Maker", 0x013C: "host", 0x4746: 5, 0x4749: 99},
    **{0x8298: "(c) A (B) - [None]", 0x9C9B: b"T\0i\0\0\0", 0xC4A5: b"PrintIM\x000300"},
}
CAMERA_TAGS: dict[int, Any] = {
    **{0x829A: 0.01, 0x9003: "2020:01:01 00:00:00", 0x927C: b"maker's notes" * 9},
    **{0x9400: 21.5, 0x9401: 50.0, 0x9402: 1013.0, 0x9403: -3.0, 0xA436: "a title"},
    **{0xA437: "a photographer", 0xA43A: "firmware", 0xFDE8: "an owner", 0xFDEA: "a lens"},
}


def camera_exif(order: str = "<", orientation: int = 1, thumbnail: bytes = b"") -> bytes:
    exif = Image.Exif()
    exif.endian = order
    for tag, value in MAIN_TAGS.items():
        exif[tag] = value
    exif[0x0112] = orientation
    exif[CAMERA] = {**CAMERA_TAGS, 0xA002: 4000, 0xA003: 3000}
    exif[GPS] = {1: "N", 2: (51.0, 30.0, 12.5)}
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    if not thumbnail:
        return block
    # A second directory behind all that is there, with a picture of its own.
    (first,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, first)
    block += bytes(len(block) % 2)
    pointer = struct.pack(order + "I", len(block))
    place = first + 2 + 12 * count
    at = len(block) + 2 + 2 * 12 + 4
    directory = struct.pack(order + "H", 2)
    directory += struct.pack(order + "HHII", 0x0201, 4, 1, at)
    directory += struct.pack(order + "HHII", 0x0202, 4, 1, len(thumbnail)) + bytes(4)
    return block[:place] + pointer + block[place + 4 :] + directory + thumbnail


def written(picture: Picture, suffix: str, tmp_path: Path) -> bytes:
    """The file, which is the same one on the disk and in memory."""
    path = tmp_path / f"written{suffix}"
    write_picture(picture, path)
    content = path.read_bytes()
    assert content == encode_picture(picture, suffix)
    return content


def opened(content: bytes) -> Any:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def exif_in(content: bytes) -> bytes:
    """The block of EXIF in a file, byte for byte."""
    return bytes(opened(content).info["exif"]).removeprefix(b"Exif\0\0")


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    plain = io.BytesIO()
    Image.fromarray(PIXELS).save(plain, "JPEG")
    more = [struct.pack(">BBH", 0xFF, mark, len(body) + 2) + body for mark, body in segments]
    return plain.getvalue()[:2] + b"".join(more) + plain.getvalue()[2:]


def png_with(before: list[tuple[bytes, bytes]], behind: list[tuple[bytes, bytes]]) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    height, width, _ = PIXELS.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in PIXELS)
    chunks = [(b"IHDR", header), *before, (b"IDAT", zlib.compress(rows)), *behind, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in chunks)


# EXIF


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_tag_of_exif_survives(suffix: str, order: str, tmp_path: Path) -> None:
    source = jpeg_with((0xE1, b"Exif\0\0" + camera_exif(order)))
    picture = read_picture(source)
    larger = picture.with_pixels(np.repeat(np.repeat(picture.pixels, 2, 0), 2, 1))
    exif = opened(written(larger, suffix, tmp_path)).getexif()
    assert {tag: exif.get(tag) for tag in MAIN_TAGS} == MAIN_TAGS
    camera = exif.get_ifd(CAMERA)
    assert {tag: camera.get(tag) for tag in CAMERA_TAGS} == CAMERA_TAGS
    assert (camera[0xA002], camera[0xA003]) == (32, 24)
    assert exif.get_ifd(GPS) == {1: "N", 2: (51.0, 30.0, 12.5)}
    assert exif[0x0112] == 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_exif_changes_by_its_sizes_alone(suffix: str, alpha: bool, tmp_path: Path) -> None:
    block = camera_exif(thumbnail=b"a thumbnail")
    pixels = np.dstack([PIXELS, PIXELS[..., 0]]) if alpha else PIXELS
    content = written(Picture(pixels, metadata={"exif": block}), suffix, tmp_path)
    expected = block.replace(struct.pack("<I", 4000), struct.pack("<I", 16))
    expected = expected.replace(struct.pack("<I", 3000), struct.pack("<I", 12))
    assert exif_in(content) == expected
    assert opened(content).size == (16, 12)
    assert (opened(content).mode in ("RGBA", "LA")) == (alpha and suffix != ".jpg")
    back = read_picture(content)
    assert back.metadata["exif"] == expected
    if suffix == ".png":
        assert np.array_equal(back.pixels, pixels)


@pytest.mark.parametrize("quality", [90, 100])
@pytest.mark.parametrize("alpha", [False, True])
def test_exif_in_webp_of_every_kind(quality: int, alpha: bool) -> None:
    pixels = np.dstack([PIXELS, PIXELS[..., 0]]) if alpha else PIXELS
    for more in ({}, {"xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"}):
        picture = Picture(pixels, metadata={"exif": camera_exif(), **more})
        plain = Picture(pixels, metadata=more)
        with_exif = opened(encode_picture(picture, "webp", quality=quality))
        without = opened(encode_picture(plain, "webp", quality=quality))
        assert np.array_equal(np.asarray(with_exif), np.asarray(without))
        assert with_exif.mode == without.mode
        assert with_exif.getexif()[0x013C] == "host"
        assert with_exif.info.get("xmp") == more.get("xmp")


@pytest.mark.parametrize("kind", ["H", "I"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_turned_picture_is_not_turned_again(
    suffix: str, order: str, kind: str, tmp_path: Path
) -> None:
    """Also where the orientation is a number of another type than it should be."""
    block = bytearray(camera_exif(order, orientation=6, thumbnail=b"thumb" * 9))
    at = bytes(block).index(struct.pack(order + "HHI", 0x0112, 3, 1))
    value = struct.pack(order + kind, 6).ljust(4, b"\0")
    block[at : at + 12] = struct.pack(order + "HHI", 0x0112, {"H": 3, "I": 4}[kind], 1) + value
    picture = read_picture(jpeg_with((0xE1, b"Exif\0\0" + bytes(block))))
    assert (picture.width, picture.height) == (12, 16)
    assert b"thumb" not in picture.metadata["exif"]
    content = written(picture, suffix, tmp_path)
    assert opened(content).getexif()[0x0112] == 1
    back = read_picture(content)
    assert (back.width, back.height) == (12, 16)


def test_exif_that_jpeg_has_no_room_for(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[CAMERA] = {0x927C: bytes(65000)}
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    fits = Picture(PIXELS, metadata={"exif": block})
    assert exif_in(written(fits, ".jpg", tmp_path)) == block
    assert losses_in(fits, ".jpg") == ()
    exif[CAMERA] = {0x927C: bytes(65500)}
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    large = Picture(PIXELS, metadata={"exif": block})
    assert "exif" not in opened(written(large, ".jpg", tmp_path)).info
    (note,) = losses_in(large, ".jpg")
    assert "EXIF is left out" in note
    for suffix in (".png", ".webp", ".avif"):
        assert exif_in(written(large, suffix, tmp_path)) == block
        assert losses_in(large, suffix) == ()


def test_a_thumbnail_makes_room_for_exif_in_jpeg(tmp_path: Path) -> None:
    picture = Picture(PIXELS, metadata={"exif": camera_exif(thumbnail=bytes(65500))})
    assert losses_in(picture, ".jpg") == ()
    assert opened(written(picture, ".jpg", tmp_path)).getexif()[0x4746] == 5


def test_exif_of_a_png_behind_its_pixels(tmp_path: Path) -> None:
    picture = read_picture(png_with([], [(b"eXIf", camera_exif(orientation=3))]))
    assert np.array_equal(picture.pixels, PIXELS[::-1, ::-1])
    assert opened(written(picture, ".png", tmp_path)).getexif()[0x4749] == 99


# Text and comments

TEXT = [
    (b"tEXt", b"parameters\0a tree\nSteps: 40, Seed: 7"),
    (b"tEXt", b"Titre\0na\xefve"),
    (b"zTXt", b"workflow\0\0" + zlib.compress(b'{"nodes": []}')),
    (b"iTXt", b"Comment\0\0\0de\0Kommentar\0" + "Grüße 東京".encode()),
    (b"iTXt", b"Author\0\1\0\0\0" + zlib.compress("Å".encode())),
]


def text_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of text in a file, by a reader of its own."""
    at, found = 8, []
    while at < len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        body = content[at + 8 : at + 8 + length]
        check = struct.unpack_from(">I", content, at + 8 + length)[0]
        assert check == zlib.crc32(name + body)
        if name in (b"tEXt", b"zTXt", b"iTXt"):
            found.append((name, body))
        at += 12 + length
    return found


@pytest.mark.parametrize("behind", [0, 3, 5])
def test_text_of_png_stays_byte_for_byte(behind: int, tmp_path: Path) -> None:
    source = png_with(TEXT[: len(TEXT) - behind], TEXT[len(TEXT) - behind :])
    (tmp_path / "a.png").write_bytes(source)
    for picture in (read_picture(source), read_picture(tmp_path / "a.png")):
        content = written(picture, ".png", tmp_path)
        assert text_chunks(content) == TEXT
        image = opened(content)
        assert image.text["Comment"] == "Grüße 東京"
        assert image.text["workflow"] == '{"nodes": []}'
        assert np.array_equal(np.asarray(image), PIXELS)
        assert losses_in(picture, ".png") == ()


def test_text_that_is_another_block_is_not_kept_twice(tmp_path: Path) -> None:
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    digits = camera_exif().hex()
    before = [
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        (b"tEXt", f"Raw profile type exif\0\nexif\n{len(digits) // 2:8}\n{digits}\n".encode()),
        (b"tEXt", b"Raw profile type mine\0\nmine\n       2\n0102\n"),
    ]
    content = written(read_picture(png_with(before, [])), ".png", tmp_path)
    assert [body.split(b"\0")[0] for _, body in text_chunks(content)] == [
        b"Raw profile type mine",
        b"XML:com.adobe.xmp",
    ]
    assert opened(content).getexif()[0x4746] == 5


def test_a_note_names_few_keywords_and_no_control_characters() -> None:
    texts = [(b"tEXt", b"\x1b[2J%d\0x" % number) for number in range(2000)]
    (note,) = losses_in(read_picture(png_with(texts, [])), ".jpg")
    assert note.isprintable()
    assert note.endswith(" and 1995 more")
    assert len(note) < 200


def test_xmp_of_a_png_behind_its_pixels() -> None:
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    source = png_with([], [(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)])
    assert read_picture(source).metadata == {"xmp": xmp}


def test_a_comment_goes_from_png_to_jpeg_and_the_rest_is_told(tmp_path: Path) -> None:
    picture = read_picture(png_with(TEXT, []))
    comment = opened(written(picture, ".jpg", tmp_path)).info["comment"]
    assert comment == "Grüße 東京".encode()
    (note,) = losses_in(picture, ".jpg")
    assert note.endswith(": parameters, Titre, workflow, Author")
    for suffix in (".webp", ".avif", ".tif"):
        (note,) = losses_in(picture, suffix)
        assert "parameters" in note
        assert "Comment" in note
        written(picture, suffix, tmp_path)


COMMENTS = [b"a comment", "Grüße 東京".encode(), b"Latin-1 \xe9", b"ends\0"]


def comments_in(content: bytes) -> list[bytes]:
    return [body for marker, body in opened(content).applist if marker == "COM"]


def test_comments_of_jpeg_stay_byte_for_byte(tmp_path: Path) -> None:
    source = jpeg_with(*((0xFE, comment) for comment in COMMENTS))
    picture = read_picture(source)
    assert comments_in(written(picture, ".jpg", tmp_path)) == COMMENTS
    assert losses_in(picture, ".jpg") == ()
    for suffix in (".webp", ".avif", ".tif"):
        (note,) = losses_in(picture, suffix)
        assert "comment" in note


def test_junk_between_segments_is_passed_over_and_ends() -> None:
    comment = struct.pack(">BBH", 0xFF, 0xFE, 7) + b"hello"
    for junk in (b"", b"\0\1\2", b"\xff\0" * 99, b"\xff" * 9, bytes(1000)):
        assert list(read_segments(b"\xff\xd8" + junk + comment)) == [(0xFE, b"hello")]
    start = time.process_time()
    endless = b"\xff\xd8" + b"\xff\0" * 20_000_000 + comment
    assert list(read_segments(endless)) == []
    assert time.process_time() - start < 1


def test_comments_of_jpeg_become_text_of_png(tmp_path: Path) -> None:
    picture = read_picture(jpeg_with(*((0xFE, comment) for comment in COMMENTS)))
    chunks = text_chunks(written(picture, ".png", tmp_path))
    assert chunks == [
        (b"tEXt", b"Comment\0a comment"),
        (b"iTXt", b"Comment\0\0\0\0\0" + "Grüße 東京".encode()),
        (b"tEXt", b"Comment\0Latin-1 \xe9"),
        (b"tEXt", b"Comment\0ends"),
    ]
    assert losses_in(picture, ".png") == ()
    binary = read_picture(jpeg_with((0xFE, b"\0\1\2")))
    assert text_chunks(written(binary, ".png", tmp_path)) == []
    assert len(losses_in(binary, ".png")) == 1


def test_a_comment_of_a_gif_becomes_text_of_png(tmp_path: Path) -> None:
    source = io.BytesIO()
    Image.fromarray(PIXELS).save(source, "GIF", comment=b"a GIF's comment")
    content = written(read_picture(source.getvalue()), ".png", tmp_path)
    assert opened(content).text == {"Comment": "a GIF's comment"}


def test_compressed_text_that_never_ends_takes_no_memory(tmp_path: Path) -> None:
    endless = b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    picture = read_picture(png_with([], [(b"zTXt", endless)]))
    assert text_chunks(written(picture, ".png", tmp_path)) == [(b"zTXt", endless)]
    (note,) = losses_in(picture, ".jpg")
    assert note.endswith(": Comment")


@pytest.mark.parametrize("seed", range(3))
def test_damage_beside_the_pixels_never_escapes(seed: int) -> None:
    random = np.random.default_rng(seed)
    sources = [
        png_with(TEXT, [(b"eXIf", camera_exif())]),
        jpeg_with((0xE1, b"Exif\0\0" + camera_exif()), (0xFE, b"hello"), (0xE2, MANY)),
    ]
    for source in sources:
        for _ in range(60):
            broken = bytearray(source)
            for place in random.integers(8, len(broken), 3):
                broken[place] = random.integers(256)
            list(read_chunks(bytes(broken)))
            list(read_segments(bytes(broken)))
            try:
                picture = read_picture(bytes(broken))
            except PictureError:
                continue
            for suffix in SUFFIXES:
                losses_in(picture, suffix)
                encode_picture(picture, suffix)


# Pictures beside the picture


def multi_picture(*kinds: int) -> bytes:
    entries = b"".join(struct.pack("<IIIHH", kind, 100, 200, 0, 0) for kind in kinds)
    start = 8 + 2 + 12 + 4
    table = struct.pack("<HHHII", 1, 0xB002, 7, len(entries), start) + bytes(4)
    return b"MPF\0II*\0" + struct.pack("<I", 8) + table + entries


MANY = multi_picture(0x20030000, 0x000000)


@pytest.mark.parametrize(
    ("segments", "told"),
    [
        ([(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")], "a gain map"),
        ([(0xE2, MANY)], "further pictures"),
        ([(0xE2, multi_picture(0x20030000, 0x020002))], "further pictures"),
        ([(0xE2, multi_picture(0x20030000, 0x010001))], ""),
        ([(0xE2, b"MPF\0nonsense")], ""),
        ([(0xE2, b"ICC_PROFILE\0\1\1")], ""),
    ],
)
def test_pictures_that_are_left_out_are_told(segments: list[tuple[int, bytes]], told: str) -> None:
    picture = read_picture(jpeg_with(*segments))
    assert len(picture.notes) == bool(told)
    assert all(told in note and note.endswith("is left out") for note in picture.notes)


@pytest.mark.parametrize("name", [b"tmap", b"urn:com:apple:photo:2020:aux:hdrgainmap"])
def test_a_gain_map_of_avif_is_told(name: bytes) -> None:
    content = encode_picture(Picture(PIXELS), "avif")
    # A box that no decoder knows stands for the item, which Pillow cannot write.
    kind = content.index(b"meta")
    box = struct.pack(">I4s", 8 + len(name), b"free") + name
    source = content[: kind - 4] + box + content[kind - 4 :]
    assert further_heif_pictures(content) is None
    assert further_heif_pictures(source) == "a gain map (HDR)"


XMP_PLACE = b"http://ns.adobe.com/xap/1.0/\0"
GAIN_MAP = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-"
    b"syntax-ns#'><rdf:Description xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/' hdrgm:"
    b"Version='1.0' xmlns:tiff='http://ns.adobe.com/tiff/1.0/' tiff:ImageWidth='16'/></rdf:RDF>"
    b"</x:xmpmeta>"
)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_claim_of_a_gain_map_is_left(suffix: str, tmp_path: Path) -> None:
    picture = read_picture(jpeg_with((0xE1, XMP_PLACE + GAIN_MAP)))
    assert picture.notes == ("a gain map (HDR) in the file is left out",)
    larger = picture.with_pixels(np.repeat(np.repeat(picture.pixels, 3, 0), 3, 1))
    back = read_picture(written(larger, suffix, tmp_path))
    assert b"hdrgm" not in back.metadata["xmp"]
    assert b"tiff:ImageWidth='48'" in back.metadata["xmp"]
    assert back.notes == ()


def test_xmp_that_jpeg_has_no_room_for_is_told(tmp_path: Path) -> None:
    xmp = GAIN_MAP.replace(b"hdrgm:Version='1.0'", b"") + b" " * 66000
    picture = Picture(PIXELS, metadata={"xmp": xmp})
    assert "xmp" not in read_picture(written(picture, ".jpg", tmp_path)).metadata
    (note,) = losses_in(picture, ".jpg")
    assert "XMP" in note
    assert losses_in(picture, ".png") == ()


def test_iptc_that_jpeg_has_no_room_for_is_told(tmp_path: Path) -> None:
    for size, has_room in ((65000, True), (66000, False)):
        body = b"\x1c\x02\x78\0\5hello" + bytes(size)
        resources = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(body)) + body
        picture = Picture(PIXELS, metadata={"iptc": resources + bytes(len(body) % 2)})
        back = read_picture(written(picture, ".jpg", tmp_path))
        assert ("iptc" in back.metadata) is has_room
        assert (losses_in(picture, ".jpg") == ()) is has_room
        assert losses_in(picture, ".png") == ()


def test_iptc_without_a_place_is_told() -> None:
    picture = Picture(PIXELS, metadata={"iptc": b"8BIM\x04\x04\0\0\0\0\0\x06\x1c\x02\x78\0\1x"})
    assert [len(losses_in(picture, suffix)) for suffix in SUFFIXES] == [0, 0, 1, 1, 0]


# Resolution


def states_resolution(content: bytes) -> bool:
    """Whether a file says how large its pixels are, in whatever way."""
    image = opened(content)
    if image.format == "TIFF":
        return bool(image.tag_v2.get(0x0128, 2) != 1)
    return bool({"dpi", "jfif_density"} & image.info.keys()) and image.info.get("jfif_unit") != 0


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("source", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "AVIF"])
def test_no_resolution_is_made_up(source: str, suffix: str, tmp_path: Path) -> None:
    plain = io.BytesIO()
    Image.fromarray(PIXELS).save(plain, source)
    picture = read_picture(plain.getvalue())
    assert picture.density is None
    content = written(picture, suffix, tmp_path)
    assert not states_resolution(content)
    assert read_picture(content).density is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("source", ["PNG", "JPEG", "TIFF"])
def test_a_resolution_stays(source: str, suffix: str, tmp_path: Path) -> None:
    plain = io.BytesIO()
    Image.fromarray(PIXELS).save(plain, source, dpi=(240, 120))
    picture = read_picture(plain.getvalue())
    content = written(picture, suffix, tmp_path)
    assert states_resolution(content)
    assert [float(each) for each in opened(content).info["dpi"]] == pytest.approx([240, 120], 1e-4)


@pytest.mark.parametrize("unit", ["inch", "centimeter"])
def test_the_unit_of_a_tiff_stays(unit: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, resolution=(240, 120), resolutionunit=unit)
    for suffix in (".tif", ".jpg"):
        write_picture(read_picture(tmp_path / "a.tif"), tmp_path / f"b{suffix}")
        write_picture(read_picture(tmp_path / f"b{suffix}"), tmp_path / "c.tif")
        with tifffile.TiffFile(tmp_path / "c.tif") as file:
            tags = file.pages.first.tags
            assert tags["ResolutionUnit"].value.name.lower() == unit
            stated = [a / b for a, b in (tags["XResolution"].value, tags["YResolution"].value)]
            assert stated == pytest.approx([240, 120], 1e-5)


def test_the_resolution_in_exif_follows_the_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128], exif[0x010F] = 72.0, 36.0, 2, "Maker"
    source = jpeg_with((0xE1, exif.tobytes()))
    picture = read_picture(source)
    assert picture.density == pytest.approx((72 / 25.4, 36 / 25.4))
    print_size = Picture(PIXELS, metadata=picture.metadata, density=(300 / 25.4, 150 / 25.4))
    for suffix in (".jpg", ".webp", ".avif", ".png"):
        kept = opened(written(picture, suffix, tmp_path)).getexif()
        assert (kept[0x011A], kept[0x011B]) == (72, 36)
        changed = opened(written(print_size, suffix, tmp_path)).getexif()
        assert (changed[0x011A], changed[0x011B], changed[0x0128]) == (300, 150, 2)
        back = read_picture(written(print_size, suffix, tmp_path))
        assert back.density == pytest.approx(print_size.density, 1e-4)


def test_a_turned_picture_turns_its_resolution() -> None:
    exif = Image.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128], exif[0x0112] = 72.0, 36.0, 2, 6
    picture = read_picture(jpeg_with((0xE1, exif.tobytes())))
    assert picture.density == pytest.approx((36 / 25.4, 72 / 25.4))
    changed = opened(encode_picture(picture, "jpg")).getexif()
    assert (changed[0x011A], changed[0x011B]) == (36, 72)
