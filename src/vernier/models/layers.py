"""What several systems share: the contract of a network, padding, windows."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vernier.imaging import imresize
from vernier.imaging.borders import reflected

__all__ = [
    "FusionModel",
    "Model",
    "SRModel",
    "is_recording",
    "is_tracing",
    "pad_to_multiple",
    "reflected_indices",
    "upsample_bicubic",
    "window_merge",
    "window_partition",
]


class Model(nn.Module):
    """What every network tells about itself, and its way to the form that is executed.

    A network of your own derives from `SRModel` or `FusionModel`, takes ``scale`` among the
    arguments of its constructor and sets the attribute of that name; what else it must have is
    stated there. All of the following has a default that it may keep.

    A network whose training form differs from what is executed (collapsible blocks, batch norms
    that fold) overrides ``deployed``, ``deploy`` and ``skeleton``.

    Attributes:
        architecture: the family's name, for networks that come with Vernier.
        scale: upscaling factor.
        channels: in and out; of a network for pictures 1 or 3, as its ``colour`` says.
        size_multiple: what height and width are padded to inside the network.
    """

    architecture: ClassVar[str]
    scale: int
    channels: int
    size_multiple: int = 1

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        model = super().__new__(cls)
        # Before torch's own bookkeeping exists.
        model.__dict__["_arguments"] = _bound(cls, args, kwargs)
        return model

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "architecture" not in cls.__dict__:
            cls.architecture = f"{cls.__module__}:{cls.__qualname__}"
        channels = {"luma": 1, "rgb": 3}.get(cls.__dict__.get("colour", ""))
        if channels and "channels" not in cls.__dict__:
            cls.channels = channels

    @property
    def config(self) -> dict[str, Any]:
        """The constructor arguments that make this network, without ``scale``.

        By default those that it was built with, defaults included. They must fit into JSON, or be
        told here in a form that does.

        Raises:
            NotImplementedError: the constructor takes any number of positional arguments.
        """
        arguments: dict[str, Any] | None = self.__dict__["_arguments"]
        if arguments is None:
            raise NotImplementedError(f"{type(self).__name__} must implement config")
        return {name: _plain(value) for name, value in arguments.items()}

    @property
    def receptive_radius(self) -> int | None:
        """LR pixels on each side that an output pixel depends on; None = all."""
        return None

    @property
    def deployed(self) -> bool:
        """Whether it is in the form that is executed."""
        return True

    def deploy(self) -> Self:
        """A copy in the form that is executed; same function."""
        return copy.deepcopy(self)

    def skeleton(self) -> Self:
        """An untrained network in the form that is executed; deployed weights load into it."""
        return copy.deepcopy(self)

    @torch.no_grad()
    def init_from(self, other: nn.Module) -> list[str]:
        """Start from another trained network: every tensor of equal name and shape is copied.

        Returns:
            Names of the tensors that were copied.

        Raises:
            ValueError: nothing fits.
        """
        theirs = other.state_dict()
        mine = self.state_dict()
        copied = [key for key in mine if key in theirs and theirs[key].shape == mine[key].shape]
        if not copied:
            raise ValueError(f"no tensor of {type(other).__name__} fits {type(self).__name__}")
        for key in copied:
            mine[key].copy_(theirs[key])
        return copied


def _bound(
    kind: type[Model], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any] | None:
    """A constructor's arguments by name, with their defaults and without ``scale``.

    None = some of them have no name.
    """
    signature = inspect.signature(kind.__init__)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    try:
        bound = signature.bind_partial(None, *args, **kwargs)
    except TypeError:
        # The constructor will say so itself.
        return None
    bound.apply_defaults()
    arguments = dict(list(bound.arguments.items())[1:])
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            arguments |= arguments.pop(name, {})
    arguments.pop("scale", None)
    return {name: _plain(value) for name, value in arguments.items()}


def _plain(value: Any) -> Any:
    """Mappings and sequences as JSON gives them back, and copied."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


class SRModel(Model):
    """A network for single pictures: ``forward(lr) -> hr``, any size from 1x1 up.

    ``lr`` is (B, C, H, W) in [0, 1], C = 1 (luma) or 3 (RGB); ``hr`` (B, C, scale H, scale W).
    A network of your own states ``colour`` ("luma" or "rgb") and implements ``forward``.
    """

    colour: Literal["luma", "rgb"]


