from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from torch import Tensor, nn

from vernier.engines.openvino.conversion import ConversionError
from vernier.engines.openvino.engine import computes_bf16
from vernier.errors import InputError
from vernier.imaging import imresize, rgb_to_ycbcr, ycbcr_to_rgb
from vernier.upscaling import Upscaler
from vernier.upscaling.pixels import create_pixel_engine
from vernier.zoo import create_model, load_model
from vernier.zoo.networks import networks_of

Photo = Callable[..., np.ndarray]
DTYPES = [np.uint8, np.uint16, np.float32]


def engine(path: Path | nn.Module, name: str, precision: str = "fp32") -> Any:
    ((_, load),) = networks_of(path).items()
    return create_pixel_engine(load(), name, precision, "cpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["torch", "openvino"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_an_engine_computes_luma_by_the_network_and_chroma_by_matlab(
    name: str, scale: int, weights: dict[int, Path], photo: Photo
) -> None:
    pixels = photo(37, 29, 3)
    model, _ = load_model(weights[scale])
    ycbcr = rgb_to_ycbcr(torch.from_numpy(pixels / 255.0).float().permute(2, 0, 1))
    with torch.inference_mode():
        luma = model(ycbcr[None, :1])[0]
    expected = ycbcr_to_rgb(torch.cat([luma, imresize(ycbcr[1:], scale)])).clamp(0, 1)
    result = engine(weights[scale], name).run(pixels, np.dtype(np.float32))
    np.testing.assert_allclose(result, expected.permute(1, 2, 0).numpy(), atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (2, 3), (67, 51)])
def test_engines_agree(
    size: tuple[int, int], channels: int, dtype: type, weights: dict[int, Path], photo: Photo
) -> None:
    pixels = photo(*size, channels, dtype)
    a, b = (engine(weights[2], name).run(pixels, pixels.dtype) for name in ("torch", "openvino"))
    assert a.shape == b.shape == (2 * size[0], 2 * size[1], channels)
    assert a.dtype == b.dtype == dtype
    if dtype == np.float32:
        np.testing.assert_allclose(a, b, atol=2e-6)
        return
    difference = np.abs(a.astype(int) - b.astype(int))
    assert difference.max() <= 1
    # Ties after the last float32 bit: rare in 8 bit, and 257 times as likely in 16.
    assert (difference > 0).sum() <= (0.001 if dtype == np.uint8 else 0.01) * a.size + 1


@pytest.mark.parametrize("out", DTYPES)
@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_the_result_can_be_of_another_depth(
    name: str, out: type, weights: dict[int, Path], photo: Photo
) -> None:
    pixels = photo(20, 30, 3)
    exact = engine(weights[2], name).run(pixels, np.dtype(np.float32))
    result = engine(weights[2], name).run(pixels, np.dtype(out))
    white = 1 if out == np.float32 else np.iinfo(out).max
    np.testing.assert_allclose(result / white, exact, atol=0.51 / white if white > 1 else 0)


def test_sixteen_bit_is_computed_in_sixteen_bit(weights: dict[int, Path]) -> None:
    # A ramp within two 8-bit levels: only real 16-bit processing keeps its steps apart.
    ramp = np.linspace(30000, 30400, 64).astype(np.uint16)
    pixels = np.broadcast_to(ramp[None, :, None], (40, 64, 1)).copy()
    for name in ("torch", "openvino"):
        result = engine(weights[2], name).run(pixels, pixels.dtype)
        as_float = engine(weights[2], name).run((pixels / 65535).astype(np.float32), np.dtype("f4"))
        assert len(np.unique(result[40, 20:-20])) > 60
        np.testing.assert_allclose(result, as_float * 65535, atol=0.6)


def test_bf16_keeps_the_picture_itself_in_float32(weights: dict[int, Path], photo: Photo) -> None:
    pixels = photo(61, 47, 3, np.uint16)
    exact, rounded = (
        engine(weights[2], "openvino", precision).run(pixels, np.dtype(np.float32))
        for precision in ("fp32", "bf16")
    )
    model, _ = load_model(weights[2])
    silent = model.requires_grad_(False)
    silent.last.weight.zero_()
    flat, flat_bf16 = (
        engine(silent, "openvino", precision).run(pixels, np.dtype(np.float32))
        for precision in ("fp32", "bf16")
    )
    assert 1e-4 < np.abs(exact - rounded).max() < 0.03
    # Without detail to add nothing is rounded: bfloat16 pixels would be off by 2e-3.
    np.testing.assert_allclose(flat, flat_bf16, atol=1e-6)


def test_auto_precision_is_bf16_for_eight_bit_sesr_alone(weights: dict[int, Path]) -> None:
    auto = engine(weights[2], "openvino", "auto")
    native = computes_bf16(ov.Core())
    assert auto.precision(np.dtype(np.uint8)) == ("bf16" if native else "fp32")
    assert auto.precision(np.dtype(np.uint16)) == "fp32"
    assert auto.precision(np.dtype(np.float32)) == "fp32"
    assert engine(TinyRGB(), "openvino", "auto").precision(np.dtype(np.uint8)) == "fp32"
    assert engine(weights[2], "torch", "auto").precision(np.dtype(np.uint8)) == "fp32"


