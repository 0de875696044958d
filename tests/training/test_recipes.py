"""Every recipe of the project trains: for two steps, with a small network on small crops."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from vernier.data.training_set import FusionSet, TrainingSet
from vernier.imaging import imresize
from vernier.io import Picture, read_picture, write_picture
from vernier.models.layers import FusionModel
from vernier.training import losses, sets, trainer
from vernier.training.losses import Loss
from vernier.training.recipe import Recipe, load_recipe
from vernier.training.schedule import learning_rate_factor
from vernier.training.soap import SOAP
from vernier.zoo import create_model, load_model, new_card, save_weights

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
STEPS = 2
# What makes a family's networks small; a recipe's own overrides come before these.
SMALL: dict[str, dict[str, Any]] = {
    "sesr": {},
    "hat": {"embed_dim": 24, "depths": [2], "num_heads": [2], "squeeze_factor": 6},
    "grla": {"num_features": 10, "num_blocks": 2},
    "psrt": {"embed": 16, "num_blocks": 1, "num_steps": 1, "num_heads": 2},
}
OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "soap": SOAP}
AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pieces of a photograph."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels = read_picture(ROOT / "examples" / "astronaut.png").pixels[..., :3]
    for name, (top, left) in {"face": (60, 170), "suit": (300, 200), "flag": (150, 20)}.items():
        piece = np.ascontiguousarray(pixels[top : top + 128, left : left + 128])
        write_picture(Picture(piece), folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def scenes(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A fusion file of the same pieces, whose bands are mixtures of their colours."""
    folder = tmp_path_factory.mktemp("scenes")

    def make(scale: int, bands: int, guide_channels: int, peak: float | None) -> Path:
        path = folder / f"{scale}-{bands}-{guide_channels}.h5"
        keys = ("GT", "LRHSI", "HSI_up", "RGB") if peak is None else ("gt", "ms", "lms", "pan")
        colours = torch.stack(
            [
                torch.from_numpy(read_picture(file).pixels[:32, :32].copy()).permute(2, 0, 1) / 255
                for file in sorted(pictures.iterdir())
            ]
        )
        mixture = torch.rand(bands, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
        gt = torch.einsum("bc,nchw->nbhw", mixture, colours)
        lr = imresize(gt, 1 / scale)
        arrays = (gt, lr, imresize(lr, float(scale)), colours[:, :guide_channels])
        with h5py.File(path, "w") as file:
            for key, array in zip(keys, arrays, strict=True):
                file[key] = array * (peak or 1)
        return path

    return make


def _scaled_down(path: Path, pictures: Path, scenes: Callable[..., Path], output: Path) -> Recipe:
    """The recipe with other data and numbers, and as its own what they do not concern."""
    recipe = load_recipe(path)
    model, data = recipe.model, recipe.data
    with torch.device("meta"):
        network = create_model(model.name, scale=model.scale, **model.overrides)
    overrides = SMALL[network.architecture] | model.overrides
    source, patch = pictures, 12
    if isinstance(network, FusionModel):
        source = scenes(model.scale, network.channels, network.guide_channels, data.peak)
        patch = 16 // model.scale
    changes: dict[str, Any] = {
        "output": output,
        "model.overrides": overrides,
        "data.train": [str(source)] * len(data.train),
        "data.patch_size": patch,
        "data.batch_size": 2,
        "steps": STEPS,
        "log_every": 1,
        "accelerator": "cpu",
        # For a cold cache it costs more than all the rest; it changes nothing that is required.
        "compile": False,
    }
    if data.validation:
        changes["data.validation"] = [str(source)]
    else:
        changes["data.hold_out"] = 1
    if recipe.schedule.milestones:
        changes["schedule.milestones"] = [1]
    if model.init_from:
        changes["model.init_from"] = _start(model.init_from, recipe, overrides, output)
    return load_recipe(
        path, [f"{key}={json.dumps(value, default=str)}" for key, value in changes.items()]
    )


def _start(init_from: str, recipe: Recipe, overrides: dict[str, Any], folder: Path) -> Path:
    """Weights such as those that the recipe starts from; their run's name tells the scale."""
    told = re.search(r"-x(\d)/", init_from)
    scale = int(told[1]) if told else recipe.model.scale
    model = create_model(recipe.model.name, scale=scale, **overrides)
    path = folder / "start.safetensors"
    save_weights(model.deploy(), path, new_card(model, recipe.model.name))
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_of_the_project_trains(
    path: Path,
    pictures: Path,
    scenes: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, recipe = load_recipe(path), _scaled_down(path, pictures, scenes, tmp_path)
    made: list[torch.optim.Optimizer] = []
    create = trainer.create_optimiser

    def create_optimiser(*arguments: Any) -> torch.optim.Optimizer:
        made.append(create(*arguments))
        return made[-1]

    monkeypatch.setattr(trainer, "create_optimiser", create_optimiser)
    data: dict[str, Any] = {}

    def noting(kind: Callable[..., Any]) -> Callable[..., Any]:
        def make(*arguments: Any, **settings: Any) -> Any:
            data.update(settings)
            return kind(*arguments, **settings)

        return make

    for kind in (TrainingSet, FusionSet):
        monkeypatch.setattr(sets, kind.__name__, noting(kind))
    computed: set[str] = set()

    def noting_loss(name: str, loss: Loss) -> Loss:
        def compute(result: Tensor, hr: Tensor, inputs: Sequence[Tensor]) -> Tensor:
            computed.add(name)
            return loss(result, hr, inputs)

        return compute

    each = {name: noting_loss(name, loss) for name, loss in losses.LOSSES.items()}
    monkeypatch.setattr(losses, "LOSSES", each)
    computed_in: set[torch.dtype | None] = set()

    def note_precision(module: nn.Module, *_: object) -> None:
        if module.training and torch.is_grad_enabled():
            autocast = torch.is_autocast_enabled("cpu")
            computed_in.add(torch.get_autocast_dtype("cpu") if autocast else None)

    hook = register_module_forward_hook(note_precision)
    try:
        trainer.train(recipe)
    finally:
        hook.remove()

    folder = tmp_path / whole.name
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [entry for entry in logged if "loss" in entry]
    assert [entry["step"] for entry in steps] == [1, 2]
    assert np.isfinite([entry["loss"] for entry in steps]).all()
    assert np.isfinite([entry["psnr"] for entry in logged if "psnr" in entry]).all()
    assert [entry["learning_rate"] for entry in steps] == pytest.approx(
        [
            whole.optimiser.learning_rate * learning_rate_factor(recipe.schedule, step, STEPS)
            for step in range(STEPS)
        ]
    )
    (optimiser,) = made
    assert type(optimiser) is OPTIMISERS[whole.optimiser.name]
    settings = whole.optimiser.model_dump()
    for key in settings.keys() & optimiser.defaults.keys():
        assert optimiser.defaults[key] == settings[key], key
    assert computed_in == {AUTOCAST[whole.precision]}
    assert computed == {whole.loss}
    for key in {"rounded_lr", "degradation", "augmentation", "downscales"} & data.keys():
        assert data[key] == getattr(whole.data, key), key
    if whole.model.init_from:
        assert next(entry["copied"] for entry in logged if entry.get("event") == "init_from")
    model, card = load_model(folder / "weights.safetensors")
    assert (card.name, card.scale, card.steps) == (whole.model.name, whole.model.scale, STEPS)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
