"""The training loop: short, resumable to the bit, and the same for one process or many."""

from __future__ import annotations

import copy
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor, nn

from vernier.data.pictures import list_pictures
from vernier.data.training_set import (
    CropSet,
    Fingerprint,
    FusionSet,
    TrainingSet,
    fingerprint,
)
from vernier.devices import peak_memory
from vernier.errors import InputError, VernierError
from vernier.metrics import ssim
from vernier.models.layers import FusionModel, Model, SRModel
from vernier.training.recipe import OptimiserRecipe, Recipe
from vernier.training.run_folder import RunFolder, environment
from vernier.training.schedule import learning_rate_factor
from vernier.training.soap import SOAP
from vernier.training.validation import (
    FusionValidation,
    PictureValidation,
    ValidationSet,
    hold_out,
)
from vernier.zoo import create_model, load_model, new_card, save_weights
from vernier.zoo.complexity import complexity, summary

if TYPE_CHECKING:
    from vernier.data.scenes import FusionScenes

__all__ = ["TrainingError", "TrainingResult", "train"]

LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": lambda error: error.abs().mean(),
    "l2": lambda error: error.square().mean(),
    "charbonnier": lambda error: (error.square() + 1e-6).sqrt().mean(),
}
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
        return math.isfinite(self.best_psnr)


@dataclass
class _Progress:
    """What changes while training, apart from weights."""

    step: int = 0
    best_psnr: float = -math.inf


def train(recipe: Recipe, *, resume: bool = False) -> TrainingResult:
    """Train what the recipe says.

    Args:
        recipe: the run; see `vernier.training.recipe.Recipe`.
        resume: continue the run of this name from its last checkpoint. On a CPU the result is
            bit-equal to that of a run that was never interrupted.

    Raises:
        InputError: data, weights or recipe do not fit together.
        TrainingError: the loss is no longer finite; the last checkpoint is from before.
    """
    # Not at the top: the recipe and the metrics are of use where the extra is not installed.
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise InputError("training needs more packages: pip install 'vernier[train]'") from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    world = recipe.devices * recipe.num_nodes
    fabric = Fabric(
        accelerator=recipe.accelerator,
        devices=recipe.devices,
        num_nodes=recipe.num_nodes,
        strategy="ddp" if world > 1 else "auto",
    )
    fabric.launch()
    if recipe.data.batch_size % (world * recipe.accumulate):
        raise InputError(
            f"data.batch_size {recipe.data.batch_size} is not a multiple of "
            f"{world} devices x {recipe.accumulate} accumulated micro-batches"
        )
    folder = RunFolder(Path(recipe.output) / recipe.name)
    changed: dict[str, Any] = {}
    if resume:
        changed = folder.changes_for(recipe)
    else:
        folder.refuse_existing()
    return _Run(recipe, folder, fabric).run(resume=resume, changed=changed)


