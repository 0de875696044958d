"""Somebody's own network, named as ``package.module:Class``: its code is found and checked.

Only a name that the user gave leads to an import. What a weight file says never does.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vernier.errors import InputError, VernierError
from vernier.extras import named_extras
from vernier.io.files import reason_of
from vernier.zoo.registry import build, facts_of, list_models, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from vernier.models.layers import FusionModel, Model

__all__ = [
    "OwnName",
    "build_own",
    "check_contract",
    "file_of",
    "named_by_file",
    "own_class",
    "parse_own",
    "table_name",
    "with_file",
]

_NAME = re.compile(r"(?P<network>[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*)(?:@(?P<file>.+))?")
# Sides that are a multiple of nothing: a network pads by itself.
_LR_SIZE = (11, 9)


class OwnName(NamedTuple):
    """What ``package.module:Class`` or ``package.module:Class@weights.safetensors`` means.

    Attributes:
        network: "package.module:Class".
        file: its weights, or None.
    """

    network: str
    file: Path | None


def parse_own(source: object) -> OwnName | None:
    """Read the name of somebody's own network; None = it is something else."""
    match = _NAME.fullmatch(source) if isinstance(source, str) else None
    if match is None:
        return None
    return OwnName(match["network"], Path(match["file"]) if match["file"] else None)


def file_of(source: str | Path) -> Path | None:
    """The file that a model is read from, whether it exists or not; None = a name needs none."""
    own = parse_own(source)
    if own is not None:
        return own.file
    return None if source in list_models() else Path(source)


def table_name(source: str | Path) -> str:
    """The name that a table or a figure shows for a registry name or a weight file.

    A file is called by its name without the suffix; every training run calls its weights
    "weights", so those are called by the folder of the run, as the run itself is.
    """
    path = file_of(source)
    if path is None:
        return str(source)
    if path.is_dir():
        return path.absolute().name
    return path.absolute().parent.name if path.stem == "weights" else path.stem


def with_file(name: str, file: Path) -> str:
    """What to load trained weights by: the file, behind the name of one's own network if it is one.

    Args:
        name: that the user gave, as in a recipe.
        file: its weights.
    """
    own = parse_own(name)
    return str(file) if own is None else f"{own.network}@{file}"


def named_by_file(architecture: str, path: Path) -> InputError:
    """The error for a weight file whose network is none of Vernier's, and not named by the user."""
    if parse_own(architecture) is None:
        return InputError(f"{path} holds weights of the unknown architecture {architecture!r}")
    return InputError(
        f"{path} holds weights of {architecture}, and code that a file names is not run: "
        f"if you trust that code, name it too: {architecture}@{path}"
    )


def own_class(network: str) -> type[Model]:
    """The class that ``package.module:Class`` names, imported.

    The working folder is searched first, as by ``python -m``, then what is installed.

    Raises:
        InputError: no such module or class, importing it fails, or it is not a subclass of
            `SRModel` or `FusionModel`.
    """
    from vernier.models.layers import FusionModel, SRModel

    module_name, _, class_name = network.partition(":")
    try:
        with _working_folder(), named_extras():
            module = import_module(module_name)
    except VernierError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(
                f"{network}: there is no module {error.name}, neither in this folder nor installed"
            ) from error
        raise _failed(f"{network}: importing {module_name} failed", error) from error
    # A script without a guard may even leave.
    except (Exception, SystemExit) as error:
        raise _failed(f"{network}: importing {module_name} failed", error) from error
    found = getattr(module, class_name, None)
    contract = (SRModel, FusionModel)
    if found is None:
        offered = [
            name
            for name, value in vars(module).items()
            if inspect.isclass(value) and issubclass(value, contract) and value not in contract
        ]
        raise InputError(
            f"{network}: the module {module_name} ({getattr(module, '__file__', None)}) has no "
            f"{class_name}{nearest(class_name, offered)}"
            + (f"; its networks: {', '.join(offered)}" if offered else "")
        )
    if not inspect.isclass(found) or not issubclass(found, contract) or found in contract:
        raise InputError(
            f"{network} is not a subclass of SRModel or FusionModel of vernier.models.layers"
        )
    return found


@contextmanager
def _working_folder() -> Iterator[None]:
    """The working folder at the head of the search path, for one lookup."""
    invalidate_caches()
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        # The first of that name: another one was there before.
        sys.path.remove(folder)


