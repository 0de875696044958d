"""`explain_files`: what is read, explained, written and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vernier.errors import InputError
from vernier.explanation.files import explain_files
from vernier.explanation.lam import Window, explain
from vernier.fusion.pair import read_pair
from vernier.io import Picture, read_picture, write_picture
from vernier.io.cubes import Cube, write_cube
from vernier.models.psrt import PSRT
from vernier.zoo import create_model, load_model, new_card, save_weights

SCALE, BANDS = 4, 4
WINDOW = Window(40, 60, 16)


@pytest.fixture(scope="module")
def fusion_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = create_model("psrt", scale=SCALE, bands=BANDS, embed=8, num_blocks=1, num_heads=2)
    path = tmp_path_factory.mktemp("fusion") / "tiny.safetensors"
    save_weights(model, path, new_card(model, "tiny"))
    return path


@pytest.fixture
def scene(photo: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """A cube (4, 24, 24), and a guide (3, 96, 96) of 16 bits, whose low bits matter."""
    cube = np.random.default_rng(0).random((BANDS, 24, 24), dtype=np.float32)
    return cube, photo(96, 96, 3, np.uint16).transpose(2, 0, 1)


def explained(cube: Path, guide: Path, weights: Path, output: Path, **options: Any) -> Any:
    (found,) = explain_files(
        [cube],
        output,
        models=[str(weights)],
        windows=[WINDOW],
        guide=guide,
        context=0,
        steps=3,
        **options,
    ).findings
    return found.explanation


def test_a_guide_of_16_bits_is_explained_at_16_bits(
    tmp_path: Path, fusion_weights: Path, scene: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    cube, guide = scene
    np.save(tmp_path / "cube.npy", cube)
    write_picture(Picture(np.ascontiguousarray(guide.transpose(1, 2, 0))), tmp_path / "g.png")
    found = explained(
        tmp_path / "cube.npy", tmp_path / "g.png", fusion_weights, tmp_path / "o", axes="chw"
    )
    model = load_model(fusion_weights)[0]
    sharp = torch.from_numpy(guide.astype(np.float32) / np.float32(65535))
    expected = explain(model, torch.from_numpy(cube), WINDOW, guide=sharp, steps=3)
    # The upper eight bits alone give another result and another map.
    coarse = torch.round(sharp * 255) / 255
    other = explain(model, torch.from_numpy(cube), WINDOW, guide=coarse, steps=3)
    for ours, theirs, rounded in (
        (found.result, expected.result, other.result),
        *((each.maps["guide"].attribution for each in (found, expected, other)),),
    ):
        error, effect = (ours - theirs).abs().max(), (rounded - theirs).abs().max()
        assert error < effect / 20


def test_a_guide_may_be_a_cube_and_every_option_of_fuse_is_one(
    tmp_path: Path, fusion_weights: Path, scene: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    cube, guide = scene
    np.savez(
        tmp_path / "cube.npz",
        data=(cube * 1000).astype(np.float32),
        other=np.ones((BANDS, 5, 5), np.float32),
    )
    write_cube(Cube((guide / 65535 * 500).astype(np.float32)), tmp_path / "guide.npy")
    options = {
        "axes": "chw",
        "key": "data",
        "peak": 1000.0,
        "guide_peak": 500.0,
        "wavelengths": [450.0, 550.0, 650.0, 800.0],
    }
    found = explained(
        tmp_path / "cube.npz", tmp_path / "guide.npy", fusion_weights, tmp_path / "o", **options
    )
    pair = read_pair(tmp_path / "cube.npz", tmp_path / "guide.npy", **options)  # type: ignore[arg-type]
    model = load_model(fusion_weights)[0]
    assert isinstance(model, PSRT)
    lr, sharp = torch.from_numpy(pair.lr), torch.from_numpy(pair.guide)
    np.testing.assert_allclose(pair.lr, cube, rtol=1e-5)
    with torch.no_grad():
        fused = model(lr[None], sharp[None])[0]
    torch.testing.assert_close(found.result, fused, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("shape", "guide_shape", "message"),
    [
        ((BANDS, 24, 24), (3, 48, 48), "g.npy: is 48x48, but x4 of .*c.npy needs 96x96"),
        ((BANDS, 24, 24), (3, 100, 100), "no whole multiple"),
        ((5, 24, 24), (3, 96, 96), "the cube has 5 bands, tiny was trained for 4"),
        ((BANDS, 24, 24), (2, 96, 96), "the guide has 2 bands, tiny was trained for 3"),
    ],
)
def test_pairs_that_do_not_fit(
    tmp_path: Path,
    fusion_weights: Path,
    shape: tuple[int, ...],
    guide_shape: tuple[int, ...],
    message: str,
) -> None:
    for name, size in (("c.npy", shape), ("g.npy", guide_shape)):
        write_cube(Cube(np.full(size, 0.5, np.float32), 1.0), tmp_path / name)
    with pytest.raises(InputError, match=message):
        explained(tmp_path / "c.npy", tmp_path / "g.npy", fusion_weights, tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_models_of_the_other_kind(tmp_path: Path, face: Path, fusion_weights: Path) -> None:
    write_cube(Cube(np.full((BANDS, 24, 24), 0.5, np.float32), 1.0), tmp_path / "c.npy")
    write_cube(Cube(np.full((3, 96, 96), 0.5, np.float32), 1.0), tmp_path / "g.npy")
    with pytest.raises(InputError, match="tiny fuses a cube with a guide: name the guide"):
        explain_files([face], tmp_path / "o", models=[str(fusion_weights)])
    with pytest.raises(InputError, match="sesr-m5 upscales pictures and takes no guide"):
        explain_files(
            [tmp_path / "c.npy"],
            tmp_path / "o",
            models=["sesr-m5"],
            scale=4,
            windows=[WINDOW],
            guide=tmp_path / "g.npy",
        )


def test_no_figure_overwrites_a_photo_or_weights(tmp_path: Path, face: Path) -> None:
    photo = tmp_path / "a-0-0-16.png"
    first = face.rename(tmp_path / "a.png")
    photo.write_bytes(first.read_bytes())
    before = photo.read_bytes()
    options: dict[str, Any] = {"windows": [Window(0, 0, 16)], "steps": 2}
    with pytest.raises(InputError, match=r"a-0-0-16\.png would overwrite the input"):
        explain_files([first, photo], tmp_path, models=["sesr-m3"], **options)
    model, card = load_model("sesr-m3", 2)
    save_weights(model, tmp_path / "explain.safetensors", card)
    told = (tmp_path / "explain.json").read_bytes()
    weights = str(tmp_path / "explain.safetensors")
    with pytest.raises(InputError, match=r"explain\.json would overwrite the input"):
        explain_files([first], tmp_path, models=[weights], **options)
    assert (tmp_path / "explain.json").read_bytes() == told
    assert photo.read_bytes() == before


def test_a_folder_may_have_the_name_of_a_model(
    tmp_path: Path, face: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        found = explain_files([face], "sesr-m3", models=["sesr-m3"], windows=[WINDOW], steps=2)
    assert found.json.parent == Path("sesr-m3")


def test_findings_come_one_by_one_and_all_in_the_end(tmp_path: Path, face: Path) -> None:
    seen, steps = [], []
    found = explain_files(
        [face],
        tmp_path / "o",
        models=["sesr-m3", "sesr-m5"],
        windows=[(40, 44, 16), (0, 0, 8)],
        steps=2,
        progress=lambda done, total, what: steps.append((done, total, what)),
        on_finding=seen.append,
    )
    assert tuple(seen) == found.findings
    assert steps == [(i, 4, f"face.png: sesr-m{3 + 2 * (i % 2)}") for i in range(4)]
    assert [each.window for each in seen] == [Window(40, 44, 16)] * 2 + [Window(0, 0, 8)] * 2
    assert [dict(each.record) for each in seen] == json.loads(found.json.read_text())
    assert {*found.figures, found.json} == set((tmp_path / "o").iterdir())
    assert all(read_picture(path).width > 256 for path in found.figures)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"propose": 0}, "propose must be at least 1"),
        ({"size": 1}, "size at least 2"),
        ({"context": -1}, "context not negative"),
        ({"as_input": True}, "give --window"),
    ],
)
def test_settings_are_checked(
    tmp_path: Path, face: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        explain_files([face], tmp_path / "o", models=["sesr-m3"], **settings)


def test_nothing_to_explain(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to explain"):
        explain_files([], tmp_path / "o", models=["sesr-m3"])
    assert not (tmp_path / "o").exists()
