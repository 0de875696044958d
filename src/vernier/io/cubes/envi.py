"""ENVI: a header of words, and the values in a file beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vernier.io.cubes.axes import wavelengths_of
from vernier.io.cubes.cube import Cube, CubeError, StoredCube, stated_number, stated_value
from vernier.io.cubes.place import GEOTIFF, map_info_of
from vernier.io.files import reason_of, shown

__all__ = ["VALUES_SUFFIX", "header_of", "read_envi", "write_envi"]

VALUES_SUFFIX = ".img"
"""Of the file with the values that `write_envi` puts beside the header."""

# Of files with values, in the order in which they are looked for beside a header.
_VALUES = ("", VALUES_SUFFIX, ".dat", ".raw", ".bin", ".bsq", ".bil", ".bip", ".envi")
# Bytes; no header of words is longer.
_LONGEST_HEADER = 2**24

# Header fields that describe the file instead of the cube, or are attributes of `Cube`.
_LAYOUT = frozenset(
    {
        *("samples", "lines", "bands", "header offset", "file type", "data type", "interleave"),
        *("byte order", "file compression", "wavelength", "wavelength units"),
        *("reflectance scale factor", "data ignore value"),
    }
)
# Text that may hold commas.
_TEXTS = frozenset({"description", "coordinate system string"})
_TYPES: Mapping[int, np.dtype[Any]] = {
    number: np.dtype(name)
    for number, name in (
        *((1, "u1"), (2, "i2"), (3, "i4"), (4, "f4"), (5, "f8")),
        *((12, "u2"), (13, "u4"), (14, "i8"), (15, "u8")),
    )
}
# The order of the axes on disk, slowest first.
_ORDERS = {"bsq": "chw", "bil": "hcw", "bip": "hwc"}


def header_of(path: Path) -> Path:
    """The header that belongs to a data file: cube.hdr, or cube.img.hdr, in capitals or not."""
    if path.suffix.lower() == ".hdr":
        return path
    for name in (f"{path.name}.hdr", f"{path.stem}.hdr"):
        if found := _beside(path, name):
            return found
    return path.with_suffix(".hdr")


def _beside(path: Path, name: str) -> Path | None:
    """The file of this name in the folder of a path, in capitals or not."""
    exact = path.with_name(name)
    if exact.is_file():
        return exact
    try:
        found = [p for p in path.parent.iterdir() if p.name.casefold() == name.casefold()]
    except OSError:
        return None
    return next((p for p in sorted(found) if p.is_file()), None)


def _values_of(header: Path) -> Path:
    """The values that belong to a header; those beside the file that a link points to, too."""
    for place in dict.fromkeys((header, header.resolve())):
        for suffix in _VALUES:
            if (found := _beside(place, f"{place.stem}{suffix}")) and found != place:
                return found
    raise CubeError(
        f"{header}: the values are missing; put {header.stem}{VALUES_SUFFIX} beside the header"
    )


def read_envi(path: Path, key: str | None) -> StoredCube:
    header = header_of(path)
    if not header.is_file():
        raise CubeError(f"{path}: its header, {header.name}, is missing; put it beside the data")
    try:
        fields = _fields(header)
        values = _values_of(header) if path == header else path
        array, axes = _array(header, fields, values)
    except OSError as error:
        raise CubeError(f"{path}: cannot be read ({reason_of(error)})") from None
    metadata = {name: value for name, value in fields.items() if name not in _LAYOUT}
    found = wavelengths_of(fields.get("wavelength", []), str(fields.get("wavelength units", "")))
    notes = found.notes
    if widths := metadata.pop("fwhm", None):
        # They are in the unit of the wavelengths, which becomes nanometres.
        scaled = None if found.factor is None else _scaled(widths, found.factor)
        metadata |= {"fwhm": scaled} if scaled else {}
        notes += () if scaled or found.centres is None else ("fwhm left out: its unit is unclear",)
    peak, note = _peak(fields.get("reflectance scale factor"))
    return StoredCube(
        array,
        axes,
        peak,
        found.centres,
        metadata,
        notes + note,
        stated_value(_single(fields.get("data ignore value"))),
    )


def _fields(header: Path) -> dict[str, Any]:
    """Name, in small letters, and text of each field; of a list in braces the texts in it."""
    if header.stat().st_size > _LONGEST_HEADER:
        raise CubeError(f"{header}: is no ENVI header: {header.stat().st_size:,} bytes are no text")
    content = header.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content.decode("utf-16", errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    first, _, rest = text.lstrip().partition("\n")
    if not first.startswith("ENVI"):
        raise CubeError(f"{header}: is no ENVI header: its first line is not ENVI")
    return {" ".join(name.lower().split()): value for name, value in _pairs(rest)}


def _pairs(text: str) -> Iterator[tuple[str, Any]]:
    """Name and value of each field, once through the text."""
    start, closes = 0, True
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        name, equals, stated = text[start:end].partition("=")
        value: str | list[str] = stated.strip()
        if equals and closes and stated.lstrip().startswith("{"):
            opened = text.index("{", start + len(name) + 1) + 1
            closed = text.find("}", opened)
            closes = closed >= 0
            if closes:
                value = _listed(name, text[opened:closed].strip())
                end = text.find("\n", closed)
                end = len(text) if end < 0 else end
        if equals and not name.lstrip().startswith(";"):
            yield name, value
        start = end + 1


def _listed(name: str, text: str) -> str | list[str]:
    if name.strip().lower() in _TEXTS:
        return text
    return [part.strip() for part in text.split(",")] if text else []


def _single(value: object) -> object:
    """A list of one as what is in it."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _whole(header: Path, fields: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = _single(fields.get(name, default))
    try:
        number = int(str(value))
    except ValueError:
        number = -1
    if value is None:
        raise CubeError(f"{header}: has no {name}; add it to the header")
    if number < (name in ("samples", "lines", "bands")):
        raise CubeError(f"{header}: {name} = {shown(value)} is no number that can be")
    return number


