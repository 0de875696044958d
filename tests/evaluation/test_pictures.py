"""Pictures evaluated: how models are run, what is compared, what is refused."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vernier.errors import InputError
from vernier.evaluation import PAPERS, PictureReport, Protocol, evaluate, published
from vernier.imaging import imresize, rgb_to_luma
from vernier.io import Picture, write_picture
from vernier.metrics import psnr
from vernier.zoo import create_model, new_card, save_weights


class Seen(list[tuple[int, ...]]):
    """What a network and its copies saw."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Seen:
        return self


class Bicubic(nn.Module):
    """A "model" whose right answer is known."""

    def __init__(self, scale: int, colour: str) -> None:
        super().__init__()
        self.scale = scale
        self.colour = colour
        self.seen = Seen()

    def forward(self, lr: Tensor) -> Tensor:
        assert not self.training
        assert lr.dtype == torch.float32
        self.seen.append(tuple(lr.shape))
        return imresize(lr, self.scale)


def evaluate_pictures(*arguments: Any, **settings: Any) -> PictureReport:
    report = evaluate(*arguments, **settings)
    assert isinstance(report, PictureReport)
    return report


def test_a_model_that_returns_bicubic_has_its_figures(shared: Path) -> None:
    models = [Bicubic(3, "rgb"), Bicubic(3, "luma")]
    report = evaluate_pictures(models, [shared / "data/Set5"])
    bicubic, rgb, luma = report.results
    assert [r.model for r in report.results] == ["bicubic", "Bicubic", "Bicubic (2)"]
    # They round once at the end instead of after each dimension, or round luma instead of RGB.
    for result in (rgb, luma):
        assert result.psnr == pytest.approx(bicubic.psnr, abs=0.01)
        assert result.ssim == pytest.approx(bicubic.ssim, abs=0.0005)
        assert result.psnr != bicubic.psnr
    assert models[0].seen[0] == (1, 3, 170, 170)
    assert models[1].seen[0] == (1, 1, 170, 170)


@pytest.mark.parametrize("luma", [True, False])
@pytest.mark.parametrize("colour", ["rgb", "luma"])
def test_unrounded_bicubic_is_linear_in_colour(pictures: Path, colour: str, luma: bool) -> None:
    """Without rounding, bicubic commutes with the colour conversion: all paths agree exactly."""
    report = evaluate_pictures(
        [Bicubic(2, colour)], [pictures], protocol=Protocol(luma=luma, rounding=False)
    )
    bicubic, model = report.results
    assert len(bicubic.images) == 2
    for ours, theirs in zip(bicubic.images, model.images, strict=True):
        assert ours.psnr == pytest.approx(theirs.psnr, abs=1e-3)
        assert ours.ssim == pytest.approx(theirs.ssim, abs=1e-5)


def test_gray_pictures_stay_gray(pictures: Path) -> None:
    luma, rgb = Bicubic(2, "luma"), Bicubic(2, "rgb")
    report = evaluate_pictures([luma, rgb], [pictures])
    assert luma.seen == [(1, 1, 20, 24), (1, 1, 18, 22)]
    assert rgb.seen == [(1, 3, 20, 24), (1, 3, 18, 22)]
    assert report.benchmarks[0].gray == 1
    assert "1 gray picture kept gray" in report.caption
    values = [result.images[1] for result in report.results]
    assert values[1].psnr == pytest.approx(values[2].psnr, abs=1e-6)


def test_luma_model_is_compared_as_the_papers_do(pictures: Path) -> None:
    from vernier.data.benchmarks import find_benchmark

    model = create_model("sesr-m3", scale=2).train()
    report = evaluate_pictures([model], [pictures], scale=2)
    assert model.training
    hr, lr, _ = find_benchmark(pictures, 2).pairs[0].load()
    with torch.no_grad():
        luma = model(rgb_to_luma(lr)[None])[0]
    expected = psnr(luma, rgb_to_luma(hr), crop=2).item()
    assert report.result("SESR", "pictures").images[0].psnr == pytest.approx(expected, abs=1e-6)
    assert all(image.seconds > 0 for image in report.results[1].images)


