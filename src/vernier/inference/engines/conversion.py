"""Any torch module as one OpenVINO graph for every size, made from a small example.

Tracing and checking a large transformer takes longer than running it, and more memory. So the
graphs of Vernier's own models are kept in a folder, under a hash of all that they were made from:
the one named by VERNIER_CACHE, else ``vernier`` in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov

from vernier import __version__
from vernier.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vernier.inference.networks import Network
    from vernier.models.layers import Model

__all__ = ["ConversionError", "convert", "convert_module"]

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
