"""Trained weights in and out: our safetensors, our training checkpoints, published files."""

from __future__ import annotations

import json
import math
import pickle
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from vernier.errors import InputError
from vernier.io.files import write_whole
from vernier.models.layers import FusionModel, Model
from vernier.zoo.cards import (
    Card,
    check_finite,
    file_sha256,
    read_card,
    read_shipped,
    read_weights,
    shipped_weights,
    weight_file,
)
from vernier.zoo.official import Recognised, recognise
from vernier.zoo.official.sesr import import_official
from vernier.zoo.own import OwnName, build_own, named_by_file, own_class, parse_own
from vernier.zoo.registry import (
    architecture_of,
    build,
    create_model,
    families,
    family_entry,
    get_entry,
    list_models,
)

__all__ = [
    "fuses_cubes",
    "load_model",
    "model_from_arrays",
    "new_card",
    "peek",
    "read_checkpoint",
    "read_weights",
    "save_weights",
]

_CHECKPOINTS = (".pth", ".pt", ".ckpt")
# Where published checkpoints keep their tensors, the best first; else they are at the top.
_STATE_KEYS = ("params_ema", "params", "state_dict")
# What unpickling raises for a file that is damaged or something else.
_UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    RuntimeError,
    EOFError,
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
)
# What wrappers put before every name.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net_g.", "generator.")


def new_card(model: Model, name: str) -> Card:
    """A card with what the model itself tells; add the rest with `dataclasses.replace`.

    Args:
        model: deployed or trainable; the card speaks of its deployed form.
        name: a registry name, or a free one.
    """
    return Card(
        name=name,
        scale=model.scale,
        architecture=architecture_of(model),
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
        InputError: the suffix is another, the card describes another network, the network's
            ``config`` is no JSON, or the files cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"weights are written as .safetensors, not {path.name}")
    card = replace(card, form="deployed", sha256="")
    architecture = architecture_of(model)
    if (card.architecture, card.scale, dict(card.config)) != (
        architecture,
        model.scale,
        model.config,
    ):
        raise InputError(
            f"the card describes {card.architecture} x{card.scale} {dict(card.config)}, "
            f"the model is {architecture} x{model.scale} {model.config}"
        )
    try:
        text = card.to_json()
    except (TypeError, ValueError) as error:
        raise InputError(f"the config of {architecture} is no JSON ({error})") from error
    tensors = {
        key: tensor.detach().cpu().contiguous()
        for key, tensor in (model if model.deployed else model.deploy()).state_dict().items()
    }
    metadata = {
        "format": "vernier",
        "architecture": card.architecture,
        "config": json.dumps({"scale": card.scale, **card.config}),
        "form": card.form,
        "card": text,
    }
    write_whole(path, save(tensors, metadata))
    card = replace(card, sha256=file_sha256(path))
    write_whole(path.with_suffix(".json"), card.to_json().encode())
    return card


def load_model(name_or_path: str | Path, scale: int | None = None) -> tuple[Model, Card]:
    """A trained model, deployed and in eval mode, on the CPU, with its card.

    Args:
        name_or_path: a registry name (weights that come with the package), or a file: our
            ``.safetensors``; a checkpoint of our training (``.pt``, ``.ckpt``), whose averaged
            weights are preferred; a checkpoint as authors publish it (``.pth``, ``.pt``, ``.ckpt``;
            see `official.recognise`), whose ``params_ema`` are preferred to ``params`` and
            ``state_dict``; or official SESR arrays (``.npz``, see `import_official`). Or
            ``package.module:Class@file``: the weights of somebody's own network, whose code is
            imported; a state dict of it needs ``scale``, and the other arguments' defaults.
        scale: chooses among a name's weights; a file must agree with it.

    Raises:
        InputError: no such name, weights or file; the file is damaged or foreign, holds values that
            are not finite, or has another scale; code is missing, or does not keep the contract of
            `vernier.models.layers.Model`.

    Example:
        >>> import torch
        >>> model, card = load_model("sesr-m5", scale=2)
        >>> card.name, card.scale
        ('sesr-m5', 2)
        >>> model(torch.rand(1, 1, 8, 9)).shape
        torch.Size([1, 1, 16, 18])
    """
    own = parse_own(name_or_path)
    if own is not None:
        return _load_own(own, scale)
    if isinstance(name_or_path, str) and name_or_path in list_models():
        arrays, card = read_shipped(name_or_path, scale)
        return model_from_arrays(arrays, card, shipped_weights(name_or_path, scale)), card
    path = weight_file(name_or_path)
    if path.suffix == ".safetensors":
        arrays, card = read_weights(path)
        model = model_from_arrays(arrays, card, path)
    elif path.suffix in _CHECKPOINTS:
        model, card = _load_checkpoint(path)
    elif path.suffix == ".npz":
        model, card = _load_official(path)
    else:
        raise InputError(f"{path}: weights are .safetensors, .pth, .pt, .ckpt or .npz")
    if scale is not None and scale != card.scale:
        raise InputError(f"{path} is a model for scale {card.scale}, not {scale}")
    return model, card


