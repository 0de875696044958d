"""Any torch module as one OpenVINO graph for every size, made from a small example.

Tracing and checking a large transformer takes longer than running it, and more memory. So the
graphs of Vernier's own models are kept in a folder, under a hash of all that they were made from:
the one named by VERNIER_CACHE, else ``vernier`` in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

from vernier import __version__
from vernier.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vernier.inference.networks import Network
    from vernier.models.layers import Model

__all__ = [
    "ConversionError",
    "activation_bytes",
    "compile_network",
    "convert",
    "convert_module",
]

# A converted network must agree with torch this closely, at every size tried.
_TOLERANCE = 1e-3
# None is a multiple of another, and one is odd: a size that tracing froze does not fit both.
_SIZES = ((24, 32), (37, 19))
# Graphs that are kept; of HAT-L one takes 160 MB.
_KEPT = 8


class ConversionError(InputError):
    """The module cannot be converted to OpenVINO, or the result is not the same function."""


def convert(network: Network, core: ov.Core) -> ov.Model:
    """The graph of a network for single pictures, (1, N, H, W) -> (1, N, H * scale, W * scale).

    Raises:
        ConversionError: see there.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    examples = [(torch.rand(1, network.channels, *s, generator=generator),) for s in _SIZES]
    module = network.module().cpu()
    return convert_module(module, examples, core, network.name, model=module)


def convert_module(
    module: nn.Module,
    examples: Sequence[tuple[Tensor, ...]],
    core: ov.Core,
    name: str,
    model: nn.Module | None = None,
) -> ov.Model:
    """Trace on the first example, leave height and width open, and check on every example.

    The graph is kept, and taken from there the next time, if ``model`` is one of Vernier's.

    Args:
        module: in eval mode, on the CPU; its inputs and its output are (1, C, H, W).
        examples: inputs at two sizes or more.
        name: for messages.
        model: what ``module`` runs.

    Raises:
        ConversionError: see there.
    """
    from vernier.models.layers import Model

    if not isinstance(model, Model):
        return _traced(module, examples, core, name)
    path = _cache_folder() / f"{_fingerprint(module, model)}.xml"
    try:
        return core.read_model(path)
    except RuntimeError:
        graph = _traced(module, examples, core, name)
    return _kept(graph, path, core)


