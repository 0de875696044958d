from __future__ import annotations

import torch

from vernier.fusion.choice import default_method
from vernier.fusion.pair import Pair
from vernier.imaging.simulation import blur_and_decimate, find_response, make_guide, preset

NANOMETRES = tuple(400.0 + 10 * band for band in range(31))


def pair(
    response: str = "a", *, bands: int = 31, scale: int = 4, wavelengths: tuple[float, ...] | None
) -> Pair:
    """A scene as cameras of the preset "cave" see it."""
    generator = torch.Generator().manual_seed(0)
    gt = 0.1 + 0.8 * torch.rand(31, 8, 8, generator=generator, dtype=torch.float64)
    gt = gt.repeat_interleave(2 * scale, 1).repeat_interleave(2 * scale, 2)
    lr = blur_and_decimate(gt, preset("cave", scale).blur, scale)[:bands]
    guide = make_guide(gt, find_response(response).weights)
    return Pair(lr.numpy(), guide.numpy(), wavelengths=wavelengths)


def test_the_trained_network_is_taken_for_cubes_and_cameras_of_its_training_alone() -> None:
    assert default_method(pair(wavelengths=NANOMETRES))[0] == "psrt-s"
    assert default_method(pair(wavelengths=None))[0] == "psrt-s"
    for other, why in (
        (pair("b", wavelengths=NANOMETRES), "was trained on other cameras"),
        (pair(bands=30, wavelengths=None), "which this is not"),
        (pair(scale=2, wavelengths=None), "which this is not"),
        (pair(wavelengths=tuple(nm + 10 for nm in NANOMETRES)), "which this is not"),
    ):
        method, reason = default_method(other)
        assert method == "guided-filter"
        assert why in reason


def test_a_guide_of_one_channel_is_for_component_substitution() -> None:
    colour = pair(wavelengths=NANOMETRES)
    method, reason = default_method(Pair(colour.lr, colour.guide[:1]))
    assert method == "gsa"
    assert "gsa is taken" in reason
