"""Checkpoints as their authors published them: which family one is of, and back to its layout.

A family joins with a module that has two functions: ``recognise(state)`` and
``official_state(model)``, which do for it what the functions of the same name do here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

from torch import Tensor

from vernier.errors import InputError
from vernier.io.files import shown
from vernier.models.layers import Model

__all__ = ["Recognised", "UnknownNetworkError", "official_state", "recognise"]

# By architecture.
_FAMILIES = MappingProxyType(
    {
        "hat": "vernier.zoo.official.hat",
        "dctlsa": "vernier.zoo.official.grla",
        "grla-seq": "vernier.zoo.official.grla",
        "psrt": "vernier.zoo.official.psrt",
    }
)


class UnknownNetworkError(InputError):
    """Tensors are those of no family that Vernier knows."""


@dataclass(frozen=True)
class Recognised:
    """What a published checkpoint turned out to be.

    Attributes:
        name: registry name of the variant, or the architecture where it is none of them.
        architecture: the family, "hat".
        scale: upscaling factor.
        config: all constructor arguments but ``scale``.
        state: the tensors by our names.
        notes: what the file does not tell, and what was taken instead.
    """

    name: str
    architecture: str
    scale: int
    config: Mapping[str, Any]
    state: Mapping[str, Tensor]
    notes: str = ""


def recognise(state: Mapping[str, Tensor]) -> Recognised:
    """Deduce the network from the keys and shapes of a published state dict.

    Raises:
        UnknownNetworkError: it is of no family that Vernier knows.
        InputError: it is of one, but incomplete or of a kind that is not supported; the message,
            without the file's name, says what does not fit.
    """
    for module in _FAMILIES.values():
        found: Recognised | None = import_module(module).recognise(state)
        if found is not None:
            return found
    keys = ", ".join(shown(key) for key in list(state)[:3])
    raise UnknownNetworkError(
        f"its tensors ({keys}, ...) are those of no network that Vernier knows "
        f"({', '.join(_FAMILIES)})"
    )


def official_state(model: Model) -> dict[str, Tensor]:
    """The model's tensors in the layout that its authors' code loads, detached.

    Raises:
        InputError: the family has no such layout.
    """
    if model.architecture not in _FAMILIES:
        raise InputError(
            f"{model.architecture} has no .pth layout of its authors; "
            f"families that have one: {', '.join(_FAMILIES)}"
        )
    state: dict[str, Tensor] = import_module(_FAMILIES[model.architecture]).official_state(model)
    return state
