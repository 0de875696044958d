"""Second-order degradation: LR pictures as the world makes them, for training on photographs.

Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data",
ICCV Workshops 2021 (arXiv 2107.10833), section 3: blur, resize, noise and JPEG, all of it twice,
and a sinc filter near the end. HAT's real-world models were trained with the same parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["REAL_WORLD", "Stage", "degrade", "jpeg"]

Range = tuple[float, float]

# Side of every blur kernel; smaller kernels are surrounded by zeros.
_KERNEL = 21
_KERNEL_SIZES = tuple(range(7, _KERNEL + 1, 2))
_SINC_SHARE = 0.1
_GRAY_NOISE_SHARE = 0.4
_GAUSSIAN_SHARE = 0.5
_FINAL_SINC_SHARE = 0.8
_RESIZE_MODES = ("area", "bilinear", "bicubic")

# Of the blurs that are no sinc: (share, anisotropic, kind).
_BLURS = (
    (0.45, False, "gaussian"),
    (0.25, True, "gaussian"),
    (0.12, False, "generalised"),
    (0.03, True, "generalised"),
    (0.12, False, "plateau"),
    (0.03, True, "plateau"),
)
_GENERALISED_BETA = (0.5, 4.0)
_PLATEAU_BETA = (1.0, 2.0)


@dataclass(frozen=True)
class Stage:
    """The ranges of one of the two passes; each value is drawn uniformly.

    Attributes:
        blur_share: probability that there is a blur at all.
        sigma: of the blur kernels, pixels.
        resize_shares: probabilities of enlarging, reducing and keeping the size.
        resize: smallest and largest factor.
        noise: standard deviation of Gaussian noise, in 8-bit levels.
        poisson: how much of a picture's own Poisson noise is added.
        quality: of JPEG.
    """

    blur_share: float
    sigma: Range
    resize_shares: tuple[float, float, float]
    resize: Range
    noise: Range
    poisson: Range
    quality: Range


REAL_WORLD: tuple[Stage, Stage] = (
    Stage(1.0, (0.2, 3.0), (0.2, 0.7, 0.1), (0.15, 1.5), (1, 30), (0.05, 3.0), (30, 95)),
    Stage(0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1, 25), (0.05, 2.5), (30, 95)),
)


class _Draws:
    """All that is random about a batch; what a picture gets does not depend on who asks for it.

    Resizes, and whether there is a blur and which noise, are drawn once for the batch, whose
    pictures must stay of one size; all else once for each picture.
    """

    def __init__(self, seed: int, batch_size: int, part: slice, device: torch.device) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.batch_size = batch_size
        self.part = part
        self.device = device

    def once(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def choice(self, shares: Sequence[float]) -> int:
        at, total = self.once(), 0.0
        for index, share in enumerate(shares):
            total += share
            if at < total:
                return index
        return len(shares) - 1

    def each(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, 1, 1, 1), for the pictures of this part."""
        values = torch.rand(self.batch_size, generator=self.generator)[self.part]
        return (low + (high - low) * values).to(self.device).view(-1, 1, 1, 1)

    def generators(self) -> list[torch.Generator]:
        """A source of noise for each picture of this part, on the device."""
        seeds = torch.randint(2**31, (self.batch_size,), generator=self.generator)[self.part]
        return [torch.Generator(self.device).manual_seed(int(seed)) for seed in seeds]


