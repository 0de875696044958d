"""Names of torch and OpenVINO that are not public: when one goes, it fails here, and says where."""

from __future__ import annotations

import warnings

import openvino as ov
import torch
from openvino import opset13 as opset

# Every one of them is used by `vernier.engines.openvino.conversion`, and there alone.


def traced(module: torch.nn.Module) -> ov.Model:
    """What `conversion` does to trace, by the same names."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = (torch.rand(1, 1, 4, 5),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decoder = TorchScriptPythonDecoder(
            module, example_input=example, trace_kwargs={"check_trace": False}
        )
    frontend = FrontEndManager().load_by_framework("pytorch")
    model: ov.Model = frontend.convert(frontend.load(decoder))
    return model


def test_a_decoder_of_torchscript_hands_a_module_to_openvino() -> None:
    model = traced(torch.nn.Conv2d(1, 2, 3).eval())
    assert [len(model.inputs), len(model.outputs)] == [1, 1]
    assert "Convolution" in {op.get_type_name() for op in model.get_ordered_ops()}


def test_the_offline_transformations_fold_what_is_known() -> None:
    from openvino._offline_transformations import apply_moc_transformations

    picture = opset.parameter([1, 1, -1, -1], ov.Type.f32)
    known = opset.add(opset.constant([1.0], ov.Type.f32), opset.constant([2.0], ov.Type.f32))
    model = ov.Model([opset.add(picture, known)], [picture], "sum")
    before = len(model.get_ops())
    apply_moc_transformations(model, cf=False)
    assert len(model.get_ops()) < before
    assert model.get_parameters()[0].get_partial_shape().is_dynamic


class Scripted(torch.nn.Module):
    """Somebody's module, scripted beside ours."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def test_the_stores_of_torchscript_tell_whether_others_use_it() -> None:
    from torch.jit._recursive import concrete_type_store

    compiled = set(concrete_type_store.methods_compiled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Scripted())
    # Only while that is empty the conversion empties both.
    assert Scripted in concrete_type_store.type_store
    assert concrete_type_store.methods_compiled > compiled
    del concrete_type_store.type_store[Scripted]
    concrete_type_store.methods_compiled.intersection_update(compiled)


def test_torch_forgets_the_classes_of_torchscript() -> None:
    # Not called: other tests may still use what they scripted.
    assert callable(torch._C._jit_clear_class_registry)
