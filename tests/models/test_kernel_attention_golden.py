"""Kernel attention, every variant, alone and in its network, against the authors' code."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vernier.models.kernel_attention import VARIANTS, KernelAttention, switches_of
from vernier.models.psrt import PSRT
from vernier.zoo.official.psrt import (
    _rolled,
    _theirs,
    import_official,
    official_state,
    recognise,
)

# Of the largest output: float32 and float64 against a float64 reference stored as float32.
# Measured: 9e-7 and 6e-8.
TOLERANCE = 3e-6
TOLERANCE_DOUBLE = 2e-7

# By fixture: the row, whether with the original's mistakes, and what else there is to say.
FORMS: dict[str, tuple[str, bool, dict[str, Any]]] = {
    **{f"kav{number}": (f"ka{number}", True, {}) for number in range(1, 23)},
    # The repaired code of the day after.
    "kav10": ("ka10", False, {}),
    "kav10_seed": ("ka10", True, {}),
    "kav9": ("ka9-late", True, {}),
    "kav9_seed": ("ka9", True, {}),
    "kav12_seed": ("ka12-early", True, {}),
    "kav2_fixed": ("ka2", False, {}),
    "kav5_fixed": ("ka5", False, {}),
    "kav8_fixed": ("ka8", False, {}),
    "kav9_fixed": ("ka9-late", True, {"switches": {"expansion": "affine"}}),
    "kav11_shuffle": ("ka11", True, {}),
    "kav17_shuffle": ("ka17", True, {}),
    "kav17_allinsert": ("ka17", True, {"shuffle": "misaligned"}),
}


@cache
def tensors(path: Path) -> dict[str, Tensor]:
    return load_file(path)


def test_every_fixture_is_named_here(shared: Path) -> None:
    found = {path.stem for path in (shared / "golden" / "psrt").glob("small_kav*")}
    assert found == {f"small_{name}" for name in FORMS}


@pytest.mark.parametrize("name", FORMS)
def test_network_equals_the_original(shared: Path, name: str) -> None:
    data = tensors(shared / "golden" / "psrt" / f"small_{name}.safetensors")
    index = json.loads((shared / "golden" / "psrt" / "index_nets.json").read_text())
    state = {key.removeprefix("sd."): each for key, each in data.items() if key.startswith("sd.")}
    form, as_published, config = FORMS[name]
    model = import_official(state, form, as_published=as_published, num_heads=4, **config)
    if as_published:
        parameters = sum(p.numel() for p in model.parameters())
        assert parameters == index[f"small_{name}.safetensors"]["params"]
    lr = torch.full_like(data["in.lms"][..., ::4, ::4], torch.nan)
    largest = data["out"].abs().max()
    for dtype, tolerance in ((torch.float32, TOLERANCE), (torch.float64, TOLERANCE_DOUBLE)):
        model = model.to(dtype)
        with torch.no_grad():
            out = model(lr.to(dtype), data["in.rgb"].to(dtype), data["in.lms"].to(dtype))
        assert (out - data["out"]).abs().max() < tolerance * largest


@pytest.mark.parametrize(
    "name", [name for name, (_, published, config) in FORMS.items() if published and not config]
)
def test_exported_weights_are_the_originals(shared: Path, name: str) -> None:
    data = tensors(shared / "golden" / "psrt" / f"small_{name}.safetensors")
    state = {key.removeprefix("sd."): each for key, each in data.items() if key.startswith("sd.")}
    exported = official_state(import_official(state, FORMS[name][0], num_heads=4))
    assert exported.keys() == state.keys()
    for key, tensor in exported.items():
        assert torch.equal(tensor, state[key].float()), key


def units(shared: Path) -> dict[str, Tensor]:
    return tensors(shared / "golden" / "psrt" / "unit_kernel_attention.safetensors")


UNITS = [
    f"{name}.n{windows}"
    for name in FORMS
    for windows in (4, 16)
    if not re.search("shuffle|allinsert", name)
    # Those originals run with four windows only.
    if windows == 4 or not re.fullmatch(r"kav(17|18|19|20|21|22)", name)
]


def test_every_unit_is_named_here(shared: Path) -> None:
    found = {key.removesuffix(".out") for key in units(shared) if key.endswith(".out")}
    assert found == set(UNITS)


@pytest.mark.parametrize("unit", UNITS)
def test_module_equals_the_original(shared: Path, unit: str) -> None:
    name, _, windows = unit.partition(".n")
    form, as_published, config = FORMS[name]
    overrides = {"num_windows": int(windows), **config.get("switches", {})}
    module = KernelAttention(
        8,
        2,
        switches_of(form, overrides, as_published=as_published),
        VARIANTS[form].dead if as_published else (),
    )
    data = units(shared)
    state, used = {}, set()
    for key, mine in module.state_dict().items():
        pairs = _theirs(f"body.0.wa1.kernel_attention.{key}", tuple(mine.shape), 1, form)
        names = [f"{unit}.sd.{theirs.rpartition('KernelAttention.')[2]}" for theirs, _ in pairs]
        used.update(names)
        theirs = torch.cat([data[each].float().flatten() for each in names])
        state[key] = _rolled(key, theirs.view(mine.shape), form, 1)
    if as_published:
        assert used == {key for key in data if key.startswith(f"{unit}.sd.")}
    module.load_state_dict(state)
    tokens, expected = data["in.x"], data[f"{unit}.out"]
    for dtype, tolerance in ((torch.float32, TOLERANCE), (torch.float64, TOLERANCE_DOUBLE)):
        module = module.to(dtype)
        with torch.no_grad():
            out = module(tokens.to(dtype).transpose(1, 2).reshape(2, 8, 16, 16))
        error = (out.flatten(2).transpose(1, 2) - expected).abs().max()
        assert error < tolerance * expected.abs().max()


# What has the same parameters; the first is taken.
ALIKE = {"ka5": "ka4", "ka10": "ka7", "ka13": "ka7", "ka19": "ka18", "ka20": "ka18"}


@pytest.mark.parametrize("form", ["ka1", "ka3", "ka9", "ka21", *ALIKE])
def test_published_checkpoints_are_recognised(form: str) -> None:
    model = PSRT(
        scale=4,
        embed=48,
        num_blocks=1,
        num_steps=1,
        shuffle="none",
        kernel_attention=form,
        as_published=True,
    )
    state = {f"model.{key}": tensor for key, tensor in official_state(model).items()}
    found = recognise(state)
    assert found is not None
    assert found.name == f"psrt-{ALIKE.get(form, form)}"
    assert found.config == {**model.config, "kernel_attention": ALIKE.get(form, form)}
    assert (form in found.notes) == (form in ALIKE)
    again = PSRT(scale=found.scale, **found.config)
    again.load_state_dict(found.state)
    for key, tensor in official_state(again).items():
        assert torch.equal(tensor, state[f"model.{key}"]), key
