"""One network in the containers and under the names that people have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vernier.errors import InputError
from vernier.models.grla_seq import GRLASeq
from vernier.models.hat import HAT
from vernier.models.layers import Model
from vernier.models.psrt import PSRT
from vernier.zoo.checkpoints import load_model, peek
from vernier.zoo.networks import networks_of
from vernier.zoo.official import official_state

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def hat() -> HAT:
    torch.manual_seed(0)
    return HAT(
        scale=2, embed_dim=12, depths=(1,), num_heads=(2,), window_size=4, squeeze_factor=6
    ).eval()


def is_same(model: Model, path: Path) -> bool:
    loaded, _ = load_model(path)
    state, theirs = model.state_dict(), loaded.state_dict()
    return state.keys() == theirs.keys() and all(torch.equal(state[k], theirs[k]) for k in state)


def behind(prefix: str, state: State) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


KEYS = (
    "net", "model", "model_state_dict", "state_dict", "net_g", "network", "params", "params_ema",
    "params-ema", "ema", "generator", "model_ema", "ema_model", "net_g_ema", "g_ema", "netG",
    "weights",
)  # fmt: skip
PREFIXES = (
    "module.", "_orig_mod.", "netG.", "net_g.", "net.", "network.", "model.", "generator.",
    "module._orig_mod.", "model.net_g.", "net_g.module.", "netG._orig_mod.module.",
    "ema_model.", "model_ema.module.", "net_g_ema.", "g_ema.", "G.",
)  # fmt: skip
ZERO = torch.zeros(3)
WRAPPED: dict[str, Callable[[State], object]] = {
    **{f"under {key}": lambda s, key=key: {"epoch": 3, key: s} for key in KEYS},
    **{f"{prefix}*": lambda s, prefix=prefix: behind(prefix, s) for prefix in PREFIXES},
    "nested": lambda s: {"model": {"state_dict": behind("module.", s)}, "lr": 1e-4},
    "an average that holds more": lambda s: {
        "ema": {"decay": 0.999, "num_updates": 7, "params": s},
        "model": {key: tensor * 0 for key, tensor in s.items()},
    },
    "an average beside it": lambda s: {
        "model": {key: tensor * 0 for key, tensor in s.items()},
        "model_ema": behind("module.", s),
    },
    "a configuration named model": lambda s: {"model": {"name": "HAT", "depth": 6}, "params": s},
    "Lightning": lambda s: {
        "state_dict": {**behind("net_g.", s), "criterion.weight": ZERO},
        "pytorch-lightning_version": "2.4.0",
        "optimizer_states": [{"state": {0: {"exp_avg": ZERO}}}],
    },
    "averaged": lambda s: {
        "params_ema": {**behind("module.", s), "n_averaged": torch.tensor(9)},
    },
    "a loss beside it": lambda s: {**s, "criterion.vgg.weight": ZERO},
    "with its optimiser": lambda s: {"model": s, "optimizer": {"state": {}, "param_groups": []}},
    "numbers among the tensors": lambda s: {**s, "epoch": 3, "best": 31.2},
    "a number of numpy": lambda s: {"params_ema": s, "best_psnr": np.float64(31.2)},
    "numbers of numpy": lambda s: {
        "state_dict": s,
        "history": [np.float32(1), np.int64(2)],
    },
}


@pytest.mark.parametrize("how", WRAPPED)
def test_a_network_is_found_however_it_is_wrapped(hat: HAT, how: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(WRAPPED[how](official_state(hat)), path)
    assert is_same(hat, path)
    assert peek(path) == "hat"


@pytest.mark.parametrize(
    "name",
    ["best.pth.tar", "A.PTH", "w.bin", "w.model", "weights", "a.b.pt", "w.safetensors", "w.npz"],
)
def test_what_a_file_holds_tells_its_kind_not_its_name(hat: HAT, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for older in (False, True):
        torch.save({"params": official_state(hat)}, path, _use_new_zipfile_serialization=not older)
        assert is_same(hat, path)
        assert peek(path) == "hat"


@pytest.mark.parametrize("name", ["a.safetensors", "a.SAFETENSORS", "model", "a.pth"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_plain_safetensors_are_recognised(hat: HAT, name: str, prefix: str, tmp_path: Path) -> None:
    path = tmp_path / name
    save_file({k: t.contiguous() for k, t in behind(prefix, official_state(hat)).items()}, path)
    assert is_same(hat, path)
    assert peek(path) == "hat"
    ((scale, load),) = networks_of(path).items()
    assert (scale, load().facts.size_multiple) == (2, 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_plain_safetensors_of_another_precision(
    hat: HAT, dtype: torch.dtype, tmp_path: Path
) -> None:
    state = {
        k: t.to(dtype).contiguous() if t.is_floating_point() else t
        for k, t in official_state(hat).items()
    }
    save_file(state, tmp_path / "a.safetensors")
    loaded, _ = load_model(tmp_path / "a.safetensors")
    for key, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[key].float())


def test_other_families_are_recognised_in_safetensors_too(tmp_path: Path) -> None:
    seq = GRLASeq(scale=2, num_features=10, num_blocks=1)
    save_file(
        {k: t.contiguous() for k, t in official_state(seq).items()}, tmp_path / "a.safetensors"
    )
    assert peek(tmp_path / "a.safetensors") == "grla-seq"
    assert load_model(tmp_path / "a.safetensors")[0].scale == 2


def test_the_file_that_the_authors_of_psrt_keep(tmp_path: Path) -> None:
    """Its names begin with model., as wrappers' do."""
    model = PSRT(scale=4, bands=5, embed=16, num_blocks=1, num_heads=8).eval()
    state = official_state(model)
    optimizer = torch.optim.Adam(model.parameters()).state_dict()
    content: dict[str, Any] = {
        "epoch": 2000,
        "state_dict": behind("module.", behind("model.", state)),
        "optimizer": optimizer,
        "best_psnr": np.float64(50.1),
    }
    torch.save(content, tmp_path / "best.pth.tar")
    assert is_same(model, tmp_path / "best.pth.tar")
    assert peek(tmp_path / "best.pth.tar") == "psrt"


