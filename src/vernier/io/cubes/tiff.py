"""TIFF: one image with a band a plane, a sample or a page."""

from __future__ import annotations

from pathlib import Path

from vernier.extras import optional_module
from vernier.io.cubes.axes import nanometres
from vernier.io.cubes.cube import (
    Cube,
    CubeError,
    StoredCube,
    description_of,
    stated_metadata,
    stated_number,
    stated_object,
)

__all__ = ["read_tiff", "write_tiff"]


def read_tiff(path: Path, key: str | None) -> StoredCube:
    tifffile = optional_module("tifffile")
    try:
        with tifffile.TiffFile(path) as file:
            series = [each for each in file.series if not each.keyframe.is_reduced]
            arrays = [each.asarray() for each in series]
            letters = series[0].axes if series else ""
            description = file.pages.first.description
    except Exception as error:  # tifffile and the codecs raise whatever a damaged file leads to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CubeError(f"{path}: is no TIFF, or a damaged one ({reason})") from None
    if letters == "YX" and len(arrays) == 1:
        arrays, letters = [arrays[0][None]], "CYX"
    if len(arrays) != 1 or arrays[0].ndim != 3 or not {"Y", "X"} <= set(letters):
        shapes = ", ".join("x".join(map(str, array.shape)) for array in arrays)
        raise CubeError(f"{path}: holds {shapes or 'nothing'}, not one cube; give a file with one")
    array, stated = arrays[0], stated_object(description)
    if stated.keys() != {"peak", "wavelengths", "metadata"}:
        stated = {}
    axes: str | None = "".join({"Y": "h", "X": "w"}.get(letter, "c") for letter in letters)
    # Some programs write an H x W x bands array as H pages of W x bands.
    if axes == "chw" and not stated and array.shape[2] < min(array.shape[:2]):
        axes = None
    other = {"description": description} if description else {}
    metadata = stated_metadata(stated) if stated else other
    return StoredCube(
        array,
        axes,
        stated_number(stated.get("peak")),
        nanometres(stated.get("wavelengths") or [], "nm"),
        metadata,
    )


def write_tiff(cube: Cube, path: Path) -> None:
    optional_module("tifffile").imwrite(
        path,
        cube.values,
        # One plane is not several.
        planarconfig="separate" if cube.bands > 1 else None,
        photometric="minisblack",
        tile=(128, 128),
        compression="zlib",
        description=description_of(cube),
        metadata=None,
    )
