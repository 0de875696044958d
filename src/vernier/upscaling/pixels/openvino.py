"""OpenVINO: the fast path on CPUs, one graph from pixels to pixels.

Colour conversion, bicubic chroma, rounding and interleaving are part of a SESR's graph: in numpy
they would cost more than the network. It is built from its arrays alone: torch is never imported.
Any other module is traced by torch and converted, and runs beside that graph, so that in bfloat16
only the network is rounded, and not the picture around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

from vernier.engines.openvino.conversion import convert
from vernier.engines.openvino.execution import activation_bytes, compile_network
from vernier.imaging.bicubic import peak_value
from vernier.upscaling.pixels.compose import CARRY_RADIUS, Composition, composition
from vernier.zoo.networks import Network

__all__ = ["OpenVINOEngine"]

# (1, N, H, W) in [0, 1] -> output phases (1, N * scale**2, H, W), ordered as pixel shuffle wants.
_Body = Callable[[Any], Any]


class OpenVINOEngine:
    """OpenVINO on the CPU, tuned for latency; height and width stay dynamic.

    Args:
        network: what to execute.
        precision: "bf16" computes in bfloat16 and sums in float32: of a SESR the convolutions
            between the first and the long residual, of another network everything; "auto" does so
            for 8-bit pictures on CPUs with bfloat16 instructions, if the network's loss was
            measured (below 0.01 dB).

    Raises:
        ConversionError: see `vernier.engines.openvino.conversion.convert`.
    """

    name = "openvino"

    def __init__(self, network: Network, precision: Literal["auto", "fp32", "bf16"]) -> None:
        self._network, self._precision = network, precision
        self._core = ov.Core()
        self._native_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._compiled: dict[tuple[int, np.dtype[Any], np.dtype[Any]], ov.InferRequest] = {}
        self._networks: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {}
        if network.arrays is None:
            self._converted = convert(network, self._core)

    def precision(self, dtype: np.dtype[Any]) -> Literal["fp32", "bf16"]:
        if self._precision != "auto":
            return self._precision
        harmless = self._network.facts.is_harmless("bf16") and dtype == np.uint8
        return "bf16" if harmless and self._native_bf16 else "fp32"

    def bytes_per_pixel(self, channels: int) -> float:
        # The picture, the carried phases, the composed phases and two integer copies of them.
        pictures = 4 * channels * (2 + 3 * self._network.facts.scale**2)
        return self._activation_bytes + pictures

    @cached_property
    def _activation_bytes(self) -> float:
        measured = self._network.activation_bytes()
        if self._network.arrays is not None:
            return measured
        return max(measured, activation_bytes(self._converted.graph))

    def run(self, pixels: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        edge = ((CARRY_RADIUS, CARRY_RADIUS), (CARRY_RADIUS, CARRY_RADIUS), (0, 0))
        mirrored = np.pad(pixels, edge, mode="symmetric")
        key = (pixels.shape[2], pixels.dtype, np.dtype(dtype))
        if key not in self._compiled:
            self._compiled[key] = self._compile(*key)
        request = self._compiled[key]
        inputs = [mirrored]
        if self._network.arrays is None:
            inputs.append(self._run_network(pixels))
        request.infer(inputs, share_inputs=True)
        result: NDArray[Any] = request.get_output_tensor().data.copy()
        return result

    def _run_network(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """(H, W, C) pixels -> the network's (1, N, H * scale, W * scale)."""
        precision = self.precision(pixels.dtype)
        if precision not in self._networks:
            self._networks[precision] = compile_network(
                self._converted,
                self._core,
                precision,
                self._network.facts.reconstruction,
                self._network.facts.size_multiple,
            )
        mix = composition(pixels.shape[2], self._network.facts.colour, self._network.facts.scale)
        matrix = mix.input_matrix / np.float32(peak_value(pixels.dtype))
        lr = np.einsum("nc,hwc->nhw", matrix, pixels, dtype=np.float32, optimize=True)
        return self._networks[precision]((lr + mix.input_offset[:, None, None])[None])

    def _compile(
        self, channels: int, dtype_in: np.dtype[Any], dtype_out: np.dtype[Any]
    ) -> ov.InferRequest:
        body = None
        if self._network.arrays is not None:
            body = _sesr(self._network.arrays, bf16=self.precision(dtype_in) == "bf16")
        mix = composition(channels, self._network.facts.colour, self._network.facts.scale)
        graph = _pixel_graph(body, mix, channels, self._network.facts.scale, dtype_in, dtype_out)
        # Everything stays in float32 except what the graph itself declares to be bfloat16.
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        return self._core.compile_model(graph, "CPU", settings).create_infer_request()


