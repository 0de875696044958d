"""DCTLSA: window transformers with local convolutions, densely connected.

Zeng et al., "Densely Connected Transformer With Linear Self-Attention for Lightweight Image
Super-Resolution", IEEE Transactions on Instrumentation and Measurement 72, 2023 (doi
10.1109/TIM.2023.3304672); code and weights at github.com/zengkun301/DCTLSA.

It is the backbone of `vernier.models.grla`: the same head, modules, fusions and tail. Its
attention is linear inside windows (softmax over the keys), every second time in windows rolled by
half their side, and each pair of sub-blocks has a layer norm before it.
"""

from __future__ import annotations

from typing import Any

from vernier.models.grla import GRLA

__all__ = ["DCTLSA"]


class DCTLSA(GRLA):
    """The network; the defaults are the published one.

    Args:
        scale: 2, 3 or 4 in the paper.
        num_features: C.
        num_blocks: modules; their outputs are densely connected.
        num_heads: heads of every attention.
        window_size: side of the windows.
    """

    architecture = "dctlsa"

    def __init__(
        self,
        *,
        scale: int,
        num_features: int = 55,
        num_blocks: int = 6,
        num_heads: int = 5,
        window_size: int = 16,
    ) -> None:
        super().__init__(
            scale=scale,
            num_features=num_features,
            num_blocks=num_blocks,
            num_heads=num_heads,
            window_size=window_size,
            attention=("linear-window", "linear-shifted", "linear-window", "linear-shifted"),
            norms_per_block=2,
        )

    @property
    def config(self) -> dict[str, Any]:
        own = ("num_features", "num_blocks", "num_heads", "window_size")
        return {key: value for key, value in super().config.items() if key in own}
