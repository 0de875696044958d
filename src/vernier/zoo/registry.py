"""The models by name, with the facts that can be known without importing torch."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeGuard

from vernier.errors import InputError
from vernier.io.files import reason_of
from vernier.zoo.facts import Facts, Reconstruction

if TYPE_CHECKING:
    from torch import nn

    from vernier.models.layers import Model

__all__ = [
    "DEFAULT_MODEL",
    "ModelEntry",
    "architecture_of",
    "build",
    "facts_of",
    "facts_with",
    "families",
    "family_entry",
    "get_entry",
    "is_count",
    "list_models",
    "nearest",
]


@dataclass(frozen=True)
class ModelEntry:
    """One named variant of a published system.

    Attributes:
        name: what the user types, for example "sesr-m5".
        family: the architecture, shared by all variants ("sesr").
        scales: the upscaling factors it is offered for.
        config: constructor arguments that make this variant.
        target: "module:class" that builds it.
        facts: at the first of its scales; `facts_at` has those of the others.
    """

    name: str
    family: str
    scales: tuple[int, ...]
    config: Mapping[str, Any]
    target: str
    facts: Facts

    def facts_at(self, scale: int) -> Facts:
        """The facts of the variant for another of its scales."""
        return replace(self.facts, scale=scale)

    def constructor(self) -> type[Model]:
        """The model's class; imports torch."""
        module, _, attribute = self.target.partition(":")
        constructor: type[Model] = getattr(import_module(module), attribute)
        return constructor


# Measured on Set5 by the papers' protocol, the worst of what comes with weights; see
# `tests/upscaling/test_upscaler.py`.
_SESR_PRECISIONS = MappingProxyType({"bf16": 0.0007})
_GRLA_PRECISIONS = MappingProxyType({"bf16": 0.0064})


def _sesr_facts(scale: int, num_blocks: int) -> Facts:
    return Facts(
        scale=scale,
        colour="luma",
        channels=1,
        # Two 5x5 convolutions, and a 3x3 one per block.
        receptive_radius=2 + num_blocks + 2,
        precisions=_SESR_PRECISIONS,
    )


def _sesr(name: str, num_blocks: int, num_features: int, expansion: int) -> ModelEntry:
    return ModelEntry(
        name=name,
        family="sesr",
        scales=(2, 3, 4),
        config=MappingProxyType(
            {"num_blocks": num_blocks, "num_features": num_features, "expansion": expansion}
        ),
        target="vernier.models.sesr:SESR",
        facts=_sesr_facts(2, num_blocks),
    )


def _psrt(
    name: str, shuffle: str, embed: int, receptive_radius: int | None, **config: Any
) -> ModelEntry:
    return ModelEntry(
        name=name,
        family="psrt",
        scales=tuple(range(2, 17)),
        config=MappingProxyType({"shuffle": shuffle, "embed": embed, **config}),
        target="vernier.models.psrt:PSRT",
        facts=Facts(
            scale=2,
            colour="cube",
            channels=31,
            guide_channels=3,
            size_multiple=8 if shuffle == "none" else 16,
            receptive_radius=receptive_radius,
        ),
    )


def _kernel_attention(number: int, receptive_radius: int | None) -> ModelEntry:
    plain = _psrt(f"psrt-ka{number}", "none", 48, receptive_radius)
    config = MappingProxyType({**plain.config, "kernel_attention": f"ka{number}"})
    return replace(plain, config=config)


def _grla(name: str, window_size: int, config: Mapping[str, Any]) -> ModelEntry:
    luma = config.get("colour") == "luma"
    return ModelEntry(
        name=name,
        family="grla",
        scales=(2, 3, 4),
        config=MappingProxyType({"window_size": window_size, **config}),
        target="vernier.models.grla:GRLA",
        facts=Facts(
            scale=2,
            colour="luma" if luma else "rgb",
            channels=1 if luma else 3,
            size_multiple=window_size,
            precisions=_GRLA_PRECISIONS,
            reconstruction=Reconstruction("last"),
        ),
    )


def _edsr(name: str, num_blocks: int, num_features: int) -> ModelEntry:
    return ModelEntry(
        name=name,
        family="edsr",
        scales=(2, 3, 4),
        config=MappingProxyType({"num_blocks": num_blocks, "num_features": num_features}),
        target="vernier.models.edsr:EDSR",
        facts=Facts(
            scale=2,
            colour="rgb",
            channels=3,
            # Head, two convolutions a block, the body's last, and the tail.
            receptive_radius=1 + 2 * num_blocks + 1 + 2,
        ),
    )


