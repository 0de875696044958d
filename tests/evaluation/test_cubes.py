"""Fusion evaluated: rows, simulation, models, the report's forms, the command."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from support.command import Ran
from torch import Tensor, nn

from vernier.data.scenes import FusionSettings, read_fusion, write_fusion
from vernier.errors import InputError
from vernier.evaluation import (
    evaluate_fusion,
    format_of,
    is_fusion_data,
    is_fusion_model,
)
from vernier.fusion.classical import CLASSICAL
from vernier.imaging import imresize
from vernier.imaging.simulation import find_response, preset, simulate
from vernier.io import Picture, read_picture, write_picture
from vernier.io.cubes import Cube
from vernier.metrics import CONVENTIONS, cube_psnr, ergas, sam
from vernier.metrics.spectral import band_psnr
from vernier.models.layers import FusionModel
from vernier.zoo import create_model, load_card, new_card, save_weights

BANDS = 31


class Sharpened(FusionModel):
    """A "model" whose right answer is known: the upsampled cube times a factor."""

    architecture = "sharpened"

    def __init__(self, scale: int = 4, factor: float = 1.0, channels: int = BANDS) -> None:
        super().__init__()
        self.scale, self.channels, self.guide_channels = scale, channels, 3
        self.factor = nn.Parameter(torch.tensor([factor]))

    def forward(self, lr: Tensor, guide: Tensor, upsampled: Tensor | None = None) -> Tensor:
        assert not self.training
        if upsampled is None:
            upsampled = imresize(lr, self.scale)
        return upsampled * self.factor


def spectra(height: int, width: int) -> np.ndarray:
    """A smooth 16-bit cube (31, H, W)."""
    smooth = imresize(torch.rand(BANDS // 4, height // 8, width // 8), size=(height, width))
    cube = torch.nn.functional.interpolate(
        smooth.permute(1, 2, 0), size=BANDS, mode="linear"
    ).permute(2, 0, 1)
    return (cube.clamp(0, 1).numpy() * 60000).astype(np.uint16)


@pytest.fixture
def cave(tmp_path: Path) -> Path:
    """Two scenes as CAVE stores them; the second is no multiple of four."""
    folder = tmp_path / "CAVE"
    for name, height, width in (("one", 48, 40), ("two", 46, 51)):
        place = folder / f"{name}_ms"
        place.mkdir(parents=True)
        for number, band in enumerate(spectra(height, width), start=1):
            write_picture(Picture(band[..., None]), place / f"{name}_ms_{number:02d}.png")
    return folder


@pytest.fixture
def fusion_file(tmp_path: Path) -> Path:
    settings = FusionSettings(find_response("a"), preset("cave", 4).blur, 4, preset="cave")
    path = tmp_path / "test.h5"
    cubes = {
        n: Cube(spectra(40, 48), 65535.0, tuple(400.0 + 10 * b for b in range(31))) for n in "abc"
    }
    write_fusion(path, {n: Path(n) for n in cubes}, settings, load=lambda p: cubes[p.name])
    return path


def test_rows_are_what_the_functions_say(fusion_file: Path) -> None:
    report = evaluate_fusion([Sharpened(factor=0.9)], [fusion_file])
    assert [r.method for r in report.results] == ["bicubic", "guided filter", "GSA", "Sharpened"]
    scene = read_fusion(fusion_file)[1]
    results = {name: fuse(scene.lr, scene.guide) for name, fuse in CLASSICAL.items()}
    results["Sharpened"] = 0.9 * scene.upsampled
    for name, cube in results.items():
        score = report.result(name).scenes[1]
        cube = cube.clamp(0, 1)
        assert score.scene == "b"
        assert score.values["SAM"] == pytest.approx(sam(cube, scene.gt).item(), rel=1e-6)
        assert score.values["ERGAS"] == pytest.approx(ergas(cube, scene.gt, ratio=4).item())
        assert score.values["PSNR"] == pytest.approx(cube_psnr(cube, scene.gt).item())
        assert score.curves["psnr_db"] == pytest.approx(band_psnr(cube, scene.gt).tolist())
    result = report.result("GSA")
    each = [score.values["ERGAS"] for score in result.scenes]
    assert result.mean("ERGAS") == pytest.approx(np.mean(each))
    assert result.median("ERGAS") == np.median(each)
    assert result.curve("rmse") == pytest.approx(
        np.mean([score.curves["rmse"] for score in result.scenes], axis=0)
    )
    assert result.parameters is None
    assert report.result("Sharpened").parameters == 1


def test_cubes_are_simulated_as_the_preset_says(cave: Path) -> None:
    report = evaluate_fusion([], [cave], scale=4, preset="dhif", convention="analysis-accu")
    assert [scene.scene for scene in report.results[0].scenes] == ["one", "two"]
    bands = [cave / f"two_ms/two_ms_{number:02d}.png" for number in range(1, BANDS + 1)]
    gt = torch.from_numpy(np.stack([read_picture(b).pixels[..., 0] for b in bands]) / 65535).float()
    gt = gt[:, :44, :48]
    settings = preset("dhif", 4)
    made = simulate(gt, response=find_response("a").weights, scale=4, blur=settings.blur)
    expected = CONVENTIONS["analysis-accu"].measure(made.upsampled.clamp(0, 1), gt, ratio=4)
    assert report.results[0].scenes[1].values == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-6
    )
    assert "Gaussian 4x4 of sigma 2 (circular), pixel 2 of each cell kept" in report.caption


def test_a_network_runs_and_its_costs_are_told(cave: Path, tmp_path: Path) -> None:
    model = create_model("psrt", scale=4, embed=8, num_heads=2, num_blocks=1)
    path = tmp_path / "tiny.safetensors"
    save_weights(model, path, new_card(model, "tiny"))
    assert is_fusion_model(path)
    report = evaluate_fusion([path, path], [cave / "one_ms"])
    assert [r.method for r in report.results[3:]] == ["tiny", "tiny (2)"]
    result = report.result("tiny")
    assert result.parameters == sum(p.numel() for p in model.parameters())
    convolutions = 9 * (34 * 8 + 8 * 31)
    linear = 9 * 12 * 8**2
    attention = 3 * 2 * 8 * (64 + 16 + 4)
    # The scene, 48x40, is padded to 48x48.
    assert result.macs_per_pixel == (convolutions + linear + attention) * 48 * 48 / (48 * 40)
    assert result.scenes[0].values["PSNR"] < 60


def test_unclamped_results_are_measured_as_they_are(fusion_file: Path) -> None:
    clamped, raw = (
        evaluate_fusion([Sharpened(factor=3.0)], [fusion_file], clamp=c) for c in (True, False)
    )
    assert raw.results[-1].mean("PSNR") < clamped.results[-1].mean("PSNR") - 1
    assert "not clamped" in raw.caption
    assert "clamped to [0, 1]" in clamped.caption


def test_the_files_upsampled_cube_is_what_models_see(fusion_file: Path) -> None:
    with h5py.File(fusion_file, "a") as file:
        file["HSI_up"][:] = 0.5
    report = evaluate_fusion([Sharpened()], [fusion_file])
    assert report.results[-1].mean("PSNR") < report.results[0].mean("PSNR") - 3


def test_pansharpening_numbers_need_their_peak(tmp_path: Path) -> None:
    path = tmp_path / "wv3.h5"
    gt = torch.randint(1, 2048, (2, 8, 32, 32)).double()
    with h5py.File(path, "w") as file:
        file["gt"], file["lms"] = gt, imresize(imresize(gt, 0.25), 4)
        file["ms"], file["pan"] = imresize(gt, 0.25), gt.mean(1, keepdim=True)
    with pytest.raises(InputError, match="pass --peak"):
        evaluate_fusion([], [path])
    report = evaluate_fusion([], [path], peak=2047, convention="pansharpening")
    assert set(report.results[0].scenes[0].values) == {"Q2n", "Q", "SAM", "ERGAS", "SCC"}
    assert report.result("GSA").mean("Q2n") > report.result("bicubic").mean("Q2n")


def test_forms(fusion_file: Path, tmp_path: Path) -> None:
    report = evaluate_fusion([Sharpened()], [fusion_file])
    definitions = CONVENTIONS["matlab"].definitions
    for form in ("table", "markdown"):
        text = report.render(form)
        assert definitions in text
        assert "cave: guide through nikon-d700-a, Gaussian 3x3" in text
        for block in ("mean", "median", "a", "b", "c"):
            line = next(line for line in text.splitlines() if line.split()[1:2] == [block])
            assert "bicubic" in line
    assert "SAM deg" in report.render("markdown").splitlines()[0]

    rows = list(csv.DictReader(io.StringIO(report.render("csv"))))
    assert [row["scene"] for row in rows[:4]] == ["a", "b", "c", "mean"]
    assert len(rows) == 4 * 4
    assert float(rows[3]["psnr_db"]) == report.results[0].mean("PSNR")
    assert all(definitions in row["definitions"] for row in rows)

    found = json.loads(report.render("json"))
    assert found["protocol"]["convention"] == "matlab"
    assert (
        found["protocol"]["definitions"]["sam_deg"]
        == "mean angle in degrees over pixels with a spectrum"
    )
    scene = found["results"][0]["scenes"][2]
    assert scene["scene"] == "c"
    assert len(scene["bands"]["psnr_db"]) == BANDS
    assert found["wavelengths_nm"][0] == 400

    written = report.write(tmp_path / "t.csv")
    assert [path.name for path in written] == ["t.csv", "t-bands.csv"]
    curves = list(csv.DictReader(written[1].open()))
    assert len(curves) == 4 * 4 * BANDS
    assert curves[1]["wavelength_nm"] == "410.0"
    mean = [row for row in curves if row["method"] == "GSA" and row["scene"] == "mean"]
    assert [float(row["rmse"]) for row in mean] == list(report.result("GSA").curve("rmse"))
    assert format_of(Path("t.md")) == "markdown"


def test_a_perfect_result_is_no_trouble(fusion_file: Path) -> None:
    with h5py.File(fusion_file, "a") as file:
        file["HSI_up"][:] = file["GT"][:]
    report = evaluate_fusion([Sharpened()], [fusion_file])
    assert report.results[-1].mean("PSNR") == math.inf
    assert "inf" in report.render("table")
    found = json.loads(report.render("json"))
    assert found["results"][-1]["mean"]["psnr_db"] is None
    assert found["results"][-1]["mean"]["sam_deg"] == 0


@pytest.mark.parametrize(
    ("models", "settings", "message"),
    [
        ([], {"convention": "matlb"}, "did you mean 'matlab'"),
        ([Sharpened(scale=2)], {}, "scales differ"),
        ([], {"scale": 8}, "scales differ"),
        ([Sharpened(channels=8)], {}, "has 31 bands, Sharpened is made for 8"),
        (["sesr-m5"], {}, "sesr-m5 upscales pictures"),
        ([], {"device": "nonsense"}, "nonsense"),
    ],
)
def test_refuses_what_cannot_be_used(fusion_file, models, settings, message) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_fusion(models, [fusion_file], **settings)


def test_refuses_data_that_cannot_be_used(fusion_file: Path, cave: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data"):
        evaluate_fusion([], [])
    with pytest.raises(InputError, match="--scale"):
        evaluate_fusion([], [cave])
    with pytest.raises(InputError, match="two scenes are named a"):
        evaluate_fusion([], [fusion_file, fusion_file])
    with h5py.File(fusion_file, "a") as file:
        del file["GT"]
    with pytest.raises(InputError, match="holds no reference"):
        evaluate_fusion([], [fusion_file])
    small = tmp_path / "small.npy"
    np.save(small, np.random.default_rng(0).random((31, 16, 16)).astype(np.float32))
    with pytest.raises(InputError, match="Q needs at least 32x32"):
        evaluate_fusion([], [small], scale=4)


def test_what_is_fusion_data(fusion_file: Path, cave: Path, tmp_path: Path) -> None:
    assert is_fusion_data(fusion_file)
    assert is_fusion_data(cave)
    assert is_fusion_data(cave / "one_ms")
    pictures = tmp_path / "B100"
    pictures.mkdir()
    for name in ("101085", "101087"):
        write_picture(Picture(np.zeros((8, 8, 3), np.uint8)), pictures / f"{name}.png")
    assert not is_fusion_data(pictures)
    assert not is_fusion_data(tmp_path / "missing")
    assert is_fusion_model("psrt")
    assert not is_fusion_model("sesr-m5")


def test_the_command(vernier: Callable[..., Ran], cave: Path, tmp_path: Path) -> None:
    sheets = tmp_path / "new" / "sheets"
    code, text, _ = vernier("evaluate", "--data", cave, "-s", 4, "--sheets", sheets)
    assert code == 0
    assert "guided filter" in text
    assert CONVENTIONS["matlab"].definitions in text
    assert sorted(path.name for path in sheets.iterdir()) == [
        "one-GSA.png",
        "one-guided-filter.png",
        "two-GSA.png",
        "two-guided-filter.png",
    ]


def test_the_command_with_a_model_and_two_files(
    vernier: Callable[..., Ran], fusion_file: Path, cave: Path, tmp_path: Path
) -> None:
    model = create_model("psrt", scale=4, embed=8, num_heads=2, num_blocks=1)
    weights = tmp_path / "tiny.safetensors"
    save_weights(model, weights, new_card(model, "tiny"))
    output = tmp_path / "report.csv"
    arguments = ("--data", cave, fusion_file, "--convention", "analysis-accu", "-o", output)
    ran = vernier("evaluate", weights, *arguments)
    assert ran.code == 0
    assert ran.out == f"{output}: written\n{tmp_path / 'report-bands.csv'}: written\n"
    rows = list(csv.DictReader(output.open()))
    assert {row["scene"] for row in rows} == {"one", "two", "a", "b", "c", "mean"}
    assert {row["method"] for row in rows} == {"bicubic", "guided filter", "GSA", "tiny"}
    assert {row["convention"] for row in rows} == {"analysis-accu"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rgb",), "--rgb: not for cubes"),
        (("--crop", 4, "--no-rounding"), "--crop, --no-rounding: not for cubes"),
        (("sesr-m5",), "upscales pictures"),
        (("--convention", "x"), "unknown convention"),
        (("--preset", "x", "-s", 4), "preset x"),
    ],
)
def test_the_command_refuses(
    vernier: Callable[..., Ran], cave: Path, arguments: tuple[object, ...], message: str
) -> None:
    code, _, err = vernier("evaluate", "--data", cave, *arguments)
    assert code == 2
    assert message in " ".join(err.split())


def test_pictures_refuse_what_is_for_cubes(vernier: Callable[..., Ran], tmp_path: Path) -> None:
    write_picture(Picture(np.zeros((24, 24, 3), np.uint8)), tmp_path / "a.png")
    code, _, err = vernier("evaluate", "--data", tmp_path, "-s", 2, "--convention", "matlab")
    assert code == 2
    assert "--convention: not for pictures" in err


def test_real_scenes(shared: Path) -> None:
    """Figures that were measured on whole scenes: nothing in the chain may move them."""
    data = shared / "data/CAVE/test/balloons_ms"
    report = evaluate_fusion([], [data], scale=4, convention="analysis-accu")
    measured = {
        "bicubic": (2.114, 2.254, 38.295),
        "guided filter": (2.022, 0.791, 47.391),
        "GSA": (1.738, 0.616, 49.746),
    }
    for method, expected in measured.items():
        values = report.result(method).scenes[0].values
        assert (values["SAM"], values["ERGAS"], values["PSNR"]) == pytest.approx(expected, abs=6e-4)


def test_what_ships_beats_all_that_needs_no_training_by_far(shared: Path) -> None:
    report = evaluate_fusion(["psrt-s"], [shared / "data/CAVE/test"])
    assert report.data[0].scenes == ("balloons", "flowers")
    trained = report.result("psrt-s")
    for name in CLASSICAL:
        classical = report.result(name)
        assert trained.mean("PSNR") > classical.mean("PSNR") + 1, name
        assert trained.mean("SAM") < 0.9 * classical.mean("SAM"), name
        assert trained.mean("ERGAS") < classical.mean("ERGAS"), name
        assert trained.mean("SSIM") > classical.mean("SSIM"), name
    card = load_card("psrt-s", 4)
    told = card.measured["cave-test"]
    assert told["psnr"] == pytest.approx(trained.mean("PSNR"), abs=0.01)
    assert told["sam"] == pytest.approx(trained.mean("SAM"), abs=0.01)
