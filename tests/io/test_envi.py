"""ENVI headers as they are met, of programs that do not follow the letter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from spectral.io import envi

from vernier.io.cubes import Cube, CubeError, read_cube, write_cube
from vernier.io.files import protect

HEAD = """ENVI
samples = 4
lines = 3
bands = 2
header offset = 0
file type = ENVI Standard
data type = 12
interleave = bsq
"""
VALUES = np.arange(24, dtype="<u2").reshape(2, 3, 4) * 100


def put(folder: Path, header: bytes | str, name: str = "a.hdr", data: str = "a.img") -> Path:
    content = header.encode() if isinstance(header, str) else header
    (folder / name).write_bytes(content)
    (folder / data).write_bytes(VALUES.tobytes())
    return folder / name


@pytest.mark.parametrize(
    "header",
    [
        HEAD.encode(),
        HEAD.encode() + "description = {Müller, µ °C}\n".encode("latin-1"),
        b"\xef\xbb\xbf" + HEAD.encode(),
        HEAD.encode("utf-16"),
        HEAD.replace("\n", "\r\n").encode(),
        HEAD.replace("\n", "\r").encode(),
        HEAD.upper().encode(),
        HEAD.encode() + b"; a remark = {not closed\n",
        HEAD.encode() + b"map info = {not, closed\n",
    ],
)
def test_headers_of_every_encoding_are_read(tmp_path: Path, header: bytes) -> None:
    cube = read_cube(put(tmp_path, header))
    np.testing.assert_array_equal(cube.values, VALUES)
    if b"description" in header:
        assert cube.metadata["description"] == "Müller, µ °C"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("A.HDR", "A.IMG"),
        ("a.hdr", "a.DAT"),
        ("A.Hdr", "a.img"),
        ("a.img.hdr", "a.img"),
        ("A.BSQ.HDR", "A.BSQ"),
        ("a.hdr", "a"),
    ],
)
def test_capitals_in_names_are_the_same_names(tmp_path: Path, name: str, data: str) -> None:
    header = put(tmp_path, HEAD, name, data)
    for path in (header, tmp_path / data):
        np.testing.assert_array_equal(read_cube(path).values, VALUES)


@pytest.mark.parametrize(
    ("stated", "peak"),
    [
        ("10000", 10000),
        ("{10000}", 10000),
        ("10,000", 10000),
        ("{10,000}", 10000),
        ("{10000, 10000}", 10000),
        ("1.0e4", 10000),
        ("{5000, 10000}", None),
        ("many", None),
        ("{}", None),
    ],
)
def test_scale_factors_are_read_as_people_write_them(
    tmp_path: Path, stated: str, peak: float | None
) -> None:
    cube = read_cube(put(tmp_path, HEAD + f"reflectance scale factor = {stated}\n"))
    assert cube.peak == peak
    assert ("differ" in "".join(cube.notes)) == (stated == "{5000, 10000}")


@pytest.mark.parametrize(
    ("unit", "numbers", "centres", "told"),
    [
        ("Nanometers", "450, 950", (450.0, 950.0), ""),
        ("Micrometers", "0.45, 0.95", (450.0, 950.0), ""),
        ("Micrometers", "450, 950", (450.0, 950.0), "taken for nanometres"),
        ("Nanometers", "0.45, 0.95", (450.0, 950.0), "taken for micrometres"),
        ("Angstroms", "4500, 9500", (450.0, 950.0), ""),
        ("Wavenumber", "20000, 12500", (500.0, 800.0), "converted from Wavenumber"),
        ("Wavenumber", "1, 2", None, "left out"),
        ("GHz", "599584.916, 299792.458", (500.0, 1000.0), "converted from GHz"),
        ("Index", "450, 950", None, ""),
        ("Unknown", "0.45, 0.95", (450.0, 950.0), ""),
        ("Unknown", "1, 2", None, ""),
    ],
)
def test_units_that_cannot_be_are_not_believed(
    tmp_path: Path, unit: str, numbers: str, centres: tuple[float, ...] | None, told: str
) -> None:
    header = HEAD + f"wavelength units = {unit}\nwavelength = {{\n {numbers}\n}}\n"
    cube = read_cube(put(tmp_path, header))
    assert cube.wavelengths == (None if centres is None else pytest.approx(centres))
    assert told in "".join(cube.notes)
    assert bool(cube.notes) == bool(told)


def test_the_widths_of_bands_become_nanometres_with_their_centres(tmp_path: Path) -> None:
    fields = "wavelength units = Micrometers\nwavelength = {0.45, 0.95}\nfwhm = {0.01, 0.02}\n"
    cube = read_cube(put(tmp_path, HEAD + fields))
    assert cube.metadata["fwhm"] == ["10", "20"]
    write_cube(cube, tmp_path / "b.hdr")
    other = envi.open(str(tmp_path / "b.hdr"))
    assert other.bands.bandwidths == [10.0, 20.0]
    assert other.bands.centers == [450.0, 950.0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("ENVI", "ERDAS"), "first line is not ENVI"),
        (("bands = 2", ""), "has no bands"),
        (("bands = 2", "bands = two"), "bands = two is no number"),
        (("bands = 2", "bands = 0"), "bands = 0 is no number"),
        (("bands = 2", "bands = 200000000000"), "the header declares"),
        (("lines = 3", "lines = 4"), "48 bytes, but the header declares 64"),
        (("data type = 12", "data type = 6"), "holds no real numbers"),
        (("interleave = bsq", "interleave = zip"), "bsq, bil and bip can be read"),
        (("ENVI Standard", "ENVI Spectral Library"), "library of spectra"),
        (("header offset = 0", "file compression = 1"), "without compression"),
        (("header offset = 0", "header offset = -5"), "header offset = -5 is no number"),
    ],
)
def test_what_a_header_lacks_is_one_line(
    tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    with pytest.raises(CubeError, match=told) as caught:
        read_cube(put(tmp_path, HEAD.replace(*change)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["", ".dat", ".raw", ".bin", ".bsq", ".envi"])
def test_values_lie_beside_their_header(tmp_path: Path, suffix: str) -> None:
    path = put(tmp_path, HEAD)
    (tmp_path / "a.img").rename(tmp_path / f"a{suffix}")
    assert np.array_equal(read_cube(path).values, VALUES)


def test_a_header_without_values_says_where_they_belong(tmp_path: Path) -> None:
    path = put(tmp_path, HEAD)
    (tmp_path / "a.img").unlink()
    with pytest.raises(CubeError, match=r"the values are missing; put a\.img beside"):
        read_cube(path)


def test_what_metadata_say_never_breaks_a_header(tmp_path: Path) -> None:
    metadata = {
        "samples": 99,
        "note": "two\nlines with {braces} and = signs",
        "a=b": "c",
        "": "nameless",
        "Sensor": "é",
        "list": ["1,5", 2],
    }
    cube = Cube(VALUES, 1000.0, metadata=metadata, no_data=65535.0)
    write_cube(cube, tmp_path / "b.hdr")
    back = read_cube(tmp_path / "b.hdr")
    np.testing.assert_array_equal(back.values, VALUES)
    assert (back.peak, back.no_data) == (1000.0, 65535.0)
    assert back.metadata == {
        "note": "two lines with (braces) and = signs",
        "a-b": "c",
        "sensor": "é",
        "list": ["1-5", "2"],
    }
    assert envi.open(str(tmp_path / "b.hdr")).shape == (3, 4, 2)


def test_a_header_of_many_open_braces_is_read_in_one_pass(tmp_path: Path) -> None:
    cube = read_cube(put(tmp_path, HEAD + "a = {\n" * 200_000))
    assert cube.metadata == {"a": "{"}


def test_the_files_of_a_cube_in_capitals_are_protected(tmp_path: Path) -> None:
    header = put(tmp_path, HEAD, "A.HDR", "A.IMG")
    with pytest.raises(ValueError, match="would overwrite the input"):
        protect([tmp_path / "A.IMG"], [header])
    with pytest.raises(ValueError, match="would overwrite the input"):
        protect([header], [tmp_path / "A.IMG"])
