"""LAM against the authors' numbers, and what their code leaves open."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from scipy.stats import gaussian_kde
from torch import Tensor, nn

import vernier
from vernier.errors import InputError
from vernier.explanation.features import feature_maps
from vernier.explanation.lam import (
    AttributionMap,
    Window,
    around,
    blur,
    blur_kernel,
    explain,
)
from vernier.imaging import imresize, rgb_to_luma
from vernier.models.hat import HAT
from vernier.zoo import create_model

SIGMA, STEPS = 1.2, 50


class TinyConv(nn.Module):
    """The network of the `lam_tinyconv` fixture, for any scale and number of channels."""

    def __init__(self, scale: int = 2, channels: int = 3) -> None:
        super().__init__()
        self.scale = scale
        self.colour = "rgb" if channels == 3 else "luma"
        self.c1 = nn.Conv2d(channels, 8, 5, padding=2)
        self.c2 = nn.Conv2d(8, channels * scale**2, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        return F.pixel_shuffle(self.c2(F.relu(self.c1(lr))), self.scale)


class TinyFusion(nn.Module):
    scale, colour = 2, "cube"

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4 + 3, 4, 3, padding=1)

    def forward(self, lr: Tensor, guide: Tensor) -> Tensor:
        return self.mix(torch.cat([imresize(lr, 2), guide], 1)).tanh()


class Nearest(nn.Module):
    scale, colour = 2, "luma"

    def forward(self, lr: Tensor) -> Tensor:
        return F.interpolate(lr, scale_factor=2.0)


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden" / "hat"


def picture(channels: int, height: int, width: int) -> Tensor:
    """Smooth noise in [0, 1]."""
    return imresize(torch.rand(channels, height, width), size=(height, width)).clamp(0, 1)


@pytest.mark.parametrize(
    ("fixture", "path"),
    [("blur", "blur"), ("gauslinear", "gaussian_linear"), ("linear", "linear")],
)
def test_the_authors_attributions(golden: Path, fixture: str, path: str) -> None:
    arrays = np.load(golden / "lam_tinyconv.npz")
    net = TinyConv()
    net.load_state_dict(load_file(golden / "lam_tinyconv.state.safetensors"))
    found = explain(net, torch.from_numpy(arrays["input"]), (40, 60, 16), path=path)  # type: ignore[arg-type]
    expected = arrays[f"{fixture}_attr"]
    np.testing.assert_allclose(
        found.lr.attribution, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max()
    )
    np.testing.assert_allclose(found.lr.saliency, arrays[f"{fixture}_abs_norm"], atol=1e-5)
    assert found.lr.gini == pytest.approx(arrays[f"{fixture}_gini"].item(), abs=1e-5)
    assert found.lr.diffusion_index == pytest.approx(arrays[f"{fixture}_di"].item(), abs=1e-3)
    np.testing.assert_allclose(found.result, arrays["sr"][0], atol=2e-5)


def test_the_authors_attributions_of_hat(golden: Path) -> None:
    arrays = np.load(golden / "lam_hat_a_x4_w8.npz")
    net = HAT(
        scale=4,
        embed_dim=24,
        depths=(2, 2),
        num_heads=(2, 2),
        window_size=8,
        squeeze_factor=6,
    )
    state = load_file(golden / "a_x4_w8.state.safetensors")
    net.load_state_dict({key: each for key, each in state.items() if "position_index" not in key})
    lr = torch.from_numpy(arrays["input"])
    # What the network caches for inference must not spoil gradients.
    with torch.inference_mode():
        net.eval()(lr[None])
    found = explain(net, lr, (110, 150, 16))
    np.testing.assert_allclose(
        found.lr.attribution, arrays["attr"], rtol=1e-3, atol=1e-5 * np.abs(arrays["attr"]).max()
    )
    assert found.lr.diffusion_index == pytest.approx(arrays["di"].item(), abs=1e-3)
    np.testing.assert_allclose(found.result, arrays["sr"][0], atol=2e-5)


def test_the_authors_blur_and_completeness(golden: Path) -> None:
    arrays = np.load(golden / "lam_tinyconv.npz")
    kernels = [blur_kernel(SIGMA * (1 - i / STEPS), 4).numpy() for i in range(STEPS + 1)]
    squares = [np.outer(kernel, kernel) for kernel in kernels]
    np.testing.assert_allclose(squares, arrays["kernels"], atol=1e-12)
    lr = torch.from_numpy(arrays["input"])
    for i, name in ((1, "first"), (25, "mid"), (50, "last")):
        image = blur(lr, SIGMA * (1 - i / STEPS), 4)
        np.testing.assert_allclose(image, arrays[f"blur_path_{name}"], atol=1e-6)
    measured = json.loads((golden / "lam_meta.json").read_text())["results"]
    measured = measured["tinyconv_completeness"]
    net = TinyConv()
    net.load_state_dict(load_file(golden / "lam_tinyconv.state.safetensors"))
    found = explain(net, lr, (40, 60, 16))
    assert found.detail == pytest.approx(measured["D(F(I))"], rel=1e-6)
    assert found.detail_at_start == pytest.approx(measured["D(F(blurred))"], rel=1e-6)
    assert found.attributed == pytest.approx(measured["sum_attr"], rel=1e-5)
    assert found.completeness_error == pytest.approx(2.574963 / 2.569031 - 1, abs=1e-4)


def test_the_authors_density(golden: Path) -> None:
    arrays = np.load(golden / "lam_hat_a_x4_w8.npz")
    found = AttributionMap(torch.from_numpy(arrays["attr"]))
    np.testing.assert_allclose(found.density, arrays["kde_normed"], atol=1e-6)
    assert found.diffusion_index == pytest.approx(arrays["di"].item(), abs=1e-3)


def test_density_is_scipys_on_any_shape() -> None:
    found = AttributionMap(torch.rand(1, 7, 12) ** 3)
    rows, columns = np.mgrid[:7, :12]
    places = np.stack([rows.ravel(), columns.ravel()])
    expected = gaussian_kde(places, weights=found.saliency.numpy().ravel())(places).reshape(7, 12)
    np.testing.assert_allclose(found.density, expected / expected.max(), atol=1e-6)


def test_density_of_one_pixel_peaks_there() -> None:
    attribution = torch.zeros(1, 9, 5)
    attribution[0, 6, 1] = -3.0
    density = AttributionMap(attribution).density
    assert density.isfinite().all()
    assert divmod(int(density.argmax()), 5) == (6, 1)
    assert AttributionMap(torch.rand(1, 1, 6)).density.isfinite().all()


def test_gini_and_pixels_at_the_ends() -> None:
    even = AttributionMap(torch.full((1, 10, 10), 0.3))
    assert even.diffusion_index == pytest.approx(100, abs=1e-6)
    assert even.pixels == 95
    one = torch.zeros(2, 10, 10)
    one[:, 4, 4] = 1
    assert AttributionMap(one).gini == pytest.approx(0.99, abs=1e-4)
    assert AttributionMap(one).pixels == 1
    none = AttributionMap(torch.zeros(1, 10, 10))
    assert (none.diffusion_index, none.pixels) == (0, 0)
    cancelling = AttributionMap(torch.stack([one[0], -one[0]]))
    assert not cancelling.saliency.any()


def test_steps_are_batched_within_the_memory() -> None:
    net = TinyConv()
    batches: list[int] = []
    net.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    lr = picture(3, 20, 24)
    alone = explain(net, lr, (10, 10, 8), steps=12, memory=0)
    assert batches == [1] * 13
    batches.clear()
    together = explain(net, lr, (10, 10, 8), steps=12)
    assert batches == [1, 1, 11]
    batches.clear()
    # What a step keeps for its backward pass is at least the eight channels after the relu.
    explain(net, lr, (10, 10, 8), steps=12, memory=6 * 2 * 8 * 4 * 20 * 24)
    assert 1 < max(batches) <= 6
    torch.testing.assert_close(together.lr.attribution, alone.lr.attribution)


@pytest.mark.parametrize(
    "refusal", [torch.OutOfMemoryError("CUDA out of memory. Tried"), MemoryError("none left")]
)
def test_batches_get_smaller_until_the_memory_suffices(refusal: BaseException) -> None:
    net = TinyConv()
    batches: list[int] = []
    fits = 3

    def refuse(_: nn.Module, inputs: tuple[Tensor]) -> None:
        batches.append(len(inputs[0]))
        if batches[-1] > fits:
            raise refusal

    lr = picture(3, 20, 24)
    expected = explain(net, lr, (10, 10, 8), steps=12)
    net.register_forward_pre_hook(refuse)
    found = explain(net, lr, (10, 10, 8), steps=12)
    assert batches == [1, 1, 11, 5, 2, 2, 2, 2, 2, 1]
    torch.testing.assert_close(found.lr.attribution, expected.lr.attribution)
    torch.testing.assert_close(found.result, expected.result)
    fits = 0
    with pytest.raises(MemoryError):
        explain(net, lr, (10, 10, 8), steps=12)
    with pytest.raises(MemoryError):
        feature_maps(net, lr, ["c1"])


def test_the_module_stays_as_it_is() -> None:
    net = nn.Sequential(TinyConv(), nn.Dropout(0.5))
    net.scale, net.colour = 2, "rgb"
    net.train()
    net[1].eval()
    net[0].c2.weight.requires_grad_(False)
    with torch.inference_mode():
        first = explain(net, picture(3, 12, 12), (4, 4, 8), steps=4)
    assert not first.lr.attribution.is_inference()
    assert net.training
    assert net[0].training
    assert not net[1].training
    assert [p.requires_grad for p in net.parameters()] == [True, True, False, True]
    assert all(p.grad is None for p in net.parameters())
    net[1].train()
    lr = picture(3, 12, 12)
    a, b = (explain(net, lr, (4, 4, 8), steps=4).lr.attribution for _ in range(2))
    assert torch.equal(a, b)


def test_flat_pixels_do_not_spoil_the_rest() -> None:
    lr = torch.full((1, 16, 16), 0.5)
    lr[0, 6:10, 7:9] = torch.rand(4, 2)
    found = explain(Nearest(), lr, (4, 4, 24))
    assert found.lr.attribution.isfinite().all()
    assert found.lr.saliency.max() == 1
    with pytest.raises(InputError, match="flat here; choose another window"):
        explain(Nearest(), torch.full((1, 16, 16), 0.5), (4, 4, 8))


def test_only_pixels_that_the_window_sees_take_part() -> None:
    found = explain(Nearest(), torch.rand(1, 16, 12), (8, 12, 6))
    used = torch.zeros(16, 12, dtype=torch.bool)
    # Six columns from 8 and their right neighbours, six rows from 12 and those below.
    used[6:10, 4:8] = True
    assert (found.lr.saliency[~used] == 0).all()
    assert (found.lr.saliency[used] > 0).sum() >= 12
    # On a straight line the detail of a homogeneous network grows evenly; of the three points only
    # the first, black, has no gradient.
    straight = explain(Nearest(), torch.rand(1, 16, 12), (8, 12, 6), path="linear", steps=3)
    assert straight.attributed == pytest.approx(straight.detail * 2 / 3, rel=1e-5)


@pytest.mark.parametrize(("scale", "size"), [(1, (13, 9)), (2, (3, 17)), (3, (11, 10))])
def test_any_size_and_scale(scale: int, size: tuple[int, int]) -> None:
    net = TinyConv(scale).double()
    lr = picture(3, *size)
    height, width = size[0] * scale, size[1] * scale
    # In the corner: the gradient of the last row and column has no neighbour.
    found = explain(net, lr, (width - 3, height - 3, 3), steps=200)
    assert found.lr.attribution.shape == lr.shape
    assert found.result.shape == (3, height, width)
    assert found.completeness_error < 0.03


def test_models_see_their_own_colour() -> None:
    rgb = picture(3, 12, 12)
    luma = create_model("sesr-m3", scale=2)
    from_rgb = explain(luma, rgb, (6, 6, 8), steps=5)
    from_luma = explain(luma, rgb_to_luma(rgb), (6, 6, 8), steps=5)
    assert from_rgb.lr.attribution.shape == (1, 12, 12)
    torch.testing.assert_close(from_rgb.lr.attribution, from_luma.lr.attribution)
    gray = explain(TinyConv(), rgb[:1], (6, 6, 8), steps=5)
    copies = explain(TinyConv(), rgb[:1].repeat(3, 1, 1), (6, 6, 8), steps=5)
    assert gray.lr.attribution.shape == copies.lr.attribution.shape == (3, 12, 12)


def test_fusion_blurs_both_inputs_or_one() -> None:
    net = TinyFusion()
    lr, guide = picture(4, 8, 10), picture(3, 16, 20)
    for blurred, names in (("both", ["lr", "guide"]), ("lr", ["lr"]), ("guide", ["guide"])):
        found = explain(net, lr, (4, 4, 8), guide=guide, blurred=blurred, steps=300)  # type: ignore[arg-type]
        assert list(found.maps) == names
        for name, image in (("lr", lr), ("guide", guide)):
            if name in names:
                assert found.maps[name].attribution.shape == image.shape
                assert found.maps[name].diffusion_index > 0
        assert found.completeness_error < 0.02


def test_the_public_name_takes_a_models_name() -> None:
    found = vernier.explain("sesr-m3", picture(3, 12, 12), (6, 6, 8), scale=2, steps=3)
    assert found.lr.saliency.max() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": (10, 10, 20)}, "does not lie inside the picture of 24x24"),
        ({"window": (-1, 0, 4)}, "does not lie inside"),
        ({"lr": torch.rand(4, 12, 12)}, "1 or 3 channels, got 4"),
        ({"lr": torch.zeros(3, 12, 12, dtype=torch.uint8)}, "expected a picture"),
        ({"lr": torch.rand(1, 3, 12, 12)}, "expected a picture"),
        ({"guide": torch.rand(3, 24, 24)}, "takes no guide"),
        ({"blurred": "guide"}, "has no guide to blur"),
        ({"path": "curved"}, "path must be"),
        ({"steps": 1}, "steps must be at least 2"),
        ({"model": nn.Conv2d(3, 3, 1)}, "Conv2d cannot be explained"),
        ({"model": TinyFusion(), "lr": torch.rand(4, 12, 12)}, "needs a guide"),
        (
            {"model": TinyFusion(), "lr": torch.rand(4, 12, 12), "guide": torch.rand(3, 12, 12)},
            "not 2 times as large",
        ),
    ],
)
def test_what_cannot_be_explained(change: dict[str, object], message: str) -> None:
    arguments = {"model": TinyConv(), "lr": torch.rand(3, 12, 12), "window": (0, 0, 4), **change}
    with pytest.raises(InputError, match=message):
        explain(**arguments)  # type: ignore[arg-type]


def test_windows_are_read_from_text() -> None:
    assert Window.parse("120, 80,16") == (120, 80, 16)
    for text in ("1,2", "a,b,c", "1,2,0", "-1,2,3", "1,2,3,4"):
        with pytest.raises(InputError, match="window"):
            Window.parse(text)


def test_the_surroundings_of_a_window() -> None:
    assert around(Window(110, 150, 16), 4, (64, 64), 64) == (0, 0, 64, 64)
    top, left, height, width = around(Window(200, 300, 16), 2, (400, 300), 64)
    assert (height, width) == (64, 64)
    assert abs((top + 32) - 154) <= 1
    assert abs((left + 32) - 104) <= 1
    assert around(Window(0, 784, 16), 2, (400, 300), 64) == (336, 0, 64, 64)
    assert around(Window(0, 0, 16), 2, (20, 300), 64)[2:] == (20, 64)
    assert around(Window(10, 10, 31), 3, (40, 40), 4) == (3, 3, 11, 11)


def test_two_threads_explain_one_module_in_training() -> None:
    """The first to come is done while the second is still on its way."""
    inside, first_done = threading.Barrier(2, timeout=60), threading.Event()

    class Waiting(nn.Module):
        scale, colour = 2, "rgb"

        def __init__(self) -> None:
            super().__init__()
            self.conv = TinyConv()
            self.dropout = nn.Dropout(0.5)

        def forward(self, lr: Tensor) -> Tensor:
            name = threading.current_thread().name
            if name in ("first", "second") and name not in met:
                met.add(name)
                inside.wait()
                if name == "second":
                    assert first_done.wait(60)
            return self.conv(self.dropout(lr))

    met: set[str] = set()
    net = Waiting().train()
    lr = picture(3, 12, 12)
    expected = explain(net, lr, (4, 4, 8), steps=4).lr.attribution
    found: dict[str, Tensor] = {}

    def run() -> None:
        name = threading.current_thread().name
        found[name] = explain(net, lr, (4, 4, 8), steps=4).lr.attribution
        if name == "first":
            first_done.set()

    threads = [threading.Thread(target=run, name=name) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.testing.assert_close(found["first"], expected)
    torch.testing.assert_close(found["second"], expected)
    assert all(each.training for each in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())
