"""A folder with a small file of every name that pages and docstrings use."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from support.experiment import make_experiment
from vernier.io import Picture, read_picture, write_picture
from vernier.io.cubes import Cube, write_cube
from vernier.zoo import create_model, new_card, save_weights
from vernier.zoo.official.hat import official_state

ROOT = Path(__file__).parents[2]
ASTRONAUT = ROOT / "examples" / "astronaut.png"


def make_desk(folder: Path, *, whole_photo: bool = False) -> None:
    """Fill a folder.

    Args:
        folder: an empty one.
        whole_photo: photo.png and hr.png are the whole example, 512x512, instead of 64x64 of it.
    """
    for name in ("recipes", "experiments", "examples"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "data").mkdir()
    make_experiment(folder)
    whole = read_picture(ASTRONAUT)
    small = whole.with_pixels(np.ascontiguousarray(whole.pixels[72:136, 172:236]))
    for name in ("photo.png", "hr.png"):
        if whole_photo:
            shutil.copy(ASTRONAUT, folder / name)
        else:
            write_picture(small, folder / name)
    write_picture(small, folder / "photo.jpg")
    write_picture(Picture(small.pixels.astype(np.uint16) * 257), folder / "scan.tiff")
    for name in ("holiday/beach", "Set5", "Set14", "my/photos"):
        (folder / name).mkdir(parents=True)
        for index in range(6):
            write_picture(small, folder / name / f"{index}.png")
    network = create_model(
        "hat", scale=4, embed_dim=24, depths=[1], num_heads=[2], squeeze_factor=6
    )
    for name in ("HAT_SRx4.pth", "HAT_SRx4_ImageNet-pretrain.pth"):
        torch.save({"params_ema": official_state(network)}, folder / name)
    fusion = create_model("psrt", scale=4, embed=8, num_blocks=1, num_heads=2)
    save_weights(fusion, folder / "tiny-psrt.safetensors", new_card(fusion, "tiny-psrt"))
    make_cubes(folder)


def light(generator: np.random.Generator, cells: int) -> np.ndarray:
    """(31, 4 cells, 4 cells) of 16 bits: squares of many greys, brighter in the red."""
    squares = generator.random((1, cells, cells)).repeat(4, 1).repeat(4, 2)
    return (squares * np.linspace(0.2, 1, 31)[:, None, None] * 65535).astype(np.uint16)


def make_cubes(folder: Path) -> None:
    """CAVE's folders in small, and one cube with its guide as photo.tif and rgb.png."""
    generator = np.random.default_rng(0)
    for scene in ("balloons", "beads", "flowers", "oil_painting"):
        values = light(generator, 16)
        inner = folder / "CAVE" / f"{scene}_ms" / f"{scene}_ms"
        inner.mkdir(parents=True)
        for index, band in enumerate(values, 1):
            write_picture(Picture(band[..., None]), inner / f"{scene}_ms_{index:02}.png")
    values = light(generator, 24)
    wavelengths = tuple(float(nm) for nm in range(400, 710, 10))
    lr = values.reshape(31, 24, 4, 24, 4).mean((2, 4)).astype(np.uint16)
    guide = np.ascontiguousarray(values[[25, 15, 5]].transpose(1, 2, 0))
    for name in ("cube.mat", "cube.h5"):
        write_cube(Cube(lr, 65535.0, wavelengths), folder / name)
    for name in ("photo.tif", "rgb.png", "guide.png"):
        write_picture(Picture(guide), folder / name)
