from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vernier.errors import InputError, VernierError
from vernier.io import Picture, picture_size, write_picture
from vernier.upscaling import Job, Plan, Upscaler, files, plan_jobs, run_jobs, upscale_files

Photo = Callable[..., np.ndarray]


@pytest.fixture
def tree(tmp_path: Path, photo: Photo) -> Path:
    """Pictures and other files, in two levels."""
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    for name, channels in (("b.PNG", 3), ("a.jpg", 1), ("deep/c.tif", 4), ("deep/er/a.jpg", 3)):
        write_picture(Picture(photo(9, 7, channels)), folder / name)
    (folder / "Thumbs.db").write_bytes(b"thumbnails")
    (folder / "notes.txt").write_text("notes")
    (folder / "._b.png").write_bytes(b"resource fork")
    return folder


def test_a_folder_gives_its_pictures_and_keeps_the_tree(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    # Thumbs.db and notes.txt are counted, the hidden file is not.
    assert plan_jobs([tree], out) == Plan(
        [Job(tree / "a.jpg", out / "a.jpg"), Job(tree / "b.PNG", out / "b.PNG")], left_out=2
    )
    assert plan_jobs([tree], out, recursive=True, suffix=".webp").jobs == [
        Job(tree / "a.jpg", out / "a.webp"),
        Job(tree / "b.PNG", out / "b.webp"),
        Job(tree / "deep" / "c.tif", out / "deep" / "c.webp"),
        Job(tree / "deep" / "er" / "a.jpg", out / "deep" / "er" / "a.webp"),
    ]


def test_a_file_becomes_a_file_or_goes_into_a_folder(tree: Path, tmp_path: Path) -> None:
    source = tree / "a.jpg"
    assert plan_jobs([source], tmp_path / "x.png").jobs == [Job(source, tmp_path / "x.png")]
    assert plan_jobs([source], tmp_path / "new").jobs == [Job(source, tmp_path / "new" / "a.jpg")]
    dotted = tmp_path / "v1.2"
    dotted.mkdir()
    assert plan_jobs([source], dotted).jobs == [Job(source, dotted / "a.jpg")]
    odd = tree / "notes.txt"
    assert plan_jobs([odd], dotted).jobs == [Job(odd, dotted / "notes.png")]


def test_results_inside_the_input_folder_are_not_taken_for_pictures(tree: Path) -> None:
    out = tree / "deep"
    assert [job.source.name for job in plan_jobs([tree], out, recursive=True).jobs] == [
        "a.jpg",
        "b.PNG",
    ]


@pytest.mark.parametrize(
    ("inputs", "output", "options", "message"),
    [
        ([], "out", {}, "nothing to upscale"),
        (["missing.png"], "out", {}, "missing.png: no such file"),
        (["in/a.jpg"], "x.gif", {}, "cannot write .gif"),
        (["in/a.jpg"], "x.png", {"suffix": ".webp"}, "does not end in .webp"),
        (["in/a.jpg"], "none/x.png", {}, "none: no such folder"),
        (["in/a.jpg"], "in/notes.txt/x.png", {}, "notes.txt is a file, not a folder"),
        (["in"], "in/notes.txt/deep/out", {}, "notes.txt is a file, not a folder"),
        (["in"], "x.png", {}, "names one picture"),
        (["in"], "in/notes.txt", {}, "is a file"),
        (["in/a.jpg", "in/b.PNG"], "x.png", {}, "names one picture"),
        (["in/a.jpg"], "in/a.jpg", {}, "would overwrite the input"),
        (["in/a.jpg"], "in", {}, "would overwrite the input"),
        (["in"], "in", {}, "would overwrite the input"),
        (["in/a.jpg", "in/deep/er/a.jpg"], "out", {}, "would both become"),
        (["in/a.jpg"], "out", {"suffix": ".gif"}, "cannot write .gif"),
        (["empty"], "out", {}, "no pictures in this folder; its folders"),
        (["empty"], "out", {"recursive": True}, "no pictures in this folder$"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_work(
    inputs: list[str],
    output: str,
    options: dict[str, object],
    message: str,
    tree: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    paths = [tmp_path / name for name in inputs]
    with pytest.raises(InputError, match=message):
        plan_jobs(paths, tmp_path / output, **options)  # type: ignore[arg-type]


def test_a_broken_picture_does_not_stop_the_others(
    tree: Path, tmp_path: Path, weights: dict[int, Path]
) -> None:
    (tree / "aa.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    jobs = plan_jobs([tree], tmp_path / "out", recursive=True).jobs
    outcomes = list(run_jobs(Upscaler(weights[2]), jobs))
    assert [outcome.job for outcome in outcomes] == jobs
    assert [outcome.error is None for outcome in outcomes] == [True, False, True, True, True]
    assert "aa.png" in str(outcomes[1].error)
    assert not jobs[1].target.exists()
    for outcome in (o for o in outcomes if o.error is None):
        assert outcome.size == picture_size(outcome.job.target)[:2] == (14, 18)


@pytest.mark.parametrize("step", ["read_picture", "upscale", "write_picture"])
@pytest.mark.parametrize("kind", [MemoryError, RuntimeError, OSError, ValueError, IndexError])
def test_whatever_fails_is_that_pictures_one_line(
    step: str,
    kind: type[Exception],
    tree: Path,
    tmp_path: Path,
    weights: dict[int, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where: Any = Upscaler if step == "upscale" else files
    original, calls = getattr(where, step), 0

    def sometimes(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise kind("first line\nsecond line")
        return original(*arguments, **options)

    monkeypatch.setattr(where, step, sometimes)
    done = upscale_files([tree], tmp_path / "out", recursive=True, model=weights[2])
    assert [outcome.error is None for outcome in done.outcomes] == [True, False, True, True]
    (error,) = done.errors
    assert isinstance(error, VernierError)
    assert str(error).startswith(f"{tree / 'b.PNG'}: ")
    assert "first line" in str(error)
    assert "\n" not in str(error)
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file()) == [
        "a.jpg",
        "a.jpg",
        "c.tif",
    ]


def test_an_interruption_stops_a_folder(
    tree: Path, tmp_path: Path, weights: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Upscaler, "upscale", interrupted)
    with pytest.raises(KeyboardInterrupt):
        upscale_files([tree], tmp_path / "out", model=weights[2])


def test_one_call_does_what_the_command_does(
    tree: Path, tmp_path: Path, weights: dict[int, Path]
) -> None:
    told: list[tuple[int, int, str]] = []
    out = tmp_path / "out"
    settings: dict[str, Any] = {"model": weights[2], "scale": 1.5, "recursive": True, "tile": 16}
    done = upscale_files(
        [tree], out, suffix=".jpg", progress=lambda *call: told.append(call), **settings
    )
    assert str(done) == f"{out}: 4 pictures, sesr-m3 x1.5, openvino"
    assert (done.output, done.skipped, done.left_out, done.errors) == (out, 0, 2, ())
    assert done.written == done.outcomes
    white = "laid over white, for JPEG has no transparency; PNG, WebP and TIFF do"
    scale = "sesr-m3 has no weights for x1.5: runs x2, then bicubic down to x1.5"
    assert done.notes == (scale, f"1 picture: {white}", "2 files of other kinds left out")
    for outcome in done.outcomes:
        assert outcome.notes == (scale,)
        assert outcome.precision in ("fp32", "bf16")
        assert outcome.size == picture_size(outcome.job.target)[:2]
    # A picture is a hundred parts; these are run whole.
    names = ["a.jpg", "b.PNG", "c.tif", "a.jpg", ""]
    assert told == [(100 * i, 400, name) for i, name in enumerate(names)]
    again = upscale_files([tree], out, suffix=".jpg", skip_existing=True, **settings)
    assert (str(again), again.notes) == ("nothing to do, 4 already there", ())
    (out / "a.jpg").unlink()
    some = upscale_files([tree], out, suffix=".jpg", skip_existing=True, **settings)
    assert str(some) == f"{out}: 1 picture, 3 already there, sesr-m3 x1.5, openvino"
    one = upscale_files([str(tree / "a.jpg")], str(tmp_path / "one.png"), model=weights[2])
    assert one.is_single
    precision = one.outcomes[0].precision
    assert str(one) == f"{tmp_path / 'one.png'}: 14x18, sesr-m3 x2, openvino {precision}"


def test_a_target_that_cannot_be_written_is_that_pictures_error(
    tree: Path, tmp_path: Path, weights: dict[int, Path]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "deep").write_text("in the way")
    jobs = plan_jobs([tree], out, recursive=True).jobs
    outcomes = list(run_jobs(Upscaler(weights[2]), jobs))
    assert [outcome.error is None for outcome in outcomes] == [True, True, False, False]


def test_an_outcome_says_what_was_lost(
    tmp_path: Path, photo: Photo, weights: dict[int, Path]
) -> None:
    frame = Image.fromarray(photo(9, 7, 3))
    frame.save(tmp_path / "moving.gif", save_all=True, append_images=[frame.rotate(180)])
    frame.save(tmp_path / "still.gif")
    opaque = photo(9, 7, 4)
    opaque[..., 3] = 255
    write_picture(Picture(opaque), tmp_path / "opaque.png")
    write_picture(Picture(photo(9, 7, 4)), tmp_path / "see-through.png")
    for suffix, expected in {
        ".jpg": {"moving": ["several frames"], "see-through": ["over white"]},
        ".webp": {"moving": ["several frames"]},
    }.items():
        jobs = plan_jobs([tmp_path], tmp_path / "out", suffix=suffix).jobs
        notes = {o.job.source.stem: o.losses for o in run_jobs(Upscaler(weights[2]), jobs)}
        assert notes.keys() == {"moving", "still", "opaque", "see-through"}
        for stem, found in notes.items():
            words = expected.get(stem, [])
            assert len(found) == len(words)
            assert all(word in note for word, note in zip(words, found, strict=True))
