"""Weights as our safetensors, or as the .pth file that the authors' code loads."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from vernier.errors import InputError
from vernier.io.files import write_whole
from vernier.models.layers import Model
from vernier.zoo.cards import Card
from vernier.zoo.checkpoints import save_weights
from vernier.zoo.official import official_state

__all__ = ["WEIGHT_FORMATS", "export_weights"]

WEIGHT_FORMATS = ("safetensors", "pth")


def export_weights(model: Model, card: Card, path: Path | str, kind: str | None = None) -> None:
    """Write the model's weights, whole or not at all.

    Args:
        model: trained.
        card: what is known of it; goes into the safetensors file and beside it as JSON. A .pth has
            no place for it.
        path: file to write, replaced if it exists.
        kind: "pth" has the authors' names under ``params_ema``, which their code and tools that
            read their files look for; None = by the suffix.

    Raises:
        InputError: neither ``kind`` nor the suffix is one of `WEIGHT_FORMATS`, the two contradict
            each other, the folder does not exist, or the family has no .pth layout.
    """
    path = Path(path)
    suffix = path.suffix.removeprefix(".")
    if (kind or suffix) not in WEIGHT_FORMATS:
        known = " or ".join(f".{known}" for known in WEIGHT_FORMATS)
        raise InputError(f"{path}: weights are exported as {known}")
    if kind is not None and kind != suffix:
        raise InputError(f"{path}: a file of the format {kind} ends in .{kind}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no folder")
    if suffix == "safetensors":
        save_weights(model, path, card)
        return
    state = {key: tensor.cpu().contiguous() for key, tensor in official_state(model).items()}
    content = io.BytesIO()
    torch.save({"params_ema": state}, content)
    write_whole(path, content.getvalue())
