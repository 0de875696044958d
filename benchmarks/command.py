"""The command line in fresh processes: from pressing return to the written file."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.material import MODEL, ROOT, SCALE, Settings, network, photograph
from benchmarks.phases import MODULES
from benchmarks.report import Column, Section, Table
from benchmarks.timing import Timing, interleave
from vernier.io import Picture, picture_size, write_picture
from vernier.zoo import new_card, save_weights, weights_path

__all__ = ["run"]

_SUFFIXES = (".png", ".jpg", ".webp")
_PHASES = ("interpreter", "import", "model", "decode", "network", "encode")
_TOP = 8


def run(settings: Settings) -> Section:
    height, width = settings.lr_size
    source = settings.folder / "source.png"
    write_picture(Picture(photograph(height, width)), source)
    model, note = network()
    weights = MODEL
    if not weights_path(MODEL, SCALE):
        weights = str(settings.folder / "weights.safetensors")
        save_weights(model, Path(weights), new_card(model, MODEL))
    engines = ("openvino",) if settings.quick else tuple(MODULES)
    targets = {
        (engine, suffix): settings.folder / f"{engine}{suffix}"
        for engine in engines
        for suffix in (_SUFFIXES[:1] if settings.quick else _SUFFIXES)
    }
    phases: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    calls: dict[str, Callable[[], object]] = {
        "python -c pass": partial(_python, "-c", "pass"),
        "vernier --help": partial(_python, "-m", "vernier", "--help"),
        "vernier --version": partial(_python, "-m", "vernier", "--version"),
    }
    for (engine, suffix), target in targets.items():
        command = ("upscale", str(source), "-o", str(target), "-n", weights, "--engine", engine)
        calls[f"{engine}{suffix}"] = partial(_python, "-m", "vernier", *command)

        def in_phases(key: tuple[str, str] = (engine, suffix), target: Path = target) -> None:
            phases[key].append(_phases(key[0], weights, source, target))

        calls[f"{engine}{suffix} in phases"] = in_phases
    timings = interleave(calls, repeats=settings.repeats)
    for target in targets.values():
        if picture_size(target)[:2] != (width * SCALE, height * SCALE):
            raise RuntimeError(f"{target.name} has not {SCALE} times the size of its source")
    notes = [
        f"{note} An 8-bit RGB picture of {width}x{height} from a PNG file, x{SCALE}, `vernier "
        "upscale` as a whole in fresh processes; files and programs are in the system's cache. "
        "Precision and quality are the defaults.",
        "The phases are those of another fresh process that calls the library step by step; "
        "model is reading the weights and building what executes them, network includes the "
        "compilation of the graph, which a second picture of the same run no longer needs.",
    ]
    return Section(
        "The command line",
        notes,
        [
            _command_table(targets, timings),
            _phase_table(targets, phases),
            *(_import_table(engine) for engine in engines),
            _start_table(timings),
        ],
    )


def _python(*arguments: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: {done.stderr.strip()}")
    return done.stdout


def _phases(engine: str, weights: str, source: Path, target: Path) -> dict[str, float]:
    started = time.time()
    arguments = (str(started), engine, weights, str(source), str(target))
    measured: dict[str, float] = json.loads(_python("-m", "benchmarks.phases", *arguments))
    return measured


def _command_table(targets: dict[tuple[str, str], Path], timings: dict[str, Timing]) -> Table:
    rows = [
        {
            "engine": engine,
            "format": suffix[1:],
            "seconds": asdict(timings[f"{engine}{suffix}"]),
            "megabytes": target.stat().st_size / 1e6,
        }
        for (engine, suffix), target in targets.items()
    ]
    columns = [
        Column("engine", "engine"),
        Column("format", "output"),
        Column("seconds", "whole command, s", "seconds"),
        Column("megabytes", "file, MB", "number"),
    ]
    return Table("`vernier upscale`", columns, rows)


def _phase_table(
    targets: dict[tuple[str, str], Path], phases: dict[tuple[str, str], list[dict[str, float]]]
) -> Table:
    rows: list[dict[str, Any]] = []
    for engine, suffix in targets:
        # The first process only fills the system's caches.
        measured = phases[engine, suffix][1:]
        row = {key: 1e3 * median(each[key] for each in measured) for key in (*_PHASES, "again")}
        total = sum(row[key] for key in _PHASES)
        rows.append({"engine": engine, "format": suffix[1:], **row, "total": total})
    columns = [
        Column("engine", "engine"),
        Column("format", "output"),
        *(Column(phase, phase, "number") for phase in _PHASES),
        Column("total", "sum", "number"),
        Column("again", "network, second picture", "number"),
    ]
    return Table("Its phases, ms", columns, rows)


def _import_table(engine: str) -> Table:
    """Own time of the imported modules, by the package they belong to."""
    code = f"import {', '.join(MODULES[engine])}"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    spent: dict[str, float] = defaultdict(float)
    for line in done.stderr.splitlines():
        fields = line.removeprefix("import time:").split("|")
        if len(fields) == 3 and fields[0].strip().isdecimal():
            package = fields[2].strip().partition(".")[0]
            standard = package in sys.stdlib_module_names
            spent["standard library" if standard else package] += int(fields[0]) / 1e3
    top = sorted(spent.items(), key=lambda item: item[1], reverse=True)[:_TOP]
    rows = [{"package": package, "milliseconds": value} for package, value in top]
    rows.append({"package": "all", "milliseconds": sum(spent.values())})
    columns = [Column("package", "package"), Column("milliseconds", "ms", "number")]
    return Table(f"Imports with the {engine} engine, by `-X importtime`", columns, rows)


def _start_table(timings: dict[str, Timing]) -> Table:
    names = ("python -c pass", "vernier --help", "vernier --version")
    rows = [{"name": f"`{name}`", "seconds": asdict(timings[name])} for name in names]
    columns = [Column("name", "command"), Column("seconds", "seconds", "seconds")]
    return Table("Answering at once", columns, rows)
