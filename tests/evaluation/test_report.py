"""What reports look like, to the letter: the four forms of pictures, cubes and ablations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import GOLDEN
from vernier.ablation import AblationReport, Arm, Costs, Experiment
from vernier.errors import InputError
from vernier.evaluation import (
    FusionData,
    FusionReport,
    FusionResult,
    ImageScore,
    PictureReport,
    Protocol,
    Result,
    SceneScore,
    published,
)
from vernier.evaluation.picture_report import BenchmarkFacts
from vernier.metrics import CONVENTIONS

FORMS = {"table": "txt", "markdown": "md", "csv": "csv", "json": "json"}
INF, NAN = math.inf, math.nan


def pictures() -> PictureReport:
    def result(model: str, benchmark: str, printed: str | None, *images: ImageScore) -> Result:
        return Result(model, benchmark, images, printed and published(printed, benchmark, 2))

    return PictureReport(
        scale=2,
        protocol=Protocol(),
        benchmarks=(
            BenchmarkFacts("Set5", 2, 1, "files", ("baby.png: alpha left out",)),
            BenchmarkFacts("mine, [new]", 1, 0, "made", ()),
        ),
        results=(
            result(
                "bicubic",
                "Set5",
                "bicubic",
                ImageScore("baby", 37.062812345, 0.95232111, 0.125),
                ImageScore("bird", 36.8, 0.97, 0.25),
            ),
            result(
                "sesr-m5",
                "Set5",
                "sesr-m5",
                ImageScore("baby", 38.4, 0.9651, 0.5),
                ImageScore("bird", NAN, 0.981, 0.0625),
            ),
            result("bicubic", "mine, [new]", None, ImageScore('flat "a"', INF, 1.0, 0.01)),
            result("sesr-m5", "mine, [new]", None, ImageScore('flat "a"', 44.125, 0.5, 2.0)),
        ),
    )


def plain_pictures() -> PictureReport:
    return PictureReport(
        scale=3,
        protocol=Protocol(luma=False, crop=0, rounding=False),
        benchmarks=(BenchmarkFacts("one", 1, 2, "made", ()),),
        results=(Result("bicubic", "one", (ImageScore("a", 30.0, 0.9, 1.5),), None),),
    )


def cubes(convention: str = "matlab", scenes: int = 3, alike: bool = True) -> FusionReport:
    metrics = CONVENTIONS[convention].metrics

    def score(scene: int, offset: float) -> SceneScore:
        bands = 2 if alike else 2 + scene
        values = {m.name: 1.5 * i + scene / 7 + offset for i, m in enumerate(metrics)}
        curve = tuple(scene + band / 3 + offset for band in range(bands))
        curves = {"psnr_db": curve, "rmse": curve[::-1], "cc": curve}
        return SceneScore(f"scene {scene}", values, curves, 0.5 + scene)

    each = [tuple(score(s, offset) for s in range(scenes)) for offset in (0.0, 0.3)]
    perfect = {metric.name: INF for metric in metrics} | {metrics[0].name: NAN}
    last = SceneScore(each[1][-1].scene, perfect, each[1][-1].curves, 9.0)
    names = tuple(f"scene {s}" for s in range(scenes))
    return FusionReport(
        scale=4,
        convention=CONVENTIONS[convention],
        clamped=convention == "matlab",
        data=(FusionData("test.h5", names, "as the file has it", ("axes by guess",)),),
        wavelengths=(400.0, 410.5) if alike else None,
        results=(
            FusionResult("GSA", each[0]),
            FusionResult("psrt [s]", (*each[1][:-1], last), 1234567, 98765.4321),
        ),
    )


def ablation(seeds: int = 2) -> AblationReport:
    experiment = Experiment(
        name="depth",
        question="Does depth help?" if seeds > 1 else "",
        base="base.yaml",
        arms={"three": {}, "four": {"model.overrides": {"num_blocks": 4}}},
        seeds=list(range(seeds)),
        test=["Set5"],
        lr_size=(10, 12),
        output="runs",
    )
    values = (31.25, 31.75)[:seeds]
    return AblationReport(
        experiment,
        300_000,
        16,
        (
            Arm("bicubic", {"Set5 PSNR": (30.0,), "Set5 SSIM": (0.9,)}, None),
            Arm(
                "three",
                {"Set5 PSNR": values, "Set5 SSIM": (0.91, NAN)[:seeds]},
                Costs(12_345, 6_789_000_000, 0.01234, 5 * 2**20),
            ),
            Arm(
                "four",
                {"Set5 PSNR": (INF, 32.0)[:seeds], "Set5 SSIM": (0.92, 0.93)[:seeds]},
                Costs(99, 1_000_000, 1.5, 2**19),
            ),
        ),
        "x2, luma of results rounded to 8 bit, 2 border pixels left out.",
    )


REPORTS: dict[str, Any] = {
    "pictures": pictures,
    "pictures-plain": plain_pictures,
    "cubes": cubes,
    "cubes-other": lambda: cubes("analysis-accu", 1),
    "cubes-unlike": lambda: cubes("psrt-official", 2, alike=False),
    "ablation": ablation,
    "ablation-one-seed": lambda: ablation(1),
}


def recorded(name: str) -> str:
    return (GOLDEN / "reports" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", REPORTS)
def test_every_form_is_as_it_always_was(name: str, form: str) -> None:
    assert REPORTS[name]().render(form) == recorded(f"{name}.{FORMS[form]}")


@pytest.mark.parametrize("name", [name for name in REPORTS if name.startswith("cubes")])
def test_the_curves_are_as_they_always_were(name: str) -> None:
    assert REPORTS[name]().curves().csv() == recorded(f"{name}-bands.csv")


@pytest.mark.parametrize("suffix", FORMS.values())
@pytest.mark.parametrize("name", ["pictures", "cubes"])
def test_files_are_what_is_rendered(name: str, suffix: str, tmp_path: Path) -> None:
    expected = {f"r.{suffix}"} | ({"r-bands.csv"} if (name, suffix) == ("cubes", "csv") else set())
    written = REPORTS[name]().write(tmp_path / f"r.{suffix}")
    assert [path.name for path in written] == sorted(expected, key=len)
    assert {path.name for path in tmp_path.iterdir()} == expected
    for path in written:
        recorded_name = path.name.replace("r", name, 1)
        assert path.read_bytes() == recorded(recorded_name).encode()


def test_a_table_on_the_screen_leaves_out_the_scenes_of_a_large_set() -> None:
    scenes = [row[0] for row in cubes(scenes=41).shown().rows]
    assert scenes == ["mean", "mean", "median", "median"]
    assert len(cubes(scenes=40).shown().rows) == 2 * (2 + 40)
    assert len(cubes(scenes=41).records().rows) == 2 * (41 + 1)


def test_of_two_files_both_are_written_or_none(tmp_path: Path) -> None:
    (tmp_path / "r-bands.csv").mkdir()
    (tmp_path / "r.csv").write_text("old")
    with pytest.raises(InputError, match=r"r-bands\.csv: a folder .*has this name"):
        cubes().write(tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r-bands.csv", "r.csv"]
