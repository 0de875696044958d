"""ENVI: a header of words, and the values in a file beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vernier.extras import optional_module
from vernier.io.cubes.axes import nanometres
from vernier.io.cubes.cube import Cube, CubeError, StoredCube, stated_number

__all__ = ["VALUES_SUFFIX", "header_of", "read_envi", "write_envi"]

VALUES_SUFFIX = ".img"
"""Of the file with the values that `write_envi` puts beside the header."""

# Header fields that describe the file instead of the cube, or are attributes of `Cube`.
_LAYOUT = {
    *("samples", "lines", "bands", "header offset", "file type", "data type", "interleave"),
    *("byte order", "wavelength", "wavelength units", "reflectance scale factor"),
}


def header_of(path: Path) -> Path:
    """The header that belongs to a data file: cube.hdr, or cube.img.hdr."""
    if path.suffix.lower() == ".hdr":
        return path
    appended = path.with_name(path.name + ".hdr")
    return appended if appended.is_file() else path.with_suffix(".hdr")


def read_envi(path: Path, key: str | None) -> StoredCube:
    header = header_of(path)
    if not header.is_file():
        raise CubeError(f"{path}: its header, {header.name}, is missing; put it beside the data")
    envi = optional_module("spectral.io.envi")
    try:
        image = _opened(envi, header, None if path == header else str(path))
        array = np.array(image.open_memmap(interleave="bip"))
    except Exception as error:  # spectral raises a class of its own per field
        raise CubeError(f"{path}: cannot be read as ENVI ({error})") from None
    metadata = {name: text for name, text in image.metadata.items() if name not in _LAYOUT}
    centres = image.bands.centers
    return StoredCube(
        array,
        "hwc",
        stated_number(image.metadata.get("reflectance scale factor")),
        None if centres is None else nanometres(centres, str(image.bands.band_unit or "")),
        metadata,
    )


def _opened(envi: Any, header: Path, values: str | None) -> Any:
    try:
        return envi.open(str(header), values)
    except envi.EnviDataFileNotFoundError:
        # The values may lie beside the file that a link points to.
        if not header.is_symlink():
            raise
        return envi.open(str(header.resolve()), values)


def write_envi(cube: Cube, path: Path) -> None:
    envi = optional_module("spectral.io.envi")
    metadata = dict(cube.metadata)
    if cube.wavelengths is not None:
        metadata["wavelength"] = list(cube.wavelengths)
        metadata["wavelength units"] = "Nanometers"
    if cube.peak is not None:
        metadata["reflectance scale factor"] = cube.peak
    pixels = cube.values.transpose(1, 2, 0)
    try:
        envi.save_image(
            str(path),
            pixels,
            dtype=pixels.dtype,
            ext=VALUES_SUFFIX,
            interleave="bsq",
            metadata=metadata,
        )
    except envi.EnviException as error:
        raise CubeError(f"ENVI cannot hold {pixels.dtype} ({error}); choose .h5") from None
