"""Weights written for other tools, from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import vernier
from vernier.errors import InputError
from vernier.exporting import export_weights
from vernier.models.hat import HAT
from vernier.zoo import create_model, load_model
from vernier.zoo.checkpoints import new_card
from vernier.zoo.official.hat import official_state


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A small HAT as its authors would publish it."""
    model = HAT(scale=2, embed_dim=12, depths=(2,), num_heads=(2,), window_size=4, squeeze_factor=6)
    torch.save({"params_ema": official_state(model)}, tmp_path / "published.pth")
    return tmp_path / "published.pth"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_family_without_a_layout_of_its_authors(tmp_path: Path) -> None:
    model, card = load_model("sesr-m5", scale=2)
    with pytest.raises(InputError, match=r"sesr has no \.pth layout"):
        export_weights(model, card, tmp_path / "a.pth")
    export_weights(model, card, tmp_path / "a.safetensors")
    assert load_model(tmp_path / "a.safetensors")[1].name == "sesr-m5"


def test_nothing_is_left_half_written(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = load_model(published)
    target = published.parent / "a.pth"
    target.write_bytes(b"before")

    def fail(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match=r"a\.pth: cannot be written \(disk full\)"):
        export_weights(model, new_card(model, "hat"), target)
    assert target.read_bytes() == b"before"
    assert files(published.parent) == ["a.pth", "published.pth"]


def test_a_folder_is_not_replaced(published: Path) -> None:
    model, _ = load_model(published)
    target = published.parent / "a.pth"
    target.mkdir()
    with pytest.raises(InputError, match=r"a\.pth: a folder or a device has this name"):
        export_weights(model, new_card(model, "hat"), target)
    assert files(published.parent) == ["a.pth", "published.pth"]


def test_the_library_does_what_the_command_does(published: Path, tmp_path: Path) -> None:
    card = vernier.export(published, tmp_path / "a.safetensors", scale=2)
    assert card == vernier.zoo.Card.from_json((tmp_path / "a.json").read_text("utf-8"), "a.json")
    assert len(card.sha256) == 64
    with pytest.raises(InputError, match=r"a\.safetensors would overwrite the input"):
        vernier.export(tmp_path / "a.safetensors", tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="a model for scale 2, not 3"):
        vernier.export(published, tmp_path / "b.safetensors", scale=3)
    # A folder of a model's name in the working folder is no input.
    written = vernier.export("sesr-m3", tmp_path / "b.safetensors", scale=2)
    assert (written.name, written.steps > 0) == ("sesr-m3", True)


def test_a_network_is_exported_as_it_is(tmp_path: Path) -> None:
    model = create_model("edsr-small", scale=2, num_blocks=1)
    card = vernier.export(model, tmp_path / "a.safetensors")
    assert card.name == "EDSR"
    loaded, _ = load_model(tmp_path / "a.safetensors")
    lr = torch.rand(1, 3, 4, 5)
    with torch.no_grad():
        assert torch.equal(loaded(lr), model.eval()(lr))
    with pytest.raises(InputError, match="EDSR is a model for scale 2, not 3"):
        vernier.export(model, tmp_path / "b.safetensors", scale=3)
    with pytest.raises(InputError, match="Conv2d cannot be exported: derive it from SRModel"):
        vernier.export(nn.Conv2d(1, 1, 1), tmp_path / "b.safetensors")
    assert files(tmp_path) == ["a.json", "a.safetensors"]


def test_an_output_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="weights are exported as"):
        vernier.export(tmp_path / "broken.pth", tmp_path / "a.onnx")
    # The card of a weight file is the input's too.
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="would overwrite the input"):
        vernier.export(tmp_path / "a.json", tmp_path / "a.safetensors")
    assert (tmp_path / "a.json").read_text() == "{}"
