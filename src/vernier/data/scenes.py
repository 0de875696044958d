"""Fusion data sets: the field's HDF5 files, read into memory. `scene_files` makes such files.

A file holds four arrays, N x C x H x W: the sharp cube, the coarse one, the coarse one upsampled,
and the guide. Hyperspectral groups call them GT, LRHSI, HSI_up, RGB; pansharpening ones (the
PanCollection) gt, ms, lms, pan, with the sensor's digital numbers inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vernier.errors import InputError
from vernier.imaging.resize import imresize
from vernier.io.cubes import check_inside, find_cubes, open_hdf5
from vernier.io.cubes.axes import nanometres
from vernier.io.cubes.cube import stated_number
from vernier.io.files import shown

__all__ = [
    "FUSION_KEYS",
    "FusionScene",
    "FusionScenes",
    "find_scenes",
    "is_fusion_file",
    "read_fusion",
]

FUSION_KEYS = (("GT", "LRHSI", "HSI_up", "RGB"), ("gt", "ms", "lms", "pan"))
"""Names of gt, lr, upsampled, guide in a file."""

_LAYOUTS = ("NCHW", "NHWC", "WHCN")


class FusionScene(NamedTuple):
    """One scene: ``gt`` and ``upsampled`` (bands, H, W), ``lr`` (bands, h, w), ``guide``
    (channels, H, W), all float32, nominally in [0, 1]; ``gt`` is None where it is not known."""

    name: str
    gt: Tensor | None
    lr: Tensor
    guide: Tensor
    upsampled: Tensor


@dataclass(frozen=True, eq=False)
class FusionScenes:
    """The scenes or patches of a file, stacked.

    Attributes:
        names: one per scene; a patch has its scene's name, "@", row and column.
        gt: (N, bands, H, W) float32, nominally in [0, 1]; None in files without reference.
        lr: (N, bands, H/scale, W/scale).
        guide: (N, channels, H, W).
        upsampled: (N, bands, H, W); may leave [0, 1], as bicubic does.
        scale: H over the height of ``lr``.
        peak: what the file's values were divided by.
        wavelengths: centre of each band in nanometres, where the file says.
        settings: the file's attributes: how it was made.
        notes: what was recognised rather than stated, for people.
    """

    names: tuple[str, ...]
    gt: Tensor | None
    lr: Tensor
    guide: Tensor
    upsampled: Tensor
    scale: int
    peak: float = 1.0
    wavelengths: tuple[float, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> FusionScene:
        gt = None if self.gt is None else self.gt[index]
        return FusionScene(
            self.names[index], gt, self.lr[index], self.guide[index], self.upsampled[index]
        )

    def __iter__(self) -> Iterator[FusionScene]:
        return (self[index] for index in range(len(self)))

    @property
    def bands(self) -> int:
        return self.lr.shape[1]

    @property
    def guide_channels(self) -> int:
        return self.guide.shape[1]

    def check_known(self, path: str | Path) -> None:
        """Refuse scenes that have no data somewhere, where all pixels count.

        Args:
            path: the file, for the message.

        Raises:
            InputError: a value is not a number; the message names the scene.
        """
        for scene in self:
            for array in (scene.gt, scene.lr, scene.guide, scene.upsampled):
                if array is not None and bool(array.isnan().any()):
                    raise InputError(
                        f"{path}: scene {scene.name} has no data (NaN) in places: fill these "
                        "first, cut the part out that has data, or leave the scene out"
                    )

    def select(self, names: Sequence[str]) -> FusionScenes:
        """Only the scenes of these names, or the patches of these scenes, in the file's order.

        Raises:
            InputError: a name that the file does not hold.
        """
        scenes = [name.split("@")[0] for name in self.names]
        if missing := [name for name in names if name not in scenes]:
            raise InputError(
                f"no scene {', '.join(missing)}; the file has {', '.join(dict.fromkeys(scenes))}"
            )
        keep = [index for index, scene in enumerate(scenes) if scene in names]
        return replace(
            self,
            names=tuple(self.names[index] for index in keep),
            gt=None if self.gt is None else self.gt[keep],
            lr=self.lr[keep],
            guide=self.guide[keep],
            upsampled=self.upsampled[keep],
        )

    def patches(self, size: int, stride: int) -> FusionScenes:
        """Cut every scene into squares of ``size`` pixels (of the sharp cube), ``stride`` apart.

        Raises:
            InputError: a size or stride that is no multiple of the scale, or a size larger than
                the scenes.
        """
        height, width = self.guide.shape[-2:]
        places = _places(height, width, size, stride, self.scale)

        def cut(stack: Tensor, scale: int) -> Tensor:
            side = size // scale
            return torch.stack(
                [
                    image[:, row // scale : row // scale + side, col // scale : col // scale + side]
                    for image in stack
                    for row, col in places
                ]
            )

        return replace(
            self,
            names=tuple(_patch_name(name, place) for name in self.names for place in places),
            gt=None if self.gt is None else cut(self.gt, 1),
            lr=cut(self.lr, self.scale),
            guide=cut(self.guide, 1),
            upsampled=cut(self.upsampled, 1),
        )


def _places(height: int, width: int, size: int, stride: int, scale: int) -> list[tuple[int, int]]:
    if size < scale or stride < scale or size % scale or stride % scale:
        raise InputError(f"patch {size}, stride {stride}: give multiples of the scale, {scale}")
    if size > min(height, width):
        raise InputError(f"patch {size} is larger than a scene of {width}x{height}")
    rows, columns = (range(0, length - size + 1, stride) for length in (height, width))
    return [(row, column) for row in rows for column in columns]


def _patch_name(scene: str, place: tuple[int, int]) -> str:
    return f"{scene}@{place[0]},{place[1]}"


def is_fusion_file(path: str | Path) -> bool:
    """Whether a path is an HDF5 file with the arrays of a fusion data set.

    Raises:
        InputError: an ``.h5`` file that cannot be opened.
    """
    if Path(path).suffix.lower() not in (".h5", ".hdf5") or not Path(path).is_file():
        return False
    with open_hdf5(path) as file:
        return _keys_of(file) is not None


def _keys_of(file: Any) -> tuple[str, str, str, str] | None:
    return next(
        (keys for keys in FUSION_KEYS if _is_stack(file, keys[1]) and _is_stack(file, keys[3])),
        None,
    )


def _is_stack(file: Any, key: str) -> bool:
    """Whether a name in an HDF5 file is that of an array of real numbers."""
    item: Any = file.get(key)
    return bool(getattr(item, "shape", None)) and item.dtype.kind in "uif"


def _scene_names(path: Path, file: Any, count: int) -> tuple[str, ...]:
    """Those that the file states, else its own name, numbered."""
    if "names" not in file:
        return tuple(f"{path.stem}-{index:04d}" for index in range(count))
    stated = file["names"]
    size = getattr(stated, "size", None)
    if size != count:
        raise InputError(f"{path}: {size or 'no'} names for {count} scenes; make the file again")
    return tuple(
        name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        for name in np.asarray(stated[...]).ravel().tolist()
    )


def read_fusion(path: str | Path, *, peak: float | None = None) -> FusionScenes:
    """Read a fusion file: GT, LRHSI, HSI_up, RGB, or gt, ms, lms, pan.

    The order of the axes follows from the shapes, as the coarse cube and the guide differ from the
    sharp cube in one known way each: N x C x H x W, N x H x W x C, and the W x H x C x N of a file
    written with reversed dimensions are told apart with certainty. Where the upsampled cube is
    missing it is made by exact bicubic.

    Args:
        path: the file.
        peak: what to divide by; default: the file's attribute "peak", or 1 where no value exceeds
            1. A PanCollection file needs 2047 (WorldView-2, WorldView-3, QuickBird) or 1023
            (GaoFen-2).

    Raises:
        InputError: not such a file, shapes that do not belong together, an unknown range.
    """
    path = Path(path)
    with open_hdf5(path) as file:
        keys = _keys_of(file)
        if keys is None:
            found = ", ".join(map(shown, sorted(file))) or "nothing"
            raise InputError(
                f"{path}: holds {found}, but neither LRHSI and RGB nor ms and pan; "
                "make a fusion file with `vernier data fusion`"
            )
        stored = {
            name: file[key]
            for name, key in zip(("gt", "lr", "upsampled", "guide"), keys)
            if _is_stack(file, key)
        }
        for name, data in stored.items():
            check_inside(path, name, data)
        layout, scale = _layout(path, {name: data.shape for name, data in stored.items()})
        order = [layout.index(axis) for axis in "NCHW"]
        arrays = {
            name: torch.from_numpy(
                np.ascontiguousarray(data.astype(np.float32)[...].transpose(order))
            )
            for name, data in stored.items()
        }
        settings = {name: _plain(value) for name, value in file.attrs.items()}
        names = _scene_names(path, file, len(arrays["lr"]))
    if peak is None:
        peak = _stored_peak(path, settings, arrays)
    if not peak > 0:
        raise InputError(f"peak {peak}: must be above 0")
    if peak != 1:
        arrays = {name: array / peak for name, array in arrays.items()}
    notes: tuple[str, ...] = (
        () if layout == "NCHW" else (f"axes {layout} recognised by the shapes",)
    )
    if "upsampled" not in arrays:
        arrays["upsampled"] = imresize(arrays["lr"], scale)
        notes += ("upsampled cube made by bicubic",)
    wavelengths = nanometres(settings.get("wavelengths") or [], "nm")
    if wavelengths is not None and len(wavelengths) != arrays["lr"].shape[1]:
        bands = arrays["lr"].shape[1]
        notes += (f"{len(wavelengths)} wavelengths are stated for {bands} bands: none is taken",)
        wavelengths = None
    return FusionScenes(
        names=names,
        gt=arrays.get("gt"),
        lr=arrays["lr"],
        guide=arrays["guide"],
        upsampled=arrays["upsampled"],
        scale=scale,
        peak=peak,
        wavelengths=wavelengths,
        settings=settings,
        notes=notes,
    )


def _layout(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, int]:
    """The order of the axes and the scale, from the shapes alone."""
    if all(len(shape) == 4 for shape in shapes.values()):
        for layout in _LAYOUTS:
            sizes = {name: dict(zip(layout, shape)) for name, shape in shapes.items()}
            lr, guide = sizes["lr"], sizes["guide"]
            scale = guide["H"] // max(lr["H"], 1)
            sharp = {**lr, "H": lr["H"] * scale, "W": lr["W"] * scale}
            if (
                scale >= 2
                and guide == {**sharp, "C": guide["C"]}
                and all(sizes.get(name, sharp) == sharp for name in ("gt", "upsampled"))
            ):
                return layout, scale
    listed = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
    raise InputError(
        f"{path}: shapes do not belong together ({listed}); wanted is N x C x H x W, where lr is a "
        "whole number of times smaller and the guide differs in C only"
    )


def _stored_peak(path: Path, settings: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> float:
    if (stated := stated_number(settings.get("peak"))) is not None:
        return stated
    # Bicubic may overshoot, so the upsampled cube says nothing about the range.
    largest = max(
        float(array.nan_to_num(-torch.inf, torch.inf, -torch.inf).max())
        for name, array in arrays.items()
        if name != "upsampled"
    )
    if largest <= 1:
        return 1.0
    raise InputError(
        f"{path}: holds values up to {largest:g} and no peak; pass --peak, the value that stands "
        "for 1 (PanCollection: 2047 for WorldView and QuickBird, 1023 for GaoFen-2)"
    )


def _plain(value: Any) -> Any:
    """An HDF5 attribute as plain Python."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def find_scenes(folders: Sequence[str | Path]) -> dict[str, Path]:
    """Name and path of every cube in the folders (see `find_cubes`); a CAVE scene's name is its
    folder's without "_ms".

    Raises:
        InputError: no cube in a folder, or two of one name.
    """
    scenes: dict[str, Path] = {}
    for path in (path for folder in folders for path in find_cubes(folder)):
        name = (path.name if path.is_dir() else path.stem).removesuffix("_ms")
        if name in scenes:
            raise InputError(f"{path}: {scenes[name]} is a scene {name} too; rename one")
        scenes[name] = path
    return scenes
