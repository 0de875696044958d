"""Weight files and their cards, read without torch: the OpenVINO engine needs nothing else.

A weight file is safetensors whose metadata says everything: ``format`` = "vernier",
``architecture``, ``config`` and ``card`` as JSON, and ``form``. Weights that come with the
package also have their card beside them as JSON, which adds the file's sha256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vernier.errors import InputError
from vernier.io.files import reason_of
from vernier.zoo.registry import facts_with, get_entry, list_models, nearest

if TYPE_CHECKING:
    import numpy as np

    from vernier.zoo.facts import Facts

__all__ = [
    "WEIGHTS_FOLDER",
    "Card",
    "available_scales",
    "check_finite",
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
# A safetensors file begins with the size of its JSON header.
_SIZE_BYTES = 8
_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".npz")


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
            InputError: not JSON, or its fields are not those of a card.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{origin}: the card is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise InputError(f"{origin}: the card is not a JSON object")
        unknown = values.keys() - {f.name for f in fields(cls)}
        if unknown:
            raise InputError(f"{origin}: unknown card fields {', '.join(sorted(unknown))}")
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"{origin}: the card is incomplete: {error}") from error


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

    Raises:
        InputError: there is no such file.
    """
    path = Path(name_or_path)
    if not path.is_file():
        if path.suffix in _SUFFIXES:
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


def read_card(path: Path | str) -> Card:
    """The card inside our safetensors, read without the tensors.

    Raises:
        InputError: the file is missing, damaged or not one of ours.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(_SIZE_BYTES), "little")
            if size > path.stat().st_size:
                raise InputError(f"{path} is not a readable safetensors file: it is cut off")
            return _embedded_card(file.read(size), path)
    except OSError as error:
        raise InputError(f"cannot read the weight file {path}: {reason_of(error)}") from error


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"no weight file {path}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the weight file {path}: {reason_of(error)}") from error


def _parse_weights(content: bytes, path: Path) -> tuple[dict[str, np.ndarray], Card]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays: dict[str, np.ndarray] = load(content)
    # What numpy has no type for is a KeyError.
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from error
    size = int.from_bytes(content[:_SIZE_BYTES], "little")
    card = _embedded_card(content[_SIZE_BYTES : _SIZE_BYTES + size], path)
    check_finite(arrays, path)
    return arrays, card


def _embedded_card(header: bytes, path: Path) -> Card:
    try:
        values = json.loads(header)
    except ValueError as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from error
    metadata = values.get("__metadata__", {}) if isinstance(values, dict) else None
    if not isinstance(metadata, dict):
        raise InputError(f"{path} is not a readable safetensors file: its header is damaged")
    if metadata.get("format") != "vernier" or "card" not in metadata:
        raise InputError(f"{path} is a safetensors file, but not one that Vernier wrote")
    return Card.from_json(metadata["card"], str(path))


def check_finite(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Refuse weights that a training which diverged left behind.

    Raises:
        InputError: one of them is infinite or no number.
    """
    import numpy as np

    for key, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{path} holds values that are not finite (first: {key})")


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
