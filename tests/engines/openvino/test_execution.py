"""Converted networks on the CPU: precision by part, memory by size."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
import torch

from vernier.engines.openvino import execution
from vernier.engines.openvino.conversion import convert_module
from vernier.engines.openvino.execution import activation_bytes, compile_network
from vernier.models.hat import HAT
from vernier.models.layers import pad_to_multiple
from vernier.zoo.registry import Reconstruction


class Network(torch.nn.Module):
    """The picture's own values reach the result through the reconstruction's skip."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.body = torch.nn.Conv2d(16, 16, 3, padding=1)
        self.before_last = torch.nn.Conv2d(16, 16, 3, padding=1)
        self.last = torch.nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        shallow = self.first(lr)
        deep = self.body(shallow).relu()
        result: torch.Tensor = self.last(self.before_last(deep) + deep) + lr.mean() + lr
        return result


@pytest.mark.parametrize("reconstruction", [None, "before_last", "first", "no such layer"])
def test_in_bf16_the_reconstruction_is_exact(reconstruction: str | None) -> None:
    torch.manual_seed(0)
    network = Network().eval()
    lr = torch.rand(1, 3, 20, 30)
    core = ov.Core()
    converted = convert_module(network, [(lr,), (lr[..., :7, :9],)], core, "test")
    with torch.inference_mode():
        expected = network(lr).numpy()
        # What is rounded if the body is: its result, and nothing after.
        deep = network.body(network.first(lr).bfloat16().float()).relu().bfloat16().float()
        bound = float(
            (network.last(deep) - network.last(network.body(network.first(lr)).relu())).abs().max()
        )
    pixels = lr.numpy()
    begins = Reconstruction(reconstruction) if reconstruction else None
    np.testing.assert_allclose(
        compile_network(converted, core, "fp32")(pixels), expected, atol=1e-5
    )
    error = np.abs(compile_network(converted, core, "bf16", begins)(pixels) - expected).max()
    if reconstruction == "first":
        assert error < 1e-5
    else:
        assert error < 6 * bound + 1e-4
    plain = core.compile_model(converted.graph, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert error < np.abs(plain([pixels])[0] - expected).max()
    # Other sizes than that of the example.
    small = lr[..., :5, :3].numpy()
    again = compile_network(converted, core, "bf16", begins)(small)
    with torch.inference_mode():
        np.testing.assert_allclose(again, network(lr[..., :5, :3]).numpy(), atol=0.02)


def test_in_bf16_the_first_layer_that_all_else_is_added_to_is_exact() -> None:
    """Without a body nothing is rounded, though the body's first layer is the same."""
    torch.manual_seed(0)
    network = Network().eval()
    torch.nn.init.zeros_(network.before_last.weight)

    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.body = network.first, network.body
            self.before_last, self.last = network.before_last, network.last

        def forward(self, lr: torch.Tensor) -> torch.Tensor:
            shallow = self.first(lr)
            y: torch.Tensor = self.last(self.before_last(self.body(shallow)) + shallow)
            return y

    core = ov.Core()
    lr = torch.rand(1, 3, 20, 30)
    converted = convert_module(Residual().eval(), [(lr,), (lr[..., :7, :9],)], core, "test")
    with torch.inference_mode():
        expected = Residual()(lr).numpy()
    computed = compile_network(converted, core, "bf16", Reconstruction("before_last"))(lr.numpy())
    np.testing.assert_allclose(computed, expected, atol=1e-5)


class Upscaled(torch.nn.Module):
    """Pads like HAT, and makes the picture at two resolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.body = torch.nn.Conv2d(8, 8, 3, padding=1)
        self.before = torch.nn.Conv2d(8, 32, 3, padding=1)
        self.last = torch.nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        height, width = lr.shape[-2:]
        shallow = self.first(pad_to_multiple(lr, 8))
        deep = self.body(shallow).sigmoid()
        # What the body adds depends on the whole picture.
        features = shallow + deep * deep.mean((2, 3), keepdim=True)
        hr = self.last(torch.nn.functional.pixel_shuffle(self.before(features), 2))
        return hr[..., : 2 * height, : 2 * width]


@pytest.mark.parametrize("size", [(64, 16), (51, 20), (8, 300), (5, 3), (1, 1)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_reconstruction_in_strips_is_the_whole(
    size: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = Upscaled().eval()
    core = ov.Core()
    lr = torch.rand(1, 3, *size)
    examples = [(torch.rand(1, 3, 24, 32),), (torch.rand(1, 3, 19, 9),)]
    converted = convert_module(network, examples, core, "test")
    begins = Reconstruction("before", radius=3)
    whole = compile_network(converted, core, precision, begins, 8)(lr.numpy()).copy()
    monkeypatch.setattr(execution, "_STRIP_BYTES", 1)
    calls: list[int] = []
    original = execution._Part.__call__

    def note(part: execution._Part, inputs: list[np.ndarray]) -> list[np.ndarray]:
        calls.append(inputs[0].shape[2])
        return original(part, inputs)

    monkeypatch.setattr(execution._Part, "__call__", note)
    run = compile_network(converted, core, precision, begins, 8)
    for _ in range(2):
        calls.clear()
        np.testing.assert_allclose(run(lr.numpy()), whole, atol=1e-6)
    rows = -(-size[0] // 8) * 8
    assert calls[0] == rows
    # Strips overlap by two halos; 24 rows are the fewest that leave a core.
    assert len(set(calls[1:])) == 1
    assert (len(calls) > 2) == (rows > 24)
    with torch.inference_mode():
        np.testing.assert_allclose(
            whole, network(lr).numpy(), atol=1e-5 if precision == "fp32" else 0.02
        )


def test_large_pictures_and_the_first_get_graphs_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    network = Network().eval()
    core = ov.Core()
    lr = torch.rand(1, 3, 20, 30)
    converted = convert_module(network, [(lr,), (lr[..., :7, :9],)], core, "test")
    part = execution._Part(converted.graph, core, "f32", None)
    compiled: list[bool] = []
    original = ov.Core.compile_model

    class Noting:
        def compile_model(self, model: ov.Model, *settings: object) -> ov.CompiledModel:
            compiled.append(model.is_dynamic())
            return original(core, model, *settings)

    monkeypatch.setattr(part, "_core", Noting())
    monkeypatch.setattr(execution, "_WORTH_A_GRAPH", 40 * 40)
    for size in [(8, 8), (8, 8), (9, 7), (30, 20), (8, 8), (40, 40), (40, 40), (8, 8), (41, 40)]:
        lr = torch.rand(1, 3, *size)
        (found,) = part([lr.numpy()])
        with torch.inference_mode():
            np.testing.assert_allclose(found, network(lr).numpy(), atol=1e-5)
    # 8x8; then all small ones; 40x40; 41x40.
    assert compiled == [False, True, False, False]


def test_memory_counts_the_maps_that_are_alive_at_once() -> None:
    class Branches(torch.nn.Module):
        def forward(self, lr: torch.Tensor) -> torch.Tensor:
            wide = lr.repeat(1, 4, 1, 1).sin()  # 12 channels, and 12 of the copies
            narrow = wide.mean(1, keepdim=True).exp()  # 1, while the picture waits
            return narrow.flatten(2).cos().view(narrow.shape) * lr

    lr = torch.rand(1, 3, 20, 30)
    converted = convert_module(Branches().eval(), [(lr,), (lr[..., :7, :9],)], ov.Core(), "test")
    assert activation_bytes(converted.graph) == 4 * (3 + 12 + 12)


def test_memory_of_hat_is_planned_with_a_quarter_of_the_keys_at_once() -> None:
    """Keys and values of the overlapping windows come in quarters: 2.25 maps each otherwise."""
    torch.manual_seed(0)
    network = HAT(scale=2, embed_dim=180, depths=(2,), num_heads=(6,)).eval()
    lr = torch.rand(1, 3, 16, 16)
    converted = convert_module(network, [(lr,), (lr[..., :7, :9],)], ov.Core(), "test")
    body, _ = execution._cut(converted.graph, "conv_after_body")
    assert 5 < activation_bytes(body) / (4 * 180) < 9
