"""Losses: what the gradient is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from vernier.metrics import ssim
from vernier.training.recipe import Recipe

__all__ = ["Loss", "charbonnier", "create_loss", "dissimilarity", "l1", "l2", "weighted_sum"]


class Loss(Protocol):
    """A loss; a function, or a ``torch.nn.Module``, which `train` moves to the run's device.

    A resumed run equals an uninterrupted one as long as the loss depends on its arguments alone.
    """

    def __call__(self, result: Tensor, hr: Tensor, inputs: Sequence[Tensor], /) -> Tensor:
        """Compare a batch of results with what they should be.

        Args:
            result: what the network made, (B, C, H, W), float32, not rounded; it may leave [0, 1].
            hr: what it should have made, of the same shape, in [0, 1].
            inputs: what the network read: (lr,), or (lr, guide, upsampled) in fusion.

        Returns:
            One number, mean over the batch, with a gradient towards ``result``.
        """
        ...


def l1(result: Tensor, hr: Tensor, inputs: Sequence[Tensor] = ()) -> Tensor:
    """The mean absolute error."""
    return (result - hr).abs().mean()


def l2(result: Tensor, hr: Tensor, inputs: Sequence[Tensor] = ()) -> Tensor:
    """The mean squared error."""
    return (result - hr).square().mean()


def charbonnier(result: Tensor, hr: Tensor, inputs: Sequence[Tensor] = ()) -> Tensor:
    """L1 that is smooth at zero: the mean of sqrt(error^2 + 1e-6)."""
    return ((result - hr).square() + 1e-6).sqrt().mean()


def dissimilarity(result: Tensor, hr: Tensor, inputs: Sequence[Tensor] = ()) -> Tensor:
    """1 - SSIM; SSIM as the metric, mean over channels, but neither rounded nor cropped.

    Raises:
        ValueError: the HR patches are smaller than the window of 11 pixels.
    """
    return 1 - ssim(result, hr, crop=0, luma=False, rounding=False).mean().float()


def weighted_sum(terms: Sequence[tuple[float, Loss]]) -> Loss:
    """A loss that adds up others.

    Args:
        terms: weight and loss, at least one.

    Example:
        >>> import torch
        >>> loss = weighted_sum([(1, l1), (0.5, l2)])
        >>> loss(torch.full((1, 1, 2, 2), 0.5), torch.zeros(1, 1, 2, 2), ()).item()
        0.625
    """
    (first_weight, first), *others = terms

    def total(result: Tensor, hr: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        loss = first_weight * first(result, hr, inputs)
        for weight, term in others:
            loss = loss + weight * term(result, hr, inputs)
        return loss

    return total


LOSSES: Mapping[str, Loss] = MappingProxyType({"l1": l1, "l2": l2, "charbonnier": charbonnier})


def create_loss(recipe: Recipe) -> Loss:
    """The loss that a recipe names: ``loss``, and ``ssim_weight`` times `dissimilarity`.

    Example:
        >>> import torch
        >>> from vernier.training import load_recipe
        >>> values = {"name": "run", "model": {"name": "sesr-m3", "scale": 2}, "steps": 1}
        >>> recipe = load_recipe(values | {"data": {"train": ["pictures"]}, "loss": "l2"})
        >>> loss = create_loss(recipe)
        >>> loss(torch.full((1, 1, 4, 4), 0.5), torch.zeros(1, 1, 4, 4), ()).item()
        0.25
    """
    loss = LOSSES[recipe.loss]
    if not recipe.ssim_weight:
        return loss
    return weighted_sum([(1, loss), (recipe.ssim_weight, dissimilarity)])
