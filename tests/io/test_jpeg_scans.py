"""JPEG files that end too early, and what libraries would say of them on the terminal."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vernier.io import PictureError, read_picture
from vernier.io.jpeg_scans import has_all_scans

WAVE = 128 + 100 * np.sin(np.arange(96) / 9)[:, None] * np.cos(np.arange(120) / 7)
PIXELS = np.stack([WAVE, WAVE[::-1], WAVE[:, ::-1]], -1).astype(np.uint8)
KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "optimised": {"optimize": True, "subsampling": 0},
}


def jpeg(kind: str = "baseline", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, "JPEG", quality=90, **KINDS[kind])
    return file.getvalue()


def refusal(data: bytes) -> str:
    with pytest.raises(PictureError) as caught:
        read_picture(data)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [1, 2])
def test_a_file_without_its_end_mark_is_whole(
    missing: int, kind: str, mode: str, tmp_path: Path
) -> None:
    whole = jpeg(kind, mode)
    (tmp_path / "a.jpg").write_bytes(whole[:-missing])
    for source in (tmp_path / "a.jpg", whole[:-missing]):
        picture = read_picture(source)
        np.testing.assert_array_equal(picture.pixels, read_picture(whole).pixels)
        assert picture.notes == ("the file lacks its end mark, but all pixels are there",)
    assert not read_picture(whole).notes


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_a_file_that_ends_early_is_refused(end: bytes, kind: str, mode: str) -> None:
    whole = jpeg(kind, mode)
    scans = whole.rindex(b"\xff\xda") if kind == "progressive" else whole.index(b"\xff\xda")
    for share in (0.1, 0.5, 0.9, 0.97):
        cut = scans + 20 + int(share * (len(whole) - scans - 24))
        assert "JPEG file is damaged" in refusal(whole[:cut] + end), share


def test_a_progressive_file_cut_between_scans_is_refused() -> None:
    """What is there decodes without a complaint, but some of the picture is in no scan."""
    whole = jpeg("progressive")
    starts = [at for at in range(len(whole)) if whole.startswith(b"\xff\xda", at)]
    assert len(starts) > 4
    assert has_all_scans(whole)
    for start in starts[1:]:
        # A scan's tables stand before it.
        table = whole.rfind(b"\xff\xc4", 0, start)
        previous = max(at for at in starts if at < start)
        cut = whole[: table if table > previous else start]
        assert not has_all_scans(cut + b"\xff\xd9")
        assert "JPEG file is damaged" in refusal(cut)


@pytest.mark.parametrize("junk", [b"\0\0\0", b"junk"])
def test_junk_between_segments_is_passed_over(junk: bytes) -> None:
    whole = jpeg()
    table = whole.index(b"\xff\xc4")
    odd = whole[:table] + junk + whole[table:]
    np.testing.assert_array_equal(read_picture(odd).pixels, read_picture(whole).pixels)
    scan = odd.index(b"\xff\xda")
    assert "JPEG file is damaged" in refusal(odd[: len(odd) * 95 // 100] + b"\xff\xd9")
    assert len(odd) * 95 // 100 > scan
    np.testing.assert_array_equal(
        read_picture(whole + b"trailer" * 9).pixels, read_picture(whole).pixels
    )


def declaring(data: bytes, width: int, height: int) -> bytes:
    frame = next(at for at in range(len(data)) if data[at : at + 2] in (b"\xff\xc0", b"\xff\xc2"))
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return data[: frame + 5] + size + data[frame + 9 :]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", ["baseline", "progressive"])
def test_a_file_that_declares_more_than_it_holds_is_refused_at_once(kind: str, mode: str) -> None:
    start = time.process_time()
    message = refusal(declaring(jpeg(kind, mode), 65500, 4000))
    assert time.process_time() - start < 2
    assert "65500 x 4000" in message
    assert "JPEG file is damaged" in refusal(declaring(jpeg(kind, mode), 120, 960))


def test_flat_pictures_are_plausible() -> None:
    file = io.BytesIO()
    for options in ({}, {"progressive": True, "optimize": True}):
        file.seek(0)
        file.truncate()
        Image.new("L", (3000, 2000), 128).save(file, "JPEG", quality=1, **options)
        assert read_picture(file.getvalue()).pixels.shape == (2000, 3000, 1)


def test_libraries_say_nothing_on_the_terminal(tmp_path: Path) -> None:
    """An AVIF that declares 2^31 - 1 pixels a side, and a JPEG of a table that is not there."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "AVIF")
    avif = bytearray(file.getvalue())
    place = avif.index(b"ispe") + 8
    avif[place : place + 8] = b"\x7f\xff\xff\xff" * 2
    (tmp_path / "a.avif").write_bytes(avif)
    whole = jpeg()
    table = whole.index(b"\xff\xc4")
    (tmp_path / "b.jpg").write_bytes(whole[:table] + b"junk" + whole[table:])
    whole = jpeg("progressive")
    table = whole.index(b"\xff\xc4")
    (tmp_path / "c.jpg").write_bytes(whole[:table] + whole[whole.index(b"\xff\xda") :])
    code = """
import sys
from vernier.io import PictureError, read_picture
for name in sys.argv[1:]:
    try:
        print(read_picture(name).pixels.shape)
    except PictureError:
        print("refused")
"""
    names = [str(tmp_path / name) for name in ("a.avif", "b.jpg", "c.jpg")]
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("refused\n(96, 120, 3)\nrefused\n", "")
