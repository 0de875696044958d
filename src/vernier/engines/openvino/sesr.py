"""SESR as a graph, built from its deployed arrays alone: torch is never imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

__all__ = ["Body", "convolve", "sesr_body", "sesr_graph"]

# (1, N, H, W) in [0, 1] -> output phases (1, N * scale**2, H, W), ordered as pixel shuffle wants.
Body = Callable[[Any], Any]


def convolve(x: Any, kernel: NDArray[Any], *, padding: int = 0, dtype: Any = np.float32) -> Any:
    """A convolution whose kernel (out, in, height, width) is a constant of the graph."""
    weight = op.constant(kernel.astype(np.float32), dtype)
    return op.convolution(x, weight, [1, 1], [padding, padding], [padding, padding], [1, 1])


def sesr_graph(arrays: Mapping[str, NDArray[Any]], scale: int, *, bf16: bool) -> ov.Model:
    """(1, N, H, W) -> (1, N, H * scale, W * scale), H and W open."""
    channels = arrays["first.weight"].shape[1]
    lr = op.parameter([1, channels, -1, -1], np.float32)
    phases = sesr_body(arrays, bf16=bf16)(lr)
    return ov.Model([op.depth_to_space(phases, "depth_first", scale)], [lr], "sesr")


def sesr_body(arrays: Mapping[str, NDArray[Any]], *, bf16: bool) -> Body:
    """`vernier.models.sesr.SESR.forward` up to the pixel shuffle.

    Args:
        arrays: the deployed network's, by name.
        bf16: only the layers between the first convolution and the long input residual are in
            bfloat16: they carry the detail to be added, not the picture, which keeps its float32.
    """
    dtype = ov.Type.bf16 if bf16 else ov.Type.f32

    def conv(x: Any, name: str, dtype: Any) -> Any:
        kernel = arrays[f"{name}.weight"]
        y = convolve(x, kernel, padding=kernel.shape[-1] // 2, dtype=dtype)
        bias = arrays.get(f"{name}.bias")
        return y if bias is None else op.add(y, op.constant(bias[None, :, None, None], dtype))

    def body(lr: Any) -> Any:
        first = conv(op.subtract(lr, np.float32(0.5)), "first", ov.Type.f32)
        if bf16:
            first = op.convert(first, dtype)
        features = first
        layer = 0
        while f"body.{layer}.weight" in arrays:
            features = conv(features, f"body.{layer}", dtype)
            slopes = arrays.get(f"activations.{layer}.weight")
            if slopes is None:
                features = op.relu(features)
            else:
                features = op.prelu(features, op.constant(slopes, dtype))
            layer += 1
        detail = conv(op.add(features, first), "last", dtype)
        if bf16:
            detail = op.convert(detail, ov.Type.f32)
        return op.clamp(op.add(detail, lr), 0.0, 1.0)

    return body