def test_weight_files_carry_the_published_figure(tmp_path: Path, shared: Path) -> None:
    model = create_model("sesr-m3", scale=2)
    path = tmp_path / "mine.safetensors"
    save_weights(model, path, new_card(model, "sesr-m3"))
    report = evaluate_pictures([path], [shared / "data/Set5"])
    result = report.result("mine", "Set5")
    assert report.scale == 2
    assert result.published == published("sesr-m3", "Set5", 2)
    assert result.published is not None
    assert (result.published.psnr.value, result.published.psnr.confirmed) == (37.21, True)
    assert (result.published.ssim.value, result.published.ssim.confirmed) == (0.9577, False)
    assert "37.21 / ~0.9577" in report.render("markdown")
    assert "~ published figure not confirmed" in report.caption


def test_published_figures_belong_to_the_papers_protocol(shared: Path) -> None:
    set5 = [shared / "data/Set5"]
    assert evaluate_pictures([], set5, scale=4).results[0].published is not None
    assert (
        evaluate_pictures([], set5, scale=4, protocol=Protocol(crop=4)).results[0].published
        is not None
    )
    for protocol in (Protocol(luma=False), Protocol(crop=0), Protocol(rounding=False)):
        assert evaluate_pictures([], set5, scale=4, protocol=protocol).results[0].published is None


def test_published_names() -> None:
    assert published("bicubic", "B100", 4) == published("bicubic", "BSD100", 4) is not None
    assert published("sesr-xl", "DIV2K_valid", 2) == published("sesr-xl", "div2k", 2) is not None
    assert published("sesr-m5", "Set5", 3) is None
    assert published("unknown", "Set5", 2) is None


def test_render(pictures: Path) -> None:
    report = evaluate_pictures([Bicubic(2, "luma")], [pictures])
    rows = list(csv.DictReader(io.StringIO(report.render("csv"))))
    assert [(row["model"], row["image"]) for row in rows] == [
        *(("bicubic", "colour"), ("bicubic", "gray"), ("bicubic", "mean")),
        *(("Bicubic", "colour"), ("Bicubic", "gray"), ("Bicubic", "mean")),
    ]
    assert float(rows[0]["psnr_db"]) == report.results[0].images[0].psnr
    assert float(rows[2]["psnr_db"]) == report.results[0].psnr
    assert (rows[0]["crop"], rows[0]["luma"], rows[0]["lr"]) == ("2", "True", "made")
    content = json.loads(report.render("json"))
    assert content["results"][1]["images"][1]["psnr_db"] == report.results[1].images[1].psnr
    mean = f"{report.results[0].psnr:.2f} / {report.results[0].ssim:.4f}"
    caption = (
        "x2, PSNR in dB / SSIM on BT.601 luma, result rounded to 8 bit, 2 pixels cropped, mean "
        "over images; 1 gray picture kept gray; LR made by MATLAB bicubic: pictures (2 pictures)."
    )
    markdown = report.render("markdown").splitlines()
    assert markdown[:3] == [
        "| model | pictures |",
        "| --- | ---: |",
        f"| bicubic | {mean} |",
    ]
    assert markdown[-1] == caption
    table = report.render("table")
    assert mean in table
    assert caption in table.splitlines()


def test_an_equal_picture_is_infinite_and_still_json(tmp_path: Path) -> None:
    write_picture(Picture(np.full((30, 30, 3), 90, np.uint8)), tmp_path / "flat.png")
    report = evaluate_pictures([], [tmp_path], scale=2)
    assert report.results[0].psnr == math.inf
    assert json.loads(report.render("json"))["results"][0]["psnr_db"] is None


def test_names_are_no_markup(pictures: Path) -> None:
    folder = pictures.rename(pictures.with_name("a[red] :cat:"))
    assert " a[red] :cat: " in evaluate_pictures([], [folder], scale=2).render("table")


