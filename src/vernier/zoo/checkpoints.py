"""Trained weights in and out: our safetensors, our training checkpoints, published files."""

from __future__ import annotations

import json
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, TypeGuard

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from vernier.errors import InputError
from vernier.io.files import shown, write_whole
from vernier.models.layers import FusionModel, Model
from vernier.zoo.cards import (
    Card,
    embedded_card,
    file_sha256,
    read_card,
    read_shipped,
    read_weights,
    shipped_weights,
    weight_file,
)
from vernier.zoo.containers import readings, tensors_in
from vernier.zoo.creation import create_model
from vernier.zoo.official import Recognised, UnknownNetworkError, recognise
from vernier.zoo.official.sesr import import_official
from vernier.zoo.own import OwnName, build_own, named_by_file, own_class, parse_own
from vernier.zoo.registry import (
    architecture_of,
    build,
    families,
    family_entry,
    get_entry,
    is_count,
    list_models,
)
from vernier.zoo.weight_files import (
    check_archive,
    check_config,
    check_shapes,
    kind_of,
    parse_arrays,
    read_by_kind,
    read_npz,
)

__all__ = [
    "fuses_cubes",
    "load_file",
    "load_model",
    "model_from_arrays",
    "new_card",
    "peek",
    "read_checkpoint",
    "read_weights",
    "save_weights",
]

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
    MemoryError,
    NotImplementedError,
)
# Values of numpy among the tensors: the best PSNR so far, and what their pickles are made of.
_NUMPY = (
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "_codecs.encode",
    *(f"numpy.dtypes.{kind}DType" for kind in ("Float64", "Float32", "Float16", "Int64", "Int32")),
)
# Torch's list of what may be unpickled is the process', not the thread's.
_UNPICKLING = Lock()


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
            safetensors; a checkpoint of our training, whose averaged weights are preferred; a
            checkpoint as authors publish it, by torch or as plain safetensors (see
            `official.recognise`), whose averaged weights are preferred too; or official SESR arrays
            (``.npz``, see `import_official`). What it holds tells which, not its name. Or
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
    model, card = load_file(path, *read_by_kind(path))
    if scale is not None and scale != card.scale:
        raise InputError(f"{path} is a model for scale {card.scale}, not {scale}")
    return model, card


def load_file(path: Path, kind: str, content: bytes) -> tuple[Model, Card]:
    """As `load_model`, of a file.

    Args:
        path: the file.
        kind, content: see `vernier.zoo.weight_files.read_by_kind`.

    Raises:
        InputError: as `load_model`.
    """
    if kind == "npz":
        return _load_official(path)
    if kind == "torch":
        return _load_checkpoint(path)
    arrays = parse_arrays(content, path)
    card = embedded_card(content, path)
    if card is None:
        return _load_published(_tensors(arrays), path)
    return model_from_arrays(arrays, card, path), card


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    # What was read may be read-only memory.
    return {key: torch.from_numpy(np.require(a, requirements="W")) for key, a in arrays.items()}


def _load_own(own: OwnName, scale: int | None) -> tuple[Model, Card]:
    network, file = own
    if file is None:
        raise InputError(
            f"{network} comes without weights: name them too, {network}@weights.safetensors"
        )
    path = weight_file(file)
    kind, raw = read_by_kind(path)
    if kind == "npz":
        raise InputError(f"{path}: one's own network is read from .safetensors, .pth, .pt or .ckpt")
    card = embedded_card(raw, path) if kind == "safetensors" else None
    content = _tensors(parse_arrays(raw, path)) if kind == "safetensors" else read_checkpoint(path)
    if card is not None:
        arrays = {key: tensor.numpy() for key, tensor in tensors_in(content, path).items()}
        model = model_from_arrays(arrays, card, path, network)
    elif _is_of_training(content):
        model, card = _load_training_checkpoint(content, path, network)
    else:
        if scale is None:
            raise InputError(f"{path} does not tell its scale: give it, --scale 2")
        model = build_own(network, scale, {})
        _load_state(model, _state_of(model, content, path), path)
        model = _deployed(model)
        card = new_card(model, network)
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
    tensors = _tensors(arrays)

    def make() -> Model:
        if own is not None:
            model = build_own(own, card.scale, dict(card.config))
        else:
            constructor = family_entry(card.architecture).constructor()
            model = build(constructor, card.scale, card.config, card.architecture)
        return model if model.deployed else model.skeleton()

    if own is None:
        if card.architecture not in families():
            raise named_by_file(card.architecture, path)
        _check_fits(make, {"scale": card.scale, **card.config}, tensors, path)
    model = make()
    _load_state(model, tensors, path)
    if own is None and card.receptive_radius != model.receptive_radius:
        raise InputError(
            f"{path}: its card says receptive_radius {card.receptive_radius}, that of its network "
            f"is {model.receptive_radius}"
        )
    return model.eval()


