"""`vernier compare`: one window as several models make it, or what they compute on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vernier.cli.app import app
from vernier.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from vernier.models.layers import Model


@app.command()
def compare(
    picture: Annotated[Path, typer.Argument(metavar="HR", help="The original.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The figure, for example .png.")],
    models: Annotated[
        list[str] | None, typer.Option("--model", "-n", help="A name or weight file; repeat it.")
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            help="X,Y,SIZE in pixels of HR. Default: 64 pixels where the models gain most over "
            "bicubic."
        ),
    ] = None,
    scale: Annotated[
        int | None, typer.Option("--scale", "-s", help="Default: 2 if the models have it.")
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="Feature maps after each group instead.")
    ] = False,
    grid: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="With --features: side of the windows along which blocking is measured, "
            "in LR pixels; default: the model's own.",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Draw the papers' figure: a window of LR, bicubic, each model and HR, with PSNR and SSIM."""
    from vernier.data.benchmarks import Pair
    from vernier.drawing import save_figure
    from vernier.explanation.comparison import comparison, feature_sheet, scores
    from vernier.explanation.features import blocking, feature_maps
    from vernier.explanation.lam import Window
    from vernier.explanation.windows import proposed_windows
    from vernier.zoo.contestants import load_contestants

    chosen = None if window is None else Window.parse(window)
    if not output.parent.is_dir():
        raise InputError(f"{output.parent}: no such folder; create it or choose another -o")
    scale, contestants = load_contestants(models or [], scale, device)
    pair = Pair(picture.stem, scale, picture, None).load()
    hr, lr = pair.hr, pair.lr
    if chosen is not None:
        chosen.check(hr.shape[-2], hr.shape[-1])

    if features:
        if chosen is not None:
            x, y, size = (-(-each // scale) for each in chosen)
            lr = lr[:, y : y + size, x : x + size]
        maps = {name: feature_maps(model, lr) for name, model in contestants.items()}
        # A network pads to a multiple of its windows.
        own = {name: model.size_multiple for name, model in contestants.items()}
        sizes = {name: grid or (side if side > 1 else None) for name, side in own.items()}
        save_figure(feature_sheet(maps, sizes), output)
        for name, found in maps.items():
            for each in found:
                side = sizes[name]
                text = "" if side is None else f": blocking {blocking(each.values, side):.3f}"
                typer.echo(f"{name} {each.name}{text}")
        typer.echo(f"{output}: written")
        return

    results = {"bicubic": bicubic(lr, scale)}
    results |= {name: upscaled(model, scale, lr, device) for name, model in contestants.items()}
    if chosen is None:
        made = {name: result for name, result in results.items() if name != "bicubic"}
        size = min(64, *hr.shape[-2:])
        (best,) = proposed_windows(hr, results["bicubic"], made, size=size)
        chosen = best.window
        typer.echo(best.reason)
    save_figure(comparison(hr, lr, results, chosen), output)
    for score in scores(hr, results, chosen):
        second = "" if score.ssim is None else f", SSIM {score.ssim:.4f}"
        typer.echo(f"{score.name}: PSNR {score.psnr:.2f} dB{second} (in the window)")
    typer.echo(f"{output}: written")


def bicubic(lr: Tensor, scale: int) -> Tensor:
    """(C, h, w) in [0, 1] -> MATLAB's bicubic of the 8-bit picture, in [0, 1]."""
    import torch

    from vernier.imaging import imresize_uint8

    return imresize_uint8((lr * 255).round().to(torch.uint8), scale).float() / 255


def upscaled(model: Model, scale: int, lr: Tensor, device: str) -> Tensor:
    """(C, h, w) in [0, 1] -> what `vernier upscale` makes of the 8-bit picture, in [0, 1]."""
    import numpy as np
    import torch

    from vernier.upscaling import Upscaler

    pixels = (lr * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    upscaler = Upscaler(model, scale=scale, engine="torch", precision="fp32", device=device)
    result = upscaler.upscale_array(np.ascontiguousarray(pixels))
    return torch.from_numpy(result).permute(2, 0, 1).float() / 255
