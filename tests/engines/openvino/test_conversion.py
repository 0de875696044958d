from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from torch.jit._recursive import concrete_type_store

from vernier.engines.openvino import conversion
from vernier.engines.openvino.conversion import ConversionError, convert
from vernier.io import Picture
from vernier.models.edsr import EDSR
from vernier.upscaling import Upscaler
from vernier.zoo import create_model
from vernier.zoo.networks import networks_of


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names of what was traced, with an empty cache."""
    names: list[str] = []
    original = conversion._traced

    def note(module: Any, example: Any, name: str) -> ov.Model:
        names.append(name)
        return original(module, example, name)

    monkeypatch.setattr(conversion, "_traced", note)
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path / "cache"))
    return names


def edsr(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return create_model("edsr-small", scale=2, num_blocks=1, num_features=8).eval()


def result(module: Any) -> np.ndarray:
    core = ov.Core()
    network = networks_of(module)[2]()
    converted = convert(network, network.module(), core)
    lr = np.linspace(0, 1, 3 * 20 * 30, dtype=np.float32).reshape(1, 3, 20, 30)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    output: np.ndarray = core.compile_model(converted.graph, "CPU", settings)([lr])[0]
    with torch.inference_mode():
        np.testing.assert_allclose(output, module(torch.from_numpy(lr)).numpy(), atol=1e-5)
    return output


def test_a_network_is_traced_once_and_found_again(traced: list[str], tmp_path: Path) -> None:
    first = result(edsr())
    np.testing.assert_array_equal(result(edsr()), first)
    assert len(traced) == 1
    assert sorted(p.suffix for p in (tmp_path / "cache" / "graphs").iterdir()) == [".bin", ".xml"]


def test_other_weights_and_other_sizes_are_other_networks(traced: list[str]) -> None:
    a, b = result(edsr(0)), result(edsr(1))
    assert np.abs(a - b).max() > 1e-3
    result(create_model("edsr-small", scale=2, num_blocks=2, num_features=8).eval())
    assert len(traced) == 3


def test_foreign_modules_are_not_kept(traced: list[str], tmp_path: Path) -> None:
    class Doubled(torch.nn.Module):
        scale, colour = 2, "rgb"

        def forward(self, lr: torch.Tensor) -> torch.Tensor:
            return lr.repeat_interleave(2, -1).repeat_interleave(2, -2)

    result(Doubled())
    result(Doubled())
    assert len(traced) == 2
    assert not (tmp_path / "cache").exists()


def test_a_damaged_or_unwritable_cache_is_no_obstacle(
    traced: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = result(edsr())
    (description,) = (tmp_path / "cache" / "graphs").glob("*.xml")
    description.write_text("<net")
    np.testing.assert_array_equal(result(edsr()), first)
    for content in (b"", b"1234"):
        (weights,) = (tmp_path / "cache" / "graphs").glob("*.bin")
        weights.write_bytes(content)
        np.testing.assert_array_equal(result(edsr()), first)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path / "file" / "cache"))
    np.testing.assert_array_equal(result(edsr()), first)
    assert len(traced) == 5


@pytest.mark.parametrize("suffix", [".bin", ".xml"])
def test_a_graph_that_has_changed_is_converted_anew(
    suffix: str, traced: list[str], tmp_path: Path
) -> None:
    """A flipped bit leaves a file that can be read, and gives other pictures."""
    first = result(edsr())
    (path,) = (tmp_path / "cache" / "graphs").glob(f"*{suffix}")
    content = bytearray(path.read_bytes())
    if suffix == ".bin":
        content[len(content) // 2 | 3] ^= 0x80  # the sign of a weight
    else:
        assert content.count(b'type="Add"') > 0
        content[:] = content.replace(b'type="Add"', b'type="Subtract"')
    path.write_bytes(content)
    np.testing.assert_array_equal(result(edsr()), first)
    assert len(traced) == 2
    np.testing.assert_array_equal(result(edsr()), first)
    assert len(traced) == 2


def test_an_empty_description_is_converted_anew(traced: list[str], tmp_path: Path) -> None:
    first = result(edsr())
    (path,) = (tmp_path / "cache" / "graphs").glob("*.xml")
    path.write_text("<net name='n' version='11'><layers/><edges/></net>")
    np.testing.assert_array_equal(result(edsr()), first)
    assert len(traced) == 2


def test_what_killed_conversions_left_is_cleared(traced: list[str], tmp_path: Path) -> None:
    graphs = tmp_path / "cache" / "graphs"
    graphs.mkdir(parents=True)
    name = "0123456789abcdef" * 4
    old = [graphs / "draft-abcd0123" / f"{name}.bin", graphs / f"{name}.bin"]
    others = [graphs / "draft-abcd0124" / "mine.bin", graphs / "drafts" / f"{name}.bin"]
    young = [graphs / "draft-abcd0125" / f"{name}.bin"]
    for path in (*old, *others, *young):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"weights")
    for path in (*old, *others):
        os.utime(path, (0, 0))
        if path.parent != graphs:
            os.utime(path.parent, (0, 0))
    result(edsr())
    assert not any(path.exists() for path in old)
    assert not old[0].parent.exists()
    assert all(path.exists() for path in (*others, *young))


def test_a_user_without_a_home_has_no_cache(
    traced: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("VERNIER_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    first = result(edsr())
    np.testing.assert_array_equal(result(edsr()), first)
    assert len(traced) == 2


def test_a_graph_that_cannot_be_kept_is_told(
    traced: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Picture(np.zeros((9, 9, 3), np.uint8))
    assert Upscaler(edsr(), engine="openvino").upscale(picture).notes == ()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path / "file" / "cache"))
    (note,) = Upscaler(edsr(), engine="openvino").upscale(picture).notes
    assert "could not be kept (Not a directory)" in note
    assert "VERNIER_CACHE" in note


def test_only_the_newest_are_kept(
    traced: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "_KEPT", 2)
    for seed in range(4):
        result(edsr(seed))
    assert len(list((tmp_path / "cache" / "graphs").glob("*.xml"))) == 2
    assert len(list((tmp_path / "cache" / "graphs").glob("*.bin"))) == 2


def test_the_graph_that_was_not_used_for_longest_goes(
    traced: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "_KEPT", 2)
    graphs = tmp_path / "cache" / "graphs"
    result(edsr(0))
    (first,) = graphs.glob("*.xml")
    result(edsr(1))
    (second,) = set(graphs.glob("*.xml")) - {first}
    for age, path in ((200, first), (100, second)):
        os.utime(path, (time.time() - age,) * 2)
    result(edsr(0))  # found again
    result(edsr(2))
    assert len(traced) == 3
    assert first.exists()
    assert not second.exists()


def test_files_of_others_stay(
    traced: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the folder of the graphs, and in one that is named for the cache by mistake."""
    monkeypatch.setattr(conversion, "_KEPT", 1)
    cache = tmp_path / "cache"
    (cache / "graphs").mkdir(parents=True)
    theirs = [
        folder / f"{name}{suffix}"
        for folder in (cache, cache / "graphs")
        for name in ("model", "0123456789abcdef" * 4 + "-mine", "0123456789ABCDEF" * 4)
        for suffix in (".xml", ".bin")
    ]
    for path in theirs:
        path.write_text("theirs")
        os.utime(path, (0, 0))
    for seed in range(3):
        result(edsr(seed))
    assert [path.read_text() for path in theirs] == ["theirs"] * len(theirs)
    assert len(list((cache / "graphs").glob("*.xml"))) == 3 + 1