class _Run:
    def __init__(self, recipe: Recipe, folder: RunFolder, fabric: Any) -> None:
        self.recipe = recipe
        self.folder = folder
        self.fabric = fabric
        self.leader: bool = fabric.global_rank == 0
        self.device: torch.device = fabric.device
        # Of the training data, where they are cubes and say so.
        self.wavelengths: tuple[float, ...] = ()
        # Scales and unscales in fp16 alone.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "fp16")

    def run(self, *, resume: bool, changed: dict[str, Any]) -> TrainingResult:
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        model, copied = self._create_model()
        data, validation, seen = self._load_data(model)
        optimiser = _create_optimiser(model, recipe.optimiser)
        averaged = copy.deepcopy(model).eval().requires_grad_(False)
        progress = _Progress()
        if resume and self.folder.last.exists():
            state = self.folder.load_checkpoint(self.folder.last)
            if state["data_sha256"] != seen.sha256:
                raise InputError(
                    "the training data are not those that the run started with; "
                    "restore them, or start another run"
                )
            model.load_state_dict(state["weights"])
            averaged.load_state_dict(state["ema"] or state["weights"])
            optimiser.load_state_dict(state["optimiser"])
            if self.scaler.is_enabled():
                self.scaler.load_state_dict(state["scaler"])
            progress = _Progress(state["step"], state["best_psnr"])
            if progress.step >= recipe.steps and self.folder.weights.exists():
                raise InputError(
                    f"{self.folder.path} is finished: all {recipe.steps} steps are done; raise "
                    "steps=... to go on"
                )
        self._try(averaged, data)
        if self.leader:
            # Only now: what cannot be read must not leave a folder behind.
            self.folder.open(recipe)
            self._describe(model, data, validation, seen)
            self.folder.rewind_metrics(progress.step)
            event: dict[str, Any] = {"step": progress.step}
            if resume:
                self.folder.append_metrics(event | {"event": "resume", "changed": changed})
            elif copied:
                self.folder.append_metrics(event | {"event": "init_from", "copied": copied})
        with self._logs(progress.step) as log:
            self._loop(model, averaged, optimiser, data, validation, progress, log, seen)
        if self.leader:
            self._write_weights(averaged, validation, progress, seen)
        self.fabric.barrier()
        return TrainingResult(self.folder.path, progress.step, progress.best_psnr, self.leader)

    def _create_model(self) -> tuple[Model, list[str]]:
        """The model to train, and the layers that it got from ``init_from``."""
        choice = self.recipe.model
        model = create_model(choice.name, scale=choice.scale, **choice.overrides)
        copied: list[str] = []
        if choice.init_from is not None:
            source, _ = load_model(choice.init_from)
            try:
                copied = model.init_from(source)
            except ValueError as error:
                raise InputError(f"model.init_from {choice.init_from}: {error}") from error
        if choice.form == "deployed":
            model = model.deploy().train()
        elif choice.form == "expanded":
            model.form = "expanded"  # type: ignore[assignment]
        model = model.to(self.device)
        if self.recipe.channels_last:
            _to_channels_last(model)
        return model, copied

    def _load_data(self, model: Model) -> tuple[CropSet, ValidationSet, Fingerprint]:
        if isinstance(model, FusionModel):
            return self._load_scenes(model)
        assert isinstance(model, SRModel)
        return self._load_pictures(model)

    def _load_pictures(self, model: SRModel) -> tuple[CropSet, ValidationSet, Fingerprint]:
        recipe = self.recipe.data
        weight_of = {
            path: weight
            for folder, weight in zip(recipe.train, recipe.weights or [1.0] * len(recipe.train))
            for path in list_pictures([folder])
        }
        paths = list(weight_of)
        kept = list_pictures(recipe.validation) if recipe.validation else []
        if recipe.hold_out:
            paths, kept = hold_out(sorted(paths), recipe.hold_out)
        with _progress_bar("reading pictures", len(paths), shown=self.leader) as bar:
            data = TrainingSet(
                paths,
                scale=model.scale,
                colour=model.colour,
                patch_size=recipe.patch_size,
                rounded_lr=recipe.rounded_lr,
                weights=[weight_of[path] for path in paths],
                downscales=recipe.downscales,
                degradation=recipe.degradation,
                augmentation=recipe.augmentation,
                device=self.device,
                progress=lambda done, total, what: bar(done, ""),
            )
        validation = PictureValidation(
            kept, scale=model.scale, colour=model.colour, degradation=recipe.degradation
        )
        return data, validation, fingerprint(paths)

    def _load_scenes(self, model: FusionModel) -> tuple[CropSet, ValidationSet, Fingerprint]:
        recipe = self.recipe.data
        if recipe.rounded_lr or recipe.downscales != [1.0] or recipe.degradation != "bicubic":
            raise InputError(
                "data.rounded_lr, data.downscales and data.degradation are for photographs alone"
            )
        files = [_read_scenes(path, model, recipe.peak) for path in recipe.train]
        self.wavelengths = files[0].wavelengths or ()
        weighted = [
            (scene, weight)
            for scenes, weight in zip(files, recipe.weights or [1.0] * len(files))
            for scene in scenes
        ]
        kept = [
            scene for path in recipe.validation for scene in _read_scenes(path, model, recipe.peak)
        ]
        if recipe.hold_out:
            weighted, held = hold_out(weighted, recipe.hold_out)
            kept = [scene for scene, _ in held]
        data = FusionSet(
            [scene for scene, _ in weighted],
            scale=model.scale,
            patch_size=recipe.patch_size,
            weights=[weight for _, weight in weighted],
            augmentation=recipe.augmentation,
            device=self.device,
        )
        validation = FusionValidation(kept, scale=model.scale)
        return data, validation, fingerprint([Path(path) for path in recipe.train])

    @torch.no_grad()
    def _try(self, model: Model, data: CropSet) -> None:
        """One crop, to hear now what the network refuses."""
        *inputs, hr = data.batch(seed=self.recipe.seed, step=0, batch_size=1)
        try:
            self._loss(model, inputs, hr)
        except ValueError as error:
            raise InputError(f"{self.recipe.model.name} cannot train so: {error}") from error

    def _describe(
        self, model: Model, data: CropSet, validation: ValidationSet, seen: Fingerprint
    ) -> None:
        side = self.recipe.data.patch_size
        deployed = model.deploy()
        layers = summary(deployed, (side, side))
        self.folder.write_json("environment", environment() | {"seed": self.recipe.seed})
        self.folder.write_json(
            "data",
            {
                "sha256": seen.sha256,
                "pictures": data.num_pictures,
                "too_small": data.too_small,
                "bytes_in_memory": data.num_bytes,
                "device": str(data.device),
                "validation": [case.name for case in validation.cases],
                "files": seen.files,
            },
        )
        self.folder.write_json(
            "model",
            {
                "name": self.recipe.model.name,
                "trained_parameters": sum(p.numel() for p in model.parameters()),
                "deployed": asdict(complexity(deployed, (side, side))),
                "lr_size": [side, side],
                "layers": [asdict(layer) for layer in layers],
            },
        )

    def _loop(
        self,
        model: Model,
        averaged: Model,
        raw_optimiser: torch.optim.Optimizer,
        data: CropSet,
        validation: ValidationSet,
        progress: _Progress,
        log: _Logs,
        seen: Fingerprint,
    ) -> None:
        recipe = self.recipe
        compiled = torch.compile(model) if recipe.compile else model
        network = self.fabric.setup_module(compiled)
        parameters = list(model.parameters())
        average = _Average(averaged, model, recipe.ema)
        loss_sum = torch.zeros((), device=self.device)
        since = progress.step
        waited = 0.0
        started = time.perf_counter()

        def save(path: Path) -> None:
            if self.leader:
                state = {
                    "model": {
                        "name": recipe.model.name,
                        "scale": recipe.model.scale,
                        **recipe.model.overrides,
                    },
                    "deployed": recipe.model.form == "deployed",
                    "step": progress.step,
                    "best_psnr": progress.best_psnr,
                    "weights": model.state_dict(),
                    "ema": averaged.state_dict() if recipe.ema else None,
                    "optimiser": raw_optimiser.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "data_sha256": seen.sha256,
                    "recipe": recipe.model_dump(mode="json"),
                }
                self.folder.save_checkpoint(path, state)

        with _progress_bar("training", recipe.steps, shown=self.leader) as bar:
            batches = self._batches(data, progress.step)
            while progress.step < recipe.steps:
                factor = learning_rate_factor(recipe.schedule, progress.step, recipe.steps)
                learning_rate = recipe.optimiser.learning_rate * factor
                for group in raw_optimiser.param_groups:
                    group["lr"] = learning_rate
                # Stochastic depth and its like: a function of the step, so that a resumed run
                # draws what the run that was stopped would have drawn.
                torch.manual_seed(_mixed(recipe.seed, progress.step, self.fabric.global_rank))
                for micro in range(recipe.accumulate):
                    asked = time.perf_counter()
                    *inputs, hr = next(batches)
                    waited += time.perf_counter() - asked
                    last = micro == recipe.accumulate - 1
                    with self.fabric.no_backward_sync(network, enabled=not last):
                        loss = self._loss(network, inputs, hr) / recipe.accumulate
                        self.fabric.backward(self.scaler.scale(loss))
                    loss_sum += loss.detach()
                progress.step += 1
                step = progress.step
                logging = step % recipe.log_every == 0 or step == recipe.steps
                self.scaler.unscale_(raw_optimiser)
                norm = _gradient_norm(parameters) if logging or recipe.clip_gradient_norm else None
                if recipe.clip_gradient_norm and norm is not None:
                    torch.nn.utils.clip_grads_with_norm_(
                        parameters, recipe.clip_gradient_norm, norm
                    )
                self.scaler.step(raw_optimiser)
                self.scaler.update()
                raw_optimiser.zero_grad(set_to_none=True)
                average(step)
                validating = step % recipe.validate_every == 0 or step == recipe.steps
                saving = step % recipe.checkpoint_every == 0 or step == recipe.steps
                if logging or validating or saving:
                    # A sum that is not finite stays so: one look here covers every step since.
                    mean_loss = float(self.fabric.all_reduce(loss_sum, reduce_op="mean"))
                    self._check_finite(mean_loss, step)
                if logging:
                    elapsed = time.perf_counter() - started
                    log.scalars(
                        step,
                        loss=mean_loss / (step - since),
                        learning_rate=learning_rate,
                        gradient_norm=float(norm) if norm is not None else math.nan,
                        seconds_per_step=elapsed / (step - since),
                        data_wait_share=waited / elapsed,
                        memory=peak_memory(self.device) / 2**30,
                    )
                    bar(step, f"loss {mean_loss / (step - since):.5f}")
                    loss_sum.zero_()
                if validating and validation.cases:
                    scores = self._validate(averaged, validation)
                    log.scalars(step, **scores)
                    said = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
                    bar(step, said)
                    if self.leader and not sys.stderr.isatty():
                        print(f"step {step}: {said}", file=sys.stderr, flush=True)
                    if scores["psnr"] > progress.best_psnr:
                        progress.best_psnr = scores["psnr"]
                        save(self.folder.best)
                    self._log_images(log, averaged, validation, step)
                if saving:
                    save(self.folder.last)
                if logging:
                    # Validation and saving are not part of the time per step.
                    since, waited, started = step, 0.0, time.perf_counter()

    def _loss(self, network: Any, inputs: Sequence[Tensor], hr: Tensor) -> Tensor:
        dtype = AUTOCAST[self.recipe.precision]
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            result = network(*inputs)
        result = result.float()
        loss = LOSSES[self.recipe.loss](result - hr)
        if self.recipe.ssim_weight:
            similarity = ssim(result, hr, crop=0, luma=False, rounding=False).mean()
            loss = loss + self.recipe.ssim_weight * (1 - similarity.float())
        return loss

    def _batches(self, data: CropSet, step: int) -> Iterator[tuple[Tensor, ...]]:
        """Micro-batches of this process from ``step`` on, each made while the one before trains."""
        recipe = self.recipe
        world, rank = self.fabric.world_size, self.fabric.global_rank
        size = recipe.data.batch_size // (world * recipe.accumulate)

        def make(index: int) -> tuple[Tensor, ...]:
            at, micro = divmod(index, recipe.accumulate)
            start = (micro * world + rank) * size
            batch = data.batch(
                seed=recipe.seed,
                step=at,
                batch_size=recipe.data.batch_size,
                part=slice(start, start + size),
            )
            if recipe.channels_last:
                batch = tuple(x.contiguous(memory_format=torch.channels_last) for x in batch)
            return batch

        with ThreadPoolExecutor(1) as pool:
            index = step * recipe.accumulate
            upcoming = pool.submit(make, index)
            while True:
                batch = upcoming.result()
                index += 1
                upcoming = pool.submit(make, index)
                yield batch

    def _check_finite(self, loss: float, step: int) -> None:
        if math.isfinite(loss):
            return
        kept = f"the last good checkpoint is {self.folder.last}"
        if not self.folder.last.exists():
            kept = "no checkpoint had been written yet"
        raise TrainingError(
            f"the loss is not finite by step {step}; lower optimiser.learning_rate, set "
            f"clip_gradient_norm (1.0), lengthen schedule.warmup_steps or use precision=fp32; "
            f"{kept}"
        )

    def _validate(self, averaged: nn.Module, validation: ValidationSet) -> dict[str, float]:
        """Means over all cases; each process measures some of them."""
        part = slice(self.fabric.global_rank, None, self.fabric.world_size)
        measured = validation.measure(averaged, device=self.device, part=part)
        totals = torch.tensor(
            [sum(scores[name] for scores in measured) for name in validation.metrics],
            dtype=torch.float64,
            device=self.device,
        )
        means = self.fabric.all_reduce(totals, reduce_op="sum") / len(validation.cases)
        return dict(zip(validation.metrics, means.tolist(), strict=True))

    def _log_images(
        self, log: _Logs, averaged: nn.Module, validation: ValidationSet, step: int
    ) -> None:
        if not self.leader:
            return
        for index, case in enumerate(validation.cases[: self.recipe.log_images]):
            image = validation.comparison(averaged, index, device=self.device)
            log.image(step, f"{case.name}: bicubic, ours, HR", image)

    def _write_weights(
        self, averaged: Model, validation: ValidationSet, progress: _Progress, seen: Fingerprint
    ) -> None:
        """The best averaged weights, deployed, as a file that every command takes."""
        if self.folder.best.exists():
            state = self.folder.load_checkpoint(self.folder.best)
            averaged.load_state_dict(state["ema"] or state["weights"])
        notes = f"validation PSNR {progress.best_psnr:.3f} dB on {len(validation.cases)} pictures"
        card = replace(
            new_card(averaged, self.recipe.model.name),
            recipe=self.recipe.name,
            data=f"{len(seen.files)} files, sha256 {seen.sha256}",
            steps=progress.step,
            notes=notes if validation.cases else "",
            wavelengths=self.wavelengths,
        )
        save_weights(averaged, self.folder.weights, card)

    @contextmanager
    def _logs(self, step: int) -> Iterator[_Logs]:
        if not self.leader:
            yield _Logs(None, None)
            return
        from torch.utils.tensorboard import SummaryWriter

        # A killed run had logged more than it had saved: hide that.
        writer = SummaryWriter(str(self.folder.tensorboard), purge_step=step + 1 if step else None)
        configuration = yaml.safe_dump(self.recipe.model_dump(mode="json"), sort_keys=False)
        writer.add_text("configuration", f"```yaml\n{configuration}```", step)
        try:
            yield _Logs(self.folder, writer)
        finally:
            writer.close()


