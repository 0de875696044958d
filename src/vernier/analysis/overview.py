"""What a user wants to know before choosing a model: its cost, and what its weights reach."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vernier.analysis.complexity import complexity
from vernier.models.cards import Card, load_card, weights_path
from vernier.models.checkpoints import load_model
from vernier.models.registry import create_model, get_entry, list_models

__all__ = ["OUTPUT_SIZE", "Overview", "overviews"]

OUTPUT_SIZE = (720, 1280)


@dataclass(frozen=True)
class Overview:
    """One model at one scale.

    Attributes:
        model: its name, or the file it was read from.
        scale: upscaling factor.
        parameters: of the deployed network, all of them.
        macs: multiply-accumulates for one picture of `OUTPUT_SIZE`; where the scale does not divide
            it, for the next larger one.
        receptive_radius: LR pixels on each side that an output pixel depends on; None = all.
        card: of the weights that come with the package, or of the file; None = no weights.
    """

    model: str
    scale: int
    parameters: int
    macs: int
    receptive_radius: int | None
    card: Card | None


def overviews(model: str | None = None, scale: int | None = None) -> list[Overview]:
    """All models at all scales, or those asked for.

    Args:
        model: a registry name or a weight file; None = every registry name.
        scale: one scale; None = every scale the model is offered for.

    Raises:
        InputError: no such model, file or scale.
    """
    if model is not None and model not in list_models() and Path(model).is_file():
        network, card = load_model(model, scale)
        cost = complexity(network, _lr_size(card.scale))
        return [
            Overview(model, card.scale, cost.parameters, cost.macs, card.receptive_radius, card)
        ]
    found = []
    for entry in map(get_entry, list_models() if model is None else [model]):
        for each in entry.scales if scale is None else (scale,):
            cost = complexity(create_model(entry.name, scale=each), _lr_size(each))
            card_or_none = load_card(entry.name, each) if weights_path(entry.name, each) else None
            found.append(
                Overview(
                    entry.name,
                    each,
                    cost.parameters,
                    cost.macs,
                    entry.receptive_radius,
                    card_or_none,
                )
            )
    return found


def _lr_size(scale: int) -> tuple[int, int]:
    height, width = OUTPUT_SIZE
    return -(-height // scale), -(-width // scale)
