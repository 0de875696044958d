"""From 1920x1080 to 3840x2160 on the CPU: engines, precisions, and the machine's limits."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import openvino as ov
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.machine import Limits, limit_contestants, measured_limits
from benchmarks.material import SCALE, Settings, network, photograph, require
from benchmarks.report import Column, Section, Table
from benchmarks.timing import Timing, interleave
from vernier.imaging import rgb_to_luma
from vernier.models.sesr import SESR
from vernier.upscaling import Upscaler
from vernier.upscaling.pixels import create_pixel_engine
from vernier.zoo.complexity import complexity
from vernier.zoo.networks import networks_of

__all__ = ["run"]

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
# Largest difference in fp32 of values in [0, 1], and lowest PSNR in bf16, from the reference.
_FP32_DIFFERENCE, _BF16_PSNR = 1e-4, 30.0


@dataclass(frozen=True)
class _Contestant:
    name: str
    precision: Precision
    call: Callable[[], Any]


def run(settings: Settings) -> Section:
    height, width = settings.lr_size
    model, note = network()
    picture = photograph(height, width)
    lr = rgb_to_luma(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)
    on_luma = [*_torch(model, lr, settings), *_other_engines(model, lr, settings)]
    on_pictures = _pictures(model, picture)
    everyone = [*on_luma, *on_pictures]
    timings = interleave(
        {
            **{each.name: each.call for each in everyone},
            **limit_contestants(quick=settings.quick),
        },
        repeats=settings.repeats,
    )
    limits = measured_limits(timings, quick=settings.quick)
    macs = complexity(model, (height, width)).macs
    size = f"{width}x{height} to {width * SCALE}x{height * SCALE}"
    notes = [
        f"{note} {settings.threads} threads. Reference of every difference and ratio: the first "
        "row of its table.",
        "The rows on luma take float32 luma to float32 luma; those of the Vernier engine include "
        "its mirrored border, its final clip and copies. The rows on pictures take 8-bit RGB to "
        "8-bit RGB: colour conversion, bicubic chroma and rounding are part of them.",
    ]
    if settings.quick:
        notes.append("`--quick` leaves out what torch must compile.")
    return Section(
        f"Inference: {size}",
        notes,
        [
            _luma_table(on_luma, timings, limits, macs),
            _picture_table(on_pictures, timings),
            _floors(model, limits, macs, (height, width)),
            limits.table,
        ],
    )


def _torch(model: SESR, lr: Tensor, settings: Settings) -> list[_Contestant]:
    # For modules and one-channel pictures, memory format is a matter of the weights' strides.
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    lr_last = lr.contiguous(memory_format=torch.channels_last)

    def contestant(
        name: str, module: Callable[[Tensor], Tensor], x: Tensor, precision: Precision
    ) -> _Contestant:
        @torch.inference_mode()
        def call() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                return module(x)

        return _Contestant(name, precision, call)

    contestants = [
        contestant("torch, eager", model, lr, "fp32"),
        contestant("torch, channels last", last, lr_last, "fp32"),
        contestant("torch, channels last, bf16 autocast", last, lr_last, "bf16"),
    ]
    if not settings.quick:
        compiled = torch.compile(last, fullgraph=True)
        contestants += [
            contestant("torch.compile, channels last", compiled, lr_last, "fp32"),
            contestant("torch.compile, channels last, bf16 autocast", compiled, lr_last, "bf16"),
        ]
    return contestants


def _other_engines(model: SESR, lr: Tensor, settings: Settings) -> list[_Contestant]:
    """ONNX Runtime and OpenVINO on the exported graph, and Vernier's own OpenVINO graph."""
    path = settings.folder / "network.onnx"
    torch.onnx.export(
        model,
        (lr,),
        path,
        input_names=["lr"],
        output_names=["hr"],
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    pixels = lr.numpy()
    luma = np.ascontiguousarray(pixels[0, 0, :, :, None])
    contestants = [_Contestant("ONNX Runtime", "fp32", _onnxruntime(path, pixels, settings))]
    for precision in PRECISIONS:
        name = f"OpenVINO, exported graph, {precision}"
        contestants.append(_Contestant(name, precision, _openvino(path, pixels, precision)))
    for precision in PRECISIONS:
        engine = create_pixel_engine(networks_of(model)[SCALE](), "openvino", precision, None)
        call = lambda engine=engine: engine.run(luma, np.dtype(np.float32))  # noqa: E731
        contestants.append(_Contestant(f"Vernier on OpenVINO, {precision}", precision, call))
    return contestants


def _onnxruntime(path: Path, pixels: NDArray[Any], settings: Settings) -> Callable[[], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"lr": pixels})[0]


