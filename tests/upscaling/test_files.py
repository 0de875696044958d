from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vernier
from vernier.errors import InputError, VernierError
from vernier.io import Picture, PictureError, picture_size, write_picture
from vernier.upscaling import Job, Plan, Size, Upscaler, files, plan_jobs, run_jobs, upscale_files

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
        [Job(tree / "a.jpg", out / "a.jpg"), Job(tree / "b.PNG", out / "b.PNG")],
        left_out=2,
        folders=1,
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
    assert plan_jobs([odd], dotted).jobs == [Job(odd, dotted / "notes.txt.png")]


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
    assert str(done) == f"{out}: 4 pictures, sesr-m3 x1.5 from {weights[2]}, openvino"
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
    assert str(some) == (
        f"{out}: 1 picture, 3 already there, sesr-m3 x1.5 from {weights[2]}, openvino"
    )
    one = upscale_files([str(tree / "a.jpg")], str(tmp_path / "one.png"), model=weights[2])
    assert one.is_single
    precision = one.outcomes[0].precision
    how = f"sesr-m3 x2 from {weights[2]}, openvino {precision}"
    assert str(one) == f"{tmp_path / 'one.png'}: 14x18, {how}"


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


def test_a_name_without_a_formats_suffix_is_a_folders(tree: Path, tmp_path: Path) -> None:
    source = tree / "a.jpg"
    for output in ("v.2/", "results.2024", "v1.2.5", "x.png/", "plain"):
        folder = tmp_path / output.rstrip("/")
        assert plan_jobs([source], f"{tmp_path}/{output}").jobs == [Job(source, folder / "a.jpg")]
    for output in ("x.pgn", "x.mp4", "x.gif"):
        with pytest.raises(InputError, match="end the name with a slash"):
            plan_jobs([source], tmp_path / output)


def test_what_follows_a_dot_that_is_no_suffix_stays(tmp_path: Path, photo: Photo) -> None:
    (tmp_path / "in").mkdir()
    for year in ("2024", "2025"):
        path = tmp_path / "in" / f"photo.{year}"
        write_picture(Picture(photo(9, 7, 3)), path.with_suffix(".png"))
        path.with_suffix(".png").rename(path)
    sources = sorted((tmp_path / "in").iterdir())
    jobs = plan_jobs(sources, tmp_path / "out").jobs
    assert [job.target.name for job in jobs] == ["photo.2024.png", "photo.2025.png"]


@pytest.mark.parametrize(
    ("name", "suffix"), [("y.jpeg", ".jpg"), ("y.tif", ".tiff"), ("y.JPG", ".jpg")]
)
def test_a_format_has_several_suffixes(name: str, suffix: str, tree: Path, tmp_path: Path) -> None:
    jobs = plan_jobs([tree / "b.PNG"], tmp_path / name, suffix=suffix).jobs
    assert jobs == [Job(tree / "b.PNG", tmp_path / name)]


