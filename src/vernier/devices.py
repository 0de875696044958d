"""What the machine has: devices of torch, memory of host, container and card.

And one translation of "out of memory": torch says it in two ways and OpenVINO in a third, none of
which is Python's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from vernier.errors import InputError
from vernier.extras import optional_module

if TYPE_CHECKING:
    import torch

__all__ = ["ForkGuard", "available_memory", "find_device", "memory_errors", "peak_memory"]

# What the messages of torch, OpenVINO and oneDNN have in common when memory runs out.
_REFUSED = (
    "can't alloc",
    "cannot alloc",
    "failed to alloc",
    "unable to alloc",
    "out of memory",
    "bad_alloc",
    "could not create a memory",
    "out_of_memory",
)


def find_device(name: str | torch.device) -> torch.device:
    """The torch device of this name: cpu, cuda, cuda:1, ..., mps.

    Raises:
        InputError: no such device, or it cannot be used on this machine.
        MissingPackageError: torch is not installed.
    """
    framework = optional_module("torch")
    try:
        device: torch.device | None = framework.device(name)
    except RuntimeError:
        device = None
    # What else torch knows holds no values, or is not tested.
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"unknown device {str(name)!r}: choose cpu, cuda (cuda:1, ...) or mps")
    try:
        framework.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        found = ["cpu", *(f"cuda:{i}" for i in range(framework.cuda.device_count()))]
        if framework.backends.mps.is_available():
            found.append("mps")
        raise InputError(
            f"device {str(name)!r} cannot be used: on this machine torch finds {', '.join(found)}"
        ) from error
    return device


@contextmanager
def memory_errors() -> Iterator[None]:
    """Around work that may run out of memory: whoever says so, a MemoryError comes out.

    Every other error passes unchanged.

    Raises:
        MemoryError: torch, OpenVINO or Python ran out of memory, on the host or on the card.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error).lower()
        if not any(words in text for words in _REFUSED):
            raise
        raise MemoryError(str(error).strip().splitlines()[0]) from error


class ForkGuard:
    """Tells when threads that a library has made are gone, because the process was forked since.

    A fork has no threads but the one that made it, and what the library would wait for never comes.

    Args:
        library: for the message.
    """

    def __init__(self, library: str) -> None:
        self._library = library
        self._process: int | None = None

    def enter(self) -> None:
        """Call before the library's threads are used.

        Raises:
            InputError: they were used in the process that this one was forked from.
        """
        if self._process not in (None, os.getpid()):
            raise InputError(
                f"this process was forked after {self._library} had begun to work, and would wait "
                'for ever: fork before, or start processes with multiprocessing\'s "spawn"'
            )
        self._process = os.getpid()


def available_memory(device: str | torch.device = "cpu") -> int:
    """Bytes that can be taken now: of the card, or of the host without swapping.

    On the host the limits of the control groups that the process is in count too (page cache, which
    the kernel gives back, does not count as taken), and the limit of the address space.
    """
    kind = str(device).partition(":")[0]
    if kind == "cuda":
        cuda = import_module("torch").cuda
        free, _ = cuda.mem_get_info(device)
        # What torch holds but does not use it will use first.
        return int(free + cuda.memory_reserved(device) - cuda.memory_allocated(device))
    if kind == "mps":
        mps = import_module("torch").mps
        return int(max(mps.recommended_max_memory() - mps.driver_allocated_memory(), 0))
    free = psutil.virtual_memory().available
    return max(0, min([free, *_left_in_groups(Path("/proc/self/cgroup")), *_left_of_addresses()]))


def peak_memory(device: str | torch.device = "cpu") -> int:
    """Bytes that the process has needed at most so far: of the card, or of the host's memory.

    On a card it is what torch took for tensors. Apple's cards share the host's memory.
    """
    if str(device).partition(":")[0] == "cuda":
        return int(import_module("torch").cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    resource = import_module("resource")
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, all others count KiB.
    return peak if sys.platform == "darwin" else 1024 * peak


def _left_in_groups(membership: Path, root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """What each control group above the process leaves, of version 2 and of version 1."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, inside = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount = root / "memory" if controllers else root
        limit, usage = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if controllers
            else ("memory.max", "memory.current")
        )
        group = mount / inside.strip("/")
        # In a container the path may be the host's, while the mount begins at the container.
        groups = [group, *(p for p in group.parents if p.is_relative_to(mount))]
        for each in groups:
            try:
                stated = (each / limit).read_text().strip()
                used = int((each / usage).read_text())
                facts = dict(row.split() for row in (each / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):
                continue
            if stated == "max":
                continue
            total = "total_" if controllers else ""
            cache = sum(int(facts.get(f"{total}{kind}_file", 0)) for kind in ("active", "inactive"))
            yield int(stated) - max(used - cache, 0)


def _left_of_addresses() -> Iterator[int]:
    """What a limit of the address space (RLIMIT_AS) leaves, where systems have one."""
    try:
        resource = import_module("resource")
    except ImportError:
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        yield limit - psutil.Process().memory_info().vms