def build_own(network: str, scale: int, config: dict[str, Any]) -> Model:
    """A new network of somebody's class, held to the contract.

    Args:
        network: "package.module:Class".
        scale: upscaling factor.
        config: all other constructor arguments.

    Raises:
        InputError: see `own_class` and `check_contract`, or the constructor refuses.
    """
    constructor = own_class(network)
    if "scale" not in inspect.signature(constructor).parameters:
        raise InputError(f"{network}: its constructor has no argument scale")
    try:
        model = build(constructor, scale, config, network)
    except InputError:
        raise
    except Exception as error:
        raise _failed(f"{network} cannot be built", error) from error
    check_contract(model, scale, network)
    return model


def check_contract(model: Model, scale: int, name: str) -> None:
    """Make sure that a network is what the rest of Vernier takes it for.

    Its ``forward`` runs once, on zeros, unless it is on torch's meta device.

    Args:
        model: just built.
        scale: that it was built with.
        name: for messages.

    Raises:
        InputError: an attribute is missing or wrong, ``config`` does not make the same network
            again, or ``forward`` fails or gives another shape.
    """
    from vernier.models.layers import FusionModel

    facts = facts_of(model)
    if facts.scale != scale:
        raise InputError(f"{name}: built for scale {scale}, its attribute scale is {facts.scale}")
    fuses = isinstance(model, FusionModel)
    if fuses != (facts.colour == "cube"):
        expected = '"cube"' if fuses else '"luma" or "rgb"'
        raise InputError(f"{name}: its colour must be {expected}, not {facts.colour!r}")
    _check_config(model, name)
    if any(parameter.is_meta for parameter in model.parameters()):
        return
    training = model.training
    model.eval()
    try:
        if isinstance(model, FusionModel):
            _check_fusion(model, name)
        else:
            height, width = _LR_SIZE
            lr = (1, facts.channels, height, width)
            _check_shape(model, name, "forward", [lr], (1, lr[1], scale * height, scale * width))
    finally:
        model.train(training)


def _check_config(model: Model, name: str) -> None:
    import json

    try:
        config = model.config
    except NotImplementedError as error:
        raise InputError(
            f"{name}: its constructor takes any number of arguments, so the property config must "
            "tell those that make this network"
        ) from error
    known = set(inspect.signature(type(model)).parameters) - {"scale"}
    if not isinstance(config, dict) or not config.keys() <= known:
        raise InputError(
            f"{name}: config must hold arguments of its constructor without scale "
            f"({', '.join(sorted(known)) or 'none'}), not {config!r}"
        )
    try:
        json.dumps(config)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}: config cannot be written as JSON ({error}): take plain numbers, texts and "
            "lists as arguments, or override config"
        ) from error


def _check_fusion(model: FusionModel, name: str) -> None:
    height, width = _LR_SIZE
    size = (model.scale * height, model.scale * width)
    aligned = (2 * model.size_multiple, 3 * model.size_multiple)
    bands, guides = model.channels, model.guide_channels
    both = (1, bands + guides, *aligned)
    _check_shape(model, name, "forward_aligned", [both], (1, bands, *aligned))
    lr, guide = (1, bands, height, width), (1, guides, *size)
    _check_shape(model, name, "forward", [lr, guide], (1, bands, *size))


def _check_shape(
    model: Model,
    name: str,
    method: str,
    inputs: list[tuple[int, ...]],
    expected: tuple[int, ...],
) -> None:
    import torch

    given = " and ".join(map(str, inputs))
    parameter = next(model.parameters(), torch.empty(0))
    try:
        # What is drawn in it is not missing from the training that follows.
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            result: Tensor = getattr(model, method)(
                *(torch.zeros(shape).to(parameter) for shape in inputs)
            )
    except NotImplementedError as error:
        raise InputError(f"{name} does not implement {method}") from error
    except Exception as error:
        raise _failed(f"{name}: {method} failed for {given}", error) from error
    if not isinstance(result, torch.Tensor) or tuple(result.shape) != expected:
        made = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
        raise InputError(f"{name}: {method} made {made} of {given}, not {expected}")


def _failed(what: str, error: BaseException) -> InputError:
    return InputError(f"{what}: {type(error).__name__}: {reason_of(error)}")
