"""Diffusion index against PSNR: do models that look at more pixels restore better?

    python tools/diffusion_index.py Set14 -n sesr-m3 -n sesr-m5 -n sesr-m11 -n sesr-xl -o out

Takes from every picture of the folder the windows in which the models gain most over bicubic,
explains each window with each model, and writes diffusion_index.json and diffusion_index.png.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vernier import explain
from vernier.data.benchmarks import find_benchmark
from vernier.drawing import save_figure
from vernier.explanation.lam import Window, around
from vernier.explanation.upscaled import bicubic, upscaled
from vernier.explanation.windows import hardest_windows
from vernier.imaging import from_colour
from vernier.metrics import psnr
from vernier.zoo.contestants import load_contestants

CONTEXT = 64
COLOURS = ("#377eb8", "#e41a1c", "#4daf4a", "#984ea3", "#ff7f00", "#a65628")


def measure(
    folder: Path, models: Sequence[str], scale: int | None, size: int, windows: int, steps: int
) -> dict[str, Any]:
    """Every window with every model: indices, and the PSNR of the patch around the window."""
    scale, contestants = load_contestants(models, scale)
    patches = []
    for pair in find_benchmark(folder, scale).pairs:
        hr, lr = pair.load()[:2]
        results = [upscaled(model, lr, scale) for model in contestants.values()]
        for gain in hardest_windows(hr, bicubic(lr, scale), results, size=size, count=windows):
            window = gain.window
            top, left, height, width = around(window, scale, (lr.shape[-2], lr.shape[-1]), CONTEXT)
            patch = lr[:, top : top + height, left : left + width]
            target = hr[
                :,
                scale * top : scale * (top + height),
                scale * left : scale * (left + width),
            ]
            inside = Window(window.x - scale * left, window.y - scale * top, size)
            entry: dict[str, Any] = {
                "picture": pair.name,
                "window": list(window),
                "patch": [left, top, width, height],
                "gain_over_bicubic_db": gain.decibels,
                "models": {},
            }
            for name, model in contestants.items():
                found = explain(model, patch, inside, steps=steps)
                result = from_colour(found.result, patch)
                entry["models"][name] = {
                    "diffusion_index": found.lr.diffusion_index,
                    "pixels_95": found.lr.pixels,
                    "completeness_error": found.completeness_error,
                    "psnr": psnr(result, target, crop=scale).item(),
                }
            patches.append(entry)
            print(f"{pair.name} {','.join(map(str, window))}", flush=True)
    return {
        "data": folder.name,
        "scale": scale,
        "window": size,
        "lr_patch": CONTEXT,
        "steps": steps,
        "patches": patches,
        "means": means(patches),
        "steps_between_models": [between(patches, a, b) for a, b in pairwise(contestants)],
    }


def means(patches: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """By model: the mean of each figure, and the standard error of the diffusion index's."""
    found = {}
    for name in patches[0]["models"]:
        rows = [patch["models"][name] for patch in patches]
        found[name] = {key: fmean(row[key] for row in rows) for key in rows[0]}
        spread = stdev(row["diffusion_index"] for row in rows)
        found[name]["diffusion_index_error"] = spread / math.sqrt(len(rows))
    return found


def between(patches: list[dict[str, Any]], a: str, b: str) -> dict[str, Any]:
    """From one model to the next, patch by patch: do the two gains go together?"""
    index, quality = (
        np.array([patch["models"][b][key] - patch["models"][a][key] for patch in patches])
        for key in ("diffusion_index", "psnr")
    )
    return {
        "from": a,
        "to": b,
        "diffusion_index": index.mean(),
        "psnr": quality.mean(),
        "patches_with_larger_index": float((index > 0).mean()),
        "patches_with_larger_psnr": float((quality > 0).mean()),
        "rank_correlation": rank_correlation(index, quality),
    }


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, for values without ties."""
    ranks = [each.argsort().argsort() for each in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def scatter(report: dict[str, Any]) -> Image.Image:
    """PSNR over diffusion index: a dot a patch, a large one for a model's mean."""
    width, height, margin = 720, 480, 60
    points = {
        name: np.array(
            [
                (patch["models"][name]["diffusion_index"], patch["models"][name]["psnr"])
                for patch in report["patches"]
            ]
        )
        for name in report["means"]
    }
    every = np.concatenate(list(points.values()))
    low, high = every.min(0), every.max(0)
    reach = np.maximum(high - low, 1e-9)
    low, reach = low - 0.05 * reach, 1.1 * reach

    def place(point: np.ndarray) -> tuple[float, float]:
        x, y = (point - low) / reach
        return margin + x * (width - 2 * margin), height - margin - y * (height - 2 * margin)

    image = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    frame = (margin, margin, width - margin, height - margin)
    draw.rectangle(frame, outline="black")
    for fraction in (0.0, 0.25, 0.5, 0.75, 1.0):
        index, quality = low + fraction * reach
        x, y = place(low + fraction * reach)
        draw.line((x, height - margin, x, height - margin + 5), fill="black")
        draw.text((x, height - margin + 8), f"{index:.2f}", "black", font, anchor="mt")
        draw.line((margin - 5, y, margin, y), fill="black")
        draw.text((margin - 8, y), f"{quality:.1f}", "black", font, anchor="rm")
    draw.text((width / 2, height - 14), "diffusion index", "black", font, anchor="mm")
    draw.text((8, margin / 2), "PSNR, dB", "black", font, anchor="lm")
    for i, (name, values) in enumerate(points.items()):
        colour = COLOURS[i % len(COLOURS)]
        for point in values:
            x, y = place(point)
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
        x, y = place(values.mean(0))
        draw.ellipse((x - 7, y - 7, x + 7, y + 7), fill=colour, outline="black", width=2)
        left = width - margin - 130 * (len(points) - i)
        draw.ellipse((left, margin / 2 - 5, left + 10, margin / 2 + 5), fill=colour)
        draw.text((left + 16, margin / 2), name, "black", font, anchor="lm")
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="a folder as for vernier evaluate")
    parser.add_argument("-n", "--model", action="append", required=True)
    parser.add_argument("-s", "--scale", type=int)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=4, help="a picture")
    parser.add_argument("--size", type=int, default=16, help="of a window")
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    report = measure(
        arguments.data,
        arguments.model,
        arguments.scale,
        arguments.size,
        arguments.windows,
        arguments.steps,
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "diffusion_index.json").write_text(json.dumps(report, indent=1) + "\n")
    save_figure(scatter(report), arguments.output / "diffusion_index.png")
    print(f"{len(report['patches'])} patches")
    for name, found in report["means"].items():
        print(
            f"{name}: PSNR {found['psnr']:.2f} dB, diffusion index "
            f"{found['diffusion_index']:.2f} +- {found['diffusion_index_error']:.2f}, "
            f"95 % in {found['pixels_95']:.0f} pixels, completeness error "
            f"{100 * found['completeness_error']:.1f} %"
        )


if __name__ == "__main__":
    main()
