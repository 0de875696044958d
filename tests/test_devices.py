from __future__ import annotations

import pytest
import torch

from vernier.devices import find_device
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
