"""How near a hyperspectral cube is to its reference, as the fusion and pansharpening papers say it.

Every function takes the prediction first, then the target: (..., B, H, W), floating point, any
value range unless it says otherwise, computed in float64. ``band_*`` functions give one value per
band, (..., B); the others one per cube, (...). Nothing here divides by zero where a pixel or a
band holds no signal: what happens then is part of each definition.

The same name means different things in different groups' code;
`vernier.metrics.conventions` has theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vernier.imaging.borders import mirrored
from vernier.metrics.filters import filter_valid, gaussian_taps
from vernier.metrics.ssim import ssim

__all__ = [
    "band_cc",
    "band_psnr",
    "band_rmse",
    "band_ssim",
    "band_uqi",
    "cc",
    "cube_psnr",
    "cube_ssim",
    "ergas",
    "q2n",
    "rmse",
    "sam",
    "scc",
    "spectral_angle",
    "uqi",
]

# A variance below this part of the mean square is rounding, not signal.
_ROUNDING = 1e-13
_SSIM_WINDOW = 11


def spectral_angle(prediction: Tensor, target: Tensor) -> Tensor:
    """Angle between the two spectra of every pixel, (..., H, W), in degrees.

    acos(<x, y> / (|x| |y|)), the cosine clamped to [-1, 1]; NaN where a spectrum is zero.
    """
    x, y = _pair(prediction, target)
    # One root of the product: equal spectra give exactly 1.
    norms = (x.square().sum(-3) * y.square().sum(-3)).sqrt()
    return torch.rad2deg(((x * y).sum(-3) / norms).clamp(-1, 1).acos())


def sam(
    prediction: Tensor,
    target: Tensor,
    *,
    black: Literal["skip", "nan"] = "skip",
    clamp: bool = True,
    decimals: int | None = None,
    pi: float = math.pi,
) -> Tensor:
    """Spectral angle mapper in degrees: the mean of `spectral_angle` over the pixels.

    Args:
        black: "skip" leaves out the pixels where a spectrum is zero; with "nan" one of them makes
            the result NaN.
        clamp: False leaves a cosine that rounding lifts above 1 as it is: equal cubes give NaN.
        decimals: round the mean angle, in radians, to so many decimals.
        pi: the constant that turns radians into degrees.

    Returns:
        NaN where every pixel is black.

    Source: R. Yuhas et al., "Discrimination among semi-arid landscape endmembers using the
    spectral angle mapper (SAM) algorithm", 1992.

    Example:
        >>> target = torch.zeros(2, 4, 4)
        >>> target[0] = 1
        >>> prediction = torch.ones(2, 4, 4)
        >>> round(sam(prediction, target).item(), 6)
        45.0
    """
    x, y = _pair(prediction, target)
    if clamp:
        angle = torch.deg2rad(spectral_angle(x, y))
    else:
        angle = ((x * y).sum(-3) / (x.norm(dim=-3) * y.norm(dim=-3))).acos()
    seen = (x != 0).any(-3) & (y != 0).any(-3)
    if black == "nan":
        seen = torch.ones_like(seen)
    mean = _mean_where(angle.flatten(-2), seen.flatten(-2))
    if decimals is not None:
        mean = mean.round(decimals=decimals)
    return mean * (180 / pi)


def ergas(prediction: Tensor, target: Tensor, *, ratio: float) -> Tensor:
    """Relative global error: 100 / ratio * sqrt(mean over bands of MSE_b / mean(target_b)^2).

    Bands whose target has the mean 0 have no relative error and are left out; NaN where no band
    is left. A band that is nearly dark still dominates the mean.

    Args:
        ratio: how many times sharper the guide is (4, not 1/4). Some published code has 4 fixed,
            which doubles the figures of x8.

    Source: L. Wald, "Quality of high resolution synthesised images: is there a simple
    criterion?", 2000.

    Example:
        >>> target = torch.full((3, 8, 8), 0.5)
        >>> round(ergas(target + 0.02, target, ratio=4).item(), 5)
        1.0
    """
    x, y = _pair(prediction, target)
    level = y.mean(dim=(-2, -1))
    relative = (x - y).square().mean(dim=(-2, -1)) / level.square()
    return 100 / ratio * _mean_where(relative, level != 0).sqrt()


def band_psnr(prediction: Tensor, target: Tensor, *, peak: float = 1.0) -> Tensor:
    """PSNR of every band, dB: 10 log10(peak^2 / MSE_b); infinity for an equal band."""
    x, y = _pair(prediction, target)
    return 10 * torch.log10(peak**2 / (x - y).square().mean(dim=(-2, -1)))


def cube_psnr(
    prediction: Tensor,
    target: Tensor,
    *,
    pooling: Literal["bands", "global"] = "bands",
    peak: float | Literal["max", "range"] = 1.0,
) -> Tensor:
    """PSNR of a cube, dB; infinity for equal cubes.

    Args:
        pooling: "bands" is the mean of `band_psnr` over the bands, without those that are zero
            throughout in both cubes (they would make it infinite); "global" has one MSE over
            all bands, never higher.
        peak: a number, or taken from each target: "max" its largest value, "range" its largest
            less its smallest.
    """
    x, y = _pair(prediction, target)
    if peak == "max":
        top = y.amax(dim=(-3, -2, -1))
    elif peak == "range":
        top = y.amax(dim=(-3, -2, -1)) - y.amin(dim=(-3, -2, -1))
    else:
        top = torch.full(y.shape[:-3], float(peak), dtype=y.dtype, device=y.device)
    mse = (x - y).square().mean(dim=(-2, -1))
    if pooling == "global":
        return 10 * torch.log10(top.square() / mse.mean(-1))
    seen = ((x != 0) | (y != 0)).flatten(-2).any(-1)
    seen = seen | ~seen.any(-1, keepdim=True)
    return _mean_where(10 * torch.log10(top.square()[..., None] / mse), seen)


def band_rmse(prediction: Tensor, target: Tensor) -> Tensor:
    """Root of the mean square error of every band."""
    x, y = _pair(prediction, target)
    return (x - y).square().mean(dim=(-2, -1)).sqrt()


def rmse(prediction: Tensor, target: Tensor) -> Tensor:
    """Root of the mean square error over all bands together."""
    return band_rmse(prediction, target).square().mean(-1).sqrt()


def band_ssim(
    prediction: Tensor, target: Tensor, *, border: Literal["valid", "same", "reflect"] = "valid"
) -> Tensor:
    """SSIM of every band, values in [0, 1], constants for that range; see `vernier.metrics.ssim`.

    Args:
        border: "valid" keeps the 11x11 window inside (Matlab's ssim_index); "same" pads with
            zeros, "reflect" by mirroring, and counts every pixel. Zeros flatter: both cubes
            have them.

    Raises:
        ValueError: see `vernier.metrics.ssim`; a side of fewer than 11 pixels.
    """
    x, y = _pair(prediction, target)
    if min(x.shape[-2:]) < _SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs at least {_SSIM_WINDOW}x{_SSIM_WINDOW} pixels, "
            f"got {x.shape[-2]}x{x.shape[-1]}"
        )

    def framed(band: Tensor) -> Tensor:
        """(..., H, W) -> (N, 1, H', W')"""
        band = band.reshape(-1, 1, *band.shape[-2:])
        if border == "valid":
            return band
        sides = 4 * (_SSIM_WINDOW // 2,)
        return F.pad(band, sides, mode="constant" if border == "same" else "reflect")

    # Band by band: the five blurred maps of a whole scene would take a gigabyte.
    scores = [
        ssim(framed(p), framed(t), crop=0, luma=False, rounding=False)
        for p, t in zip(x.unbind(-3), y.unbind(-3), strict=True)
    ]
    return torch.stack(scores, -1).reshape(x.shape[:-2])


def cube_ssim(
    prediction: Tensor, target: Tensor, *, border: Literal["valid", "same", "reflect"] = "valid"
) -> Tensor:
    """Mean of `band_ssim` over the bands."""
    return band_ssim(prediction, target, border=border).mean(-1)


def band_uqi(
    prediction: Tensor, target: Tensor, *, window: Literal["box", "gaussian"] = "box"
) -> Tensor:
    """Universal image quality index Q of every band, at most 1.

    The mean over all places of a sliding window, inside the image, of
    4 cov(x, y) mx my / ((var x + var y) (mx^2 + my^2)). Where both windows are constant it is
    2 mx my / (mx^2 + my^2), and 1 where both are zero.

    Args:
        window: "box" is 32x32 (the paper's code has 8x8; the pansharpening tools 32x32);
            "gaussian" 11x11 with sigma 1.5.

    Raises:
        ValueError: the window is larger than the image.

    Source: Z. Wang, A. Bovik, "A universal image quality index", IEEE SPL 2002.
    """
    x, y = _pair(prediction, target)
    taps = _WINDOWS[window]
    size = len(taps)
    if min(x.shape[-2:]) < size:
        raise ValueError(f"Q needs at least {size}x{size} pixels, got {x.shape[-2]}x{x.shape[-1]}")

    scores = []
    for p, t in zip(x.unbind(-3), y.unbind(-3), strict=True):
        mp, mt = filter_valid(p, taps), filter_valid(t, taps)
        square = filter_valid(p * p + t * t, taps)
        level = mp.square() + mt.square()
        variance = square - level
        luminance = torch.where(level > 0, 2 * mp * mt / level, 1)
        structure = 2 * (filter_valid(p * t, taps) - mp * mt) / variance
        constant = variance <= _ROUNDING * square
        index = torch.where(constant, luminance, luminance * structure)
        scores.append(index.mean(dim=(-2, -1)))
    return torch.stack(scores, -1)


_WINDOWS: Mapping[str, Tensor] = MappingProxyType(
    {
        "box": torch.full((32,), 1 / 32, dtype=torch.float64),
        "gaussian": gaussian_taps(_SSIM_WINDOW, 1.5),
    }
)


def uqi(
    prediction: Tensor, target: Tensor, *, window: Literal["box", "gaussian"] = "box"
) -> Tensor:
    """Mean of `band_uqi` over the bands (Q, UQI; "Q average")."""
    return band_uqi(prediction, target, window=window).mean(-1)


def q2n(prediction: Tensor, target: Tensor, *, block: int = 32) -> Tensor:
    """Q2n (Q4, Q8, ...): Q with each spectrum as one hypercomplex number, at most 1.

    Bands are filled with zeros to a power of two, the image is extended below and to the right by
    mirroring (the edge repeated) to whole blocks, and the modulus of the index is averaged over
    blocks that do not overlap. In each block every band is brought to the target's mean 1 and
    standard deviation 1. It does not depend on the unit of the cube; Matlab's tool
    casts to uint16 first, which leaves nothing of a cube in [0, 1], and this does not.

    The standard deviation is the population's, as in the Python tool; Matlab's divides by n - 1
    (2e-9 apart on an 8-band image).

    Source: A. Garzelli, F. Nencini, "Hypercomplex quality assessment of multi/hyperspectral
    images", IEEE GRSL 2009.

    Example:
        >>> target = torch.linspace(0, 1, 4 * 32 * 32).reshape(4, 32, 32)
        >>> round(q2n(target, target).item(), 6)
        1.0
        >>> q2n(target.flip(-1), target).item() < 1
        True
    """
    x, y = _pair(prediction, target)
    bands, height, width = x.shape[-3:]
    length = 2 ** math.ceil(math.log2(bands))

    def blocks(cube: Tensor) -> Tensor:
        """(..., B, H, W) -> (..., blocks, length, block**2)"""
        rows, columns = (
            mirrored(torch.arange(math.ceil(n / block) * block, device=cube.device), n)
            for n in (height, width)
        )
        cube = cube[..., rows, :][..., columns]
        cube = F.pad(cube, (0, 0, 0, 0, 0, length - bands))
        return rearrange(cube, "... l (r h) (c w) -> ... (r c) l (h w)", h=block, w=block)

    x, y = blocks(x), blocks(y)
    mean = y.mean(-1, keepdim=True)
    spread = y.std(-1, keepdim=True, correction=0)
    spread = spread.clamp(min=torch.finfo(torch.float64).eps)
    # A band without signal in the target is shifted alone: there is nothing to scale it by.
    x = torch.where(mean == 0, x, (x - mean) / spread) + 1
    y = (y - mean) / spread + 1

    x_mean, y_mean = x.mean(-1), y.mean(-1)
    x_level, y_level = x_mean.square().sum(-1), y_mean.square().sum(-1)
    square = (x.square() + y.square()).sum(-2).mean(-1)
    variance = square - x_level - y_level
    bias = 2 * (x_level * y_level).sqrt() / (x_level + y_level)
    covariance = y @ x.mT / x.shape[-1] - y_mean[..., :, None] * x_mean[..., None, :]

    # The mean of the products target * conjugate(prediction): the part along unit k collects the
    # pairs (i, j) with e_i e_j = +-e_k, which are those with i xor j = k.
    signs, unit = _hypercomplex_products(length), torch.arange(length)
    signs[:, 1:] *= -1
    signed = covariance * signs.to(x.device)
    parts = signed[..., unit, unit ^ unit[:, None]].sum(-1)
    modulus = 2 * parts.norm(dim=-1) / variance
    index = torch.where(variance <= _ROUNDING * square, bias, bias * modulus)
    return index.mean(-1)


def _hypercomplex_products(length: int) -> Tensor:
    """s of e_i e_j = s_ij e_(i xor j), by Cayley and Dickson's doubling from the real numbers.

    (a, b)(c, d) = (a c - conj(d) b, d a + b conj(c)).
    """
    signs = torch.ones(1, 1, dtype=torch.float64)
    while len(signs) < length:
        conjugate = -torch.ones(len(signs), dtype=torch.float64)
        conjugate[0] = 1
        top = torch.cat([signs, signs.T], 1)
        bottom = torch.cat([signs * conjugate, -signs.T * conjugate], 1)
        signs = torch.cat([top, bottom])
    return signs


def scc(prediction: Tensor, target: Tensor) -> Tensor:
    """Spatial correlation: how alike the edges of two cubes are, at most 1.

    sum(g h) / sqrt(sum(g^2) sum(h^2)) over all bands and pixels, g and h the Sobel magnitudes of
    the cubes without their outermost pixels; what is cut off counts as zero to the filter, as
    in the Matlab tool. 1 where neither cube has an edge, 0 where one has none.
    """
    g, h = (_sobel_magnitude(cube[..., 1:-1, 1:-1]) for cube in _pair(prediction, target))
    dims = (-3, -2, -1)
    return _cosine((g * h).sum(dims), g.square().sum(dims), h.square().sum(dims))


def _sobel_magnitude(cube: Tensor) -> Tensor:
    x = F.pad(cube, (1, 1, 1, 1))
    down = x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]
    along = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    horizontal = down[..., 2:] - down[..., :-2]
    vertical = along[..., 2:, :] - along[..., :-2, :]
    return torch.hypot(horizontal, vertical)


def band_cc(prediction: Tensor, target: Tensor) -> Tensor:
    """Pearson's correlation of every band.

    1 where both bands are constant (they differ in nothing that it sees), 0 where one is.
    """
    x, y = _pair(prediction, target)
    dims = (-2, -1)
    dx, dy = (cube - cube.mean(dim=dims, keepdim=True) for cube in (x, y))
    vx, vy = (
        torch.where(v <= _ROUNDING * cube.square().sum(dims), 0, v)
        for v, cube in ((dx.square().sum(dims), x), (dy.square().sum(dims), y))
    )
    return _cosine((dx * dy).sum(dims), vx, vy)


def cc(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of `band_cc` over the bands (cross correlation, "CC")."""
    return band_cc(prediction, target).mean(-1)


def _cosine(dot: Tensor, xx: Tensor, yy: Tensor) -> Tensor:
    flat = ((xx == 0) & (yy == 0)).double()
    return torch.where((xx == 0) | (yy == 0), flat, dot / (xx * yy).sqrt())


def _pair(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    for cube in (prediction, target):
        if not cube.is_floating_point():
            raise TypeError(f"expected floating-point cubes, got {cube.dtype}")
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in shape"
        )
    if target.ndim < 3 or 0 in target.shape:
        raise ValueError(f"expected cubes (..., B, H, W), got {tuple(target.shape)}")
    return prediction.double(), target.double()


def _mean_where(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the last dimension of what the mask keeps; NaN where it keeps nothing."""
    return torch.where(mask, x, 0).sum(-1) / mask.sum(-1)
