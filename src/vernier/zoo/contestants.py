"""Several models to look at side by side: names and files in, networks of one scale out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import count

from vernier.devices import find_device
from vernier.errors import InputError
from vernier.models.layers import Model
from vernier.zoo import available_scales, list_models, load_model
from vernier.zoo.own import table_name

__all__ = ["load_contestants", "numbered", "table_name"]


def numbered(name: str, taken: Collection[str]) -> str:
    """The name, with a number from the second of that name on: "m", "m (2)", "m (3)"."""
    candidates = (name if i == 1 else f"{name} ({i})" for i in count(1))
    return next(candidate for candidate in candidates if candidate not in taken)


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
        InputError: no source, one that cannot be loaded or keeps the size of a picture, no common
            scale, or an unusable device.
    """
    if not sources:
        raise InputError("no model given; name at least one with -n, for example -n sesr-m5")
    target = find_device(device)
    # A file has one scale, and is loaded to learn it; each file once, however often it is named.
    files = {s: load_model(s, scale) for s in dict.fromkeys(sources) if s not in list_models()}
    if scale is None:
        scale = _common_scale(
            {s: {files[s][1].scale} if s in files else set(available_scales(s)) for s in sources}
        )
    if scale == 1:
        raise InputError(
            f"{sources[0]} keeps the size of a picture (scale 1): it cannot be shown beside bicubic"
        )
    found: dict[str, Model] = {}
    for source in sources:
        model, _ = files[source] if source in files else load_model(source, scale)
        found[numbered(table_name(source), found)] = model.to(target)
    return scale, found


def _common_scale(offered: Mapping[str, set[int]]) -> int:
    common = set.intersection(*offered.values())
    if not common:
        each = ", ".join(f"{source}: {sorted(scales)}" for source, scales in offered.items())
        raise InputError(f"the models have weights for no common scale ({each})")
    return 2 if 2 in common else min(common)
