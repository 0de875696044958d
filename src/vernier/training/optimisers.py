"""The optimisers that a recipe can name."""

from __future__ import annotations

import torch
from torch import nn

from vernier.training.recipe import OptimiserRecipe
from vernier.training.soap import SOAP

__all__ = ["create_optimiser"]


def create_optimiser(model: nn.Module, recipe: OptimiserRecipe) -> torch.optim.Optimizer:
    """The optimiser of a recipe, for all parameters of a model."""
    if recipe.name == "soap":
        return SOAP(
            model.parameters(),
            lr=recipe.learning_rate,
            betas=recipe.betas,
            eps=recipe.eps,
            precondition_every=recipe.precondition_every,
        )
    kind = torch.optim.AdamW if recipe.name == "adamw" else torch.optim.Adam
    return kind(
        model.parameters(),
        lr=recipe.learning_rate,
        betas=recipe.betas,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        amsgrad=recipe.amsgrad,
        foreach=True,
    )
