"""Training for real, on small pictures: it learns, resumes to the bit, and scales out."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from vernier.errors import InputError
from vernier.imaging import imresize
from vernier.io import Picture, write_picture
from vernier.training.recipe import parse_recipe
from vernier.training.run_folder import RunFolder
from vernier.training.trainer import TrainingError, train
from vernier.zoo import create_model, list_models, load_model


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth random pictures with edges: something that can be learnt."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(6):
        coarse = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(i))
        image = (imresize(coarse, 6.0) > 0.5).float() * 0.8 + 0.1 * imresize(coarse, 6.0)
        pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        write_picture(Picture(np.ascontiguousarray(pixels)), folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes of five bands whose guide shows what the coarse cube does not."""
    generator = torch.Generator().manual_seed(0)
    shading = (imresize(torch.rand(3, 1, 8, 8, generator=generator), 4.0) > 0.5).float()
    spectra = 0.1 + 0.8 * torch.rand(3, 5, 1, 1, generator=generator)
    gt = 0.05 + 0.9 * spectra * shading
    response = torch.tensor([[0, 0, 0, 0.5, 0.5], [0, 0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0, 0]])
    lr = imresize(gt, 0.25)
    path = tmp_path_factory.mktemp("cubes") / "scenes.h5"
    with h5py.File(path, "w") as file:
        file["GT"], file["LRHSI"], file["HSI_up"] = gt, lr, imresize(lr, 4.0)
        file["RGB"] = torch.einsum("gb,nbhw->nghw", response, gt)
    return path


def _values(pictures: Path, output: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "run",
        "output": str(output),
        "model": {"name": "sesr-m3", "scale": 2, "overrides": {"expansion": 16}},
        "data": {"train": [str(pictures)], "hold_out": 2, "patch_size": 12, "batch_size": 4},
        "optimiser": {"learning_rate": 1e-3, "amsgrad": True},
        "steps": 40,
        "ema": 0.9,
        "log_every": 10,
        "validate_every": 20,
        "checkpoint_every": 10,
        "accelerator": "cpu",
    } | changes


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    ema = state["ema"] or {}
    return {"ema." + k: v for k, v in ema.items()} | dict(state["weights"])


def _assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


