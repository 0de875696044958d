"""An untrained network, by the name of a variant or of somebody's own class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vernier.errors import InputError
from vernier.zoo.own import build_own, parse_own
from vernier.zoo.registry import build, get_entry

if TYPE_CHECKING:
    from vernier.models.layers import Model

__all__ = ["create_model"]


def create_model(name: str, *, scale: int, **overrides: Any) -> Model:
    """An untrained model.

    Args:
        name: one of `list_models`, or ``package.module:Class``, somebody's own network.
        scale: one of the entry's scales.
        overrides: constructor arguments that replace the variant's own.

    Raises:
        InputError: unknown name, scale or argument, or a value the constructor refuses; of one's
            own network see `vernier.zoo.own`.

    Example:
        >>> model = create_model("sesr-m3", scale=2, num_features=8)
        >>> model.scale, model.colour
        (2, 'luma')
    """
    if (named := parse_own(name)) is not None:
        if named.file is not None:
            raise InputError(f"{name}: an untrained network has no weight file; leave @ out")
        return build_own(named.network, scale, overrides)
    entry = get_entry(name)
    if scale not in entry.scales:
        offered = ", ".join(map(str, entry.scales))
        raise InputError(f"{name} has no scale {scale}; it is offered for {offered}")
    return build(entry.constructor(), scale, {**entry.config, **overrides}, entry.family)
