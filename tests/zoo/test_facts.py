"""Entry, card, module and network of the same weights tell the same facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vernier.errors import InputError
from vernier.models.sesr import SESR
from vernier.zoo import (
    Network,
    create_model,
    facts_of,
    find_network,
    get_entry,
    list_models,
    networks_of,
    new_card,
    save_weights,
)

# Networks for cubes are the same at 15 scales: the ends, and one between.
EVERY = [
    (name, scale)
    for name in list_models()
    for scale in get_entry(name).scales
    if scale <= 4 or scale == get_entry(name).scales[-1]
]

# Small, and other than the entry says.
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("sesr-m5", {"num_blocks": 9}),
    ("grla-s", {"window_size": 4, "colour": "rgb", "input_skip": False}),
    ("grla", {"window_size": 4, "colour": "luma", "num_blocks": 1, "num_features": 10}),
    ("grla-seq", {"window_size": 4, "num_blocks": 1, "num_features": 8, "num_heads": 2}),
    ("dctlsa", {"window_size": 4, "num_blocks": 1, "num_features": 10}),
    ("edsr-small", {"num_blocks": 2}),
    (
        "hat",
        {
            "channels": 1,
            "window_size": 4,
            "depths": [1],
            "num_heads": [2],
            "embed_dim": 8,
            "compress_ratio": 2,
            "squeeze_factor": 2,
        },
    ),
    ("psrt-s", {"bands": 5, "guide_channels": 1, "window_size": 16}),
    ("psrt-ka4", {"bands": 4, "guide_channels": 2}),
]


@pytest.mark.parametrize(("name", "scale"), EVERY)
def test_entry_card_and_module_agree(name: str, scale: int) -> None:
    with torch.device("meta"):
        model = create_model(name, scale=scale)
    facts = facts_of(model)
    assert get_entry(name).facts_at(scale) == facts
    assert new_card(model, name).facts == facts


@pytest.mark.parametrize(("name", "overrides"), OTHERS)
def test_facts_are_those_of_the_arguments_not_of_the_name(
    name: str, overrides: dict[str, Any], tmp_path: Path
) -> None:
    model = create_model(name, scale=2, **overrides)
    facts = facts_of(model)
    assert facts != get_entry(name).facts
    card = save_weights(model, tmp_path / "a.safetensors", new_card(model, "other"))
    from_file, from_module = find_network(tmp_path / "a.safetensors"), find_network(model)
    assert card.facts == from_file.facts == from_module.facts == facts
    assert from_file.card == new_card(model, "other")
    assert (from_file.arrays is None) == (from_module.arrays is None) == (name != "sesr-m5")


def test_a_subclass_has_not_its_parents_measured_losses() -> None:
    class Bolder(SESR):
        pass

    assert facts_of(SESR(scale=2, num_blocks=1, num_features=4)).is_harmless("bf16")
    assert not facts_of(Bolder(scale=2, num_blocks=1, num_features=4)).is_harmless("bf16")


class _Cube(nn.Module):
    scale, colour, channels, guide_channels = 2, "cube", 4, 0

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"scale": None}, "it needs the attributes scale"),
        ({"scale": 2.5}, "it needs the attributes scale"),
        ({"colour": "gray"}, "it needs the attributes scale .* and colour"),
        ({"channels": None}, "needs the attribute channels"),
        ({}, "needs the attribute guide_channels"),
        ({"colour": "rgb"}, "has 4 channels, which do not fit the colour rgb"),
        ({"guide_channels": 1, "size_multiple": 0}, "the size_multiple of _Cube is 0"),
        ({"guide_channels": 1, "receptive_radius": -1}, "the receptive_radius of _Cube is -1"),
    ],
)
def test_what_a_module_lacks_is_told(attributes: dict[str, Any], message: str) -> None:
    module = _Cube()
    for name, value in attributes.items():
        setattr(module, name, value)
    with pytest.raises(InputError, match=message):
        facts_of(module)


def test_a_cube_network_comes_down_the_same_road(tmp_path: Path) -> None:
    model = create_model("psrt-s", scale=4, bands=4)
    save_weights(model, tmp_path / "a.safetensors", new_card(model, "a"))
    for source in (model, tmp_path / "a.safetensors"):
        network = networks_of(source)[4]()
        assert (network.facts.colour, network.facts.channels) == ("cube", 4)
        assert not network.module().training
        assert network.activation_bytes() > 0


def test_the_module_of_a_network_is_one_module_and_not_the_users(tmp_path: Path) -> None:
    model = create_model("edsr-small", scale=2).train()
    network = find_network(model)
    assert network.module() is network.module()
    assert network.module() is not model
    assert model.training
    sesr: Network = find_network("sesr-m5", 2)
    assert sesr.module() is sesr.module()


def test_a_network_of_another_scale_is_refused() -> None:
    model = create_model("edsr-small", scale=2)
    with pytest.raises(InputError, match="EDSR is a model for scale 2, not 3"):
        find_network(model, 3)
    with pytest.raises(InputError, match="choose one"):
        find_network("sesr-m5")