def test_pictures_that_would_have_one_name_keep_the_old_suffix(
    tmp_path: Path, photo: Photo, weights: dict[int, Path]
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.jpg", "a.tif", "b.jpg"):
        write_picture(Picture(photo(9, 7, 3)), tmp_path / "in" / name)
    done = upscale_files([tmp_path / "in"], tmp_path / "out", suffix=".png", model=weights[2])
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["a.jpg.png", "a.png", "a.tif.png", "b.png"]
    (note,) = done.notes
    assert "keep the old suffix in it, as a.jpg.png does" in note


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_to_folders_are_followed_once_and_broken_ones_passed_over(
    tree: Path, tmp_path: Path, photo: Photo, weights: dict[int, Path]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_picture(Picture(photo(9, 7, 3)), elsewhere / "e.png")
    (elsewhere / "back").symlink_to(tree)
    (tree / "aa").symlink_to(elsewhere)
    (tree / "ab").symlink_to(elsewhere)
    (tree / "here").symlink_to(tree / "deep")
    (tree / "self.png").symlink_to(tree / "self.png")
    (tree / "gone.png").symlink_to(tree / "nothing.png")
    plan = plan_jobs([tree], tmp_path / "out", recursive=True)
    names = [job.target.relative_to(tmp_path / "out").as_posix() for job in plan.jobs]
    assert sorted(names) == ["a.jpg", "aa/e.png", "b.PNG", "deep/c.tif", "deep/er/a.jpg"]
    assert (plan.broken, plan.folders) == (2, 0)
    done = upscale_files([tree], tmp_path / "out", model=weights[2])
    assert done.notes[-2:] == (
        "4 folders left out; -r goes into them",
        "2 links passed over, leading nowhere",
    )
    assert not done.errors


def test_folders_above_a_file_are_made_and_go_again_where_it_fails(
    tree: Path, tmp_path: Path, weights: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "new" / "er" / "x.png"
    assert not upscale_files([tree / "a.jpg"], target, model=weights[2]).errors
    assert target.exists()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_picture", full)
    other = tmp_path / "other" / "er" / "x.png"
    assert len(upscale_files([tree / "a.jpg"], other, model=weights[2]).errors) == 1
    assert not (tmp_path / "other").exists()


def test_without_an_output_results_go_beside_and_replace_nothing(
    tree: Path, tmp_path: Path, weights: dict[int, Path]
) -> None:
    done = upscale_files([tree / "a.jpg"], model=weights[2])
    assert done.outcomes[0].job.target == tree / "a-x2.jpg"
    before = (tree / "a-x2.jpg").read_bytes()
    with pytest.raises(InputError, match=r"a-x2\.jpg is there already: name an output"):
        upscale_files([tree / "b.PNG", tree / "a.jpg"], model=weights[2])
    assert not (tree / "b-x2.PNG").exists()
    assert (tree / "a-x2.jpg").read_bytes() == before
    again = upscale_files([tree / "a.jpg"], model=weights[2], skip_existing=True)
    assert str(again) == "nothing to do, 1 already there"
    both = upscale_files([tree / "deep", tree / "b.PNG"], model=weights[3], suffix=".webp")
    assert str(both).startswith("beside the input: 2 pictures, sesr-m3 x3")
    assert (tree / "deep-x3" / "c.webp").exists()
    assert (tree / "b-x3.webp").exists()
    size = Size(longest=40)
    assert not upscale_files([tree / "b.PNG"], model=weights[2], size=size).errors
    assert picture_size(tree / "b-l40.PNG")[:2] == (31, 40)


@pytest.mark.parametrize("name", ["n" * 300 + ".png", "folder/" + "n" * 300, "a\0b.png"])
def test_names_that_no_file_can_have_are_one_line(name: str, tree: Path, tmp_path: Path) -> None:
    for inputs, output in (([tmp_path / name], "out"), ([tree / "a.jpg"], tmp_path / name)):
        with pytest.raises(InputError) as refused:
            plan_jobs(inputs, output)
        assert "\n" not in str(refused.value)


def test_a_size_that_the_format_cannot_hold_is_refused_before_computing(
    tmp_path: Path, photo: Photo, weights: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(*_: Any, **__: Any) -> None:
        raise AssertionError("computed")

    source = tmp_path / "a.png"
    write_picture(Picture(photo(1, 300, 1)), source)
    monkeypatch.setattr(Upscaler, "upscale", compute)
    for suffix, scale in ((".jpg", 219), (".webp", 55), (".avif", 55)):
        target = tmp_path / f"b{suffix}"
        (error,) = upscale_files([source], target, model=weights[2], scale=scale).errors
        assert f"{300 * scale}x{scale} pixels are too many for" in str(error)
        with pytest.raises(InputError, match="are too many for"):
            vernier.upscale(source, target, model=weights[2], scale=scale)
        assert not target.exists()
    (error,) = upscale_files([source], tmp_path / "b.jpg", model=weights[2], scale=218).errors
    assert "computed" in str(error)


@pytest.mark.parametrize(("suffix", "side"), [(".jpg", 65500), (".webp", 16383), (".avif", 16384)])
def test_the_limits_of_formats_are_those_of_their_encoders(
    suffix: str, side: int, tmp_path: Path
) -> None:
    write_picture(Picture(np.zeros((1, side, 1), np.uint8)), tmp_path / f"a{suffix}")
    with pytest.raises(PictureError):
        write_picture(Picture(np.zeros((1, side + 1, 1), np.uint8)), tmp_path / f"b{suffix}")
