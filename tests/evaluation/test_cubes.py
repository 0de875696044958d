"""Fusion evaluated: rows, simulation, models, what is refused."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vernier.data.scenes import read_fusion
from vernier.errors import InputError
from vernier.evaluation import FusionReport, evaluate, format_of
from vernier.evaluation.cubes import is_fusion_data
from vernier.fusion.classical import CLASSICAL
from vernier.imaging import imresize
from vernier.imaging.simulation import find_response, preset, simulate
from vernier.io import Picture, read_picture, write_picture
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


def evaluate_cubes(*arguments: Any, **settings: Any) -> FusionReport:
    report = evaluate(*arguments, **settings)
    assert isinstance(report, FusionReport)
    return report


def test_rows_are_what_the_functions_say(fusion_file: Path) -> None:
    report = evaluate_cubes([Sharpened(factor=0.9)], [fusion_file])
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
    report = evaluate_cubes([], [cave], scale=4, preset="dhif", convention="analysis-accu")
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
    report = evaluate_cubes([path, path], [cave / "one_ms"])
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
        evaluate_cubes([Sharpened(factor=3.0)], [fusion_file], clamp=c) for c in (True, False)
    )
    assert raw.results[-1].mean("PSNR") < clamped.results[-1].mean("PSNR") - 1
    assert "not clamped" in raw.caption
    assert "clamped to [0, 1]" in clamped.caption


def test_the_files_upsampled_cube_is_what_models_see(fusion_file: Path) -> None:
    with h5py.File(fusion_file, "a") as file:
        file["HSI_up"][:] = 0.5
    report = evaluate_cubes([Sharpened()], [fusion_file])
    assert report.results[-1].mean("PSNR") < report.results[0].mean("PSNR") - 3


def test_pansharpening_numbers_need_their_peak(tmp_path: Path) -> None:
    path = tmp_path / "wv3.h5"
    gt = torch.randint(1, 2048, (2, 8, 32, 32)).double()
    with h5py.File(path, "w") as file:
        file["gt"], file["lms"] = gt, imresize(imresize(gt, 0.25), 4)
        file["ms"], file["pan"] = imresize(gt, 0.25), gt.mean(1, keepdim=True)
    with pytest.raises(InputError, match="pass --peak"):
        evaluate_cubes([], [path])
    report = evaluate_cubes([], [path], peak=2047, convention="pansharpening")
    assert set(report.results[0].scenes[0].values) == {"Q2n", "Q", "SAM", "ERGAS", "SCC"}
    assert report.result("GSA").mean("Q2n") > report.result("bicubic").mean("Q2n")


def test_forms(fusion_file: Path, tmp_path: Path) -> None:
    report = evaluate_cubes([Sharpened()], [fusion_file])
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
    report = evaluate_cubes([Sharpened()], [fusion_file])
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
        evaluate_cubes(models, [fusion_file], **settings)


def test_refuses_data_that_cannot_be_used(fusion_file: Path, cave: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data"):
        evaluate_cubes([Sharpened()], [])
    with pytest.raises(InputError, match="--scale"):
        evaluate_cubes([], [cave])
    with pytest.raises(InputError, match="two scenes are named a"):
        evaluate_cubes([], [fusion_file, fusion_file])
    with h5py.File(fusion_file, "a") as file:
        del file["GT"]
    with pytest.raises(InputError, match="holds no reference"):
        evaluate_cubes([], [fusion_file])
    small = tmp_path / "small.npy"
    np.save(small, np.random.default_rng(0).random((31, 16, 16)).astype(np.float32))
    with pytest.raises(InputError, match="Q needs at least 32x32"):
        evaluate_cubes([], [small], scale=4)


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


def test_real_scenes(shared: Path) -> None:
    """Figures that were measured on whole scenes: nothing in the chain may move them."""
    data = shared / "data/CAVE/test/balloons_ms"
    report = evaluate_cubes([], [data], scale=4, convention="analysis-accu")
    measured = {
        "bicubic": (2.114, 2.254, 38.295),
        "guided filter": (2.022, 0.791, 47.391),
        "GSA": (1.738, 0.616, 49.746),
    }
    for method, expected in measured.items():
        values = report.result(method).scenes[0].values
        assert (values["SAM"], values["ERGAS"], values["PSNR"]) == pytest.approx(expected, abs=6e-4)


def test_what_ships_beats_all_that_needs_no_training_by_far(shared: Path) -> None:
    report = evaluate_cubes(["psrt-s"], [shared / "data/CAVE/test"])
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


def test_networks_of_one_class_and_two_scales_differ(fusion_file: Path) -> None:
    with pytest.raises(
        InputError, match=r"scales differ \(Sharpened x2, Sharpened x4, test\.h5 x4"
    ):
        evaluate_cubes([Sharpened(scale=2), Sharpened(scale=4)], [fusion_file])


def test_a_network_that_is_trained_goes_on_training(fusion_file: Path) -> None:
    model = Sharpened().train()
    evaluate_cubes([model], [fusion_file])
    assert model.training