@torch.no_grad()
def degrade(
    hr: Tensor,
    scale: int,
    *,
    seed: int,
    batch_size: int | None = None,
    part: slice = slice(None),
    stages: tuple[Stage, Stage] = REAL_WORLD,
) -> Tensor:
    """LR pictures as cameras, networks and editors leave them.

    Args:
        hr: (B, 3, H, W) RGB in [0, 1], sides multiples of ``scale``; on any device.
        scale: HR pixels per LR pixel.
        seed: decides everything; the same seed on the same kind of device gives the same pictures.
        batch_size, part: ``hr`` is this part of a batch of so many pictures; they come out as they
            would with the whole batch. Default: it is the whole batch.
        stages: the ranges of both passes.

    Returns:
        (B, 3, H/scale, W/scale), of 8-bit values in [0, 1].

    Raises:
        ValueError: not three channels, or sides that are no multiples of the scale.
    """
    if hr.ndim != 4 or hr.shape[1] != 3:
        raise ValueError(f"expected RGB pictures (B, 3, H, W), got {tuple(hr.shape)}")
    height, width = hr.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"{height}x{width} is no multiple of the scale {scale}")
    draws = _Draws(seed, batch_size or len(hr), part, hr.device)
    first, second = stages

    factor = _resize_factor(first, draws)
    image = _blur(hr, first, draws)
    image = _resize(image, max(1, int(height * factor)), max(1, int(width * factor)), draws)
    image = _noise(image, first, draws)
    image = jpeg(image, draws.each(*first.quality))

    factor = _resize_factor(second, draws) / scale
    image = _blur(image, second, draws)
    image = _resize(image, max(1, int(height * factor)), max(1, int(width * factor)), draws)
    image = _noise(image, second, draws)

    quality = draws.each(*second.quality)
    sinc_last = draws.once() < 0.5
    if sinc_last:
        image = jpeg(image, quality)
    image = _resize(image, height // scale, width // scale, draws)
    image = _filter(image, _final_sinc(draws))
    if not sinc_last:
        image = jpeg(image, quality)
    return (image.clamp(0, 1) * 255).round() / 255


def jpeg(image: Tensor, quality: Tensor) -> Tensor:
    """What JPEG leaves of pictures: 4:2:0 chroma, the standard's tables, quality as in libjpeg.

    Args:
        image: (B, 3, H, W) RGB in [0, 1], or (B, 1, H, W) gray; clamped first.
        quality: (B, 1, 1, 1), 1 to 100.

    Returns:
        The same shape, 8-bit values in [0, 1].

    Source: ITU-T T.81, annexes A and K.
    """
    levels = (image.clamp(0, 1) * 255).round()
    height, width = image.shape[-2:]
    levels = F.pad(levels, (0, -width % 16, 0, -height % 16), mode="replicate")
    if image.shape[1] == 1:
        decoded = _jpeg_plane(levels, _LUMA_TABLE, quality)
    else:
        matrix = torch.tensor(_JFIF).to(image)
        ycc = torch.einsum("ij,bjhw->bihw", matrix, levels)
        chroma = F.avg_pool2d(ycc[:, 1:], 2) + 128
        luma = _jpeg_plane(ycc[:, :1], _LUMA_TABLE, quality)
        chroma = _jpeg_plane(chroma, _CHROMA_TABLE, quality) - 128
        # Weights of 3/4 and 1/4, as decoders interpolate.
        ycc = torch.cat([luma, F.interpolate(chroma, scale_factor=2, mode="bilinear")], dim=1)
        decoded = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(matrix), ycc)
    return decoded.round().clamp(0, 255)[..., :height, :width] / 255


def _jpeg_plane(plane: Tensor, table: Sequence[Sequence[int]], quality: Tensor) -> Tensor:
    """(B, C, H, W) in 0..255, sides multiples of 8, through quantised 8x8 cosine transforms."""
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    steps = ((torch.tensor(table).to(plane) * percent + 50) / 100).floor().clamp(1, 255)
    steps = steps.flatten(1)[:, None, :, None, None]  # (B, 1, 64, 1, 1)
    batch, channels = plane.shape[:2]
    waves = _cosine_waves().to(plane)
    coefficients = F.conv2d(plane.round().flatten(0, 1)[:, None] - 128, waves, stride=8)
    coefficients = coefficients.view(batch, channels, *coefficients.shape[1:])
    coefficients = ((coefficients / steps).round() * steps).flatten(0, 1)
    decoded = F.conv_transpose2d(coefficients, waves, stride=8).view(plane.shape)
    return (decoded + 128).round().clamp(0, 255)


