"""Fusion data sets: the field's HDF5 files, read into memory and made from sharp cubes.

A file holds four arrays, N x C x H x W: the sharp cube, the coarse one, the coarse one upsampled,
and the guide. Hyperspectral groups call them GT, LRHSI, HSI_up, RGB; pansharpening ones (the
PanCollection) gt, ms, lms, pan, with the sensor's digital numbers inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

from vernier.errors import InputError
from vernier.extras import optional_module
from vernier.imaging.resize import imresize
from vernier.imaging.simulation import Blur, SpectralResponse, simulate
from vernier.io.cubes import Cube, find_cubes, open_hdf5, read_cube

__all__ = [
    "CAVE_TEST_SCENES",
    "FusionScene",
    "FusionScenes",
    "FusionSettings",
    "find_scenes",
    "is_fusion_file",
    "read_fusion",
    "split_scenes",
    "write_fusion",
]

# Names of gt, lr, upsampled, guide.
_KEYS = (("GT", "LRHSI", "HSI_up", "RGB"), ("gt", "ms", "lms", "pan"))
# The eleven scenes on which HSRnet, Fusformer, PSRT and their successors are compared.
CAVE_TEST_SCENES = (
    "balloons",
    "cd",
    "chart_and_stuffed_toy",
    "clay",
    "fake_and_real_beers",
    "fake_and_real_lemon_slices",
    "fake_and_real_tomatoes",
    "feathers",
    "flowers",
    "hairs",
    "jelly_beans",
)
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
    return next((keys for keys in _KEYS if keys[1] in file and keys[3] in file), None)


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
            found = ", ".join(sorted(file)) or "nothing"
            raise InputError(
                f"{path}: holds {found}, but neither LRHSI and RGB nor ms and pan; "
                "make a fusion file with `vernier data fusion`"
            )
        stored = {
            name: file[key]
            for name, key in zip(("gt", "lr", "upsampled", "guide"), keys)
            if key in file
        }
        layout, scale = _layout(path, {name: data.shape for name, data in stored.items()})
        order = [layout.index(axis) for axis in "NCHW"]
        arrays = {
            name: torch.from_numpy(
                np.ascontiguousarray(data.astype(np.float32)[...].transpose(order))
            )
            for name, data in stored.items()
        }
        settings = {name: _plain(value) for name, value in file.attrs.items()}
        count = len(arrays["lr"])
        names = (
            tuple(name.decode() for name in file["names"][...])
            if "names" in file
            else tuple(f"{path.stem}-{index:04d}" for index in range(count))
        )
    if len(names) != count:
        raise InputError(f"{path}: {len(names)} names for {count} scenes; make the file again")
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
    wavelengths = settings.get("wavelengths")
    return FusionScenes(
        names=names,
        gt=arrays.get("gt"),
        lr=arrays["lr"],
        guide=arrays["guide"],
        upsampled=arrays["upsampled"],
        scale=scale,
        peak=peak,
        wavelengths=None if wavelengths is None else tuple(wavelengths),
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
    if "peak" in settings:
        return float(settings["peak"])
    # Bicubic may overshoot, so the upsampled cube says nothing about the range.
    largest = max(float(array.max()) for name, array in arrays.items() if name != "upsampled")
    if largest <= 1:
        return 1.0
    raise InputError(
        f"{path}: holds values up to {largest:g} and no peak; pass --peak, the value that stands "
        "for 1 (PanCollection: 2047 for WorldView and QuickBird, 1023 for GaoFen-2)"
    )


def _plain(value: Any) -> Any:
    """An HDF5 attribute as plain Python."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


@dataclass(frozen=True)
class FusionSettings:
    """Everything that decides a fusion file beside the cubes.

    Attributes:
        response: the guide camera.
        blur: the hyperspectral camera.
        scale: pixels of the sharp cube per pixel of the coarse one, along each axis.
        patch: side of the patches in pixels of the sharp cube; None stores whole scenes.
        stride: distance between patches; default: the patch's side.
        preset: the name under which the settings are known, for the attributes.
    """

    response: SpectralResponse
    blur: Blur
    scale: int = 4
    patch: int | None = None
    stride: int | None = None
    preset: str = ""

    def attributes(self) -> dict[str, Any]:
        """The settings as attributes of the file."""
        return {
            "preset": self.preset or "none",
            "scale": self.scale,
            "response": self.response.name,
            "response_channels": list(self.response.channels),
            "blur": "gaussian",
            "blur_size": self.blur.size,
            "blur_sigma": self.blur.sigma,
            "blur_padding": self.blur.padding,
            "decimation_offset": self.blur.offset,
            "upsampling": "bicubic, a = -0.5 (MATLAB imresize)",
            "order": "whole scenes are simulated, then cut",
            "patch": self.patch or 0,
            "stride": (self.stride or self.patch) or 0,
            "axes": "N x C x H x W",
            "peak": 1.0,
        }


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


