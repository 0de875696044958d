"""Explain models on files: pictures, or a cube with its guide, to figures and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vernier.data.benchmarks import Pair as PicturePair
from vernier.data.folders import read_uint8
from vernier.drawing import save_figure, stacked
from vernier.errors import InputError
from vernier.explanation.lam import Explanation, Window, around, explain
from vernier.explanation.strip import record, shown, strip
from vernier.explanation.upscaled import bicubic, upscaled
from vernier.explanation.windows import proposed_windows
from vernier.fusion.pair import Pair, read_pair
from vernier.imaging import as_rgb, imresize
from vernier.io.files import new_folders, protect, repeated, safe_names, write_whole
from vernier.models.layers import FusionModel, Model
from vernier.progress import Progress
from vernier.zoo.contestants import load_contestants
from vernier.zoo.own import file_of

__all__ = ["Explained", "Finding", "explain_files"]

# Beyond this part of the detail the attributions do not add up to what they explain.
_LARGEST_ERROR = 0.2


@dataclass(frozen=True, eq=False)
class Finding:
    """What one model's window rests on.

    Attributes:
        path: the picture, or the cube.
        model: its name in figures.
        window: in pixels of the whole result.
        explanation: of the part that the model saw; its window is counted inside that part.
        record: what ``explain.json`` says of it.
    """

    path: Path
    model: str
    window: Window
    explanation: Explanation = field(repr=False)
    record: Mapping[str, Any] = field(repr=False)

    @property
    def place(self) -> str:
        """File, window and model in a few words."""
        return f"{self.path.name} {','.join(map(str, self.window))} {self.model}"

    @property
    def summary(self) -> str:
        """The figures in one line."""
        maps = (
            f"{name}: diffusion index {each.diffusion_index:.2f}, 95 % in {each.pixels} pixels"
            for name, each in self.explanation.maps.items()
        )
        error = f"completeness error {100 * self.explanation.completeness_error:.2g} %"
        return f"{self.place}: {'; '.join(maps)}; {error}"

    @property
    def warning(self) -> str | None:
        """Why the map is not to be trusted; None if it is."""
        if self.explanation.completeness_error <= _LARGEST_ERROR:
            return None
        return (
            f"{self.place}: so large a completeness error means that the map is not to be "
            "trusted: the window is flat, or --steps too few"
        )


@dataclass(frozen=True, eq=False)
class Explained:
    """What `explain_files` found and wrote.

    Attributes:
        findings: by window, and inside it by model.
        figures: the files of figures; a sheet a window, and if there are several models, one a
            model beside it.
        json: the file of all records.
        notes: what was recognised while reading, and why windows were proposed; for people.
    """

    findings: tuple[Finding, ...]
    figures: tuple[Path, ...]
    json: Path
    notes: tuple[str, ...]


def explain_files(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    models: Sequence[str],
    scale: int | None = None,
    windows: Sequence[Window | tuple[int, int, int]] = (),
    propose: int = 1,
    size: int = 16,
    context: int = 64,
    as_input: bool = False,
    guide: str | Path | None = None,
    axes: str | None = None,
    peak: float | None = None,
    key: str | None = None,
    wavelengths: Sequence[float] | None = None,
    guide_peak: float | None = None,
    steps: int = 50,
    memory: float = 2**30,
    device: str = "cpu",
    progress: Progress | None = None,
    on_finding: Callable[[Finding], None] | None = None,
) -> Explained:
    """Explain windows of files by `vernier.explain` and write figures and ``explain.json``.

    Args:
        inputs: original pictures, of which the LR input is made by MATLAB's bicubic; with
            ``as_input`` the LR input itself; with ``guide`` one LR cube.
        output: the folder of the results; made if it is missing.
        models: names and weight files, of one scale.
        scale: default: 2 if all models have it, else the smallest that they share.
        windows: in pixels of the result; default: where the models gain most over bicubic.
        propose: without ``windows``, how many of them in a picture.
        size: without ``windows``, their side.
        context: LR pixels a side around the window that the model sees; 0: the whole picture.
        guide: for fusion models, the sharp picture or cube.
        axes, peak, key, wavelengths, guide_peak: how cube and guide are read, as
            `vernier.fusion.pair.read_pair` takes them.
        steps: along the blur.
        memory: bytes that the steps computed at once may use.
        device: where the models run.
        progress: told before each model's window.
        on_finding: called with each finding as soon as its figures are known.

    Raises:
        InputError: a file, model, window or setting that cannot be used, or a result that would
            overwrite an input. Figures that were complete stay.
    """
    paths, output = [Path(each) for each in inputs], Path(output)
    given = [Window(*each) for each in windows]
    _check(paths, given, as_input, guide, propose, size, context)
    scale, contestants = load_contestants(models, scale, device)
    notes: list[str] = []
    places: list[_Place] = []
    for path in paths:
        if guide is None:
            subject = _read_picture(path, contestants, scale, as_input)
        else:
            pair = read_pair(
                path,
                guide,
                axes=axes,
                peak=peak,
                key=key,
                wavelengths=wavelengths,
                guide_peak=guide_peak,
            )
            _check_pair(pair, path, Path(guide), contestants, scale)
            subject = _subject_of(pair, path)
            notes += pair.notes
        for window in given:
            window.check(scale * subject.lr.shape[-2], scale * subject.lr.shape[-1])
            places.append(_Place(subject, window, "given"))
        if not given:
            proposed, reasons = _proposals(subject, contestants, scale, size, propose, device)
            places += proposed
            notes += reasons

    # A model's own figure would be the sheet again if there is only one model.
    several = len(contestants) > 1
    own = dict(zip(contestants, safe_names(contestants), strict=True)) if several else {}
    figures = [_figure(output, place, name) for place in places for name in (*own.values(), None)]
    summary = output / "explain.json"
    sharp = None if guide is None else Path(guide)
    protect([*paths, sharp, *map(file_of, models)], [*figures, summary])
    findings: list[Finding] = []
    total = len(places) * len(contestants)
    with new_folders(output):
        for place in places:
            patch, inside, facts = _patch(place, scale, context)
            strips = []
            for name, model in contestants.items():
                if progress is not None:
                    progress(len(findings), total, f"{patch.path.name}: {name}")
                found = explain(
                    model, patch.lr, inside, guide=patch.guide, steps=steps, memory=memory
                )
                strips.append(
                    strip(name, found, _picture(patch, scale), patch.lr, patch.wavelengths)
                )
                if own:
                    save_figure(strips[-1], _figure(output, place, own[name]))
                told = {**facts, "model": name, "scale": scale, "steps": steps, **record(found)}
                findings.append(Finding(patch.path, name, place.window, found, told))
                if on_finding is not None:
                    on_finding(findings[-1])
            save_figure(stacked(strips), _figure(output, place))
        records = [dict(finding.record) for finding in findings]
        write_whole(summary, (json.dumps(records, indent=1) + "\n").encode())
    return Explained(tuple(findings), tuple(figures), summary, tuple(notes))


class _Subject(NamedTuple):
    """What is explained: the LR input (C, h, w), the original where it is known, a cube's guide."""

    path: Path
    lr: Tensor
    hr: Tensor | None = None
    guide: Tensor | None = None
    wavelengths: tuple[float, ...] | None = None