def test_what_is_left_out_is_told(hat: HAT, tmp_path: Path) -> None:
    state = behind("net_g.", official_state(hat))
    torch.save({"state_dict": {**state, "criterion.weight": ZERO}}, tmp_path / "a.ckpt")
    _, card = load_model(tmp_path / "a.ckpt")
    assert card.notes.endswith("; left out of the file: criterion.weight")
    torch.save({"state_dict": state}, tmp_path / "b.ckpt")
    assert "left out" not in load_model(tmp_path / "b.ckpt")[1].notes


def test_a_layer_that_is_not_known_is_never_left_out(hat: HAT, tmp_path: Path) -> None:
    torch.save({**official_state(hat), "refine.weight": ZERO}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"has refine\.weight, which HAT does not know"):
        load_model(tmp_path / "a.pth")


@pytest.mark.parametrize("value", [argparse.Namespace(scale=2), Path("a"), np.zeros(2)])
def test_objects_are_refused_in_one_line(hat: HAT, value: object, tmp_path: Path) -> None:
    torch.save({"params": official_state(hat), "args": value}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="holds Python objects besides its tensors") as error:
        load_model(tmp_path / "a.pth")
    assert "\n" not in str(error.value)


def test_what_numpy_is_taken_for_ends_with_the_file(hat: HAT, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"params": official_state(hat), "best": np.float64(1)}, path)
    before = torch.serialization.get_safe_globals()
    failures: list[Exception] = []

    def load() -> None:
        try:
            load_model(path)
        except Exception as error:
            failures.append(error)

    threads = [Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert torch.serialization.get_safe_globals() == before


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, device="meta"),
        torch.eye(3).to_sparse(),
        torch.zeros(3, dtype=torch.complex64),
    ],
)
def test_a_tensor_that_is_none_of_a_network_is_one_line(
    hat: HAT, tensor: Tensor, tmp_path: Path
) -> None:
    torch.save({**official_state(hat), "norm.weight": tensor}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"norm.weight is no plain tensor|not a readable"):
        load_model(tmp_path / "a.pth")


def test_a_circle_of_containers_has_an_end(tmp_path: Path) -> None:
    circle: dict[str, Any] = {}
    circle["model"] = circle
    torch.save(circle, tmp_path / "a.pth")
    with pytest.raises(InputError, match="holds no tensors by name"):
        load_model(tmp_path / "a.pth")


@pytest.mark.parametrize("key", ["layers.999999999.norm.weight", f"layers.{'9' * 5000}.x"])
def test_a_layer_of_an_absurd_number_is_one_line(hat: HAT, key: str, tmp_path: Path) -> None:
    torch.save({**official_state(hat), key: ZERO}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="its layers have numbers up to 999999999"):
        load_model(tmp_path / "a.pth")