def _load_own(own: OwnName, scale: int | None) -> tuple[Model, Card]:
    network, file = own
    if file is None:
        raise InputError(
            f"{network} comes without weights: name them too, {network}@weights.safetensors"
        )
    path = weight_file(file)
    if path.suffix == ".safetensors":
        arrays, card = read_weights(path)
        model = model_from_arrays(arrays, card, path, network)
    elif path.suffix in _CHECKPOINTS:
        content = read_checkpoint(path)
        if _is_of_training(content):
            model, card = _load_training_checkpoint(content, path, network)
        else:
            if scale is None:
                raise InputError(f"{path} does not tell its scale: give it, --scale 2")
            model = build_own(network, scale, {})
            _load_state(model, _state(content, path, model.state_dict().keys()), path)
            model = _deployed(model)
            card = new_card(model, network)
    else:
        raise InputError(f"{path}: one's own network is read from .safetensors, .pth, .pt or .ckpt")
    if scale is not None and scale != card.scale:
        raise InputError(f"{path} is a model for scale {card.scale}, not {scale}")
    return model, replace(card, architecture=architecture_of(model))


def model_from_arrays(
    arrays: Mapping[str, np.ndarray], card: Card, path: Path, own: str | None = None
) -> Model:
    """The deployed network of what `read_weights` read, in eval mode.

    Args:
        arrays, card: what was read; the arrays are copied.
        path: where they were read, for messages.
        own: "package.module:Class" where the user named it; else the card names a family.

    Raises:
        InputError: the card and the arrays do not fit together, or the card names a network that
            is not one of Vernier's.
    """
    if own is not None:
        model = build_own(own, card.scale, dict(card.config))
    elif card.architecture in families():
        constructor = family_entry(card.architecture).constructor()
        model = build(constructor, card.scale, card.config, card.architecture)
    else:
        raise named_by_file(card.architecture, path)
    if not model.deployed:
        model = model.skeleton()
    _load_state(model, {key: torch.from_numpy(array) for key, array in arrays.items()}, path)
    return model.eval()


def peek(name_or_path: str | Path) -> str:
    """The architecture of a model, told without loading its weights.

    Args:
        name_or_path: as for `load_model`.

    Returns:
        The family as in `Card.architecture`, "hat"; of somebody's own network what its name or its
        file says, "package.module:Class". No code is imported.

    Raises:
        InputError: no such name or file, or one that is damaged, foreign or of no known network.
    """
    own = parse_own(name_or_path)
    if own is not None:
        return own.network
    if isinstance(name_or_path, str) and name_or_path in list_models():
        return get_entry(name_or_path).family
    path = weight_file(name_or_path)
    if path.suffix == ".safetensors":
        return read_card(path).architecture
    if path.suffix == ".npz":
        return "sesr"
    if path.suffix not in _CHECKPOINTS:
        raise InputError(f"{path}: weights are .safetensors, .pth, .pt, .ckpt or .npz")
    content = read_checkpoint(path, whole=False)
    if _is_of_training(content):
        name: str = _training_config(content, path)["name"]
        return name if parse_own(name) else get_entry(name).family
    return _recognised(content, path).architecture


def fuses_cubes(name_or_path: str | Path) -> bool:
    """Whether a model fuses cubes with guides, rather than upscaling pictures.

    Args:
        name_or_path: as for `load_model`; only the code of one's own network is imported.

    Raises:
        InputError: as `peek`, a file alone of somebody's own network, or its class cannot be used.
    """
    architecture = peek(name_or_path)
    if parse_own(name_or_path) is not None:
        return issubclass(own_class(architecture), FusionModel)
    if architecture not in families():
        raise named_by_file(architecture, Path(name_or_path))
    return family_entry(architecture).facts.colour == "cube"


