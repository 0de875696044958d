"""Finished results measured against HR: how they are found, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.command import Ran

from vernier.data.benchmarks import find_benchmark
from vernier.errors import InputError
from vernier.evaluation import PAPERS, PictureReport, Protocol, evaluate
from vernier.evaluation.finished import find_results
from vernier.imaging import imresize, imresize_uint8
from vernier.io import Picture, write_picture


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(Picture(np.ascontiguousarray(pixels)), path)
    return path


def score(results: list[Path], data: Path, protocol: Protocol = PAPERS) -> PictureReport:
    report = evaluate([], [data], scale=2, results=results, protocol=protocol)
    assert isinstance(report, PictureReport)
    return report


@pytest.fixture
def bicubic(pictures: Path, tmp_path: Path) -> Path:
    """What bicubic makes of the pictures, as files."""
    for pair in find_benchmark(pictures, 2).pairs:
        lr = (pair.load().lr * 255).round().byte()
        made = imresize_uint8(lr, 2.0).permute(1, 2, 0).numpy()
        save(tmp_path / "made" / f"{pair.name}_x2.png", made)
    return tmp_path / "made"


def test_files_have_the_figures_of_what_made_them(pictures: Path, bicubic: Path) -> None:
    report = score([bicubic, bicubic], pictures)
    assert [result.model for result in report.results] == ["bicubic", "made", "made (2)"]
    for ours, file in zip(report.results[0].images, report.results[1].images, strict=True):
        assert (file.image, file.psnr, file.ssim) == (ours.image, ours.psnr, ours.ssim)
        assert file.seconds == 0
    assert "LR made by MATLAB bicubic: pictures (2 pictures)" in report.caption


def test_sixteen_bits_are_not_rounded_where_nothing_is(pictures: Path, tmp_path: Path) -> None:
    for pair in find_benchmark(pictures, 2).pairs:
        made = imresize(pair.load().lr, 2.0).clamp(0, 1).permute(1, 2, 0).numpy()
        save(tmp_path / "deep" / f"{pair.name}.png", np.rint(made * 65535).astype(np.uint16))
    report = score([tmp_path / "deep"], pictures, Protocol(rounding=False))
    for ours, file in zip(report.results[0].images, report.results[1].images, strict=True):
        assert file.psnr == pytest.approx(ours.psnr, abs=1e-2)


@pytest.mark.parametrize(
    "name",
    [
        *("baby", "baby_x2", "baby-x2", "babyx2", "baby_SR", "baby_out", "babyx2_out", "baby_SRx2"),
        *("baby_HAT_SRx4_ImageNet-pretrain", "baby_x2_SR", "baby-upscaled", "baby_bicLRx2-x2"),
    ],
)
def test_names_of_results(tmp_path: Path, name: str) -> None:
    """Though another picture's name begins alike."""
    flat = np.zeros((26, 31, 3), np.uint8)
    hr = {n: save(tmp_path / "HR" / f"{n}.png", flat) for n in ("baby", "baby_blue", "bab")}
    results = {
        path: save(tmp_path / "out" / f"{name.replace('baby', n, 1)}.png", flat)
        for n, path in hr.items()
    }
    (tmp_path / "out" / "._baby.png").write_bytes(b"")
    assert find_results(tmp_path / "out", [find_benchmark(tmp_path, 2)]) == results


def test_results_of_several_benchmarks_may_lie_in_folders(tmp_path: Path) -> None:
    flat = np.zeros((24, 24, 3), np.uint8)
    for name in ("A", "B"):
        save(tmp_path / name / "HR" / "1.png", flat)
        save(tmp_path / "out" / name / "1.png", flat)
    benchmarks = [find_benchmark(tmp_path / name, 2) for name in ("A", "B")]
    found = find_results(tmp_path / "out", benchmarks)
    assert [path.parent.name for path in found.values()] == ["A", "B"]


def test_sizes_and_colours(tmp_path: Path) -> None:
    """The whole picture or what is left of it when cropped; gray pictures may be RGB."""
    generator = np.random.default_rng(0)
    whole = generator.integers(0, 256, (31, 35, 1), dtype=np.uint8)
    save(tmp_path / "HR" / "a.png", whole)
    for name, pixels in (("whole", whole.repeat(3, 2)), ("cut", whole[:30, :34])):
        save(tmp_path / name / "a.png", pixels)
        assert score([tmp_path / name], tmp_path / "HR").results[1].psnr > 100
    save(tmp_path / "wrong" / "a.png", whole[:15, :17])
    with pytest.raises(InputError, match=r"a\.png: is 17x15, but .*a\.png needs 34x30 for x2"):
        score([tmp_path / "wrong"], tmp_path / "HR")
    save(tmp_path / "colour" / "a.png", whole.repeat(3, 2))
    save(tmp_path / "gray" / "a.png", whole)
    with pytest.raises(InputError, match=r"a\.png: is gray, but .*a\.png is RGB"):
        score([tmp_path / "gray"], tmp_path / "colour")


def test_what_is_missing_is_named_in_one_line(tmp_path: Path) -> None:
    flat = np.zeros((24, 24, 3), np.uint8)
    for number in range(8):
        save(tmp_path / "HR" / f"p{number}.png", flat)
    save(tmp_path / "out" / "p0_x2.png", flat)
    with pytest.raises(InputError) as caught:
        score([tmp_path / "out"], tmp_path / "HR")
    assert str(caught.value) == (
        f"{tmp_path / 'out'}: no result for p1.png, p2.png, p3.png, p4.png, p5.png and 2 more of "
        f"{tmp_path.name}; name each result as its HR picture"
    )
    save(tmp_path / "out" / "p0_SR.png", flat)
    with pytest.raises(InputError, match=r"several results for p0\.png, such as p0_SR.png and p0_"):
        score([tmp_path / "out"], tmp_path / "HR")
    with pytest.raises(InputError, match="is the HR picture itself"):
        score([tmp_path / "HR"], tmp_path / "HR")
    with pytest.raises(InputError, match="none: no such folder"):
        score([tmp_path / "none"], tmp_path / "HR")


def test_the_command_takes_several_folders(
    vernier: Callable[..., Ran], pictures: Path, bicubic: Path, tmp_path: Path
) -> None:
    second = bicubic.rename(tmp_path / "first")
    bicubic.mkdir()
    for path in second.iterdir():
        (bicubic / path.name).write_bytes(path.read_bytes())
    code, out, err = vernier("evaluate", "--results", second, bicubic, "--data", pictures, "-s", 2)
    assert (code, err) == (0, "")
    assert [name in out for name in ("bicubic", "first", "made")] == [True] * 3
    report = tmp_path / "r.csv"
    code, _, err = vernier(
        *("evaluate", "--data", pictures, "--results", bicubic, "-s", 2, "-o"),
        bicubic / "colour_x2.png",
        *("--format", "csv"),
    )
    assert (code, err.count("\n")) == (2, 1)
    assert "would overwrite the input" in err
    assert not report.exists()


def test_cubes_refuse_results(vernier: Callable[..., Ran], cave: Path, tmp_path: Path) -> None:
    code, _, err = vernier("evaluate", "--data", cave, "-s", 4, "--results", tmp_path)
    assert (code, err) == (2, "error: --results: not for cubes; leave it out\n")
