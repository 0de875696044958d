"""The machine: what it is, and what it can do at most."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import vernier
from benchmarks.report import Column, Table
from benchmarks.timing import Timing

__all__ = ["QUIET", "Limits", "cores", "environment", "limit_contestants", "measured_limits"]

# Cores that others may keep busy while this process waits.
QUIET = 0.1
_WATCHED_SECONDS = 3.0
_PACKAGES = ("torch", "openvino", "onnxruntime", "numpy", "pyvips")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def cores() -> int:
    """Processors that this process may use (see ``taskset``)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": cores(),
        "busy_cores": _busy_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "vernier": vernier.__version__,
            **{package: version(package) for package in _PACKAGES},
        },
    }


def _busy_cores() -> float:
    """What others compute now. The load average would still remember the suite before."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return os.getloadavg()[0]

    def idle_and_all() -> tuple[int, int]:
        # user, nice, system, idle, iowait, irq, softirq, steal of all cores together
        ticks = [int(word) for word in stat.read_text().split("\n")[0].split()[1:9]]
        return ticks[3] + ticks[4], sum(ticks)

    idle, total = idle_and_all()
    time.sleep(_WATCHED_SECONDS)
    idle_then, total_then = idle_and_all()
    return (os.cpu_count() or 1) * (1 - (idle_then - idle) / max(total_then - total, 1))


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass(frozen=True)
class Limits:
    """The fastest matrix products by precision (FLOP/s), and memory traffic (bytes/s)."""

    product: Mapping[str, float]
    traffic: float
    table: Table


def limit_contestants(*, quick: bool) -> dict[str, Callable[[], object]]:
    """To be timed in the same rounds as what they are the limits of."""
    contestants: dict[str, Callable[[], object]] = {}
    for side in _sides(quick):
        for precision, dtype in _DTYPES.items():
            a, b = (torch.rand(side, side).to(dtype) for _ in range(2))
            contestants[f"{precision} {side}"] = lambda a=a, b=b: a @ b  # type: ignore[misc]
    source = torch.rand(_copied(quick) // 4)
    target = torch.empty_like(source)
    contestants["copy"] = lambda: target.copy_(source)
    return contestants


def measured_limits(timings: Mapping[str, Timing], *, quick: bool) -> Limits:
    """From the timings of `limit_contestants`; the better of two sizes counts."""
    rows, product = [], {}
    for precision in _DTYPES:
        reached = {
            side: 2 * side**3 / timings[f"{precision} {side}"].median for side in _sides(quick)
        }
        product[precision] = max(reached.values())
        for side, flops in reached.items():
            what = f"matrix product {precision}, {side} x {side} x {side}"
            rows.append({"limit": what, "value": flops / 1e9, "unit": "GFLOP/s"})
    traffic = 2 * _copied(quick) / timings["copy"].median
    what = f"memory copy of {_copied(quick) >> 20} MiB, read and written"
    rows.append({"limit": what, "value": traffic / 1e9, "unit": "GB/s"})
    columns = [
        Column("limit", "what torch reaches here"),
        Column("value", "", "number"),
        Column("unit", ""),
    ]
    return Limits(product, traffic, Table("The machine's own limits", columns, rows))


def _sides(quick: bool) -> tuple[int, ...]:
    return (32, 64) if quick else (2048, 4096)


def _copied(quick: bool) -> int:
    """Bytes of the copied array, more than any cache holds."""
    return 2**20 if quick else 2**28
