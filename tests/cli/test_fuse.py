from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command import Ran

from vernier.data.scene_files import FusionSettings, write_fusion
from vernier.imaging.simulation import Blur, blur_and_decimate, find_response, preset
from vernier.io import Picture, write_picture
from vernier.io.cubes import Cube, read_cube, write_cube
from vernier.models.layers import FusionModel
from vernier.zoo import create_model, new_card, save_weights


@pytest.fixture
def run(vernier: Callable[..., Ran]) -> Callable[..., Ran]:
    """Run the command line; what is on stderr is one line."""

    def call(*arguments: object) -> Ran:
        ran = vernier(*arguments)
        return ran._replace(err=" ".join(ran.err.split()))

    return call


def truth(seed: int = 0) -> np.ndarray:
    """(6, 64, 48) in [0.1, 0.9]: smooth spectra on sharp shapes."""
    rng = np.random.default_rng(seed)
    shapes = rng.random((3, 16, 12)).repeat(4, 1).repeat(4, 2)
    spectra = np.linspace(0, 1, 6)[:, None] ** np.array([0.5, 1, 2])[None]
    return 0.1 + 0.8 * np.einsum("bs,shw->bhw", spectra / 3, shapes)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A cube of digital numbers and its guide as a 16-bit picture."""
    gt = truth()
    lr = gt.reshape(6, 16, 4, 12, 4).mean((2, 4))
    values = np.round(lr * 4095).astype(np.uint16)
    write_cube(Cube(values, 4095.0, (450, 500, 550, 600, 650, 700)), tmp_path / "cube.mat")
    guide = np.round(gt[[4, 2, 0]] * 65535).astype(np.uint16)
    write_picture(Picture(np.ascontiguousarray(guide.transpose(1, 2, 0))), tmp_path / "guide.png")
    return tmp_path / "cube.mat", tmp_path / "guide.png"


def test_without_a_model_the_guided_filter_sharpens_and_keeps_what_the_cube_says(  # type: ignore[no-untyped-def]
    run, files: tuple[Path, Path], tmp_path: Path
) -> None:
    cube, guide = files
    sheet = tmp_path / "sheet.png"
    code, out, err = run("fuse", cube, "-g", guide, "-o", tmp_path / "sharp.h5", "--report", sheet)
    assert code == 0
    assert err.startswith(
        "note: psrt-s was trained on 31 bands of 400 to 700 nm with a guide of 3 "
    )
    assert err.endswith("3 channels at x4, which this is not: guided-filter is taken")
    assert "48x64, 6 bands, guided-filter x4" in out
    sharp = read_cube(tmp_path / "sharp.h5")
    assert sharp.values.dtype == np.uint16
    assert (sharp.peak, sharp.wavelengths) == (4095.0, (450, 500, 550, 600, 650, 700))
    assert sheet.stat().st_size > 1000
    code, *_ = run("fuse", cube, "-g", guide, "-o", tmp_path / "bicubic.h5", "-n", "bicubic")
    assert code == 0
    error, bicubic = (
        np.abs(read_cube(path).unit() - truth()).mean()
        for path in (tmp_path / "sharp.h5", tmp_path / "bicubic.h5")
    )
    assert error < 0.8 * bicubic


def test_a_trained_file_fuses_as_its_network_does(  # type: ignore[no-untyped-def]
    run, files: tuple[Path, Path], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = create_model("psrt", scale=4, bands=6, embed=8, num_blocks=1, num_heads=2)
    assert isinstance(model, FusionModel)
    weights = tmp_path / "psrt.safetensors"
    save_weights(model, weights, new_card(model, "psrt"))
    cube, guide = files
    code, out, err = run("fuse", cube, "-g", guide, "-o", tmp_path / "sharp.h5", "-n", weights)
    assert (code, err) == (0, "")
    assert "psrt x4, openvino" in out
    lr = torch.from_numpy(read_cube(cube).unit())[None]
    sharp_guide = torch.from_numpy(np.round(truth()[[4, 2, 0]] * 65535) / 65535).float()[None]
    with torch.inference_mode():
        expected = model.eval()(lr, sharp_guide)[0].clamp(0, 1).numpy()
    got = read_cube(tmp_path / "sharp.h5").unit()
    np.testing.assert_allclose(got, expected, atol=0.51 / 4095)


def test_without_a_model_a_cube_as_in_training_is_fused_by_the_trained_network(  # type: ignore[no-untyped-def]
    run, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    gt = 0.1 + 0.8 * rng.random((31, 8, 6)).repeat(8, 1).repeat(8, 2)
    seen = blur_and_decimate(torch.from_numpy(gt), preset("cave", 4).blur, 4)
    wavelengths = tuple(400.0 + 10 * i for i in range(31))
    write_cube(Cube(seen.float().numpy(), 1.0, wavelengths), tmp_path / "cube.h5")
    guide = np.einsum("cb,bhw->hwc", find_response("a").weights.numpy(), gt)
    pixels = np.ascontiguousarray(np.round(guide * 65535).astype(np.uint16))
    write_picture(Picture(pixels), tmp_path / "guide.png")
    inputs = ("fuse", tmp_path / "cube.h5", "-g", tmp_path / "guide.png", "-o")
    code, out, err = run(*inputs, tmp_path / "sharp.h5")
    assert (code, err) == (0, "")
    assert "48x64, 31 bands, psrt-s x4, openvino" in out
    code, out, err = run(*inputs, tmp_path / "other.h5", "--wavelengths", "450:750:10")
    assert code == 0
    assert "guided-filter is taken" in err
    assert "guided-filter x4" in out
    # The same scene, seen by another camera.
    other = np.einsum("cb,bhw->hwc", find_response("b").weights.numpy(), gt)
    write_picture(Picture(np.round(other * 65535).astype(np.uint16)), tmp_path / "guide.png")
    code, out, err = run(*inputs, tmp_path / "third.h5")
    assert code == 0
    assert "trained on other cameras" in err
    assert "guided-filter x4" in out
    code, out, err = run(*inputs, tmp_path / "third.h5", "-n", "psrt-s")
    assert (code, err) == (0, "")
    assert "psrt-s x4" in out


def test_every_scene_of_a_fusion_file_is_fused(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    wavelengths = tuple(400.0 + 60 * band for band in range(6))
    scenes = {}
    for seed, name in enumerate(("first", "second")):
        scenes[name] = tmp_path / f"{name}.npz"
        write_cube(Cube(truth(seed).astype(np.float32), 1.0, wavelengths), scenes[name])
    settings = FusionSettings(find_response("a"), Blur())
    write_fusion(tmp_path / "scenes.h5", scenes, settings)
    folder, sheets = tmp_path / "out", tmp_path / "sheets"
    code, _, err = run(
        "fuse", tmp_path / "scenes.h5", "-o", folder, "--report", sheets, "-n", "gsa"
    )
    assert (code, err) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == ["first.h5", "second.h5"]
    assert sorted(path.name for path in sheets.iterdir()) == ["first.png", "second.png"]
    code, _, err = run("fuse", tmp_path / "scenes.h5", "-o", tmp_path / "one.h5", "-n", "gsa")
    assert (code, "must name a folder" in err) == (2, True)


def test_what_cannot_be_fused_is_one_line_and_leaves_nothing(  # type: ignore[no-untyped-def]
    run, files: tuple[Path, Path], tmp_path: Path
) -> None:
    cube, guide = files
    other = tmp_path / "other.png"
    pixels = np.round(truth(5)[[4, 2, 0]] * 255).astype(np.uint8).transpose(1, 2, 0)
    write_picture(Picture(np.ascontiguousarray(pixels)), other)
    small = tmp_path / "small.png"
    write_picture(Picture(np.ascontiguousarray(pixels[:60])), small)
    target = tmp_path / "sharp.h5"
    for arguments, message in (
        ((cube, "-o", target), "holds no guide: name one with --guide"),
        ((cube, "-g", other, "-o", target), "does not look like the cube's scene"),
        ((cube, "-g", small, "-o", target), "no whole multiple"),
        ((cube, "-g", guide, "-o", target, "--peak", 50), "pass the right --peak"),
        ((cube, "-g", guide, "-o", target, "-n", "psrt"), "no weights of psrt"),
        ((cube, "-g", tmp_path / "none.png", "-o", target), "no such file"),
        ((cube, "-g", guide, "-o", tmp_path / "none" / "sharp.h5"), "no such folder"),
        ((cube, "-g", guide, "-o", target, "-t", "big"), "--tile must be"),
        ((cube, "-g", guide, "-o", target, "-t", 8), "at least 16"),
    ):
        code, out, err = run("fuse", *arguments)
        assert (code, out) == (2, ""), arguments
        assert message in err, arguments
        assert err.count("error:") == 1
        assert not target.exists()
    assert run("fuse", cube, "-g", other, "-o", target, "--no-check")[0] == 0


def test_inputs_are_not_written_over(run, files: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    cube, guide = files
    before = [path.read_bytes() for path in files]
    for targets in (("-o", cube), ("-o", guide), ("-o", cube.parent / "x.h5", "--report", guide)):
        code, _, err = run("fuse", cube, "-g", guide, *targets)
        assert code == 2
        assert "would overwrite the input" in err
    assert [path.read_bytes() for path in files] == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-s", "2"), "the guide is 4 times as large as the cube"),
        (("--guide-peak", "255"), "pass the right --guide-peak"),
        (("--guide-peak", "1e8"), "pass the right --guide-peak"),
        (("--peak", "1e8"), "pass the right --peak"),
    ],
)
def test_a_wrong_scale_or_peak_is_refused(  # type: ignore[no-untyped-def]
    run, files: tuple[Path, Path], arguments: tuple[str, str], message: str
) -> None:
    cube, guide = files
    target = cube.parent / "sharp.h5"
    code, _, err = run("fuse", cube, "-g", guide, "-o", target, *arguments)
    assert code == 2
    assert message in err
    assert not target.exists()


def test_missing_files_suffixes_and_gaps_are_told(  # type: ignore[no-untyped-def]
    run, files: tuple[Path, Path], tmp_path: Path
) -> None:
    cube, guide = files
    target = tmp_path / "sharp.h5"
    _, _, err = run("fuse", tmp_path / "none.mat", "-o", target)
    assert "none.mat: no such file" in err
    _, _, err = run("fuse", cube, "-g", tmp_path / "none.png", "-o", target)
    assert "none.png: no such file" in err
    _, _, err = run("fuse", cube, "-g", guide, "-o", tmp_path / "sharp.xyz")
    assert "cannot write .xyz" in err
    values = np.full((6, 16, 12), 0.5, np.float32)
    values[0, 0, 0] = np.inf
    write_cube(Cube(values, 1.0), tmp_path / "gaps.h5")
    code, _, err = run("fuse", tmp_path / "gaps.h5", "-g", guide, "-o", target)
    assert code == 2
    assert "gaps.h5" in err
    assert "not finite" in err


def test_bright_and_negative_values_of_a_cube_are_kept(
    run: Callable[..., Ran], files: tuple[Path, Path], tmp_path: Path
) -> None:
    cube, guide = files
    values = read_cube(cube).values.astype(np.int32)
    values = np.round((values - values.min()) / np.ptp(values) * 10800 - 300).astype(np.int16)
    write_cube(Cube(values, 10000.0), tmp_path / "bright.h5")
    for method in ("bicubic", "gsa", "guided-filter"):
        target = tmp_path / f"{method}.h5"
        arguments = ("-g", guide, "-o", target, "-n", method, "--no-check")
        assert run("fuse", tmp_path / "bright.h5", *arguments).code == 0
        fused = read_cube(target).values
        assert (fused.min(), fused.max()) == (-300, 10500)


def test_a_cube_with_pixels_above_its_peak_keeps_them(
    run: Callable[..., Ran], shared: Path, tmp_path: Path
) -> None:
    folder = shared / "cases/cube-above-peak"
    cube = (folder / "hot.npy", "--axes", "chw", "--peak", 10000)
    target = tmp_path / "sharp.h5"
    assert run("fuse", *cube, "-n", "gsa", "-g", folder / "guide.tif", "-o", target).code == 0
    values = read_cube(target).values
    assert values.max() == np.load(folder / "hot.npy").max()
    assert (values == 10000).sum() < 10


@pytest.mark.parametrize("name", ["cube_negative", "cube_above_one"])
def test_reflectances_of_dark_water_and_of_glint_are_fused(
    name: str, run: Callable[..., Ran], shared: Path, tmp_path: Path
) -> None:
    folder = shared / "cases/hsi-negative"
    stored = read_cube(folder / f"{name}.tif").values
    target = tmp_path / "sharp.h5"
    peaks = ("--peak", 10000, "--guide-peak", 10000)
    inputs = (folder / f"{name}.tif", "-g", folder / "guide.tif")
    assert run("fuse", *inputs, *peaks, "-n", "gsa", "--no-check", "-o", target).code == 0
    values = read_cube(target).values
    assert values.min() == min(stored.min(), 0)
    assert values.max() == stored.max() if stored.max() > 10000 else values.max() <= 10000


@pytest.mark.parametrize(
    "name",
    [
        b"../../escaped",
        b"/tmp/escaped",
        b"a/b",
        b"",
        b"CON",
        b".hidden",
        b"..",
        b"a\\b",
        b"C:x",
        b"\xff\xfe",
    ],
)
def test_a_scene_s_name_never_leads_out_of_the_folder(
    name: bytes, run: Callable[..., Ran], tmp_path: Path
) -> None:
    h5py = pytest.importorskip("h5py")
    path, folder = tmp_path / "in/deep/scenes.h5", tmp_path / "in/deep/out"
    path.parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["LRHSI"] = rng.random((3, 6, 4, 4), np.float32)
        file["RGB"] = rng.random((3, 3, 16, 16), np.float32)
        file["names"] = np.array([name, b"plain", name.upper()])
    before = {each for each in tmp_path.rglob("*")}
    code, out, err = run(
        "fuse", path, "-o", folder, "--report", folder, "-n", "bicubic", "--no-check"
    )
    assert (code, "error" in err) == (0, False)
    assert len(out.splitlines()) == 3
    made = {each for each in tmp_path.rglob("*")} - before - {folder}
    assert all(each.parent == folder and not each.name.startswith(".") for each in made)
    assert folder / "plain.h5" in made
    # Three scenes, a cube and a sheet each: none in the place of another.
    assert len(made) == 6


@pytest.mark.parametrize("data", [".dat", ".raw", ".bsq", ".img", ""])
def test_the_files_of_an_envi_cube_are_not_written_over(
    data: str, run: Callable[..., Ran], files: tuple[Path, Path], tmp_path: Path
) -> None:
    cube, guide = files
    write_cube(read_cube(cube), tmp_path / "envi.hdr")
    (tmp_path / "envi.img").rename(tmp_path / f"envi{data}")
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}
    for arguments in (
        ("-o", tmp_path / "envi.hdr"),
        ("-o", tmp_path / "sharp.h5", "--report", tmp_path / f"envi{data}"),
        ("-o", tmp_path / "sharp.h5", "--report", tmp_path / "envi.hdr"),
    ):
        code, _, err = run("fuse", tmp_path / f"envi{data}", "-g", guide, *arguments)
        assert (code, "would overwrite the input" in err) == (2, True)
    assert {each: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_neither_a_sheet_nor_a_scene_takes_the_place_of_another_file(
    run: Callable[..., Ran], files: tuple[Path, Path], tmp_path: Path
) -> None:
    h5py = pytest.importorskip("h5py")
    cube, guide = files
    target = tmp_path / "sharp.tif"
    code, _, err = run("fuse", cube, "-g", guide, "-o", target, "--report", target)
    assert (code, "would overwrite the cube" in err) == (2, True)
    with h5py.File(tmp_path / "scenes.h5", "w") as file:
        file["LRHSI"] = np.full((2, 6, 4, 4), 0.5, np.float32)
        file["RGB"] = np.full((2, 3, 16, 16), 0.5, np.float32)
        file["names"] = np.array(["first", "scenes"], dtype="S")
    before = (tmp_path / "scenes.h5").read_bytes()
    code, _, err = run("fuse", tmp_path / "scenes.h5", "-o", tmp_path, "-n", "bicubic")
    assert (code, "would overwrite the input" in err) == (2, True)
    assert (tmp_path / "scenes.h5").read_bytes() == before
    assert not (tmp_path / "first.h5").exists()


def test_what_was_recognised_is_told_with_an_error_too(
    run: Callable[..., Ran], files: tuple[Path, Path], tmp_path: Path
) -> None:
    _, guide = files
    np.save(tmp_path / "cube.npy", np.full((16, 16, 5), 0.5, np.float32))
    code, _, err = run("fuse", tmp_path / "cube.npy", "-g", guide, "-o", tmp_path / "x.h5")
    assert code == 2
    assert "note: axes hwc: the first two are equal" in err
    assert "no whole multiple" in err
