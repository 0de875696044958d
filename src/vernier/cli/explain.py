"""`vernier explain`: which pixels of the input a model uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vernier.cli.app import app
from vernier.cli.options import (
    AxesOption,
    DeviceOption,
    GuidePeakOption,
    KeyOption,
    ModelsOption,
    WavelengthsOption,
    parse_wavelengths,
    progress_bar,
    show_notes,
)

if TYPE_CHECKING:
    from vernier.explanation.files import Finding


@app.command()
def explain(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO...",
            help="Originals, of which the LR input is made; with --guide one LR cube.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for figures and JSON.")],
    models: ModelsOption = None,
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
        Path | None, typer.Option("--guide", "-g", help="For a fusion model: the sharp picture.")
    ] = None,
    peak: Annotated[
        float | None, typer.Option(help="With --guide: the cube's value of full light.")
    ] = None,
    axes: AxesOption = None,
    key: KeyOption = None,
    wavelengths: WavelengthsOption = None,
    guide_peak: GuidePeakOption = None,
    steps: Annotated[int, typer.Option(min=2, help="Along the blur.")] = 50,
    memory: Annotated[
        float, typer.Option(help="GiB that the steps computed at once may use.")
    ] = 1.0,
    device: DeviceOption = "cpu",
) -> None:
    """Show which pixels of the input models use for a window of the result (LAM)."""
    from vernier.explanation.files import explain_files
    from vernier.explanation.lam import Window

    with progress_bar("explain") as progress:
        explained = explain_files(
            inputs,
            output,
            models=models or [],
            scale=scale,
            windows=[Window.parse(text) for text in windows or []],
            propose=propose,
            size=size,
            context=context,
            as_input=as_input,
            guide=guide,
            axes=axes,
            peak=peak,
            key=key,
            wavelengths=parse_wavelengths(wavelengths),
            guide_peak=guide_peak,
            steps=steps,
            memory=memory * 2**30,
            device=device,
            progress=progress,
            on_finding=_print,
        )
    show_notes(explained.notes)
    count = len(explained.figures)
    figures = "1 figure" if count == 1 else f"{count} figures"
    typer.echo(f"{output}: {figures} and explain.json written")


def _print(finding: Finding) -> None:
    typer.echo(finding.summary)
    show_notes(filter(None, [finding.warning]))
