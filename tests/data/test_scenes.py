"""Fusion files of the field, in every layout, and of ours."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from vernier.data.scenes import read_fusion
from vernier.errors import InputError
from vernier.imaging.resize import imresize


def stack(channels: int, side: int, *, peak: float = 1.0, count: int = 3) -> np.ndarray:
    return np.random.default_rng(channels).random((count, channels, side, side + side // 2)) * peak


ORDERS = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 2, 3, 1), "WHCN": (3, 2, 1, 0)}


@pytest.mark.parametrize("layout", ORDERS)
@pytest.mark.parametrize("count", [1, 3])
def test_files_of_the_field_in_every_layout(tmp_path: Path, layout: str, count: int) -> None:
    arrays = {"GT": stack(31, 16, count=count), "LRHSI": stack(31, 4, count=count)}
    arrays |= {"HSI_up": stack(31, 16, count=count), "RGB": stack(3, 16, count=count)}
    with h5py.File(tmp_path / "test.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array.transpose(ORDERS[layout])
    scenes = read_fusion(tmp_path / "test.h5")
    read = {"GT": scenes.gt, "LRHSI": scenes.lr, "HSI_up": scenes.upsampled, "RGB": scenes.guide}
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array.astype(np.float32))
    assert scenes.scale == 4
    assert scenes.names[0] == "test-0000"
    assert any(layout in note for note in scenes.notes) == (layout != "NCHW")


def test_pansharpening_files_need_their_peak(tmp_path: Path) -> None:
    arrays = {"gt": stack(8, 16, peak=2000), "ms": stack(8, 4, peak=2000)}
    arrays["pan"] = stack(1, 16, peak=2000)
    with h5py.File(tmp_path / "wv3.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    with pytest.raises(InputError, match="pass --peak, the value that stands for 1"):
        read_fusion(tmp_path / "wv3.h5")
    scenes = read_fusion(tmp_path / "wv3.h5", peak=2047)
    np.testing.assert_allclose(scenes.gt, arrays["gt"] / 2047, atol=1e-7)
    np.testing.assert_allclose(scenes.guide, arrays["pan"] / 2047, atol=1e-7)
    assert torch.equal(scenes.upsampled, imresize(scenes.lr, 4))
    assert "upsampled cube made by bicubic" in scenes.notes


def test_full_resolution_files_have_no_reference(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "full.h5", "w") as file:
        file["ms"], file["lms"], file["pan"] = stack(4, 4), stack(4, 16), stack(1, 16)
    scenes = read_fusion(tmp_path / "full.h5")
    assert scenes.gt is None
    assert scenes[0].gt is None
    assert scenes.patches(8, 8).gt is None


def test_wrong_files_get_a_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.h5"
    with h5py.File(path, "w") as file:
        file["LRHSI"], file["RGB"] = stack(31, 5), stack(3, 16)
    with pytest.raises(InputError, match="shapes do not belong together"):
        read_fusion(path)
    with h5py.File(path, "w") as file:
        file["cube"] = stack(31, 5)
    with pytest.raises(InputError, match="holds cube, but neither LRHSI and RGB nor ms and pan"):
        read_fusion(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(InputError, match="is no HDF5 file"):
        read_fusion(path)
