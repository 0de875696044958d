"""Optimisation steps: forms of the network, precisions, compilation, optimisers, and the loader."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import Limits, limit_contestants, measured_limits
from benchmarks.material import MODEL, SCALE, Settings, photograph, require
from benchmarks.report import Column, Section, Table
from benchmarks.timing import Timing, interleave, timing_of
from vernier.data.folders import list_pictures
from vernier.data.training_set import TrainingSet
from vernier.io import Picture, write_picture
from vernier.models.sesr import SESR
from vernier.training.recipe import parse_recipe
from vernier.training.soap import SOAP
from vernier.training.trainer import train
from vernier.zoo import create_model

__all__ = ["run"]

Form = Literal["expanded", "collapsed", "deployed"]
Precision = Literal["fp32", "bf16"]
Optimiser = Literal["adam", "soap"]

# SOAP refreshes its bases every tenth step: timing ten at once gives each turn its share.
_STEPS_AT_ONCE = {"adam": 1, "soap": 10}
_TURN = 0.5
# Relative difference of the first loss.
_ALLOWED = {"fp32": 1e-5, "bf16": 1e-3}
_PROFILED = 20
_TOP = 10


@dataclass(frozen=True)
class _Setting:
    form: Form
    precision: Precision
    compiled: bool
    optimiser: Optimiser
    channels_last: bool = False

    @property
    def execution(self) -> str:
        layout = ", channels last" if self.channels_last else ""
        return ("compiled" if self.compiled else "eager") + layout

    @property
    def name(self) -> str:
        return f"{self.form}, {self.precision}, {self.execution}, {self.optimiser}"

    def recipe(self) -> dict[str, Any]:
        return {
            "model": {"name": MODEL, "scale": SCALE, "form": self.form},
            "precision": self.precision,
            "compile": self.compiled,
            "optimiser": {"name": self.optimiser},
        }


def run(settings: Settings) -> Section:
    batch, side = (2, 16) if settings.quick else (16, 64)
    folder = settings.data or _made_pictures(settings.folder / "pictures", settings.quick)
    data = TrainingSet(list_pictures([folder]), scale=SCALE, colour="luma", patch_size=side)
    batches = map(lambda step: data.batch(seed=0, step=step, batch_size=batch), itertools.count())
    lr, hr = next(batches)
    every = list(_settings(quick=settings.quick))
    steps = {setting: _step(setting, lr, hr) for setting in every}
    differences = _checked_losses(steps)
    timings = interleave(
        {
            "loader": lambda: next(batches),
            **{setting.name: _repeated(setting, step) for setting, step in steps.items()},
            **limit_contestants(quick=settings.quick),
        },
        repeats=settings.repeats,
        turn=0 if settings.quick else _TURN,
    )
    limits = measured_limits(timings, quick=settings.quick)
    trained = [
        _Setting("collapsed", "fp32", False, "adam"),
        # As the recipes of the shipped models are.
        _Setting("deployed", "bf16", not settings.quick, "soap"),
    ]
    notes = [
        f"{MODEL} x{SCALE}, batches of {batch} crops of {side}x{side} LR pixels, "
        f"{settings.threads} threads. A step is forward, L1 loss, backward, update, and the moving "
        "average of the weights. The three forms are explained in `vernier.models.sesr`; expanded "
        "and collapsed have the same weights, so that SOAP costs both the same. Channels last "
        "means the weights' memory format, which the feature maps follow.",
        f"Crops from {data.num_pictures} pictures"
        + ("." if settings.data else ", all made from the example photograph."),
    ]
    if settings.quick:
        notes.append("`--quick` leaves out what torch must compile.")
    return Section(
        "Training",
        notes,
        [
            _step_table(differences, timings, limits, lr, hr),
            _loader_table(timings["loader"], batch),
            _train_table(trained, timings, settings, folder, (batch, side)),
            _profile_table(trained[-1], lr, hr),
            limits.table,
        ],
    )


def _settings(*, quick: bool) -> Iterator[_Setting]:
    for form, precision, compiled in itertools.product(
        get_args(Form), get_args(Precision), (False,) if quick else (False, True)
    ):
        yield _Setting(form, precision, compiled, "adam")
        if form != "expanded":
            yield _Setting(form, precision, compiled, "soap")
        if form == "deployed":
            yield _Setting(form, precision, compiled, "adam", channels_last=True)


def _made_pictures(folder: Path, quick: bool) -> Path:
    """As many megapixels as a small training set, so that crops come from memory, not cache."""
    folder.mkdir()
    pixels = photograph(*((128, 256) if quick else (1440, 2560)))
    for index in range(2 if quick else 8):
        turned = pixels[::-1] if index % 2 else pixels
        write_picture(Picture(turned.copy()), folder / f"{index}.png", compression=0)
    return folder


def _model(form: Form) -> SESR:
    torch.manual_seed(0)
    model = create_model(MODEL, scale=SCALE)
    assert isinstance(model, SESR)
    if form == "deployed":
        model = model.deploy()
    else:
        model.form = form
    return model.train()


def _step(setting: _Setting, lr: Tensor, hr: Tensor) -> Callable[[], Tensor]:
    """One optimisation step as `vernier.training.trainer` does it, on the same batch each time.

    Returns its loss.
    """
    model = _model(setting.form)
    if setting.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = list(model.parameters())
    averages: list[Tensor] = list(copy.deepcopy(model).parameters())
    network: Callable[[Tensor], Tensor] = (
        torch.compile(model, fullgraph=True) if setting.compiled else model
    )
    optimiser: torch.optim.Optimizer = (
        SOAP(parameters, lr=1e-4)
        if setting.optimiser == "soap"
        else torch.optim.Adam(parameters, lr=1e-4, foreach=True)
    )

    def step() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=setting.precision == "bf16"):
            output = network(lr)
        loss = (output.float() - hr).abs().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(averages, list[Tensor](parameters), 0.001)
        return loss.detach()

    return step


def _checked_losses(steps: dict[_Setting, Callable[[], Tensor]]) -> dict[_Setting, float]:
    """How far, relatively, each first loss is from the first of them: from the same seed, all
    forms are the same function."""
    losses = {setting: float(step()) for setting, step in steps.items()}
    reference = next(iter(losses.values()))
    return {
        setting: require(
            f"the loss of {setting.name}",
            abs(loss - reference) / reference,
            _ALLOWED[setting.precision],
        )
        for setting, loss in losses.items()
    }


def _repeated(setting: _Setting, step: Callable[[], Tensor]) -> Callable[[], None]:
    def steps() -> None:
        for _ in range(_STEPS_AT_ONCE[setting.optimiser]):
            step()

    return steps


def _per_step(setting: _Setting, timings: dict[str, Timing]) -> Timing:
    timing, steps = timings[setting.name], _STEPS_AT_ONCE[setting.optimiser]
    return Timing(timing.median / steps, timing.fastest / steps, timing.slowest / steps)


def _step_flops(model: nn.Module, lr: Tensor, hr: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        (model(lr) - hr).abs().mean().backward()
    return int(counter.get_total_flops())


def _step_table(
    differences: dict[_Setting, float],
    timings: dict[str, Timing],
    limits: Limits,
    lr: Tensor,
    hr: Tensor,
) -> Table:
    flops = {form: _step_flops(_model(form), lr, hr) for form in get_args(Form)}
    rows = []
    for setting, difference in differences.items():
        seconds = _per_step(setting, timings)
        reached = flops[setting.form] / seconds.median
        rows.append(
            {
                **asdict(setting),
                "execution": setting.execution,
                "seconds": asdict(seconds),
                "rate": 1 / seconds.median,
                "gflop": flops[setting.form] / 1e9,
                "gflops": reached / 1e9,
                "share": reached / limits.product[setting.precision],
                "difference": difference,
            }
        )
    columns = [
        Column("form", "form"),
        Column("precision", "precision"),
        Column("execution", "torch"),
        Column("optimiser", "optimiser"),
        Column("seconds", "ms per step", "milliseconds"),
        Column("rate", "steps/s", "number"),
        Column("gflop", "GFLOP per step", "number"),
        Column("gflops", "GFLOP/s", "number"),
        Column("share", "of the matrix product's", "percent"),
    ]
    title = "Steps alone (GFLOP of forward and backward, as the form executes them)"
    return Table(title, columns, rows)


def _loader_table(timing: Timing, batch: int) -> Table:
    rows = [{"name": f"batch of {batch}", "seconds": asdict(timing), "rate": batch / timing.median}]
    columns = [
        Column("name", "`TrainingSet.batch`"),
        Column("seconds", "ms", "milliseconds"),
        Column("rate", "crops/s", "number"),
    ]
    return Table("The loader alone", columns, rows)


def _train_table(
    trained: list[_Setting],
    timings: dict[str, Timing],
    settings: Settings,
    pictures: Path,
    sizes: tuple[int, int],
) -> Table:
    """Whole `train` runs in turns; each logs its pace and how long it waited for batches."""
    intervals: dict[_Setting, list[dict[str, float]]] = {setting: [] for setting in trained}
    for turn, setting in itertools.product(range(min(settings.repeats, 3)), trained):
        name = f"{trained.index(setting)}-{turn}"
        intervals[setting] += _train(setting, name, settings, pictures, sizes)
    rows = []
    for setting, logged in intervals.items():
        seconds = timing_of([line["seconds_per_step"] for line in logged])
        waits = timing_of([line["data_wait_share"] for line in logged])
        alone = _per_step(setting, timings).median
        rows.append(
            {
                "name": setting.name,
                "seconds": asdict(seconds),
                "rate": 1 / seconds.median,
                "wait": waits.median,
                "slower": seconds.median / alone,
            }
        )
    columns = [
        Column("name", "recipe"),
        Column("seconds", "ms per step", "milliseconds"),
        Column("rate", "steps/s", "number"),
        Column("wait", "of it waiting for the loader", "percent"),
        Column("slower", "time against the step alone", "ratio"),
    ]
    return Table("`vernier train`, without validation and saving", columns, rows)


def _train(
    setting: _Setting, name: str, settings: Settings, pictures: Path, sizes: tuple[int, int]
) -> list[dict[str, float]]:
    """What a run logged of each interval but the first, which compiles."""
    batch, side = sizes
    every, steps = (2, 4) if settings.quick else (50, 250)
    recipe = setting.recipe() | {
        "name": name,
        "output": str(settings.folder / "runs"),
        "data": {
            "train": [str(pictures)],
            "hold_out": 1,
            "patch_size": side,
            "batch_size": batch,
        },
        "steps": steps,
        "log_every": every,
        "accelerator": "cpu",
    }
    result = train(parse_recipe(recipe, "benchmark"))
    lines = (result.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [line for line in map(json.loads, lines) if "seconds_per_step" in line]
    return logged[1:]


def _profile_table(setting: _Setting, lr: Tensor, hr: Tensor) -> Table:
    step = _step(setting, lr, hr)
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(_PROFILED):
            step()
    events = sorted(
        profiler.key_averages(), key=lambda event: event.self_cpu_time_total, reverse=True
    )
    total = sum(event.self_cpu_time_total for event in events)
    rows = [
        {
            "name": event.key,
            "calls": event.count / _PROFILED,
            "milliseconds": event.self_cpu_time_total / _PROFILED / 1e3,
            "share": event.self_cpu_time_total / total,
        }
        for event in events[:_TOP]
    ]
    columns = [
        Column("name", "operation"),
        Column("calls", "calls per step", "number"),
        Column("milliseconds", "own ms per step", "number"),
        Column("share", "share", "percent"),
    ]
    return Table(f"Where a step goes ({setting.name}), by torch's profiler", columns, rows)
