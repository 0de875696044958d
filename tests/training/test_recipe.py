"""The recipe: what it accepts, and what it says when it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vernier.errors import InputError
from vernier.models.layers import FusionModel
from vernier.training.recipe import Recipe, ScheduleRecipe, load_recipe, parse_recipe
from vernier.training.schedule import learning_rate_factor
from vernier.zoo import create_model

MINIMAL = """\
name: tiny
model: {name: sesr-m3, scale: 2}
data: {train: [pictures], batch_size: 4}
steps: 10
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(MINIMAL)
    return path


def test_overrides_reach_nested_keys(recipe_file: Path) -> None:
    recipe = load_recipe(
        recipe_file, ["optimiser.learning_rate=1e-3", "data.batch_size=8", "compile=true"]
    )
    assert recipe.optimiser.learning_rate == 1e-3
    assert recipe.data.batch_size == 8
    assert recipe.compile is True


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimizer.learning_rate=1", "unknown key 'optimizer', did you mean 'optimiser'?"),
        ("data.patchsize=3", "unknown key 'data.patchsize', did you mean 'patch_size'?"),
        ("optimiser.name=adem", "did you mean 'adam'?"),
        ("steps=0", "'steps': input should be greater than or equal to 1, got 0"),
        ("optimiser.learning_rate=.nan", "learning_rate"),
        ("accumulate=3", "accumulate 3 does not divide data.batch_size 4"),
        ("optimiser={name: soap, amsgrad: true}", "amsgrad belongs to adam"),
        ("optimiser.weight_decay=1e-4", "weight_decay belongs to adamw"),
        ("data={train: [p], degradation: real-world, rounded_lr: true}", "rounded_lr belongs to"),
        ("schedule={name: multi-step}", "multi-step needs milestones"),
        ("schedule={name: multi-step, milestones: [5, 3]}", "milestones must increase"),
        ("steps", "write key=value"),
        ("steps.more=1", "steps is a value"),
    ],
)
def test_a_bad_key_or_value_is_named(recipe_file: Path, override: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(recipe_file, [override])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ssim_needs_patches_of_its_window(recipe_file: Path) -> None:
    with pytest.raises(InputError, match="ssim_weight needs HR patches of 11 pixels"):
        load_recipe(recipe_file, ["ssim_weight=0.1", "data.patch_size=5"])
    assert load_recipe(recipe_file, ["ssim_weight=0.1", "data.patch_size=6"]).ssim_weight == 0.1


def test_a_missing_key_is_named() -> None:
    with pytest.raises(InputError, match="'steps' is missing"):
        parse_recipe(
            {"name": "x", "model": {"name": "a", "scale": 2}, "data": {"train": ["."]}}, "r"
        )


@pytest.mark.parametrize("content", ["", "a: [", "just words"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"recipe\.yaml"):
        load_recipe(path)


def test_a_resolved_recipe_reads_back_the_same(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


_RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", _RECIPES, ids=lambda p: p.stem)
def test_a_recipe_of_the_project_is_valid_and_its_network_can_be_built(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    with torch.device("meta"):
        model = create_model(recipe.model.name, scale=recipe.model.scale, **recipe.model.overrides)
    assert model.scale == recipe.model.scale
    assert isinstance(model, FusionModel) == recipe.data.train[0].endswith(".h5")


def test_there_are_recipes_of_every_system() -> None:
    assert {"sesr", "hat", "grla", "psrt"} <= {path.stem.split("-")[0] for path in _RECIPES}


class TestSchedule:
    def test_constant(self) -> None:
        schedule = ScheduleRecipe(name="constant")
        assert [learning_rate_factor(schedule, step, 10) for step in range(10)] == [1.0] * 10

    def test_cosine_falls_from_one_to_its_minimum(self) -> None:
        schedule = ScheduleRecipe(name="cosine", minimum=0.1)
        factors = [learning_rate_factor(schedule, step, 100) for step in range(101)]
        assert factors[0] == 1.0
        assert factors[50] == pytest.approx(0.55)
        assert factors[100] == pytest.approx(0.1)
        assert sorted(factors, reverse=True) == factors

    def test_warm_up_rises_linearly(self) -> None:
        schedule = ScheduleRecipe(name="constant", warmup_steps=4)
        factors = [learning_rate_factor(schedule, step, 10) for step in range(5)]
        assert factors == [0.25, 0.5, 0.75, 1.0, 1.0]

    def test_multi_step_drops_at_each_milestone(self) -> None:
        schedule = ScheduleRecipe(name="multi-step", milestones=[3, 6], gamma=0.5)
        factors = [learning_rate_factor(schedule, step, 10) for step in (2, 3, 5, 6, 9)]
        assert factors == [1.0, 0.5, 0.5, 0.25, 0.25]

    def test_a_restart_runs_over_the_steps_that_are_left(self) -> None:
        schedule = ScheduleRecipe(name="cosine", start_step=50)
        assert learning_rate_factor(schedule, 50, 150) == 1.0
        assert learning_rate_factor(schedule, 100, 150) == pytest.approx(0.5)
