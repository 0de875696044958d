"""A small experiment for `ablate`, with its pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml

from vernier.imaging import imresize
from vernier.io import Picture, write_picture


def make_experiment(folder: Path) -> Path:
    """Two arms of three steps, "three" and "four", with two seeds; its runs lie in runs/depth."""
    pictures = folder / "Pictures"
    pictures.mkdir()
    for i in range(2):
        coarse = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(i))
        pixels = (imresize(coarse, 8.0).clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
        write_picture(Picture(np.ascontiguousarray(pixels.numpy())), pictures / f"{i}.png")
    base = {
        "name": "base",
        "model": {"name": "sesr-m3", "scale": 2, "form": "deployed"},
        "data": {"train": [str(pictures)], "patch_size": 8, "batch_size": 2},
        "steps": 100,
        "accelerator": "cpu",
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    values = {
        "name": "depth",
        "question": "Does depth help?",
        "base": "base.yaml",
        "shared": {"steps": 3},
        "arms": {"three": {}, "four": {"model.overrides": {"num_blocks": 4}}},
        "seeds": [0, 5],
        "test": [str(pictures)],
        "lr_size": [10, 12],
        "output": str(folder / "runs"),
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path
