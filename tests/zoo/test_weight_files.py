"""Weight files that lie, or are damaged: one line each, before memory is taken."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

import vernier
from vernier.errors import InputError
from vernier.models.sesr import SESR
from vernier.zoo.checkpoints import load_model, new_card, peek
from vernier.zoo.networks import networks_of
from vernier.zoo.weight_files import check_config, kind_of


def sesr() -> SESR:
    torch.manual_seed(0)
    return SESR(scale=2, num_blocks=3, num_features=16, expansion=8)


def card_text(**changes: Any) -> str:
    return json.dumps(json.loads(new_card(sesr(), "sesr-m3").to_json()) | changes)


def write(path: Path, card: str, dtype: torch.dtype = torch.float32) -> None:
    state = {key: tensor.to(dtype) for key, tensor in sesr().deploy().state_dict().items()}
    save_file(state, path, {"format": "vernier", "card": card})


CONFIG = sesr().config
CARDS: dict[str, tuple[str, str]] = {
    "architecture a list": (card_text(architecture=["sesr"]), "architecture must be a text"),
    "architecture unknown": (card_text(architecture="../../etc"), "unknown architecture"),
    "another architecture": (card_text(architecture="hat"), "no argument 'num_blocks'"),
    "config null": (card_text(config=None), "config must be arguments by name, not null"),
    "config a list": (card_text(config=[1]), "config must be arguments by name"),
    "blocks without end": (
        card_text(config={**CONFIG, "num_blocks": 10**9}),
        "it says num_blocks 1000000000, but holds 8 tensors",
    ),
    "features without end": (
        card_text(config={**CONFIG, "num_features": 10**9}),
        "it says num_features 1000000000",
    ),
    "blocks a flag": (card_text(config={**CONFIG, "num_blocks": True}), "config|has "),
    "blocks a text": (card_text(config={**CONFIG, "num_blocks": "3"}), "config|cannot be built"),
    "blocks a fraction": (card_text(config={**CONFIG, "num_blocks": 3.5}), "config|be built"),
    "blocks below zero": (card_text(config={**CONFIG, "num_blocks": -3}), "config|at least 1"),
    "scale null": (card_text(scale=None), "scale must be a whole number from 1 to 1024, not null"),
    "scale a text": (card_text(scale="2"), 'scale must be a whole number .*not "2"'),
    "scale a list": (card_text(scale=[2]), "scale must be a whole number"),
    "scale a fraction": (card_text(scale=2.0), "scale must be a whole number"),
    "scale a flag": (card_text(scale=True), "scale must be a whole number"),
    "scale zero": (card_text(scale=0), "scale must be a whole number"),
    "scale without end": (card_text(scale=10**9), "scale must be a whole number"),
    "another scale": (card_text(scale=3), r"last.weight is \(4, 16, 5, 5\), expected \(9, 16"),
    "radius a text": (card_text(receptive_radius="7"), "receptive_radius must be null or a whole"),
    "radius zero": (card_text(receptive_radius=0), "receptive_radius 0, that of its network is 7"),
    "radius below zero": (card_text(receptive_radius=-1), "receptive_radius must be"),
    "radius a fraction": (card_text(receptive_radius=7.5), "receptive_radius must be"),
    "radius without end": (card_text(receptive_radius=10**12), "receptive_radius must be"),
    "another radius": (card_text(receptive_radius=9), "receptive_radius 9, that of its network"),
    "name null": (card_text(name=None), "name must be a name in one line"),
    "name of two lines": (card_text(name="a\nb"), "name must be a name in one line"),
    "form unknown": (card_text(form="x"), "form must be"),
    "steps a text": (card_text(steps="many"), "steps must be a whole number"),
    "measured a list": (card_text(measured=[1]), "measured must be numbers by name"),
    "measured texts": (card_text(measured={"Set5": {"psnr": "high"}}), "measured must be"),
    "wavelengths a text": (card_text(wavelengths="400"), "wavelengths must be a list of numbers"),
    "notes a number": (card_text(notes=3), "notes must be a text"),
    "nested too deeply": ("[" * 100_000, "the card is not JSON: it is nested too deeply"),
    "a number of 5000 digits": (
        card_text(steps=7).replace(": 7", ": " + "9" * 5000),
        "the card is not JSON",
    ),
    "no object": ("3", "the card is not a JSON object"),
}


def assert_one_line(path: Path, message: str) -> None:
    for read in (load_model, lambda p: [make() for make in networks_of(p).values()]):
        with pytest.raises(InputError, match=message) as error:
            read(path)
        told = str(error.value)
        assert told.isprintable()
        assert len(told) < 400


@pytest.mark.parametrize("what", CARDS)
def test_a_card_that_lies_is_one_line(what: str, tmp_path: Path) -> None:
    text, message = CARDS[what]
    write(tmp_path / "a.safetensors", text)
    assert_one_line(tmp_path / "a.safetensors", message)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_bfloat16_is_an_honest_type(engine: Any, tmp_path: Path) -> None:
    """Without torch, too: the engine reads a SESR from its arrays."""
    path = tmp_path / "a.safetensors"
    write(path, card_text(), torch.bfloat16)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    result = vernier.Upscaler(path, engine=engine, precision="fp32").upscale_array(pixels)
    model = sesr().deploy()
    model.load_state_dict({k: t.bfloat16().float() for k, t in model.state_dict().items()})
    expected = vernier.Upscaler(model, engine=engine, precision="fp32").upscale_array(pixels)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu, torch.complex64]
)
def test_a_type_that_is_not_read_is_named(dtype: torch.dtype, tmp_path: Path) -> None:
    write(tmp_path / "a.safetensors", card_text(), dtype)
    assert_one_line(tmp_path / "a.safetensors", "is of the type (F8|C64).*save it as F32")


def framed(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def part(shape: list[int], end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}


SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "nested too deeply": (framed(b'{"a":' + b"[" * 100_000), "not a readable safetensors file"),
    "a header without end": (struct.pack("<Q", 10**9) + b"{", "not a readable safetensors|cut"),
    "more than there is": (framed({"x": part([10**9], 4 * 10**9)}), "not a readable safetensors"),
    "a product that overflows": (framed({"x": part([2**40] * 3, 4)}), "not a readable safe"),
    "metadata a list": (framed({"__metadata__": [1]}), "not a readable safetensors file"),
    "nothing": (framed({}), "holds no tensors by name"),
    "a foreign network": (
        framed({"a\x1b[2J": part([1], 4)}, bytes(4)),
        r"its tensors \(a\\x1b\[2J, ...\) are those of no network",
    ),
}


@pytest.mark.parametrize("what", SAFETENSORS)
def test_safetensors_that_lie_are_one_line(what: str, tmp_path: Path) -> None:
    content, message = SAFETENSORS[what]
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert_one_line(path, message)
    with pytest.raises(InputError):
        peek(path)


def training(**changes: object) -> object:
    config = {"name": "sesr-m3", "scale": 2, "expansion": 8}
    return {"model": config, "weights": sesr().state_dict(), "ema": None} | changes


CHECKPOINTS: dict[str, tuple[object, str]] = {
    "name a list": (training(model={"name": ["a"], "scale": 2}), "tell name and scale"),
    "scale a text": (training(model={"name": "sesr-m3", "scale": "2"}), "tell name and scale"),
    "an argument's name a number": (
        training(model={"name": "sesr-m3", "scale": 2, 3: 4}),
        "tell name and scale",
    ),
    "model a number": (training(model=3), "tell name and scale"),
    "weights a number": (training(weights=5), "holds no tensors by name"),
    "weights of numbers": (training(weights={"first": 1.5}), "holds no tensors by name"),
    "an average that is a tensor": (training(ema=torch.zeros(3)), "holds no tensors by name"),
    "blocks without end": (
        training(model={"name": "sesr-m3", "scale": 2, "num_blocks": 10**9}),
        "it says num_blocks 1000000000",
    ),
    "a width without end": (
        training(model={"name": "sesr-m3", "scale": 2, "expansion": 10**12}),
        "it says expansion 1000000000000",
    ),
    "names that move the cursor": (
        {"a\n\x1b[2J[red]first.weight": torch.zeros(1)},
        "those of no network",
    ),
    "a tensor that is spread out": (
        {"params": {"x": torch.zeros(1).expand(10**6, 10**6)}},
        "declares more values than the file|those of no network",
    ),
}


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_a_checkpoint_that_lies_is_one_line(what: str, tmp_path: Path) -> None:
    content, message = CHECKPOINTS[what]
    torch.save(content, tmp_path / "a.ckpt")
    assert_one_line(tmp_path / "a.ckpt", message)


def npy(array: np.ndarray, claimed: tuple[int, ...] | None = None) -> bytes:
    file = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(file, header | ({"shape": claimed} if claimed else {}))
    return file.getvalue() + array.tobytes()


def archive(path: Path, name: str, content: bytes, **how: Any) -> None:
    with zipfile.ZipFile(path, "w", **how) as file:
        file.writestr(name, content)


def patched(path: Path, where: int, value: int) -> None:
    """A field of two bytes in both of an archive's headers: 6 the flags, 8 the packing."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, where, value)
    struct.pack_into("<H", content, content.index(b"PK\x01\x02") + where + 2, value)
    path.write_bytes(content)