def test_a_model_that_gives_nan_is_reported(pictures: Path) -> None:
    class Broken(Bicubic):
        def forward(self, lr: Tensor) -> Tensor:
            return super().forward(lr) * math.nan

    report = evaluate_pictures([Broken(2, "luma")], [pictures])
    assert math.isnan(report.results[1].psnr)
    content = json.loads(report.render("json"))["results"][1]
    assert (content["psnr_db"], content["ssim"]) == (None, None)


def test_refuses_models(pictures: Path) -> None:
    with pytest.raises(InputError, match=r"Linear cannot be used: it needs .* scale"):
        evaluate_pictures([nn.Linear(1, 1)], [pictures])
    with pytest.raises(InputError, match="Bicubic is a model for scale 3, not 2"):
        evaluate_pictures([Bicubic(3, "rgb")], [pictures], scale=2)
    with pytest.raises(InputError, match=r"models of scales \[2, 3\] in one table"):
        evaluate_pictures([Bicubic(3, "rgb"), Bicubic(2, "rgb")], [pictures])
    with pytest.raises(InputError, match="two benchmarks are named pictures"):
        evaluate_pictures([], [pictures, pictures], scale=2)

    class Wrong(Bicubic):
        def forward(self, lr: Tensor) -> Tensor:
            return lr

    with pytest.raises(InputError, match=r"Wrong made \(3, 20, 24\) of \(3, 20, 24\), not"):
        evaluate_pictures([Wrong(2, "rgb")], [pictures])


def test_progress_counts_images(pictures: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    evaluate_pictures(
        [], [pictures], scale=2, protocol=PAPERS, progress=lambda *call: seen.append(call)
    )
    assert seen == [(0, 2, "pictures/colour"), (1, 2, "pictures/gray")]


def test_networks_that_were_handed_in_stay_as_they_are(pictures: Path) -> None:
    """Also where one layer has another mode than the rest, and while others train them."""

    class Watched(Bicubic):
        def __init__(self) -> None:
            super().__init__(2, "luma")
            self.norm, self.other = nn.BatchNorm2d(1).eval(), nn.BatchNorm2d(1)

        def forward(self, lr: Tensor) -> Tensor:
            modes.append([module.training for module in model.modules()])
            assert not any(module.training for module in self.modules())
            return self.other(self.norm(super().forward(lr)))

    modes: list[list[bool]] = []
    model = Watched().train()
    model.norm.eval()
    before = [module.training for module in model.modules()]
    assert len(set(before)) == 2
    evaluate_pictures([model], [pictures])
    assert modes == [before, before]
    assert [module.training for module in model.modules()] == before
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.other.num_batches_tracked == 0


def test_a_network_that_cannot_be_copied_is_refused(pictures: Path) -> None:
    model = Bicubic(2, "luma")
    model.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"Bicubic cannot be copied \(cannot pickle") as caught:
        evaluate_pictures([model], [pictures])
    assert "\n" not in str(caught.value)


def test_lr_beside_hr_is_not_measured(shared: Path, tmp_path: Path) -> None:
    """The figures are those of the usual layout, whatever lies beside."""
    folder = tmp_path / "Set5" / "image_SRF_2"
    folder.mkdir(parents=True)
    for number, name in enumerate(("baby", "bird", "butterfly"), start=1):
        for kind, file in (
            ("HR", f"HR/{name}.png"),
            ("LR", f"LR_bicubic/X2/{name}x2.png"),
            ("ScSR", f"HR/{name}.png"),
        ):
            target = folder / f"img_{number:03}_SRF_2_{kind}.png"
            shutil.copy(shared / "data/Set5" / file, target)
    usual = evaluate_pictures([], [shared / "data/Set5"], scale=2).results[0]
    report = evaluate_pictures([], [tmp_path / "Set5"], scale=2)
    assert [i.psnr for i in report.results[0].images] == [i.psnr for i in usual.images[:3]]
    assert "LR from files: Set5 (3 pictures)" in report.caption
    assert report.notes == (
        "Set5: 3 other pictures beside HR left out, such as img_001_SRF_2_ScSR.png",
    )
