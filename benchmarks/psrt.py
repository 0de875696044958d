"""PSRT and its forms on the CPU, against the textbook's arithmetic, and folded against unfolded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.machine import Limits
from benchmarks.material import Settings
from benchmarks.networks import Built, Case, compare, picture
from benchmarks.report import Column, Section, Table
from benchmarks.textbook_psrt import TextbookPSRT
from vernier.models.psrt import PSRT
from vernier.zoo import create_model

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
    """``key`` is "NAME HEIGHT WIDTH" of the guide, as "psrt-ka7 512 512".

    Before it may stand "tiny" for a narrow network, "small" for PSRT-S, or "unfused" for kernels
    that are multiplied out anew for every picture.
    """
    *how, name, height, width = key.split()
    torch.manual_seed(0)
    small = {"embed": 16, "num_blocks": 1, "num_heads": 4}
    overrides = {"bands": 5, **small} if "tiny" in how else small if "small" in how else {}
    model = create_model(name, scale=4, **overrides).eval()
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
            ("small psrt 512 512", 5),
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
    side = 32 if settings.quick else 512
    model = create_model("psrt", scale=4)
    assert isinstance(model, PSRT)
    return compare("PSRT", cases, [note], settings, partial(_parts, model, side))


def _parts(model: PSRT, side: int, limits: Limits) -> Sequence[Table]:
    """Operations and bytes of a guide of ``side`` squared pixels, counted from the architecture.

    Floats are those of one pixel that operators read and write: all of them, when each operator
    goes to memory; the least, when only what a half of a block begins and ends with does.
    """
    dim, heads, bands = model.embed, model.num_heads, model.channels
    ends = bands + model.guide_channels
    windows = [(model.window_size // 2**step) ** 2 for step in range(model.num_steps)]
    windows = 3 * model.num_blocks * windows
    blocks, tokens = len(windows), sum(windows)
    # Part, multiply-accumulates, exponentials, all floats, the least floats.
    parts = [
        ("head and tail", 9 * dim * (ends + bands), 0, ends + 2 * dim + bands, None),
        ("norms, q, k, v and projections", 4 * dim**2 * blocks, 0, 11 * dim * blocks, None),
        (
            "attention",
            2 * dim * tokens,
            heads * tokens,
            4 * heads * tokens + 4 * dim * blocks,
            2 * dim * blocks,
        ),
        ("norms and MLPs", 8 * dim**2 * blocks, 0, 23 * dim * blocks, 2 * dim * blocks),
    ]
    pixels = side**2
    rows = []
    for name, macs, exponentials, every, least in parts:
        least = every if name == "head and tail" else least or 0
        rows.append(
            {
                "name": name,
                "macs": macs * pixels / 1e9,
                "exponentials": exponentials * pixels / 1e9,
                "every": 4 * every * pixels / 1e9,
                "least": 4 * least * pixels / 1e9,
                "product": 2e3 * macs * pixels / limits.product["fp32"],
                "traffic": 4e3 * every * pixels / limits.traffic,
                "least_traffic": 4e3 * least * pixels / limits.traffic,
            }
        )
    keys = [column for column in rows[0] if column != "name"]
    rows.append({"name": "sum", **{key: sum(float(row[key]) for row in rows) for key in keys}})
    columns = [
        Column("name", "part"),
        Column("macs", "G multiply-accumulates", "number"),
        Column("exponentials", "G exponentials", "number"),
        Column("every", "GB, every operator through memory", "number"),
        Column("least", "GB, blocks in caches", "number"),
        Column("product", "ms at the fp32 product's rate", "number"),
        Column("traffic", "ms of memory, every operator", "number"),
        Column("least_traffic", "ms of memory, in caches", "number"),
    ]
    title = f"Where psrt's limits are, guide of {side}x{side} (counted, at the limits below)"
    return [Table(title, columns, rows)]


def _title(key: str) -> str:
    *how, name, height, width = key.split()
    return f"{', '.join([name, *how])}, guide of {width}x{height}"
