"""A network against a textbook's arithmetic of the same: seconds, peak memory, difference.

Every contestant has the same weights and input. Seconds are taken in turns in this process; peak
memory in a process of its own, from when the weights are loaded, conversion included.
"""

from __future__ import annotations

import copy
import importlib
import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn

from benchmarks.machine import limit_contestants, measured_limits
from benchmarks.material import ROOT, Settings, photograph, require
from benchmarks.report import Column, Section, Table
from benchmarks.timing import Timing, interleave
from vernier.analysis.complexity import complexity
from vernier.inference.engines.conversion import compile_network, convert_module
from vernier.models.layers import Model
from vernier.models.registry import family_entry

__all__ = ["CONTESTANTS", "Case", "compare", "picture"]

CONTESTANTS = {
    "textbook, eager": "fp32",
    "Vernier, torch": "fp32",
    "Vernier, torch, bf16 autocast": "bf16",
    "Vernier, OpenVINO": "fp32",
    "Vernier, OpenVINO, bf16": "bf16",
}
# Largest difference in fp32 of values in [0, 1], and lowest PSNR in bf16, from the textbook.
_FP32_DIFFERENCE, _BF16_PSNR = 1e-3, 30.0


@dataclass(frozen=True)
class Case:
    """One network at one size.

    Attributes:
        name: for the table.
        suite: module of this package whose ``build(key)`` gives (module, textbook, module to
            convert, examples to convert it by, input); a process of its own calls it again.
        key: what ``build`` takes.
        rounds: at most so many rounds, because one takes long.
    """

    name: str
    suite: str
    key: str
    rounds: int = 100


Built = tuple[
    nn.Module, Callable[[Tensor], Tensor], nn.Module, Sequence[tuple[Tensor, ...]], Tensor
]


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    """(1, channels, height, width) in [0, 1]: the example photograph, its bands repeated."""
    pixels = torch.from_numpy(photograph(height, width)).permute(2, 0, 1).float() / 255
    return pixels.repeat(-(-channels // 3), 1, 1)[None, :channels].contiguous()


def _build(case: Case) -> Built:
    built: Built = importlib.import_module(f"benchmarks.{case.suite}").build(case.key)
    return built


def _call(name: str, built: Built) -> Callable[[], Tensor]:
    """The contestant, ready to run."""
    module, textbook, to_convert, examples, x = built
    if name.startswith("textbook"):
        return torch.inference_mode()(lambda: textbook(x))
    bf16 = CONTESTANTS[name] == "bf16"
    if "OpenVINO" in name:
        core = ov.Core()
        graph = convert_module(copy.deepcopy(to_convert), examples, core, name)
        execute = compile_network(graph, core, "bf16" if bf16 else "fp32", _reconstruction(module))
        return lambda: torch.from_numpy(execute(x.numpy()))

    @torch.inference_mode()
    def call() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return module(x).float()

    return call


def _reconstruction(module: nn.Module) -> str | None:
    return family_entry(module.architecture).reconstruction if isinstance(module, Model) else None


def compare(title: str, cases: Sequence[Case], notes: list[str], settings: Settings) -> Section:
    """A table a case, and the machine's limits."""
    tables, limits = [], None
    for case in cases:
        built = _build(case)
        calls = {name: _call(name, built) for name in CONTESTANTS}
        limit_calls = limit_contestants(quick=settings.quick) if limits is None else {}
        timings = interleave({**calls, **limit_calls}, repeats=min(case.rounds, settings.repeats))
        limits = limits or measured_limits(timings, quick=settings.quick)
        outputs = {name: call().double().numpy() for name, call in calls.items()}
        macs = complexity(built[0], (built[4].shape[-2], built[4].shape[-1])).macs
        rows = [
            _row(name, outputs, timings, macs, limits.product[precision])
            for name, precision in CONTESTANTS.items()
        ]
        if not settings.quick:
            del calls, built
            for row in rows:
                row["memory"] = _peak_memory(case, row["name"], settings.threads) / 2**20
        tables.append(
            Table(f"{case.name}: {macs / 1e9:.1f} G multiply-accumulates", _columns(settings), rows)
        )
    assert limits is not None
    notes = [
        *notes,
        f"{settings.threads} threads. Ratios and differences are to the first row of each table. "
        "Memory is the peak above a process that has loaded torch and the weights; of OpenVINO it "
        "includes the conversion.",
    ]
    return Section(title, notes, [*tables, limits.table])


def _columns(settings: Settings) -> list[Column]:
    columns = [
        Column("name", "what computes"),
        Column("seconds", "seconds", "seconds"),
        Column("ratio", "speed", "ratio"),
        Column("gflops", "GFLOP/s", "number"),
        Column("share", "of the matrix product's", "percent"),
        Column("memory", "peak memory, MiB", "number"),
        Column("difference", "largest difference", "tiny"),
        Column("psnr", "PSNR to reference, dB", "number"),
    ]
    return [c for c in columns if c.key != "memory"] if settings.quick else columns


def _row(
    name: str,
    outputs: dict[str, Any],
    timings: dict[str, Timing],
    macs: int,
    limit: float,
) -> dict[str, Any]:
    first = next(iter(CONTESTANTS))
    reference = outputs[first]
    difference = float(np.abs(outputs[name] - reference).max())
    error = float(np.square(outputs[name] - reference).mean())
    psnr = -10 * math.log10(error) if error else None
    if CONTESTANTS[name] == "fp32":
        require(name, difference, _FP32_DIFFERENCE)
    elif psnr is not None:
        require(f"PSNR of {name}", -psnr, -_BF16_PSNR)
    seconds = timings[name].median
    return {
        "name": name,
        "precision": CONTESTANTS[name],
        "seconds": asdict(timings[name]),
        "ratio": timings[first].median / seconds,
        "gflops": 2e-9 * macs / seconds,
        "share": 2 * macs / seconds / limit,
        "difference": difference,
        "psnr": psnr,
    }


def _peak_memory(case: Case, contestant: str, threads: int) -> float:
    """Bytes, measured by this module run as a program."""
    question = json.dumps({**asdict(case), "contestant": contestant, "threads": threads})
    command = [sys.executable, "-m", "benchmarks.networks", question]
    return float(subprocess.check_output(command, text=True, cwd=ROOT))


def _resident() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def _measure_peak(question: dict[str, Any]) -> int:
    contestant, threads = question.pop("contestant"), question.pop("threads")
    torch.set_num_threads(threads)
    built = _build(Case(**question))
    before = peak = _resident()
    done = threading.Event()

    def watch() -> None:
        # The kernel's own high-water mark would include what importing took.
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        _call(contestant, built)()
    finally:
        done.set()
        watcher.join()
    return peak - before


if __name__ == "__main__":
    print(_measure_peak(json.loads(sys.argv[1])))
