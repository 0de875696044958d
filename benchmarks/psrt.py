"""PSRT and its forms on the CPU, against the textbook's arithmetic, and folded against unfolded."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.material import Settings
from benchmarks.networks import Built, Case, compare, picture
from benchmarks.report import Section
from benchmarks.textbook_psrt import TextbookPSRT
from vernier.models import create_model
from vernier.models.psrt import PSRT

__all__ = ["build", "run"]


class _Aligned(nn.Module):
    """Everything at the guide's size: the upsampling of the cube is left out on both sides."""

    def __init__(self, network: PSRT) -> None:
        super().__init__()
        self.network = network
        self.channels = network.channels + network.guide_channels

    def forward(self, both: Tensor) -> Tensor:
        return self.network.forward_aligned(both)


def build(key: str) -> Built:
    """``key`` is "NAME HEIGHT WIDTH" of the guide, as "psrt-ka7 512 512", with "tiny" before it for
    a narrow network, or "unfused" for kernels that are multiplied out anew for every picture."""
    *how, name, height, width = key.split()
    torch.manual_seed(0)
    tiny = {"bands": 5, "embed": 16, "num_blocks": 1, "num_heads": 4}
    model = create_model(name, scale=4, **(tiny if "tiny" in how else {})).eval()
    assert isinstance(model, PSRT)
    # A step has its input twice in its output. Untrained, that is all there is: 2 to the power of
    # the steps, where trained networks put out a small correction.
    model.tail.weight.data /= 2 ** len(model.body)
    executed = _Aligned(model if "unfused" in how else model.deploy()).eval()
    channels, side = executed.channels, model.size_multiple
    examples = [(picture(2 * side, 3 * side, channels),), (picture(3 * side, side, channels),)]
    x = picture(int(height), int(width), channels)
    return executed, TextbookPSRT(model), executed, examples, x


def run(settings: Settings) -> Section:
    keys = (
        [("tiny psrt 32 48", 1), ("tiny psrt-ka7 32 48", 1)]
        if settings.quick
        else [
            ("psrt 256 256", 5),
            ("psrt 512 512", 3),
            ("psrt-noshuffle 256 256", 5),
            ("psrt-ka7 256 256", 5),
            ("unfused psrt-ka7 256 256", 5),
            ("psrt-ka11 256 256", 5),
            ("psrt-ka17 256 256", 5),
        ]
    )
    cases = [Case(_title(key), "psrt", key, rounds) for key, rounds in keys]
    note = (
        "31 bands and an RGB guide, random weights (seed 0). Multiply-accumulates are those of "
        "products; the exponentials of attention, 8 for every pixel and token of a window, are not "
        "in them. The textbook's kernel attention is that of training; Vernier's is fused where "
        "its kernels do not depend on the picture, but for the table that says unfused."
    )
    return compare("PSRT", cases, [note], settings)


def _title(key: str) -> str:
    *how, name, height, width = key.split()
    return f"{name}{', unfused' if 'unfused' in how else ''}, guide of {width}x{height}"