def _hat(name: str, embed_dim: int, groups: int, compress: int, squeeze: int) -> ModelEntry:
    config = {
        "channels": 3,
        "embed_dim": embed_dim,
        "depths": [6] * groups,
        "num_heads": [6] * groups,
        "compress_ratio": compress,
        "squeeze_factor": squeeze,
    }
    return ModelEntry(
        name=name,
        family="hat",
        scales=(2, 3, 4),
        config=MappingProxyType(config),
        target="vernier.models.hat:HAT",
        facts=Facts(
            scale=2,
            colour="rgb",
            channels=3,
            size_multiple=16,
            # Channel attention pools over the whole picture: there is no radius.
            receptive_radius=None,
            # Three convolutions of the LR picture, and one of every larger resolution.
            reconstruction=Reconstruction("conv_after_body", radius=4),
        ),
    )


# Kernel attention whose kernels are the same everywhere and for every picture; those of the others
# belong to windows that divide the whole map.
_ON_THE_MAP = frozenset({5, 6, 7, 8, 10, 11, 12, 13, 16, 19, 20})

# Where the user names none: fast enough for 4K on a laptop.
DEFAULT_MODEL = "sesr-m5"

_MODELS: Mapping[str, ModelEntry] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            _sesr("sesr-m3", 3, 16, 256),
            _sesr("sesr-m5", 5, 16, 256),
            _sesr("sesr-m7", 7, 16, 256),
            _sesr("sesr-m11", 11, 16, 64),
            _sesr("sesr-xl", 11, 32, 64),
            # Small enough to be trained on a CPU.
            _grla(
                "grla-s",
                8,
                {
                    "num_features": 24,
                    "num_blocks": 2,
                    "num_heads": 2,
                    "colour": "luma",
                    "input_skip": True,
                },
            ),
            _grla("grla", 16, {"num_features": 55, "num_blocks": 6, "num_heads": 5}),
            # An early re-implementation in another arrangement, to load its weights.
            ModelEntry(
                name="grla-seq",
                family="grla-seq",
                scales=(2, 3, 4),
                config=MappingProxyType({"num_features": 55, "num_blocks": 6}),
                target="vernier.models.grla_seq:GRLASeq",
                facts=Facts(scale=2, colour="luma", channels=1, size_multiple=8),
            ),
            # Windows are cut from the whole picture, padded and rolled: no halo is enough.
            ModelEntry(
                name="dctlsa",
                family="dctlsa",
                scales=(2, 3, 4),
                config=MappingProxyType({"num_features": 55, "num_blocks": 6, "num_heads": 5}),
                target="vernier.models.dctlsa:DCTLSA",
                facts=Facts(scale=2, colour="rgb", channels=3, size_multiple=16),
            ),
            _edsr("edsr-small", 8, 32),
            _edsr("edsr-baseline", 16, 64),
            _hat("hat-s", 144, 6, 24, 24),
            _hat("hat", 180, 6, 3, 30),
            _hat("hat-l", 180, 12, 3, 30),
            # In guide pixels: head and tail, a 3x3 convolution each, and the block in between.
            _psrt("psrt-s", "aligned", 16, 17, num_blocks=1, num_heads=4),
            _psrt("psrt", "aligned", 32, 17),
            _psrt("psrt-noshuffle", "none", 48, 9),
            # An early fork's misplaced shuffle, to load its weights and to compare with.
            _psrt("psrt-fork", "misaligned", 48, None),
            # 18 convolutions, each of which may step over a window's border, and the windows.
            *(_kernel_attention(i, 44 if i in _ON_THE_MAP else None) for i in range(1, 23)),
        )
    }
)


def list_models() -> list[str]:
    """The names that `create_model` knows, smallest model of a family first.

    Example:
        >>> list_models()[:3]
        ['sesr-m3', 'sesr-m5', 'sesr-m7']
    """
    return list(_MODELS)


