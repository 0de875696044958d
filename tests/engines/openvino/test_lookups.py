"""Lookups by an index of the graph's own, fed instead of folded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as opset

from vernier.engines.openvino.conversion import convert_module
from vernier.engines.openvino.execution import compile_network
from vernier.engines.openvino.lookups import feed_lookups, fix_lookups
from vernier.models.hat import HAT

RNG = np.random.default_rng(0)


def graph_of(*lookups: tuple[int, np.ndarray]) -> ov.Model:
    """The input plus what is looked up in tables of so many rows, all of it summed."""
    x = opset.parameter([1, 3, -1, -1], np.float32)
    y = x
    for rows, index in lookups:
        table = opset.constant(RNG.random((rows, 2), np.float32))
        found = opset.gather(table, opset.constant(index), opset.constant(np.int64(0)))
        y = opset.add(y, opset.reduce_mean(found, np.array([0, 1]), False))
    return ov.Model([y], [x], "test")


def run(graph: ov.Model, *inputs: np.ndarray) -> np.ndarray:
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    output: np.ndarray = ov.Core().compile_model(graph, "CPU", settings)(list(inputs))[0]
    return output


def test_large_lookups_are_fed_and_can_be_fixed_again() -> None:
    large, other = RNG.integers(0, 50, 2**15), RNG.integers(0, 50, 2**15)
    graph = graph_of((50, large), (60, other), (70, large))
    lr = RNG.random((1, 3, 4, 5), np.float32)
    expected = run(graph, lr)
    indices = feed_lookups(graph)
    # What is looked up in two tables by the same index is one input.
    assert len(graph.inputs) == 3
    np.testing.assert_array_equal(indices, [large, other])
    np.testing.assert_allclose(run(graph, lr, *indices), expected, rtol=1e-5)
    assert np.abs(run(graph, lr, *(0 * index for index in indices)) - expected).max() > 1e-3
    fix_lookups(graph, indices)
    assert len(graph.inputs) == 1
    np.testing.assert_allclose(run(graph, lr), expected, rtol=1e-5)
    np.testing.assert_array_equal(feed_lookups(graph), indices)


def test_what_folding_does_not_enlarge_is_left_to_it() -> None:
    small, sparse = RNG.integers(0, 50, 100), RNG.integers(0, 2**16, 2**15)
    graph = graph_of((50, small), (2**16, sparse))
    assert not feed_lookups(graph)
    assert len(graph.inputs) == 1
    fix_lookups(graph, [])
    assert len(graph.inputs) == 1


def test_hat_is_kept_without_its_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path))
    torch.manual_seed(0)
    network = HAT(scale=2, embed_dim=48, depths=(2,), num_heads=(6,)).eval()
    examples = [(torch.rand(1, 3, 24, 32),), (torch.rand(1, 3, 37, 19),)]
    core = ov.Core()
    run = compile_network(
        convert_module(network, examples, core, "test", model=network), core, "fp32"
    )
    weights = 4 * sum(p.numel() for p in network.parameters())
    indices, masks = 8 * (256**2 + 256 * 576), 4 * 3 * 256**2
    biases = 4 * 6 * (2 * 256**2 + 256 * 576)
    (file,) = (tmp_path / "graphs").glob("*.bin")
    assert file.stat().st_size < weights + indices + masks + biases / 50
    for example, *_ in examples:
        with torch.inference_mode():
            expected = network(example).numpy()
        np.testing.assert_allclose(run(example.numpy()), expected, atol=1e-5)
