"""Fusion data sets made from sharp cubes, and written as the field's HDF5 files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vernier.data.scenes import FUSION_KEYS, FusionScenes, find_scenes
from vernier.errors import InputError
from vernier.extras import optional_module
from vernier.imaging import simulation
from vernier.imaging.simulation import Blur, SpectralResponse, simulate
from vernier.io.cubes import Cube, read_cube
from vernier.io.files import new_folders, protect, reason_of, repeated, replacing
from vernier.progress import Progress

__all__ = [
    "CAVE_TEST_SCENES",
    "FusionFile",
    "FusionSettings",
    "simulate_fusion",
    "split_scenes",
    "write_fusion",
]

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


@dataclass(frozen=True)
class FusionFile:
    """A file that `simulate_fusion` has written.

    Attributes:
        path: the file.
        scenes: the names of the cubes in it.
        patches: how many patches they were cut into; None where they are whole.
        notes: what was cropped, for people.
    """

    path: Path
    scenes: tuple[str, ...]
    patches: int | None
    notes: tuple[str, ...]


def simulate_fusion(
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    preset: str = "cave",
    response: str | None = None,
    blur_size: int | None = None,
    sigma: float | None = None,
    padding: str | None = None,
    offset: int | None = None,
    scale: int = 4,
    patch: int | None = None,
    stride: int | None = None,
    split: Sequence[str] = (),
    without: Sequence[str] = (),
    axes: str | None = None,
    peak: float | None = None,
    key: str | None = None,
    wavelengths: Sequence[float] | None = None,
    progress: Progress | None = None,
) -> list[FusionFile]:
    """Simulate a fusion data set from sharp cubes, as `vernier data fusion` does.

    The coarse cubes are blurred and decimated, the guides are what a camera sees of the sharp
    cubes; the file states every setting.

    Args:
        sources: cubes, and folders of them (see `vernier.io.cubes.find_cubes`).
        output: the HDF5 file; missing folders above it are created.
        preset: settings of a group: "cave", "dhif", "lso" or "ltmr"; the arguments from
            ``response`` to ``offset`` change one of them each.
        response: the guide's camera: "a", "b" (Nikon D700) or a CSV file.
        blur_size, sigma: taps and width in pixels of the Gaussian, along each axis.
        padding: "reflect", "replicate", "circular" or "zeros".
        offset: the pixel of each cell that is kept, from 0.
        scale: reduction along each axis.
        patch: side of the squares that scenes are cut into; None keeps them whole.
        stride: distance of the squares; default: their side.
        split: rules for `split_scenes`; each part becomes a file, "-train" and so on behind its
            name. The scenes of a part "test" stay whole.
        without: names of scenes that are left out.
        axes, peak, key, wavelengths: how to read the cubes, see `vernier.io.cubes.read_cube`.
        progress: told each scene's name.

    Raises:
        InputError: an output that is no HDF5 file or would overwrite a source, a setting or a cube
            that cannot be used.
    """
    output = Path(output)
    if output.suffix.lower() not in (".h5", ".hdf5"):
        raise InputError(f"{output}: fusion data sets are HDF5; choose a name that ends in .h5")
    given_sources = [sources] if isinstance(sources, str | Path) else sources
    folders = [Path(source) for source in given_sources]
    given = {"size": blur_size, "sigma": sigma, "padding": padding, "offset": offset}
    settings = _settings(
        preset,
        response,
        {name: value for name, value in given.items() if value is not None},
        scale,
        patch,
        stride,
    )
    scenes = find_scenes(folders)
    for name in without:
        if scenes.pop(name, None) is None:
            raise InputError(f"--without {name}: no such scene; there are {', '.join(scenes)}")
    parts = split_scenes(split, scenes) if split else {"": scenes}
    paths = {part: output.with_stem(f"{output.stem}-{part}") if part else output for part in parts}
    protect([*folders, *scenes.values()], paths.values())
    load = partial(read_cube, axes=axes, peak=peak, key=key, wavelengths=wavelengths)
    files: list[FusionFile] = []
    with new_folders(output.parent):
        for part, members in parts.items():
            part_settings = replace(settings, patch=None) if part == "test" else settings
            notes: list[str] = []
            count = write_fusion(
                paths[part], members, part_settings, load=load, progress=progress, note=notes.append
            )
            patches = count if part_settings.patch else None
            files.append(FusionFile(paths[part], tuple(members), patches, tuple(notes)))
    return files


def _settings(
    name: str,
    response: str | None,
    changed: Mapping[str, Any],
    scale: int,
    patch: int | None,
    stride: int | None,
) -> FusionSettings:
    """A preset with what is given instead of its own settings."""
    base = simulation.preset(name, scale)
    own = [*changed, *(["response"] if response not in (None, base.response) else [])]
    return FusionSettings(
        response=simulation.find_response(response or base.response),
        blur=replace(base.blur, **changed),
        scale=scale,
        patch=patch,
        stride=stride,
        preset=f"{name}, changed: {', '.join(own)}" if own else name,
    )


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
    if (twice := repeated(named)) is not None:
        raise InputError(f"--split: {twice} is in two parts; name it once")
    taken = {part: set(names) for part, names in parts.items()}
    left = scenes.keys() - set(named)
    divided = {
        part: {
            name: path
            for name, path in scenes.items()
            if name in taken[part] or (names == ["rest"] and name in left)
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
    progress: Progress | None = None,
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
        progress: told each scene's name.
        note: called with a sentence for each scene that is cropped.

    Returns:
        The number of scenes or patches written.

    Raises:
        InputError: a cube that cannot be read, values outside [0, peak], scenes of different bands
            or, whole, of different sizes, or a file that cannot be written.
    """
    path = Path(path)
    if not scenes:
        raise InputError(f"{path}: no scenes to write")
    protect(scenes.values(), [path])
    with replacing(path) as temporary, _Writer(path, temporary) as file:
        return _write_scenes(file, scenes, settings, load, progress, note)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Around what h5py does alone: it tells a full disk by a RuntimeError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{path}: cannot be written ({reason_of(error)}); check the folder and the disk"
        ) from None


