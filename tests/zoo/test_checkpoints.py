"""Weights out and in again, and one clear line for every file that is not what it should be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vernier.errors import InputError
from vernier.models.layers import FusionModel
from vernier.models.sesr import SESR
from vernier.zoo import cards
from vernier.zoo.cards import (
    Card,
    available_scales,
    file_sha256,
    load_card,
    read_weights,
    weights_path,
)
from vernier.zoo.checkpoints import load_model, new_card, save_weights
from vernier.zoo.creation import create_model
from vernier.zoo.registry import get_entry, list_models

SHIPPED = [(name, scale) for name in list_models() for scale in available_scales(name)]


def trained(name: str = "sesr-m3", scale: int = 2, **overrides: object) -> SESR:
    """Small, and with no zero slopes or biases."""
    model = create_model(name, scale=scale, **{"expansion": 16, **overrides})
    assert isinstance(model, SESR)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(-0.2, 0.3)
    return model.eval()


def card_of(model: SESR) -> Card:
    return replace(
        new_card(model, "sesr-m3"),
        recipe="test",
        data="noise",
        steps=7,
        measured={"Set5": {"psnr": 37.21, "ssim": 0.9577}},
        licence="Apache-2.0",
        notes="naïve ✓",
    )


@torch.no_grad()
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("deploy_first", [False, True])
def test_round_trip(tmp_path: Path, bias: bool, deploy_first: bool) -> None:
    model = trained(bias=bias)
    path = tmp_path / "m.safetensors"
    written = save_weights(model.deploy() if deploy_first else model, path, card_of(model))
    loaded, card = load_model(path, scale=2)
    lr = torch.rand(1, 1, 9, 7)
    assert torch.equal(loaded(lr), model.deploy()(lr))
    assert not loaded.training
    assert loaded.deployed
    assert loaded.config == model.config
    assert card == card_of(model)
    assert written == replace(card, sha256=file_sha256(path))
    assert Card.from_json(path.with_suffix(".json").read_text("utf-8"), "card") == written
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.json", "m.safetensors"]


@torch.no_grad()
def test_read_weights_gives_the_arrays_of_the_deployed_network(tmp_path: Path) -> None:
    model = trained(activation="prelu", bias=True)
    save_weights(model, tmp_path / "m.safetensors", card_of(model))
    arrays, card = read_weights(tmp_path / "m.safetensors")
    state = model.deploy().state_dict()
    assert arrays.keys() == state.keys()
    assert {"first.weight", "first.bias", "body.2.weight", "activations.0.weight"} <= arrays.keys()
    for key, array in arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, state[key].numpy())
    assert card.receptive_radius == get_entry("sesr-m3").facts.receptive_radius == 7


def test_saving_replaces_whole_files_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained()
    path = tmp_path / "m.safetensors"
    save_weights(model, path, card_of(model))
    before = path.read_bytes()

    def fail(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match=r"cannot be written \(disk full\)"):
        save_weights(trained(), path, card_of(model))
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.json", "m.safetensors"]


def test_saving_refuses_a_card_of_another_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the card describes sesr x2"):
        save_weights(trained(), tmp_path / "m.safetensors", card_of(trained(num_blocks=4)))
    with pytest.raises(InputError, match=r"written as \.safetensors, not m\.pth"):
        save_weights(trained(), tmp_path / "m.pth", card_of(trained()))
    assert not list(tmp_path.iterdir())


@torch.no_grad()
@pytest.mark.parametrize("suffix", [".pt", ".ckpt"])
@pytest.mark.parametrize("averaged", [False, True])
def test_training_checkpoint(tmp_path: Path, averaged: bool, suffix: str) -> None:
    model, average = trained(bias=True), trained(bias=True)
    path = tmp_path / f"last{suffix}"
    torch.save(
        {
            "model": {"name": "sesr-m3", "scale": 2, "expansion": 16, "bias": True},
            "weights": model.state_dict(),
            "ema": average.state_dict() if averaged else None,
            "step": 12,
        },
        path,
    )
    loaded, card = load_model(path)
    lr = torch.rand(1, 1, 8, 8)
    expected, other = (average, model) if averaged else (model, average)
    assert torch.equal(loaded(lr), expected.deploy()(lr))
    assert not torch.equal(loaded(lr), other.deploy()(lr))
    assert not loaded.training
    assert card == new_card(model, "sesr-m3")


@torch.no_grad()
def test_checkpoint_of_a_network_trained_in_deployed_form(tmp_path: Path) -> None:
    model = trained().deploy()
    config = {"name": "sesr-m3", "scale": 2, "expansion": 16}
    state = {"model": config, "deployed": True, "weights": model.state_dict(), "ema": None}
    torch.save(state, tmp_path / "a.pt")
    lr = torch.rand(1, 1, 8, 8)
    assert torch.equal(load_model(tmp_path / "a.pt")[0](lr), model(lr))


def _checkpoint(path: Path, **changes: object) -> None:
    state = {"model": {"name": "sesr-m3", "scale": 2, "expansion": 16}}
    torch.save(state | {"weights": trained().state_dict(), "ema": None} | changes, path)


def _truncated(path: Path) -> None:
    model = trained()
    save_weights(model, path, card_of(model))
    path.write_bytes(path.read_bytes()[:-100])


def _other_shape(path: Path) -> None:
    """Weights of one network with the card of another."""
    card = new_card(trained(num_blocks=4), "sesr-m3")
    save_file(trained().deploy().state_dict(), path, {"format": "vernier", "card": card.to_json()})


def _altered_card(path: Path, **changes: object) -> None:
    card = json.loads(card_of(trained()).to_json()) | changes
    metadata = {"format": "vernier", "card": json.dumps(card)}
    save_file(trained().deploy().state_dict(), path, metadata)


class _Custom:
    """What weights_only must refuse to build."""


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.safetensors", lambda p: p.write_bytes(b"no"), "not a readable safetensors file"),
        ("a.safetensors", _truncated, "not a readable safetensors file"),
        (
            "a.safetensors",
            lambda p: save_file({"x": torch.zeros(1)}, p),
            "those of no network that Vernier knows",
        ),
        ("a.safetensors", _other_shape, "lacks activations.3.weight|lacks body.3.weight"),
        ("a.safetensors", lambda p: _altered_card(p, scale=4), r"last.weight is \(4, 16, 5, 5\)"),
        (
            "a.safetensors",
            lambda p: _altered_card(p, config={"num_blocks": 2, "num_features": 16}),
            "has (body|activations).2.weight, which SESR does not know",
        ),
        ("a.safetensors", lambda p: _altered_card(p, colour="x"), "unknown card fields colour"),
        ("a.safetensors", lambda p: _altered_card(p, architecture="hut"), "unknown architecture"),
        (
            "a.safetensors",
            lambda p: save_file(
                {"x": torch.zeros(1)}, p, {"format": "vernier", "card": '{"name": "a"}'}
            ),
            "the card is incomplete",
        ),
        ("a.pt", lambda p: p.write_bytes(b"no"), "not a readable checkpoint"),
        ("a.pt", lambda p: p.write_bytes(b""), "not a readable checkpoint"),
        ("a.pt", lambda p: torch.save(_Custom(), p), "holds Python objects besides"),
        ("a.pt", lambda p: torch.save([1], p), "holds no tensors by name"),
        ("a.pt", lambda p: torch.save({"state_dict": {}}, p), "holds no tensors by name"),
        ("a.ckpt", lambda p: _checkpoint(p, model={"name": "sesr-m3"}), "tell name and scale"),
        (
            "a.ckpt",
            lambda p: _checkpoint(p, model={"name": "sesr-m3", "scale": 2, "width": 4}),
            "no argument 'width'",
        ),
        (
            "a.ckpt",
            lambda p: _checkpoint(p, model={"name": "sesr-m3", "scale": 2}),
            r"\(16, 1, 5, 5\)",
        ),
        ("a.npz", lambda p: p.write_bytes(b"no"), "not a readable npz"),
        ("a.npz", lambda p: np.savez(p, x=np.zeros(1)), "no official SESR weights"),
        ("a.npz", lambda p: np.savez(p, x=np.array([_Custom()])), "not a readable npz"),
        ("a.onnx", lambda p: p.write_bytes(b""), "weights are .safetensors, .pth, .pt, .ckpt"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(
    tmp_path: Path, name: str, write, message: str
) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / name
    write(path)
    with pytest.raises(InputError, match=message) as error:
        load_model(path)
    assert "\n" not in str(error.value)
    assert name in str(error.value) or "argument" in message or "architecture" in message


def test_neither_file_nor_model() -> None:
    with pytest.raises(
        InputError,
        match=r"^sesr-m33: no such weight file or model \(did you mean 'sesr-m3'\?\); `v",
    ):
        load_model("sesr-m33")
    with pytest.raises(InputError, match=r"^nofile\.pth: no such file$"):
        load_model("nofile.pth")
    with pytest.raises(InputError, match=r"no weight file nowhere\.safetensors"):
        read_weights("nowhere.safetensors")


def test_a_file_of_another_scale(tmp_path: Path) -> None:
    model = trained()
    save_weights(model, tmp_path / "m.safetensors", card_of(model))
    with pytest.raises(InputError, match="a model for scale 2, not 4"):
        load_model(tmp_path / "m.safetensors", scale=4)


@pytest.fixture
def weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that ships sesr-m3 for x2 and x4, nothing else."""
    for scale in (2, 4):
        model = trained(scale=scale)
        save_weights(model, tmp_path / f"sesr-m3-x{scale}.safetensors", card_of(model))
    monkeypatch.setattr(cards, "WEIGHTS_FOLDER", tmp_path)
    return tmp_path


