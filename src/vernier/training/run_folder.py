"""The folder of one training run: what was run, on what, and what came of it."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

from vernier import __version__
from vernier.errors import InputError
from vernier.io.files import make_folder, reason_of, replacing, shown, write_whole
from vernier.training.recipe import RESUMABLE, Recipe, flatten, load_recipe
from vernier.zoo.checkpoints import read_checkpoint

__all__ = ["RunFolder", "environment"]

# The temporary names of `vernier.io.files.replacing`.
_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.ckpt")


class RunFolder:
    """Paths and files of a run.

    ``recipe.yaml`` (resolved), ``environment.json``, ``data.json``, ``model.json``,
    ``metrics.jsonl``, ``tensorboard/``, ``checkpoints/last.ckpt``, ``checkpoints/best.ckpt`` and,
    at the end, ``weights.safetensors`` with its card.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.metrics = path / "metrics.jsonl"
        self.tensorboard = path / "tensorboard"
        self.last = path / "checkpoints" / "last.ckpt"
        self.best = path / "checkpoints" / "best.ckpt"
        self.weights = path / "weights.safetensors"

    @property
    def finished(self) -> bool:
        """Whether the weights are there, and their card, which is written after them."""
        return self.weights.exists() and self.weights.with_suffix(".json").exists()

    def check(self) -> None:
        """Refuse at once a folder that could not be made in the end.

        Raises:
            InputError: something on the way to it is no folder.
        """
        above = next(p for p in (self.path, *self.path.parents, Path()) if os.path.lexists(p))
        if not above.is_dir():
            raise InputError(f"{shown(above)}: is no folder; choose another output=... or name=...")

    def refuse_existing(self) -> None:
        """Raise if a run is in this folder already.

        Raises:
            InputError: it is; the message says how to continue it.
        """
        if self.recipe.exists():
            raise InputError(
                f"{self.path} holds a run already; continue it with --resume, or choose another "
                "name=..."
            )

    def changes_for(self, recipe: Recipe) -> dict[str, dict[str, Any]]:
        """What differs between the run in this folder and ``recipe``, as before and after.

        Raises:
            InputError: there is no run, or a key differs that would make it another run.
        """
        if not self.recipe.exists():
            raise InputError(f"{self.path} holds no run to resume; start it without --resume")
        # Validated again: a recipe from before a key existed has that key's default.
        saved = load_recipe(self.recipe)
        before = flatten(saved.model_dump(mode="json"))
        after = flatten(recipe.model_dump(mode="json"))
        changed = {
            key: {"before": before.get(key), "after": after.get(key)}
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key)
        }
        for key, values in changed.items():
            if key not in RESUMABLE and key.split(".")[0] not in RESUMABLE:
                raise InputError(
                    f"a resumed run cannot change {key} (was {values['before']}, now "
                    f"{values['after']}); start another run with another name=..."
                )
        return changed

    def open(self, recipe: Recipe) -> None:
        """Make the folder if need be and write the resolved recipe.

        Raises:
            InputError: one of them cannot be made.
        """
        checkpoints = self.last.parent
        make_folder(checkpoints)
        # What a kill left while a checkpoint was being written is as large as a checkpoint.
        for unfinished in checkpoints.iterdir():
            if _UNFINISHED.fullmatch(unfinished.name):
                unfinished.unlink()
        text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
        write_whole(self.recipe, text.encode())

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Write ``name.json`` into the folder."""
        text = json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n"
        write_whole(self.path / f"{name}.json", text.encode())

    def append_metrics(self, values: Mapping[str, Any]) -> None:
        """One line of ``metrics.jsonl``."""
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:
            raise InputError(f"{self.metrics}: cannot be written ({reason_of(error)})") from error

    def rewind_metrics(self, step: int) -> None:
        """Drop lines later than ``step``: a killed run had logged more than it had saved."""
        if not self.metrics.exists():
            return
        kept = []
        # The line that a kill cut short is no JSON, and that of a power cut not even text.
        for line in self.metrics.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(json.JSONDecodeError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry["step"] <= step:
                    kept.append(line + "\n")
        write_whole(self.metrics, "".join(kept).encode())

    def save_checkpoint(self, path: Path, state: Mapping[str, Any]) -> None:
        """Write atomically: a kill leaves the old checkpoint or the new one, never half of one.

        Raises:
            InputError: it cannot be written, the disk being full for one; the old one is intact.
        """
        before = "; the checkpoint from before is intact" if path.exists() else ""
        try:
            with replacing(path) as temporary, temporary.open("wb") as file:
                torch.save(dict(state), file)
                file.flush()
                os.fsync(file.fileno())
        except InputError as error:
            raise InputError(f"{error}{before}") from error
        except RuntimeError as error:  # torch's writer wraps what the system says
            told = error.__context__
            reason = reason_of(told if isinstance(told, OSError) else error)
            raise InputError(f"{path}: cannot be written ({reason}){before}") from error

    def load_checkpoint(self, path: Path) -> dict[str, Any]:
        """Read a checkpoint to the CPU; tensors and plain values alone.

        Raises:
            InputError: it is damaged, or was not written by `save_checkpoint`.
        """
        state = read_checkpoint(path)
        if not isinstance(state, dict) or "data_sha256" not in state:
            raise InputError(f"{path} is no checkpoint of a run; start another run")
        return state


def environment() -> dict[str, Any]:
    """Versions and hardware that a run's numbers depend on."""
    packages = ("torch", "numpy", "lightning-fabric", "pyvips", "safetensors")
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": _processor_name(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {"vernier": __version__} | {name: _version(name) for name in packages},
    }


def _version(distribution: str) -> str | None:
    """None where a package came without its metadata, as from a copied folder."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