class _Logs:
    """Scalars to ``metrics.jsonl`` and TensorBoard, images to TensorBoard; mute off the leader."""

    def __init__(self, folder: RunFolder | None, writer: Any) -> None:
        self.folder = folder
        self.writer = writer

    def scalars(self, step: int, **values: float) -> None:
        if self.folder is None:
            return
        # JSON knows no infinity, which a gradient norm in fp16 may be.
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self.folder.append_metrics({"step": step, **finite})
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def image(self, step: int, name: str, image: Tensor) -> None:
        if self.writer is not None:
            self.writer.add_image(name, image.clamp(0, 1), step)


def _to_channels_last(model: nn.Module) -> None:
    """The kernels of convolutions: with one channel the layout of an input says nothing.

    Module.to would do it too, and fail at the banks of kernels, which have five dimensions.
    """
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _create_optimiser(model: nn.Module, recipe: OptimiserRecipe) -> torch.optim.Optimizer:
    if recipe.name == "soap":
        return SOAP(
            model.parameters(),
            lr=recipe.learning_rate,
            betas=recipe.betas,
            eps=recipe.eps,
            precondition_every=recipe.precondition_every,
        )
    kind = torch.optim.AdamW if recipe.name == "adamw" else torch.optim.Adam
    return kind(
        model.parameters(),
        lr=recipe.learning_rate,
        betas=recipe.betas,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        amsgrad=recipe.amsgrad,
        foreach=True,
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
    return scenes


def _mixed(*numbers: int) -> int:
    """One seed of several."""
    seed = 0
    for number in numbers:
        seed = (seed * 0x9E3779B1 + number) % 2**63
    return seed


def _gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """L2 norm of the whole gradient, as the optimiser will see it before clipping."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


class _Average:
    """The moving average of a network: weights, and the statistics of its batch norms."""

    def __init__(self, averaged: nn.Module, model: nn.Module, decay: float | None) -> None:
        self.decay = decay
        # The tensors themselves: training changes them in place.
        pairs = list(zip(averaged.state_dict().values(), model.state_dict().values(), strict=True))
        self.moving = [pair for pair in pairs if pair[0].is_floating_point()]
        self.counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def __call__(self, step: int) -> None:
        """Move towards the weights; young averages forget faster."""
        weight = 1.0 if self.decay is None else 1 - min(self.decay, (1 + step) / (10 + step))
        averages, present = zip(*self.moving, strict=True)
        torch._foreach_lerp_(averages, present, weight)
        for average, counter in self.counters:
            average.copy_(counter)


@contextmanager
def _progress_bar(title: str, total: int, *, shown: bool) -> Iterator[Any]:
    """Yields a function (done, note) that moves a bar on stderr."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not shown or not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)
