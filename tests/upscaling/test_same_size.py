"""Networks of scale 1, which remove noise: what goes in keeps its size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.command import Ran

from vernier import compare, evaluate
from vernier.errors import InputError
from vernier.explanation import explain_files
from vernier.io import Picture, picture_size, read_picture, write_picture
from vernier.models.hat import HAT
from vernier.upscaling import Upscaler
from vernier.upscaling.sizes import Size
from vernier.upscaling.upscaler import plan_scales
from vernier.zoo.checkpoints import load_model
from vernier.zoo.official import official_state


def network(channels: int = 3) -> HAT:
    torch.manual_seed(0)
    model = HAT(
        scale=1, channels=channels, embed_dim=8, depths=(1,), num_heads=(2,), window_size=4,
        squeeze_factor=4,
    )  # fmt: skip
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("x1") / "x1.pth"
    torch.save({"params": official_state(network())}, path)
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (72, 80, 3), dtype=np.uint8)
    write_picture(Picture(pixels), path)
    return path


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_file_of_scale_1_keeps_the_size(engine: Any, file: Path, photo: Path) -> None:
    upscaler = Upscaler(file, engine=engine)
    assert upscaler.scale == 1
    result = upscaler.upscale(read_picture(photo))
    assert result.notes == ()
    pixels = read_picture(photo).pixels
    with torch.inference_mode():
        lr = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
        expected = load_model(file)[0](lr)[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255
    assert np.abs(result.picture.pixels - expected).max() <= 1
    assert np.abs(result.picture.pixels.astype(int) - pixels).max() > 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("sees", [1, 3])
def test_every_picture_keeps_its_size(channels: int, dtype: Any, sees: int) -> None:
    pixels = np.random.default_rng(0).random((21, 34, channels), np.float32)
    if dtype == np.uint8:
        pixels = (255 * pixels).astype(dtype)
    result = Upscaler(network(sees), engine="torch").upscale_array(pixels)
    assert (result.shape, result.dtype) == (pixels.shape, pixels.dtype)
    # Alpha is no picture: it stays as it is.
    if channels in (2, 4):
        np.testing.assert_allclose(result[..., -1], pixels[..., -1], atol=1e-6)


def test_it_runs_in_tiles_and_as_an_ensemble(file: Path, photo: Path) -> None:
    picture = read_picture(photo)
    whole, tiled, mean = (
        Upscaler(file, engine="torch", **how).upscale(picture).picture.pixels.astype(int)
        for how in ({}, {"tile": 40}, {"ensemble": True})
    )
    assert np.abs(tiled - whole).max() <= 3
    assert mean.shape == whole.shape


def test_the_command_takes_the_scale_of_the_file(
    file: Path, photo: Path, tmp_path: Path, vernier: Callable[..., Ran]
) -> None:
    ran = vernier("upscale", photo, "-o", tmp_path / "a.png", "-n", file, "--engine", "torch")
    assert (ran.code, ran.err) == (0, "")
    assert picture_size(tmp_path / "a.png")[:2] == picture_size(photo)[:2]
    ran = vernier("upscale", photo, "-o", tmp_path / "b.png", "-n", file, "-s", "1")
    assert ran.code == 0


@pytest.mark.parametrize("scale", [2, 1.5, 100])
def test_it_takes_no_other_scale(scale: float, file: Path) -> None:
    with pytest.raises(InputError, match=f"keeps the size .*: scale must be 1, not {scale}"):
        Upscaler(file, scale=scale)


def test_it_reaches_no_size(file: Path) -> None:
    with pytest.raises(InputError, match=r"keeps the size .*: scale must be 1, not a size"):
        Upscaler(file, size=Size(width=200))


def test_scale_1_is_for_such_a_network_alone() -> None:
    with pytest.raises(InputError, match="scale must be a number above 1"):
        Upscaler("sesr-m5", scale=1)
    assert plan_scales(1, (1, 2)) == [1]
    assert plan_scales(8, (1, 2, 4)) == [4, 2]


def test_what_compares_with_bicubic_refuses_it_in_one_line(
    file: Path, photo: Path, tmp_path: Path
) -> None:
    for call in (
        lambda: evaluate([str(file)], [photo.parent]),
        lambda: compare(photo, tmp_path / "a.png", models=[str(file)]),
        lambda: explain_files([photo], tmp_path / "b", models=[str(file)]),
    ):
        with pytest.raises(InputError, match="keeps the size") as error:
            call()
        assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
