"""The network that a run starts with."""

from __future__ import annotations

import torch
from torch import nn

from vernier.devices import available_memory
from vernier.errors import InputError
from vernier.models.layers import Model
from vernier.training.recipe import ModelRecipe, Recipe
from vernier.zoo import create_model, load_model
from vernier.zoo.own import parse_own

__all__ = ["create_network"]


def create_network(recipe: Recipe) -> tuple[Model, list[str]]:
    """The network of a recipe, with the weights and in the form that it starts from.

    Returns:
        The network, on the CPU, and the names of the tensors that ``init_from`` gave it.

    Raises:
        InputError: no such network, form or weights, or the weights do not fit.
    """
    choice = recipe.model
    if choice.overrides and parse_own(choice.name) is None:
        _check_size(choice)
    model = create_model(choice.name, scale=choice.scale, **choice.overrides)
    copied: list[str] = []
    if choice.init_from is not None:
        source, _ = load_model(choice.init_from)
        try:
            copied = model.init_from(source)
        except ValueError as error:
            raise InputError(f"model.init_from {choice.init_from}: {error}") from error
    if choice.form == "deployed" and not model.deployed:
        model = model.deploy().train()
    elif choice.form == "expanded" and hasattr(model, "form"):
        model.form = "expanded"  # type: ignore[assignment]
    elif choice.form != "collapsed":
        raise InputError(
            f"model.form: {choice.name} has no form {choice.form!r}; leave model.form out"
        )
    if recipe.channels_last:
        _to_channels_last(model)
    return model, copied


def _check_size(choice: ModelRecipe) -> None:
    """Refuse what does not fit into memory before it is allocated piece by piece."""
    with torch.device("meta"):
        model = create_model(choice.name, scale=choice.scale, **choice.overrides)
    # The weights, their average, their gradients and two moments.
    needed = 5 * sum(p.numel() * p.element_size() for p in model.parameters())
    if needed > (free := available_memory()):
        raise InputError(
            f"model.overrides: the network needs {needed / 2**30:.0f} GiB to train, "
            f"{free / 2**30:.0f} GiB are free; make it smaller"
        )


def _to_channels_last(model: nn.Module) -> None:
    """The kernels of convolutions: with one channel the layout of an input says nothing.

    Module.to would do it too, and fail at the banks of kernels, which have five dimensions.
    """
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