def _cosine_waves() -> Tensor:
    """The orthonormal basis of the 8x8 DCT-II, (64, 1, 8, 8)."""
    k = torch.arange(8, dtype=torch.float64)
    waves = torch.cos(math.pi / 8 * (k + 0.5) * k[:, None]) / 2
    waves[0] /= math.sqrt(2)
    return torch.einsum("ui,vj->uvij", waves, waves).reshape(64, 1, 8, 8)


def _blur(image: Tensor, stage: Stage, draws: _Draws) -> Tensor:
    kernels = _blur_kernels(stage, draws)
    return _filter(image, kernels) if draws.once() < stage.blur_share else image


def _blur_kernels(stage: Stage, draws: _Draws) -> Tensor:
    """(B, 21, 21): a (generalised) Gaussian, a plateau, or a sinc for each picture."""
    size = _sizes(draws)
    sinc = draws.each() < _SINC_SHARE
    lowpass = _sinc(draws, size)
    kind = draws.each()
    shares = torch.tensor([share for share, _, _ in _BLURS], device=kind.device)
    index = torch.bucketize(kind, shares.cumsum(0)[:-1], right=True)

    def chosen(property: list[bool]) -> Tensor:
        return torch.tensor(property, device=kind.device)[index]

    anisotropic = chosen([anisotropic for _, anisotropic, _ in _BLURS])
    generalised = chosen([name == "generalised" for _, _, name in _BLURS])
    plateau = chosen([name == "plateau" for _, _, name in _BLURS])

    sigma_x = draws.each(*stage.sigma)
    sigma_y = torch.where(anisotropic, draws.each(*stage.sigma), sigma_x)
    angle = torch.where(anisotropic, draws.each(-math.pi, math.pi), 0.0)
    x, y = _grid(kind.device)
    u = (x * angle.cos() + y * angle.sin()) / sigma_x
    v = (y * angle.cos() - x * angle.sin()) / sigma_y
    distance = u.square() + v.square()

    beta = torch.where(generalised, _beta(draws, _GENERALISED_BETA), 1.0)
    beta = torch.where(plateau, _beta(draws, _PLATEAU_BETA), beta)
    shaped = distance.pow(beta)
    kernels = torch.where(plateau, 1 / (1 + shaped), torch.exp(-shaped / 2))
    kernels = _cut(kernels, size)
    return torch.where(sinc, lowpass, kernels)[:, 0]


def _beta(draws: _Draws, limits: Range) -> Tensor:
    """Exponent of a kernel: below and above 1 equally often."""
    below, above = draws.each(limits[0], 1.0), draws.each(1.0, limits[1])
    return torch.where(draws.each() < 0.5, below, above)


def _sizes(draws: _Draws) -> Tensor:
    """Side of each kernel, (B, 1, 1, 1)."""
    index = (draws.each() * len(_KERNEL_SIZES)).long()
    return torch.tensor(_KERNEL_SIZES, device=index.device)[index]


def _sinc(draws: _Draws, size: Tensor) -> Tensor:
    """The circular low-pass filter of a random cutoff, which rings as sharpened pictures do."""
    # Small kernels cannot hold low cutoffs.
    lowest = torch.where(size < 13, math.pi / 3, math.pi / 5)
    cutoff = lowest + (math.pi - lowest) * draws.each()
    x, y = _grid(cutoff.device)
    radius = (x.square() + y.square()).sqrt()
    kernels = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    centre = cutoff.square() / (4 * math.pi)
    return _cut(torch.where(radius == 0, centre, kernels), size)


