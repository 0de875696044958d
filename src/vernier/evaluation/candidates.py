"""The networks of a table: each loaded once, named for its row, and measured on a twin."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vernier.devices import memory_errors
from vernier.errors import InputError
from vernier.io.files import reason_of
from vernier.models.frozen import frozen_twin
from vernier.models.layers import FusionModel
from vernier.zoo import list_models, load_model, weights_path
from vernier.zoo.checkpoints import fuses_cubes
from vernier.zoo.contestants import table_name
from vernier.zoo.own import file_of
from vernier.zoo.registry import facts_of

__all__ = [
    "Candidate",
    "ModelSource",
    "is_for_cubes",
    "load_candidates",
    "name_of",
    "on_device",
    "timed",
]

ModelSource = str | Path | nn.Module


@dataclass(frozen=True)
class Candidate:
    """A network to measure.

    Attributes:
        name: for its row, not yet numbered.
        published_name: under which papers print its family.
        module: the network.
        scale: its scale.
        file: its weights; None = it was given as a module.
    """

    name: str
    published_name: str
    module: nn.Module
    scale: int
    file: Path | None = None


def is_for_cubes(source: ModelSource) -> bool:
    """Whether a network fuses cubes, told without loading its weights; else it takes pictures.

    Raises:
        InputError: no network, or one that lacks what a network tells of itself.
    """
    if isinstance(source, nn.Module):
        return facts_of(source).colour == "cube"
    return fuses_cubes(source)


def name_of(source: ModelSource) -> str:
    """What a table calls a network, before it is numbered."""
    return type(source).__name__ if isinstance(source, nn.Module) else table_name(source)


def load_candidates(sources: Sequence[ModelSource], scale: int | None) -> list[Candidate]:
    """The networks, on the CPU; a file or name that comes again is not loaded again.

    Args:
        sources: registry names, weight files, or modules.
        scale: they must have it; None takes the scale that each has.

    Raises:
        InputError: one cannot be loaded, lacks what a network tells of itself, or has another
            scale.
    """
    loaded: dict[str, Candidate] = {}
    found = []
    for source in sources:
        if isinstance(source, nn.Module):
            found.append(_of_module(source, scale))
            continue
        if str(source) not in loaded:
            loaded[str(source)] = _of_weights(source, scale)
        found.append(loaded[str(source)])
    return found


def _of_module(module: nn.Module, scale: int | None) -> Candidate:
    kind = name_of(module)
    facts = facts_of(module)
    if facts.colour == "cube" and not isinstance(module, FusionModel):
        raise InputError(f"{kind} fuses cubes; derive it from vernier.models.layers.FusionModel")
    if scale is not None and facts.scale != scale:
        raise InputError(f"{kind} is a model for scale {facts.scale}, not {scale}")
    return Candidate(kind, kind, module, facts.scale)


def _of_weights(source: str | Path, scale: int | None) -> Candidate:
    module, card = load_model(source, scale)
    shipped = isinstance(source, str) and source in list_models()
    file = weights_path(str(source), card.scale) if shipped else file_of(source)
    return Candidate(name_of(source), card.name, module, card.scale, file)


def on_device(candidates: Sequence[Candidate], device: torch.device) -> list[Candidate]:
    """Networks that are ready to be measured: on the device, in eval mode.

    They are twins: a network that was handed in keeps its place and its modes, those of its layers
    too, and others may use or train it meanwhile.

    Raises:
        InputError: one cannot be copied.
    """
    ready = []
    for candidate in candidates:
        try:
            module = frozen_twin(candidate.module).to(device)
        # What a network keeps beside its tensors, a lock or an open file, may refuse.
        except (TypeError, pickle.PicklingError) as error:
            raise InputError(
                f"{candidate.name} cannot be copied ({reason_of(error)}); keep tensors and plain "
                "values in it alone"
            ) from error
        ready.append(replace(candidate, module=module))
    return ready


def timed(what: str, run: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What a method makes, and the seconds that it takes.

    Args:
        what: the method and what it works on, for messages.
        run: does the work.

    Raises:
        InputError: memory does not suffice.
    """
    start = time.perf_counter()
    try:
        with memory_errors():
            result = run()
    except MemoryError as error:
        raise InputError(
            f"{what}: memory does not suffice; leave it out, or use another --device"
        ) from error
    return result, time.perf_counter() - start
