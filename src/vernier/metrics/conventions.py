"""Whose definitions: the metrics that each group's evaluator prints, as that group defines them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from vernier.metrics.spectral import (
    cc,
    cube_psnr,
    cube_ssim,
    ergas,
    q2n,
    rmse,
    sam,
    scc,
    uqi,
)

__all__ = ["CONVENTIONS", "Convention", "Metric"]


@dataclass(frozen=True)
class Metric:
    """A column of a table.

    Attributes:
        name: "SAM", "ERGAS", ...
        unit: "deg", "dB", or empty.
        digits: decimals in a table.
        definition: what is computed, in a few words.
        compute: (prediction, target, ratio) -> (...).
    """

    name: str
    unit: str
    digits: int
    definition: str
    compute: Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Convention:
    """One group's evaluator: which metrics it prints, and how it defines them.

    Attributes:
        name: key in `CONVENTIONS`.
        source: whose evaluator it is.
        drop_last: pixels cut off below and to the right before anything is measured.
        metrics: the columns.
    """

    name: str
    source: str
    metrics: tuple[Metric, ...]
    drop_last: int = 0

    def measure(self, prediction: Tensor, target: Tensor, *, ratio: float) -> dict[str, Tensor]:
        """{metric name: (...)} for cubes (..., B, H, W) in [0, 1] (any unit without PSNR, SSIM).

        Raises:
            TypeError, ValueError: as the metrics.
        """
        height, width = (n - self.drop_last for n in target.shape[-2:])
        x, y = prediction[..., :height, :width], target[..., :height, :width]
        return {metric.name: metric.compute(x, y, ratio) for metric in self.metrics}

    @property
    def definitions(self) -> str:
        """All definitions in one line; no figure is shown without it."""
        parts = [f"{metric.name} {metric.definition}" for metric in self.metrics]
        if self.drop_last:
            parts.append(f"the last {self.drop_last} row and column cut off")
        return f'convention "{self.name}" ({self.source}): ' + "; ".join(parts)


_SAM = Metric(
    "SAM",
    "deg",
    3,
    "mean angle in degrees over pixels with a spectrum",
    lambda x, y, ratio: sam(x, y),
)
_SAM_ROUNDED = Metric(
    "SAM",
    "deg",
    3,
    "mean angle over pixels with a spectrum, rounded to 1e-6 rad, times 180/3.14159256",
    lambda x, y, ratio: sam(x, y, decimals=6, pi=3.14159256),
)
_SAM_UNGUARDED = Metric(
    "SAM",
    "deg",
    3,
    "mean angle in degrees over all pixels (NaN on a black pixel or on equal cubes)",
    lambda x, y, ratio: sam(x, y, black="nan", clamp=False),
)
_ERGAS = Metric(
    "ERGAS",
    "",
    3,
    "100/ratio * root of the band mean of MSE/mean^2",
    lambda x, y, ratio: ergas(x, y, ratio=ratio),
)
_PSNR = Metric("PSNR", "dB", 2, "band mean, peak 1", lambda x, y, ratio: cube_psnr(x, y))
_SSIM = Metric(
    "SSIM",
    "",
    4,
    "band mean, 11x11 window of sigma 1.5 inside the image",
    lambda x, y, ratio: cube_ssim(x, y),
)
_SSIM_SAME = Metric(
    "SSIM",
    "",
    4,
    "band mean, 11x11 window of sigma 1.5, borders padded with zeros",
    lambda x, y, ratio: cube_ssim(x, y, border="same"),
)
_Q = Metric("Q", "", 4, "(UQI) band mean, sliding 32x32 window", lambda x, y, ratio: uqi(x, y))
_SCC = Metric("SCC", "", 4, "correlation of Sobel magnitudes", lambda x, y, ratio: scc(x, y))
_CC = Metric("CC", "", 4, "band mean of Pearson's correlation", lambda x, y, ratio: cc(x, y))

CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        convention.name: convention
        for convention in (
            Convention(
                "matlab",
                "the Matlab packages that published figures come from",
                (_SAM, _ERGAS, _PSNR, _SSIM, _Q, _SCC),
            ),
            Convention(
                "analysis-accu",
                "analysis_accu with its default cut",
                (_SAM_ROUNDED, _ERGAS, _PSNR, _CC),
                drop_last=1,
            ),
            Convention(
                "analysis-accu-uncut",
                "analysis_accu with flag_cut_bounds=False",
                (_SAM_ROUNDED, _ERGAS, _PSNR, _SSIM_SAME, _CC),
            ),
            Convention(
                "psrt-official",
                "metrics.py of the PSRT repository",
                (
                    _SAM_UNGUARDED,
                    _ERGAS,
                    Metric(
                        "PSNR",
                        "dB",
                        2,
                        "of all bands together, peak = the target's maximum",
                        lambda x, y, ratio: cube_psnr(x, y, pooling="global", peak="max"),
                    ),
                    Metric("RMSE", "", 5, "of all bands together", lambda x, y, ratio: rmse(x, y)),
                ),
            ),
            # Up to torchmetrics 1.3, ERGAS was multiplied by the ratio instead of divided by it.
            Convention(
                "torchmetrics",
                "torchmetrics 1.9 with data_range=1, SAM turned to degrees",
                (
                    Metric(
                        "SAM",
                        "deg",
                        3,
                        "mean angle in degrees over all pixels (NaN on a black pixel)",
                        lambda x, y, ratio: sam(x, y, black="nan"),
                    ),
                    _ERGAS,
                    Metric(
                        "PSNR",
                        "dB",
                        2,
                        "of all bands together, peak 1",
                        lambda x, y, ratio: cube_psnr(x, y, pooling="global"),
                    ),
                    Metric(
                        "SSIM",
                        "",
                        4,
                        "band mean, 11x11 window of sigma 1.5, borders mirrored",
                        lambda x, y, ratio: cube_ssim(x, y, border="reflect"),
                    ),
                    Metric(
                        "UQI",
                        "",
                        4,
                        "band mean, 11x11 window of sigma 1.5",
                        lambda x, y, ratio: uqi(x, y, window="gaussian"),
                    ),
                ),
            ),
            Convention(
                "pansharpening",
                "the reduced-resolution table of pansharpening",
                (
                    Metric(
                        "Q2n",
                        "",
                        4,
                        "hypercomplex Q, 32x32 blocks side by side",
                        lambda x, y, ratio: q2n(x, y),
                    ),
                    _Q,
                    _SAM,
                    _ERGAS,
                    _SCC,
                ),
            ),
        )
    }
)
