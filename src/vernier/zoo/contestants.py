"""Several models to look at side by side: names and files in, networks of one scale out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

from vernier.devices import find_device
from vernier.errors import InputError
from vernier.models.layers import Model
from vernier.zoo import available_scales, list_models, load_model

__all__ = ["load_contestants"]


def load_contestants(
    sources: Sequence[str], scale: int | None = None, device: str = "cpu"
) -> tuple[int, dict[str, Model]]:
    """Trained models by the name that a figure shows, in eval mode.

    Args:
        sources: registry names and weight files; a name that comes again gets a number.
        scale: None takes 2 if all models have it, else the smallest that all have.
        device: where they go.

    Returns:
        The scale, and the models.

    Raises:
        InputError: no source, one that cannot be loaded, no common scale, or an unusable device.
    """
    if not sources:
        raise InputError("no model given; name at least one with -n, for example -n sesr-m5")
    scale = _common_scale(sources) if scale is None else scale
    found: dict[str, Model] = {}
    for source in sources:
        model, _ = load_model(source, scale)
        path = Path(source)
        # Every training run calls its weights "weights": the run's folder tells them apart.
        stem = path.absolute().parent.name if path.stem == "weights" else path.stem
        base = source if source in list_models() else stem
        numbered = (base if i == 1 else f"{base} ({i})" for i in count(1))
        moved = model.to(find_device(device))
        found[next(name for name in numbered if name not in found)] = moved
    return scale, found


def _common_scale(sources: Sequence[str]) -> int:
    offered = [
        set(available_scales(source)) if source in list_models() else {load_model(source)[1].scale}
        for source in sources
    ]
    common = set.intersection(*offered)
    if not common:
        each = ", ".join(f"{s}: {sorted(scales)}" for s, scales in zip(sources, offered))
        raise InputError(f"the models have weights for no common scale ({each})")
    return 2 if 2 in common else min(common)
