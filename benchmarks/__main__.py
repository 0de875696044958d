"""``python -m benchmarks``: run suites, write their results."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import torch

from benchmarks.machine import QUIET, cores, environment
from benchmarks.material import ROOT, Settings
from benchmarks.report import merged, render, write

SUITES = (
    "inference",
    "hat",
    "grla",
    "psrt",
    "tiles",
    "training",
    "resize",
    "command",
    "stability",
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; all")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks.md")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results.json")
    parser.add_argument("--repeats", type=int, default=7, help="rounds; default 7")
    parser.add_argument("--data", type=Path, help="training pictures; default: made from one")
    parser.add_argument(
        "--weights",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="of one more network for tiles; can be given several times",
    )
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help="of hat, grla, psrt the cases that hold it"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one round of tiny sizes; give --output and --json"
    )
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.suites) - set(SUITES):
        parser.error(f"unknown suite {', '.join(unknown)}; known: {', '.join(SUITES)}")
    if missing := [str(path) for path in arguments.weights if not path.is_file()]:
        parser.error(f"no such file: {', '.join(missing)}")
    if arguments.repeats < 1:
        parser.error("--repeats must be at least 1")
    if arguments.quick and parser.get_default("json") == arguments.json:
        parser.error("--quick measures nothing worth keeping: name other files (--output, --json)")

    machine = environment()
    quiet = machine["busy_cores"] <= QUIET
    if not quiet:
        print(f"warning: others keep {machine['busy_cores']:.2f} cores busy", file=sys.stderr)
    # On tiny sizes threads only wait for each other.
    repeats, threads = (1, 1) if arguments.quick else (arguments.repeats, cores())
    machine |= {"quiet": quiet, "quick": arguments.quick, "repeats": repeats}
    torch.set_num_threads(threads)
    # Beyond the limit torch would silently go on uncompiled; every variant here is a compilation.
    torch._dynamo.config.recompile_limit = 64
    for name in arguments.suites or SUITES:
        print(name, file=sys.stderr)
        suite = importlib.import_module(f"benchmarks.{name}")
        with (
            tempfile.TemporaryDirectory(prefix="vernier-benchmarks-") as folder,
            # The user's own converted networks stay.
            mock.patch.dict(os.environ, {"VERNIER_CACHE": str(Path(folder) / "converted")}),
        ):
            section = suite.run(
                Settings(
                    repeats,
                    arguments.quick,
                    threads,
                    Path(folder),
                    arguments.data,
                    arguments.weights,
                    arguments.only,
                )
            )
        text = merged(arguments.json, name, section, machine)
        write(arguments.json, text)
        write(arguments.output, render(json.loads(text)))


if __name__ == "__main__":
    main()
