"""What to fuse by when nothing is asked for."""

from __future__ import annotations

import numpy as np
import torch

from vernier.fusion.pair import Pair
from vernier.imaging.simulation import blur_and_decimate, find_response, make_guide, preset
from vernier.zoo.cards import load_card

__all__ = ["default_method"]

# What `vernier fuse` takes by default: the network whose weights come with the package, for cubes
# such as it was trained on, and for all others the best of what needs no training.
_TRAINED, _TRAINED_SCALE, _UNTRAINED = "psrt-s", 4, "guided-filter"
# A single channel cannot tell the bands apart: the guided filter then does worse than no guide at
# all (on a scene of WorldView-3 29.1 dB, bicubic 30.6), GSA better (34.6).
_UNTRAINED_PAN = "gsa"
_TRAINED_CAMERAS = "cave"
# Relative root mean square. What the trained network's cameras saw differs by rounding, up to 0.012
# with an 8-bit guide; with the D700's other published response, for which the network already does
# worse than a guided filter, by 0.026 to 0.055 on four CAVE scenes.
_SAME_CAMERAS = 0.02
_SAME_BAND = 5.0


def default_method(pair: Pair) -> tuple[str, str]:
    """What to fuse by when nothing is asked for.

    Returns:
        The network that comes with the package if the cube is such as it was trained on: as many
        bands and guide channels, the scale, where both are known the wavelengths to 5 nm, and the
        cameras' response and blur. Else the guided filter, or GSA where the guide has a single
        channel. And a sentence that says why.
    """
    card = load_card(_TRAINED, _TRAINED_SCALE)
    bands, channels = card.config["bands"], card.config["guide_channels"]
    trained = f"{_TRAINED} was trained on {bands} bands"
    if card.wavelengths:
        trained += f" of {min(card.wavelengths):g} to {max(card.wavelengths):g} nm"
    trained += f" with a guide of {channels} channels at x{_TRAINED_SCALE}"
    fits = (pair.bands, pair.guide_channels, pair.scale) == (
        bands,
        channels,
        _TRAINED_SCALE,
    ) and not (
        pair.wavelengths
        and card.wavelengths
        and np.abs(np.subtract(pair.wavelengths, card.wavelengths)).max() > _SAME_BAND
    )
    if not fits:
        untrained = _UNTRAINED if pair.guide_channels > 1 else _UNTRAINED_PAN
        return untrained, f"{trained}, which this is not: {untrained} is taken"
    apart = _cameras_apart(pair)
    if apart <= _SAME_CAMERAS:
        return _TRAINED, trained
    return _UNTRAINED, (
        f"{_TRAINED} was trained on other cameras (what they would see is {100 * apart:.1f} % "
        f"apart from this guide): {_UNTRAINED} is taken; -n {_TRAINED} insists"
    )


def _cameras_apart(pair: Pair) -> float:
    """The response applied to the cube, against the guide reduced as the cube was, relatively."""
    cameras = preset(_TRAINED_CAMERAS, _TRAINED_SCALE)
    weights = find_response(cameras.response).weights
    seen = torch.zeros(())
    # Band by band: a copy of the whole cube in float64 may be more than there is memory.
    for band in range(pair.bands):
        light = torch.from_numpy(np.float64(pair.lr[band, None]))
        seen = seen + make_guide(light, weights[:, band, None])
    guide = torch.from_numpy(np.float64(pair.guide))
    reduced = blur_and_decimate(guide, cameras.blur, _TRAINED_SCALE)
    error, power = (seen - reduced).square().mean(), seen.square().mean()
    return float((error / power.clamp_min(1e-12)).sqrt())