def _metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_learns_and_leaves_everything_behind(pictures: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(_values(pictures, tmp_path, steps=120), "recipe")
    result = train(recipe)
    folder = tmp_path / "run"
    assert result.steps == 120
    losses = [entry["loss"] for entry in _metrics(folder) if "loss" in entry]
    assert losses[-1] < 0.7 * losses[0]
    logged = next(entry for entry in _metrics(folder) if "loss" in entry)
    assert logged.keys() >= {
        "step",
        "loss",
        "learning_rate",
        "gradient_norm",
        "seconds_per_step",
        "data_wait_share",
    }
    psnrs = [entry["psnr"] for entry in _metrics(folder) if "psnr" in entry]
    assert result.best_psnr == max(psnrs)
    resolved = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert parse_recipe(resolved, "resolved") == recipe
    assert len(json.loads((folder / "data.json").read_text())["sha256"]) == 64
    assert json.loads((folder / "environment.json").read_text())["packages"]["torch"]
    summary = json.loads((folder / "model.json").read_text())
    assert summary["deployed"]["parameters"] == 8912 + 48
    assert summary["deployed"]["macs"] == 8912 * 12 * 12
    assert list((folder / "tensorboard").iterdir())
    assert not list(folder.rglob("*.tmp"))
    model, card = load_model(folder / "weights.safetensors")
    assert (card.name, card.scale, card.steps) == ("sesr-m3", 2, 120)
    from_checkpoint, _ = load_model(folder / "checkpoints" / "best.ckpt")
    lr = torch.rand(1, 1, 9, 7)
    torch.testing.assert_close(model(lr), from_checkpoint(lr))


def test_training_can_be_imported_where_there_is_no_resource_module() -> None:
    # Other packages know on which system they are.
    code = (
        "import sys, psutil, torch; sys.modules['resource'] = None; import vernier.training.trainer"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# Compiling for a cold cache costs more than training.
_TINY = {
    "name": "sesr-m3",
    "scale": 2,
    "overrides": {"num_blocks": 1, "num_features": 4, "expansion": 8},
}
_GRLA = {
    "name": "grla",
    "scale": 2,
    "overrides": {"num_features": 8, "num_blocks": 1, "num_heads": 2, "window_size": 4},
}
_HAT = {
    "name": "hat",
    "scale": 2,
    "overrides": {
        "embed_dim": 8,
        "depths": [2],
        "num_heads": [2],
        "window_size": 4,
        "squeeze_factor": 4,
        "drop_path_rate": 0.5,
    },
}
_PSRT = {
    "name": "psrt",
    "scale": 4,
    "overrides": {"bands": 5, "embed": 8, "num_blocks": 1, "num_steps": 1, "num_heads": 2},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": {"name": "soap", "learning_rate": 3e-3, "betas": [0.95, 0.95]}},
        {
            "model": {"name": "sesr-m3", "scale": 2, "form": "deployed"},
            "optimiser": {"name": "soap", "learning_rate": 3e-3},
            "accumulate": 2,
            "clip_gradient_norm": 0.1,
            "precision": "bf16",
        },
        {
            "model": {"name": "sesr-m3", "scale": 2, "form": "deployed"},
            "precision": "fp16",
            "clip_gradient_norm": 1.0,
            "steps": 12,
            "checkpoint_every": 5,
        },
        {"model": _GRLA, "steps": 12, "checkpoint_every": 5},
        {"model": _HAT, "steps": 12, "checkpoint_every": 5, "precision": "bf16"},
        {
            "model": _PSRT,
            "data": "cubes",
            "optimiser": {"name": "adamw", "weight_decay": 1e-2},
            "ssim_weight": 0.1,
        },
        pytest.param(
            {"model": _TINY, "compile": True, "steps": 12, "checkpoint_every": 5},
            marks=pytest.mark.skipif(
                shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"
            ),
        ),
    ],
    ids=[
        "collapsed-soap",
        "deployed-bf16-accumulated",
        "fp16",
        "batch-norm",
        "drop-path",
        "fusion-adamw-ssim",
        "compiled",
    ],
)
def test_resumed_is_bit_equal_to_uninterrupted(
    pictures: Path, cubes: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    if changes.get("data") == "cubes":
        data = {"train": [str(cubes)], "hold_out": 1, "patch_size": 4, "batch_size": 4}
        changes = changes | {"data": data}
    train(parse_recipe(_values(pictures, tmp_path / "a", **changes), "a"))
    first = parse_recipe(_values(pictures, tmp_path / "b", **changes), "b")
    folder = RunFolder(tmp_path / "b" / "run")
    stop = 2 * first.checkpoint_every
    _stop_after(first, steps=stop + 1)
    assert folder.load_checkpoint(folder.last)["step"] == stop
    train(first, resume=True)
    _assert_equal(_weights(tmp_path / "a" / "run"), _weights(tmp_path / "b" / "run"))
    measured = ("step", "loss", "psnr", "ssim", "sam")
    resumed, whole = (
        [{k: e[k] for k in measured if k in e} for e in _metrics(path) if "event" not in e]
        for path in (folder.path, tmp_path / "a" / "run")
    )
    assert resumed == whole


def _stop_after(recipe: Any, *, steps: int) -> None:
    """Run and break off in the middle of a step, as an exception would."""
    from vernier.data.training_set import CropSet

    class StoppedError(Exception):
        pass

    original = CropSet.batch

    def batch(self: CropSet, *, seed: int, step: int, **more: Any) -> Any:
        if step >= steps:
            raise StoppedError
        return original(self, seed=seed, step=step, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CropSet, "batch", batch)
        with pytest.raises(StoppedError):
            train(recipe)


def test_killed_and_resumed_is_bit_equal_to_uninterrupted(pictures: Path, tmp_path: Path) -> None:
    values = _values(pictures, tmp_path / "b", steps=200, checkpoint_every=5, log_every=5)
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(values))
    threads = str(torch.get_num_threads())
    process = subprocess.Popen(
        [sys.executable, "-m", "vernier", "train", str(file)],
        env=os.environ | {"OMP_NUM_THREADS": threads},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    folder = tmp_path / "b" / "run"
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert 0 < checkpoint["step"] < 200
    train(parse_recipe(values, "b"), resume=True)
    train(parse_recipe(values | {"output": str(tmp_path / "a")}, "a"))
    _assert_equal(_weights(tmp_path / "a" / "run"), _weights(folder))


def test_two_processes_train_as_one_with_the_same_global_batch(
    pictures: Path, tmp_path: Path
) -> None:
    values = _values(pictures, tmp_path / "two", steps=10, devices=2)
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(values))
    outcome = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "-m",
            "vernier",
            "train",
            str(file),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    train(parse_recipe(values | {"output": str(tmp_path / "one"), "devices": 1}, "one"))
    two, one = _weights(tmp_path / "two" / "run"), _weights(tmp_path / "one" / "run")
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-4, atol=2e-6)
    psnr_two, psnr_one = (
        [e["psnr"] for e in _metrics(tmp_path / name / "run") if "psnr" in e]
        for name in ("two", "one")
    )
    assert psnr_two == pytest.approx(psnr_one, abs=1e-3)


