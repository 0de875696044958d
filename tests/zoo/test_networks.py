"""The one road to a network: what is read, how often, and what is copied."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vernier
from vernier.errors import InputError
from vernier.models.edsr import EDSR
from vernier.models.hat import HAT
from vernier.zoo import (
    create_model,
    find_network,
    fuses_cubes,
    load_model,
    networks_of,
    new_card,
    peek,
    save_weights,
    weights_path,
)
from vernier.zoo.official.hat import official_state

_opened: list[str] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | Path):
        _opened.append(str(arguments[0]))


@contextmanager
def opened() -> Iterator[list[str]]:
    """The files that are opened inside."""
    if not hasattr(opened, "hooked"):
        sys.addaudithook(_note)
        opened.hooked = True  # type: ignore[attr-defined]
    _opened.clear()
    found: list[str] = []
    try:
        yield found
    finally:
        found += _opened


def hat() -> HAT:
    return HAT(scale=2, embed_dim=12, depths=(1,), num_heads=(2,), window_size=4, squeeze_factor=6)


def safetensors(folder: Path) -> Path:
    model = create_model("edsr-small", scale=2, num_blocks=1)
    save_weights(model, folder / "a.safetensors", new_card(model, "a"))
    return folder / "a.safetensors"


def published(folder: Path) -> Path:
    torch.save({"params_ema": official_state(hat())}, folder / "a.pth")
    return folder / "a.pth"


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_weight_file_is_opened_once(engine: Any, tmp_path: Path) -> None:
    path = safetensors(tmp_path)
    with opened() as found:
        upscaler = vernier.Upscaler(path, engine=engine)
        upscaler.upscale_array(np.zeros((20, 30, 3), np.uint8))
    assert found.count(str(path)) == 1


def test_shipped_weights_are_opened_once(tmp_path: Path) -> None:
    path = weights_path("sesr-m3", 2)
    assert path is not None
    for load in (lambda: find_network("sesr-m3", 2).module(), lambda: load_model("sesr-m3", 2)):
        with opened() as found:
            load()
        assert found.count(str(path)) == 1


@pytest.mark.parametrize("write", [safetensors, published])
def test_a_file_is_loaded_once_and_not_copied(
    write: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("copied")

    for kind in (EDSR, HAT):
        monkeypatch.setattr(kind, "deploy", fail)
        monkeypatch.setattr(kind, "skeleton", fail)
        monkeypatch.setattr(kind, "__deepcopy__", fail, raising=False)
    network = find_network(path)
    assert network.module() is network.module()
    assert network.card is not None


def test_the_card_of_a_checkpoint_is_kept(tmp_path: Path) -> None:
    network = find_network(published(tmp_path))
    assert network.card == load_model(tmp_path / "a.pth")[1]
    assert network.card is not None
    assert "as published" in network.card.notes


def training_checkpoint(folder: Path) -> Path:
    model = create_model("psrt-s", scale=4, bands=4)
    content = {"model": {"name": "psrt-s", "scale": 4, "bands": 4}, "weights": model.state_dict()}
    torch.save(content, folder / "a.ckpt")
    return folder / "a.ckpt"


def before_zip(folder: Path) -> Path:
    state = official_state(hat())
    torch.save(state, folder / "a.pt", _use_new_zipfile_serialization=False)
    return folder / "a.pt"


@pytest.mark.parametrize(
    ("write", "architecture", "cubes"),
    [
        (safetensors, "edsr", False),
        (published, "hat", False),
        (training_checkpoint, "psrt", True),
        (before_zip, "hat", False),
    ],
)
def test_what_a_file_holds_is_told_without_its_tensors(
    write: Callable[[Path], Path], architecture: str, cubes: bool, tmp_path: Path
) -> None:
    path = write(tmp_path)
    assert peek(path) == architecture
    assert fuses_cubes(path) == cubes
    assert load_model(path)[1].architecture == architecture
    # Tensors that are damaged do not matter yet.
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4] = bytes(4)
    if write is safetensors:
        content = content[:middle]
    path.write_bytes(content)
    assert peek(path) == architecture


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"", "not a readable safetensors file"),
        ("a.safetensors", b"\xff" * 32, "not a readable safetensors file: it is cut off"),
        ("a.safetensors", b"\x02" + bytes(7) + b"{}", "holds no tensors by name"),
        ("a.safetensors", b"\x02" + bytes(7) + b"[]", "not a readable safetensors file"),
        ("a.safetensors", b"\x12" + bytes(7) + b'{"__metadata__":3}', "not a readable safeten"),
        ("a.pth", b"nothing", "is not a readable checkpoint"),
        ("a.onnx", b"", r"weights are \.safetensors"),
    ],
)
def test_what_cannot_be_told_is_one_line(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    for road in (peek, load_model, networks_of):
        with pytest.raises(InputError, match=message.replace(": it is cut off", "")) as error:
            road(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=message):
        peek(tmp_path / name)


def test_names_tell_what_they_are() -> None:
    assert (peek("sesr-m5"), peek("psrt-ka3"), peek("mine.net:Net")) == (
        "sesr",
        "psrt",
        "mine.net:Net",
    )
    assert fuses_cubes("psrt-s")
    assert not fuses_cubes("hat")
    with pytest.raises(InputError, match="did you mean 'sesr-xl'"):
        peek("sesr-xxl")