class FusionModel(Model):
    """A network for hyperspectral fusion: ``forward(lr, guide, upsampled=None) -> hr``.

    ``channels`` are the bands; ``size_multiple`` and ``receptive_radius`` are counted in guide
    pixels. A network of your own sets ``channels`` and ``guide_channels`` and implements
    ``forward_aligned``.
    """

    colour: Literal["cube"] = "cube"
    guide_channels: int

    def forward(self, lr: Tensor, guide: Tensor, upsampled: Tensor | None = None) -> Tensor:
        """Fuse cubes with their guides.

        Args:
            lr: (B, bands, H, W) in [0, 1].
            guide: (B, guide_channels, scale H, scale W) in [0, 1].
            upsampled: the cube at the guide's size, (B, bands, scale H, scale W); None = made from
                ``lr`` by MATLAB's bicubic. Where it is given, ``lr`` is not read.

        Returns:
            (B, bands, scale H, scale W), not clipped.

        Raises:
            ValueError: the sizes do not fit.
        """
        self._check_sizes(lr, guide, upsampled)
        if upsampled is None:
            upsampled = upsample_bicubic(lr, self.scale)
        height, width = guide.shape[-2:]
        both = pad_to_multiple(torch.cat([upsampled, guide], 1), self.size_multiple)
        detail = self.forward_aligned(both)[..., :height, :width]
        return upsampled + detail

    def forward_aligned(self, both: Tensor) -> Tensor:
        """What is added to the upsampled cube, free of branches on the size: it can be traced.

        Args:
            both: upsampled cube and guide, (B, bands + guide_channels, H, W), sides multiples of
                ``size_multiple``.

        Returns:
            (B, bands, H, W).
        """
        raise NotImplementedError

    def _check_sizes(self, lr: Tensor, guide: Tensor, upsampled: Tensor | None) -> None:
        batch, _, height, width = lr.shape
        size = (self.scale * height, self.scale * width)
        wanted = {
            "cube": (lr, (batch, self.channels, height, width)),
            "guide": (guide, (batch, self.guide_channels, *size)),
        }
        if upsampled is not None:
            wanted["upsampled cube"] = (upsampled, (batch, self.channels, *size))
        for name, (tensor, shape) in wanted.items():
            if tuple(tensor.shape) != shape:
                raise ValueError(
                    f"the {name} must be {shape} (batch, channels, height, width) for a "
                    f"x{self.scale} network of {self.channels} bands and a {height}x{width} cube; "
                    f"it is {tuple(tensor.shape)}"
                )


def is_tracing() -> bool:
    """Whether torch traces what runs, into a graph for another engine that serves every size."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing


def is_recording() -> bool:
    """Whether torch traces or compiles what runs, to execute it at other sizes too."""
    return is_tracing() or torch.compiler.is_compiling()


def pad_to_multiple(
    x: Tensor, multiple: int, mode: Literal["reflect", "replicate"] = "reflect"
) -> Tensor:
    """(B, C, H, W) -> the same, extended below and to the right to a multiple; crop it again.

    Reflection that is longer than the picture reflects again, so that even 1x1 works.
    """
    height, width = x.shape[-2:]
    below, right = -height % multiple, -width % multiple
    # A recorded graph is for every size: it must not remember what this one needed.
    recording = is_recording()
    if not recording and not below and not right:
        return x
    if mode == "replicate":
        return F.pad(x, (0, right, 0, below), mode="replicate")
    if not recording and below < height and right < width:
        return F.pad(x, (0, right, 0, below), mode="reflect")
    rows = reflected_indices(height, below, x.device)
    columns = reflected_indices(width, right, x.device)
    return x.index_select(-2, rows).index_select(-1, columns)


def upsample_bicubic(lr: Tensor, scale: int) -> Tensor:
    """(B, C, H, W) -> (B, C, scale H, scale W) by MATLAB's bicubic; may leave the value range."""
    return imresize(lr, float(scale))


def reflected_indices(length: int, more: int, device: torch.device) -> Tensor:
    """Indices 0 ... length + more - 1, walked to and fro, without repeating the ends."""
    return reflected(torch.arange(length + more, device=device), length)


def window_partition(x: Tensor, window_size: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, window_size**2, C), windows and tokens row by row."""
    batch, height, width, channels = x.shape
    s = window_size
    x = x.view(batch, height // s, s, width // s, s, channels).transpose(2, 3)
    return x.reshape(-1, s * s, channels)


def window_merge(windows: Tensor, window_size: int, height: int, width: int) -> Tensor:
    """Inverse of `window_partition`: (B * windows, window_size**2, C) -> (B, H, W, C)."""
    s = window_size
    x = windows.view(-1, height // s, width // s, s, s, windows.shape[-1]).transpose(2, 3)
    return x.reshape(-1, height, width, windows.shape[-1])