def _openvino(path: Path, pixels: NDArray[Any], precision: Precision) -> Callable[[], Any]:
    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    compiled = ov.Core().compile_model(path, "CPU", settings)
    return lambda: compiled([pixels])[0]


def _pictures(model: SESR, picture: NDArray[Any]) -> list[_Contestant]:
    contestants = []
    for engine in ("torch", "openvino"):
        for precision in PRECISIONS:
            upscaler = Upscaler(
                copy.deepcopy(model),
                engine=engine,
                precision=precision,
                tile=None,
            )
            call = lambda upscaler=upscaler: upscaler.upscale_array(picture)  # noqa: E731
            contestants.append(_Contestant(f"{engine}, {precision}", precision, call))
    return contestants


def _output(contestant: _Contestant) -> NDArray[Any]:
    return np.asarray(contestant.call(), np.float64).squeeze()


def _psnr(a: NDArray[Any], b: NDArray[Any], peak: float) -> float | None:
    """None for equal arrays."""
    error = float(np.square(a - b).mean())
    return 10 * math.log10(peak**2 / error) if error else None


def _rows(
    contestants: list[_Contestant], timings: dict[str, Timing], peak: float, allowed: float
) -> list[dict[str, Any]]:
    reference = _output(contestants[0])
    reference_seconds = timings[contestants[0].name].median
    rows = []
    for each in contestants:
        output = _output(each)
        difference = float(np.abs(output - reference).max())
        psnr = _psnr(output, reference, peak)
        if each.precision == "fp32":
            require(each.name, difference, allowed)
        elif psnr is not None:
            require(f"PSNR of {each.name}", -psnr, -_BF16_PSNR)
        rows.append(
            {
                "name": each.name,
                "precision": each.precision,
                "seconds": asdict(timings[each.name]),
                "ratio": reference_seconds / timings[each.name].median,
                "first": timings[each.name].first,
                "difference": difference,
                "psnr": psnr,
            }
        )
    return rows


_COLUMNS = [
    Column("name", "what computes"),
    Column("seconds", "seconds", "seconds"),
    Column("ratio", "speed", "ratio"),
]
_PSNR = Column("psnr", "PSNR to reference, dB", "number")


def _luma_table(
    contestants: list[_Contestant], timings: dict[str, Timing], limits: Limits, macs: int
) -> Table:
    rows = _rows(contestants, timings, 1.0, _FP32_DIFFERENCE)
    for row in rows:
        row["gflops"] = 2e-9 * macs / row["seconds"]["median"]
        row["share"] = row["gflops"] * 1e9 / limits.product[row["precision"]]
    columns = [
        *_COLUMNS,
        Column("first", "first call, s", "number"),
        Column("gflops", "GFLOP/s", "number"),
        Column("share", "of the matrix product's", "percent"),
        Column("difference", "largest difference", "tiny"),
        _PSNR,
    ]
    return Table("Luma to luma, the network alone", columns, rows)


def _picture_table(contestants: list[_Contestant], timings: dict[str, Timing]) -> Table:
    # Equal in float32, two results may still round to neighbouring 8-bit values.
    rows = _rows(contestants, timings, 255.0, 1.0)
    columns = [*_COLUMNS, Column("difference", "largest difference, of 255", "number"), _PSNR]
    return Table("Whole pictures, 8-bit RGB to 8-bit RGB", columns, rows)


def _floors(model: SESR, limits: Limits, macs: int, lr_size: tuple[int, int]) -> Table:
    """What the network must compute and move at least, and how long the limits allow that."""
    pixels = math.prod(lr_size)
    outside = 4 * (pixels + SCALE**2 * pixels + sum(p.numel() for p in model.parameters()))
    between = complexity(model, lr_size).activations
    rows = [
        {
            "what": f"arithmetic at the {precision} limit",
            "amount": 2e-9 * macs,
            "unit": "GFLOP",
            "milliseconds": 2e3 * macs / limits.product[precision],
        }
        for precision in PRECISIONS
    ]
    moved = {
        "input, output and weights once": outside,
        "also every layer's output written and read, fp32": outside + 2 * 4 * between,
        "also every layer's output written and read, bf16": outside + 2 * 2 * between,
    }
    for what, size in moved.items():
        milliseconds = 1e3 * size / limits.traffic
        rows.append(
            {"what": what, "amount": size / 1e6, "unit": "MB", "milliseconds": milliseconds}
        )
    columns = [
        Column("what", "what cannot be avoided"),
        Column("amount", "", "number"),
        Column("unit", ""),
        Column("milliseconds", "takes at least, ms", "number"),
    ]
    return Table(f"Floors: {macs / 1e9:.2f} G multiply-accumulates", columns, rows)
