"""What a user wants to know before choosing a model: its cost, and what its weights reach."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from rich.markup import escape
from rich.table import Column, Table

from vernier.errors import InputError
from vernier.io.files import reason_of
from vernier.models.layers import Model
from vernier.zoo.cards import Card, available_scales, load_card, weights_path
from vernier.zoo.checkpoints import load_model
from vernier.zoo.complexity import complexity
from vernier.zoo.creation import create_model
from vernier.zoo.own import parse_own
from vernier.zoo.registry import get_entry, list_models

__all__ = ["FOOTNOTES", "OUTPUT_SIZE", "Overview", "describe", "overviews", "table", "to_json"]

OUTPUT_SIZE = (720, 1280)
FOOTNOTES = (
    f"MACs for one picture of {OUTPUT_SIZE[1]}x{OUTPUT_SIZE[0]} pixels, deployed.",
    "* Not the cost: the count that several papers print. It leaves out the products of two "
    "feature maps, which attention consists of, and adds 4 for each element of a batch or "
    "layer norm and 3 of a softmax.",
)
# Networks for fusion work at the guide's size: their cost hardly depends on the scale.
_MANY, _TYPICAL_SCALE = 4, 4


@dataclass(frozen=True)
class Overview:
    """One model at one scale.

    Attributes:
        model: its name, or the file it was read from.
        scale: upscaling factor.
        parameters: of the deployed network, all of them.
        trainable_parameters: before it is deployed; of a file, which is deployed, the same.
        macs: multiply-accumulates for one picture of `OUTPUT_SIZE`; where the scale does not divide
            it, for the next larger one.
        macs_without_attention: the same as papers print that leave the attention's products out,
            see `vernier.zoo.complexity.Complexity`.
        receptive_radius: LR pixels on each side that an output pixel depends on; None = all.
        card: of the weights that come with the package, or of the file; None = no weights.
    """

    model: str
    scale: int
    parameters: int
    trainable_parameters: int
    macs: int
    macs_without_attention: int
    receptive_radius: int | None
    card: Card | None


def overviews(model: str | None = None, scale: int | None = None) -> list[Overview]:
    """All models at all scales, or those asked for.

    Args:
        model: a registry name, a weight file, or ``package.module:Class``, with ``@file`` behind
            it where it has weights; None = every registry name.
        scale: one scale; None = every scale the model is offered for, but in the list of all
            models only one of those of a network that is the same at many. An untrained network
            of one's own needs it.

    Raises:
        InputError: no such model, file or scale, or a network that torch's meta device cannot run.
    """
    own = parse_own(model)
    if own is not None and own.file is None:
        if scale is None:
            raise InputError(f"{model} has no weights that tell its scale: give it, --scale 2")
        return [_overview(own.network, create_model(own.network, scale=scale), None)]
    if model is not None and model not in list_models():
        network, card = load_model(model, scale)
        return [_overview(model, network, card)]
    found = []
    for entry in map(get_entry, list_models() if model is None else [model]):
        scales = entry.scales if scale is None else (scale,)
        if model is None and scale is None and len(scales) > _MANY:
            scales = available_scales(entry.name) or (_TYPICAL_SCALE,)
        for each in scales:
            card_or_none = load_card(entry.name, each) if weights_path(entry.name, each) else None
            # Counted, not run: no numbers need be drawn for it.
            with torch.device("meta"):
                network = create_model(entry.name, scale=each)
            found.append(_overview(entry.name, network, card_or_none))
    return found


def _overview(name: str, network: Model, card: Card | None) -> Overview:
    try:
        cost = complexity(network, _lr_size(network.scale))
    except (RuntimeError, NotImplementedError) as error:
        raise InputError(
            f"{name} cannot be counted, torch's meta device does not run it: {reason_of(error)}"
        ) from error
    return Overview(
        model=name,
        scale=network.scale,
        parameters=cost.parameters,
        trainable_parameters=sum(p.numel() for p in network.parameters()),
        macs=cost.macs,
        macs_without_attention=cost.macs_without_attention,
        receptive_radius=network.receptive_radius,
        card=card,
    )


def _lr_size(scale: int) -> tuple[int, int]:
    height, width = OUTPUT_SIZE
    return -(-height // scale), -(-width // scale)


def to_json(found: Sequence[Overview]) -> str:
    """All that `Overview` holds, as a JSON list."""
    return json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False)


def table(found: Sequence[Overview]) -> Table:
    """A row for each, to be printed above `FOOTNOTES`."""
    shown = Table(
        Column("model", overflow="fold"),
        "scale",
        Column("parameters", no_wrap=True),
        Column("in training", no_wrap=True),
        Column("MACs", no_wrap=True),
        Column("without attention*", no_wrap=True),
        "weights",
        Column("PSNR / SSIM", no_wrap=True),
    )
    for each in found:
        measured = each.card.measured if each.card else {}
        shown.add_row(
            escape(each.model),
            f"x{each.scale}",
            f"{each.parameters:,}",
            f"{each.trainable_parameters:,}",
            f"{each.macs / 1e9:.2f} G",
            f"{each.macs_without_attention / 1e9:.2f} G",
            "yes" if each.card else "no",
            "\n".join(f"{name} {_scores(scores)}" for name, scores in measured.items()),
        )
    return shown


def describe(card: Card) -> str:
    """What a card tells beside the table, a line for each fact."""
    lines = [f"{card.name} x{card.scale}"]
    for key, value in asdict(card).items():
        if key not in ("name", "scale", "measured") and value not in ("", 0, ()):
            lines.append(f"  {key}: {value}")
    return "\n".join(lines)


def _scores(measured: Mapping[str, float]) -> str:
    told = f"{measured['psnr']:.2f} / {measured['ssim']:.4f}"
    return f"{told}, SAM {measured['sam']:.2f}" if "sam" in measured else told
