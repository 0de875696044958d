"""Trained weights in and out: our safetensors, our training checkpoints, official SESR arrays."""

from __future__ import annotations

import json
import math
import os
import pickle
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from vernier.errors import InputError
from vernier.models.cards import Card, file_sha256, load_card, read_weights, shipped_weights
from vernier.models.layers import Model
from vernier.models.registry import (
    build,
    create_model,
    family_entry,
    get_entry,
    list_models,
    nearest,
)
from vernier.models.sesr_official import import_official

__all__ = ["load_model", "new_card", "read_weights", "save_weights"]


def new_card(model: Model, name: str) -> Card:
    """A card with what the model itself tells; add the rest with `dataclasses.replace`.

    Args:
        model: deployed or trainable; the card speaks of its deployed form.
        name: a registry name, or a free one.
    """
    return Card(
        name=name,
        scale=model.scale,
        architecture=model.architecture,
        config=model.config,
        receptive_radius=model.receptive_radius,
    )


def save_weights(model: Model, path: Path | str, card: Card) -> Card:
    """Write the model's deployed form as safetensors, and its card beside it as JSON.

    Args:
        model: deployed, or trainable: then it is deployed first.
        path: ends in ``.safetensors``; the card goes to the same name with ``.json``.
        card: see `new_card`; its sha256 is filled in.

    Returns:
        The card as written beside the weights.

    Raises:
        InputError: the suffix is another, or the card describes another network.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"weights are written as .safetensors, not {path.name}")
    card = replace(card, form="deployed", sha256="")
    if (card.architecture, card.scale, dict(card.config)) != (
        model.architecture,
        model.scale,
        model.config,
    ):
        raise InputError(
            f"the card describes {card.architecture} x{card.scale} {dict(card.config)}, "
            f"the model is {model.architecture} x{model.scale} {model.config}"
        )
    tensors = {
        key: tensor.detach().cpu().contiguous()
        for key, tensor in (model if model.deployed else model.deploy()).state_dict().items()
    }
    metadata = {
        "format": "vernier",
        "architecture": card.architecture,
        "config": json.dumps({"scale": card.scale, **card.config}),
        "form": card.form,
        "card": card.to_json(),
    }
    _write(path, save(tensors, metadata))
    card = replace(card, sha256=file_sha256(path))
    _write(path.with_suffix(".json"), card.to_json().encode())
    return card


def load_model(name_or_path: str | Path, scale: int | None = None) -> tuple[Model, Card]:
    """A trained model, deployed and in eval mode, on the CPU, with its card.

    Args:
        name_or_path: a registry name (weights that come with the package), or a file: our
            ``.safetensors``, a checkpoint of our training (``.pt``, ``.ckpt``), whose averaged
            weights are preferred, or official SESR arrays (``.npz``, see `import_official`).
        scale: chooses among a name's weights; a file must agree with it.

    Raises:
        InputError: no such name, weights or file; the file is damaged or foreign, or has another
            scale.
    """
    if isinstance(name_or_path, str) and name_or_path in list_models():
        return _load_shipped(name_or_path, scale)
    path = Path(name_or_path)
    if not path.is_file():
        hint = nearest(str(name_or_path), list_models())
        raise InputError(
            f"{name_or_path} is neither a file nor a model{hint}; "
            f"models: {', '.join(list_models())}"
        )
    if path.suffix == ".safetensors":
        model, card = _load_safetensors(path)
    elif path.suffix in (".pt", ".ckpt"):
        model, card = _load_training_checkpoint(path)
    elif path.suffix == ".npz":
        model, card = _load_official(path)
    else:
        raise InputError(f"{path}: weights are .safetensors, .pt, .ckpt or .npz")
    if scale is not None and scale != card.scale:
        raise InputError(f"{path} is a model for scale {card.scale}, not {scale}")
    return model, card


def _load_shipped(name: str, scale: int | None) -> tuple[Model, Card]:
    path = shipped_weights(name, scale)
    model, embedded = _load_safetensors(path)
    card = load_card(name, embedded.scale)
    if card.sha256 != file_sha256(path):
        raise InputError(f"{path} is damaged: its sha256 is not that of its card; reinstall")
    return model, card


def _load_safetensors(path: Path) -> tuple[Model, Card]:
    arrays, card = read_weights(path)
    trainable = build(family_entry(card.architecture), card.scale, card.config)
    model = trainable.skeleton()
    _load_state(model, {key: torch.from_numpy(array) for key, array in arrays.items()}, path)
    return model.eval(), card


def _load_training_checkpoint(path: Path) -> tuple[Model, Card]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is not a readable checkpoint: {reason}") from error
    if not isinstance(checkpoint, dict) or not {"model", "weights"} <= checkpoint.keys():
        raise InputError(f"{path} is not a checkpoint of Vernier: it has no 'model' and 'weights'")
    config = checkpoint["model"]
    if not isinstance(config, dict) or not {"name", "scale"} <= config.keys():
        raise InputError(f"{path}: its 'model' does not tell name and scale")
    model = create_model(**config)
    if checkpoint.get("deployed"):
        model = model.skeleton()
    _load_state(model, checkpoint.get("ema") or checkpoint["weights"], path)
    deployed = model.deploy().eval()
    return deployed, new_card(deployed, config["name"])


def _load_official(path: Path) -> tuple[Model, Card]:
    """Arrays named as `import_official` wants them, trained in the authors' collapsed mode."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a readable npz file: {error}") from error
    if "last.project.bias" not in arrays:
        raise InputError(f"{path} holds no official SESR weights: it lacks last.project.bias")
    model = import_official(arrays, scale=math.isqrt(arrays["last.project.bias"].size))
    known = [
        name for name in list_models() if get_entry(name).config.items() <= model.config.items()
    ]
    card = new_card(model, known[0] if known else "sesr")
    return model, replace(card, notes="official weights, trained in the authors' collapsed mode")


def _load_state(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load exactly, or say in one line what does not fit."""
    wanted = model.state_dict()
    for key in wanted.keys() - state.keys():
        raise InputError(f"{path} lacks {key}, which {type(model).__name__} needs")
    for key, tensor in state.items():
        if key not in wanted:
            raise InputError(f"{path} has {key}, which {type(model).__name__} does not know")
        if tensor.shape != wanted[key].shape:
            raise InputError(
                f"{path}: {key} is {tuple(tensor.shape)}, expected {tuple(wanted[key].shape)}"
            )
    model.load_state_dict(state)


def _write(path: Path, content: bytes) -> None:
    """All or nothing: a temporary file in the same folder takes the name only when complete."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
