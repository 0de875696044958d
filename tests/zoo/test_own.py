"""Somebody's own network: found by the name of its class, held to the contract, kept in a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent
from typing import Literal

import numpy as np
import pytest
import torch
from support.command import Ran

import vernier
from vernier.errors import InputError, MissingPackageError
from vernier.fusion.pair import Pair
from vernier.zoo import (
    create_model,
    find_network,
    fuses_cubes,
    load_model,
    networks_of,
    new_card,
    peek,
    save_weights,
)
from vernier.zoo.contestants import load_contestants
from vernier.zoo.overview import overviews
from vernier.zoo.own import OwnName, parse_own, with_file

HEADER = """
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vernier.models.layers import FusionModel, SRModel
"""
NET = """
class Net(SRModel):
    colour = "luma"

    def __init__(self, *, scale: int, width: int = 4, kernels: tuple[int, ...] = (3, 3)) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(1, width, kernels[0], padding=kernels[0] // 2)
        self.tail = nn.Conv2d(width, scale**2, kernels[1], padding=kernels[1] // 2)

    def forward(self, lr: Tensor) -> Tensor:
        return F.pixel_shuffle(self.tail(F.relu(self.head(lr))) + lr, self.scale)
"""
WRAPPED = """
class Net(SRModel):
    colour = "luma"

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.model = nn.Conv2d(1, scale**2, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        return F.pixel_shuffle(self.model(lr), self.scale)
"""
FUSION = """
class Fusion(FusionModel):
    def __init__(self, *, scale: int, bands: int = 4) -> None:
        super().__init__()
        self.scale, self.channels, self.guide_channels = scale, bands, 3
        self.body = nn.Conv2d(bands + 3, bands, 3, padding=1)

    def forward_aligned(self, both: Tensor) -> Tensor:
        return self.body(both)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes a module of the text into the working folder, and gives its name."""
    monkeypatch.chdir(tmp_path)
    names: list[str] = []

    def write(text: str) -> str:
        names.append(f"own_network_{len(names)}")
        (tmp_path / f"{names[-1]}.py").write_text(HEADER + dedent(text), encoding="utf-8")
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)


def imported(name: str) -> bool:
    return name in sys.modules


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("net:Net", OwnName("net:Net", None)),
        ("mine.nets.net:Net", OwnName("mine.nets.net:Net", None)),
        ("net:Net@a b/c@2.pth", OwnName("net:Net", Path("a b/c@2.pth"))),
        ("sesr-m5", None),
        ("C:\\weights\\a.safetensors", None),
        ("C:weights.safetensors", None),
        ("http://somewhere:80/a.pth", None),
        ("net:Net@", None),
        ("net.:Net", None),
        (Path("net:Net"), None),
        (None, None),
    ],
)
def test_what_is_such_a_name(source: object, expected: OwnName | None) -> None:
    assert parse_own(source) == expected


def test_trained_weights_are_named_as_the_recipe_names_the_network() -> None:
    assert (
        with_file("mine.net:Net", Path("runs/a.safetensors")) == "mine.net:Net@runs/a.safetensors"
    )
    assert with_file("sesr-m5", Path("runs/a.safetensors")) == "runs/a.safetensors"


@torch.no_grad()
def test_a_network_goes_into_a_file_and_comes_back(module: Callable[[str], str]) -> None:
    name = f"{module(NET)}:Net"
    model = create_model(name, scale=3, width=5, kernels=(1, 5)).eval()
    assert (model.channels, model.config) == (1, {"width": 5, "kernels": [1, 5]})
    card = save_weights(model, "a.safetensors", new_card(model, name))
    assert (card.architecture, card.config) == (name, {"width": 5, "kernels": [1, 5]})
    loaded, read = load_model(f"{name}@a.safetensors", scale=3)
    lr = torch.rand(1, 1, 6, 7)
    assert torch.equal(loaded(lr), model(lr))
    assert loaded.config == model.config
    assert read.architecture == name
    with pytest.raises(InputError, match="a model for scale 3, not 2"):
        load_model(f"{name}@a.safetensors", scale=2)
    # All further roads.
    assert find_network(f"{name}@a.safetensors").card == read
    assert list(networks_of(f"{name}@a.safetensors")) == [3]
    assert list(load_contestants([f"{name}@a.safetensors"])[1]) == ["a"]
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
    larger = vernier.Upscaler(f"{name}@a.safetensors").upscale_array(pixels)
    assert larger.shape == (27, 24, 3)
    (listed,) = overviews(f"{name}@a.safetensors")
    assert (listed.scale, listed.parameters) == (3, 5 * 2 + 9 * (5 * 25 + 1))


def test_code_that_a_file_names_is_not_imported(module: Callable[[str], str]) -> None:
    name = module(NET)
    model = create_model(f"{name}:Net", scale=2)
    save_weights(model, "a.safetensors", new_card(model, "mine"))
    checkpoint = {"model": {"name": f"{name}:Net", "scale": 2}, "weights": model.state_dict()}
    torch.save(checkpoint, "a.ckpt")
    del sys.modules[name]
    for file in ("a.safetensors", "a.ckpt"):
        message = f"{file} holds weights of {name}:Net, .* name it too: {name}:Net@{file}$"
        for road in (load_model, networks_of, fuses_cubes, overviews):
            with pytest.raises(InputError, match=message):
                road(file)
        assert peek(file) == f"{name}:Net"
        assert peek(f"{name}:Net@{file}") == f"{name}:Net"
        assert not imported(name)
        assert not fuses_cubes(f"{name}:Net@{file}")
        assert load_model(f"{name}:Net@{file}")[1].scale == 2
        del sys.modules[name]


def test_a_card_cannot_smuggle_a_class_in(module: Callable[[str], str]) -> None:
    """The card of a family's name, or of a name that is none, leads to no import either."""
    name = module("raise SystemExit('imported')")
    model = create_model("sesr-m3", scale=2, expansion=16)
    card = new_card(model, f"{name}:Net")
    save_weights(model, "a.safetensors", card)
    assert load_model("a.safetensors")[1].name == f"{name}:Net"
    assert not imported(name)


def test_a_plain_state_dict_needs_the_scale(module: Callable[[str], str]) -> None:
    name = f"{module(NET)}:Net"
    model = create_model(name, scale=2)
    torch.save({"params": {f"module.{k}": v for k, v in model.state_dict().items()}}, "a.pth")
    with pytest.raises(InputError, match=r"a\.pth does not tell its scale: give it, --scale 2"):
        load_model(f"{name}@a.pth")
    loaded, card = load_model(f"{name}@a.pth", scale=2)
    assert card.architecture == name
    assert torch.equal(loaded.state_dict()["head.weight"], model.state_dict()["head.weight"])


def test_names_that_begin_as_a_wrappers_do_are_kept(module: Callable[[str], str]) -> None:
    name = f"{module(WRAPPED)}:Net"
    model = create_model(name, scale=2)
    assert all(key.startswith("model.") for key in model.state_dict())
    for prefix in ("", "module."):
        torch.save({prefix + key: tensor for key, tensor in model.state_dict().items()}, "a.pth")
        loaded, _ = load_model(f"{name}@a.pth", scale=2)
        assert torch.equal(loaded.state_dict()["model.weight"], model.state_dict()["model.weight"])


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_fusion_network_fuses(
    engine: Literal["torch", "openvino"], module: Callable[[str], str]
) -> None:
    name = f"{module(FUSION)}:Fusion"
    model = create_model(name, scale=2, bands=5).eval()
    save_weights(model, "a.safetensors", new_card(model, name))
    lr, guide = torch.rand(5, 8, 9), torch.rand(3, 16, 18)
    with torch.no_grad():
        expected = model(lr[None], guide[None])[0].numpy()
    fuser = vernier.Fuser(f"{name}@a.safetensors", engine=engine)
    fused = fuser.fuse(Pair(lr.numpy(), guide.numpy()))
    np.testing.assert_allclose(fused.values, expected.clip(0, 1), atol=1e-4)


def test_a_fusion_network_needs_its_aligned_part_alone(module: Callable[[str], str]) -> None:
    name = f"{module(FUSION)}:Fusion"
    model = create_model(name, scale=4, bands=5)
    fused = model(torch.rand(2, 5, 3, 4), torch.rand(2, 3, 12, 16))
    assert fused.shape == (2, 5, 12, 16)
    save_weights(model, "a.safetensors", new_card(model, name))
    assert fuses_cubes(f"{name}@a.safetensors")
    facts = find_network(f"{name}@a.safetensors").facts
    assert (facts.colour, facts.channels, facts.guide_channels) == ("cube", 5, 3)
    with pytest.raises(InputError, match="fuses a cube with a guide: use vernier fuse"):
        vernier.Upscaler(f"{name}@a.safetensors")


def test_a_subclass_of_ours_is_another_network(module: Callable[[str], str]) -> None:
    name = module("from vernier.models.sesr import SESR\nclass Mine(SESR):\n    pass\n")
    model = create_model(f"{name}:Mine", scale=2, num_blocks=1, num_features=4, expansion=8)
    card = save_weights(model, "a.safetensors", new_card(model, "mine"))
    assert card.architecture == f"{name}:Mine"
    assert type(load_model(f"{name}:Mine@a.safetensors")[0]).__name__ == "Mine"
    # And ours is ours, whoever names it.
    ours = create_model("vernier.models.sesr:SESR", scale=2, num_blocks=1, num_features=4)
    assert new_card(ours, "mine").architecture == "sesr"


def test_a_network_without_parameters_is_listed_and_runs(module: Callable[[str], str]) -> None:
    name = module(
        """
        class Nearest(SRModel):
            colour = "rgb"

            def __init__(self, scale: int) -> None:
                super().__init__()
                self.scale = scale

            def forward(self, lr: Tensor) -> Tensor:
                return F.interpolate(lr, scale_factor=self.scale)
        """
    )
    (listed,) = overviews(f"{name}:Nearest", 2)
    assert (listed.model, listed.parameters, listed.macs) == (f"{name}:Nearest", 0, 0)
    with pytest.raises(InputError, match=r"no weights that tell its scale: give it, --scale 2"):
        overviews(f"{name}:Nearest")
    model = create_model(f"{name}:Nearest", scale=2)
    upscaler = vernier.Upscaler(model, engine="torch")
    assert upscaler.upscale_array(np.full((4, 5, 3), 7, np.uint8)).tolist() == [[[7] * 3] * 10] * 8


def net(body: str = "", *, base: str = "SRModel", init: str = "self.scale = scale") -> str:
    """A class whose parts can be left out or spoilt."""
    return (
        f"class Net({base}):\n"
        + indent(dedent(body), "    ")
        + (
            "\n    def __init__(self, *, scale: int = 2, width=3) -> None:\n"
            "        super().__init__()\n"
            f"        {init}\n"
        )
    )


LUMA = 'colour = "luma"\n'
FORWARD = """
def forward(self, lr: Tensor) -> Tensor:
    return F.interpolate(lr, scale_factor=self.scale)
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (net(FORWARD), r"needs the attributes scale \(an integer\) and colour"),
        (net(LUMA + FORWARD, init="pass"), r"needs the attributes scale"),
        (net(LUMA + FORWARD, init="self.scale = 3"), "built for scale 2, its attribute scale is 3"),
        (
            net('colour = "cube"\nchannels = guide_channels = 1' + FORWARD),
            'must be "luma" or "rgb"',
        ),
        (net(LUMA + "channels = 3" + FORWARD), "3 channels, which do not fit the colour luma"),
        (net(LUMA), "does not implement forward"),
        (
            net(LUMA + "def forward(self, lr): return lr"),
            r"made \(1, 1, 11, 9\) of \(1, 1, 11, 9\), not",
        ),
        (net(LUMA + "def forward(self, lr): return None"), "made NoneType of"),
        (
            net(LUMA + "def forward(self, lr): return lr @ lr"),
            "forward failed for .*: RuntimeError:",
        ),
        (net(LUMA + FORWARD, init="self.no_such"), "cannot be built: AttributeError: .*no_such"),
        (net(LUMA + FORWARD, init="raise ValueError('too wide')"), "cannot be built: too wide"),
        (
            net(LUMA + FORWARD).replace("width=3", "width=nn.ReLU"),
            "config cannot be written as JSON .*override config",
        ),
        (
            net(LUMA + FORWARD).replace("*, scale: int = 2", "*sizes: int, scale: int = 2"),
            "so the property config must tell",
        ),
        (
            net(LUMA + FORWARD + '\n@property\ndef config(self): return {"depth": 3}\n'),
            r"config must hold arguments of its constructor without scale \(width\)",
        ),
        (net(LUMA + FORWARD).replace("scale: int = 2", "factor: int = 2"), "has no argument scale"),
        (net(base="FusionModel"), "needs the attribute channels"),
        (net("channels = 4", base="FusionModel"), "needs the attribute guide_channels"),
        (net("channels = guide_channels = 4", base="FusionModel"), "not implement forward_aligned"),
        (
            net(
                "channels = guide_channels = 4\ndef forward_aligned(self, both): return both",
                base="FusionModel",
            ),
            r"forward_aligned made \(1, 8, 2, 3\) of \(1, 8, 2, 3\), not \(1, 4, 2, 3\)",
        ),
        (net(base="nn.Module"), "is not a subclass of SRModel or FusionModel"),
        ("Net = 3", "is not a subclass"),
        ("Net = SRModel", "is not a subclass"),
        (
            NET.replace("class Net(", "class Nett("),
            r"has no Net \(did you mean 'Nett'\?\); its net",
        ),
        (
            "import no_such_package",
            "failed: ModuleNotFoundError: No module named 'no_such_package'",
        ),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "failed: SystemExit: 3"),
        ("def", "failed: SyntaxError: "),
    ],
)
def test_what_the_contract_lacks_is_told_in_one_line(
    text: str, message: str, module: Callable[[str], str]
) -> None:
    name = module(text)
    with pytest.raises(InputError, match=message) as error:
        create_model(f"{name}:Net", scale=2)
    assert "Net" in str(error.value)
    assert "\n" not in str(error.value)


def test_modules_that_are_not_there(module: Callable[[str], str]) -> None:
    name = module(NET)
    with pytest.raises(InputError, match="no module nowhere, neither in this folder nor installed"):
        create_model("nowhere.net:Net", scale=2)
    with pytest.raises(InputError, match=rf"no module {name}\.net, neither"):
        create_model(f"{name}.net:Net", scale=2)
    with pytest.raises(InputError, match=r"has no argument 'widht' \(did you mean 'width'\?\)"):
        create_model(f"{name}:Net", scale=2, widht=3)
    with pytest.raises(InputError, match="an untrained network has no weight file"):
        create_model(f"{name}:Net@a.safetensors", scale=2)
    with pytest.raises(InputError, match=f"comes without weights: name them too, {name}:Net@"):
        load_model(f"{name}:Net")
    with pytest.raises(InputError, match=r"b\.safetensors: no such file"):
        load_model(f"{name}:Net@b.safetensors")


def test_a_missing_extra_is_named_with_its_command(
    module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingPackageError, match="this needs the package h5py: pip install"):
        create_model(f"{module('import h5py')}:Net", scale=2)


def test_the_search_path_is_left_as_it_was(module: Callable[[str], str]) -> None:
    before = list(sys.path)
    create_model(f"{module(NET)}:Net", scale=2)
    with pytest.raises(InputError):
        create_model(f"{module('1 / 0')}:Net", scale=2)
    assert sys.path == before


def test_the_check_leaves_the_random_numbers_alone(module: Callable[[str], str]) -> None:
    name = module(
        net(
            LUMA + "def forward(self, lr): return F.interpolate(lr, scale_factor=2) * torch.rand(1)"
        )
    )
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    model = create_model(f"{name}:Net", scale=2)
    assert torch.rand(1) == expected
    assert model.training


def test_the_command_finds_it_in_the_working_folder(
    module: Callable[[str], str], vernier: Callable[..., Ran]
) -> None:
    name = f"{module(NET)}:Net"
    code, out, err = vernier("models", name, "-s", 2)
    assert (code, err) == (0, "")
    assert name in out
    code, _, err = vernier("models", f"{name}t", "-s", 2)
    assert code == 2
    assert err.count("\n") == 1