_LATE = """
import os, sys, time
from pathlib import Path
from vernier.training.recipe import load_recipe
from vernier.training.run_folder import RunFolder
from vernier.training.trainer import train

recipe = load_recipe(sys.argv[1])
if os.environ["RANK"] == "1":
    on_time = RunFolder.__init__

    def late(self, path):
        deadline = time.monotonic() + 3
        while not (Path(recipe.output) / recipe.name / "recipe.yaml").exists():
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        on_time(self, path)

    RunFolder.__init__ = late
train(recipe)
"""


def test_a_late_process_does_not_take_the_new_run_for_an_old_one(
    pictures: Path, tmp_path: Path
) -> None:
    script, file = tmp_path / "late.py", tmp_path / "recipe.yaml"
    script.write_text(_LATE)
    file.write_text(yaml.safe_dump(_values(pictures, tmp_path, steps=2, devices=2)))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    outcome = subprocess.run(
        [*launcher, "--nproc-per-node", "2", str(script), str(file)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert (tmp_path / "run" / "weights.safetensors").exists()


def test_accumulation_equals_one_large_batch(pictures: Path, tmp_path: Path) -> None:
    for name, accumulate in (("whole", 1), ("parts", 4)):
        values = _values(pictures, tmp_path / name, steps=5, accumulate=accumulate)
        train(parse_recipe(values, name))
    whole, parts = _weights(tmp_path / "whole" / "run"), _weights(tmp_path / "parts" / "run")
    for key in whole:
        torch.testing.assert_close(parts[key], whole[key], rtol=1e-4, atol=2e-6)


def test_collapsed_and_expanded_training_are_the_same(pictures: Path, tmp_path: Path) -> None:
    for form in ("collapsed", "expanded"):
        model = {"name": "sesr-m3", "scale": 2, "overrides": {"expansion": 16}, "form": form}
        train(parse_recipe(_values(pictures, tmp_path / form, steps=5, model=model), form))
    one, other = _weights(tmp_path / "collapsed" / "run"), _weights(tmp_path / "expanded" / "run")
    for key in one:
        torch.testing.assert_close(one[key], other[key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "form"),
    [(_HAT, "expanded"), (_HAT, "deployed"), (_GRLA, "expanded"), (_PSRT, "expanded")],
    ids=["hat-expanded", "hat-deployed", "grla-expanded", "psrt-expanded"],
)
def test_a_form_that_the_network_does_not_have_is_refused(
    pictures: Path, tmp_path: Path, model: dict[str, Any], form: str
) -> None:
    recipe = parse_recipe(_values(pictures, tmp_path, model=model | {"form": form}), "recipe")
    with pytest.raises(InputError) as caught:
        train(recipe)
    expected = f"model.form: {model['name']} has no form {form!r}; leave model.form out"
    assert str(caught.value) == expected
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore")
def test_an_infinite_loss_stops_and_keeps_the_checkpoint(pictures: Path, tmp_path: Path) -> None:
    values = _values(pictures, tmp_path, steps=20, schedule={"name": "constant"})
    train(parse_recipe(values, "good"))
    before = _weights(tmp_path / "run")
    broken = values | {"steps": 60, "optimiser": {"learning_rate": 1e30, "amsgrad": True}}
    with pytest.raises(TrainingError, match=r"lower optimiser\.learning_rate"):
        train(parse_recipe(broken, "bad"), resume=True)
    _assert_equal(before, _weights(tmp_path / "run"))


def test_a_resumed_run_may_change_its_learning_rate_and_says_so(
    pictures: Path, tmp_path: Path
) -> None:
    values = _values(pictures, tmp_path, steps=10)
    train(parse_recipe(values, "first"))
    values |= {
        "steps": 20,
        "optimiser": {"learning_rate": 2e-4, "amsgrad": True},
        "schedule": {"name": "cosine", "start_step": 10},
    }
    train(parse_recipe(values, "second"), resume=True)
    event = next(entry for entry in _metrics(tmp_path / "run") if "event" in entry)
    assert event["changed"]["optimiser.learning_rate"] == {"before": 1e-3, "after": 2e-4}
    assert event["changed"]["schedule.start_step"] == {"before": 0, "after": 10}
    rates = [entry["learning_rate"] for entry in _metrics(tmp_path / "run") if "loss" in entry]
    assert rates[-1] < 2e-4


def test_fusion_learns_and_is_measured(cubes: Path, tmp_path: Path) -> None:
    data = {"train": [str(cubes)], "validation": [str(cubes)], "patch_size": 4, "batch_size": 4}
    values = _values(cubes, tmp_path, model=_PSRT, data=data, steps=60)
    train(parse_recipe(values, "fusion"))
    measured = [entry for entry in _metrics(tmp_path / "run") if "psnr" in entry]
    assert measured[-1].keys() == {"step", "psnr", "ssim", "sam", "ergas"}
    assert measured[-1]["psnr"] > measured[0]["psnr"] + 0.5
    names = [f"scenes-000{i}" for i in range(3)]
    assert json.loads((tmp_path / "run" / "data.json").read_text())["validation"] == names
    model, card = load_model(tmp_path / "run" / "weights.safetensors")
    assert (card.architecture, model.channels) == ("psrt", 5)


@pytest.mark.parametrize("name", [name for name in list_models() if name.startswith("psrt-")])
def test_every_fusion_network_trains(name: str, cubes: Path, tmp_path: Path) -> None:
    """Kernels lie in tensors of up to five dimensions; each must move, and load.

    Not a squeeze, which at this width has one hidden unit that may start beyond its ReLU.
    """
    model = {
        "name": name,
        "scale": 4,
        "overrides": {"bands": 5, "embed": 16, "num_blocks": 1, "num_steps": 1, "num_heads": 2},
    }
    data = {"train": [str(cubes)], "patch_size": 4, "batch_size": 2}
    optimiser = {"name": "soap", "learning_rate": 3e-3}
    values = _values(cubes, tmp_path, model=model, data=data, optimiser=optimiser, steps=3)
    recipe = parse_recipe(values, name)
    torch.manual_seed(recipe.seed)
    start = dict(
        create_model(
            **recipe.model.model_dump(include={"name", "scale"}), **recipe.model.overrides
        ).named_parameters()
    )
    train(recipe)
    trained = RunFolder(tmp_path / "run")
    weights = trained.load_checkpoint(trained.last)["weights"]
    still = {key for key, value in start.items() if torch.equal(value, weights[key])}
    assert not {key for key in still if "squeeze" not in key}
    load_model(trained.weights)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"model": {"name": "psrt", "scale": 4}}, "5 bands and 3 guide channels, the model"),
        ({"patch_size": 9}, r"lower data\.patch_size"),
        ({"downscales": [1.0, 0.5]}, "for photographs alone"),
    ],
)
def test_scenes_that_do_not_fit_are_refused(
    cubes: Path, tmp_path: Path, overrides: dict[str, Any], expected: str
) -> None:
    model = overrides.pop("model", _PSRT)
    data = {"train": [str(cubes)], "patch_size": 4, "batch_size": 4} | overrides
    with pytest.raises(InputError, match=expected):
        train(parse_recipe(_values(cubes, tmp_path, model=model, data=data), "recipe"))
    assert not (tmp_path / "run").exists()


