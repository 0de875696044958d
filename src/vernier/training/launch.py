"""The processes of a run, and what they agree on before it begins."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch

from vernier.errors import InputError
from vernier.extras import optional_module
from vernier.io.files import protect
from vernier.training.recipe import Recipe
from vernier.training.run_folder import RunFolder
from vernier.zoo.own import file_of

__all__ = ["claim", "launch"]

# What launchers of several machines set.
_STARTED_BY = frozenset({"MASTER_ADDR", "WORLD_SIZE", "SLURM_NTASKS", "NODE_RANK"})


def launch(recipe: Recipe) -> Any:
    """Lightning's Fabric, with all processes of the run started.

    Raises:
        InputError: they cannot share a batch evenly, or there are too few CUDA devices.
        MissingPackageError: Lightning Fabric is not installed.
    """
    # Not at the top: the recipe and the losses are of use where the extra is not installed.
    fabric_of = optional_module("lightning_fabric").Fabric
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    world = recipe.devices * recipe.num_nodes
    if recipe.data.batch_size % (world * recipe.accumulate):
        raise InputError(
            f"data.batch_size {recipe.data.batch_size} is not a multiple of "
            f"{world} devices x {recipe.accumulate} accumulated micro-batches"
        )
    if recipe.num_nodes > 1 and not _STARTED_BY.intersection(os.environ):
        raise InputError(
            f"num_nodes={recipe.num_nodes} waits for other machines: start the run with torchrun "
            "on each of them, or set num_nodes=1"
        )
    # Fabric's own choice may be a kind of device that is not for training here.
    cards = torch.cuda.device_count()
    accelerator = recipe.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if cards else "cpu"
    if accelerator == "cuda" and cards < recipe.devices:
        raise InputError(
            f"accelerator=cuda wants devices={recipe.devices} on this machine, torch finds {cards} "
            "CUDA devices; lower devices or set accelerator=cpu"
        )
    if accelerator == "cpu" and recipe.devices > (os.cpu_count() or 1):
        raise InputError(
            f"devices={recipe.devices} are more processes than this machine has processors "
            f"({os.cpu_count() or 1}); lower devices"
        )
    fabric = fabric_of(
        accelerator=accelerator,
        devices=recipe.devices,
        num_nodes=recipe.num_nodes,
        strategy="ddp" if world > 1 else "auto",
    )
    fabric.launch()
    return fabric


def claim(folder: RunFolder, recipe: Recipe, fabric: Any, *, resume: bool) -> dict[str, Any]:
    """Whether the run may use the folder, and what differs from the run that is in it.

    The first process looks for all: a late one would find what the first has written meanwhile.

    Raises:
        InputError: a run is there that is not to be resumed, or none that could be, or another; or
            the run would write over the weights that it starts from.
    """
    changed: dict[str, Any] = {}
    problem = ""
    if fabric.global_rank == 0:
        try:
            folder.check()
            if resume:
                changed = folder.changes_for(recipe)
            else:
                folder.refuse_existing()
                start = recipe.model.init_from
                written = (folder.weights, folder.best, folder.last)
                protect([file_of(start) if start else None], written)
        except InputError as error:
            problem = str(error)
    problem, changed = fabric.broadcast((problem, changed))
    if problem:
        raise InputError(problem)
    return changed
