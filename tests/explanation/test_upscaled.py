"""What figures compare, against the definitions."""

from __future__ import annotations

import numpy as np
import torch

from vernier.explanation.upscaled import bicubic, upscaled
from vernier.imaging import from_colour, imresize_uint8, to_colour
from vernier.models.layers import SRModel
from vernier.upscaling import Upscaler
from vernier.zoo import load_model


def test_bicubic_is_that_of_the_8_bit_picture() -> None:
    lr = torch.rand(3, 7, 9)
    expected = imresize_uint8((lr * 255).round().to(torch.uint8), 2).float() / 255
    assert torch.equal(bicubic(lr, 2), expected)


def test_a_model_is_torch_in_float32_rounded_to_8_bits() -> None:
    model = load_model("sesr-m3", 2)[0]
    assert isinstance(model, SRModel)
    lr = torch.randint(256, (3, 20, 23)) / 255
    result = upscaled(model, lr, 2)
    with torch.no_grad():
        direct = from_colour(model(to_colour(lr, model.colour)[None])[0], lr).clamp(0, 1)
    assert (result - direct).abs().max() <= 0.5 / 255 + 1e-5
    pixels = np.ascontiguousarray((lr * 255).round().byte().permute(1, 2, 0).numpy())
    written = Upscaler(model, engine="torch", precision="fp32").upscale_array(pixels)
    assert np.array_equal((result * 255).round().byte().permute(1, 2, 0).numpy(), written)