def test_what_the_network_refuses_leaves_no_folder(pictures: Path, tmp_path: Path) -> None:
    values = _values(pictures, tmp_path, model=_HAT, precision="fp16")
    with pytest.raises(InputError, match=r"hat cannot train so: .*use bfloat16 or float32"):
        train(parse_recipe(values, "recipe"))
    assert not (tmp_path / "run").exists()


def test_batch_norms_are_averaged_too(pictures: Path, tmp_path: Path) -> None:
    train(parse_recipe(_values(pictures, tmp_path, model=_GRLA, steps=3, ema=0.5), "recipe"))
    weights = _weights(tmp_path / "run")
    moved = [key for key in weights if key.startswith("ema.") and key.endswith("running_mean")]
    assert moved
    for key in moved:
        assert weights[key].abs().max() > 0
        assert not torch.equal(weights[key], weights[key.removeprefix("ema.")])
    counted = next(key for key in weights if key.endswith("num_batches_tracked"))
    assert weights[counted] == 3


def test_fp16_leaves_out_the_steps_whose_gradients_overflow(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = functools.partial(torch.amp.GradScaler, init_scale=2.0**60)
    monkeypatch.setattr(torch.amp, "GradScaler", huge)
    values = _values(pictures, tmp_path, steps=4, precision="fp16", ema=None)
    train(parse_recipe(values, "fp16"))
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["scaler"]["scale"] == 2.0**56
    torch.manual_seed(values.get("seed", 0))
    untouched = create_model("sesr-m3", scale=2, expansion=16).state_dict()
    _assert_equal(dict(state["weights"]), untouched)


@pytest.mark.parametrize(
    ("changes", "resume", "expected"),
    [
        ({}, False, "continue it with --resume"),
        ({"seed": 5}, True, "cannot change seed"),
        ({"name": "other"}, True, "no run to resume"),
        ({"data": {"train": ["missing"]}}, True, "cannot change data"),
    ],
)
def test_a_run_folder_is_not_mistaken_for_another(
    pictures: Path, tmp_path: Path, changes: dict[str, Any], resume: bool, expected: str
) -> None:
    values = _values(pictures, tmp_path)
    RunFolder(tmp_path / "run").open(parse_recipe(values, "first"))
    with pytest.raises(InputError, match=expected):
        train(parse_recipe(values | changes, "second"), resume=resume)


def test_what_cannot_start_leaves_no_folder(pictures: Path, tmp_path: Path) -> None:
    values = _values(pictures, tmp_path, data={"train": [str(tmp_path / "missing")]})
    with pytest.raises(InputError, match="no such folder"):
        train(parse_recipe(values, "recipe"))
    values = _values(pictures, tmp_path)
    values["model"] = values["model"] | {"init_from": str(tmp_path / "missing.safetensors")}
    with pytest.raises(InputError, match="missing"):
        train(parse_recipe(values, "recipe"))
    assert not (tmp_path / "run").exists()


def test_changed_pictures_cannot_be_resumed_on(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for path in pictures.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    values = _values(folder, tmp_path, steps=10)
    train(parse_recipe(values, "first"))
    (folder / "0.png").write_bytes((folder / "2.png").read_bytes())
    with pytest.raises(InputError, match="not those that the run started with"):
        train(parse_recipe(values | {"steps": 20}, "second"), resume=True)


def test_x4_starts_from_x2(pictures: Path, tmp_path: Path) -> None:
    train(parse_recipe(_values(pictures, tmp_path, name="x2", steps=10), "x2"))
    source = tmp_path / "x2" / "weights.safetensors"
    model = {
        "name": "sesr-m3",
        "scale": 4,
        "overrides": {"expansion": 16},
        "init_from": str(source),
    }
    values = _values(pictures, tmp_path, name="x4", steps=1, model=model, ema=None)
    values["optimiser"] = {"learning_rate": 1e-12}
    values["data"] = values["data"] | {"patch_size": 8}
    train(parse_recipe(values, "x4"))
    x2, x4 = load_file(source), load_file(tmp_path / "x4" / "weights.safetensors")
    for key in x2:
        if not key.startswith("last"):
            torch.testing.assert_close(x4[key], x2[key], rtol=1e-5, atol=1e-6)
    assert x4["last.weight"].shape[0] == 16


@pytest.mark.gpu
def test_a_run_on_a_gpu_keeps_its_pictures_there(pictures: Path, tmp_path: Path) -> None:
    values = _values(pictures, tmp_path, steps=60, accelerator="cuda", precision="bf16")
    train(parse_recipe(values, "gpu"))
    assert json.loads((tmp_path / "run" / "data.json").read_text())["device"] == "cuda:0"
    losses = [entry["loss"] for entry in _metrics(tmp_path / "run") if "loss" in entry]
    assert losses[-1] < losses[0]


def test_a_finished_run_says_so(pictures: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(_values(pictures, tmp_path, steps=2), "recipe")
    train(recipe)
    with pytest.raises(InputError, match="is finished: all 2 steps are done"):
        train(recipe, resume=True)