def compile_network(
    graph: ov.Model,
    core: ov.Core,
    precision: Literal["fp32", "bf16"],
    reconstruction: str | None = None,
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The graph on the CPU, tuned for latency: (1, C, H, W) -> (1, N, H', W').

    In bf16 the reconstruction stays in float32: there the features become the picture, and what is
    rounded is seen. It is a small part of the work.

    Args:
        reconstruction: the name of its first layer in the torch module; None = the last
            convolution.
    """
    if precision == "fp32":
        run = _request(graph, core, "f32")
        return lambda x: run([x])[0]
    body, tail = _cut(graph, reconstruction)
    run_tail = _request(tail, core, "f32")
    if not body.get_results():
        return lambda x: run_tail([x])[0]
    run_body = _request(body, core, "bf16")
    return lambda x: run_tail([x, *run_body([x])])[0]


def activation_bytes(graph: ov.Model, channels: int) -> float:
    """Bytes per LR pixel that the graph's feature maps take at the worst moment, in float32.

    The largest map twice, for what is read and what is written, or the logits of an attention and
    their softmax: the CPU plugin writes both down, though the graph does not show them.
    """
    side = 64
    sized = graph.clone()
    sized.reshape([1, channels, side, side])
    largest = 0
    for op in sized.get_ordered_ops():
        shapes = [output.get_partial_shape() for output in op.outputs()]
        if op.get_type_name() == "ScaledDotProductAttention":
            query, key = (op.input(i).get_partial_shape() for i in range(2))
            shapes.append(ov.PartialShape([*list(query)[:-1], list(key)[-2]]))
        if op.get_type_name() not in ("Parameter", "Constant"):
            sizes = [math.prod(shape.to_shape()) for shape in shapes if shape.is_static]
            largest = max(largest, *sizes, 0)
    return 2 * 4.0 * largest / side**2


def _request(
    graph: ov.Model, core: ov.Core, hint: str
) -> Callable[[list[NDArray[Any]]], list[NDArray[Any]]]:
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    request = core.compile_model(graph, "CPU", settings).create_infer_request()

    def run(inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        request.infer(inputs, share_inputs=True)
        return [tensor.data for tensor in request.output_tensors]

    return run


def _cut(graph: ov.Model, reconstruction: str | None) -> tuple[ov.Model, ov.Model]:
    """What leads to the reconstruction, and the reconstruction, fed by what it needs of that.

    It is fed the picture first: the first layer, to whose result networks add all others, is
    computed again in it, because that sum is as exact as its parts.
    """
    body, tail = graph.clone(), graph.clone()
    # Clones have their nodes in the same order.
    order = tail.get_ordered_ops()
    convolutions = [i for i, op in enumerate(order) if op.get_type_name() == "Convolution"]
    named = f"__module.{reconstruction}/"
    starts = [i for i in convolutions if named in order[i].get_friendly_name()] or convolutions[-1:]
    index_of = {op.get_name(): i for i, op in enumerate(order)}
    inside: set[int] = set(starts[:1])
    fed_by: dict[tuple[int, int], list[ov.Input]] = {}
    # Layers between the picture and an operation's result, itself included.
    depth: list[int] = []
    for i, op in enumerate(order):
        sources = [index_of[port.get_source_output().get_node().get_name()] for port in op.inputs()]
        layer = op.get_type_name() in ("Convolution", "MatMul", "ScaledDotProductAttention")
        depth.append(max((depth[source] for source in sources), default=0) + layer)
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


def _cache_folder() -> Path:
    named = os.environ.get("VERNIER_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vernier"


def _fingerprint(module: nn.Module, model: Model) -> str:
    """Of the weights, the architecture, and the code and the packages that make the graph."""
    import torch

    facts = [model.architecture, model.scale, model.config, type(module).__name__]
    versions = [__version__, ov.__version__, torch.__version__]
    found = hashlib.sha256(json.dumps([facts, versions], default=str).encode())
    for file in sorted((Path(__file__).parents[2] / "models").glob("*.py")):
        found.update(file.read_bytes())
    for key, tensor in model.state_dict().items():
        found.update(key.encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _kept(graph: ov.Model, path: Path, core: ov.Core) -> ov.Model:
    """The graph as it lies in the cache, which holds less memory; itself where none can be kept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent) as folder:
            ov.save_model(graph, Path(folder) / path.name, compress_to_fp16=False)
            # The description comes last: with it the graph is there.
            for suffix in (".bin", ".xml"):
                (Path(folder) / path.name).with_suffix(suffix).replace(path.with_suffix(suffix))
        newest_first = sorted(path.parent.glob("*.xml"), key=lambda p: -p.stat().st_mtime)
        for old in newest_first[_KEPT:]:
            old.unlink(missing_ok=True)
            old.with_suffix(".bin").unlink(missing_ok=True)
        return core.read_model(path)
    except (OSError, RuntimeError):
        return graph


def _traced(
    module: nn.Module, examples: Sequence[tuple[Tensor, ...]], core: ov.Core, name: str
) -> ov.Model:
    import torch

    # Not ov.convert_model: that reports to a telemetry service.
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    try:
        # The tracer warns of what the check below would find.
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = [module(*example).numpy() for example in examples]
            decoder = TorchScriptPythonDecoder(module, example_input=examples[0])
            frontend = FrontEndManager().load_by_framework("pytorch")
            model: ov.Model = frontend.convert(frontend.load(decoder))
        for port, example in zip(model.inputs, examples[0], strict=True):
            port.get_node().set_element_type(ov.Type.f32)
            port.get_node().set_partial_shape(ov.PartialShape([1, example.shape[1], -1, -1]))
        model.validate_nodes_and_infer_types()
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        worst = max(
            float(np.abs(compiled([each.numpy() for each in example])[0] - target).max())
            for example, target in zip(examples, expected, strict=True)
        )
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConversionError(f"OpenVINO cannot convert {name}: {reason}") from error
    if not worst <= _TOLERANCE:
        raise ConversionError(
            f"{name} converted to OpenVINO differs from torch by {worst:.2g}: use torch"
        )
    return model
