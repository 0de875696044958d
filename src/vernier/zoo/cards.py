"""Weight files and their cards, read without torch: the OpenVINO engine needs nothing else.

A weight file is safetensors whose metadata says everything: ``format`` = "vernier",
``architecture``, ``config`` and ``card`` as JSON, and ``form``. Weights that come with the
package also have their card beside them as JSON, which adds the file's sha256.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vernier.errors import InputError
from vernier.io.files import reason_of, shown
from vernier.zoo.registry import facts_with, get_entry, list_models, nearest
from vernier.zoo.weight_files import parse_arrays, parse_header, parse_json, read_header

if TYPE_CHECKING:
    import numpy as np

    from vernier.zoo.facts import Facts

__all__ = [
    "WEIGHTS_FOLDER",
    "Card",
    "available_scales",
    "embedded_card",
    "file_sha256",
    "load_card",
    "read_card",
    "read_shipped",
    "read_weights",
    "shipped_weights",
    "weight_file",
    "weights_path",
]

WEIGHTS_FOLDER = Path(__file__).parent.parent / "weights"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".npz", ".tar", ".bin", ".model")
_MAX_SCALE = 1024
_MAX_RADIUS = 65535


@dataclass(frozen=True)
class Card:
    """What we state about trained weights.

    Attributes:
        name: registry name, or a free one for sizes that no registry entry has.
        scale: upscaling factor.
        architecture: the family, "sesr".
        config: constructor arguments without ``scale``.
        receptive_radius: LR pixels on each side that an output pixel depends on; None = all.
        form: "deployed" (as executed) or "trainable".
        recipe: name of the training recipe.
        data: what it was trained on.
        steps: optimisation steps.
        measured: per test set {"psnr": dB, "ssim": ...}, by the papers' protocol.
        licence: of the weights.
        sha256: of the safetensors file; empty inside the file itself.
        notes: anything else that a user should know.
        wavelengths: centre in nanometres of each band that a network for cubes was trained on;
            empty where the training data did not say.
    """

    name: str
    scale: int
    architecture: str
    config: Mapping[str, Any]
    receptive_radius: int | None
    form: str = "deployed"
    recipe: str = ""
    data: str = ""
    steps: int = 0
    measured: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    licence: str = ""
    sha256: str = ""
    notes: str = ""
    wavelengths: Sequence[float] = ()

    def __post_init__(self) -> None:
        # JSON has lists: what is read back must equal what was written.
        object.__setattr__(self, "wavelengths", tuple(self.wavelengths))

    @property
    def facts(self) -> Facts:
        """What is known of the network, see `vernier.zoo.registry.facts_with`."""
        return facts_with(self.architecture, self.scale, self.config)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, origin: str) -> Card:
        """Read `to_json`'s text; ``origin`` names it in the error.

        Raises:
            InputError: not JSON, or its fields are not those of a card, or not of their types.
        """
        try:
            values = parse_json(text)
        except ValueError as error:
            raise InputError(f"{origin}: the card is not JSON: {reason_of(error)}") from error
        if not isinstance(values, dict):
            raise InputError(f"{origin}: the card is not a JSON object")
        unknown = values.keys() - {f.name for f in fields(cls)}
        if unknown:
            names = shown(", ".join(sorted(unknown)))
            raise InputError(f"{origin}: unknown card fields {names}")
        for name, value in values.items():
            fits, what = _FIELD_TYPES.get(name, _TEXT)
            if not fits(value):
                told = shown(json.dumps(value, ensure_ascii=False))
                told = told if len(told) <= 40 else f"{told[:40]}..."
                raise InputError(f"{origin}: the card's {name} must be {what}, not {told}")
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"{origin}: the card is incomplete: {error}") from error


def _is_whole(value: object, first: int, last: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and first <= value <= last


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _is_measured(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(scores, dict) and all(map(_is_number, scores.values()))
        for scores in value.values()
    )


# What a card's fields must be; the others are texts.
_TEXT: tuple[Callable[[Any], bool], str] = (lambda value: isinstance(value, str), "a text")
_FIELD_TYPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda v: isinstance(v, str) and v != "" and v.isprintable(), "a name in one line"),
    "scale": (lambda v: _is_whole(v, 1, _MAX_SCALE), f"a whole number from 1 to {_MAX_SCALE}"),
    "config": (lambda v: isinstance(v, dict), "arguments by name"),
    "receptive_radius": (
        lambda v: v is None or _is_whole(v, 0, _MAX_RADIUS),
        f"null or a whole number from 0 to {_MAX_RADIUS}",
    ),
    "form": (lambda v: v in ("deployed", "trainable"), '"deployed" or "trainable"'),
    "steps": (lambda v: _is_whole(v, 0), "a whole number"),
    "measured": (_is_measured, "numbers by name for each test set"),
    "wavelengths": (
        lambda v: isinstance(v, list) and all(map(_is_number, v)),
        "a list of numbers",
    ),
}


def weights_path(name: str, scale: int) -> Path | None:
    """The safetensors file that comes with the package for this model, or None."""
    path = WEIGHTS_FOLDER / f"{get_entry(name).name}-x{scale}.safetensors"
    return path if path.is_file() else None


def available_scales(name: str) -> tuple[int, ...]:
    """The scales for which weights of this model come with the package."""
    return tuple(scale for scale in get_entry(name).scales if weights_path(name, scale))


def shipped_weights(name: str, scale: int | None = None) -> Path:
    """The weights that come with the package; without ``scale``, those of the only scale there is.

    Raises:
        InputError: unknown model, no such weights, or several scales and none chosen.
    """
    scales = available_scales(name)
    if scale is None and len(scales) == 1:
        (scale,) = scales
    if scale in scales:
        path = weights_path(name, scale)
        assert path is not None
        return path
    if not scales:
        raise InputError(f"no weights of {name} come with Vernier; give a weight file instead")
    offered = ", ".join(map(str, scales))
    if scale is None:
        raise InputError(f"{name} has weights for scales {offered}: choose one")
    raise InputError(f"no weights of {name} for scale {scale} come with Vernier, only {offered}")


def weight_file(name_or_path: str | Path) -> Path:
    """The weight file that a user means with something that is no model's name.

    Of the folder of a training run it is the weights that the run has ended with.

    Raises:
        InputError: there is no such file.
    """
    path = Path(name_or_path)
    if path.is_dir():
        path /= "weights.safetensors"
        if not path.is_file():
            raise InputError(
                f"{name_or_path}: this folder holds no weights.safetensors, which a training run "
                "writes when it ends; name a weight file"
            )
        return path
    if not path.is_file():
        if path.suffix.lower() in _SUFFIXES:
            raise InputError(f"{name_or_path}: no such file")
        raise InputError(
            f"{name_or_path}: no such weight file or model"
            f"{nearest(str(name_or_path), list_models())}; `vernier models` lists them"
        )
    return path


def load_card(name: str, scale: int) -> Card:
    """The card of weights that come with the package.

    Raises:
        InputError: there are no such weights, or the card cannot be read.
    """
    path = shipped_weights(name, scale).with_suffix(".json")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read the card {path}: {error.strerror}") from error
    return Card.from_json(text, str(path))


def read_weights(path: Path | str) -> tuple[dict[str, np.ndarray], Card]:
    """Arrays by parameter name (as in the model's state dict) and the card, from our safetensors.

    Raises:
        InputError: the file is missing, damaged, not one of ours, or holds values that are not
            finite.
    """
    path = Path(path)
    return _parse_weights(_content(path), path)


def read_shipped(name: str, scale: int | None = None) -> tuple[dict[str, np.ndarray], Card]:
    """As `read_weights`, of weights that come with the package; the card has their sha256.

    Raises:
        InputError: there are no such weights, or they are not those that their card speaks of.
    """
    path = shipped_weights(name, scale)
    content = _content(path)
    arrays, embedded = _parse_weights(content, path)
    card = load_card(name, embedded.scale)
    if card.sha256 != hashlib.sha256(content).hexdigest():
        raise InputError(f"{path} is damaged: its sha256 is not that of its card; reinstall")
    return arrays, card


def read_card(path: Path | str) -> Card | None:
    """The card inside safetensors, read without the tensors; None = Vernier did not write them.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = Path(path)
    return _card_in(read_header(path), path)


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"no weight file {path}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the weight file {path}: {reason_of(error)}") from error


def _parse_weights(content: bytes, path: Path) -> tuple[dict[str, np.ndarray], Card]:
    arrays = parse_arrays(content, path)
    card = embedded_card(content, path)
    if card is None:
        raise _not_ours(path)
    return arrays, card


def embedded_card(content: bytes, path: Path) -> Card | None:
    """The card in safetensors; None = Vernier did not write them.

    Args:
        content: of the file, as far as its header goes.
        path: for messages.

    Raises:
        InputError: the header is damaged, or holds a card that is none.
    """
    return _card_in(parse_header(content, path), path)


def _card_in(header: Mapping[str, Any], path: Path) -> Card | None:
    metadata = header.get("__metadata__", {})
    if metadata.get("format") != "vernier" or "card" not in metadata:
        return None
    if not isinstance(metadata["card"], str):
        raise InputError(f"{path}: its card is no text")
    return Card.from_json(metadata["card"], str(path))


def _not_ours(path: Path) -> InputError:
    return InputError(f"{path} is a safetensors file, but not one that Vernier wrote")


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
