"""LAM: which pixels of its input a network uses to draw a window of its result.

Gu and Dong, "Interpreting Super-Resolution Networks with Local Attribution Maps", CVPR 2021
(arXiv 2011.11036). The picture is led from a blurred version to itself, sharper step by step; at
each step the gradient of how much detail the window shows is multiplied by what the step added.
The sum is each input pixel's part in that detail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vernier.devices import memory_errors
from vernier.errors import InputError
from vernier.imaging import to_colour
from vernier.imaging.borders import reflected
from vernier.models.frozen import frozen_twin
from vernier.zoo.checkpoints import load_model

__all__ = [
    "AttributionMap",
    "Explanation",
    "PathName",
    "Window",
    "around",
    "blur",
    "blur_kernel",
    "explain",
]

PathName = Literal["blur", "gaussian_linear", "linear"]

_MASS = 0.95
# The variance of a pixel's own extent, where a map has no spread in some direction.
_PIXEL_VARIANCE = 1 / 12


class Window(NamedTuple):
    """A square of the result: column and row of its upper left pixel, and its side."""

    x: int
    y: int
    size: int

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read "X,Y,SIZE".

        Raises:
            InputError: not three whole numbers, the last above zero.
        """
        parts = text.split(",")
        if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
            raise InputError(f"a window is X,Y,SIZE in pixels, for example 120,80,16, not {text!r}")
        window = cls(*map(int, parts))
        if window.size < 1:
            raise InputError(f"a window needs a side of at least 1 pixel, not {window.size}")
        return window

    def check(self, height: int, width: int) -> None:
        """Raises InputError unless the window lies inside a picture of this size."""
        x, y, size = self
        if min(x, y) < 0 or size < 1 or x + size > width or y + size > height:
            raise InputError(
                f"the window {x},{y},{size} does not lie inside the picture of {width}x{height}"
            )


