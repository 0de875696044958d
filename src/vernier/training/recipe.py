"""The recipe: one YAML file that defines a training run, validated before anything starts."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from vernier.errors import InputError
from vernier.io.files import reason_of, shown

__all__ = [
    "DataRecipe",
    "ModelRecipe",
    "OptimiserRecipe",
    "Recipe",
    "ScheduleRecipe",
    "Strict",
    "apply_override",
    "beside",
    "flatten",
    "load_recipe",
    "parse_recipe",
    "read_values",
    "set_value",
    "validate",
    "with_paths",
]

PositiveInt = Annotated[int, Field(ge=1, lt=2**53)]
NonNegativeInt = Annotated[int, Field(ge=0, lt=2**53)]
# Beyond these no number of a recipe means anything, and what computes with them overflows.
PositiveFloat = Annotated[float, Field(gt=0, le=1e30)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
# No architecture has as many blocks, channels or heads; building one would not end.
_LARGEST_OVERRIDE = 10_000
# Bytes; file systems take 255, of which temporary names need some.
_LONGEST_NAME = 200
# A recipe has some 2 kB and three levels.
_LARGEST_FILE = 2**20
_DEEPEST = 20
_MOST_VALUES = 100_000


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Validated = TypeVar("Validated", bound=Strict)


class ModelRecipe(Strict):
    """What is trained."""

    name: str
    """A name of `vernier models`, or ``package.module:Class``, a network of your own."""
    scale: PositiveInt
    overrides: dict[str, Any] = {}
    """Constructor arguments that differ from the name's."""
    form: Literal["collapsed", "expanded", "deployed"] = "collapsed"
    """How linear blocks train: multiplied out in each step, as two convolutions, or as the plain
    convolutions that remain after collapsing."""
    init_from: str | None = None
    """Start from these weights or this checkpoint (same width; another scale or depth is fine)."""

    @field_validator("overrides")
    @classmethod
    def _buildable(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        for key, value in overrides.items():
            numbers = value if isinstance(value, list) else [value]
            for number in numbers:
                if isinstance(number, int) and abs(number) > _LARGEST_OVERRIDE:
                    raise ValueError(
                        f"{key} is above {_LARGEST_OVERRIDE:,}; no network has so many"
                    )
        return overrides


class DataRecipe(Strict):
    """What it is trained on: photographs, or hyperspectral scenes where the model fuses cubes."""

    train: list[str]
    """Folders of HR pictures, searched recursively; LR is made from them. For fusion: HDF5 files
    of ``vernier data fusion``, whole scenes or patches."""
    peak: PositiveFloat | None = None
    """Fusion: the value of the files that stands for 1, where they do not say (PanCollection: 2047
    or 1023)."""
    weights: list[PositiveFloat] = []
    """How often a pixel of each folder or file is drawn, relative to the others; empty: alike.
    Where an override replaces ``train`` alone by another number of folders, they weigh alike."""
    skip_broken: bool = False
    """Train and validate without pictures that cannot be read, and name them in ``data.json``;
    false: name all of them and stop before training."""
    downscales: list[Annotated[float, Field(gt=0, le=1)]] = [1.0]
    """Each picture enters at these sizes: a reduced one is sharper and freer of JPEG traces."""
    validation: list[str] = []
    """Folders or files to validate on. Empty: pictures or scenes held out of ``train``."""
    hold_out: NonNegativeInt = 0
    """How many training pictures or scenes, evenly spread, are kept for validation instead."""
    patch_size: PositiveInt = 64
    """Side of the LR crop in pixels."""
    batch_size: PositiveInt = 16
    """Crops in an optimisation step, over all devices and accumulation steps."""
    rounded_lr: bool = False
    """LR rounded to 8 bits, as the benchmarks' files are."""
    degradation: Literal["bicubic", "real-world"] = "bicubic"
    """How LR come about: MATLAB's bicubic, or blur, resize, noise and JPEG, all of it twice, drawn
    anew in each step."""
    augmentation: Literal["dihedral", "horizontal", "none"] = "dihedral"
    """Flips and turns of the crops: all eight, mirroring alone, or none."""

    @model_validator(mode="after")
    def _validation_exists(self) -> DataRecipe:
        if self.validation and self.hold_out:
            raise ValueError("give validation folders or hold_out, not both")
        if not self.train:
            raise ValueError("train names no folder")
        if self.rounded_lr and self.degradation != "bicubic":
            raise ValueError("rounded_lr belongs to the bicubic degradation; others always round")
        if not self.downscales:
            raise ValueError("downscales is empty; [1.0] takes the pictures as they are")
        if self.weights and len(self.weights) != len(self.train):
            raise ValueError(f"{len(self.weights)} weights for {len(self.train)} train folders")
        return self


class OptimiserRecipe(Strict):
    """How the weights move."""

    name: Literal["adam", "adamw", "soap"] = "adam"
    learning_rate: PositiveFloat = 5e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    amsgrad: bool = False
    """Adam's non-increasing variant, as the SESR authors use it."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """AdamW: the share of each weight that a step at learning rate 1 takes away."""
    precondition_every: PositiveInt = 10
    """SOAP: steps between refreshments of the eigenbases."""

    @model_validator(mode="after")
    def _consistent(self) -> OptimiserRecipe:
        if self.amsgrad and self.name != "adam":
            raise ValueError("amsgrad belongs to adam")
        if self.weight_decay and self.name != "adamw":
            raise ValueError("weight_decay belongs to adamw")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), got {self.betas}")
        return self


class ScheduleRecipe(Strict):
    """The learning rate over the steps, as a factor of ``optimiser.learning_rate``."""

    name: Literal["constant", "multi-step", "cosine"] = "cosine"
    warmup_steps: NonNegativeInt = 0
    """Linear rise from zero."""
    milestones: list[PositiveInt] = []
    """Multi-step: steps at which the factor is multiplied by ``gamma``."""
    gamma: PositiveFloat = 0.5
    minimum: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Cosine: the factor it ends at."""
    start_step: NonNegativeInt = 0
    """Where the schedule begins: set it to the present step to restart it in a resumed run."""

    @model_validator(mode="after")
    def _milestones_belong(self) -> ScheduleRecipe:
        if self.name == "multi-step" and not self.milestones:
            raise ValueError("multi-step needs milestones")
        if self.name != "multi-step" and self.milestones:
            raise ValueError(f"milestones belong to multi-step, not to {self.name}")
        if sorted(set(self.milestones)) != self.milestones:
            raise ValueError(f"milestones must increase, got {self.milestones}")
        return self


class Recipe(Strict):
    """Everything that defines a training run."""

    name: str
    """Name of the run; its folder is ``output / name``."""
    output: str = "runs"
    model: ModelRecipe
    data: DataRecipe
    optimiser: OptimiserRecipe = OptimiserRecipe()
    schedule: ScheduleRecipe = ScheduleRecipe()
    steps: PositiveInt
    loss: Literal["l1", "l2", "charbonnier"] = "l1"
    ssim_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Times 1 - SSIM, added to the loss; SSIM as the metric, but neither rounded nor cropped."""
    accumulate: PositiveInt = 1
    """Micro-batches that make up one step."""
    clip_gradient_norm: PositiveFloat | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = 0.999
    """Decay of the moving average of the weights, which is what is validated and kept."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """bf16, fp16: autocast; weights, input and loss stay in float32. fp16 scales the gradients and
    leaves out the steps in which they overflow."""
    channels_last: bool = True
    compile: bool = False
    seed: Seed = 0
    devices: PositiveInt = 1
    """Processes on this machine; several machines through torchrun."""
    num_nodes: PositiveInt = 1
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    log_every: PositiveInt = 100
    validate_every: PositiveInt = 1000
    checkpoint_every: PositiveInt = 1000
    log_images: NonNegativeInt = 2
    """Validation pictures shown in TensorBoard."""

    @field_validator("name", "output")
    @classmethod
    def _names_a_folder(cls, path: str) -> str:
        if not path.isprintable():
            raise ValueError("a folder cannot have this name; use letters, digits and - _ .")
        if any(len(part.encode()) > _LONGEST_NAME for part in Path(path).parts):
            raise ValueError(f"the name is too long; use at most {_LONGEST_NAME} bytes")
        return path

    @field_validator("name")
    @classmethod
    def _stays_in_output(cls, name: str) -> str:
        path = Path(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError("the run's folder must lie inside of output; give it a plain name")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.ssim_weight and self.data.patch_size * self.model.scale < 11:
            raise ValueError("ssim_weight needs HR patches of 11 pixels; raise data.patch_size")
        if self.data.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate {self.accumulate} does not divide data.batch_size "
                f"{self.data.batch_size}"
            )
        return self


# What a resumed run may change; everything else would make it another run.
RESUMABLE = frozenset(
    {
        "optimiser.learning_rate",
        "schedule",
        "steps",
        "devices",
        "num_nodes",
        "accelerator",
        "log_every",
        "validate_every",
        "checkpoint_every",
        "log_images",
        "compile",
    }
)


def load_recipe(
    source: str | Path | Mapping[str, Any] | Recipe, overrides: Sequence[str] = ()
) -> Recipe:
    """A recipe from a YAML file or from nested keys, with ``key=value`` overrides.

    Data that a file names are looked for in the working directory, then beside the file.

    Args:
        source: a file; or its keys as a mapping, in which paths may be `Path`; or a recipe.
        overrides: dotted keys, values in YAML: "optimiser.learning_rate=1e-3".

    Raises:
        InputError: no such file, not YAML, or a key or value that does not fit; the message names
            the key, the place and the nearest valid name.

    Example:
        >>> values = {
        ...     "name": "run",
        ...     "model": {"name": "sesr-m5", "scale": 2},
        ...     "data": {"train": ["pictures"]},
        ...     "steps": 1000,
        ... }
        >>> recipe = load_recipe(values, ["steps=500", "data.batch_size=8"])
        >>> recipe.steps, recipe.data.batch_size, recipe.loss
        (500, 8, 'l1')
        >>> load_recipe(values, ["optimizer.eps=1e-7"])
        Traceback (most recent call last):
        vernier.errors.InputError: recipe: unknown key 'optimizer', did you mean 'optimiser'?
    """
    if isinstance(source, Recipe):
        if not overrides:
            return source
        values, origin = source.model_dump(mode="json"), source.name
    elif isinstance(source, Mapping):
        values, origin = _plain(source), "recipe"
    else:
        values, origin = read_values(source), str(source)
    before = _number_of_folders(values)
    for override in overrides:
        apply_override(values, override)
    overridden = {override.partition("=")[0] for override in overrides}
    if _number_of_folders(values) != before and "data.weights" not in overridden:
        # They spoke of the folders that were replaced.
        values["data"].pop("weights", None)
    recipe = parse_recipe(values, origin)
    return recipe if isinstance(source, Mapping | Recipe) else with_paths(recipe, Path(source))


def beside(path: str, *files: Path) -> str:
    """A path from the working directory, or from the folder of the file that names it.

    It stays as it is where it is found, and where it is found nowhere.
    """
    places = [path, *(str(file.parent / path) for file in files)]
    # Of a name that no file can have, this says that it is not there.
    return next((place for place in places if os.path.lexists(place)), path)


def with_paths(recipe: Recipe, *files: Path) -> Recipe:
    """The same with its data found `beside` the files that name them."""
    data = recipe.data
    found = {
        "train": [beside(path, *files) for path in data.train],
        "validation": [beside(path, *files) for path in data.validation],
    }
    return recipe.model_copy(update={"data": data.model_copy(update=found)})


def _number_of_folders(values: Mapping[str, Any]) -> int | None:
    data = values.get("data")
    train = data.get("train") if isinstance(data, dict) else None
    return len(train) if isinstance(train, list) else None


def _plain(values: Any) -> Any:
    """A copy as YAML would have been read: dicts, lists, and text for paths."""
    if isinstance(values, Mapping):
        return {key: _plain(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_plain(value) for value in values]
    return str(values) if isinstance(values, Path) else values


def read_values(path: str | Path) -> dict[str, Any]:
    """The keys of a YAML file, not validated.

    Raises:
        InputError: no such file, not YAML, or no keys.
    """
    path = Path(path)
    name = shown(path)
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{name}: is a folder or a device, not a recipe; see recipes/")
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(f"{name}: is too large for a recipe; see recipes/ for examples")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {name}: {reason_of(error)}") from error
    values = _from_yaml(text, name, "see recipes/ for examples")
    if not isinstance(values, dict):
        raise InputError(f"{name} holds no keys; see recipes/ for examples")
    return values


def _from_yaml(text: str, what: str, cure: str) -> Any:
    """What YAML says, of a depth and an extent that all that follows can walk through."""
    try:
        values = yaml.safe_load(text)
    except RecursionError:
        raise InputError(f"{what} is nested too deeply; {cure}") from None
    # A number of thousands of digits, or a date of the thirteenth month, is a ValueError.
    except (yaml.YAMLError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise InputError(f"{what} is not YAML{line}; {cure}") from error
    waiting, count = [(values, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        # Aliases may repeat a part without end.
        if depth > _DEEPEST or count > _MOST_VALUES:
            raise InputError(f"{what} is nested too deeply; {cure}")
        if isinstance(value, dict | list):
            inner = value.values() if isinstance(value, dict) else value
            waiting += [(each, depth + 1) for each in inner]
    return values


def parse_recipe(values: dict[str, Any], origin: str) -> Recipe:
    """Validate plain values; ``origin`` names them in the error."""
    return validate(Recipe, values, origin)


def validate(kind: type[Validated], values: dict[str, Any], origin: str) -> Validated:
    """Plain values as one of the strict models; problems in one line that names ``origin``."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_explain(kind, dict(problem)) for problem in error.errors())
        raise InputError(f"{origin}: {problems}") from error


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set what ``key=value`` says: a dotted key, a value in YAML.

    Raises:
        InputError: it cannot be read, or a value stands where the key wants keys.
    """
    key, sign, value = override.partition("=")
    if not sign or not key:
        raise InputError(f"cannot read {override!r}: write key=value, as in optimiser.eps=1e-8")
    set_value(values, key, _from_yaml(value, f"the value of {key}", "write it as in recipes/"))


def set_value(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key; errors as `apply_override`."""
    *parents, last = key.split(".")
    target = values
    for parent in parents:
        inner = target.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise InputError(f"{key}: {parent} is a value, it has no keys inside")
        target = inner
    target[last] = value


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones; an empty mapping is a value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _explain(kind: type[BaseModel], problem: dict[str, Any]) -> str:
    """One of pydantic's findings as a phrase that says where, what, and what to write instead."""
    location = [str(part) for part in problem["loc"]]
    where = ".".join(location)
    if problem["type"] == "extra_forbidden":
        known = _fields_at(kind, location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        return f"unknown key {where!r}, {hint}"
    if problem["type"] == "missing":
        return f"{where!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = problem["input"]
    if isinstance(given, str | int | float | bool):
        # A number of thousands of digits has no text.
        long = isinstance(given, int) and given.bit_length() > 400
        message += ", got a huge number" if long else f", got {given!r}"
        expected = problem.get("ctx", {}).get("expected")
        if isinstance(given, str) and isinstance(expected, str):
            choices = expected.replace("'", "").replace(" or ", ", ").split(", ")
            near = difflib.get_close_matches(given, choices, n=1)
            message += f"; did you mean {near[0]!r}?" if near else ""
    return f"{where!r}: {message}" if where else message


def _fields_at(model: type[BaseModel], location: list[str]) -> list[str]:
    for part in location:
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return list(model.model_fields)
