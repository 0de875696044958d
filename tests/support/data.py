"""Small pictures and scenes, made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vernier.data.scene_files import FusionSettings, write_fusion
from vernier.imaging import imresize
from vernier.imaging.simulation import find_response, preset
from vernier.io import Picture, write_picture
from vernier.io.cubes import Cube

BANDS = 31


def make_pictures(folder: Path) -> Path:
    """A smooth RGB and a smooth gray picture, 40x48 and 36x44."""
    folder.mkdir()
    for name, height, width, channels in (("colour", 40, 48, 3), ("gray", 36, 44, 1)):
        noise = torch.rand(channels, height // 4, width // 4)
        smooth = imresize(noise, size=(height, width)).clamp(0, 1).permute(1, 2, 0)
        write_picture(Picture((smooth * 255).byte().numpy()), folder / f"{name}.png")
    return folder


def spectra(height: int, width: int) -> np.ndarray:
    """A smooth 16-bit cube (31, H, W)."""
    smooth = imresize(torch.rand(BANDS // 4, height // 8, width // 8), size=(height, width))
    cube = torch.nn.functional.interpolate(
        smooth.permute(1, 2, 0), size=BANDS, mode="linear"
    ).permute(2, 0, 1)
    return (cube.clamp(0, 1).numpy() * 60000).astype(np.uint16)


def make_cave(folder: Path) -> Path:
    """Two scenes as CAVE stores them; the second is no multiple of four."""
    for name, height, width in (("one", 48, 40), ("two", 46, 51)):
        place = folder / f"{name}_ms"
        place.mkdir(parents=True)
        for number, band in enumerate(spectra(height, width), start=1):
            write_picture(Picture(band[..., None]), place / f"{name}_ms_{number:02d}.png")
    return folder


def make_fusion_file(path: Path) -> Path:
    """Three scenes, "a", "b" and "c", of 40x48 pixels."""
    settings = FusionSettings(find_response("a"), preset("cave", 4).blur, 4, preset="cave")
    wavelengths = tuple(400.0 + 10 * band for band in range(BANDS))
    cubes = {name: Cube(spectra(40, 48), 65535.0, wavelengths) for name in "abc"}
    sources = {name: Path(name) for name in cubes}
    write_fusion(path, sources, settings, load=lambda place: cubes[place.name])
    return path
