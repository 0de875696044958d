"""OpenVINO: pixel arithmetic as a graph, the fast path on CPUs.

Colour conversion, bicubic chroma, rounding and interleaving are part of a SESR's graph: in numpy
they would cost more than the network. It is built from its arrays alone: torch is never imported.
Any other network runs beside that graph, so that in bfloat16 only the network is rounded, and not
the picture around it.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

from vernier.devices import memory_errors
from vernier.engines import Engine, Precision
from vernier.engines.openvino.engine import computes_bf16, new_core
from vernier.engines.openvino.sesr import Body, convolve, sesr_body
from vernier.imaging.bicubic import peak_value
from vernier.upscaling.pixels.compose import CARRY_RADIUS, composition
from vernier.zoo.facts import Facts
from vernier.zoo.networks import Network

__all__ = ["BesidePixelGraph", "FusedSESR"]

# Channels, type of the pixels and of the result: each has a graph.
_Key = tuple[int, np.dtype[Any], np.dtype[Any]]


class FusedSESR:
    """A SESR and the pixel arithmetic as one graph; height and width stay open.

    A `vernier.upscaling.pixels.PixelEngine`: any number of threads may run it. They take turns,
    each on all cores, so that the memory is that of one.

    Args:
        network: a SESR, given by its arrays.
        precision: "bf16" computes the convolutions between the first and the long residual in
            bfloat16 and sums in float32; "auto" does so for 8-bit pictures on CPUs with bfloat16
            instructions, if the network's loss was measured (below 0.01 dB).
        threads: that compute; None = as many as there are cores.
    """

    name = "openvino"
    device = "cpu"
    note = ""

    def __init__(self, network: Network, precision: Precision, threads: int | None = None) -> None:
        assert network.arrays is not None
        self._arrays, self._facts, self._precision = network.arrays, network.facts, precision
        self._features = network.activation_bytes()
        self._core = new_core(threads)
        self._native_bf16 = computes_bf16(self._core)
        self._graphs = _PixelGraphs(self._core, self._graph)

    def precision(self, dtype: np.dtype[Any]) -> Literal["fp32", "bf16"]:
        if self._precision != "auto":
            return self._precision
        harmless = self._facts.is_harmless("bf16") and dtype == np.uint8
        return "bf16" if harmless and self._native_bf16 else "fp32"

    def bytes_per_pixel(self, channels: int) -> float:
        return self._features + _picture_bytes(channels, self._facts.scale)

    def run(self, pixels: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        return self._graphs.run(pixels, dtype)

    def _graph(self, key: _Key) -> ov.Model:
        body = sesr_body(self._arrays, bf16=self.precision(key[1]) == "bf16")
        return _pixel_graph(body, self._facts, *key)


class BesidePixelGraph:
    """An engine of the CPU, and beside it the pixel arithmetic as a graph.

    A `vernier.upscaling.pixels.PixelEngine`: any number of threads may run it.

    Args:
        facts: of the network.
        engine: what runs it.
        for_bytes: what runs it for 8-bit pictures; None = ``engine`` does.
        threads: that compute the pixel arithmetic; None = as many as there are cores.
        note: what should be known of the engine.
    """

    device = "cpu"

    def __init__(
        self,
        facts: Facts,
        engine: Engine,
        for_bytes: Engine | None = None,
        threads: int | None = None,
        note: str = "",
    ) -> None:
        self.name, self.note = engine.name, note
        self._facts, self._engine, self._for_bytes = facts, engine, for_bytes or engine
        self._graphs = _PixelGraphs(new_core(threads), lambda key: _pixel_graph(None, facts, *key))

    def precision(self, dtype: np.dtype[Any]) -> Literal["fp32", "bf16"]:
        return self._engine_for(dtype).precision

    def bytes_per_pixel(self, channels: int) -> float:
        return self._engine.bytes_per_pixel + _picture_bytes(channels, self._facts.scale)

    def run(self, pixels: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        mix = composition(pixels.shape[2], self._facts.colour, self._facts.scale)
        matrix = mix.input_matrix / np.float32(peak_value(pixels.dtype))
        with memory_errors():
            lr = np.einsum("nc,hwc->nhw", matrix, pixels, dtype=np.float32, optimize=True)
            lr = (lr + mix.input_offset[:, None, None])[None]
            return self._graphs.run(pixels, dtype, self._engine_for(pixels.dtype).run(lr))

    def _engine_for(self, dtype: np.dtype[Any]) -> Engine:
        return self._for_bytes if dtype == np.uint8 else self._engine


class _PixelGraphs:
    """Compiled graphs from pixels to pixels, one for each kind of picture.

    Threads take turns; what they get is theirs.
    """

    def __init__(self, core: ov.Core, make: Callable[[_Key], ov.Model]) -> None:
        self._core, self._make = core, make
        self._requests: dict[_Key, ov.InferRequest] = {}
        self._lock = Lock()

    def run(
        self, pixels: NDArray[Any], dtype: np.dtype[Any], *maps: NDArray[np.float32]
    ) -> NDArray[Any]:
        """Pixels (H, W, C), and what else the graph reads -> (H * scale, W * scale, C).

        Raises:
            MemoryError: the memory does not suffice; what was compiled has been given back.
        """
        key = (pixels.shape[2], pixels.dtype, np.dtype(dtype))
        edge = ((CARRY_RADIUS, CARRY_RADIUS), (CARRY_RADIUS, CARRY_RADIUS), (0, 0))
        with memory_errors():
            mirrored = np.pad(pixels, edge, mode="symmetric")
            with self._lock:
                try:
                    if key not in self._requests:
                        self._requests[key] = self._compile(key)
                    request = self._requests[key]
                    request.infer([mirrored, *maps], share_inputs=True)
                    result: NDArray[Any] = request.get_output_tensor().data.copy()
                except (RuntimeError, MemoryError):
                    self._requests.clear()
                    raise
        return result

    def _compile(self, key: _Key) -> ov.InferRequest:
        # Everything stays in float32 except what the graph itself declares to be bfloat16.
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        return self._core.compile_model(self._make(key), "CPU", settings).create_infer_request()


def _picture_bytes(channels: int, scale: int) -> float:
    """The picture, the carried phases, the composed phases and two integer copies of them."""
    return 4.0 * channels * (2 + 3 * scale**2)


def _pixel_graph(
    body: Body | None,
    facts: Facts,
    channels: int,
    dtype_in: np.dtype[Any],
    dtype_out: np.dtype[Any],
) -> ov.Model:
    """Mirrored pixels (H + 4, W + 4, C) -> pixels (H * scale, W * scale, C).

    Without a ``body`` the network's own output (1, N, H * scale, W * scale) is a second input.
    """
    scale = facts.scale
    mix = composition(channels, facts.colour, scale)
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
        lr = convolve(inner, mix.input_matrix[:, :, None, None] / white_in)
        network = body(op.add(lr, mix.input_offset[None, :, None, None]))
    # One 1x1 convolution spreads the network's phases to those of every colour, which are ordered
    # (dy, dx, c), so that interleaving them below moves rows of scale * C neighbours.
    spread = np.einsum("cn,pq->pcnq", mix.output_matrix, np.eye(phases))
    spread = spread.reshape(phases * channels, -1, 1, 1) * white_out
    result = convolve(network, spread)
    offset = np.tile(mix.output_offset, phases)[None, :, None, None] * white_out
    if mix.carry is not None:
        kernel = mix.carry.transpose(1, 2, 0, 3, 4, 5).reshape(-1, channels, 2 * r + 1, 2 * r + 1)
        result = op.add(result, convolve(image, kernel * (white_out / white_in)))
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
