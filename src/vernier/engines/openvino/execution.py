"""A converted network on the CPU: what is computed in which precision, in how much memory.

Where a graph leaves its sizes open, OpenVINO finds memory for one map after the other as it goes;
of HAT it takes four times what it takes where it can plan ahead. So graphs are compiled for the
size at hand, see `_Part`.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from itertools import accumulate
from threading import Lock
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

from vernier.devices import memory_errors
from vernier.engines.openvino.conversion import Converted, give_back
from vernier.engines.openvino.lookups import feed_lookups
from vernier.engines.tiles import cut_evenly
from vernier.zoo.facts import Reconstruction

__all__ = ["activation_bytes", "compile_network"]

# LR pixels from which on a size is worth a graph of its own: compiling one takes about as long as
# running it.
_WORTH_A_GRAPH = 2**15
# Bytes that a strip of the reconstruction may take.
_STRIP_BYTES = 3 * 2**26
_LAYERS = ("Convolution", "MatMul", "ScaledDotProductAttention")
_VIEWS = ("Reshape", "Squeeze", "Unsqueeze")


def compile_network(
    converted: Converted,
    core: ov.Core,
    precision: Literal["fp32", "bf16"],
    reconstruction: Reconstruction | None = None,
    size_multiple: int = 1,
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The network on the CPU, tuned for latency: (1, C, H, W) -> (1, N, H', W').

    Any number of threads may call what is returned, each gets an array of its own; one computes at
    a time, on all cores, so that the memory is that of one. Where that does not suffice, the call
    raises a MemoryError and lets go of what it took.

    In bf16 the reconstruction stays in float32: there the features become the picture, and what is
    rounded is seen. It is a small part of the work.

    Args:
        reconstruction: where it begins; None = with the last convolution.
        size_multiple: what the network extends its input to; matters if it is done in strips.
    """
    weights = converted.weights
    in_strips = reconstruction is not None and reconstruction.radius is not None
    if precision == "fp32" and not in_strips:
        whole = _Part(converted.graph.clone(), core, "f32", weights)
        return _Guarded(lambda x: whole([x])[0], [whole])
    graphs = _cut(converted.graph, reconstruction.layer if reconstruction else None)
    tail_bytes = activation_bytes(graphs[1], size_multiple) if in_strips else 0.0
    tail = _Part(graphs[1], core, "f32", weights)
    if not graphs[0].get_results():
        return _Guarded(lambda x: tail([x])[0], [tail])
    body = _Part(graphs[0], core, "f32" if precision == "fp32" else "bf16", weights)
    if reconstruction is None or reconstruction.radius is None:
        return _Guarded(lambda x: tail([x, *body([x])])[0], [body, tail])
    strips = _InStrips(body, tail, tail_bytes, reconstruction.radius, size_multiple)
    return _Guarded(strips, [body, tail])