def damaged(path: Path) -> None:
    archive(path, "x.npy", npy(np.zeros(99)), compression=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    content[40:50] = b"\xff" * 10
    path.write_bytes(content)


def encrypted(path: Path) -> None:
    archive(path, "x.npy", npy(np.zeros(9)))
    patched(path, 6, 1)


def of_unknown_packing(path: Path) -> None:
    archive(path, "x.npy", npy(np.zeros(9)))
    patched(path, 8, 99)


ARCHIVES: dict[str, tuple[Callable[[Path], None], str]] = {
    "damaged": (damaged, "not a readable npz file"),
    "encrypted": (encrypted, "not a readable npz file: .*encrypted"),
    "an unknown packing": (of_unknown_packing, "not a readable npz file"),
    "a text": (lambda p: archive(p, "last.txt", b"no"), "not a readable npz file"),
    "a claim": (
        lambda p: archive(p, "x.npy", npy(np.zeros(9), (10**6, 10**6))),
        "x.npy declares more values than the file holds",
    ),
    "a bomb": (
        lambda p: archive(p, "x.npy", bytes(2**28), compression=zipfile.ZIP_DEFLATED),
        r"declares 0.2 GiB in a file of 0\.\d MiB: these are no weights",
    ),
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_that_lies_is_one_line(what: str, tmp_path: Path) -> None:
    make, message = ARCHIVES[what]
    make(tmp_path / "a.npz")
    assert_one_line(tmp_path / "a.npz", message)


def test_a_checkpoint_is_no_bomb_either(tmp_path: Path) -> None:
    plain = tmp_path / "plain.pth"
    torch.save({"params": {"x": torch.zeros(2**26)}}, plain)
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for info in source.infolist():
            target.writestr(info.filename, source.read(info))
    assert_one_line(tmp_path / "a.pth", "declares 0.3 GiB in a file of .* these are no weights")


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x05\x06" + bytes(18), b"version https"])
def test_a_file_of_no_known_kind_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(InputError, match=r"weights are .safetensors, .*this file holds none"):
        kind_of(tmp_path / "a.bin")


def test_the_kind_of_a_file_is_in_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(save({"x": torch.zeros(1)}))
    assert kind_of(path) == "safetensors"
    torch.save({"x": torch.zeros(1)}, path)
    assert kind_of(path) == "torch"
    torch.save({"x": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    assert kind_of(path) == "torch"
    with path.open("wb") as file:
        np.savez(file, x=np.zeros(1))
    assert kind_of(path) == "npz"


def test_arguments_of_honest_networks_are_not_too_large() -> None:
    for name in vernier.list_models():
        for scale in vernier.zoo.available_scales(name):
            model, card = load_model(name, scale)
            shapes = [tuple(tensor.shape) for tensor in model.state_dict().values()]
            check_config({"scale": scale, **card.config}, shapes, Path("a"))
