"""Put the weights of finished runs into the package, with measured cards.

    python tools/ship_weights.py runs/sesr-m5-x2 [runs/...] --data Set5 Set14
    python tools/ship_weights.py runs/psrt-s-x4 --data data/cave-test.h5

For maintainers: it changes what every user of the package gets. Measures each run's weights by the
papers' protocol, on benchmark pictures or on fusion files, completes their card with the figures,
the data and the licence, and writes both to ``src/vernier/weights``. Weights that are there already
are replaced with ``--replace`` alone; the figures of both are printed in any case.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vernier.errors import InputError, VernierError
from vernier.evaluation import PAPERS, evaluate
from vernier.io.files import reason_of
from vernier.models.layers import FusionModel
from vernier.training import load_recipe
from vernier.zoo import load_model, save_weights
from vernier.zoo.cards import WEIGHTS_FOLDER, Card

LICENCES = {
    "pictures": (
        "Apache-2.0 for the file. Trained on BSDS500 (non-commercial research) and T91 (academic) "
        "beside CC0 photographs: for research use."
    ),
    "scenes": "Apache-2.0 for the file. Trained on scenes of Columbia CAVE: for research use.",
}


def ship(run: Path, benchmarks: Sequence[Path], *, replace_shipped: bool = False) -> None:
    """Measure and write one run's weights.

    Args:
        run: the folder of a finished run.
        benchmarks: what the weights are measured on.
        replace_shipped: whether weights of this name and scale may be replaced.

    Raises:
        InputError: the run is not finished or cannot be read, the data cannot be used, or weights
            are there that may not be replaced.
    """
    recipe = load_recipe(run / "recipe.yaml").data
    data = _data_of(run)
    weights = run / "weights.safetensors"
    model, card = load_model(weights)
    folders = ", ".join(Path(folder).name for folder in recipe.train)
    held = f"{len(data['validation'])} more held out for validation; sha256 {data['sha256']}"
    measured: Mapping[str, Mapping[str, float]]
    if isinstance(model, FusionModel):
        kind = "scenes"
        measured = {Path(path).stem: _measure_scenes(weights, path) for path in benchmarks}
        trained_on = f"{data['pictures']} scenes of {folders}; {held}"
    else:
        kind = "pictures"
        measured = _measure_pictures(weights, benchmarks)
        drawn = ":".join(f"{weight:g}" for weight in recipe.weights or [1.0] * len(recipe.train))
        sizes = " and ".join(f"{factor:g}" for factor in recipe.downscales)
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
    old = path.with_suffix(".json")
    if old.is_file():
        print(f"{path.name} as shipped: {_figures(Card.from_json(old.read_text(), str(old)))}")
    print(f"{path.name} of {run}: {_figures(card)}")
    if path.exists() and not replace_shipped:
        raise InputError(f"{path.name} is shipped already; --replace puts the new weights there")
    save_weights(model, path, card)  # type: ignore[arg-type]


def _data_of(run: Path) -> dict[str, Any]:
    path = run / "data.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({reason_of(error)})") from error
    if not isinstance(data, dict) or not data.keys() >= {"sha256", "files", "validation"}:
        raise InputError(f"{path}: does not tell of a run's data; name a run's folder")
    return data


def _figures(card: Card) -> str:
    return "; ".join(
        f"{name} {', '.join(f'{metric} {value:g}' for metric, value in figures.items())}"
        for name, figures in card.measured.items()
    )


def _measure_pictures(weights: Path, benchmarks: Sequence[Path]) -> dict[str, dict[str, float]]:
    report = evaluate([weights], benchmarks, protocol=PAPERS)
    return {
        result.benchmark: {"psnr": round(result.psnr, 3), "ssim": round(result.ssim, 4)}
        for result in report.results
        if result.model != "bicubic"
    }


def _measure_scenes(weights: Path, file: Path) -> dict[str, float]:
    result = evaluate([weights], [file], convention="matlab").results[-1]
    return {name.lower(): round(result.mean(name), 4) for name in ("PSNR", "SSIM", "SAM", "ERGAS")}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="what to measure on")
    parser.add_argument(
        "--replace", action="store_true", help="put the new weights where weights are shipped"
    )
    given = parser.parse_args(arguments)
    try:
        for run in given.runs:
            ship(run, given.data, replace_shipped=given.replace)
    except VernierError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
