from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vernier.errors import InputError
from vernier.fusion.files import fuse
from vernier.fusion.pair import Pair, read_pair
from vernier.fusion.result import Fused
from vernier.io import Picture, write_picture
from vernier.io.cubes import Cube, read_cube, write_cube
from vernier.models.layers import FusionModel
from vernier.zoo import create_model


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A cube (6, 12, 12) and the guide (3, 48, 48) that its light would give."""
    rng = np.random.default_rng(seed)
    gt = rng.random((6, 12, 12)).repeat(4, 1).repeat(4, 2)
    return gt[:, ::4, ::4].astype(np.float32), gt[[4, 2, 0]].astype(np.float32)


def one(result: Fused | list[Fused]) -> Fused:
    assert isinstance(result, Fused)
    return result


def test_arrays_cubes_pairs_and_files_give_the_same_cube(tmp_path: Path) -> None:
    lr, guide = scene()
    write_cube(Cube(lr, 1.0), tmp_path / "cube.h5")
    write_picture(Picture(np.ascontiguousarray(guide.transpose(1, 2, 0))), tmp_path / "guide.tif")
    expected = one(fuse(lr, guide, model="gsa")).values
    for result in (
        fuse(Cube(lr * 100, 100.0), guide, model="gsa"),
        fuse(read_pair(lr, guide), model="gsa"),
        fuse(tmp_path / "cube.h5", tmp_path / "guide.tif", model="gsa"),
        fuse(str(tmp_path / "cube.h5"), guide, tmp_path / "sharp.npz", model="gsa"),
    ):
        np.testing.assert_allclose(one(result).values, expected, atol=1e-6)
    np.testing.assert_allclose(read_cube(tmp_path / "sharp.npz").values, expected, atol=1e-6)


def test_a_result_carries_its_notes_method_and_unit() -> None:
    counts = np.rint(scene()[0] * 4000).astype(np.uint16)
    fused = one(fuse(counts, Picture(np.ones((48, 48, 4), np.float32)), peak=4000, check=False))
    assert fused.notes[0] == "the guide: its transparency is left out"
    assert fused.notes[1].endswith("guided-filter is taken")
    assert (fused.method, fused.engine, fused.precision) == ("guided-filter", "torch", "fp32")
    assert (fused.cube.peak, fused.cube.values.dtype, fused.output) == (4000, np.uint16, None)


def test_a_network_of_one_s_own_is_taken() -> None:
    model = create_model("psrt", scale=4, bands=6, embed=8, num_blocks=1, num_heads=2)
    assert isinstance(model, FusionModel)
    fused = one(fuse(*scene(), model=model, engine="torch"))
    assert fused.values.shape == (6, 48, 48)


def test_scenes_are_a_list_each_with_its_name_in_the_progress(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    lr, guide = zip(scene(0), scene(1), strict=True)
    with h5py.File(tmp_path / "scenes.h5", "w") as file:
        file["LRHSI"], file["RGB"] = np.stack(lr), np.stack(guide)
        file["names"] = np.array(["first", "second"], dtype="S")
    told: list[tuple[int, int, str]] = []
    results = fuse(
        tmp_path / "scenes.h5",
        output=tmp_path / "out",
        model="bicubic",
        progress=lambda *parts: told.append(parts),
    )
    assert isinstance(results, list)
    assert [r.output for r in results] == [tmp_path / "out/first.h5", tmp_path / "out/second.h5"]
    assert told == [(1, 1, "first"), (1, 1, "second")]
    for fused, at in zip(results, range(2), strict=True):
        np.testing.assert_array_equal(fused.pair.lr, lr[at])
        assert fused.output is not None
        np.testing.assert_array_equal(read_cube(fused.output).values, fused.values)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lr, guide: fuse(lr), "the cube holds no guide"),
        (lambda lr, guide: fuse(lr, guide[:, ::-1]), "does not look like the cube's scene"),
        (lambda lr, guide: fuse(lr, guide, scale=2, model="gsa"), "the guide is 4 times as large"),
        (lambda lr, guide: fuse(lr, guide, model="gsa", tile=8), "at least 16"),
        (lambda lr, guide: fuse(lr, guide, "none/x.h5"), "no such folder"),
        (lambda lr, guide: fuse(lr, guide, "x.xyz"), "cannot write .xyz"),
        (lambda lr, guide: fuse("none.h5", guide), "none.h5: no such file"),
        (lambda lr, guide: fuse(lr, "none.png"), "none.png: no such file"),
        (lambda lr, guide: fuse(lr, guide, model="sesr-m5", scale=4), "use vernier upscale"),
    ],
)
def test_the_library_checks_what_the_command_checks(
    call: Callable[[np.ndarray, np.ndarray], object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        call(*scene())


def test_the_weights_are_an_input_too(tmp_path: Path) -> None:
    weights = tmp_path / "network.safetensors"
    weights.write_bytes(b"")
    with pytest.raises(InputError, match="would overwrite the input"):
        fuse(*scene(), model=weights, report=tmp_path / "network.json")


def test_a_pair_needs_no_guide_and_its_files_are_not_written_over(tmp_path: Path) -> None:
    pair = Pair(*scene())
    assert one(fuse(pair)).pair is pair
    with pytest.raises(InputError, match="has its guide already"):
        fuse(pair, pair.guide)
    cube, guide = tmp_path / "cube.h5", tmp_path / "guide.npz"
    write_cube(Cube(pair.lr, 1.0), cube)
    write_cube(Cube(pair.guide, 1.0), guide)
    pair = read_pair(cube, guide)
    before = cube.read_bytes(), guide.read_bytes()
    for outputs in ({"output": cube}, {"output": guide}, {"report": guide}):
        with pytest.raises(InputError, match="would overwrite the input"):
            fuse(pair, **outputs)
    assert (cube.read_bytes(), guide.read_bytes()) == before


def test_what_cannot_be_written_is_told_before_anything_is_fused(tmp_path: Path) -> None:
    (tmp_path / "folder.h5").mkdir()
    told: list[int] = []
    with pytest.raises(InputError, match="a folder or a device has this name"):
        fuse(*scene(), tmp_path / "folder.h5", progress=lambda done, total, what: told.append(done))
    assert not told
