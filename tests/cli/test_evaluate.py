"""`vernier evaluate` as users see it: exit code, stdout, stderr, files."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.command import Ran
from support.data import make_cave, make_fusion_file, make_pictures

from vernier.evaluation import Protocol, evaluate
from vernier.io import Picture, write_picture
from vernier.metrics import CONVENTIONS
from vernier.zoo import create_model, new_card, save_weights


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "pictures")


@pytest.fixture
def cave(tmp_path: Path) -> Path:
    return make_cave(tmp_path / "CAVE")


@pytest.fixture
def fusion_file(tmp_path: Path) -> Path:
    return make_fusion_file(tmp_path / "test.h5")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Weights of a small network for fusion, x4."""
    model = create_model("psrt", scale=4, embed=8, num_heads=2, num_blocks=1)
    path = tmp_path / "tiny.safetensors"
    save_weights(model, path, new_card(model, "tiny"))
    return path


@pytest.mark.parametrize(
    ("scale", "set5", "set14"),
    [
        (2, (33.66, 0.9299), (30.24, 0.8688)),
        (3, (30.39, 0.8682), (27.55, 0.7742)),
        (4, (28.42, 0.8104), (26.00, 0.7027)),
    ],
)
def test_it_prints_the_papers_bicubic_row(
    shared: Path,
    vernier: Callable[..., Ran],
    scale: int,
    set5: tuple[float, float],
    set14: tuple[float, float],
) -> None:
    data = shared / "data"
    code, out, _ = vernier(
        *("evaluate", "--data", data / "Set5", data / "Set14", "-s", scale, "--format", "json")
    )
    assert code == 0
    report = json.loads(out)
    first, second = report["results"]
    for result, name, count, (psnr_db, ssim) in (
        (first, "Set5", 5, set5),
        (second, "Set14", 14, set14),
    ):
        assert (result["model"], result["benchmark"]) == ("bicubic", name)
        assert len(result["images"]) == count
        assert result["psnr_db"] == pytest.approx(psnr_db, abs=0.02)
        assert result["ssim"] == pytest.approx(ssim, abs=0.001)
        assert result["psnr_db"] == pytest.approx(
            np.mean([image["psnr_db"] for image in result["images"]])
        )
        assert (result["published"]["psnr_db"], result["published"]["ssim"]) == (psnr_db, ssim)
    assert report["protocol"] | {"text": ""} == {
        **{"luma": True, "crop": scale, "rounding": True, "text": ""}
    }
    facts = [(b["name"], b["images"], b["gray"], b["lr"]) for b in report["benchmarks"]]
    assert facts == [("Set5", 5, 0, "files"), ("Set14", 14, 1, "made")]


@pytest.mark.parametrize("suffix", ["txt", "md", "csv", "json"])
def test_output_file(
    pictures: Path,
    tmp_path: Path,
    vernier: Callable[..., Ran],
    suffix: str,
) -> None:
    path = tmp_path / f"report.{suffix}"
    ran = vernier("evaluate", "--data", pictures, "-s", 2, "--rgb", "--crop", 1, "-o", path)
    assert (ran.code, ran.out) == (0, f"{path}: written\n")
    forms = {"txt": "table", "md": "markdown", "csv": "csv", "json": "json"}
    report = evaluate([], [pictures], scale=2, protocol=Protocol(luma=False, crop=1))

    def untimed(text: str) -> str:
        # Runs differ in seconds alone: the JSON field, and the sixth field of CSV.
        text = re.sub(r'"seconds": \S+', "", text)
        return re.sub(r"(?m)^((?:[^,\n]*,){5})[\d.e-]+", r"\1", text)

    text = path.read_text(encoding="utf-8")
    assert untimed(text) == untimed(report.render(forms[suffix]))  # type: ignore[arg-type]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pictures", path.name]


def test_it_evaluates_a_weight_file_at_its_own_scale(
    pictures: Path,
    tmp_path: Path,
    vernier: Callable[..., Ran],
) -> None:
    model = create_model("sesr-m3", scale=3)
    path = tmp_path / "mine.safetensors"
    save_weights(model, path, new_card(model, "sesr-m3"))
    code, out, _ = vernier("evaluate", path, "--data", pictures, "--no-rounding")
    assert code == 0
    assert re.search(r"│ mine +│ +\d+\.\d\d / ", out)
    assert "x3, PSNR in dB / SSIM on BT.601 luma, result not rounded, 3 pixels cropped" in out


def test_it_refuses_in_one_line(
    pictures: Path,
    tmp_path: Path,
    vernier: Callable[..., Ran],
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    model = create_model("sesr-m3", scale=3)
    weights = tmp_path / "x3.safetensors"
    save_weights(model, weights, new_card(model, "sesr-m3"))
    output = tmp_path / "report.json"
    for arguments, message in (
        (("--data", broken, "-s", 2, "-o", output), "a.png"),
        (("--data", tmp_path / "none", "-s", 2, "-o", output), "no such folder"),
        (("-s", 2), "no benchmark given"),
        (("--data", pictures), "give one, for example --scale 2"),
        ((weights, "--data", pictures, "-s", 2), "scale 3, not 2"),
        (("sesr-m6", "--data", pictures, "-s", 2), "no such folder, weight file or model"),
        (("--data", pictures, "-s", 2, "-o", tmp_path / "report.xyz"), "unknown suffix"),
        (("--data", pictures, "-s", 2, "-o", tmp_path / "no/report.md"), "no such folder"),
        (("--data", pictures, "-s", 2, "--crop", -1), "zero or more pixels, got -1"),
        (("--data", pictures, "-s", 2, "--crop", 14), "after the crop, got 8x16"),
        (("--data", pictures, "-s", 2, "--device", "abacus"), "device 'abacus'"),
    ):
        code, out, err = vernier("evaluate", *arguments)
        assert (code, out) == (2, ""), arguments
        assert message in err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    assert not output.exists()


def test_cubes_and_their_sheets(vernier: Callable[..., Ran], cave: Path, tmp_path: Path) -> None:
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


def test_a_model_on_cubes_of_two_kinds(
    vernier: Callable[..., Ran], tiny: Path, fusion_file: Path, cave: Path, tmp_path: Path
) -> None:
    output = tmp_path / "report.csv"
    arguments = ("--data", cave, fusion_file, "--convention", "analysis-accu", "-o", output)
    ran = vernier("evaluate", tiny, *arguments)
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
def test_cubes_refuse_what_is_for_pictures_and_what_is_unknown(
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
