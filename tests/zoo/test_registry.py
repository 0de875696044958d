"""Names, facts and errors of the registry, and that it costs no torch import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vernier.errors import InputError
from vernier.zoo.creation import create_model
from vernier.zoo.registry import family_entry, get_entry, list_models


def test_names() -> None:
    names = list_models()
    assert names[:5] == ["sesr-m3", "sesr-m5", "sesr-m7", "sesr-m11", "sesr-xl"]
    assert {"psrt", "psrt-noshuffle", "psrt-fork"} <= set(names)


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_entry_tells_what_the_model_is(name: str, scale: int) -> None:
    entry = get_entry(name)
    model = create_model(name, scale=scale)
    assert scale in entry.scales
    assert entry.config.items() <= model.config.items()
    for fact in ("channels", "colour", "size_multiple", "receptive_radius"):
        assert getattr(entry.facts_at(scale), fact) == getattr(model, fact), fact
    assert (entry.family, scale) == (model.architecture, model.scale)
    assert family_entry(entry.family).target == entry.target


def test_overrides_reach_the_constructor() -> None:
    model = create_model("sesr-m5", scale=2, num_blocks=4, bias=True, form="expanded")
    assert (model.num_blocks, model.num_features, model.bias, model.form) == (
        4,
        16,
        True,
        "expanded",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "sesr-m6"},
            r"unknown model 'sesr-m6' \(did you mean 'sesr-m\d'\?\); known: sesr-m3",
        ),
        ({"name": "sesr_xl"}, r"did you mean 'sesr-xl'\?"),
        ({"name": "zzz"}, r"unknown model 'zzz'; known"),
        ({"name": "sesr-m5", "scale": 5}, r"sesr-m5 has no scale 5; it is offered for 2, 3, 4"),
        (
            {"name": "sesr-m5", "num_block": 3},
            r"sesr has no argument 'num_block' \(did you mean 'num_blocks'\?\); known: activation",
        ),
        ({"name": "sesr-m5", "num_blocks": 0}, r"sesr cannot be built: .* at least 1"),
        ({"name": "sesr-m5", "activation": "gelu"}, r"sesr cannot be built: activation"),
        ({"name": "sesr-m5", "num_features": "wide"}, r"sesr cannot be built"),
    ],
)
def test_errors_say_what_and_what_instead(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_model(**({"scale": 2} | arguments))


def test_unknown_architecture() -> None:
    with pytest.raises(InputError, match="unknown architecture 'edsrr'; known: sesr"):
        family_entry("edsrr")


def modules_after(code: str) -> set[str]:
    listing = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import vernier.zoo.registry, vernier.zoo.cards",
        "from vernier.zoo import get_entry, list_models\nget_entry('sesr-m5').facts",
        "from vernier.zoo import available_scales, weights_path\navailable_scales('sesr-m5')",
        "from vernier.zoo import load_card\nload_card('sesr-m5', 2).facts",
        "from vernier.zoo import find_network\nfind_network('sesr-m5', 2).activation_bytes()",
        "from vernier.zoo.own import parse_own\nparse_own('mine.net:Net@a.pth')",
        "from vernier.zoo.cards import read_weights\n"
        "try: read_weights('nowhere')\nexcept ValueError: pass\nimport safetensors.numpy",
    ],
)
def test_torch_is_not_imported_for_facts(code: str) -> None:
    assert "torch" not in modules_after(code)


def test_torchvision_is_never_imported() -> None:
    code = """
import importlib, pkgutil, vernier
for module in pkgutil.walk_packages(vernier.__path__, "vernier."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
    loaded = modules_after(code)
    assert {"torch", "vernier.models.sesr", "vernier.models.quantization"} <= loaded
    assert not loaded & {"torchvision", "timm", "lpips"}
