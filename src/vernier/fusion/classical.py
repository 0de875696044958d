"""Fusion without training: what a network has to beat.

All take a coarse cube ``lr`` (bands, h, w) and a sharp ``guide`` (channels, H, W), H and W whole
multiples of h and w, any unit, and give the sharp cube (bands, H, W) in the type of ``lr``. They
know neither the blur nor the spectral response that made them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from vernier.devices import memory_errors
from vernier.errors import InputError
from vernier.fusion.pair import Pair
from vernier.fusion.result import Fused
from vernier.imaging.resize import imresize
from vernier.progress import Progress

__all__ = ["CLASSICAL", "ClassicalFuser", "bicubic", "component_substitution", "guided_filter"]


def bicubic(lr: Tensor, guide: Tensor) -> Tensor:
    """MATLAB's bicubic interpolation; the guide gives the size alone.

    Raises:
        ValueError: shapes that do not belong together.
    """
    _check(lr, guide)
    return imresize(lr, size=(guide.shape[-2], guide.shape[-1]))


def guided_filter(lr: Tensor, guide: Tensor, *, radius: int = 8, eps: float = 1e-5) -> Tensor:
    """In every window each band is an affine function of the guide; sharp guide, sharp band.

    The functions are fitted at the coarse size, to the guide reduced by bicubic, averaged over
    the windows that contain a pixel, and brought to the guide's size by bicubic.

    Args:
        radius: windows are 2 radius + 1 coarse pixels a side. With the default eps it was chosen
            on CAVE training scenes; larger windows cost spectral angle.
        eps: what a window's variance of the guide is compared with, guide in [0, 1].

    Raises:
        ValueError: shapes that do not belong together.

    Source: K. He, J. Sun, "Fast guided filter", 2015, with the guide of several channels of
    K. He et al., "Guided image filtering", IEEE TPAMI 2013, equations 14 to 16.
    """
    _check(lr, guide)
    bands, height, width = lr.shape
    channels = len(guide)
    y, x = lr.double(), imresize(guide.double(), size=(height, width))

    def covariance(a: Tensor, b: Tensor) -> Tensor:
        """(P, h, w), (Q, h, w) -> (h, w, P, Q)"""
        products = _box_mean((a[:, None] * b).flatten(0, 1), radius)
        products = products.reshape(len(a), len(b), height, width)
        means = _box_mean(a, radius)[:, None] * _box_mean(b, radius)
        return (products - means).permute(2, 3, 0, 1)

    ridge = eps * torch.eye(channels, dtype=x.dtype, device=x.device)
    slope = torch.linalg.solve(covariance(x, x) + ridge, covariance(x, y)).permute(2, 3, 0, 1)
    offset = _box_mean(y, radius) - (slope * _box_mean(x, radius)[:, None]).sum(0)
    affine = _box_mean(torch.cat([slope.flatten(0, 1), offset]), radius)
    affine = imresize(affine.to(lr.dtype), size=(guide.shape[-2], guide.shape[-1]))
    fused = affine[-bands:]
    for channel, weights in zip(guide, affine[:-bands].chunk(channels), strict=True):
        fused = fused + channel * weights
    return fused


def component_substitution(lr: Tensor, guide: Tensor) -> Tensor:
    """GSA: the cube is upsampled, and what the guide shows beyond it is injected into every band.

    The guide's channels are regressed on the bands at the coarse size (the guide reduced by
    bicubic); the regression, applied to the upsampled cube, is the guide as the cube has it. Its
    difference to the guide is the detail, and a band gets it by the gains of its own regression
    on those synthesised channels. Because the detail is measured against the cube itself, a cube
    that is off by a fraction of a pixel is moved back by the injection.

    Raises:
        ValueError: shapes that do not belong together.

    Source: B. Aiazzi, S. Baronti, M. Selva, "Improving component substitution pansharpening
    through multivariate regression of MS+Pan data", IEEE TGRS 2007; with several channels of the
    guide the gain cov(band, I) / var(I) becomes a least-squares fit.
    """
    _check(lr, guide)
    upsampled = imresize(lr, size=(guide.shape[-2], guide.shape[-1]))
    reduced = imresize(guide.double(), size=(lr.shape[-2], lr.shape[-1]))
    pixels = lr.double().flatten(1).T  # (h w, bands)
    ones = torch.ones_like(pixels[:, :1])
    inputs = torch.cat([pixels, ones], 1)
    # The smallest solution: neighbouring bands may be copies of each other.
    weights = torch.linalg.lstsq(inputs.cpu(), reduced.flatten(1).T.cpu(), driver="gelsd").solution
    synthesised = inputs @ weights.to(lr.device)
    varied = synthesised - synthesised.mean(0)
    # What a flat guide varies by is rounding, and no reason for a gain.
    rounding = 1e-12 * synthesised.square().sum() + torch.finfo(torch.float64).tiny
    ridge = rounding * torch.eye(len(guide), dtype=torch.float64, device=lr.device)
    gains = torch.linalg.solve(varied.T @ varied + ridge, varied.T @ (pixels - pixels.mean(0)))
    weights, gains = weights.to(lr), gains.to(lr)
    seen = torch.einsum("bc,bhw->chw", weights[:-1], upsampled) + weights[-1][:, None, None]
    return upsampled + torch.einsum("cb,chw->bhw", gains, guide - seen)


CLASSICAL: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"bicubic": bicubic, "guided filter": guided_filter, "GSA": component_substitution}
)


class ClassicalFuser:
    """Fuse by a method that needs no training, for any number of bands and any whole scale.

    Any number of threads may use one fuser.

    Args:
        method: a name of `CLASSICAL`, in lower case, with hyphens for spaces.

    Attributes:
        name: the method.
        engine_name: what computes.

    Raises:
        InputError: another name.
    """

    engine_name = "torch"

    def __init__(self, method: str) -> None:
        if not self.knows(method):
            raise InputError(f"unknown method {method!r}; known: {', '.join(_METHODS)}")
        self.name = method
        self._run = _METHODS[method]

    @staticmethod
    def knows(method: str) -> bool:
        """Whether a method has this name."""
        return method in _METHODS

    def check(self, pair: Pair) -> None:
        """Refuse what `fuse` cannot take: nothing, as a pair is."""

    def fuse(self, pair: Pair, *, progress: Progress | None = None) -> Fused:
        """The sharp cube, computed whole; the pair's own upsampled cube is not used.

        Args:
            pair: of any scale and any number of bands.
            progress: called when it is done.

        Raises:
            InputError: memory runs out.
        """
        start = time.perf_counter()
        try:
            with memory_errors():
                fused = self._run(torch.from_numpy(pair.lr), torch.from_numpy(pair.guide))
        except MemoryError as error:
            raise InputError(f"out of memory: {error}; fuse a smaller part of the cube") from error
        values = pair.clipped(fused.numpy())
        if progress:
            progress(1, 1, self.name)
        return Fused(
            pair,
            values,
            method=self.name,
            engine=self.engine_name,
            notes=pair.notes,
            seconds=time.perf_counter() - start,
        )


_METHODS = {name.lower().replace(" ", "-"): run for name, run in CLASSICAL.items()}


def _check(lr: Tensor, guide: Tensor) -> None:
    if lr.ndim != 3 or guide.ndim != 3 or 0 in (*lr.shape, *guide.shape):
        raise ValueError(
            f"expected (bands, h, w) and (channels, H, W), got {tuple(lr.shape)} and "
            f"{tuple(guide.shape)}"
        )
    (h, w), (height, width) = lr.shape[1:], guide.shape[1:]
    if height % h or width % w:
        raise ValueError(f"a guide of {width}x{height} is no whole multiple of {w}x{h}")


def _box_mean(image: Tensor, radius: int) -> Tensor:
    """Mean over the part of each window that lies inside; (C, h, w) -> (C, h, w)."""
    side = 2 * radius + 1

    def along(x: Tensor, kernel: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        return F.avg_pool2d(x, kernel, 1, padding, count_include_pad=False)

    return along(along(image, (side, 1), (radius, 0)), (1, side), (0, radius))
