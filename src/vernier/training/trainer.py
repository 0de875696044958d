"""The training loop: short, resumable to the bit, and the same for one process or many.

    recipe -> network, data, loss, optimiser
    [ batch -> loss -> gradient -> optimiser -> moving average ]  x steps
    now and then: validation of the average, checkpoint, logs
    best average, deployed -> weights.safetensors

What is trained on (`sets`), what the gradient is of (`losses`) and where a run tells how it goes
(`logs`) can each be replaced by the caller's own.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vernier.devices import available_memory, memory_errors, peak_memory
from vernier.errors import InputError, VernierError
from vernier.models.layers import Model
from vernier.progress import Progress
from vernier.training.averaging import MovingAverage
from vernier.training.interrupts import InterruptedRun, Signals, watched_signals
from vernier.training.launch import claim, launch
from vernier.training.logs import ConsoleLog, Log, Logs, ResumeLog, default_logs, in_words, opened
from vernier.training.losses import Loss, create_loss
from vernier.training.network import create_network
from vernier.training.optimisers import create_optimiser
from vernier.training.recipe import Recipe, load_recipe
from vernier.training.run_folder import RunFolder, environment
from vernier.training.schedule import learning_rate_factor
from vernier.training.sets import Crops, TrainingData, load_data, own_data
from vernier.zoo import new_card, save_weights
from vernier.zoo.complexity import complexity, summary

__all__ = ["TrainingError", "TrainingResult", "train"]

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingError(VernierError):
    """Training cannot go on."""


@dataclass(frozen=True)
class TrainingResult:
    """What a run left: its folder, the steps done, and the best validation PSNR in dB.

    Every process of a run returns one; ``leader`` marks the one that should speak.
    """

    folder: Path
    steps: int
    best_psnr: float
    leader: bool

    @property
    def validated(self) -> bool:
        """Whether there was anything to validate on."""
        return math.isfinite(self.best_psnr)


@memory_errors()
def train(
    recipe: Recipe | str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    data: Crops | TrainingData | None = None,
    loss: Loss | None = None,
    logs: Sequence[Log] | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train what the recipe says.

    Args:
        recipe: the run, its file, or the file's keys; see `vernier.training.recipe.Recipe`.
        overrides: ``key=value`` with dotted keys, such as "optimiser.learning_rate=1e-3".
        resume: continue the run of this name from its last checkpoint. On a CPU the result is
            bit-equal to that of a run that was never interrupted.
        data: instead of reading ``data.train``, which then only names the data for people; also
            validated on ``data.validation``, unless it is a `TrainingData` with its own.
        loss: instead of the recipe's ``loss`` and ``ssim_weight``.
        logs: instead of `default_logs`; to add one, give ``[*default_logs(), MyLog()]``.
        progress: called while pictures are read, and then with the steps that are done.

    Returns:
        Where the run lies, and how well it did.

    Raises:
        InputError: data, weights or recipe do not fit together.
        TrainingError: the loss is no longer finite; the last checkpoint is from before.
        InterruptedRun: Ctrl-C or SIGTERM came; a checkpoint was written, and with ``resume`` the
            run goes on as if nothing had happened. In other threads than the main one signals are
            not watched.
        MemoryError: the host or the card has too little memory; lower data.batch_size.
        MissingPackageError: the extra "train" is not installed.

    Example:
        >>> import tempfile
        >>> class Stripes:
        ...     def batch(self, *, seed, step, batch_size, part=slice(None)):
        ...         source = torch.Generator().manual_seed(seed + step)
        ...         row = torch.rand(batch_size, 1, 1, 16, generator=source)
        ...         hr = row.expand(-1, -1, 16, -1)[part]
        ...         return nn.functional.avg_pool2d(hr, 2), hr
        >>> recipe = {
        ...     "name": "stripes",
        ...     "model": {"name": "sesr-m3", "scale": 2},
        ...     "data": {"train": ["stripes"], "patch_size": 8, "batch_size": 2},
        ...     "steps": 2,
        ... }
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = train(recipe, [f"output={folder}"], data=Stripes())
        ...     result.steps, sorted(path.name for path in result.folder.glob("weights.*"))
        (2, ['weights.json', 'weights.safetensors'])
    """
    recipe = load_recipe(recipe, overrides)
    if logs is None:
        # In a terminal a progress bar tells the same.
        barred = progress is not None and sys.stderr.isatty()
        logs = [*default_logs(console=False), ResumeLog() if barred else ConsoleLog()]
    fabric = launch(recipe)
    folder = RunFolder(Path(recipe.output) / recipe.name)
    changed = claim(folder, recipe, fabric, resume=resume)
    if fabric.global_rank != 0:
        logs, progress = [], None

    torch.manual_seed(recipe.seed)
    model, copied = create_network(recipe)
    model = model.to(fabric.device)
    if data is None:
        _check_batch(recipe, model, fabric)
        data = load_data(recipe.data, model, device=fabric.device, progress=progress)
    elif not isinstance(data, TrainingData):
        data = own_data(data, recipe.data, model, seed=recipe.seed)
    loss = create_loss(recipe) if loss is None else loss
    if isinstance(loss, nn.Module):
        loss = loss.to(fabric.device)
    run = _Run(recipe, folder, fabric, model, data, loss, progress)
    if resume:
        run.restore()
    run.try_one_crop()
    if run.leader:
        # Only now: what cannot be read must not leave a folder behind.
        folder.open(recipe)
        run.describe()
    with opened(logs, folder, recipe, run.step) as log:
        if resume:
            log.event(run.step, "resume", {"changed": changed})
        elif copied:
            log.event(run.step, "init_from", {"copied": copied})
        with watched_signals() as signals:
            run.loop(log, signals)
    if run.leader:
        run.write_weights()
    fabric.barrier()
    return TrainingResult(folder.path, run.step, run.best_psnr, run.leader)