def test_shipped_weights_by_name(weights_folder: Path) -> None:
    assert available_scales("sesr-m3") == (2, 4)
    assert available_scales("sesr-m5") == ()
    assert weights_path("sesr-m3", 3) is None
    model, card = load_model("sesr-m3", scale=4)
    assert (model.scale, card.scale) == (4, 4)
    assert card == load_card("sesr-m3", 4)
    assert card.sha256 == file_sha256(weights_folder / "sesr-m3-x4.safetensors")


def test_missing_shipped_weights_name_what_there_is(weights_folder: Path) -> None:
    with pytest.raises(InputError, match="no weights of sesr-m5 come with Vernier"):
        load_model("sesr-m5")
    with pytest.raises(InputError, match=r"no weights of sesr-m3 for scale 3 .* only 2, 4"):
        load_model("sesr-m3", scale=3)
    with pytest.raises(InputError, match="sesr-m3 has weights for scales 2, 4: choose one"):
        load_model("sesr-m3")
    (weights_folder / "sesr-m3-x2.safetensors").unlink()
    assert load_model("sesr-m3")[1].scale == 4


def test_damaged_shipped_weights_are_noticed(weights_folder: Path) -> None:
    path = weights_folder / "sesr-m3-x2.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        load_model("sesr-m3", scale=2)
    (weights_folder / "sesr-m3-x4.json").unlink()
    with pytest.raises(InputError, match="cannot read the card"):
        load_card("sesr-m3", 4)


