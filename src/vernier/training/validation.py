"""Validation pictures and scenes, measured as the benchmarks are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from vernier.data.folders import Broken, read_or_note
from vernier.data.training_set import Degradation, sharp_cube
from vernier.errors import InputError
from vernier.imaging import imresize, imresize_uint8, to_colour
from vernier.imaging.colour import PictureColour
from vernier.imaging.degradation import degrade
from vernier.imaging.display import shown_bands
from vernier.metrics import psnr, ssim
from vernier.metrics.spectral import cube_psnr, cube_ssim, ergas, sam

if TYPE_CHECKING:
    from vernier.data.scenes import FusionScene

__all__ = ["Case", "FusionValidation", "PictureValidation", "ValidationSet", "hold_out"]

T = TypeVar("T")

# An SSIM window.
_SMALLEST = 11


def hold_out(items: Sequence[T], count: int) -> tuple[list[T], list[T]]:
    """Split into training and validation: ``count`` items, evenly spread over the list.

    Raises:
        InputError: nothing would be left to train on.
    """
    if count >= len(items):
        raise InputError(f"data.hold_out {count} leaves none of {len(items)} to train on")
    kept = {int((i + 0.5) * len(items) / count) for i in range(count)}
    train = [item for i, item in enumerate(items) if i not in kept]
    return train, [item for i, item in enumerate(items) if i in kept]


class Case(NamedTuple):
    """A picture or scene to measure on.

    Attributes:
        name: for people.
        inputs: what the network reads, each (C, h, w) in [0, 1].
        hr: what it should make of them, (C, H, W) in [0, 1].
    """

    name: str
    inputs: tuple[Tensor, ...]
    hr: Tensor


class ValidationSet(ABC):
    """What the network is measured on, in memory; no cases: nothing is measured."""

    metrics: tuple[str, ...]
    """Names of the scores; one of them is "psnr", by which the best weights are chosen."""

    def __init__(self, cases: list[Case], scale: int) -> None:
        self.cases = cases
        self.scale = scale

    def measure(
        self, model: nn.Module, *, device: torch.device, part: slice = slice(None)
    ) -> list[dict[str, float]]:
        """The `metrics` of each case in ``part``."""
        return [self._scores(self._run(model, case, device), case.hr) for case in self.cases[part]]

    def comparison(self, model: nn.Module, index: int, *, device: torch.device) -> Tensor:
        """Bicubic, the model's result and HR, side by side: (C, H, 3 W), at most 256 rows."""
        case = self.cases[index]
        images = (self._bicubic(case), self._run(model, case, device), case.hr)
        return torch.cat([self._shown(image)[:, :256, :256] for image in images], dim=2)

    @torch.inference_mode()
    def _run(self, model: nn.Module, case: Case, device: torch.device) -> Tensor:
        """(C, H, W) on the CPU."""
        inputs = [
            image[None].to(device, memory_format=torch.channels_last) for image in case.inputs
        ]
        hr: Tensor = model(*inputs)[0].cpu()
        return hr

    @abstractmethod
    def _scores(self, result: Tensor, hr: Tensor) -> dict[str, float]: ...

    @abstractmethod
    def _bicubic(self, case: Case) -> Tensor: ...

    def _shown(self, image: Tensor) -> Tensor:
        """As one or three channels."""
        return image


class PictureValidation(ValidationSet):
    """HR pictures with their benchmark LR, in the model's colour; the papers' protocol.

    Under the real-world degradation each picture has one LR, always the same. Pictures that cannot
    be read are noted in ``broken`` and left out; without it the first one is an error.

    Raises:
        InputError: a picture is too small to be measured.
    """

    metrics = ("psnr", "ssim")

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        scale: int,
        colour: PictureColour,
        degradation: Degradation = "bicubic",
        broken: Broken | None = None,
    ) -> None:
        cases = []
        for number, path in enumerate(paths):
            picture = read_or_note(path, broken)
            if picture is None:
                continue
            rows, columns = (side // scale * scale for side in picture.shape[-2:])
            if min(rows, columns) < _SMALLEST + 2 * scale:
                raise InputError(f"{path} is too small to validate on; leave it out")
            picture = picture[:, :rows, :columns]
            hr = picture.float() / 255
            if degradation == "bicubic":
                lr = imresize_uint8(picture, 1 / scale).float() / 255
            else:
                lr = degrade(to_colour(hr, "rgb")[None], scale, seed=number)[0]
            cases.append(Case(path.name, (to_colour(lr, colour),), to_colour(hr, colour)))
        super().__init__(cases, scale)

    def _scores(self, result: Tensor, hr: Tensor) -> dict[str, float]:
        return {
            "psnr": psnr(result, hr, crop=self.scale).item(),
            "ssim": ssim(result, hr, crop=self.scale).item(),
        }

    def _bicubic(self, case: Case) -> Tensor:
        return imresize(case.inputs[0], float(self.scale))


class FusionValidation(ValidationSet):
    """Hyperspectral scenes: PSNR and SSIM as means over the bands, SAM in degrees, ERGAS.

    Nothing is rounded or cropped; the result is clamped to [0, 1].

    Raises:
        InputError: a scene is too small to be measured, or lacks its sharp cube.
    """

    metrics = ("psnr", "ssim", "sam", "ergas")

    def __init__(self, scenes: Sequence[FusionScene], *, scale: int) -> None:
        cases = []
        for scene in scenes:
            hr = sharp_cube(scene)
            if min(hr.shape[-2:]) < _SMALLEST:
                raise InputError(f"{scene.name} is too small to validate on; leave it out")
            cases.append(Case(scene.name, (scene.lr, scene.guide, scene.upsampled), hr))
        super().__init__(cases, scale)

    def _scores(self, result: Tensor, hr: Tensor) -> dict[str, float]:
        result = result.clamp(0, 1)
        return {
            "psnr": cube_psnr(result, hr).item(),
            "ssim": cube_ssim(result, hr).item(),
            "sam": sam(result, hr).item(),
            "ergas": ergas(result, hr, ratio=self.scale).item(),
        }

    def _bicubic(self, case: Case) -> Tensor:
        return case.inputs[2]

    def _shown(self, image: Tensor) -> Tensor:
        return image[shown_bands(len(image))]