def activation_bytes(graph: ov.Model, size_multiple: int = 1) -> float:
    """Bytes per LR pixel that the graph's maps take at the worst moment, in float32.

    Of those that are alive at once, in a graph compiled for its size; where sizes are open, up to
    four times as much was seen. The logits of attention are not among them: the CPU plugin computes
    attention in parts.

    Args:
        graph: of a whole network or of a part of it.
        size_multiple: what the network extends its input to. Sides that are a multiple of it fit
            every part: one may be fed a map that was extended before and one that was not.
    """
    side = size_multiple * -(-64 // size_multiple)
    sized = graph.clone()
    sized.reshape(
        {i: [*list(port.partial_shape)[:2], side, side] for i, port in enumerate(sized.inputs)}
    )
    order = sized.get_ordered_ops()
    sizes: dict[str, int] = {}
    # Reshaped, a map is the same memory under another name.
    memory_of: dict[str, str] = {}
    last_use: dict[str, int] = {}
    for i, op in enumerate(order):
        name, kind = op.get_name(), op.get_type_name()
        sources = [port.get_source_output().get_node().get_name() for port in op.inputs()]
        read = [memory_of[source] for source in sources if source in memory_of]
        last_use.update(dict.fromkeys(read, i))
        # What depends on sizes alone is computed beforehand.
        if kind != "Parameter" and (not read or kind == "ShapeOf"):
            continue
        memory_of[name] = read[0] if kind in _VIEWS else name
        if memory_of[name] == name:
            shapes = [output.get_partial_shape() for output in op.outputs()]
            sizes[name] = sum(math.prod(shape.to_shape()) for shape in shapes if shape.is_static)
    changes = [0] * (len(order) + 1)
    for i, op in enumerate(order):
        if op.get_name() in sizes:
            changes[i] += sizes[op.get_name()]
            changes[last_use.get(op.get_name(), i) + 1] -= sizes[op.get_name()]
    return 4.0 * max(accumulate(changes)) / side**2


class _Part:
    """A graph on the CPU; it takes the graph. For one thread at a time.

    The first size is compiled for itself, and so is a new one that is large; small ones that follow
    share one graph that is for all sizes. What is returned is overwritten by the next call.
    """

    def __init__(
        self, graph: ov.Model, core: ov.Core, hint: str, weights: mmap.mmap | None
    ) -> None:
        self._graph, self._core, self._weights = graph, core, weights
        self._indices = feed_lookups(graph)
        self._settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        self._sizes: list[ov.PartialShape] | None = None
        self._own: ov.CompiledModel | None = None
        self._own_request: ov.InferRequest | None = None
        self._shared_request: ov.InferRequest | None = None

    def __call__(self, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        request = self._request([ov.PartialShape(list(x.shape)) for x in inputs])
        request.infer([*inputs, *self._indices], share_inputs=True, share_outputs=True)
        return [tensor.data for tensor in request.output_tensors]

    def release(self) -> None:
        """Give back what running took; what it put out stays for as long as it is held."""
        if self._own is not None:
            self._own.release_memory()
            self._own_request = None
            give_back(self._weights)

    def forget(self) -> None:
        """Give back all that was compiled."""
        self._sizes = self._own = self._own_request = self._shared_request = None
        give_back(self._weights)

    def _request(self, sizes: list[ov.PartialShape]) -> ov.InferRequest:
        if self._own is None or sizes != self._sizes:
            height, width = (side.get_length() for side in list(sizes[0])[-2:])
            if self._own is not None and height * width < _WORTH_A_GRAPH:
                if self._shared_request is None:
                    self._shared_request = self._compile(self._graph).create_infer_request()
                    give_back(self._weights)
                return self._shared_request
            self._own = self._own_request = None
            sized = self._graph.clone()
            sized.reshape(dict(enumerate(sizes)))
            self._own, self._sizes = self._compile(sized), sizes
            del sized
            give_back(self._weights)
        if self._own_request is None:
            self._own_request = self._own.create_infer_request()
        return self._own_request

    def _compile(self, graph: ov.Model) -> ov.CompiledModel:
        return self._core.compile_model(graph, "CPU", self._settings)


class _InStrips:
    """A body, and a reconstruction that takes what the body puts out in strips, to save memory.

    For one thread at a time, as its parts are.
    """

    def __init__(
        self, body: _Part, tail: _Part, tail_bytes: float, radius: int, multiple: int
    ) -> None:
        self._body, self._tail, self._multiple = body, tail, multiple
        self._halo = -(-radius // multiple) * multiple
        self._tail_bytes = tail_bytes

    def __call__(self, lr: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = lr.shape[-2:]
        edge = ((0, 0), (0, 0), (0, -height % self._multiple), (0, -width % self._multiple))
        lr = np.pad(lr, edge, mode="reflect")
        features = self._body([lr])
        rows = int(_STRIP_BYTES / (self._tail_bytes * lr.shape[-1]))
        strips = cut_evenly(lr.shape[-2], rows, self._halo, self._multiple)
        if len(strips) == 1:
            (result,) = self._tail([lr, *features])
            scale = result.shape[-1] // lr.shape[-1]
        else:
            self._body.release()
            parts = []
            for (top, bottom), (first, last) in strips:
                (part,) = self._tail([x[:, :, top:bottom].copy() for x in (lr, *features)])
                scale = part.shape[-1] // lr.shape[-1]
                parts.append(part[:, :, (first - top) * scale : (last - top) * scale].copy())
            self._tail.release()
            result = np.concatenate(parts, axis=2)
        cropped: NDArray[np.float32] = result[..., : height * scale, : width * scale]
        return cropped


class _Guarded:
    """What threads may call: they take turns, and what they get is theirs.

    Args:
        run: gives an array that the next call may overwrite.
        parts: what it runs; they give back their memory if it does not suffice.
    """

    def __init__(
        self, run: Callable[[NDArray[np.float32]], NDArray[np.float32]], parts: list[_Part]
    ) -> None:
        self._run, self._parts = run, parts
        self._lock = Lock()

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._lock, memory_errors():
            try:
                return self._run(x).copy()
            except (RuntimeError, MemoryError):
                for part in self._parts:
                    part.forget()
                raise


def _cut(graph: ov.Model, reconstruction: str | None) -> tuple[ov.Model, ov.Model]:
    """What leads to the reconstruction, and the reconstruction, fed by what it needs of that.

    It is fed the picture first: the first layer, to whose result networks add all others, is
    computed again in it, because that sum is as exact as its parts.
    """
    body, tail = graph.clone(), graph.clone()
    # Clones have their nodes in the same order.
    order = tail.get_ordered_ops()
    convolutions = [i for i, op in enumerate(order) if op.get_type_name() == "Convolution"]
    layers = [i for i, op in enumerate(order) if op.get_type_name() in _LAYERS]
    named = f"__module.{reconstruction}/"
    starts = [i for i in layers if named in order[i].get_friendly_name()] or convolutions[-1:]
    index_of = {op.get_name(): i for i, op in enumerate(order)}
    inside = set(starts)
    fed_by: dict[tuple[int, int], list[ov.Input]] = {}
    # Layers between the picture and an operation's result, itself included.
    depth: list[int] = []
    for i, op in enumerate(order):
        sources = [index_of[port.get_source_output().get_node().get_name()] for port in op.inputs()]
        is_layer = op.get_type_name() in _LAYERS
        depth.append(max((depth[source] for source in sources), default=0) + is_layer)
        if inside.intersection(sources):
            inside.add(i)
        if i not in inside:
            continue
        for port, source in zip(op.inputs(), sources, strict=True):
            output = port.get_source_output()
            if source not in inside and depth[source] > 1:
                fed_by.setdefault((source, output.get_index()), []).append(port)
    nodes = body.get_ordered_ops()
    outputs = [nodes[i].output(port) for i, port in fed_by]
    parameters = []
    for ports in fed_by.values():
        source = ports[0].get_source_output()
        parameters.append(opset.parameter(source.get_partial_shape(), source.get_element_type()))
        for port in ports:
            port.replace_source_output(parameters[-1].output(0))
    results = [opset.result(output) for output in outputs]
    return ov.Model(results, body.get_parameters(), "body"), ov.Model(
        tail.get_results(), [*tail.get_parameters(), *parameters], "reconstruction"
    )