class _Writer:
    """An HDF5 file with stacks that grow; only its own errors are reported as such of writing."""

    def __init__(self, path: Path, temporary: Path) -> None:
        self._path, self._temporary = path, temporary

    def __enter__(self) -> _Writer:
        h5py = optional_module("h5py")
        with _writing(self._path):
            self._file: Any = h5py.File(self._temporary, "w")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            with _writing(self._path):
                self._file.close()
        else:
            # On a full disk closing fails as well, and would hide the first error.
            with suppress(OSError, RuntimeError):
                self._file.close()

    def append(self, key: str, stack: np.ndarray, source: Path) -> None:
        """Put arrays (N, C, H, W) behind those that stand under a name.

        Raises:
            InputError: another size than those before; ``source`` is where they come from.
        """
        with _writing(self._path):
            if key not in self._file:
                shape = stack.shape[1:]
                self._file.create_dataset(
                    key, data=stack, maxshape=(None, *shape), chunks=(1, *shape), track_times=False
                )
                return
            data = self._file[key]
        if data.shape[1:] != stack.shape[1:]:
            raise InputError(
                f"{source}: {stack.shape[3]}x{stack.shape[2]}, but the scenes before are "
                f"{data.shape[3]}x{data.shape[2]}; cut patches with --patch, or write a file per "
                "size"
            )
        with _writing(self._path):
            data.resize(len(data) + len(stack), axis=0)
            data[-len(stack) :] = stack

    def finish(self, names: Sequence[str], attributes: Mapping[str, Any]) -> None:
        """Name the arrays, and state how they were made."""
        with _writing(self._path):
            self._file.create_dataset("names", data=np.array(names, dtype="S"), track_times=False)
            self._file.attrs.update(attributes)


def _loaded(load: Callable[[Path], Cube], source: Path) -> Cube:
    try:
        return load(source)
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({reason_of(error)})") from None


def _write_scenes(
    file: _Writer,
    scenes: Mapping[str, Path],
    settings: FusionSettings,
    load: Callable[[Path], Cube],
    progress: Progress | None,
    note: Callable[[str], None] | None,
) -> int:
    names: list[str] = []
    bands: tuple[int, tuple[float, ...] | None] | None = None
    response = torch.empty(0)
    for done, (name, source) in enumerate(scenes.items()):
        if progress is not None:
            progress(done, len(scenes), name)
        cube = _loaded(load, source)
        try:
            unit = torch.from_numpy(cube.unit())
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
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
        for key, stack in zip(FUSION_KEYS[0], (whole.gt, whole.lr, whole.upsampled, whole.guide)):
            file.append(key, stack.numpy(), source)
        names += whole.names
    if progress is not None:
        progress(len(scenes), len(scenes), "")
    wavelengths = bands[1] if bands else None
    file.finish(
        names,
        {
            **settings.attributes(),
            "response_weights": response.numpy(),
            "scenes": list(scenes),
            "response_matched_by": "wavelength" if wavelengths else "position",
            **({"wavelengths": wavelengths} if wavelengths else {}),
        },
    )
    return len(names)
