"""Weights of the authors' PSRT, and of the later fork with kernel attention, by their names there.

Both save ``{"state_dict": ...}`` with keys that begin with ``model.``. Names and shapes tell the
fork (two LayerNorms in every step that it never reads) and its variants apart, with exceptions: the
fork without shuffle and with a misplaced one, KAv4 and KAv5, KAv7, KAv10 and KAv13, KAv18 to KAv20
have the same parameters. `recognise` takes the first of them, `import_official` any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from vernier.errors import InputError
from vernier.models.kernel_attention import VARIANTS, FusedKernels
from vernier.models.layers import Model
from vernier.models.psrt import PSRT
from vernier.zoo.official import Recognised
from vernier.zoo.registry import get_entry, list_models

__all__ = ["import_official", "is_official", "official_state", "recognise"]

_PREFIX = "model."
_SCALE = 4
_FIRST_STEP = "w.layers.0.layers.0."
_STEP = re.compile(r"w\.layers\.(\d+)\.layers\.(\d+)\.")

# Parts of our names, in this order, and what they are called there.
_RENAMED = (
    (r"^head\.", "w.conv."),
    (r"^tail\.", "conv.0."),
    (r"^(w(\.layers\.\d+){2})\.dead\.0\.", r"\1.norm2."),
    (r"^(w(\.layers\.\d+){2})\.dead\.1\.", r"\1.norm3."),
    (r"\.wa(\d)\.", r".WA\1."),
    (r"\.attention\.", ".attn."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.2\.", ".mlp.fc2."),
    (r"\.kernel_attention\.", ".KernelAttention."),
    (r"\.dead\.", "."),
    (r"\.tap_attention\.qkv\.", ".proj_qkv."),
    (r"\.tap_attention\.proj\.", ".proj_out."),
    (r"\.reduce\.", ".se.1."),
    (r"\.expand\.", ".se.3."),
    (r"\.squeeze\.", ".se."),
    (r"\.squeezes\.", ".selayers."),
    (r"\.expansion\.", ".kernel_linear."),
    (r"\.expansion_", ".kernels_linear."),
    (r"\.gate\.widen\.", ".wink_reweight.linear1."),
    (r"\.gate\.narrow\.", ".wink_reweight.linear2."),
    (r"\.gate\.", ".wink_reweight.downchannel."),
)
# What is called differently in some variants.
_RENAMED_LATER = {".global_mix.": ".gk_generation.", ".global_squeeze.": ".gk_se."}
_RENAMED_EARLY = {".global_mix.": ".kernel_linear.", ".global_squeeze.": ".global_kernel_selayer."}
_LATER = ("ka17", "ka21", "ka22")
# Our linear layers that are 1x1 convolutions there, but for those of some variants.
_CONVOLUTIONS = re.compile(
    r"\.(se\.\d|kernel_linear|gk_generation|fusion|wink_reweight\.\w+)\.weight$"
)
_LINEAR = (
    ("ka1", "kernel_linear"),
    ("ka8", "kernel_linear"),
    ("ka4", "fusion"),
    ("ka5", "fusion"),
    ("ka9-late", "fusion"),
)
# Banks that are one convolution a window, and those without one; the others are one, grouped.
_SERIAL_BANKS = ("ka3", "ka4", "ka5", "ka6")
_BARE_BANKS = ("ka12", *(f"ka{number}" for number in range(14, 23)))

_Layout = dict[str, list[tuple[str, tuple[int, ...]]]]


def is_official(state: Mapping[str, Tensor]) -> bool:
    """Whether these are weights of the authors' PSRT or of the fork."""
    keys = {key.removeprefix(_PREFIX) for key in state}
    return {"conv.0.weight", "w.conv.weight", "w.layers.0.layers.0.WA1.attn.qkv.weight"} <= keys