def test_a_conversion_that_fails_is_tried_once(
    traced: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "_TOLERANCE", -1)
    with pytest.raises(ConversionError, match="differs from torch"):
        result(edsr())
    assert len(traced) == 1
    assert list((tmp_path / "cache" / "graphs").iterdir()) == []


def test_networks_of_other_code_are_not_kept(traced: list[str], tmp_path: Path) -> None:
    """Nothing of the fingerprint would tell that the code has changed."""

    class Theirs(EDSR):
        pass

    torch.manual_seed(0)
    for _ in range(2):
        result(Theirs(scale=2, num_blocks=1, num_features=8).eval())
    assert len(traced) == 2
    assert not (tmp_path / "cache").exists()


def test_two_processes_may_keep_the_same_graph_at_the_same_time(
    traced: list[str], tmp_path: Path
) -> None:
    """What one writes over the other's is the same to the byte."""
    graphs = tmp_path / "cache" / "graphs"
    first = result(edsr())
    (weights,) = graphs.glob("*.bin")
    written = weights.read_bytes()
    for path in graphs.iterdir():
        path.unlink()
    np.testing.assert_array_equal(result(edsr()), first)
    assert len(traced) == 2
    assert weights.read_bytes() == written


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_what_others_did_with_torchscript_stays(traced: list[str]) -> None:
    class Others(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    result(edsr(0))
    assert not concrete_type_store.type_store, "tracing leaves nothing behind"
    scripted = torch.jit.script(Others())
    known = dict(concrete_type_store.type_store)
    result(edsr(1))
    assert len(traced) == 2
    assert known.items() <= concrete_type_store.type_store.items()
    for module in (scripted, torch.jit.script(Others())):
        assert module(torch.zeros(1)) == 1
