"""Weights as our safetensors, or as the .pth file that the authors' code loads."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import nn

from vernier.errors import InputError
from vernier.io.files import protect, write_whole
from vernier.models.layers import Model
from vernier.zoo.cards import Card
from vernier.zoo.checkpoints import load_model, new_card, save_weights
from vernier.zoo.official import official_state
from vernier.zoo.own import file_of

__all__ = ["WEIGHT_FORMATS", "export", "export_weights"]

WEIGHT_FORMATS = ("safetensors", "pth")


def export(
    model: str | Path | nn.Module,
    output: str | Path,
    *,
    scale: int | None = None,
    format: str | None = None,
) -> Card:
    """Write a trained model as a file for other tools, or another tool's weights for Vernier.

    Args:
        model: a name, a weight file, ``package.module:Class@file``, or a network.
        output: file to write, replaced if it exists; a .safetensors has its card beside it.
        scale: chooses among a name's weights; a file must agree with it.
        format: "safetensors" or "pth"; None = by the suffix.

    Returns:
        What is known of the model, as it was written.

    Raises:
        InputError: the model cannot be loaded, ``output`` or its card is an input, or as
            `export_weights`.

    Example:
        >>> card = export("sesr-m5", "mine.safetensors", scale=4)
        >>> card.name, card.scale
        ('sesr-m5', 4)
    """
    output = Path(output)
    _check_output(output, format)
    if not isinstance(model, nn.Module):
        card_beside = output.with_suffix(".json") if output.suffix == ".safetensors" else None
        protect([file_of(model)], [output, card_beside])
        network, card = load_model(model, scale)
    elif isinstance(model, Model):
        if scale is not None and scale != model.scale:
            raise InputError(
                f"{type(model).__name__} is a model for scale {model.scale}, not {scale}"
            )
        network, card = model, new_card(model, type(model).__name__)
    else:
        raise InputError(
            f"{type(model).__name__} cannot be exported: derive it from SRModel or FusionModel "
            "of vernier.models.layers"
        )
    return export_weights(network, card, output, format)


def export_weights(model: Model, card: Card, path: Path | str, kind: str | None = None) -> Card:
    """Write the model's weights, whole or not at all.

    Args:
        model: trained.
        card: what is known of it; goes into the safetensors file and beside it as JSON. A .pth has
            no place for it.
        path: file to write, replaced if it exists.
        kind: "pth" has the authors' names under ``params_ema``, which their code and tools that
            read their files look for; None = by the suffix.

    Returns:
        The card; of a safetensors file with its sha256.

    Raises:
        InputError: neither ``kind`` nor the suffix is one of `WEIGHT_FORMATS`, the two contradict
            each other, the folder does not exist, or the family has no .pth layout.
    """
    path = Path(path)
    if _check_output(path, kind) == "safetensors":
        return save_weights(model, path, card)
    state = {key: tensor.cpu().contiguous() for key, tensor in official_state(model).items()}
    content = io.BytesIO()
    torch.save({"params_ema": state}, content)
    write_whole(path, content.getvalue())
    return card


def _check_output(path: Path, kind: str | None) -> str:
    """The format, before anything is loaded for it."""
    suffix = path.suffix.removeprefix(".")
    if (kind or suffix) not in WEIGHT_FORMATS:
        known = " or ".join(f".{known}" for known in WEIGHT_FORMATS)
        raise InputError(f"{path}: weights are exported as {known}")
    if kind is not None and kind != suffix:
        raise InputError(f"{path}: a file of the format {kind} ends in .{kind}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no folder")
    return suffix
