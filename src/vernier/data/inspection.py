"""What cubes and fusion files hold, and what cubes look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vernier.data.scenes import FusionScenes, is_fusion_file, read_fusion
from vernier.errors import InputError
from vernier.imaging.display import cube_as_rgb, to_display
from vernier.imaging.simulation import find_response
from vernier.io import Picture, write_picture
from vernier.io.cubes import Cube, read_cube
from vernier.io.files import check_target, protect

__all__ = ["Description", "Preview", "describe", "preview"]

# Attributes of a fusion file that are too long to be read.
_LONG = frozenset({"response_weights", "wavelengths", "scenes"})


class Preview(NamedTuple):
    """A cube as a picture, and what was recognised rather than stated of the cube."""

    picture: Picture
    notes: tuple[str, ...]


class Description(NamedTuple):
    """Name and value of all that is known of a file, and what was recognised rather than stated."""

    facts: Mapping[str, object]
    notes: tuple[str, ...]


def preview(
    cube: str | Path | Cube,
    output: str | Path | None = None,
    *,
    bands: Sequence[int] | None = None,
    response: str | None = None,
    white: float = 99.5,
    axes: str | None = None,
    key: str | None = None,
    wavelengths: Sequence[float] | None = None,
) -> Preview:
    """Show a cube as a picture: three bands, or the colours that a camera sees.

    By default the bands nearest to 650, 550 and 450 nm are shown.

    Args:
        cube: a cube, or the path of one.
        output: the picture to write, if any.
        bands: those shown as red, green and blue, counted from 1.
        response: render through the camera "a", "b" (Nikon D700) or a CSV file instead.
        white: the percentile of all values that is shown as white.
        axes, key, wavelengths: how to read a path, see `vernier.io.cubes.read_cube`.

    Returns:
        The picture, 8-bit sRGB.

    Raises:
        InputError: a cube that cannot be read, bands that it does not have, both bands and a
            response, neither bands nor wavelengths, or an output that is the cube.
    """
    if bands and response:
        raise InputError("give --bands or --response, not both")
    if output is not None:
        output = Path(output)
        check_target(output)
        protect([None if isinstance(cube, Cube) else Path(cube)], [output])
    if not isinstance(cube, Cube):
        cube = read_cube(cube, axes=axes, key=key, wavelengths=wavelengths)
    gaps, told = cube.gaps(), cube.told_gaps()
    notes = cube.notes
    if gaps is not None:
        notes += (f"no data ({told}) is black",)
        cube = cube.filled()
    if bands:
        if len(bands) != 3 or not all(1 <= band <= cube.bands for band in bands):
            raise InputError(
                f"bands {','.join(map(str, bands))}: give three numbers from 1 to {cube.bands}, "
                "such as 3,2,1"
            )
        light = cube.values[[band - 1 for band in bands]]
    elif response:
        camera = find_response(response)
        light = cube_as_rgb(cube.values, wavelengths=cube.wavelengths, camera=camera)
    elif cube.wavelengths is None:
        raise InputError("the cube has no wavelengths; pass --bands R,G,B, counted from 1")
    else:
        light = cube_as_rgb(cube.values, wavelengths=cube.wavelengths)
    pixels = to_display(light, white=white)
    if gaps is not None:
        # Bands without any data say nothing of single pixels.
        pixels[gaps[~gaps.all((1, 2))].any(0)] = 0
    picture = Picture(pixels)
    if output is not None:
        write_picture(picture, output)
    return Preview(picture, notes)


def describe(
    path: str | Path,
    *,
    axes: str | None = None,
    peak: float | None = None,
    key: str | None = None,
    wavelengths: Sequence[float] | None = None,
) -> Description:
    """Say what a cube or a fusion file holds.

    Args:
        path: a cube, or a fusion file; with ``key`` one cube of a fusion file.
        axes, peak, key, wavelengths: how to read it, see `vernier.io.cubes.read_cube`.

    Raises:
        InputError: it cannot be read.
    """
    if key is None and is_fusion_file(path):
        return _of_scenes(read_fusion(path, peak=peak))
    return _of_cube(read_cube(path, axes=axes, peak=peak, key=key, wavelengths=wavelengths))


def _of_cube(cube: Cube) -> Description:
    told = cube.told_gaps() or (None if cube.no_data is None else f"{cube.no_data:g}, nowhere")
    facts = {
        "bands": cube.bands,
        "size": f"{cube.width}x{cube.height}",
        "type": cube.values.dtype,
        "values": "{:g} to {:g}".format(*cube.limits()),
        **({"no data": told} if told else {}),
        "peak": "unknown; pass --peak" if cube.peak is None else f"{cube.peak:g}",
        "wavelengths": "unknown"
        if cube.wavelengths is None
        else f"{cube.wavelengths[0]:g} to {cube.wavelengths[-1]:g} nm",
        **cube.metadata,
    }
    return Description(facts, cube.notes)


def _of_scenes(scenes: FusionScenes) -> Description:
    height, width = scenes.guide.shape[-2:]
    facts = {
        **{name: value for name, value in scenes.settings.items() if name not in _LONG},
        "items": len(scenes),
        "names": ", ".join(dict.fromkeys(name.split("@")[0] for name in scenes.names)),
        "size": f"{width}x{height}",
        "scale": scenes.scale,
        "bands": scenes.bands,
        "guide channels": scenes.guide_channels,
        "reference": "yes" if scenes.gt is not None else "no",
        "peak": f"{scenes.peak:g}",
    }
    return Description(facts, scenes.notes)
