"""Any number of threads may use one engine: each gets the result of its own maps or pixels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch

from vernier.engines import create_engine
from vernier.models.layers import Model
from vernier.upscaling import Upscaler
from vernier.upscaling.pixels import create_pixel_engine
from vernier.zoo import create_model
from vernier.zoo.networks import find_network

_THREADS = 4
Run = Callable[[np.ndarray], np.ndarray]


def network(name: str, **config: Any) -> Model:
    torch.manual_seed(0)
    scale = 4 if name.startswith("psrt") else 2
    model = create_model(name, scale=scale, **config).eval()
    for parameter in model.parameters():
        parameter.data += 0.03 * torch.randn_like(parameter)
    return model


_NETWORKS: dict[str, dict[str, Any]] = {
    "sesr-m3": {"expansion": 16},
    "edsr-small": {"num_blocks": 1, "num_features": 8},
    "hat-s": {
        "embed_dim": 12,
        "depths": (2,),
        "num_heads": (2,),
        "window_size": 8,
        "squeeze_factor": 6,
        "compress_ratio": 3,
    },
    "grla-s": {"num_features": 8, "num_blocks": 1},
    "psrt-s": {"bands": 5, "embed": 8, "num_heads": 2},
}


def pictures(name: str, height: int, width: int) -> list[np.ndarray]:
    """A pattern of its own for each thread."""
    y, x = np.mgrid[:height, :width][..., None]
    return [
        np.rint(127.5 + 120 * np.sin((x * (k + 1) + y * (3 - k)) / 4 + np.arange(3))).astype("u1")
        for k in range(_THREADS)
    ]


def maps(channels: int, height: int, width: int) -> list[np.ndarray]:
    y, x = np.mgrid[:height, :width]
    waves = [
        np.stack([0.5 + 0.4 * np.sin((x * (k + 1) + y * (c + 1)) / 5) for c in range(channels)])
        for k in range(_THREADS)
    ]
    return [wave[None].astype(np.float32) for wave in waves]


def of_pictures(name: str, **settings: Any) -> Callable[[], Run]:
    def make() -> Run:
        return Upscaler(network(name, **_NETWORKS[name]), **settings).upscale_array

    return make


def of_pixels(name: str, engine: Any, dtype: Any) -> Callable[[], Run]:
    def make() -> Run:
        made = create_pixel_engine(
            find_network(network(name, **_NETWORKS[name])), engine, "auto", None
        )
        return lambda pixels: made.run(pixels, np.dtype(dtype))

    return make


def of_maps(name: str, engine: Any, precision: Any = "auto") -> Callable[[], Run]:
    def make() -> Run:
        found = find_network(network(name, **_NETWORKS[name]))
        return create_engine(found, engine, precision, None).run

    return make


CASES: dict[str, tuple[Callable[[], Run], str]] = {
    **{
        f"upscaler, {name}, {engine}": (of_pictures(name, engine=engine, tile=None), "pictures")
        for name in ("sesr-m3", "edsr-small", "hat-s", "grla-s")
        for engine in ("openvino", "torch")
    },
    "upscaler, exact tiles": (of_pictures("grla-s", tile=16, exact_tiles=True), "pictures"),
    "upscaler, tiles that fade": (
        of_pictures("hat-s", engine="openvino", tile=16),
        "pictures",
    ),
    "upscaler, ensemble": (of_pictures("sesr-m3", ensemble=True), "pictures"),
    "upscaler, a chain of networks": (of_pictures("sesr-m3", scale=3.5), "pictures"),
    "pixels, fused, to float": (of_pixels("sesr-m3", "openvino", np.float32), "pictures"),
    "pixels, beside, to float": (of_pixels("edsr-small", "openvino", np.float32), "pictures"),
    **{
        f"maps, {name}, {engine}": (of_maps(name, engine), "maps")
        for name in ("sesr-m3", "hat-s", "psrt-s")
        for engine in ("openvino", "torch")
    },
    "maps, psrt-s, openvino, bf16": (of_maps("psrt-s", "openvino", "bf16"), "maps"),
}
_CHANNELS = {"sesr-m3": 1, "hat-s": 3, "psrt-s": 8}


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    """Python changes threads a thousand times as often as it does by default."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("case", CASES)
def test_threads_get_what_one_alone_gets(case: str) -> None:
    make, kind = CASES[case]
    run = make()
    if kind == "pictures":
        inputs = pictures(case, 33, 41)
    else:
        channels = next(c for name, c in _CHANNELS.items() if name in case)
        inputs = maps(channels, 32, 48)
    alone = [run(each) for each in inputs]
    # A result of another thread would differ by far.
    for k, other in enumerate(alone):
        assert np.abs(other.astype(np.float64) - alone[k - 1]).max() > 0.02
    _together(run, inputs, alone, calls=15 if "openvino" in case or "fused" in case else 8)


@pytest.mark.parametrize("name", ["sesr-m3", "edsr-small", "hat-s"])
def test_threads_may_bring_pictures_of_different_sizes_and_the_first_of_all(name: str) -> None:
    """Nothing is compiled yet when they begin."""
    inputs = [
        picture[: 20 + 3 * k, : 30 - 2 * k].copy()
        for k, picture in enumerate(pictures(name, 33, 41))
    ]
    reference = of_pictures(name, engine="torch", tile=None)()
    alone = [reference(each) for each in inputs]
    for _ in range(3):
        run = of_pictures(name, engine="openvino", precision="fp32", tile=None)()
        _together(run, inputs, alone, calls=4, within=1)


def test_threads_may_make_engines_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tracing is torch's, and not for threads; all end with the same graph."""
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path))
    (picture, *_) = pictures("", 20, 30)

    models = [network("edsr-small", **_NETWORKS["edsr-small"]) for _ in range(_THREADS)]

    def call(model: Model) -> np.ndarray:
        return Upscaler(model, engine="openvino").upscale_array(picture)

    expected = call(models[0])
    for graph in (tmp_path / "graphs").iterdir():
        graph.unlink()
    with ThreadPoolExecutor(_THREADS) as pool:
        for result in pool.map(call, models):
            np.testing.assert_array_equal(result, expected)
    assert len(list((tmp_path / "graphs").iterdir())) == 2


def _together(
    run: Run, inputs: list[np.ndarray], alone: list[np.ndarray], calls: int, within: int = 0
) -> None:
    start = Barrier(len(inputs))

    def call_often(k: int) -> None:
        start.wait()
        for _ in range(calls):
            result = run(inputs[k])
            difference = np.abs(result.astype(np.float64) - alone[k]).max()
            assert difference <= within, f"thread {k}: {difference:.3g} from its own result"

    with ThreadPoolExecutor(len(inputs)) as pool:
        for finished in [pool.submit(call_often, k) for k in range(len(inputs))]:
            finished.result()