class _Run:
    """What a run consists of, and what changes in it: weights, averages, moments, the step."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        fabric: Any,
        model: Model,
        data: TrainingData,
        loss: Loss,
        progress: Progress | None,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.fabric = fabric
        self.leader: bool = fabric.global_rank == 0
        self.device: torch.device = fabric.device
        self.model = model
        self.data = data
        self.validation = data.validation
        self.loss = loss
        self.progress = progress
        self.optimiser = create_optimiser(model, recipe.optimiser)
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False)
        # Scales and unscales in fp16 alone.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "fp16")
        self.step = 0
        self.best_psnr = -math.inf
        # The losses since the last line of the log, and where they begin.
        self.loss_sum = torch.zeros((), device=self.device)
        self.since = 0

    def restore(self) -> None:
        """Continue from the last checkpoint, if the run got so far."""
        if not self.fabric.broadcast(self.folder.last.exists()):
            return
        state = self.folder.load_checkpoint(self.folder.last)
        if state["data_sha256"] != self.data.fingerprint.sha256:
            raise InputError(
                "the training data are not those that the run started with; "
                "restore them, or start another run"
            )
        self.model.load_state_dict(state["weights"])
        self.averaged.load_state_dict(state["ema"] or state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.step, self.best_psnr = state["step"], state["best_psnr"]
        self.since = self.step
        # Of one process' losses alone; checkpoints from before it was kept have none.
        if self.fabric.world_size == 1 and "loss_sum" in state:
            self.since = state["since"]
            self.loss_sum.copy_(state["loss_sum"])
        if self.step >= self.recipe.steps and self.folder.finished:
            raise InputError(
                f"{self.folder.path} is finished: all {self.recipe.steps} steps are done; raise "
                "steps=... to go on"
            )

    def save(self, path: Path) -> None:
        """All that `restore` needs, and what `vernier.load_model` needs to know."""
        if not self.leader:
            return
        choice = self.recipe.model
        state = {
            "model": {"name": choice.name, "scale": choice.scale, **choice.overrides},
            "deployed": choice.form == "deployed",
            "step": self.step,
            "best_psnr": self.best_psnr,
            "since": self.since,
            "loss_sum": self.loss_sum,
            "weights": self.model.state_dict(),
            "ema": self.averaged.state_dict() if self.recipe.ema else None,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "data_sha256": self.data.fingerprint.sha256,
            "recipe": self.recipe.model_dump(mode="json"),
        }
        self.folder.save_checkpoint(path, state)

    @torch.no_grad()
    def try_one_crop(self) -> None:
        """Hear now what the network or the loss refuses."""
        crops = self.data.crops.batch(seed=self.recipe.seed, step=0, batch_size=1)
        *inputs, hr = (crop.to(self.device) for crop in crops)
        try:
            result = self._forward(self.averaged, inputs)
            if result.shape != hr.shape:
                raise ValueError(
                    f"it makes {tuple(result.shape)} of what should be {tuple(hr.shape)}"
                )
            self.loss(result, hr, inputs)
        except ValueError as error:
            raise InputError(f"{self.recipe.model.name} cannot train so: {error}") from error

    def describe(self) -> None:
        """environment.json, data.json, model.json."""
        side = self.recipe.data.patch_size
        deployed = self.model.deploy()
        seen = self.data.fingerprint
        self.folder.write_json("environment", environment() | {"seed": self.recipe.seed})
        self.folder.write_json(
            "data",
            {
                "sha256": seen.sha256,
                **self.data.facts,
                "validation": [case.name for case in self.validation.cases],
                "files": seen.files,
            },
        )
        self.folder.write_json(
            "model",
            {
                "name": self.recipe.model.name,
                "trained_parameters": sum(p.numel() for p in self.model.parameters()),
                "deployed": asdict(complexity(deployed, (side, side))),
                "lr_size": [side, side],
                "layers": [asdict(layer) for layer in summary(deployed, (side, side))],
            },
        )

    def loop(self, log: Logs, signals: Signals) -> None:
        """Train the steps that are left.

        Raises:
            InterruptedRun: a signal came; the checkpoint is of the step in which it came.
        """
        recipe, optimiser = self.recipe, self.optimiser
        compiled = torch.compile(self.model) if recipe.compile else self.model
        network = self.fabric.setup_module(compiled)
        parameters = list(self.model.parameters())
        average = MovingAverage(self.averaged, self.model, recipe.ema)
        batches = self._batches(self.step)
        timed_from = self.step
        waited = 0.0
        started = time.perf_counter()

        while self.step < recipe.steps:
            factor = learning_rate_factor(recipe.schedule, self.step, recipe.steps)
            learning_rate = recipe.optimiser.learning_rate * factor
            for group in optimiser.param_groups:
                group["lr"] = learning_rate
            # Stochastic depth and its like: a function of the step, so that a resumed run
            # draws what the run that was stopped would have drawn.
            torch.manual_seed(_mixed(recipe.seed, self.step, self.fabric.global_rank))

            for micro in range(recipe.accumulate):
                asked = time.perf_counter()
                *inputs, hr = next(batches)
                waited += time.perf_counter() - asked
                last = micro == recipe.accumulate - 1
                with self.fabric.no_backward_sync(network, enabled=not last):
                    result = self._forward(network, inputs)
                    loss = self.loss(result, hr, inputs) / recipe.accumulate
                    self.fabric.backward(self.scaler.scale(loss))
                self.loss_sum += loss.detach()
            self.step += 1
            logging = self.step % recipe.log_every == 0 or self.step == recipe.steps
            validating = self.step % recipe.validate_every == 0 or self.step == recipe.steps
            saving = self.step % recipe.checkpoint_every == 0 or self.step == recipe.steps

            self.scaler.unscale_(optimiser)
            norm = _gradient_norm(parameters) if logging or recipe.clip_gradient_norm else None
            if recipe.clip_gradient_norm and norm is not None:
                torch.nn.utils.clip_grads_with_norm_(parameters, recipe.clip_gradient_norm, norm)
            self.scaler.step(optimiser)
            self.scaler.update()
            optimiser.zero_grad(set_to_none=True)
            average.update(self.step)

            stopping = signals.received is not None
            if logging or validating or saving or stopping:
                # A sum that is not finite stays so: one look here covers every step since.
                mean_loss = float(self.fabric.all_reduce(self.loss_sum, reduce_op="mean"))
                self._check_finite(mean_loss)
            if logging:
                elapsed = time.perf_counter() - started
                told = {
                    "loss": mean_loss / (self.step - self.since),
                    "learning_rate": learning_rate,
                    "gradient_norm": float(norm) if norm is not None else math.nan,
                    "seconds_per_step": elapsed / (self.step - timed_from),
                    "data_wait_share": waited / elapsed,
                    "memory": peak_memory(self.device) / 2**30,
                }
                log.scalars(self.step, told)
                self._tell(f"loss {told['loss']:.5f}")
                self.loss_sum.zero_()
                self.since = self.step
            if validating and self.validation.cases:
                scores = self._validate()
                log.scores(self.step, scores)
                self._tell(in_words(scores))
                if scores["psnr"] > self.best_psnr:
                    self.best_psnr = scores["psnr"]
                    self.save(self.folder.best)
                self._show(log)
            if saving or stopping:
                self.save(self.folder.last)
            if stopping:
                raise InterruptedRun(signals.received, self.step)
            if logging:
                # Validation and saving are not part of the time per step.
                timed_from, waited, started = self.step, 0.0, time.perf_counter()

    def write_weights(self) -> None:
        """The best averaged weights, deployed, as a file that every command takes."""
        if self.folder.best.exists():
            state = self.folder.load_checkpoint(self.folder.best)
            self.averaged.load_state_dict(state["ema"] or state["weights"])
        seen, cases = self.data.fingerprint, self.validation.cases
        notes = f"validation PSNR {self.best_psnr:.3f} dB on {len(cases)} pictures"
        card = replace(
            new_card(self.averaged, self.recipe.model.name),
            recipe=self.recipe.name,
            data=f"{len(seen.files)} files, sha256 {seen.sha256}",
            steps=self.step,
            notes=notes if cases else "",
            wavelengths=self.data.wavelengths,
        )
        save_weights(self.averaged, self.folder.weights, card)

    def _forward(self, network: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
        """What the network makes of a batch, in float32 whatever it computes in."""
        dtype = AUTOCAST[self.recipe.precision]
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            result: Tensor = network(*inputs)
        return result.float()

    def _batches(self, step: int) -> Iterator[tuple[Tensor, ...]]:
        """Micro-batches of this process from ``step`` on, each made while the one before trains."""
        recipe = self.recipe
        world, rank = self.fabric.world_size, self.fabric.global_rank
        size = recipe.data.batch_size // (world * recipe.accumulate)
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format

        def make(index: int) -> tuple[Tensor, ...]:
            at, micro = divmod(index, recipe.accumulate)
            start = (micro * world + rank) * size
            batch = self.data.crops.batch(
                seed=recipe.seed,
                step=at,
                batch_size=recipe.data.batch_size,
                part=slice(start, start + size),
            )
            return tuple(x.to(self.device).contiguous(memory_format=layout) for x in batch)

        with ThreadPoolExecutor(1) as pool:
            index = step * recipe.accumulate
            upcoming = pool.submit(make, index)
            while True:
                batch = upcoming.result()
                index += 1
                upcoming = pool.submit(make, index)
                yield batch

    def _check_finite(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        kept = f"the last good checkpoint is {self.folder.last}"
        if not self.folder.last.exists():
            kept = "no checkpoint had been written yet"
        raise TrainingError(
            f"the loss is not finite by step {self.step}; lower optimiser.learning_rate, set "
            f"clip_gradient_norm (1.0), lengthen schedule.warmup_steps or use precision=fp32; "
            f"{kept}"
        )

    def _validate(self) -> dict[str, float]:
        """Means over all cases; each process measures some of them."""
        part = slice(self.fabric.global_rank, None, self.fabric.world_size)
        measured = self.validation.measure(self.averaged, device=self.device, part=part)
        totals = torch.tensor(
            [sum(scores[name] for scores in measured) for name in self.validation.metrics],
            dtype=torch.float64,
            device=self.device,
        )
        means = self.fabric.all_reduce(totals, reduce_op="sum") / len(self.validation.cases)
        return dict(zip(self.validation.metrics, means.tolist(), strict=True))

    def _show(self, log: Logs) -> None:
        if not self.leader:
            return
        for index, case in enumerate(self.validation.cases[: self.recipe.log_images]):
            image = self.validation.comparison(self.averaged, index, device=self.device)
            log.image(self.step, f"{case.name}: bicubic, ours, HR", image)

    def _tell(self, what: str) -> None:
        if self.progress is not None:
            self.progress(self.step, self.recipe.steps, what)


def _check_batch(recipe: Recipe, model: Model, fabric: Any) -> None:
    """Refuse a batch whose HR crops alone would not fit into memory."""
    crops = recipe.data.batch_size // (fabric.world_size * recipe.accumulate)
    channels = getattr(model, "channels", 1)
    side = recipe.data.patch_size * model.scale
    # Four bytes a value; what decides a crop are four numbers of eight, for all processes.
    needed = 4 * channels * crops * side**2 + 32 * recipe.data.batch_size
    if needed > (free := available_memory(fabric.device)):
        raise InputError(
            f"{crops:,} crops of {side}x{side} pixels need {needed / 2**30:,.0f} GiB, "
            f"{free / 2**30:,.0f} GiB are free; lower data.batch_size or data.patch_size, or raise "
            "accumulate"
        )


def _mixed(*numbers: int) -> int:
    """One seed of several."""
    seed = 0
    for number in numbers:
        seed = (seed * 0x9E3779B1 + number) % 2**63
    return seed


def _gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """L2 norm of the whole gradient, as the optimiser will see it before clipping."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
