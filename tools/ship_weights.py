"""Put the weights of finished runs into the package, with measured cards.

    python tools/ship_weights.py runs/sesr-m5-x2 [runs/...] --data Set5 Set14
    python tools/ship_weights.py runs/psrt-s-x4 --data data/cave-test.h5

Measures each run's weights by the papers' protocol, on benchmark pictures or on fusion files,
completes their card with the figures, the data and the licence, and writes both to
``src/vernier/weights``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import yaml

from vernier.evaluation import PAPERS, evaluate
from vernier.models.layers import FusionModel
from vernier.zoo import load_model, save_weights
from vernier.zoo.cards import WEIGHTS_FOLDER

LICENCES = {
    "pictures": (
        "Apache-2.0 for the file. Trained on BSDS500 (non-commercial research) and T91 (academic) "
        "beside CC0 photographs: for research use."
    ),
    "scenes": "Apache-2.0 for the file. Trained on scenes of Columbia CAVE: for research use.",
}


def ship(run: Path, benchmarks: list[Path]) -> None:
    """Measure and write one run's weights."""
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    data = json.loads((run / "data.json").read_text())
    weights = run / "weights.safetensors"
    model, card = load_model(weights)
    folders = ", ".join(Path(folder).name for folder in recipe["data"]["train"])
    held = f"{len(data['validation'])} more held out for validation; sha256 {data['sha256']}"
    if isinstance(model, FusionModel):
        kind = "scenes"
        measured = {Path(path).stem: _measure_scenes(weights, path) for path in benchmarks}
        trained_on = f"{data['pictures']} scenes of {folders}; {held}"
    else:
        kind = "pictures"
        measured = _measure_pictures(weights, benchmarks)
        drawn = ":".join(f"{weight:g}" for weight in recipe["data"]["weights"])
        sizes = " and ".join(f"{factor:g}" for factor in recipe["data"]["downscales"])
        trained_on = (
            f"{len(data['files'])} pictures of {folders}, pixels drawn {drawn}, at {sizes} of "
            f"their size; {held}"
        )
    card = replace(
        card,
        recipe=f"recipes/{run.name}.yaml",
        data=trained_on,
        measured=measured,
        licence=LICENCES[kind],
    )
    path = WEIGHTS_FOLDER / f"{card.name}-x{card.scale}.safetensors"
    save_weights(model, path, card)  # type: ignore[arg-type]
    print(f"{path.name}: {measured}")


def _measure_pictures(weights: Path, benchmarks: list[Path]) -> dict[str, dict[str, float]]:
    report = evaluate([weights], benchmarks, protocol=PAPERS)
    return {
        result.benchmark: {"psnr": round(result.psnr, 3), "ssim": round(result.ssim, 4)}
        for result in report.results
        if result.model != "bicubic"
    }


def _measure_scenes(weights: Path, file: Path) -> dict[str, float]:
    result = evaluate([weights], [file], convention="matlab").results[-1]
    return {name.lower(): round(result.mean(name), 4) for name in ("PSNR", "SSIM", "SAM", "ERGAS")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", nargs="+", type=Path, required=True)
    arguments = parser.parse_args()
    for run in arguments.runs:
        ship(run, arguments.data)


if __name__ == "__main__":
    main()
