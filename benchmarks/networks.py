"""A network against a textbook's arithmetic of the same: seconds, peak memory, difference.

Every contestant has the same weights and input. Seconds are taken in turns, in a process for each
case: an allocator that larger maps have taught to keep its memory would make the next case faster,
the textbook's most. Peak memory takes a process for each contestant, from when the weights are
loaded, conversion included.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.alone import ask, watch_memory
from benchmarks.machine import Limits, limit_contestants, measured_limits
from benchmarks.material import Settings, photograph, require
from benchmarks.report import Column, Section, Table
from benchmarks.timing import Timing, interleave, timing_of
from vernier.engines.openvino.conversion import convert_module
from vernier.engines.openvino.execution import compile_network
from vernier.models.layers import Model
from vernier.zoo.complexity import complexity
from vernier.zoo.facts import Reconstruction
from vernier.zoo.registry import facts_of

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
        alone: one call each in a process of its own, because all of them take long.
    """

    name: str
    suite: str
    key: str
    rounds: int = 100
    alone: bool = False


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
        converted = convert_module(to_convert, examples, core, name, model=module)
        multiple = getattr(module, "size_multiple", 1)
        precision = "bf16" if bf16 else "fp32"
        execute = compile_network(converted, core, precision, _reconstruction(module), multiple)
        return lambda: torch.from_numpy(execute(x.numpy()))

    @torch.inference_mode()
    def call() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return module(x).float()

    return call


def _reconstruction(module: nn.Module) -> Reconstruction | None:
    return facts_of(module).reconstruction if isinstance(module, Model) else None


def compare(
    title: str,
    cases: Sequence[Case],
    notes: list[str],
    settings: Settings,
    more: Callable[[Limits], Sequence[Table]] = lambda limits: (),
) -> Section:
    """A table a case, ``more`` tables of what the limits say, and the machine's limits."""
    chosen = [case for case in cases if re.search(settings.only, case.name)]
    if not chosen:
        raise SystemExit(f"no case holds {settings.only!r}: {', '.join(c.name for c in cases)}")
    calls = limit_contestants(quick=settings.quick)
    limits = measured_limits(interleave(calls, repeats=settings.repeats), quick=settings.quick)
    tables = []
    for case in chosen:
        module, *_, x = _build(case)
        macs = complexity(module, (x.shape[-2], x.shape[-1])).macs
        del module
        timings: dict[str, Timing] = {}
        outputs: dict[str, Any] = {}
        alone: dict[str, tuple[float, float, float | None]] = {}
        if not case.alone:
            timings, outputs = _run_in_turns(case, settings)
        if case.alone or not settings.quick:
            for name in CONTESTANTS:
                target = settings.folder / "output.npy"
                alone[name] = _run_alone(case, name, settings.threads, target)
                if case.alone:
                    outputs[name] = np.load(target).astype(np.float64)
                    timings[name] = timing_of([alone[name][0]])
        rows = [
            _row(name, outputs, timings, macs, limits.product[precision])
            for name, precision in CONTESTANTS.items()
        ]
        for row in rows:
            if alone:
                _, first, again = alone[row["name"]]
                row["memory"], row["again"] = first / 2**20, again and again / 2**20
        title_of_table = f"{case.name}: {macs / 1e9:.1f} G multiply-accumulates"
        tables.append(Table(title_of_table, _columns(with_memory=bool(alone)), rows))
    if settings.only:
        notes = [*notes, f"Not all cases: `--only '{settings.only}'`."]
    notes = [
        *notes,
        f"{settings.threads} threads. Ratios and differences are to the first row of each table. "
        "Memory is the peak above a process that has loaded torch and the weights; of OpenVINO it "
        "includes the conversion, which the next process finds done.",
    ]
    return Section(title, notes, [*tables, *more(limits), limits.table])


def _columns(*, with_memory: bool) -> list[Column]:
    columns = [
        Column("name", "what computes"),
        Column("seconds", "seconds", "seconds"),
        Column("ratio", "speed", "ratio"),
        Column("gflops", "GFLOP/s", "number"),
        Column("share", "of the matrix product's", "percent"),
        Column("memory", "peak memory, MiB", "number"),
        Column("again", "of the next process", "number"),
        Column("difference", "largest difference", "tiny"),
        Column("psnr", "PSNR to reference, dB", "number"),
    ]
    return columns if with_memory else [c for c in columns if c.key not in ("memory", "again")]


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


def _run_in_turns(
    case: Case, settings: Settings
) -> tuple[dict[str, Timing], dict[str, NDArray[np.float64]]]:
    """All contestants in one process, by this module run as a program."""
    target = settings.folder / "outputs.npz"
    repeats = min(case.rounds, settings.repeats)
    question = {**asdict(case), "repeats": repeats, "threads": settings.threads, "to": str(target)}
    (timings,) = ask("benchmarks.networks", question)
    with np.load(target) as outputs:
        return {name: Timing(**timing) for name, timing in timings.items()}, dict(outputs)


def _noting(name: str, call: Callable[[], Tensor], outputs: dict[str, Any]) -> Callable[[], object]:
    """The call, which also leaves its result."""

    def noting() -> None:
        result = call()
        if name not in outputs:
            outputs[name] = result.double().numpy()

    return noting


def _run_alone(
    case: Case, contestant: str, threads: int, target: Path
) -> tuple[float, float, float | None]:
    """Seconds of one call and peak bytes, by this module run as a program; output in ``target``.

    The last is the peak of OpenVINO in another process, which finds the network converted.
    """
    question = {**asdict(case), "contestant": contestant, "threads": threads, "to": str(target)}
    (seconds, peak), *again = ask("benchmarks.networks", question, 1 + ("OpenVINO" in contestant))
    return seconds, peak, again[0][1] if again else None


def _answer(question: dict[str, Any]) -> Any:
    """What `_run_in_turns` or `_run_alone` asks for; outputs go to a file."""
    contestant, repeats = question.pop("contestant", None), question.pop("repeats", 0)
    threads, target = question.pop("threads"), question.pop("to")
    torch.set_num_threads(threads)
    built = _build(Case(**question))
    if contestant is None:
        outputs: dict[str, Any] = {}
        calls = {name: _noting(name, _call(name, built), outputs) for name in CONTESTANTS}
        timings = interleave(calls, repeats=repeats)
        np.savez(target, **outputs)
        return {name: asdict(timing) for name, timing in timings.items()}
    with watch_memory() as peak:
        call = _call(contestant, built)
        start = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - start
    np.save(target, result.numpy())
    return seconds, peak.size


if __name__ == "__main__":
    print(json.dumps(_answer(json.loads(sys.argv[1]))))
