"""What a run trains and is validated on: from the recipe to sets in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from vernier.data.folders import Broken, list_pictures, refuse_broken
from vernier.data.training_set import CropSet, Fingerprint, FusionSet, TrainingSet, fingerprint
from vernier.errors import InputError
from vernier.models.layers import FusionModel, Model, SRModel
from vernier.progress import Progress
from vernier.training.recipe import DataRecipe
from vernier.training.validation import (
    FusionValidation,
    PictureValidation,
    ValidationSet,
    hold_out,
)

if TYPE_CHECKING:
    from vernier.data.scenes import FusionScenes

__all__ = ["Crops", "TrainingData", "load_data", "own_data"]


class Crops(Protocol):
    """Training data: a batch is a pure function of the seed and the step.

    So a resumed run sees the batches that it would have seen, several processes share a batch, and
    a batch can be made in another thread while the one before it trains.
    """

    def batch(
        self, *, seed: int, step: int, batch_size: int, part: slice = slice(None)
    ) -> tuple[Tensor, ...]:
        """The crops of one step.

        Args:
            seed, step: decide the whole batch.
            batch_size: number of crops over all processes.
            part: which of them to make.

        Returns:
            What the network reads, and HR last: (lr, hr), or (lr, guide, upsampled, hr) in fusion;
            each (B, C, H, W), float32 in [0, 1], on any device.
        """
        ...


@dataclass(frozen=True)
class TrainingData:
    """All data of a run.

    Attributes:
        crops: what is trained on.
        validation: what the averaged weights are measured on.
        fingerprint: tells a resumed run whether the data are still the same.
        facts: what ``data.json`` tells of the crops.
        wavelengths: of the bands in nanometres, where the data are cubes and say so.
    """

    crops: Crops
    validation: ValidationSet
    fingerprint: Fingerprint
    facts: Mapping[str, Any] = field(default_factory=dict)
    wavelengths: tuple[float, ...] = ()


def load_data(
    recipe: DataRecipe,
    model: Model,
    *,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> TrainingData:
    """Read the pictures or scenes that a recipe names, as the model wants them.

    Args:
        recipe: which ones, and what becomes of them.
        model: tells scale and colour, or bands and guide channels.
        device: where batches go.
        progress: called for each picture.

    Raises:
        InputError: a file cannot be read, nothing is large enough, or the scenes are not such as
            the model reads.
    """
    if isinstance(model, FusionModel):
        return _load_scenes(recipe, model, device)
    assert isinstance(model, SRModel)
    return _load_pictures(recipe, model, device, progress)


def own_data(crops: Crops, recipe: DataRecipe, model: Model, *, seed: int = 0) -> TrainingData:
    """The caller's own crops, validated on the files that the recipe names for that, if any.

    Their fingerprint is that of the first crop which ``seed`` draws.

    Raises:
        InputError: the recipe wants to hold pictures out, or they cannot be read.
    """
    if recipe.hold_out:
        raise InputError(
            "data.hold_out cannot take pictures out of data=...; name data.validation instead"
        )
    digest = hashlib.sha256()
    for crop in crops.batch(seed=seed, step=0, batch_size=1):
        digest.update(crop.detach().cpu().contiguous().numpy().tobytes())
    validation: ValidationSet
    if isinstance(model, FusionModel):
        scenes = [
            scene for path in recipe.validation for scene in _read_scenes(path, model, recipe.peak)
        ]
        validation = FusionValidation(scenes, scale=model.scale)
    else:
        assert isinstance(model, SRModel)
        kept = list_pictures(recipe.validation) if recipe.validation else []
        broken: Broken = {}
        validation = _picture_validation(recipe, model, kept, broken)
        if not recipe.skip_broken:
            refuse_broken(broken)
    kind = type(crops)
    return TrainingData(
        crops,
        validation,
        Fingerprint(digest.hexdigest(), (), 0),
        {"class": f"{kind.__module__}.{kind.__qualname__}"},
    )


def _load_pictures(
    recipe: DataRecipe, model: SRModel, device: torch.device | str, progress: Progress | None
) -> TrainingData:
    weights = list(zip(recipe.train, recipe.weights or [1.0] * len(recipe.train)))
    weight_of = {path: weight for folder, weight in weights for path in list_pictures([folder])}
    paths = list(weight_of)
    kept = list_pictures(recipe.validation) if recipe.validation else []
    if recipe.hold_out:
        paths, kept = hold_out(sorted(paths), recipe.hold_out)
    broken: Broken = {}
    crops = TrainingSet(
        paths,
        scale=model.scale,
        colour=model.colour,
        patch_size=recipe.patch_size,
        rounded_lr=recipe.rounded_lr,
        weights=[weight_of[path] for path in paths],
        downscales=recipe.downscales,
        degradation=recipe.degradation,
        augmentation=recipe.augmentation,
        device=device,
        progress=progress,
        broken=broken,
    )
    validation = _picture_validation(recipe, model, kept, broken)
    if not recipe.skip_broken:
        refuse_broken(broken)
    facts = {**_facts_of(crops), "weights": dict(weights), "broken": _by_name(broken)}
    used = [path for path in paths if path not in broken]
    return TrainingData(crops, validation, fingerprint(used), facts)


def _by_name(broken: Broken) -> dict[str, str]:
    return {str(path): reason for path, reason in broken.items()}


def _load_scenes(
    recipe: DataRecipe, model: FusionModel, device: torch.device | str
) -> TrainingData:
    if recipe.rounded_lr or recipe.downscales != [1.0] or recipe.degradation != "bicubic":
        raise InputError(
            "data.rounded_lr, data.downscales and data.degradation are for photographs alone"
        )
    if recipe.skip_broken:
        raise InputError("data.skip_broken is for photographs alone; leave it out")
    files = [_read_scenes(path, model, recipe.peak) for path in recipe.train]
    weighted = [
        (scene, weight)
        for scenes, weight in zip(files, recipe.weights or [1.0] * len(files))
        for scene in scenes
    ]
    kept = [scene for path in recipe.validation for scene in _read_scenes(path, model, recipe.peak)]
    if recipe.hold_out:
        weighted, held = hold_out(weighted, recipe.hold_out)
        kept = [scene for scene, _ in held]
    crops = FusionSet(
        [scene for scene, _ in weighted],
        scale=model.scale,
        patch_size=recipe.patch_size,
        weights=[weight for _, weight in weighted],
        augmentation=recipe.augmentation,
        device=device,
    )
    return TrainingData(
        crops,
        FusionValidation(kept, scale=model.scale),
        fingerprint([Path(path) for path in recipe.train]),
        _facts_of(crops),
        files[0].wavelengths or (),
    )


def _facts_of(crops: CropSet) -> dict[str, Any]:
    return {
        "pictures": crops.num_pictures,
        "too_small": crops.too_small,
        "bytes_in_memory": crops.num_bytes,
        "device": str(crops.device),
    }


def _picture_validation(
    recipe: DataRecipe, model: SRModel, paths: Sequence[Path], broken: Broken
) -> PictureValidation:
    return PictureValidation(
        paths,
        scale=model.scale,
        colour=model.colour,
        degradation=recipe.degradation,
        broken=broken,
    )


def _read_scenes(path: str, model: FusionModel, peak: float | None) -> FusionScenes:
    """The scenes of one HDF5 file, if they fit the model."""
    from vernier.data.scenes import read_fusion

    scenes = read_fusion(path, peak=peak)
    fits = (model.scale, model.channels, model.guide_channels)
    given = (scenes.scale, scenes.bands, scenes.guide_channels)
    if given != fits:
        raise InputError(
            f"{path} is x{given[0]} with {given[1]} bands and {given[2]} guide channels, the model "
            f"is x{fits[0]} with {fits[1]} and {fits[2]}; set model.scale and model.overrides"
        )
    scenes.check_known(path)
    return scenes
