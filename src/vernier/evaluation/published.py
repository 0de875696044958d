"""What papers print for the benchmarks: PSNR in dB and SSIM on luma.

Bicubic on Set5, Set14, BSD100 and Urban100: the row that papers have shared since Kim et al.,
"Accurate image super-resolution using very deep convolutional networks", CVPR 2016, read in the
public tables of Tai et al., CVPR 2017, and of later ones. It was made from luma rounded to 8 bit
first, so an evaluation from 8-bit RGB differs from it by up to 0.015 dB and 0.0007.

The rest: Bhardwaj et al., "Collapsible linear blocks for super-efficient super resolution",
MLSys 2022; Chen et al., "Activating more pixels in image super-resolution transformer", CVPR 2023
(HAT-S and HAT trained on DF2K, HAT-L pre-trained on ImageNet). Figures that no second source
confirms are marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["Figure", "Published", "published"]


@dataclass(frozen=True)
class Figure:
    """A printed number; not ``confirmed``: no second source was found for it."""

    value: float
    confirmed: bool


@dataclass(frozen=True)
class Published:
    """What a paper prints for one model on one benchmark at one scale."""

    psnr: Figure
    ssim: Figure


_SETS = ("Set5", "Set14", "BSD100", "Urban100", "Manga109", "DIV2K")
_ALIASES = {"b100": "bsd100", "bsds100": "bsd100", "div2k_valid": "div2k"}

# One row per scale and model, in the order of _SETS; "~" marks what is not confirmed.
_ROWS = """
2 bicubic  33.66/0.9299   30.24/0.8688   29.56/0.8431   26.88/0.8403   ~30.82/~0.9349 ~32.45/~0.9043
3 bicubic  30.39/0.8682   27.55/0.7742   27.21/0.7385   24.46/0.7349
4 bicubic  28.42/0.8104   26.00/0.7027   25.96/0.6675   23.14/0.6577
2 sesr-m3  37.21/~0.9577  32.70/~0.9100  ~31.56/~0.8920 ~29.92/~0.9034 ~36.47/~0.9717 35.03/~0.9373
2 sesr-m5  ~37.39/~0.9585 32.84/~0.9115  ~31.70/~0.8938 ~30.33/~0.9087 ~37.07/~0.9734 ~35.24/~0.9389
2 sesr-m7  ~37.47/~0.9588 32.91/~0.9118  ~31.77/~0.8946 ~30.49/~0.9105 ~37.14/~0.9738 ~35.32/~0.9395
2 sesr-m11 ~37.58/~0.9593 33.03/~0.9128  ~31.85/~0.8956 ~30.72/~0.9136 ~37.40/~0.9746 ~35.45/~0.9404
2 sesr-xl  ~37.77/~0.9601 33.24/~0.9145  ~31.99/~0.8976 ~31.16/~0.9184 ~38.01/~0.9759 ~35.67/~0.9420
4 sesr-m3  ~30.75/~0.8714 ~27.62/~0.7579 ~27.00/~0.7166 ~24.61/~0.7304 ~27.90/~0.8644 ~29.52/~0.8155
4 sesr-m5  ~30.99/~0.8764 ~27.81/~0.7624 ~27.11/~0.7199 ~24.80/~0.7389 ~28.29/~0.8734 ~29.65/~0.8189
4 sesr-m7  ~31.14/~0.8787 ~27.88/~0.7641 ~27.13/~0.7209 ~24.90/~0.7436 ~28.53/~0.8778 ~29.72/~0.8204
4 sesr-m11 ~31.27/~0.8810 ~27.94/~0.7660 ~27.20/~0.7225 ~25.00/~0.7466 ~28.73/~0.8815 ~29.81/~0.8221
4 sesr-xl  31.54/0.8866   28.12/0.7712   27.31/0.7277   25.31/0.7604   ~29.04/~0.8901 ~29.94/~0.8266
2 hat-s    ~38.58/~0.9628 ~34.70/~0.9261 ~32.59/~0.9050 34.31/0.9459   ~40.14/~0.9805
2 hat      38.63/0.9630   34.86/0.9274   32.62/0.9053   34.45/0.9466   40.26/0.9809
2 hat-l    ~38.91/~0.9646 ~35.29/~0.9293 ~32.74/~0.9066 35.09/~0.9505  ~41.01/~0.9831
3 hat-s    ~35.01/~0.9325 ~31.05/~0.8550 ~29.50/~0.8158 30.15/0.8879   ~35.40/~0.9547
3 hat      ~35.07/~0.9329 ~31.08/~0.8555 ~29.54/~0.8167 30.23/0.8896   ~35.53/~0.9552
3 hat-l    ~35.28/~0.9345 ~31.47/~0.8584 ~29.63/~0.8191 30.92/0.8981   ~36.02/~0.9576
4 hat-s    32.92/~0.9047  29.15/~0.7958  27.97/~0.7505  27.87/0.8346   32.35/~0.9283
4 hat      33.04/0.9056   29.23/0.7973   28.00/0.7517   27.97/0.8368   32.48/0.9292
4 hat-l    33.30/~0.9083  29.47/~0.8015  28.09/~0.7551  28.60/0.8498   33.09/~0.9335
"""


def published(model: str, benchmark: str, scale: int) -> Published | None:
    """What was printed for a model, by its registry name or "bicubic"; None if nothing was.

    Benchmarks go by their usual names, in any case: B100 is BSD100, DIV2K_valid is DIV2K.
    """
    key = benchmark.lower()
    return _TABLE.get((model, _ALIASES.get(key, key), scale))


def _figure(cell: str) -> Figure:
    return Figure(float(cell.removeprefix("~")), confirmed=not cell.startswith("~"))


def _parse(rows: str) -> Mapping[tuple[str, str, int], Published]:
    table = {}
    for row in rows.strip().splitlines():
        scale, model, *cells = row.split()
        for benchmark, cell in zip(_SETS, cells):
            psnr, ssim = cell.split("/")
            table[model, benchmark.lower(), int(scale)] = Published(_figure(psnr), _figure(ssim))
    return MappingProxyType(table)


_TABLE = _parse(_ROWS)
