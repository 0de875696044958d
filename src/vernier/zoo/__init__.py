"""Networks by name: facts, cards, weight files and costs; torch is imported only when needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vernier.zoo.cards import Card, available_scales, load_card, read_weights, weights_path
    from vernier.zoo.checkpoints import fuses_cubes, load_model, new_card, peek, save_weights
    from vernier.zoo.creation import create_model
    from vernier.zoo.facts import Facts
    from vernier.zoo.networks import Network, find_network, networks_of
    from vernier.zoo.registry import ModelEntry, facts_of, get_entry, list_models

_HOMES = {
    "Card": "cards",
    "Facts": "facts",
    "ModelEntry": "registry",
    "Network": "networks",
    "available_scales": "cards",
    "create_model": "creation",
    "facts_of": "registry",
    "find_network": "networks",
    "fuses_cubes": "checkpoints",
    "get_entry": "registry",
    "list_models": "registry",
    "load_card": "cards",
    "load_model": "checkpoints",
    "networks_of": "networks",
    "new_card": "checkpoints",
    "peek": "checkpoints",
    "read_weights": "cards",
    "save_weights": "checkpoints",
    "weights_path": "cards",
}

__all__ = [
    "Card",
    "Facts",
    "ModelEntry",
    "Network",
    "available_scales",
    "create_model",
    "facts_of",
    "find_network",
    "fuses_cubes",
    "get_entry",
    "list_models",
    "load_card",
    "load_model",
    "networks_of",
    "new_card",
    "peek",
    "read_weights",
    "save_weights",
    "weights_path",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
