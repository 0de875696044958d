"""Put the weights of finished runs into the package, with measured cards.

    python tools/ship_weights.py runs/sesr-m5-x2 [runs/...] --data Set5 Set14

Measures each run's weights by the papers' protocol, completes their card with the figures, the
data and the licence, and writes both to ``src/vernier/weights``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import yaml

from vernier.evaluation import evaluate
from vernier.models import load_model, save_weights
from vernier.models.cards import WEIGHTS_FOLDER

LICENCE = (
    "Apache-2.0 for the file. Trained on BSDS500 (non-commercial research) and T91 (academic) "
    "beside CC0 photographs: for research use."
)


def ship(run: Path, benchmarks: list[Path]) -> None:
    """Measure and write one run's weights."""
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    data = json.loads((run / "data.json").read_text())
    model, card = load_model(run / "weights.safetensors")
    report = evaluate([run / "weights.safetensors"], benchmarks)
    measured = {
        result.benchmark: {"psnr": round(result.psnr, 3), "ssim": round(result.ssim, 4)}
        for result in report.results
        if result.model != "bicubic"
    }
    folders = ", ".join(Path(folder).name for folder in recipe["data"]["train"])
    weights = ":".join(f"{weight:g}" for weight in recipe["data"]["weights"])
    sizes = " and ".join(f"{factor:g}" for factor in recipe["data"]["downscales"])
    card = replace(
        card,
        recipe=f"recipes/{run.name}.yaml",
        data=(
            f"{len(data['files'])} pictures of {folders}, pixels drawn {weights}, at {sizes} of "
            f"their size; {len(data['validation'])} more held out for validation; "
            f"sha256 {data['sha256']}"
        ),
        measured=measured,
        licence=LICENCE,
    )
    path = WEIGHTS_FOLDER / f"{card.name}-x{card.scale}.safetensors"
    save_weights(model, path, card)  # type: ignore[arg-type]
    print(f"{path.name}: {measured}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", nargs="+", type=Path, required=True)
    arguments = parser.parse_args()
    for run in arguments.runs:
        ship(run, arguments.data)


if __name__ == "__main__":
    main()
