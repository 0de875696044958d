"""Training crops: aligned, transformed, and a pure function of seed and step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vernier.data.folders import list_pictures, read_uint8
from vernier.data.scenes import FusionScene
from vernier.data.training_set import FusionSet, TrainingSet, fingerprint
from vernier.errors import InputError
from vernier.imaging import imresize, imresize_uint8, rgb_to_luma, to_colour
from vernier.io import Picture, write_picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three RGB pictures of odd sizes and a gray one."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(5)
    for name, shape in {
        "a.png": (41, 50, 3),
        "b.png": (64, 37, 3),
        "c.png": (38, 38, 3),
        "gray.png": (45, 40, 1),
    }.items():
        pixels = generator.integers(0, 256, shape, dtype=np.uint8)
        write_picture(Picture(pixels), folder / name)
    return folder


def _whole(path: Path, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
    """LR and HR luma of a whole picture, straight from the definitions."""
    picture = read_uint8(path)
    rows, columns = (side // scale * scale for side in picture.shape[-2:])
    hr = to_colour(picture[:, :rows, :columns].float() / 255, "luma")
    return imresize(hr, 1 / scale), hr


def _dihedral(image: torch.Tensor) -> list[torch.Tensor]:
    turned = [image.rot90(k, (-2, -1)) for k in range(4)]
    return turned + [view.flip(-1) for view in turned]


@pytest.mark.parametrize("scale", [2, 3])
def test_every_crop_is_a_window_of_a_picture_and_its_lr(folder: Path, scale: int) -> None:
    paths = list_pictures([folder])
    patch = 12
    data = TrainingSet(paths, scale=scale, colour="luma", patch_size=patch)
    lr, hr = data.batch(seed=3, step=7, batch_size=24)
    assert lr.shape == (24, 1, patch, patch)
    assert hr.shape == (24, 1, patch * scale, patch * scale)
    wholes = [_whole(path, scale) for path in paths]
    transforms = set()
    for lr_crop, hr_crop in zip(lr, hr, strict=True):
        found = None
        for whole_lr, whole_hr in wholes:
            windows = whole_lr[0].unfold(0, patch, 1).unfold(1, patch, 1)
            for k, view in enumerate(_dihedral(lr_crop[0])):
                hit = (windows == view).all(-1).all(-1).nonzero()
                if len(hit):
                    row, column = (hit[0] * scale).tolist()
                    side = patch * scale
                    window = whole_hr[0, row : row + side, column : column + side]
                    assert torch.equal(window, _dihedral(hr_crop[0])[k])
                    found = k
        assert found is not None
        transforms.add(found)
    assert transforms == set(range(8))


def test_a_batch_depends_on_seed_and_step_alone_and_can_be_made_in_parts(folder: Path) -> None:
    data = TrainingSet(list_pictures([folder]), scale=2, colour="luma", patch_size=8)
    whole = data.batch(seed=1, step=4, batch_size=6)
    again = data.batch(seed=1, step=4, batch_size=6)
    parts = [data.batch(seed=1, step=4, batch_size=6, part=slice(i, i + 2)) for i in (0, 2, 4)]
    for i in range(2):
        assert torch.equal(whole[i], again[i])
        assert torch.equal(whole[i], torch.cat([part[i] for part in parts]))
    assert not torch.equal(whole[0], data.batch(seed=1, step=5, batch_size=6)[0])
    assert not torch.equal(whole[0], data.batch(seed=2, step=4, batch_size=6)[0])


def test_rgb_stays_rgb_and_gray_becomes_rgb(folder: Path) -> None:
    paths = list_pictures([folder])
    data = TrainingSet(paths, scale=2, colour="rgb", patch_size=8)
    assert data.layers[1][0].dtype == torch.uint8
    lr, hr = data.batch(seed=0, step=0, batch_size=3)
    assert lr.shape == (3, 3, 8, 8)
    assert hr.shape == (3, 3, 16, 16)
    assert torch.equal((hr * 255).round() / 255, hr)


def test_rounded_lr_is_that_of_the_benchmarks(folder: Path) -> None:
    path = folder / "c.png"
    data = TrainingSet([path], scale=2, colour="luma", patch_size=19, rounded_lr=True)
    expected = rgb_to_luma(imresize_uint8(read_uint8(path), 0.5).float() / 255)
    lr, _ = data.batch(seed=0, step=0, batch_size=1)
    assert any(torch.equal(view, expected[0]) for view in _dihedral(lr[0, 0]))


def test_pictures_smaller_than_a_patch_are_left_out_and_named(folder: Path) -> None:
    data = TrainingSet(list_pictures([folder]), scale=2, colour="luma", patch_size=20)
    assert {path.name for path in data.too_small} == {"b.png", "c.png"}
    assert data.num_pictures == 2
    with pytest.raises(InputError, match=r"lower data\.patch_size"):
        TrainingSet(list_pictures([folder]), scale=2, colour="luma", patch_size=40)


def test_pictures_are_drawn_by_area(folder: Path) -> None:
    paths = list_pictures([folder])
    data = TrainingSet(paths, scale=2, colour="luma", patch_size=8)
    areas = torch.tensor([20 * 25, 32 * 18, 19 * 19, 22 * 20], dtype=torch.float64)
    torch.testing.assert_close(data._cumulative, areas.cumsum(0) / areas.sum())
    weights = [1.0, 5.0, 0.5, 2.0]
    weighted = TrainingSet(paths, scale=2, colour="luma", patch_size=8, weights=weights)
    areas *= torch.tensor(weights)
    torch.testing.assert_close(weighted._cumulative, areas.cumsum(0) / areas.sum())


def test_reduced_pictures_join_the_whole_ones(folder: Path) -> None:
    path = folder / "a.png"
    data = TrainingSet([path], scale=2, colour="luma", patch_size=8, downscales=[1.0, 0.6])
    assert data.num_pictures == 2
    reduced = imresize_uint8(read_uint8(path), 0.6)
    expected = to_colour(reduced[:, :24, :30].float() / 255, "luma")
    hr, _ = data.layers[1]
    assert torch.equal(hr[:, -24 * 30 :], expected.flatten(1))


def test_a_picture_is_too_small_only_if_its_largest_size_is(folder: Path) -> None:
    data = TrainingSet(
        [folder / "a.png", folder / "c.png"],
        scale=2,
        colour="luma",
        patch_size=20,
        downscales=[1.0, 0.6],
    )
    assert data.num_pictures == 1
    assert data.too_small == [folder / "c.png"]


def test_folders_that_hold_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        list_pictures([tmp_path / "missing"])
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="no pictures in it"):
        list_pictures([tmp_path])


def test_a_fingerprint_sees_bytes_and_names(folder: Path, tmp_path: Path) -> None:
    paths = list_pictures([folder])
    copies = []
    for path in paths:
        copies.append(tmp_path / path.name)
        copies[-1].write_bytes(path.read_bytes())
    assert fingerprint(paths).sha256 == fingerprint(copies).sha256
    content = bytearray(copies[0].read_bytes())
    content[-1] ^= 1
    copies[0].write_bytes(content)
    assert fingerprint(paths).sha256 != fingerprint(copies).sha256


def test_real_world_crops_are_made_anew_and_in_parts(folder: Path) -> None:
    data = TrainingSet(
        list_pictures([folder]), scale=1, colour="rgb", patch_size=12, degradation="real-world"
    )
    whole = data.batch(seed=1, step=4, batch_size=4)
    assert [crops.shape for crops in whole] == [(4, 3, 12, 12)] * 2
    parts = [data.batch(seed=1, step=4, batch_size=4, part=slice(i, i + 2)) for i in (0, 2)]
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), whole[1], rtol=0, atol=0)
    torch.testing.assert_close(
        torch.cat([part[0] for part in parts]), whole[0], rtol=0, atol=1.01 / 255
    )
    assert not torch.equal(whole[0], whole[1])
    luma = TrainingSet(
        list_pictures([folder]), scale=1, colour="luma", patch_size=12, degradation="real-world"
    )
    assert luma.batch(seed=1, step=4, batch_size=4)[0].shape == (4, 1, 12, 12)


def test_augmentation_may_be_mirroring_alone_or_none(folder: Path) -> None:
    path = folder / "c.png"
    hr = to_colour(read_uint8(path).float() / 255, "luma")[0]
    for augmentation, expected in (("none", {0}), ("horizontal", {0, 4})):
        data = TrainingSet([path], scale=1, colour="luma", patch_size=38, augmentation=augmentation)
        _, crops = data.batch(seed=0, step=0, batch_size=8)
        views = _dihedral(hr)
        found = {next(k for k in range(8) if torch.equal(views[k], crop[0])) for crop in crops}
        assert found == expected


def test_scenes_are_cut_alike_in_all_layers() -> None:
    generator = torch.Generator().manual_seed(0)
    scenes = []
    for name, height, width in (("a", 6, 9), ("b", 8, 7), ("small", 3, 9)):
        lr = torch.rand(5, height, width, generator=generator)
        up = lr.repeat_interleave(4, 1).repeat_interleave(4, 2)
        scenes.append(FusionScene(name, up + 1, lr, up[:3] + 2, up))
    data = FusionSet(scenes, scale=4, patch_size=5, augmentation="dihedral")
    assert data.too_small == ["small"]
    lr, guide, upsampled, hr = data.batch(seed=0, step=0, batch_size=16)
    assert (lr.shape, guide.shape, hr.shape) == ((16, 5, 5, 5), (16, 3, 20, 20), (16, 5, 20, 20))
    assert torch.equal(upsampled, lr.repeat_interleave(4, 2).repeat_interleave(4, 3))
    assert torch.equal(hr, upsampled + 1)
    assert torch.equal(guide, upsampled[:, :3] + 2)
    with pytest.raises(InputError, match="no sharp cube"):
        FusionSet([scenes[0]._replace(gt=None)], scale=4, patch_size=5)


def test_hidden_files_and_folders_are_not_trained_on(shared: Path, tmp_path: Path) -> None:
    photos = shared / "cases/mac-dotfiles/photos"
    assert [path.name for path in list_pictures([photos])] == ["p0.png", "p1.png", "p2.png"]
    (tmp_path / "dir.png").mkdir()
    (tmp_path / "a.png").write_bytes(b"")
    assert list_pictures([tmp_path]) == [tmp_path / "a.png"]