def recognise(state: Mapping[str, Tensor]) -> Recognised | None:
    """Deduce the network; None if the tensors are not those of a PSRT.

    Raises:
        InputError: they are, but of no known variant.
    """
    if not is_official(state):
        return None
    forms = _matching_forms(state)
    model = import_official(state, forms[0] if forms else None)
    entries = [
        entry
        for entry in map(get_entry, list_models())
        if entry.family == PSRT.architecture and entry.config.items() <= model.config.items()
    ]
    # Those with kernel attention are also without shuffle.
    closest = max(entries, key=lambda entry: len(entry.config), default=None)
    alike = f"; {', '.join(forms[1:])} would have the same tensors" if forms[1:] else ""
    return Recognised(
        name=closest.name if closest else PSRT.architecture,
        architecture=PSRT.architecture,
        scale=_SCALE,
        config=model.config,
        state=model.state_dict(),
        notes="in the authors' layout; what the file does not tell is taken as published: "
        f"scale {_SCALE}, {model.num_heads} heads, windows of {model.window_size}{alike}",
    )


def import_official(
    state: Mapping[str, Tensor],
    form: str | None = None,
    *,
    as_published: bool = True,
    **config: Any,
) -> PSRT:
    """The network that computes what the original does with these weights.

    Args:
        state: parameters by the original's names, with or without the prefix ``model.``.
        form: "aligned" (the authors'), "none" or "misaligned" (the fork's), or a row of `VARIANTS`;
            None = the first that has these parameters.
        as_published: False leaves out what the original never reads, and its mistakes; where these
            are part of the function (KAv5, 8, 9, 10 and 14), the network is then another.
        config: arguments of `PSRT` that shapes do not tell, if they are not 4 (scale), 8 (heads)
            and 8 (windows).

    Raises:
        InputError: a parameter is missing, unknown or of another shape.
    """
    if not is_official(state):
        raise InputError("these are not the weights of a PSRT: conv.0, w.conv or w.layers missing")
    state = {key.removeprefix(_PREFIX): tensor for key, tensor in state.items()}
    if form is None:
        forms = _matching_forms(state) or list(_forms(state))
        form = forms[0]
    arguments = {**_arguments(state, form), **config}
    published = _layout(_empty({**arguments, "as_published": True}))
    expected = dict(pair for pairs in published.values() for pair in pairs)
    for what, keys in (
        ("lack", expected.keys() - state.keys()),
        ("have the unknown", state.keys() - expected.keys()),
        ("have another shape of", _differing(expected, state)),
    ):
        if keys:
            raise InputError(f"weights of PSRT ({form}) {what} {', '.join(sorted(keys)[:3])}")
    model = PSRT(**{**arguments, "as_published": as_published})
    ours = model.state_dict()
    for key, tensor in ours.items():
        theirs = torch.cat([state[name].flatten() for name, _ in published[key]])
        theirs = theirs.to(torch.float32).view(tensor.shape)
        ours[key] = _rolled(key, theirs, form, 1)
    model.load_state_dict(ours)
    return model.eval()


def official_state(model: Model) -> dict[str, Tensor]:
    """The tensors as the authors' or the fork's code loads them.

    Raises:
        InputError: their code has no such network, or it is deployed, or not ``as_published``.
    """
    assert isinstance(model, PSRT)
    if (
        any(isinstance(module, FusedKernels) for module in model.modules())
        or model.switches
        or (model.shuffle != "aligned" and not model.as_published)
    ):
        raise InputError(
            "the original code loads the psrt, and the others only if created as_published=True, "
            "without other switches and before their kernels are fused"
        )
    form = model.kernel_attention or model.shuffle
    state = {}
    for key, pairs in _layout(model).items():
        tensor = _rolled(key, model.state_dict()[key].detach().cpu(), form, -1)
        for (name, shape), part in zip(pairs, tensor.flatten().chunk(len(pairs)), strict=True):
            state[name] = part.view(shape).clone()
    return state


def _forms(state: Mapping[str, Tensor]) -> Iterator[str]:
    if any(".KernelAttention." in key for key in state):
        yield from VARIANTS
    elif any(key.endswith("layers.0.layers.0.norm2.weight") for key in state):
        yield from ("none", "misaligned")
    else:
        yield "aligned"


def _matching_forms(state: Mapping[str, Tensor]) -> list[str]:
    """The forms whose parameters these are, as far as the first step tells."""
    state = {key.removeprefix(_PREFIX): tensor for key, tensor in state.items()}
    one_step = {key: tensor for key, tensor in state.items() if key.startswith(_FIRST_STEP)}
    found = []
    for form in _forms(state):
        sizes = {"num_blocks": 1, "num_steps": 1, "as_published": True}
        try:
            layout = _layout(_empty({**_arguments(state, form), **sizes}))
        except InputError:
            continue
        pairs = dict(pair for pairs in layout.values() for pair in pairs)
        expected = {key: shape for key, shape in pairs.items() if key.startswith(_FIRST_STEP)}
        if expected.keys() == one_step.keys() and not _differing(expected, one_step):
            found.append(form)
    return found


