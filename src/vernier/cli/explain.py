"""`vernier explain`: which pixels of the input a model uses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.markup import escape

from vernier.cli.app import app, stderr
from vernier.cli.options import AxesOption
from vernier.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from vernier.explanation.lam import Explanation, Window
    from vernier.models.layers import Model


class _Subject(NamedTuple):
    """What is explained: the LR input (C, h, w), the original where it is known, a cube's guide."""

    path: Path
    lr: Tensor
    hr: Tensor | None = None
    guide: Tensor | None = None


class _Place(NamedTuple):
    """A window of a subject, what chose it, and what the models gain there in dB if that did."""

    subject: _Subject
    window: Window
    origin: str
    gain: float | None = None


# Beyond this part of the detail the attributions do not add up to what they explain.
_LARGEST_ERROR = 0.2


@app.command()
def explain(
    pictures: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO...",
            help="Originals, of which the LR input is made; with --guide one LR cube.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for figures and JSON.")],
    models: Annotated[
        list[str] | None, typer.Option("--model", "-n", help="A name or weight file; repeat it.")
    ] = None,
    scale: Annotated[
        int | None, typer.Option("--scale", "-s", help="Default: 2 if the models have it.")
    ] = None,
    windows: Annotated[
        list[str] | None,
        typer.Option(
            "--window",
            help="X,Y,SIZE in pixels of the result; repeat it. Default: where the models gain "
            "most over bicubic.",
        ),
    ] = None,
    propose: Annotated[
        int, typer.Option(min=1, help="Without --window: so many windows a photo.")
    ] = 1,
    size: Annotated[int, typer.Option(min=2, help="Without --window: their side.")] = 16,
    context: Annotated[
        int,
        typer.Option(
            min=0, help="LR pixels a side around the window that the model sees; 0: the photo."
        ),
    ] = 64,
    as_input: Annotated[
        bool, typer.Option("--as-input", help="The photos are the LR input itself.")
    ] = False,
    guide: Annotated[
        Path | None, typer.Option(help="For a fusion model: the sharp RGB picture.")
    ] = None,
    peak: Annotated[
        float | None, typer.Option(help="With --guide: the cube's value of full light.")
    ] = None,
    axes: AxesOption = None,
    steps: Annotated[int, typer.Option(min=2, help="Along the blur.")] = 50,
    memory: Annotated[
        float, typer.Option(help="GiB that the steps computed at once may use.")
    ] = 1.0,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Show which pixels of the input models use for a window of the result (LAM)."""
    from rich.progress import Progress

    from vernier.drawing import save_figure, stacked
    from vernier.explanation.lam import Window
    from vernier.explanation.lam import explain as explain_window
    from vernier.explanation.strip import record, strip
    from vernier.io.files import write_whole
    from vernier.zoo.contestants import load_contestants

    given = [Window.parse(text) for text in windows or []]
    if (as_input or guide) and not given:
        raise InputError(
            "there is no original, so no gain to propose a window by: give --window X,Y,SIZE"
        )
    if guide and len(pictures) > 1:
        raise InputError("--guide belongs to one cube: give one")
    stems = [path.stem for path in pictures]
    if twice := [stem for stem in stems if stems.count(stem) > 1]:
        raise InputError(f"two photos are named {twice[0]}: their figures would be one file")
    scale, contestants = load_contestants(models or [], scale, device)
    places: list[_Place] = []
    for path in pictures:
        subject = _read(path, scale, as_input, guide, axes, peak)
        for window in given:
            window.check(scale * subject.lr.shape[-2], scale * subject.lr.shape[-1])
            places.append(_Place(subject, window, "given"))
        if not given:
            places += _proposals(subject, contestants, scale, size, propose, device)

    records: list[dict[str, Any]] = []
    several = len(contestants) > 1
    with (
        _folder(output),
        Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as bar,
    ):
        task = bar.add_task("explain", total=len(places) * len(contestants))
        for place in places:
            patch, window, facts = _patch(place, scale, context)
            shown = _shown(patch, scale)
            x, y, side = place.window
            name = f"{patch.path.stem}-{x}-{y}-{side}"
            strips = []
            for model_name, model in contestants.items():
                bar.update(task, description=escape(f"{patch.path.name}: {model_name}"))
                found = explain_window(
                    model,
                    patch.lr,
                    window,
                    guide=patch.guide,
                    steps=steps,
                    memory=memory * 2**30,
                )
                strips.append(strip(model_name, found, shown, patch.lr))
                if several:
                    save_figure(strips[-1], output / f"{name}-{model_name}.png")
                model_facts = {"model": model_name, "scale": scale, "steps": steps}
                records.append({**facts, **model_facts, **record(found)})
                where = f"{patch.path.name} {x},{y},{side} {model_name}"
                typer.echo(f"{where}: {_summary(found)}")
                if found.completeness_error > _LARGEST_ERROR:
                    stderr.print(
                        f"note: {where}: so large a completeness error means that the map is not "
                        "to be trusted: the window is flat, or --steps too few",
                        markup=False,
                        highlight=False,
                    )
                bar.advance(task)
            save_figure(stacked(strips), output / f"{name}.png")
        write_whole(output / "explain.json", (json.dumps(records, indent=1) + "\n").encode())
    figures = len(places) * (len(contestants) + several)
    noun = "figure" if figures == 1 else "figures"
    typer.echo(f"{output}: {figures} {noun} and explain.json written")


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Make the folder; after a failure it goes again if it is new and empty."""
    new = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be created ({error.strerror})") from None
    try:
        yield
    except BaseException:
        if new and not any(path.iterdir()):
            path.rmdir()
        raise