class TinyRGB(nn.Module):
    scale, colour, receptive_radius = 2, "rgb", 1

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        nn.init.normal_(self.conv.weight, std=0.05)
        with torch.no_grad():
            for c in range(3):
                self.conv.weight[4 * c : 4 * c + 4, c, 1, 1] += 1

    def forward(self, lr: Tensor) -> Tensor:
        return torch.pixel_shuffle(self.conv(lr), 2)


class ThreeLayers(nn.Module):
    scale, colour = 2, "rgb"

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.middle = nn.Conv2d(16, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 12, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        features = self.middle(self.first(lr).relu()).relu()
        return torch.pixel_shuffle(self.last(features) + lr.repeat(1, 4, 1, 1), 2)


class ShapeDependent(TinyRGB):
    """Tracing freezes the branch that the example takes."""

    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr if lr.shape[-2] % 2 == 0 else 1 - lr)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_module_runs_on_both_engines(channels: int, photo: Photo) -> None:
    module = TinyRGB()
    pixels = photo(41, 23, channels)
    a, b = (
        engine(module, name).run(pixels, np.dtype(np.float32)) for name in ("torch", "openvino")
    )
    np.testing.assert_allclose(a, b, atol=2e-6)
    if channels == 3:
        tensor = torch.from_numpy(pixels / 255.0).float().permute(2, 0, 1)[None]
        with torch.inference_mode():
            expected = module(tensor)[0].permute(1, 2, 0).clamp(0, 1)
        np.testing.assert_allclose(a, expected.numpy(), atol=1e-6)


def test_bf16_of_any_module_rounds_the_network_and_not_what_is_carried(photo: Photo) -> None:
    module = ThreeLayers()
    pixels = photo(41, 23, 4, np.uint16)
    exact, rounded = (
        engine(module, "openvino", precision).run(pixels, np.dtype(np.float32))
        for precision in ("fp32", "bf16")
    )
    np.testing.assert_array_equal(exact[..., 3], rounded[..., 3])
    assert 1e-5 < np.abs(exact - rounded).max() < 0.01


def test_a_module_that_openvino_gets_wrong_is_caught_and_left_to_torch() -> None:
    with pytest.raises(ConversionError, match="differs from torch"):
        engine(ShapeDependent(), "openvino")
    assert engine(ShapeDependent(), "auto").name == "torch"
    assert engine(TinyRGB(), "auto").name == "openvino"


def test_settings_that_do_not_go_together_are_refused(weights: dict[int, Path]) -> None:
    network = networks_of(weights[2])[2]()
    for wrong, message in (
        (("tensorrt", "auto", None), "unknown engine"),
        (("auto", "fp8", None), "unknown precision"),
        (("openvino", "auto", "cuda"), "runs on the CPU"),
        (("torch", "auto", "abacus"), "abacus"),
    ):
        with pytest.raises(InputError, match=message):
            create_pixel_engine(network, *wrong)  # type: ignore[arg-type]


def test_an_integer_model_name_or_a_module_without_facts_is_refused() -> None:
    with pytest.raises(InputError, match="needs the attributes scale"):
        networks_of(nn.Conv2d(1, 1, 1))
    with pytest.raises(InputError, match="not int"):
        networks_of(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_a_trainable_sesr_runs_in_its_deployed_form_and_stays_as_it_is(
    name: str, photo: Photo
) -> None:
    model = create_model("sesr-m3", scale=2, expansion=16).train()
    pixels = photo(20, 30, 1)
    tensor = torch.from_numpy(pixels / 255.0).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = model(tensor)[0, 0].numpy()
    result = engine(model, name).run(pixels, np.dtype(np.float32))[..., 0]
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert model.training
    assert not model.deployed


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(weights: dict[int, Path], photo: Photo) -> None:
    pixels = photo(67, 51, 4)
    on_cpu = Upscaler(weights[2], engine="torch").upscale_array(pixels)
    on_gpu = Upscaler(weights[2], engine="torch", device="cuda").upscale_array(pixels)
    assert np.abs(on_cpu.astype(int) - on_gpu.astype(int)).max() <= 1


# ru_maxrss would not do: a process inherits its parent's peak.
_MEASURE = """
import sys
from pathlib import Path
import numpy as np
from vernier.upscaling.pixels import create_pixel_engine
from vernier.zoo.networks import networks_of
engine = create_pixel_engine(networks_of(sys.argv[1])[4](), sys.argv[2], "fp32", "cpu")
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
engine.run(np.full((64, 64, 3), 99, np.uint8), np.dtype(np.uint8))
before = peak()
engine.run(np.full((400, 400, 3), 99, np.uint8), np.dtype(np.uint8))
print((peak() - before) / 400**2, engine.bytes_per_pixel(3))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_the_memory_estimate_covers_what_is_taken(name: str, weights: dict[int, Path]) -> None:
    command = [sys.executable, "-c", _MEASURE, str(weights[4]), name]
    taken, estimate = map(float, subprocess.check_output(command, text=True).split())
    assert taken <= estimate <= 3 * taken
