"""What the tests share: where the data beside the project lies, and deterministic seeds."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray
from support.command import Ran
from support.overview import write_measured

from vernier import cli
from vernier.data.folders import read_uint8
from vernier.io import Picture, write_picture
from vernier.models.sesr import SESR
from vernier.zoo import cards, create_model, list_models, new_card, overview, save_weights

# The same draws at every run, here and in CI, so that a change alone can make a test fail; `make
# fuzz` looks for new ones.
settings.register_profile("settled", derandomize=True, max_examples=60, deadline=None)
settings.register_profile("fuzz", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "settled"))

GOLDEN = Path(__file__).parent / "golden"
ASTRONAUT = Path(__file__).parents[1] / "examples" / "astronaut.png"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of benchmark pictures and golden fixtures, named by VERNIER_SHARED."""
    folder = os.environ.get("VERNIER_SHARED")
    if not folder:
        assert not os.environ.get("CI"), "VERNIER_SHARED must be set in CI: nothing may skip there"
        pytest.skip("VERNIER_SHARED is not set: benchmark pictures and golden files are not here")
    path = Path(folder)
    assert path.is_dir(), f"VERNIER_SHARED={folder} is not a folder"
    return path


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Converted networks must not be taken from, nor left in, the user's own folder."""
    os.environ["VERNIER_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell starts background jobs deaf to Ctrl-C, and the commands of the tests inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def random_sesr(scale: int) -> SESR:
    """A deployed sesr-m3 that adds a visible, not overwhelming, amount of detail."""
    generator = torch.Generator().manual_seed(scale)
    model = create_model("sesr-m3", scale=scale, expansion=16)
    assert isinstance(model, SESR)
    model = model.deploy()
    with torch.no_grad():
        for parameter in model.parameters():
            size = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / size**0.5)
        model.last.weight.mul_(0.3)
    return model.eval()


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Weight files of random networks for x2, x3 and x4."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {}
    for scale in (2, 3, 4):
        model = random_sesr(scale)
        paths[scale] = folder / f"sesr-m3-x{scale}.safetensors"
        save_weights(model, paths[scale], new_card(model, "sesr-m3"))
    return paths


@pytest.fixture(scope="session")
def photo() -> Callable[..., NDArray[Any]]:
    """(H, W, C) pixels: waves, edges and noise over the whole range; alpha in 1..peak."""

    def make(height: int, width: int, channels: int, dtype: Any = np.uint8) -> NDArray[Any]:
        rng = np.random.default_rng(height * 1000 + width)
        y, x = np.mgrid[:height, :width][..., None]
        phase = np.arange(channels)
        values = 0.5 + 0.3 * np.sin(x / 3.1 + phase) * np.cos(y / 4.3 - phase)
        values = values + 0.15 * ((x + 2 * y) % 23 > 11) + rng.normal(0, 0.04, values.shape)
        values = np.clip(values, 0, 1)
        if dtype == np.float32:
            return values.astype(np.float32)
        pixels = np.rint(values * np.iinfo(dtype).max).astype(dtype)
        if channels in (2, 4):
            pixels[..., -1] = np.maximum(pixels[..., -1], 1)
        return pixels

    return make


@pytest.fixture
def face(tmp_path: Path) -> Path:
    """The astronaut's face, 97x96 pixels: the width is no multiple of 2."""
    pixels = read_uint8(ASTRONAUT)[:, 72:168, 172:269].permute(1, 2, 0).contiguous()
    path = tmp_path / "face.png"
    write_picture(Picture(pixels.numpy()), path)
    return path


@pytest.fixture
def vernier(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """Run ``vernier`` with these arguments in this process."""

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["vernier", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        code = stopped.value.code
        assert code is None or isinstance(code, int)
        return Ran(code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose only weights are those of sesr-m3 x2."""
    write_measured(tmp_path / "sesr-m3-x2.safetensors")
    monkeypatch.setattr(cards, "WEIGHTS_FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def few_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of models that is short enough to be counted twice in a test."""
    names = [name for name in list_models() if name.startswith("sesr-")]
    monkeypatch.setattr(overview, "list_models", lambda: [*names, "grla-s", "psrt"])
