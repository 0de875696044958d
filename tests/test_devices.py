from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from vernier import devices
from vernier.devices import (
    _left_in_groups,
    available_memory,
    find_device,
    memory_errors,
    peak_memory,
)
from vernier.errors import InputError


def test_the_cpu_is_always_there() -> None:
    assert find_device("cpu") == find_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["banana", "", "cuda:x", "cuda:-1", "meta", "hpu"])
def test_an_unknown_device_is_one_short_line(name: str) -> None:
    with pytest.raises(InputError) as caught:
        find_device(name)
    expected = f"unknown device {name!r}: choose cpu, cuda (cuda:1, ...) or mps"
    assert str(caught.value) == expected


@pytest.mark.parametrize("name", ["cuda:99", "mps:99"])
def test_a_device_that_is_not_there_says_what_is(name: str) -> None:
    with pytest.raises(InputError) as caught:
        find_device(name)
    assert str(caught.value).startswith(
        f"device {name!r} cannot be used: on this machine torch finds cpu"
    )
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
def test_a_gpu_is_found() -> None:
    assert find_device("cuda").type == "cuda"
    with pytest.raises(InputError, match="torch finds cpu, cuda:0"):
        find_device("cuda:99")


@pytest.mark.parametrize(
    ("system", "counted"), [("linux", 3 * 2**20), ("freebsd14", 3 * 2**20), ("darwin", 3 * 2**10)]
)
def test_the_peak_is_told_in_bytes_whatever_the_system_counts_in(
    monkeypatch: pytest.MonkeyPatch, system: str, counted: int
) -> None:
    usage = SimpleNamespace(ru_maxrss=3 * 2**10)
    fake = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: usage)
    monkeypatch.setitem(sys.modules, "resource", fake)
    monkeypatch.setattr(sys, "platform", system)
    assert peak_memory() == peak_memory(torch.device("cpu")) == counted


def test_the_peak_is_known_where_there_is_no_resource_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=1, peak_wset=5 * 2**20))
    # As an import of a module that does not exist.
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(psutil, "Process", lambda: process)
    assert peak_memory("cpu") == 5 * 2**20


def test_the_peak_covers_what_was_given_back() -> None:
    before = psutil.Process().memory_info().rss
    block = b"\1" * 2**28
    del block
    assert peak_memory() >= before + 2**27


@pytest.mark.parametrize(
    "told",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("Exception from x.cpp:224:\nFailed to allocate 384000000 bytes of memory"),
        RuntimeError("[CPU] Convolution node with name 'Convolution_1' can't alloc"),
        RuntimeError("could not create a memory object"),
        MemoryError("Unable to allocate 3 GiB for an array"),
    ],
)
def test_however_it_is_said_that_memory_ran_out_is_one_error(told: Exception) -> None:
    with pytest.raises(MemoryError), memory_errors():
        raise told


@pytest.mark.parametrize("other", [RuntimeError("shapes do not fit"), ValueError("no"), OSError(2)])
def test_other_errors_are_not_about_memory(other: Exception) -> None:
    with pytest.raises(type(other)) as caught, memory_errors():
        raise other
    assert caught.value is other


def control_group(folder: Path, version: int, limit: str, used: int, cache: int) -> None:
    """The files of a control group: ``cache`` bytes of those in use are files read."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (
        ("memory.max", "memory.current")
        if version == 2
        else (
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
        )
    )
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    total = "" if version == 2 else "total_"
    (folder / "memory.stat").write_text(
        f"anon 5\n{total}inactive_file {cache // 4}\n{total}active_file {cache - cache // 4}\n"
    )


MIB = 2**20


@pytest.mark.parametrize("version", [1, 2])
def test_what_was_read_from_files_does_not_count_as_taken(version: int, tmp_path: Path) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    membership.write_text("0::/box\n" if version == 2 else "5:cpu,memory:/box\n3:cpuset:/box\n")
    mount = root if version == 2 else root / "memory"
    control_group(mount / "box", version, str(2048 * MIB), used=1980 * MIB, cache=1800 * MIB)
    assert list(_left_in_groups(membership, root)) == [(2048 - 180) * MIB]


@pytest.mark.parametrize("version", [1, 2])
def test_every_group_above_the_process_limits_it(version: int, tmp_path: Path) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    membership.write_text(f"{'0:' if version == 2 else '5:memory'}:/a/b/c\n")
    mount = root if version == 2 else root / "memory"
    unlimited = "max" if version == 2 else str(2**63 - 4096)
    control_group(mount / "a" / "b" / "c", version, unlimited, used=10 * MIB, cache=0)
    control_group(mount / "a" / "b", version, str(100 * MIB), used=30 * MIB, cache=10 * MIB)
    control_group(mount / "a", version, str(500 * MIB), used=490 * MIB, cache=0)
    found = list(_left_in_groups(membership, root))
    assert min(found) == 10 * MIB
    assert 80 * MIB in found


def test_a_container_sees_its_group_at_the_root(tmp_path: Path) -> None:
    """The membership names the host's path, which is not there inside."""
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    membership.write_text("0::/system.slice/docker-0123.scope\n")
    control_group(root, 2, str(64 * MIB), used=40 * MIB, cache=8 * MIB)
    assert list(_left_in_groups(membership, root)) == [32 * MIB]


def test_without_control_groups_nothing_is_limited(tmp_path: Path) -> None:
    assert list(_left_in_groups(tmp_path / "none", tmp_path)) == []
    (tmp_path / "cgroup").write_text("0::/\n")
    assert list(_left_in_groups(tmp_path / "cgroup", tmp_path / "empty")) == []


def test_the_least_of_all_limits_is_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MIB < available_memory() < 2**50
    monkeypatch.setattr(devices, "_left_in_groups", lambda _: iter([3 * MIB, 7 * MIB]))
    assert available_memory() == 3 * MIB
    monkeypatch.setattr(devices, "_left_in_groups", lambda _: iter([-5]))
    assert available_memory() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems enforce no such limit")
def test_a_limit_of_the_address_space_limits_what_is_available() -> None:
    program = (
        "import resource, psutil\n"
        "from vernier.devices import available_memory\n"
        "most = psutil.Process().memory_info().vms + 64 * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        "print(available_memory() / 2**20)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 32 < float(said.stdout) <= 64, said.stderr


@pytest.mark.gpu
def test_of_a_card_its_own_memory_counts() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    before = available_memory("cuda")
    assert 0 < before <= total
    held = torch.empty(64 * MIB, dtype=torch.uint8, device="cuda")
    assert before - available_memory("cuda") >= 0.9 * held.numel()
