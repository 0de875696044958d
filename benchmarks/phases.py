"""Upscale one picture in a fresh process and print, as JSON, the seconds that each phase took.

``python -m benchmarks.phases STARTED ENGINE MODEL SOURCE TARGET``: what ``vernier upscale`` does,
step by step. STARTED is the ``time.time()`` at which the process was started.
"""

import importlib
import json
import sys
import time
from pathlib import Path

ENTERED = time.time()

# What the command imports, by engine.
MODULES = {
    "openvino": ("vernier.cli", "vernier.upscaling", "vernier.upscaling.pixels.openvino"),
    "torch": ("vernier.cli", "vernier.upscaling", "vernier.upscaling.pixels.pytorch"),
}


def main(started: float, engine: str, model: str, source: Path, target: Path) -> None:
    phases = {"interpreter": ENTERED - started}
    last = time.perf_counter()

    def ends(phase: str) -> None:
        nonlocal last
        now = time.perf_counter()
        phases[phase] = now - last
        last = now

    for module in MODULES[engine]:
        importlib.import_module(module)
    ends("import")
    from vernier.io import read_picture, write_picture
    from vernier.upscaling import Upscaler

    upscaler = Upscaler(model, engine=engine)  # type: ignore[arg-type]
    ends("model")
    picture = read_picture(source)
    ends("decode")
    result = upscaler.upscale(picture).picture
    ends("network")
    write_picture(result, target)
    ends("encode")
    upscaler.upscale(picture)
    ends("again")
    print(json.dumps(phases))


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5]))
