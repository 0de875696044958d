"""Any torch module as one OpenVINO graph for every size, made from a small example.

Tracing and checking a large transformer takes longer than running it, and more memory. So the
graphs of Vernier's own models are kept in a folder, under a hash of all that they were made from:
``graphs`` in the one named by VERNIER_CACHE, else in ``vernier`` in the user's cache folder. Those
that were used last stay. Each ends with a hash of its own: one that has changed is made anew.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import mmap
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from vernier import __version__
from vernier.engines.network import input_channels
from vernier.engines.openvino import lookups
from vernier.errors import InputError
from vernier.io.files import reason_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vernier.models.layers import Model
    from vernier.zoo.networks import Network

__all__ = ["ConversionError", "Converted", "convert", "convert_module", "give_back"]

# A converted network must agree with torch this closely, at every size tried.
_TOLERANCE = 1e-3
# None is a multiple of another, and one is odd: a size that tracing froze does not fit both.
_SIZES: tuple[tuple[int, int], ...] = ((24, 32), (37, 19))
# The same for networks that take whole windows only, in windows.
_PARTS = ((2, 3), (3, 1))
# Graphs that are kept; of HAT-L one takes 160 MB.
_KEPT = 8
# The tracer of torch has stores that are the process', not the thread's.
_TRACING = Lock()
_KEPT_NAME = re.compile(r"[0-9a-f]{64}\.xml")
_GRAPH_FILE = re.compile(r"[0-9a-f]{64}\.(?:xml|bin)")
_DIGEST = "\n<!-- vernier sha256 "
_DRAFTS = "draft-"
_DRAFT = re.compile(_DRAFTS + r"[a-z0-9_]{8}")
# Seconds after which a conversion is no longer at work on its files.
_ABANDONED = 6 * 3600.0


class ConversionError(InputError):
    """The module cannot be converted to OpenVINO, or the result is not the same function."""


@dataclass(frozen=True)
class Converted:
    """A network as a graph for single pictures of every size.

    Attributes:
        graph: its inputs and its output are (1, C, H, W), H and W open.
        weights: the file that its constants lie in, to be held for as long as the graph, its clones
            and what is compiled of them are; None = they lie in memory.
    """

    graph: ov.Model
    weights: mmap.mmap | None = None
    note: str = ""


def give_back(weights: mmap.mmap | None) -> None:
    """Let the system have what compiling leaves behind.

    That is what was read from the file, which is read again where it is needed (compiled, a graph
    has weights of its own, in the processor's layout), and what was freed.
    """
    if weights is not None and hasattr(mmap, "MADV_DONTNEED"):
        weights.madvise(mmap.MADV_DONTNEED)
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def convert(network: Network, module: nn.Module, core: ov.Core) -> Converted:
    """The graph of a network for single maps of every size.

    Args:
        network: what is known of it.
        module: its `vernier.engines.network.executable`, on the CPU.
        core: OpenVINO's.

    Raises:
        ConversionError: the module cannot be converted, or the result is not the same function.
    """
    import torch

    from vernier.engines.aligned import Aligned

    facts, sizes = network.facts, _SIZES
    if facts.colour == "cube":
        multiple = facts.size_multiple
        sizes = tuple((rows * multiple, columns * multiple) for rows, columns in _PARTS)
    generator = torch.Generator().manual_seed(0)
    channels = input_channels(facts)
    examples = [(torch.rand(1, channels, *size, generator=generator),) for size in sizes]
    model = module.network if isinstance(module, Aligned) else module
    return convert_module(module, examples, core, network.name, model=model)


def convert_module(
    module: nn.Module,
    examples: Sequence[tuple[Tensor, ...]],
    core: ov.Core,
    name: str,
    model: nn.Module | None = None,
) -> Converted:
    """Trace on the first example, leave height and width open, and check on every example.

    The graph is kept, and taken from there the next time, if ``model`` is one of Vernier's.

    Args:
        module: in eval mode, on the CPU; its inputs and its output are (1, C, H, W).
        examples: inputs at two sizes or more.
        name: for messages.
        model: what ``module`` runs.

    Raises:
        ConversionError: the module cannot be converted, or the result is not the same function.
    """
    from vernier.models.layers import Model

    path, note = None, ""
    if isinstance(model, Model) and _is_ours(model):
        if folder := _graphs_folder():
            path = folder / f"{_fingerprint(module, model)}.xml"
        else:
            note = _not_kept(name, "there is no home folder")
    with _TRACING:
        if path is not None:
            with suppress(OSError, RuntimeError, ValueError):  # None was kept, or it is damaged.
                found = _read_kept(path, core)
                with suppress(OSError):
                    os.utime(path)
                return found
        expected = _computed(module, examples, name)
        graph: ov.Model | None = _traced(module, examples[0], name)
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _clear_leftovers(path.parent)
                with TemporaryDirectory(dir=path.parent, prefix=_DRAFTS) as drafts:
                    draft = Path(drafts) / path.name
                    ov.save_model(graph, draft, compress_to_fp16=False)
                    # Checked as it is read from there: what was traced takes more memory.
                    graph = None
                    _check(_read(draft, core), examples, expected, core, name)
                    _keep(draft, path)
                return _read_kept(path, core)
            except (OSError, RuntimeError) as error:  # It serves without being kept.
                note = _not_kept(name, reason_of(error))
        converted = Converted(graph or _traced(module, examples[0], name), note=note)
        _check(converted, examples, expected, core, name)
        return converted


def _not_kept(name: str, reason: str) -> str:
    return (
        f"{name} as converted for OpenVINO could not be kept ({reason}), and will be converted "
        "again the next time: name a folder for it with VERNIER_CACHE"
    )


def _graphs_folder() -> Path | None:
    """Where graphs are kept; None where the user has no folder of their own."""
    if named := os.environ.get("VERNIER_CACHE"):
        return Path(named) / "graphs"
    caches = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(caches or Path.home() / ".cache") / "vernier" / "graphs"
    except RuntimeError:  # A user without a home, as in a container.
        return None


def _is_ours(model: nn.Module) -> bool:
    """Whether all its code is Vernier's or torch's: the fingerprint says nothing of other code."""
    homes = {type(module).__module__.partition(".")[0] for module in model.modules()}
    return homes <= {"vernier", "torch"}


def _fingerprint(module: nn.Module, model: Model) -> str:
    """Of the weights, the architecture, and the code and the packages that make the graph."""
    import torch

    facts = [model.architecture, model.scale, model.config, type(module).__name__]
    versions = [__version__, ov.__version__, torch.__version__]
    found = hashlib.sha256(json.dumps([facts, versions], default=str).encode())
    code = (Path(__file__).parents[2] / "models").glob("*.py")
    for file in [Path(__file__), Path(lookups.__file__), *sorted(code)]:
        found.update(file.read_bytes())
    for key, tensor in model.state_dict().items():
        found.update(key.encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _read(path: Path, core: ov.Core, digest: str | None = None) -> Converted:
    """The graph that was written to this path.

    Args:
        digest: that its two files must have; None asks for none.

    Raises:
        OSError, RuntimeError, ValueError: there is none, or it is damaged.
    """
    # OpenVINO would map the file too, but could not be told to let go of it.
    with path.with_suffix(".bin").open("rb") as file:
        weights = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    description, _, _ = path.read_text(encoding="utf-8").partition(_DIGEST)
    if digest is not None and _digest(description, weights) != digest:
        raise ValueError(f"{path} has changed since it was kept")
    tensor = ov.Tensor(np.frombuffer(weights, np.uint8), shared_memory=True)
    return Converted(core.read_model(description, tensor), weights)


def _read_kept(path: Path, core: ov.Core) -> Converted:
    """The graph that was kept under this path, as it was kept.

    Raises:
        OSError, RuntimeError, ValueError: none was, or it has changed.
    """
    _, _, digest = path.read_text(encoding="utf-8").partition(_DIGEST)
    return _read(path, core, digest)


def _digest(description: str, weights: mmap.mmap | bytes) -> str:
    """Of the two files of a graph, as the comment that ends the description."""
    found = hashlib.sha256(description.encode())
    found.update(weights)
    return f"{found.hexdigest()} -->\n"


def _keep(draft: Path, path: Path) -> None:
    """Move a graph to its place, and remove what was not used for longest.

    Another process may do the same at the same time: both then move the same graph there. Nothing
    is touched that another program may have left in the folder.

    Raises:
        OSError: it cannot be moved.
    """
    description = draft.read_text(encoding="utf-8")
    digest = _digest(description, draft.with_suffix(".bin").read_bytes())
    draft.write_text(f"{description}{_DIGEST}{digest}", encoding="utf-8")
    # The description comes last: with it the graph is there.
    for suffix in (".bin", ".xml"):
        draft.with_suffix(suffix).replace(path.with_suffix(suffix))
    used: dict[Path, float] = {}
    for file in path.parent.glob("*.xml"):
        with suppress(OSError):  # Removed by another process.
            if _KEPT_NAME.fullmatch(file.name):
                used[file] = file.stat().st_mtime
    for old in sorted(used, key=lambda file: -used[file])[_KEPT:]:
        for suffix in (".xml", ".bin"):
            with suppress(OSError):
                old.with_suffix(suffix).unlink()


def _clear_leftovers(folder: Path) -> None:
    """Remove what conversions that were killed have left, once nobody can still be at work on it.

    Nothing is touched that another program may have left in the folder.
    """
    for found in folder.iterdir():
        with suppress(OSError):  # Removed by another process.
            if time.time() - found.stat().st_mtime < _ABANDONED:
                continue
            if _DRAFT.fullmatch(found.name) and found.is_dir():
                if all(_GRAPH_FILE.fullmatch(file.name) for file in found.iterdir()):
                    shutil.rmtree(found, ignore_errors=True)
            elif _GRAPH_FILE.fullmatch(found.name) and not found.with_suffix(".xml").exists():
                found.unlink()


def _computed(
    module: nn.Module, examples: Sequence[tuple[Tensor, ...]], name: str
) -> list[NDArray[np.float32]]:
    """What torch makes of the examples."""
    import torch

    try:
        with torch.inference_mode():
            results = [module(*example).numpy() for example in examples]
    except Exception as error:
        raise _cannot(name, error) from error
    # Networks forget what they prepared for running.
    module.eval()
    return results


def _traced(module: nn.Module, example: tuple[Tensor, ...], name: str) -> ov.Model:
    import torch

    # Not ov.convert_model, which does the same: it reports to a telemetry service.
    from openvino._offline_transformations import apply_moc_transformations
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    from torch.jit._recursive import concrete_type_store

    others = bool(concrete_type_store.type_store)
    try:
        # The tracer warns of what the check will find, and its own check takes as much again.
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoder = TorchScriptPythonDecoder(
                module, example_input=example, trace_kwargs={"check_trace": False}
            )
            frontend = FrontEndManager().load_by_framework("pytorch")
            model: ov.Model = frontend.convert(frontend.load(decoder))
        for port, tensor in zip(model.inputs, example, strict=True):
            port.get_node().set_element_type(ov.Type.f32)
            port.get_node().set_partial_shape(ov.PartialShape([1, tensor.shape[1], -1, -1]))
        model.validate_nodes_and_infer_types()
        # What a tracer notes of sizes is most of the graph; this leaves a fifth. It folds too.
        indices = lookups.feed_lookups(model)
        apply_moc_transformations(model, cf=False)
        lookups.fix_lookups(model, indices)
    except Exception as error:
        raise _cannot(name, error) from error
    # TorchScript keeps all that it ever traced. Where that is only this, it need not.
    if not others:
        del decoder
        torch._C._jit_clear_class_registry()
        concrete_type_store.type_store.clear()
        concrete_type_store.methods_compiled.clear()
    return model


def _check(
    converted: Converted,
    examples: Sequence[tuple[Tensor, ...]],
    expected: Sequence[NDArray[np.float32]],
    core: ov.Core,
    name: str,
) -> None:
    try:
        graph = converted.graph.clone()
        indices = lookups.feed_lookups(graph)
        compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        give_back(converted.weights)
        worst = max(
            float(np.abs(compiled([*(x.numpy() for x in example), *indices])[0] - target).max())
            for example, target in zip(examples, expected, strict=True)
        )
    except Exception as error:
        raise _cannot(name, error) from error
    if not worst <= _TOLERANCE:
        raise ConversionError(
            f"{name} converted to OpenVINO differs from torch by {worst:.2g}: use torch"
        )


def _cannot(name: str, error: Exception) -> ConversionError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ConversionError(f"OpenVINO cannot convert {name}: {reason}")