def nearest(word: str, candidates: Iterable[str]) -> str:
    """ " (did you mean 'x'?)" for the nearest candidate, or an empty string."""
    close = difflib.get_close_matches(word, list(candidates), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def get_entry(name: str) -> ModelEntry:
    """The facts about one model.

    Raises:
        InputError: no model has this name; the message offers the nearest one.
    """
    if name not in _MODELS:
        raise InputError(
            f"unknown model {name!r}{nearest(name, _MODELS)}; known: {', '.join(_MODELS)}, "
            "or your own as package.module:Class"
        )
    return _MODELS[name]


def family_entry(family: str) -> ModelEntry:
    """An entry of the family, to `build` other sizes of it.

    Raises:
        InputError: no such family.
    """
    for entry in _MODELS.values():
        if entry.family == family:
            return entry
    raise InputError(f"unknown architecture {family!r}; known: {', '.join(families())}")


def families() -> list[str]:
    """The architectures of `list_models`."""
    return list(dict.fromkeys(entry.family for entry in _MODELS.values()))


def facts_with(architecture: str, scale: int, config: Mapping[str, Any]) -> Facts:
    """What is known of the network that these constructor arguments make.

    Torch is imported, except for a SESR.

    Args:
        architecture: a family of the registry.
        scale: upscaling factor.
        config: all constructor arguments but ``scale``.

    Raises:
        InputError: no such family, or arguments that its constructor refuses.
    """
    if architecture == "sesr" and isinstance(config.get("num_blocks"), int):
        return _sesr_facts(scale, config["num_blocks"])
    import torch

    # Its layers are looked at, not run: no numbers need be drawn for them.
    with torch.device("meta"):
        return facts_of(
            build(family_entry(architecture).constructor(), scale, config, architecture)
        )


def facts_of(module: nn.Module) -> Facts:
    """What a network tells of itself, and what was measured of its family.

    Args:
        module: one of ours, or any with ``scale`` and ``colour``; ``channels`` (1 for luma, 3 for
            RGB), ``size_multiple`` (1) and ``receptive_radius`` (None) may be left out.

    Raises:
        InputError: an attribute is missing, or none that a network can have.
    """
    kind = type(module).__name__
    scale, colour = getattr(module, "scale", None), getattr(module, "colour", None)
    if not is_count(scale) or colour not in ("luma", "rgb", "cube"):
        raise InputError(
            f"{kind} cannot be used: it needs the attributes scale (an integer) and colour "
            f'("luma", "rgb" or "cube")'
        )
    channels = getattr(module, "channels", {"luma": 1, "rgb": 3}.get(colour))
    guide_channels = getattr(module, "guide_channels", 0) if colour == "cube" else 0
    if not is_count(channels):
        raise InputError(f"{kind} needs the attribute channels, the number of its bands")
    if colour != "cube" and channels != (1 if colour == "luma" else 3):
        raise InputError(f"{kind} has {channels} channels, which do not fit the colour {colour}")
    if colour == "cube" and not is_count(guide_channels):
        raise InputError(f"{kind} needs the attribute guide_channels, an integer of at least 1")
    size_multiple = getattr(module, "size_multiple", 1)
    if not is_count(size_multiple):
        raise InputError(f"the size_multiple of {kind} is {size_multiple!r}, not an integer")
    radius = getattr(module, "receptive_radius", None)
    if radius is not None and (not isinstance(radius, int) or radius < 0):
        raise InputError(f"the receptive_radius of {kind} is {radius!r}, not an integer or None")
    family = _family_of(type(module))
    return Facts(
        scale=scale,
        colour=colour,
        channels=channels,
        guide_channels=guide_channels,
        size_multiple=size_multiple,
        receptive_radius=radius,
        precisions=family.facts.precisions if family else MappingProxyType({}),
        reconstruction=family.facts.reconstruction if family else None,
    )


def is_count(value: object) -> TypeGuard[int]:
    """Whether it is an integer of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def architecture_of(model: Model) -> str:
    """The family, "hat", or where the class of somebody's own network stands, "mine.net:Net"."""
    family = _family_of(type(model))
    return family.family if family else _path_of(type(model))


def _family_of(kind: type) -> ModelEntry | None:
    """An entry of the family whose class this is; a subclass is another network."""
    path = _path_of(kind)
    return next((entry for entry in _MODELS.values() if entry.target == path), None)


def _path_of(kind: type) -> str:
    module = kind.__module__
    if module == "__main__":
        # What is run has another name where it is imported.
        main = sys.modules[module]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        module = spec.name if spec else Path(file).stem if file else module
    return f"{module}:{kind.__qualname__}"


def build(constructor: type[Model], scale: int, config: Mapping[str, Any], name: str) -> Model:
    """A model of a class from all its constructor arguments; ``name`` is for messages.

    Raises:
        InputError: an unknown argument, or a value that the constructor refuses.
    """
    known = set(inspect.signature(constructor).parameters) - {"scale"}
    for argument in config:
        if argument not in known:
            raise InputError(
                f"{name} has no argument {argument!r}{nearest(argument, known)}; "
                f"known: {', '.join(sorted(known))}"
            )
    try:
        return constructor(scale=scale, **config)
    # What constructors do with a value of a type, or a size, that nobody thought of.
    except (
        ValueError,
        TypeError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
    ) as error:
        reason = reason_of(error)
        if not isinstance(error, ValueError | TypeError):
            reason = f"{type(error).__name__}: {reason}"
        raise InputError(f"{name} cannot be built: {reason}") from error
