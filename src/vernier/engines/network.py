"""Networks as engines run them: one batch of maps in, one out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vernier.zoo.facts import Facts
from vernier.zoo.networks import Network

if TYPE_CHECKING:
    from torch import nn

__all__ = ["cropped", "executable", "input_channels", "joined"]


def input_channels(facts: Facts) -> int:
    """Of the maps that the network reads, all together."""
    return facts.channels + facts.guide_channels


def executable(network: Network) -> nn.Module:
    """The module, in eval mode, that takes `joined` maps; imports torch."""
    module = network.module()
    if network.facts.colour != "cube":
        return module
    from vernier.engines.aligned import Aligned
    from vernier.models.layers import FusionModel

    assert isinstance(module, FusionModel)
    return Aligned(module).eval()


def joined(facts: Facts, maps: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
    """The maps of `vernier.engines.Engine.run` as one, which the network's module takes.

    A picture's network brings its input to whole windows itself; of a cube that is done here, by
    reflection below and to the right, because the module must do without branches on the size.
    """
    both = maps[0] if len(maps) == 1 else np.concatenate(maps, axis=1)
    below, right = (-side % facts.size_multiple for side in both.shape[-2:])
    if facts.colour != "cube" or not (below or right):
        return both
    return np.pad(both, ((0, 0), (0, 0), (0, below), (0, right)), mode="reflect")


def cropped(
    facts: Facts, result: NDArray[np.float32], size: tuple[int, ...]
) -> NDArray[np.float32]:
    """The module's result without what `joined` added to maps of (..., H, W)."""
    if facts.colour != "cube":
        return result
    inner: NDArray[np.float32] = result[..., : size[-2], : size[-1]]
    return inner