def test_weights_come_with_the_package() -> None:
    assert {("sesr-m5", 2), ("sesr-m5", 4)} <= set(SHIPPED)


@pytest.mark.parametrize(("name", "scale"), SHIPPED)
def test_every_shipped_file_is_what_its_card_says(name: str, scale: int) -> None:
    path = weights_path(name, scale)
    assert path is not None
    arrays, embedded = read_weights(path)
    card = load_card(name, scale)
    assert card.sha256 == file_sha256(path)
    assert replace(embedded, sha256=card.sha256) == card
    assert (card.name, card.scale, card.form) == (name, scale, "deployed")
    assert card.measured
    assert card.licence
    assert card.data
    assert get_entry(name).config.items() <= card.config.items()
    model, _ = load_model(name, scale=scale)
    assert model.state_dict().keys() == arrays.keys()
    inputs = [torch.full((1, model.channels, 12, 12), 0.5)]
    if isinstance(model, FusionModel):
        inputs.append(torch.full((1, model.guide_channels, 12 * scale, 12 * scale), 0.5))
    assert (model(*inputs) - 0.5).abs().mean() < 0.05


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = create_model("sesr-m3", scale=2).deploy()
    key = list(model.state_dict())[2]
    model.state_dict()[key].view(-1)[0] = float("nan")
    path = tmp_path / "a.safetensors"
    save_weights(model, path, new_card(model, "sesr-m3"))
    for read in (load_model, read_weights):
        with pytest.raises(InputError, match=rf"not finite \(first: {key}\)"):
            read(path)
