"""What can be known of a network without running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

__all__ = ["HARMLESS_LOSS", "Colour", "Facts", "Reconstruction"]

Colour = Literal["luma", "rgb", "cube"]

# In dB: below that a precision is taken without being asked for.
HARMLESS_LOSS = 0.01


@dataclass(frozen=True)
class Reconstruction:
    """The layers that make the picture from the features.

    Attributes:
        layer: name of the first of them.
        radius: LR pixels on each side that a pixel depends on in them; None = not known. Known, it
            tells too that the network extends its input, and nothing later, to multiples of its
            ``size_multiple`` by reflection.
    """

    layer: str
    radius: int | None = None


@dataclass(frozen=True)
class Facts:
    """One frozen set of facts, which the registry's entry, the card and the network all hold.

    Attributes:
        scale: the upscaling factor.
        colour: "luma" networks see one channel Y, "rgb" networks three; "cube" networks fuse a
            hyperspectral cube with a guide.
        channels: image channels in and out; of a cube the bands.
        guide_channels: of the guide that a cube is fused with; 0 for pictures.
        size_multiple: what height and width are padded to inside the network; 1 = nothing. For
            cubes it is counted in pixels of the guide, as is ``receptive_radius``.
        receptive_radius: LR pixels on each side that an output pixel depends on; None = all. With
            a radius, tiles add up to the whole picture's result; without one they only come near.
        precisions: precisions other than fp32 whose loss was measured, and that loss in dB.
        reconstruction: what stays in float32 in other precisions; None = the last convolution.
    """

    scale: int
    colour: Colour
    channels: int
    guide_channels: int = 0
    size_multiple: int = 1
    receptive_radius: int | None = None
    precisions: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    reconstruction: Reconstruction | None = None

    def is_harmless(self, precision: str) -> bool:
        """Whether computing in this precision was measured to cost less than `HARMLESS_LOSS`."""
        return self.precisions.get(precision, float("inf")) < HARMLESS_LOSS