def _array(header: Path, fields: Mapping[str, Any], path: Path) -> tuple[np.ndarray, str]:
    """The values as stored, and the order of their axes."""
    sizes = {
        letter: _whole(header, fields, name)
        for letter, name in (("c", "bands"), ("h", "lines"), ("w", "samples"))
    }
    code = _whole(header, fields, "data type")
    if code not in _TYPES:
        raise CubeError(
            f"{header}: data type = {code} holds no real numbers; export them as 4 or 12"
        )
    if "library" in str(fields.get("file type", "")).lower():
        raise CubeError(f"{header}: is a library of spectra, no cube")
    if _whole(header, fields, "file compression", 0):
        raise CubeError(f"{header}: the values are compressed; export them without compression")
    order = str(_single(fields.get("interleave", "bsq"))).lower()
    if order not in _ORDERS:
        raise CubeError(f"{header}: interleave = {shown(order)}; bsq, bil and bip can be read")
    byte_order = _whole(header, fields, "byte order", 0)
    dtype = _TYPES[code].newbyteorder(">" if byte_order == 1 else "<")
    offset = _whole(header, fields, "header offset", 0)
    shape = tuple(sizes[letter] for letter in _ORDERS[order])
    needed, there = offset + math.prod(shape) * dtype.itemsize, path.stat().st_size
    if needed > there:
        raise CubeError(
            f"{path}: {there:,} bytes, but the header declares {needed:,}: the file is cut off, or "
            "the header is another one's"
        )
    return np.array(np.memmap(path, dtype, "r", offset, shape)), _ORDERS[order]


def _peak(stated: object) -> tuple[float | None, tuple[str, ...]]:
    """The value that stands for 1; a list must say the same for all bands."""
    if isinstance(stated, list) and len(stated) > 1:
        # {10,000} is one number, {10000, 10000} are two.
        factors = {stated_number(each) for each in stated}
        joined = stated_number(",".join(stated))
        if len(factors) > 1 and joined is None:
            return None, ("the reflectance scale factors of the bands differ: none is taken",)
        return (factors.pop() if len(factors) == 1 else joined), ()
    return stated_number(_single(stated)), ()


def _scaled(widths: object, factor: float) -> list[str] | None:
    numbers = [stated_value(each) for each in (widths if isinstance(widths, list) else [widths])]
    if None in numbers:
        return None
    return [f"{number * factor:.9g}" for number in numbers if number is not None]


def write_envi(cube: Cube, path: Path) -> None:
    code = next((code for code, dtype in _TYPES.items() if dtype == cube.values.dtype), None)
    if code is None:
        raise CubeError(f"ENVI cannot hold {cube.values.dtype}; choose .h5")
    fields: dict[str, Any] = {
        "samples": cube.width,
        "lines": cube.height,
        "bands": cube.bands,
        "header offset": 0,
        "file type": "ENVI Standard",
        "data type": code,
        "interleave": "bsq",
        "byte order": 0,
    }
    metadata = {
        " ".join(name.lower().split()): value
        for name, value in cube.metadata.items()
        if name != GEOTIFF
    }
    if map_info := map_info_of(cube.metadata):
        metadata["map info"] = map_info
    fields |= {name: value for name, value in metadata.items() if name and name not in _LAYOUT}
    if cube.wavelengths is not None:
        fields["wavelength"] = list(cube.wavelengths)
        fields["wavelength units"] = "Nanometers"
    if cube.peak is not None:
        fields["reflectance scale factor"] = cube.peak
    if cube.no_data is not None:
        fields["data ignore value"] = f"{cube.no_data:.17g}"
    lines = ["ENVI", *(f"{_safe(name, '=')} = {_written(fields[name], name)}" for name in fields)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace", newline="\n")
    little = cube.values.dtype.newbyteorder("<")
    with path.with_suffix(VALUES_SUFFIX).open("wb") as file:
        for band in cube.values:
            file.write(np.ascontiguousarray(band, little).data)


def _written(value: object, name: str) -> str:
    if isinstance(value, list | tuple):
        return f"{{ {' , '.join(_safe(str(each), ',') for each in value)} }}"
    text = _safe(str(value))
    return f"{{{text}}}" if name in _TEXTS else text


def _safe(text: str, sign: str = "") -> str:
    """One line without what ENVI takes for the end of a field."""
    line = " ".join(text.split())
    return "".join("-" if c in sign else {"{": "(", "}": ")"}.get(c, c) for c in line)
