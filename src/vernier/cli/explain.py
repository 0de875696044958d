"""`vernier explain`: which pixels of the input a model uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from vernier.cli.app import app, stderr
from vernier.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from vernier.analysis.lam import Window
    from vernier.models.layers import Model


@app.command()
def explain(
    pictures: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTO...", help="Originals; the LR input is made of them."),
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
    steps: Annotated[int, typer.Option(min=2, help="Along the blur.")] = 50,
    memory: Annotated[
        float, typer.Option(help="GiB that the steps computed at once may use.")
    ] = 1.0,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Show which pixels of the input models use for a window of the result (LAM)."""
    from rich.progress import Progress

    from vernier.analysis.contestants import load_contestants
    from vernier.analysis.drawing import as_rgb, save_figure, stacked
    from vernier.analysis.lam import Window, around
    from vernier.analysis.lam import explain as explain_window
    from vernier.analysis.sheets import record, strip
    from vernier.imaging import imresize

    given = [Window.parse(text) for text in windows or []]
    if as_input and not given:
        raise InputError(
            "without the original there is no gain to propose a window by: give --window, or "
            "leave out --as-input"
        )
    stems = [path.stem for path in pictures]
    for stem in stems:
        if stems.count(stem) > 1:
            raise InputError(f"two photos are named {stem}: their figures would be one file")
    scale, contestants = load_contestants(models or [], scale, device)
    loaded = {path: _pair(path, scale, as_input) for path in pictures}
    places: list[tuple[Path, Window, float | None]] = []
    for path, (lr, hr) in loaded.items():
        if given or hr is None:
            places += [(path, window, None) for window in given]
            height, width = (scale * length for length in lr.shape[-2:])
            for window in given:
                window.check(height, width)
        else:
            places += _proposals(path, lr, hr, contestants, scale, size, propose, device)

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be created ({error.strerror})") from None
    records: list[dict[str, Any]] = []
    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("explain", total=len(places) * len(contestants))
        for path, window, gain in places:
            lr, hr = loaded[path]
            whole = (lr.shape[-2], lr.shape[-1])
            top, left, height, width = around(window, scale, whole, context or max(whole))
            patch = lr[:, top : top + height, left : left + width]
            inside = Window(window.x - scale * left, window.y - scale * top, window.size)
            rows, columns = (
                slice(scale * start, scale * (start + length))
                for start, length in ((top, height), (left, width))
            )
            shown = imresize(patch, scale) if hr is None else hr[:, rows, columns]
            shown = as_rgb(shown.expand(3, -1, -1), patch)
            name = f"{path.stem}-{window.x}-{window.y}-{window.size}"
            strips = []
            for model_name, model in contestants.items():
                bar.update(task, description=escape(f"{path.name}: {model_name}"))
                found = explain_window(model, patch, inside, steps=steps, memory=memory * 2**30)
                strips.append(strip(model_name, found, shown, patch))
                save_figure(strips[-1], output / f"{name}-{model_name}.png")
                entry = {
                    "picture": str(path),
                    "model": model_name,
                    "scale": scale,
                    "window_in_picture": list(window),
                    "gain_over_bicubic_db": gain,
                    "lr_patch": {"left": left, "top": top, "width": width, "height": height},
                    "steps": steps,
                    **record(found),
                }
                records.append(entry)
                typer.echo(
                    f"{path.name} {window.x},{window.y},{window.size} {model_name}: diffusion "
                    f"index {found.lr.diffusion_index:.2f}, 95 % in {found.lr.pixels} pixels, "
                    f"completeness error {100 * found.completeness_error:.2g} %"
                )
                bar.advance(task)
            save_figure(stacked(strips), output / f"{name}.png")
    _write_json(records, output / "explain.json")
    typer.echo(f"{output}: {len(places) * (len(contestants) + 1)} figures and explain.json written")


def _pair(path: Path, scale: int, as_input: bool) -> tuple[Tensor, Tensor | None]:
    """LR (C, h, w) and HR (C, scale h, scale w) or None, in [0, 1]."""
    from vernier.data.benchmarks import Pair
    from vernier.data.pictures import read_uint8

    if as_input:
        return read_uint8(path).float() / 255, None
    pair = Pair(path.stem, scale, path, None).load()
    return pair.lr, pair.hr


def _proposals(
    path: Path,
    lr: Tensor,
    hr: Tensor,
    contestants: dict[str, Model],
    scale: int,
    size: int,
    count: int,
    device: str,
) -> list[tuple[Path, Window, float | None]]:
    """The windows of the picture where the models gain most over bicubic; says which."""
    from vernier.analysis.windows import hardest_windows
    from vernier.cli.compare import bicubic, upscaled

    results = [upscaled(model, scale, lr, device) for model in contestants.values()]
    gains = hardest_windows(hr, bicubic(lr, scale), results, size=size, count=count)
    for window, decibels in gains:
        stderr.print(
            f"{path.name}: proposed window {window.x},{window.y},{window.size}, where "
            f"{' and '.join(contestants)} gain {decibels:.2f} dB over bicubic",
            markup=False,
            highlight=False,
        )
    return [(path, window, decibels) for window, decibels in gains]


def _write_json(records: list[dict[str, Any]], path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