@dataclass(frozen=True, eq=False)
class AttributionMap:
    """Each input pixel's part in the detail of the window.

    Attributes:
        attribution: (C, h, w), signed; for the input as the network sees it (luma, RGB, bands).
    """

    attribution: Tensor

    @cached_property
    def saliency(self) -> Tensor:
        """(h, w): the size of the sum over channels, the largest being 1; zeros if none is."""
        size = self.attribution.sum(0).abs()
        return size / size.max() if size.any() else size

    @cached_property
    def gini(self) -> float:
        """Inequality of the saliency, 0 (all pixels alike) to 1 (one pixel, or none, has it)."""
        if not self.saliency.any():
            return 1.0
        mass = (self.saliency.double().flatten() + 1e-7).sort().values
        count = len(mass)
        rank = torch.arange(1, count + 1, dtype=mass.dtype, device=mass.device)
        return (((2 * rank - count - 1) * mass).sum() / (count * mass.sum())).item()

    @property
    def diffusion_index(self) -> float:
        """(1 - Gini) * 100: the larger, the more pixels have a part. Depends on the map's size."""
        return (1 - self.gini) * 100

    @cached_property
    def pixels(self) -> int:
        """How many pixels, the strongest first, hold 95 % of the saliency."""
        mass = self.saliency.double().flatten().sort(descending=True).values.cumsum(0)
        return int((mass < _MASS * mass[-1]).sum()) + 1 if mass[-1] else 0

    @cached_property
    def density(self) -> Tensor:
        """(h, w), largest 1: the area of contribution.

        A Gaussian kernel density estimate weighted by the saliency, its bandwidth by Scott's rule,
        on the full covariance.
        """
        height, width = self.saliency.shape
        if not self.saliency.any():
            return self.saliency
        mass = self.saliency.double() / self.saliency.double().sum()

        def grid(rows: Tensor, columns: Tensor) -> Tensor:
            return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)

        def count(start: int, stop: int) -> Tensor:
            return torch.arange(start, stop, dtype=mass.dtype, device=mass.device)

        places = grid(count(0, height), count(0, width))
        away = (places - (mass[..., None] * places).sum((0, 1))).flatten(0, 1)
        repeated = mass.square().sum()
        covariance = (away * mass.reshape(-1, 1)).T @ away / (1 - repeated).clamp_min(1e-12)
        covariance = covariance * repeated ** (1 / 3)
        if torch.linalg.det(covariance) < 1e-9:
            covariance = covariance + _PIXEL_VARIANCE * torch.eye(2).to(covariance)
        offsets = grid(count(1 - height, height), count(1 - width, width))
        distance = (offsets @ torch.linalg.inv(covariance) * offsets).sum(-1)
        # All pairs of pixels at once: a sum over kernels on a grid is a convolution.
        size = (3 * height - 2, 3 * width - 2)
        product = torch.fft.rfft2(mass, size) * torch.fft.rfft2(torch.exp(-distance / 2), size)
        density: Tensor = torch.fft.irfft2(product, size)[height - 1 :, width - 1 :][
            :height, :width
        ]
        return (density / density.max()).clamp_min(0).float()


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a network's window of the result rests on.

    Attributes:
        window: in pixels of the result.
        maps: "lr", and for a fusion model "guide": an `AttributionMap` for each input that was
            blurred.
        result: (C, H, W), the network's own output for the sharp input, not clipped.
        detail: of the window (see `explain`), for the sharp input.
        detail_at_start: the same for the start of the path.
    """

    window: Window
    maps: Mapping[str, AttributionMap]
    result: Tensor
    detail: float
    detail_at_start: float

    @property
    def lr(self) -> AttributionMap:
        """The map of the low-resolution input."""
        return self.maps["lr"]

    @property
    def attributed(self) -> float:
        """The sum of all attributions."""
        return sum(each.attribution.double().sum().item() for each in self.maps.values())

    @property
    def completeness_error(self) -> float:
        """How far ``attributed`` is from ``detail - detail_at_start``, as a fraction of the latter.

        Zero in the limit of infinitely many steps (completeness, Sundararajan et al. 2017).
        """
        difference = self.detail - self.detail_at_start
        return abs(self.attributed - difference) / max(abs(difference), 1e-12)


def explain(
    model: str | Path | nn.Module,
    lr: Tensor,
    window: Window | tuple[int, int, int],
    *,
    guide: Tensor | None = None,
    scale: int | None = None,
    blurred: Literal["both", "lr", "guide"] = "both",
    path: PathName = "blur",
    steps: int = 50,
    sigma: float = 1.2,
    radius: int = 4,
    memory: float = 2**30,
) -> Explanation:
    """Attribute the detail in a window of the result to the pixels of the input.

    The detail is the sum over channels and the window of the length of the forward-difference
    gradient; where that length is zero its own gradient is taken as zero. Along the blur the
    attribution is the right Riemann sum of gradient times step; along a straight line the mean
    gradient, ends included, times the way. What runs is a twin of the model in eval mode that
    shares its weights: the model itself is not touched, and several threads may explain it.

    Args:
        model: a name or a file for `vernier.load_model`, or a module with ``scale`` and
            ``colour`` ("luma", "rgb" or "cube"), on any device.
        lr: (C, h, w) in [0, 1], any size. Gray or RGB whatever the model sees: luma models get the
            BT.601 luma, RGB models three copies of gray. For a fusion model the cube.
        window: in pixels of the result; the gradient of its last row and column needs the pixels
            beyond, and is left out where there are none.
        guide: (C, scale h, scale w) for a fusion model.
        scale: chooses among a name's weights.
        blurred: for a fusion model, which inputs the path blurs, and so gets a map. "both" walks
            one path, with the same blur in the scene (the guide's is ``scale`` times as wide in
            its pixels), and the two maps together are complete; with "lr" or "guide" the other
            input stays sharp, and one map is complete by itself.
        path: "blur", the paper's progressive blur; "gaussian_linear", straight from the blurred
            picture to the sharp one; "linear", from black.
        steps: points on the path (the paper's code takes 50; 25 moved a map by 1 %).
        sigma: of the Gaussian at the start, in LR pixels.
        radius: of its kernel, in LR pixels.
        memory: bytes that a batch of steps may use, by what the first step left for its backward
            pass; a step that needs more runs alone. Where the machine has less, batches get
            smaller.

    Raises:
        InputError: a model, picture, window or setting that cannot be used; or nothing in the
            window depends on what the path changes.
        MemoryError: the memory does not suffice for one step; explain a smaller part.

    Example:
        >>> import torch
        >>> found = explain("sesr-m3", torch.rand(3, 24, 32), (20, 20, 8), scale=2, steps=5)
        >>> found.lr.attribution.shape
        torch.Size([1, 24, 32])
        >>> found.lr.diffusion_index > 0
        True
    """
    window = Window(*window)
    if steps < 2 or radius < 1 or not sigma > 0:
        raise InputError("steps must be at least 2, radius at least 1 and sigma positive")
    module = frozen_twin(model if isinstance(model, nn.Module) else load_model(model, scale)[0])
    with memory_errors(), torch.inference_mode(False), torch.enable_grad():
        own_scale, inputs = _inputs(module, lr, guide)
        window.check(own_scale * lr.shape[-2], own_scale * lr.shape[-1])
        moving = list(inputs) if blurred == "both" else [blurred]
        if not inputs.keys() >= set(moving):
            raise InputError(f"{type(module).__name__} has no guide to blur")
        walks = {
            name: _walk(inputs[name], path, steps, sigma * zoom, radius * zoom)
            for name, zoom in (("lr", 1), ("guide", own_scale))
            if name in moving
        }
        return _integrate(module, inputs, walks, window, steps, memory)


def _integrate(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    walks: Mapping[str, _Walk],
    window: Window,
    steps: int,
    memory: float,
) -> Explanation:
    def run(points: Mapping[str, Tensor]) -> Tensor:
        count = len(next(iter(points.values())))
        result: Tensor = module(
            *(points.get(name, image.expand(count, -1, -1, -1)) for name, image in inputs.items())
        )
        return result

    def steps_from(first: int, stop: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The results, their detail, and what the steps add to the sum of each input."""
        points = {
            name: torch.stack([walk.point(i) for i in range(first, stop)]).requires_grad_()
            for name, walk in walks.items()
        }
        result = run(points)
        detail = _detail(result, window)
        gradients = torch.autograd.grad(
            detail.sum(), list(points.values()), allow_unused=True, materialize_grads=True
        )
        parts = {}
        for (name, walk), gradient in zip(walks.items(), gradients):
            own = (g * walk.step(i) for i, g in zip(range(first, stop), gradient))
            parts[name] = reduce(torch.add, own)
        return result.detach(), detail.detach(), parts

    with torch.no_grad():
        start = run({name: walk.start[None] for name, walk in walks.items()})
        detail_at_start = _detail(start, window).item()
    sums = {name: torch.zeros_like(inputs[name]) for name in walks}
    result, detail = start, start
    done, batch = 0, 1
    while done < steps:
        stop = min(done + batch, steps)
        try:
            with memory_errors(), _saved_bytes(module) as saved:
                result, detail, parts = steps_from(done, stop)
        except MemoryError:
            if stop - done == 1:
                raise
            batch = (stop - done) // 2
            continue
        for name, part in parts.items():
            sums[name] += part
        if not done:
            # The backward pass holds gradients beside what was saved for it.
            batch = max(1, int(memory // (2 * sum(saved.values()) + 1)))
        done = stop
    if not all(each.isfinite().all() for each in sums.values()):
        raise InputError(f"{type(module).__name__} has gradients that are not finite here")
    if not any(each.any() for each in sums.values()):
        raise InputError(
            f"nothing in the window {','.join(map(str, window))} depends on the detail of the "
            "picture: it is flat here; choose another window"
        )
    return Explanation(
        window,
        {name: AttributionMap(each) for name, each in sums.items()},
        result[-1],
        detail[-1].item(),
        detail_at_start,
    )


def _detail(result: Tensor, window: Window) -> Tensor:
    """(B, C, H, W) -> (B,): the summed length of the gradient inside the window."""
    x, y, size = window
    part = result[..., y : y + size + 1, x : x + size + 1]
    # A window at the border has no pixel beyond; its gradient map is one shorter there.
    down = part[..., :-1, :-1] - part[..., 1:, :-1]
    right = part[..., :-1, :-1] - part[..., :-1, 1:]
    square = down.square() + right.square()
    flat = square == 0
    length = torch.where(flat, 1.0, square).sqrt()
    return torch.where(flat, 0.0, length).sum((-3, -2, -1))


@dataclass(frozen=True)
class _Walk:
    """From ``start`` to the picture: where the gradient of step i is taken, and what it adds."""

    start: Tensor
    point: Callable[[int], Tensor]
    step: Callable[[int], Tensor]


def _walk(image: Tensor, path: PathName, steps: int, sigma: float, radius: int) -> _Walk:
    """The way to ``image``, whose last point is the image itself."""

    def blurred(i: int) -> Tensor:
        return blur(image, sigma * (1 - i / steps), radius)

    if path == "blur":
        return _Walk(blurred(0), lambda i: blurred(i + 1), lambda i: blurred(i + 1) - blurred(i))
    if path not in ("gaussian_linear", "linear"):
        raise InputError(f"path must be blur, gaussian_linear or linear, not {path!r}")
    start = blurred(0) if path == "gaussian_linear" else torch.zeros_like(image)
    return _Walk(
        start,
        lambda i: torch.lerp(start, image, i / (steps - 1)),
        lambda _: (image - start) / steps,
    )


def blur_kernel(sigma: float, radius: int) -> Tensor:
    """(2 radius + 1,) float64, sum 1; its outer product with itself is the Gaussian kernel."""
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-offsets.square() / (2 * (sigma + 1e-5) ** 2))
    return kernel / kernel.sum()


def blur(image: Tensor, sigma: float, radius: int) -> Tensor:
    """(C, h, w) -> the same, blurred; the border is mirrored without repeating the edge."""
    kernel = blur_kernel(sigma, radius).to(image)
    height, width = image.shape[-2:]
    rows, columns = (
        reflected(torch.arange(-radius, length + radius), length) for length in (height, width)
    )
    padded = image[:, rows][:, :, columns][:, None]
    narrow = F.conv2d(padded, kernel.view(1, 1, -1, 1))
    return F.conv2d(narrow, kernel.view(1, 1, 1, -1))[:, 0]


def _inputs(module: nn.Module, lr: Tensor, guide: Tensor | None) -> tuple[int, dict[str, Tensor]]:
    """The scale, and what the network is given, in the order of its arguments."""
    kind = type(module).__name__
    scale, colour = getattr(module, "scale", None), getattr(module, "colour", None)
    if not isinstance(scale, int) or colour not in ("luma", "rgb", "cube"):
        raise InputError(
            f"{kind} cannot be explained: it needs the attributes scale (an integer) "
            'and colour ("luma", "rgb" or "cube")'
        )
    if lr.ndim != 3 or not lr.is_floating_point():
        raise InputError(
            f"expected a picture (C, h, w) in [0, 1], got {tuple(lr.shape)} {lr.dtype}"
        )
    if colour != "cube" and lr.shape[0] not in (1, 3):
        raise InputError(f"expected 1 or 3 channels, got {lr.shape[0]}")
    if (guide is not None) != (colour == "cube"):
        raise InputError(f"{kind} {'needs a' if colour == 'cube' else 'takes no'} guide")
    like = next(module.parameters(), lr)
    # Copies, as tensors of inference mode cannot take part in gradients.
    inputs = {"lr": lr.to(like).clone()}
    if colour != "cube":
        inputs["lr"] = to_colour(inputs["lr"], colour).contiguous()
    if guide is not None:
        if guide.shape[-2:] != (scale * lr.shape[-2], scale * lr.shape[-1]):
            raise InputError(
                f"the guide {tuple(guide.shape)} is not {scale} times as large as the cube "
                f"{tuple(lr.shape)}"
            )
        inputs["guide"] = guide.to(like).clone()
    return scale, inputs


@contextmanager
def _saved_bytes(module: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes by storage that the forward passes inside keep for backward, weights excluded."""
    weights = {each.untyped_storage().data_ptr() for each in module.state_dict().values()}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield saved


def around(
    window: Window, scale: int, lr_size: tuple[int, int], context: int
) -> tuple[int, int, int, int]:
    """The LR square of ``context`` pixels a side around a window, moved to lie in the picture.

    The diffusion index depends on the size of the map: to be comparable, maps need one size (the
    papers take 64).

    Returns:
        Top, left, height and width in LR pixels; smaller than ``context`` only where the picture
        is, larger where the window needs it.
    """
    starts, lengths = [], []
    for position, whole in ((window.y, lr_size[0]), (window.x, lr_size[1])):
        first, last = position // scale, (position + window.size - 1) // scale
        length = min(max(context, last - first + 1), whole)
        start = (first + last + 1 - length) // 2
        starts.append(min(max(start, 0), whole - length))
        lengths.append(length)
    return starts[0], starts[1], lengths[0], lengths[1]