def _differing(expected: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor]) -> set[str]:
    common = expected.keys() & state.keys()
    return {key for key in common if expected[key] != tuple(state[key].shape)}


def _arguments(state: Mapping[str, Tensor], form: str) -> dict[str, Any]:
    bands, embed = state["conv.0.weight"].shape[:2]
    # Of an absurd number the beginning is large enough.
    steps = [
        tuple(int(number[:9]) for number in found.groups()[:2])
        for key in state
        if (found := _STEP.match(key))
    ]
    num_blocks, num_steps = (1 + max(numbers) for numbers in zip(*steps))
    if num_blocks * num_steps > len(state):
        raise InputError(f"it looks like a PSRT, but has numbers up to {num_blocks}, {num_steps}")
    in_first_only = not any(".WA2.KernelAttention." in key for key in state)
    arguments: dict[str, Any] = {
        "scale": _SCALE,
        "bands": bands,
        "guide_channels": state["w.conv.weight"].shape[1] - bands,
        "embed": embed,
        "num_blocks": num_blocks,
        "num_steps": num_steps,
    }
    if form not in VARIANTS:
        return {**arguments, "shuffle": form}
    # The fork leaves WA2 and WA3 without kernel attention only where it shuffles there.
    return {
        **arguments,
        "shuffle": "misaligned" if in_first_only else "none",
        "kernel_attention": form,
        "kernel_attention_in": "first" if in_first_only else "all",
    }


def _empty(arguments: Mapping[str, Any]) -> PSRT:
    try:
        with torch.device("meta"):
            return PSRT(**arguments)
    except ValueError as error:
        raise InputError(f"these PSRT weights fit no network: {error}") from error


def _layout(model: PSRT) -> _Layout:
    """For every tensor of ours, the names and shapes of those that it is made of there."""
    return {
        key: _theirs(key, tuple(tensor.shape), model.num_steps, model.kernel_attention or "")
        for key, tensor in model.state_dict().items()
    }


def _theirs(
    key: str, shape: tuple[int, ...], num_steps: int, variant: str
) -> list[tuple[str, tuple[int, ...]]]:
    name = key
    if found := re.match(r"body\.(\d+)\.", key):
        block, step = divmod(int(found[1]), num_steps)
        name = f"w.layers.{block}.layers.{step}.{key[found.end() :]}"
    for ours, theirs in _RENAMED:
        name = re.sub(ours, theirs, name)
    for ours, theirs in (_RENAMED_LATER if variant in _LATER else _RENAMED_EARLY).items():
        name = name.replace(ours, theirs)
    if variant in ("ka1", "ka9"):
        name = name.replace(".fusion.", ".concat_linear.")
    part = name.rpartition(".KernelAttention.")[2]
    if part in ("bank", "bank_bias.0"):
        return _bank(name.removesuffix(part), part, shape, variant)
    if ".kernels_linear." in name:
        return [(name, (prod(shape), *(() if name.endswith("bias") else (1, 1, 1))))]
    linear = any(variant == row and part.startswith(layer) for row, layer in _LINEAR)
    if _CONVOLUTIONS.search(name) and not linear:
        return [(name, (*shape, 1, 1))]
    return [(name, shape)]


def _bank(
    prefix: str, part: str, shape: tuple[int, ...], variant: str
) -> list[tuple[str, tuple[int, ...]]]:
    kind = "weight" if part == "bank" else "bias"
    if variant in _SERIAL_BANKS:
        return [(f"{prefix}convlayers.{i}.conv.{kind}", shape[1:]) for i in range(shape[0])]
    name = "convlayer1.params" if variant in _BARE_BANKS else f"convlayer.conv.{kind}"
    return [(prefix + name, (shape[0] * shape[1], *shape[2:]))]


def _rolled(key: str, tensor: Tensor, form: str, shift: int) -> Tensor:
    """KAv8 has the global kernel before the others, we have it behind them."""
    if form != "ka8" or not key.endswith("fusion.weight"):
        return tensor
    return tensor.roll(-shift * tensor.shape[0], 1)