def split_scenes(rules: Sequence[str], scenes: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """Divide scenes by name.

    Args:
        rules: "train=a,b", "test=rest" (the scenes that no other rule names), or alone "cave": test
            has those of the eleven test scenes of HSRnet, Fusformer and PSRT that are there, train
            the others without watercolors, whose bands are of mixed depth.
        scenes: name and path.

    Returns:
        The scenes of each part; scenes that no rule names are left out.

    Raises:
        InputError: a rule that cannot be read, an unknown scene, one that is in two parts, an empty
            part.
    """
    if list(rules) == ["cave"]:
        left_out = {*CAVE_TEST_SCENES, "watercolors"}
        rules = (
            f"test={','.join(name for name in CAVE_TEST_SCENES if name in scenes)}",
            f"train={','.join(name for name in scenes if name not in left_out)}",
        )
    parts: dict[str, list[str]] = {}
    for rule in rules:
        part, equals, names = rule.partition("=")
        if not (part.isidentifier() and equals) or part in parts:
            raise InputError(f"--split {rule}: write NAME=SCENE,SCENE,... or NAME=rest, or cave")
        parts[part] = [name.strip() for name in names.split(",") if name.strip()]
    named = [name for names in parts.values() for name in names if name != "rest"]
    for name in named:
        if name not in scenes:
            raise InputError(f"--split: no scene {name}; there are {', '.join(scenes)}")
        if named.count(name) > 1:
            raise InputError(f"--split: {name} is in two parts; name it once")
    divided = {
        part: {
            name: path
            for name, path in scenes.items()
            if name in names or (names == ["rest"] and name not in named)
        }
        for part, names in parts.items()
    }
    if empty := [part for part, members in divided.items() if not members]:
        raise InputError(
            f"--split: no scenes for {', '.join(empty)}; there are {', '.join(scenes)}"
        )
    return divided


def write_fusion(
    path: str | Path,
    scenes: Mapping[str, Path],
    settings: FusionSettings,
    *,
    load: Callable[[Path], Cube] = read_cube,
    progress: Callable[[int, int, str], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> int:
    """Simulate scenes and write them as GT, LRHSI, HSI_up, RGB (N x C x H x W, float32).

    Sides are cropped at the right and the bottom to a multiple of the scale. The same cubes and
    settings give the same bytes.

    Args:
        path: the file; an existing one is replaced at once, at the end.
        scenes: name and path of the cubes, in the order they are stored.
        settings: how to simulate.
        load: reads one cube.
        progress: called before each scene with (done, total, name).
        note: called with a sentence for each scene that is cropped.

    Returns:
        The number of scenes or patches written.

    Raises:
        InputError: a cube that cannot be read, values outside [0, peak], scenes of different bands
            or, whole, of different sizes.
    """
    path = Path(path)
    if not scenes:
        raise InputError(f"{path}: no scenes to write")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder; create it or choose another")
    h5py = optional_module("h5py")
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            count = _write_scenes(file, scenes, settings, load, progress, note)
        temporary.replace(path)
    # h5py closes a file on a full disk with a RuntimeError.
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be written ({reason}); check the folder and the disk"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    return count


def _write_scenes(
    file: Any,
    scenes: Mapping[str, Path],
    settings: FusionSettings,
    load: Callable[[Path], Cube],
    progress: Callable[[int, int, str], None] | None,
    note: Callable[[str], None] | None,
) -> int:
    names: list[str] = []
    bands: tuple[int, tuple[float, ...] | None] | None = None
    response = torch.empty(0)
    for done, (name, source) in enumerate(scenes.items()):
        if progress is not None:
            progress(done, len(scenes), name)
        cube = load(source)
        if not np.isfinite(cube.values).all():
            raise InputError(f"{source}: holds values that are not finite: fill or mask them")
        unit = torch.from_numpy(cube.unit())
        if not (unit.min() >= 0 and unit.max() <= 1):
            raise InputError(
                f"{source}: values from {unit.min():g} to {unit.max():g} of its peak, "
                f"{cube.peak:g}; pass the --peak that holds them"
            )
        if bands is None:
            bands = (len(unit), cube.wavelengths)
            response = settings.response.for_bands(*bands)
        elif bands != (len(unit), cube.wavelengths):
            raise InputError(
                f"{source}: {len(unit)} bands, other ones than the scenes before have ({bands[0]});"
                " put scenes of one kind into a file"
            )
        height, width = (side // settings.scale * settings.scale for side in unit.shape[-2:])
        gt = unit[:, :height, :width]
        if note is not None and gt.shape != unit.shape:
            note(
                f"{name}: cropped from {unit.shape[2]}x{unit.shape[1]} to {width}x{height}, "
                f"multiples of the scale, {settings.scale}"
            )
        lr, guide, upsampled = simulate(
            gt, response=response, scale=settings.scale, blur=settings.blur
        )
        whole = FusionScenes(
            (name,), gt[None], lr[None], guide[None], upsampled[None], settings.scale
        )
        if settings.patch is not None:
            whole = whole.patches(settings.patch, settings.stride or settings.patch)
        assert whole.gt is not None
        for key, stack in zip(_KEYS[0], (whole.gt, whole.lr, whole.upsampled, whole.guide)):
            _append(file, key, stack.numpy(), source)
        names += whole.names
    file.create_dataset("names", data=np.array(names, dtype="S"), track_times=False)
    file.attrs.update(settings.attributes())
    file.attrs["response_weights"] = response.numpy()
    file.attrs["scenes"] = list(scenes)
    wavelengths = bands[1] if bands else None
    file.attrs["response_matched_by"] = "wavelength" if wavelengths else "position"
    if wavelengths:
        file.attrs["wavelengths"] = wavelengths
    return len(names)


def _append(file: Any, key: str, stack: np.ndarray, source: Path) -> None:
    if key not in file:
        shape = stack.shape[1:]
        file.create_dataset(
            key, data=stack, maxshape=(None, *shape), chunks=(1, *shape), track_times=False
        )
        return
    data = file[key]
    if data.shape[1:] != stack.shape[1:]:
        raise InputError(
            f"{source}: {stack.shape[3]}x{stack.shape[2]}, but the scenes before are "
            f"{data.shape[3]}x{data.shape[2]}; cut patches with --patch, or write a file per size"
        )
    data.resize(len(data) + len(stack), axis=0)
    data[-len(stack) :] = stack
