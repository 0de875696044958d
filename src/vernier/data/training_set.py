"""The training set, decoded once and kept in memory, on the GPU when there is one.

A batch is a pure function of the seed and the step. So a run that was killed goes on with exactly
the batches it would have seen, several processes share one global batch by slicing it, and the
next batch can be made while the present one trains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from vernier.data.folders import Broken, read_or_note, refuse_broken
from vernier.errors import InputError
from vernier.imaging import imresize, imresize_uint8, to_colour
from vernier.imaging.colour import PictureColour
from vernier.imaging.degradation import degrade
from vernier.progress import Progress

if TYPE_CHECKING:
    from vernier.data.scenes import FusionScene

__all__ = [
    "Augmentation",
    "CropSet",
    "Degradation",
    "Fingerprint",
    "FusionSet",
    "TrainingSet",
    "fingerprint",
    "generator_of",
    "sharp_cube",
]

Augmentation = Literal["dihedral", "horizontal", "none"]
Degradation = Literal["bicubic", "real-world"]

# LR pixels around a crop that is degraded: room for the blurs, and for each phase of JPEG's blocks.
_MARGIN = 8

# Which of the three bits of a transform (flip rows, flip columns, transpose) may be set.
_TRANSFORMS: dict[Augmentation, int] = {"dihedral": 0b111, "horizontal": 0b010, "none": 0}


class CropSet:
    """Aligned random crops of several layers (LR, guide, HR, ...), each with a random transform.

    The pictures of a layer lie end to end in one flat tensor, so that a whole batch is one gather a
    layer, without a loop over pictures, on the CPU or the GPU alike.

    Args:
        layers: what a crop consists of, in the order of `batch`; a layer is its pictures, each
            (C, H, W), and how many of its pixels an LR pixel measures.
        sizes: (rows, columns) of each picture in LR pixels.
        patch_size: side of a crop in LR pixels.
        weights: how often a pixel of each picture is drawn relative to the others'.
        augmentation: "dihedral": one of the eight flips and turns of the square; "horizontal": half
            of the crops are mirrored; "none".
        device: where batches go; the pixels stay there too if they fit into half of what is free.
    """

    too_small: Sequence[Path] | Sequence[str]
    """What was left out because a patch does not fit into it."""

    def __init__(
        self,
        layers: Sequence[tuple[Sequence[Tensor], int]],
        sizes: Sequence[tuple[int, int]],
        *,
        patch_size: int,
        weights: Sequence[float],
        augmentation: Augmentation = "dihedral",
        device: torch.device | str = "cpu",
    ) -> None:
        self.patch_size = patch_size
        self.target = torch.device(device)
        num_bytes = sum(picture.nbytes for pictures, _ in layers for picture in pictures)
        self.device = self.target if _fits(num_bytes, self.target) else torch.device("cpu")
        # Each (C, all pixels of all pictures), and pixels per LR pixel.
        self.layers = [
            (torch.cat([p.flatten(1) for p in pictures], dim=1).to(self.device), factor)
            for pictures, factor in layers
        ]
        lr_sizes = torch.tensor(sizes, device=self.device)
        areas = lr_sizes.prod(dim=1)
        self._heights, self._widths = lr_sizes.unbind(1)
        self._starts = areas.cumsum(0) - areas
        shares = areas * torch.tensor(weights, dtype=torch.float64, device=self.device)
        self._cumulative = shares.cumsum(0) / shares.sum()
        self._transforms = _TRANSFORMS[augmentation]

    @property
    def num_pictures(self) -> int:
        """Pictures that are drawn from; each size counts."""
        return len(self._starts)

    @property
    def num_bytes(self) -> int:
        """Memory that the pixels occupy."""
        return sum(pixels.nbytes for pixels, _ in self.layers)

    def batch(
        self, *, seed: int, step: int, batch_size: int, part: slice = slice(None)
    ) -> tuple[Tensor, ...]:
        """The crops of one step: pictures drawn by area, position and transform uniformly.

        Args:
            seed, step: decide the whole batch.
            batch_size: number of crops over all processes.
            part: which of them to make.

        Returns:
            One (B, C, side, side) a layer, HR last; float32 in [0, 1], on the target device.
        """
        draws = torch.rand(4, batch_size, generator=generator_of(seed, step), dtype=torch.float64)
        which, row, column, transform = draws[:, part].to(self.device)
        picture = torch.searchsorted(self._cumulative, which).clamp_max(self.num_pictures - 1)
        top = (row * (self._heights[picture] - self.patch_size + 1)).long()
        left = (column * (self._widths[picture] - self.patch_size + 1)).long()
        transform = (transform * 8).long() & self._transforms
        return tuple(
            self._crops(pixels, picture, top, left, transform, factor).to(self.target)
            for pixels, factor in self.layers
        )

    def _crops(
        self, pixels: Tensor, picture: Tensor, top: Tensor, left: Tensor, transform: Tensor, s: int
    ) -> Tensor:
        side = self.patch_size * s
        forward = torch.arange(side, device=self.device)
        flip_rows, flip_columns, transpose = (
            ((transform >> bit) & 1).bool()[:, None, None] for bit in range(3)
        )
        rows, columns = forward[None, :, None], forward[None, None, :]
        rows = torch.where(flip_rows, side - 1 - rows, rows)
        columns = torch.where(flip_columns, side - 1 - columns, columns)
        width = self._widths[picture, None, None] * s
        start = (self._starts[picture] * s * s + top * s * width[:, 0, 0] + left * s)[:, None, None]
        # Flips act on the crop's own axes; a transpose then swaps what they walk along.
        index = start + torch.where(
            transpose,
            rows.transpose(1, 2) * width + columns.transpose(1, 2),
            rows * width + columns,
        )
        crops = pixels[:, index].transpose(0, 1)  # (B, C, side, side)
        return crops.float() / 255 if crops.dtype == torch.uint8 else crops.contiguous()


class TrainingSet(CropSet):
    """Photographs: `batch` gives LR crops (B, C, P, P) and HR crops (B, C, sP, sP).

    Args:
        paths: the HR pictures.
        scale: HR pixels per LR pixel.
        colour: what the model reads.
        patch_size: side of the LR crop; HR crops have ``scale`` times as many pixels a side.
        rounded_lr: make the LR as the benchmarks do, from 8 bits to 8 bits; False keeps the LR
            of the unrounded picture.
        weights: one a picture, how often its pixels are drawn relative to the others' (all alike).
        downscales: factors at most 1; each picture enters once reduced by each of them.
        degradation: how LR come about: by MATLAB's bicubic, or as `vernier.imaging.degradation`
            makes them, anew in each step, from crops that are larger by a margin.
        augmentation, device: see `CropSet`.
        progress: told each picture's path.
        broken: pictures that cannot be read are noted there and left out; None: the first one is an
            error.

    Raises:
        InputError: no picture is as large as a patch.
        PictureError: a picture cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        scale: int,
        colour: PictureColour,
        patch_size: int,
        rounded_lr: bool = False,
        weights: Sequence[float] | None = None,
        downscales: Sequence[float] = (1.0,),
        degradation: Degradation = "bicubic",
        augmentation: Augmentation = "dihedral",
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
        broken: Broken | None = None,
    ) -> None:
        self.too_small: list[Path] = []
        self.scale, self.colour, self.degradation = scale, colour, degradation
        self.margin = _MARGIN if degradation == "real-world" else 0
        side = patch_size + 2 * self.margin
        layers: list[tuple[list[Tensor], int]] = [([], 1), ([], scale)]
        if degradation == "real-world":
            # LR are made from the crops, in each step anew.
            layers = [([], scale)]
        sizes: list[tuple[int, int]] = []
        used_weights: list[float] = []
        for done, (path, weight) in enumerate(
            zip(paths, weights or [1.0] * len(paths), strict=True)
        ):
            if progress is not None:
                progress(done, len(paths), str(path))
            whole = read_or_note(path, broken)
            if whole is None:
                continue
            for factor in downscales:
                # Also because a resize to less than a pixel is none.
                if factor != 1 and min(whole.shape[-2:]) * factor < side * scale - 1:
                    if factor == max(downscales):
                        self.too_small.append(path)
                    continue
                picture = whole if factor == 1 else imresize_uint8(whole, factor)
                rows, columns = (length // scale for length in picture.shape[-2:])
                if min(rows, columns) < side:
                    if factor == max(downscales):
                        self.too_small.append(path)
                    continue
                picture = picture[:, : rows * scale, : columns * scale]
                if degradation == "real-world":
                    made: tuple[Tensor, ...] = (to_colour(picture, "rgb"),)
                else:
                    made = _make_pair(picture, scale, colour, rounded_lr)
                for (pictures, _), one in zip(layers, made, strict=True):
                    pictures.append(one)
                sizes.append((rows, columns))
                used_weights.append(weight)
        if progress is not None:
            progress(len(paths), len(paths), "")
        if not sizes:
            refuse_broken(broken or {})
            raise InputError(
                f"none of {len(paths)} training pictures is {side * scale} pixels a side; "
                "lower data.patch_size or give larger pictures"
            )
        super().__init__(
            layers,
            sizes,
            patch_size=side,
            weights=used_weights,
            augmentation=augmentation,
            device=device,
        )

    def batch(
        self, *, seed: int, step: int, batch_size: int, part: slice = slice(None)
    ) -> tuple[Tensor, ...]:
        crops = super().batch(seed=seed, step=step, batch_size=batch_size, part=part)
        if self.degradation == "bicubic":
            return crops
        (hr,) = crops
        # Another stream than that of the crops.
        source = generator_of(seed + 1, step)
        noise = int(torch.randint(2**31, (), generator=source))
        top, left = torch.randint(2 * self.margin + 1, (2,), generator=source).tolist()
        lr = degrade(hr, self.scale, seed=noise, batch_size=batch_size, part=part)
        side, s = self.patch_size - 2 * self.margin, self.scale
        lr = lr[..., top : top + side, left : left + side]
        hr = hr[..., top * s : (top + side) * s, left * s : (left + side) * s]
        return to_colour(lr, self.colour).contiguous(), to_colour(hr, self.colour).contiguous()


class FusionSet(CropSet):
    """Hyperspectral scenes: `batch` gives crops of the LR cube, guide, upsampled cube and HR cube.

    Args:
        scenes: the cubes with their guides; they may differ in size, not in bands.
        scale: HR pixels per LR pixel.
        patch_size: side of the crop in LR pixels.
        weights: one a scene, how often its pixels are drawn relative to the others' (all alike).
        augmentation, device: see `CropSet`; "none" by default, as in the papers.

    Raises:
        InputError: no scene is as large as a patch, or one lacks its sharp cube.
    """

    def __init__(
        self,
        scenes: Sequence[FusionScene],
        *,
        scale: int,
        patch_size: int,
        weights: Sequence[float] | None = None,
        augmentation: Augmentation = "none",
        device: torch.device | str = "cpu",
    ) -> None:
        weighted = [
            (scene, weight)
            for scene, weight in zip(scenes, weights or [1.0] * len(scenes), strict=True)
            if min(scene.lr.shape[-2:]) >= patch_size
        ]
        if not weighted:
            raise InputError(
                f"none of {len(scenes)} training scenes is {patch_size} LR pixels a side; "
                "lower data.patch_size or give larger scenes"
            )
        large = [scene for scene, _ in weighted]
        sharp = [sharp_cube(scene) for scene in large]
        self.too_small = [scene.name for scene in scenes if min(scene.lr.shape[-2:]) < patch_size]
        super().__init__(
            [
                ([scene.lr for scene in large], 1),
                ([scene.guide for scene in large], scale),
                ([scene.upsampled for scene in large], scale),
                (sharp, scale),
            ],
            [(scene.lr.shape[-2], scene.lr.shape[-1]) for scene in large],
            patch_size=patch_size,
            weights=[weight for _, weight in weighted],
            augmentation=augmentation,
            device=device,
        )


def sharp_cube(scene: FusionScene) -> Tensor:
    """The scene's reference.

    Raises:
        InputError: it has none.
    """
    if scene.gt is None:
        raise InputError(f"{scene.name} holds no sharp cube (GT) to compare with; leave it out")
    return scene.gt


def generator_of(seed: int, step: int) -> torch.Generator:
    """The source of all that is random in one step's batch."""
    # The CPU generator looks at 32 bits of its seed only; an odd factor spreads the seeds.
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + step) % 2**32)