def _check_fits(
    make: Callable[[], Model],
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    path: Path,
) -> None:
    """Compare a file with the network that it says it holds, before memory is taken for that.

    Raises:
        InputError: they do not fit together.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    check_config(config, shapes.values(), path)
    with torch.device("meta"):
        draft = make()
    wanted = {key: tuple(tensor.shape) for key, tensor in draft.state_dict().items()}
    check_shapes(wanted, shapes, path, type(draft).__name__)


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
    kind = kind_of(path)
    if kind == "npz":
        return "sesr"
    if kind == "safetensors":
        card = read_card(path)
        if card is not None:
            return card.architecture
        return _recognised(_tensors(parse_arrays(path.read_bytes(), path)), path)[0].architecture
    content = read_checkpoint(path, whole=False)
    if _is_of_training(content):
        name: str = _training_config(content, path)["name"]
        return name if parse_own(name) else get_entry(name).family
    return _recognised(content, path)[0].architecture


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
    return (
        isinstance(content, dict)
        and {"model", "weights"} <= content.keys()
        and not isinstance(content["model"], Tensor)
    )


def read_checkpoint(path: Path, *, whole: bool = True) -> object:
    """What torch saved; not ``whole``, its tensors stay in the file until they are looked at.

    Numbers of numpy among them are passed over: nothing but tensors and plain values is built.

    Raises:
        InputError: it is damaged (of a whole file the checksums tell), no file of torch, or holds
            more than tensors and plain values.
    """
    try:
        check_archive(path)
        damaged = _damaged_part(path) if whole else None
        # Files from before torch 1.6 are no archives, and cannot be mapped.
        mapped = not whole and zipfile.is_zipfile(path)
        content: object = None if damaged else _unpickled(path, mapped)
    except InputError:
        raise
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


class _Ignored:
    """What stands for a value of numpy; it takes whatever its pickle says."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _unpickled(path: Path, mapped: bool) -> object:
    ignored: list[Any] = [(_Ignored, name) for name in _NUMPY]
    with _UNPICKLING, torch.serialization.safe_globals(ignored):
        if path.suffix != ".safetensors":
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        # By that name torch would take it for another format.
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)


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
    ema = checkpoint.get("ema")
    weights = checkpoint["weights"] if ema is None else ema
    if not isinstance(weights, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()
    ):
        raise InputError(f"{path} holds no tensors by name")
    weights = tensors_in(weights, path)

    def make() -> Model:
        model = create_model(**config)
        return model.skeleton() if checkpoint.get("deployed") is True else model

    if own is None:
        _check_fits(make, config, weights, path)
    model = make()
    _load_state(model, weights, path)
    deployed = _deployed(model)
    return deployed, new_card(deployed, config["name"])


def _training_config(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    config = checkpoint["model"]
    if (
        not isinstance(config, dict)
        or not all(isinstance(key, str) for key in config)
        or not isinstance(config.get("name"), str)
        or not is_count(config.get("scale"))
    ):
        raise InputError(f"{path}: its 'model' does not tell name and scale")
    return config


def _deployed(model: Model) -> Model:
    return (model if model.deployed else model.deploy()).eval()


def _load_published(content: object, path: Path) -> tuple[Model, Card]:
    found, left_out = _recognised(content, path)

    def make() -> Model:
        constructor = family_entry(found.architecture).constructor()
        try:
            return build(constructor, found.scale, found.config, found.architecture)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    _check_fits(make, {"scale": found.scale, **found.config}, found.state, path)
    model = make()
    _load_state(model, found.state, path)
    deployed = _deployed(model)
    notes = found.notes
    if left_out:
        some = ", ".join(shown(key) for key in left_out[:3])
        more = ", ..." if left_out[3:] else ""
        notes = "; ".join(filter(None, (notes, f"left out of the file: {some}{more}")))
    return deployed, replace(new_card(deployed, found.name), notes=notes)


def _recognised(content: object, path: Path) -> tuple[Recognised, list[str]]:
    """The network, and the names of the tensors that are no part of it."""
    unknown: InputError | None = None
    unfit: InputError | None = None
    for state, left_out in readings(tensors_in(content, path)):
        if not state:
            continue
        try:
            return recognise(state), left_out
        except UnknownNetworkError as error:
            unknown = unknown or error
        except InputError as error:
            unfit = unfit or error
    reason = unfit or unknown
    raise InputError(f"{path}: {reason or 'its tensors are those of no network'}") from reason


def _state_of(model: Model, content: object, path: Path) -> dict[str, Tensor]:
    """The tensors of a published checkpoint that are the network's, by its own names."""
    wanted = model.state_dict().keys()
    found = list(readings(tensors_in(content, path), wanted))
    whole = [state for state, _ in found if wanted <= state.keys()]
    if whole:
        return min(whole, key=len)
    # None fits: of the nearest the first that is missing is told.
    return max((state for state, _ in found), key=lambda state: len(wanted & state.keys()))


def _load_official(path: Path) -> tuple[Model, Card]:
    """Arrays named as `import_official` wants them, trained in the authors' collapsed mode."""
    arrays = read_npz(path)
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
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    check_shapes(wanted, shapes, path, type(model).__name__)
    for key, tensor in state.items():
        if not tensor.isfinite().all():
            raise InputError(f"{path} holds values that are not finite (first: {key})")
    model.load_state_dict(state)