class _Place(NamedTuple):
    """A window of a subject, what chose it, and what the models gain there in dB if that did."""

    subject: _Subject
    window: Window
    origin: str
    gain: float | None = None


def _figure(output: Path, place: _Place, model: str | None = None) -> Path:
    """The file of one model's strip, or of the sheet with all of them."""
    parts = [place.subject.path.stem, *map(str, place.window), *([model] if model else [])]
    return output / f"{'-'.join(parts)}.png"


def _check(
    paths: Sequence[Path],
    windows: Sequence[Window],
    as_input: bool,
    guide: str | Path | None,
    propose: int,
    size: int,
    context: int,
) -> None:
    if not paths:
        raise InputError("nothing to explain: name a picture or a cube")
    if propose < 1 or size < 2 or context < 0:
        raise InputError("propose must be at least 1, size at least 2 and context not negative")
    if (as_input or guide is not None) and not windows:
        raise InputError(
            "there is no original, so no gain to propose a window by: give --window X,Y,SIZE"
        )
    if guide is not None and len(paths) > 1:
        raise InputError("--guide belongs to one cube: give one")
    if (twice := repeated(path.stem for path in paths)) is not None:
        raise InputError(f"two photos are named {twice}: their figures would be one file")


def _read_picture(
    path: Path, contestants: Mapping[str, Model], scale: int, as_input: bool
) -> _Subject:
    for name, model in contestants.items():
        if isinstance(model, FusionModel):
            raise InputError(f"{name} fuses a cube with a guide: name the guide with --guide")
    if as_input:
        return _Subject(path, read_uint8(path).float() / 255)
    pair = PicturePair(path.stem, scale, path, None).load()
    return _Subject(path, pair.lr, pair.hr)