def _load_checkpoint(path: Path) -> tuple[Model, Card]:
    content = read_checkpoint(path)
    if _is_of_training(content):
        return _load_training_checkpoint(content, path)
    return _load_published(content, path)


def _is_of_training(content: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(content, dict) and {"model", "weights"} <= content.keys()


def read_checkpoint(path: Path, *, whole: bool = True) -> object:
    """What torch saved; not ``whole``, its tensors stay in the file until they are looked at.

    Raises:
        InputError: it is damaged (of a whole file the checksums tell), no file of torch, or holds
            more than tensors and plain values.
    """
    try:
        damaged = _damaged_part(path) if whole else None
        # Files from before torch 1.6 are no archives, and cannot be mapped.
        mapped = not whole and zipfile.is_zipfile(path)
        content: object = (
            None
            if damaged
            else torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        )
    except PermissionError as error:
        raise InputError(f"{path} is not a readable checkpoint: {error.strerror}") from error
    except _UNREADABLE as error:
        if "GLOBAL" in str(error):
            raise InputError(
                f"{path} holds Python objects besides its tensors, which may run code when loaded: "
                "save its state_dict() alone"
            ) from error
        # Torch's own words go over many lines and advise to load it unsafely.
        raise InputError(
            f"{path} is not a readable checkpoint: it is damaged, cut off or no file of torch"
        ) from error
    if damaged:
        raise InputError(f"{path} is damaged: the checksum of its part {damaged} is wrong")
    return content


def _damaged_part(path: Path) -> str | None:
    """Torch writes checksums, but does not look at them."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as file:
        return file.testzip()


def _load_training_checkpoint(
    checkpoint: dict[str, Any], path: Path, own: str | None = None
) -> tuple[Model, Card]:
    config = _training_config(checkpoint, path)
    if own is not None:
        config = {**config, "name": own}
    elif parse_own(config["name"]) is not None:
        raise named_by_file(config["name"], path)
    model = create_model(**config)
    if checkpoint.get("deployed"):
        model = model.skeleton()
    _load_state(model, checkpoint.get("ema") or checkpoint["weights"], path)
    deployed = _deployed(model)
    return deployed, new_card(deployed, config["name"])


def _training_config(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    config = checkpoint["model"]
    if not isinstance(config, dict) or not {"name", "scale"} <= config.keys():
        raise InputError(f"{path}: its 'model' does not tell name and scale")
    return config


def _deployed(model: Model) -> Model:
    return (model if model.deployed else model.deploy()).eval()


def _load_published(content: object, path: Path) -> tuple[Model, Card]:
    found = _recognised(content, path)
    try:
        constructor = family_entry(found.architecture).constructor()
        model = build(constructor, found.scale, found.config, found.architecture)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    _load_state(model, found.state, path)
    deployed = _deployed(model)
    return deployed, replace(new_card(deployed, found.name), notes=found.notes)


def _recognised(content: object, path: Path) -> Recognised:
    try:
        return recognise(_state(content, path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _state(content: object, path: Path, wanted: Collection[str] | None = None) -> dict[str, Tensor]:
    """The tensors of a published checkpoint by name, without what wrappers put before the names.

    Args:
        content: what was read.
        path: where, for messages.
        wanted: the names that are looked for, where they are known: they may begin as a wrapper's.
    """
    for key in _STATE_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path} holds no tensors by name")
    for key, tensor in content.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise InputError(f"{path}: {key!r} is no tensor but of type {type(tensor).__name__}")
    state = dict(content)
    while not (wanted is not None and state.keys() <= set(wanted)) and (
        prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in state)), "")
    ):
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _load_official(path: Path) -> tuple[Model, Card]:
    """Arrays named as `import_official` wants them, trained in the authors' collapsed mode."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a readable npz file: {error}") from error
    check_finite(arrays, path)
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
    for key in wanted:
        if key not in state:
            raise InputError(f"{path} lacks {key}, which {type(model).__name__} needs")
    for key, tensor in state.items():
        if key not in wanted:
            raise InputError(f"{path} has {key}, which {type(model).__name__} does not know")
        if tensor.shape != wanted[key].shape:
            raise InputError(
                f"{path}: {key} is {tuple(tensor.shape)}, expected {tuple(wanted[key].shape)}"
            )
        if not tensor.isfinite().all():
            raise InputError(f"{path} holds values that are not finite (first: {key})")
    model.load_state_dict(state)
