from __future__ import annotations

import sys
from types import SimpleNamespace

import psutil
import pytest
import torch

from vernier.devices import find_device, peak_memory
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