def _read(
    path: Path, scale: int, as_input: bool, guide: Path | None, axes: str | None, peak: float | None
) -> _Subject:
    import torch

    from vernier.data.benchmarks import Pair
    from vernier.data.pictures import read_uint8
    from vernier.io.cubes import read_cube

    if guide is not None:
        cube = torch.from_numpy(read_cube(path, axes=axes, peak=peak).unit())
        sharp = read_uint8(guide).float() / 255
        wanted = (scale * cube.shape[1], scale * cube.shape[2])
        if sharp.shape[1:] != wanted:
            raise InputError(
                f"{guide}: is {sharp.shape[2]}x{sharp.shape[1]}, but x{scale} of {path} needs "
                f"{wanted[1]}x{wanted[0]}"
            )
        return _Subject(path, cube, guide=sharp)
    if as_input:
        return _Subject(path, read_uint8(path).float() / 255)
    pair = Pair(path.stem, scale, path, None).load()
    return _Subject(path, pair.lr, pair.hr)


def _proposals(
    subject: _Subject,
    contestants: dict[str, Model],
    scale: int,
    size: int,
    count: int,
    device: str,
) -> list[_Place]:
    """The windows of a photo where the models gain most over bicubic; says which."""
    from vernier.cli.compare import bicubic, upscaled
    from vernier.explanation.windows import proposed_windows

    assert subject.hr is not None
    lr = subject.lr
    results = {name: upscaled(model, scale, lr, device) for name, model in contestants.items()}
    found = proposed_windows(subject.hr, bicubic(lr, scale), results, size=size, count=count)
    places = []
    for window, decibels, reason in found:
        stderr.print(f"{subject.path.name}: {reason}", markup=False, highlight=False)
        origin = "centre" if decibels is None else "largest gain over bicubic"
        places.append(_Place(subject, window, origin, decibels))
    return places


def _patch(place: _Place, scale: int, context: int) -> tuple[_Subject, Window, dict[str, Any]]:
    """What the model sees of a subject, the window in it, and where both are, for the record."""
    from vernier.explanation.lam import Window, around

    (path, lr, hr, guide), window, origin, gain = place
    whole = (lr.shape[-2], lr.shape[-1])
    top, left, height, width = around(window, scale, whole, context or max(whole))

    def cut(picture: Tensor | None, factor: int) -> Tensor | None:
        if picture is None:
            return None
        rows = slice(factor * top, factor * (top + height))
        return picture[:, rows, factor * left : factor * (left + width)]

    lr = lr[:, top : top + height, left : left + width]
    facts = {
        "picture": str(path),
        "window_in_picture": list(window),
        "window_from": origin,
        "gain_over_bicubic_db": gain,
        "lr_patch": {"left": left, "top": top, "width": width, "height": height},
    }
    inside = Window(window.x - scale * left, window.y - scale * top, window.size)
    return _Subject(path, lr, cut(hr, scale), cut(guide, scale)), inside, facts


def _shown(patch: _Subject, scale: int) -> Tensor:
    """RGB of the result's size to lay the maps over: the original, the guide, or bicubic."""
    from vernier.drawing import as_rgb
    from vernier.imaging import imresize

    picture = patch.guide if patch.hr is None else patch.hr
    picture = imresize(patch.lr, scale) if picture is None else picture
    return as_rgb(picture.expand(3, -1, -1) if len(picture) == 1 else picture, patch.lr)


def _summary(found: Explanation) -> str:
    maps = (
        f"{name}: diffusion index {each.diffusion_index:.2f}, 95 % in {each.pixels} pixels"
        for name, each in found.maps.items()
    )
    return f"{'; '.join(maps)}; completeness error {100 * found.completeness_error:.2g} %"