def _final_sinc(draws: _Draws) -> Tensor:
    """(B, 21, 21): a sinc filter for most pictures, for the others nothing."""
    kernels = _sinc(draws, _sizes(draws))
    nothing = torch.zeros_like(kernels)
    nothing[..., _KERNEL // 2, _KERNEL // 2] = 1
    return torch.where(draws.each() < _FINAL_SINC_SHARE, kernels, nothing)[:, 0]


def _grid(device: torch.device) -> tuple[Tensor, Tensor]:
    """Columns and rows of a kernel, 0 in the centre, (1, 1, 1, 21) and (1, 1, 21, 1)."""
    offsets = torch.arange(_KERNEL, device=device) - _KERNEL // 2
    return offsets.float().view(1, 1, 1, -1), offsets.float().view(1, 1, -1, 1)


def _cut(kernels: Tensor, size: Tensor) -> Tensor:
    """Zero outside the side that each kernel has; sum 1."""
    x, y = _grid(kernels.device)
    kernels = torch.where((x.abs() <= size // 2) & (y.abs() <= size // 2), kernels, 0.0)
    return kernels / kernels.sum(dim=(-2, -1), keepdim=True)


def _filter(image: Tensor, kernels: Tensor) -> Tensor:
    """Each (C, H, W) of the batch by its own (21, 21) kernel."""
    batch, channels, height, width = image.shape
    pad = _KERNEL // 2
    mode = "reflect" if min(height, width) > pad else "replicate"
    padded = F.pad(image, (pad, pad, pad, pad), mode=mode)
    weight = kernels[:, None].repeat_interleave(channels, dim=0)
    filtered = F.conv2d(padded.flatten(0, 1)[None], weight, groups=batch * channels)
    return filtered.view(image.shape)


def _resize_factor(stage: Stage, draws: _Draws) -> float:
    smallest, largest = stage.resize
    limits = ((1.0, largest), (smallest, 1.0), (1.0, 1.0))[draws.choice(stage.resize_shares)]
    return draws.once(*limits)


def _resize(image: Tensor, height: int, width: int, draws: _Draws) -> Tensor:
    """By area, bilinear or bicubic, the latter two without antialiasing, as editors may do."""
    mode = _RESIZE_MODES[draws.choice([1 / 3] * 3)]
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image, (height, width), mode=mode)


def _noise(image: Tensor, stage: Stage, draws: _Draws) -> Tensor:
    gaussian = draws.once() < _GAUSSIAN_SHARE
    gray = draws.each() < _GRAY_NOISE_SHARE
    strength = draws.each(*(stage.noise if gaussian else stage.poisson))
    noise = (_gaussian_noise if gaussian else _poisson_noise)(image, gray, draws.generators())
    return (image + strength * noise).clamp(0, 1)


def _gaussian_noise(image: Tensor, gray: Tensor, sources: list[torch.Generator]) -> Tensor:
    """Of one 8-bit level, in each channel or, where ``gray``, alike in all."""
    noise = torch.stack(
        [torch.randn(image.shape[1:], generator=s, device=image.device) for s in sources]
    )
    return torch.where(gray, noise[:, :1], noise) / 255


def _poisson_noise(image: Tensor, gray: Tensor, sources: list[torch.Generator]) -> Tensor:
    """As if a picture's number of levels were the number of photons that make white."""
    levels = (image.clamp(0, 1) * 255).round()
    luma = torch.einsum("c,bchw->bhw", torch.tensor(_JFIF[0]).to(image), levels)[:, None].round()
    noise = []
    for i, source in enumerate(sources):
        seen = luma[i] if gray[i] else levels[i]
        num_levels = int(seen.long().flatten().bincount().count_nonzero())
        photons = 2 ** math.ceil(math.log2(num_levels))
        counted = torch.poisson(seen / 255 * photons, generator=source)
        noise.append((counted / photons - seen / 255).expand_as(image[i]))
    return torch.stack(noise)


# RGB to Y, Cb, Cr of the JPEG file format, full range.
_JFIF = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)
