"""`vernier data`: make fusion data sets, look at cubes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from vernier.cli.app import data, stderr
from vernier.cli.options import (
    AxesOption,
    KeyOption,
    PeakOption,
    WavelengthsOption,
    parse_wavelengths,
    show_notes,
)
from vernier.errors import InputError

if TYPE_CHECKING:
    from vernier.io.cubes import Cube


@data.command()
def fusion(
    sources: Annotated[
        list[Path],
        typer.Option("--from", help="Folder of cubes, or a cube; several may follow."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HDF5 file to write.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FOLDER]...", hidden=True)] = None,
    preset: Annotated[
        str, typer.Option("--preset", help="Settings of a group: cave, dhif, lso or ltmr.")
    ] = "cave",
    response: Annotated[
        str | None,
        typer.Option("--response", help="Guide camera: a, b (Nikon D700) or a CSV file."),
    ] = None,
    blur_size: Annotated[
        int | None, typer.Option("--blur-size", help="Taps of the Gaussian along each axis.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option("--sigma", help="Width of the Gaussian in pixels.")
    ] = None,
    padding: Annotated[
        str | None, typer.Option("--padding", help="reflect, replicate, circular or zeros.")
    ] = None,
    offset: Annotated[
        int | None, typer.Option("--offset", help="Pixel of each cell that is kept, from 0.")
    ] = None,
    scale: Annotated[int, typer.Option("--scale", "-s", help="Reduction along each axis.")] = 4,
    patch: Annotated[
        int | None,
        typer.Option("--patch", help="Cut squares of this side; whole scenes if left out."),
    ] = None,
    stride: Annotated[
        int | None, typer.Option("--stride", help="Distance of the patches; default: their side.")
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            help="train=a,b or test=rest (repeat it), or cave (the published division): one file "
            "each, named FILE-train.h5, ...; test scenes stay whole.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Leave this scene out (repeat it).")
    ] = None,
    axes: AxesOption = None,
    peak: PeakOption = None,
    key: KeyOption = None,
    wavelengths: WavelengthsOption = None,
) -> None:
    """Simulate a fusion data set from sharp cubes; the file states every setting."""
    from dataclasses import replace
    from functools import partial

    from rich.progress import Progress

    from vernier.data.scenes import FusionSettings, find_scenes, split_scenes, write_fusion
    from vernier.imaging import simulation
    from vernier.io.cubes import read_cube

    if output.suffix.lower() not in (".h5", ".hdf5"):
        raise InputError(f"{output}: fusion data sets are HDF5; choose a name that ends in .h5")
    base = simulation.preset(preset, scale)
    given = {"size": blur_size, "sigma": sigma, "padding": padding, "offset": offset}
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    own = [*changed, *(["response"] if response not in (None, base.response) else [])]
    settings = FusionSettings(
        response=simulation.find_response(response or base.response),
        blur=replace(base.blur, **changed),
        scale=scale,
        patch=patch,
        stride=stride,
        preset=f"{preset}, changed: {', '.join(own)}" if own else preset,
    )
    scenes = find_scenes([*sources, *(more or [])])
    for name in without or []:
        if scenes.pop(name, None) is None:
            raise InputError(f"--without {name}: no such scene; there are {', '.join(scenes)}")
    load = partial(
        read_cube, axes=axes, peak=peak, key=key, wavelengths=parse_wavelengths(wavelengths)
    )
    parts = split_scenes(split, scenes) if split else {"": scenes}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output.parent}: cannot be created ({error.strerror})") from None
    for part, members in parts.items():
        path = output.with_stem(f"{output.stem}-{part}") if part else output
        part_settings = replace(settings, patch=None) if part == "test" else settings
        cropped: list[str] = []
        with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
            task = bar.add_task("")

            def show(done: int, total: int, name: str) -> None:
                bar.update(task, completed=done, total=total, description=escape(name))  # noqa: B023

            count = write_fusion(
                path, members, part_settings, load=load, progress=show, note=cropped.append
            )
        show_notes(tuple(cropped))
        cut = f"{count} patches of " if part_settings.patch else ""
        plural = "s" if len(members) > 1 else ""
        typer.echo(f"{path}: {cut}{len(members)} scene{plural} ({', '.join(members)})")


@data.command()
def preview(
    cube_path: Annotated[Path, typer.Argument(metavar="CUBE", help="Cube file or PNG folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write.")],
    bands: Annotated[
        str | None, typer.Option("--bands", help="Three bands for R,G,B, counted from 1.")
    ] = None,
    response: Annotated[
        str | None,
        typer.Option("--response", help="Render through a, b (Nikon D700) or a CSV file."),
    ] = None,
    white: Annotated[
        float, typer.Option("--white", min=1, max=100, help="Percentile shown as white.")
    ] = 99.5,
    axes: AxesOption = None,
    key: KeyOption = None,
    wavelengths: WavelengthsOption = None,
) -> None:
    """Show a cube as a picture: three bands, or the colours that a camera sees.

    Without --bands and --response, the bands nearest to 650, 550 and 450 nm are shown.
    """
    from vernier.imaging.display import cube_as_rgb, to_display
    from vernier.io import Picture, write_picture
    from vernier.io.cubes import read_cube

    if bands and response:
        raise InputError("give --bands or --response, not both")
    cube = read_cube(cube_path, axes=axes, key=key, wavelengths=parse_wavelengths(wavelengths))
    show_notes(cube.notes)
    if bands:
        light = cube.values[_chosen_bands(bands, cube.bands)]
    elif response:
        from vernier.imaging.simulation import find_response

        camera = find_response(response)
        light = cube_as_rgb(cube.values, wavelengths=cube.wavelengths, camera=camera)
    elif cube.wavelengths is None:
        raise InputError("the cube has no wavelengths; pass --bands R,G,B, counted from 1")
    else:
        light = cube_as_rgb(cube.values, wavelengths=cube.wavelengths)
    write_picture(Picture(to_display(light, white=white)), output)
    typer.echo(f"{output}: written")


@data.command()
def info(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Cubes, PNG folders or fusion files.")
    ],
    axes: AxesOption = None,
    peak: PeakOption = None,
    key: KeyOption = None,
    wavelengths: WavelengthsOption = None,
) -> None:
    """Say what cubes or fusion files hold, and what was recognised rather than stated."""
    from vernier.data.scenes import is_fusion_file
    from vernier.io.cubes import read_cube

    known = parse_wavelengths(wavelengths)
    for path in paths:
        if key is None and is_fusion_file(path):
            _print_fusion(path, peak)
        else:
            cube = read_cube(path, axes=axes, peak=peak, key=key, wavelengths=known)
            _print_cube(path, cube)


def _print_cube(path: Path, cube: Cube) -> None:
    lines = {
        "bands": cube.bands,
        "size": f"{cube.width}x{cube.height}",
        "type": cube.values.dtype,
        "values": f"{cube.values.min():g} to {cube.values.max():g}",
        "peak": "unknown; pass --peak" if cube.peak is None else f"{cube.peak:g}",
        "wavelengths": "unknown"
        if cube.wavelengths is None
        else f"{cube.wavelengths[0]:g} to {cube.wavelengths[-1]:g} nm",
        **cube.metadata,
    }
    _print_facts(path, lines)
    show_notes(cube.notes)


def _print_fusion(path: Path, peak: float | None) -> None:
    from vernier.data.scenes import read_fusion

    scenes = read_fusion(path, peak=peak)
    height, width = scenes.guide.shape[-2:]
    lines = {
        "items": len(scenes),
        "names": ", ".join(dict.fromkeys(name.split("@")[0] for name in scenes.names)),
        "size": f"{width}x{height}",
        "scale": scenes.scale,
        "bands": scenes.bands,
        "guide channels": scenes.guide_channels,
        "reference": "yes" if scenes.gt is not None else "no",
        "peak": f"{scenes.peak:g}",
    }
    long = ("response_weights", "wavelengths", "scenes")
    settings = {name: value for name, value in scenes.settings.items() if name not in long}
    _print_facts(path, {**settings, **lines})
    show_notes(scenes.notes)


def _print_facts(path: Path, facts: dict[str, object]) -> None:
    typer.echo(str(path))
    for name, value in facts.items():
        typer.echo(f"  {name}: {' '.join(str(value).split())}")


def _chosen_bands(text: str, count: int) -> list[int]:
    numbers = [int(part) if part.strip().isdigit() else 0 for part in text.split(",")]
    if len(numbers) != 3 or not all(1 <= number <= count for number in numbers):
        raise InputError(f"--bands {text}: give three numbers from 1 to {count}, such as 3,2,1")
    return [number - 1 for number in numbers]