def _check_pair(
    pair: Pair, path: Path, guide: Path, contestants: Mapping[str, Model], scale: int
) -> None:
    if pair.scale != scale:
        rows, columns = pair.lr.shape[1:]
        raise InputError(
            f"{guide}: is {pair.guide.shape[2]}x{pair.guide.shape[1]}, but x{scale} of {path} "
            f"needs {scale * columns}x{scale * rows}"
        )
    for name, model in contestants.items():
        if not isinstance(model, FusionModel):
            raise InputError(f"{name} upscales pictures and takes no guide")
        for what, bands, wanted in (
            ("cube", pair.bands, model.channels),
            ("guide", pair.guide_channels, model.guide_channels),
        ):
            if bands != wanted:
                raise InputError(f"the {what} has {bands} bands, {name} was trained for {wanted}")


def _subject_of(pair: Pair, path: Path) -> _Subject:
    return _Subject(
        path,
        torch.from_numpy(pair.lr),
        guide=torch.from_numpy(pair.guide),
        wavelengths=pair.wavelengths,
    )


def _proposals(
    subject: _Subject,
    contestants: Mapping[str, Model],
    scale: int,
    size: int,
    count: int,
    device: str,
) -> tuple[list[_Place], list[str]]:
    """The windows of a picture where the models gain most over bicubic, and why they are."""
    assert subject.hr is not None
    lr = subject.lr
    results = {name: upscaled(model, lr, scale, device) for name, model in contestants.items()}
    found = proposed_windows(subject.hr, bicubic(lr, scale), results, size=size, count=count)
    places = []
    for window, decibels, _ in found:
        origin = "centre" if decibels is None else "largest gain over bicubic"
        places.append(_Place(subject, window, origin, decibels))
    return places, [f"{subject.path.name}: {each.reason}" for each in found]


def _patch(place: _Place, scale: int, context: int) -> tuple[_Subject, Window, dict[str, Any]]:
    """What the model sees of a subject, the window in it, and where both are, for the record."""
    subject, window, origin, gain = place
    lr = subject.lr
    whole = (lr.shape[-2], lr.shape[-1])
    top, left, height, width = around(window, scale, whole, context or max(whole))

    def cut(picture: Tensor | None, factor: int) -> Tensor | None:
        if picture is None:
            return None
        rows = slice(factor * top, factor * (top + height))
        return picture[:, rows, factor * left : factor * (left + width)]

    facts = {
        "picture": str(subject.path),
        "window_in_picture": list(window),
        "window_from": origin,
        "gain_over_bicubic_db": gain,
        "lr_patch": {"left": left, "top": top, "width": width, "height": height},
    }
    patch = subject._replace(
        lr=lr[:, top : top + height, left : left + width],
        hr=cut(subject.hr, scale),
        guide=cut(subject.guide, scale),
    )
    return patch, Window(window.x - scale * left, window.y - scale * top, window.size), facts


def _picture(patch: _Subject, scale: int) -> Tensor:
    """RGB of the result's size to lay the maps over: the original, the guide, or bicubic."""
    picture = patch.guide if patch.hr is None else patch.hr
    picture = imresize(patch.lr, scale) if picture is None else picture
    return shown(as_rgb(picture) if len(picture) == 1 else picture, patch.lr)
