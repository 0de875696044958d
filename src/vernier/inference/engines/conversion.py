"""Any torch module as one OpenVINO graph for every size, made from a small example."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov

from vernier.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vernier.inference.networks import Network

__all__ = ["ConversionError", "convert", "convert_module"]

# A converted network must agree with torch this closely, at every size tried.
_TOLERANCE = 1e-3
# None is a multiple of another, and one is odd: a size that tracing froze does not fit both.
_SIZES = ((24, 32), (37, 19))


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
    return convert_module(network.module().cpu(), examples, core, network.name)


def convert_module(
    module: nn.Module, examples: Sequence[tuple[Tensor, ...]], core: ov.Core, name: str
) -> ov.Model:
    """Trace on the first example, leave height and width open, and check on every example.

    Args:
        module: in eval mode, on the CPU; its inputs and its output are (1, C, H, W).
        examples: inputs at two sizes or more.
        name: for messages.

    Raises:
        ConversionError: see there.
    """
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