def _fits(num_bytes: int, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes < free / 2


def _make_pair(
    picture: Tensor, scale: int, colour: PictureColour, rounded_lr: bool
) -> tuple[Tensor, Tensor]:
    """(C, H, W) uint8 -> LR and HR in the model's colour: float32, or uint8 what is of 8 bits."""
    # Luma must stay unrounded; RGB is 8-bit already and takes a quarter of the memory as such.
    exact = to_colour(picture.float() / 255, colour)
    hr = exact if colour == "luma" else to_colour(picture, colour)
    if not rounded_lr:
        return imresize(exact, 1 / scale), hr
    lr = imresize_uint8(picture, 1 / scale)
    return to_colour(lr.float() / 255, colour) if colour == "luma" else to_colour(lr, colour), hr


@dataclass(frozen=True)
class Fingerprint:
    """What a run was trained on: the files, and one hash over all their bytes and names."""

    sha256: str
    files: tuple[str, ...]
    num_bytes: int


def fingerprint(paths: Sequence[Path]) -> Fingerprint:
    """Hash the training files; two equal fingerprints mean equal bytes under equal names."""
    total = hashlib.sha256()
    size = 0
    for path in paths:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        size += path.stat().st_size
        total.update(path.name.encode() + b"\0" + content)
    return Fingerprint(total.hexdigest(), tuple(str(p) for p in paths), size)