def _pixel_graph(
    body: _Body | None,
    mix: Composition,
    channels: int,
    scale: int,
    dtype_in: np.dtype[Any],
    dtype_out: np.dtype[Any],
) -> ov.Model:
    """Mirrored pixels (H + 4, W + 4, C) -> pixels (H * scale, W * scale, C).

    Without a ``body`` the network's own output (1, N, H * scale, W * scale) is a second input.
    """
    r, phases = CARRY_RADIUS, scale**2
    pixels = op.parameter([-1, -1, channels], dtype_in)
    image = op.transpose(op.unsqueeze(op.convert(pixels, "f32"), 0), [0, 3, 1, 2])
    inner = op.slice(image, [r, r], [-r, -r], [1, 1], [2, 3])

    white_in, white_out = peak_value(dtype_in), peak_value(dtype_out)
    inputs = [pixels]
    if body is None:
        inputs.append(op.parameter([1, mix.input_matrix.shape[0], -1, -1], np.float32))
        network = op.space_to_depth(inputs[1], "depth_first", scale)
    else:
        lr = _conv(inner, mix.input_matrix[:, :, None, None] / white_in)
        network = body(op.add(lr, mix.input_offset[None, :, None, None]))
    # One 1x1 convolution spreads the network's phases to those of every colour, which are ordered
    # (dy, dx, c), so that interleaving them below moves rows of scale * C neighbours.
    spread = np.einsum("cn,pq->pcnq", mix.output_matrix, np.eye(phases))
    spread = spread.reshape(phases * channels, -1, 1, 1) * white_out
    result = _conv(network, spread)
    offset = np.tile(mix.output_offset, phases)[None, :, None, None] * white_out
    if mix.carry is not None:
        kernel = mix.carry.transpose(1, 2, 0, 3, 4, 5).reshape(-1, channels, 2 * r + 1, 2 * r + 1)
        result = op.add(result, _conv(image, kernel * (white_out / white_in)))
    result = op.add(result, offset.astype(np.float32))
    if np.issubdtype(dtype_out, np.integer):
        result = op.round(result, "half_to_even")
    result = op.clamp(result, 0.0, white_out)

    result = op.transpose(result, [0, 2, 3, 1])
    result = op.convert(result, dtype_out)
    size = op.shape_of(pixels)
    height, width = (op.subtract(op.gather(size, [axis], 0), _int64(2 * r)) for axis in (0, 1))
    # (H, W, dy, dx c) -> (H, dy, W, dx c) -> (scale H, scale W, c)
    shape = [height, width, _int64(scale), _int64(scale * channels)]
    result = op.transpose(op.reshape(result, op.concat(shape, 0), False), [0, 2, 1, 3])
    shape = [*(op.multiply(side, _int64(scale)) for side in (height, width)), _int64(channels)]
    result = op.reshape(result, op.concat(shape, 0), False)
    return ov.Model([result], inputs, "pixels")


def _int64(value: int) -> Any:
    return op.constant(np.array([value], np.int64))


def _conv(x: Any, kernel: NDArray[Any], *, padding: int = 0, dtype: Any = np.float32) -> Any:
    weight = op.constant(kernel.astype(np.float32), dtype)
    return op.convolution(x, weight, [1, 1], [padding, padding], [padding, padding], [1, 1])


def _sesr(arrays: Mapping[str, NDArray[Any]], *, bf16: bool) -> _Body:
    """`vernier.models.sesr.SESR.forward` up to the pixel shuffle, from its deployed arrays.

    With ``bf16`` only the layers between the first convolution and the long input residual are in
    bfloat16: they carry the detail to be added, not the picture, which keeps its float32.
    """
    dtype = ov.Type.bf16 if bf16 else ov.Type.f32

    def conv(x: Any, name: str, dtype: Any) -> Any:
        kernel = arrays[f"{name}.weight"]
        y = _conv(x, kernel, padding=kernel.shape[-1] // 2, dtype=dtype)
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
