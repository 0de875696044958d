"""Fusion measured: bicubic, the classical methods and models over hyperspectral scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from vernier.data.benchmarks import find_benchmark
from vernier.data.scenes import FusionScene, find_scenes, is_fusion_file, read_fusion
from vernier.errors import InputError
from vernier.evaluation.candidates import Candidate, on_device, timed
from vernier.evaluation.cube_report import FusionData, FusionReport, FusionResult, SceneScore
from vernier.fusion.classical import CLASSICAL
from vernier.fusion.sheet import draw_sheet
from vernier.imaging import simulation
from vernier.io.cubes import CUBE_SUFFIXES, CubeError, find_cubes, read_cube
from vernier.io.files import make_folder, protect, repeated, safe_names
from vernier.metrics.conventions import CONVENTIONS, Convention
from vernier.metrics.spectral import band_cc, band_psnr, band_rmse
from vernier.models.layers import FusionModel
from vernier.progress import Progress
from vernier.zoo.complexity import complexity
from vernier.zoo.contestants import numbered
from vernier.zoo.registry import nearest

__all__ = ["is_fusion_data", "measure_cubes"]

_CURVES = {"psnr_db": band_psnr, "rmse": band_rmse, "cc": band_cc}


@dataclass(frozen=True)
class _Contestant:
    """A row of the table, and how it fuses a scene: -> (bands, H, W)."""

    name: str
    fuse: Callable[[FusionScene], Tensor]
    model: FusionModel | None = None


@dataclass(frozen=True)
class _Source:
    """Where scenes come from; they are read when they are asked for, from ``files``."""

    facts: FusionData
    scale: int
    files: tuple[Path, ...]
    wavelengths: tuple[float, ...] | None
    scenes: Callable[[], Iterator[FusionScene]]


def is_fusion_data(path: str | Path) -> bool:
    """Whether a path is a file of a cube or of fusion data, a CAVE scene or a folder of such."""
    path = Path(path)
    if path.is_file():
        return path.suffix.lower() in CUBE_SUFFIXES
    try:
        return any(found.is_dir() and found.name.endswith("_ms") for found in find_cubes(path))
    except CubeError:
        return False


def measure_cubes(
    candidates: Sequence[Candidate],
    data: Sequence[str | Path],
    *,
    scale: int | None,
    convention: str,
    preset: str,
    peak: float | None,
    clamp: bool,
    sheets: Path | None,
    device: torch.device,
    outputs: Sequence[Path],
    progress: Progress | None,
) -> FusionReport:
    """Measure networks for fusion on scenes, see `vernier.evaluate`.

    Raises:
        InputError: see `vernier.evaluate`; ``outputs`` has a file that is read.
    """
    if not data:
        raise InputError("no data given; name a fusion file or a folder of cubes with --data")
    if convention not in CONVENTIONS:
        raise InputError(
            f"unknown convention {convention!r}{nearest(convention, CONVENTIONS)}; "
            f"known: {', '.join(CONVENTIONS)}"
        )
    measure = CONVENTIONS[convention]
    paths = [Path(path) for path in data]
    files = [path for path in paths if is_fusion_file(path)]
    cubes = [path for path in paths if path not in files]
    sources = [_file_source(path, peak) for path in files]
    scale = _common_scale(candidates, sources, scale)
    if cubes:
        sources.append(_cube_source(cubes, scale, preset, peak))
    names = [name for source in sources for name in source.facts.scenes]
    if (name := repeated(names)) is not None:
        raise InputError(f"two scenes are named {name}; evaluate them apart")
    contestants = _contestants(on_device(candidates, device), device)
    pages = {} if sheets is None else _pages(sheets, names, contestants)
    read = [path for source in sources for path in source.files]
    protect([*(candidate.file for candidate in candidates), *read], [*outputs, *pages.values()])
    if sheets is not None:
        make_folder(sheets)

    scores: dict[str, list[SceneScore]] = {contestant.name: [] for contestant in contestants}
    pixels: set[tuple[int, int]] = set()
    done = 0
    for source in sources:
        for scene in source.scenes():
            if progress is not None:
                progress(done, len(names), scene.name)
            _check(scene, contestants)
            pixels.add((scene.lr.shape[-2], scene.lr.shape[-1]))
            for contestant in contestants:
                score, result = _score(contestant, scene, measure, scale, clamp)
                scores[contestant.name].append(score)
                if page := pages.get((scene.name, contestant.name)):
                    _draw(page, scene, contestant.name, result, source.wavelengths)
            done += 1
    return FusionReport(
        scale=scale,
        convention=measure,
        clamped=clamp,
        data=tuple(source.facts for source in sources),
        wavelengths=sources[0].wavelengths,
        results=tuple(
            _result(contestant, scores[contestant.name], pixels) for contestant in contestants
        ),
    )


def _contestants(candidates: Sequence[Candidate], device: torch.device) -> list[_Contestant]:
    rows = [
        _Contestant(name, partial(_fuse_classically, method)) for name, method in CLASSICAL.items()
    ]
    for candidate in candidates:
        assert isinstance(candidate.module, FusionModel)
        name = numbered(candidate.name, [row.name for row in rows])
        fuse = partial(_fuse_with, candidate.module, device)
        rows.append(_Contestant(name, fuse, candidate.module))
    return rows


def _fuse_classically(method: Callable[[Tensor, Tensor], Tensor], scene: FusionScene) -> Tensor:
    return method(scene.lr, scene.guide)


@torch.inference_mode()
def _fuse_with(model: FusionModel, device: torch.device, scene: FusionScene) -> Tensor:
    lr, guide, up = (x[None].to(device) for x in (scene.lr, scene.guide, scene.upsampled))
    result: Tensor = model(lr, guide, up)[0].float().cpu()
    return result


def _score(
    contestant: _Contestant, scene: FusionScene, convention: Convention, scale: int, clamp: bool
) -> tuple[SceneScore, Tensor]:
    result, seconds = timed(f"{contestant.name} on {scene.name}", lambda: contestant.fuse(scene))
    target = scene.gt
    assert target is not None
    if result.shape != target.shape:
        raise InputError(
            f"{contestant.name} made {tuple(result.shape)} of {scene.name}, "
            f"not {tuple(target.shape)}"
        )
    if clamp:
        result = result.clamp(0, 1)
    try:
        values = convention.measure(result, target, ratio=scale)
    except ValueError as error:
        raise InputError(f"{scene.name}: {error}; leave it out") from error
    score = SceneScore(
        scene.name,
        {name: value.item() for name, value in values.items()},
        {name: tuple(curve(result, target).tolist()) for name, curve in _CURVES.items()},
        seconds,
    )
    return score, result


def _result(
    contestant: _Contestant, scores: Sequence[SceneScore], sizes: set[tuple[int, int]]
) -> FusionResult:
    if contestant.model is None:
        return FusionResult(contestant.name, tuple(scores))
    # Scenes of different sizes have no one cost.
    size = next(iter(sizes)) if len(sizes) == 1 else (16, 16)
    cost = complexity(contestant.model, size)
    scale = contestant.model.scale
    per_pixel = cost.macs / (size[0] * size[1] * scale**2)
    return FusionResult(contestant.name, tuple(scores), cost.parameters, per_pixel)


def _common_scale(
    candidates: Sequence[Candidate], files: Sequence[_Source], scale: int | None
) -> int:
    scales = [
        *((candidate.name, candidate.scale) for candidate in candidates),
        *((source.facts.name, source.scale) for source in files),
        *([] if scale is None else [("--scale", scale)]),
    ]
    if not scales:
        raise InputError("nothing to take the scale from; give one, for example --scale 4")
    if len({value for _, value in scales}) > 1:
        listed = ", ".join(f"{name} x{value}" for name, value in scales)
        raise InputError(f"scales differ ({listed}); evaluate one scale at a time")
    return scales[0][1]


def _file_source(path: Path, peak: float | None) -> _Source:
    scenes = read_fusion(path, peak=peak)
    if scenes.gt is None:
        raise InputError(f"{path}: holds no reference (GT); there is nothing to compare with")
    scenes.check_known(path)
    settings = scenes.settings
    made = "as the file has it"
    # A file may state anything, or nothing.
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        blur = simulation.Blur(
            int(settings["blur_size"]),
            float(settings["blur_sigma"]),
            settings["blur_padding"],
            int(settings["decimation_offset"]),
        )
        made = f"{settings.get('preset', '')}: {_words(settings['response'], blur)}"
    facts = FusionData(path.name, scenes.names, made, scenes.notes)
    return _Source(facts, scenes.scale, (path,), scenes.wavelengths, lambda: iter(scenes))


def _cube_source(paths: Sequence[Path], scale: int, preset: str, peak: float | None) -> _Source:
    settings = simulation.preset(preset, scale)
    response = simulation.find_response(settings.response)
    try:
        found = find_scenes(paths)
        first = read_cube(next(iter(found.values())), peak=peak)
    except InputError as error:
        if pictures := [path for path in paths if _holds_pictures(path, scale)]:
            raise InputError(
                f"{pictures[0]} holds pictures, not cubes: name fusion files or folders of "
                "cubes, or evaluate pictures apart"
            ) from error
        raise

    def scenes() -> Iterator[FusionScene]:
        for name, path in found.items():
            cube = read_cube(path, peak=peak)
            try:
                unit = torch.from_numpy(cube.unit())
                height, width = (side // scale * scale for side in unit.shape[-2:])
                gt = unit[:, :height, :width]
                weights = response.for_bands(cube.bands, cube.wavelengths)
                made = simulation.simulate(gt, response=weights, scale=scale, blur=settings.blur)
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
            yield FusionScene(name, gt, made.lr, made.guide, made.upsampled)

    where = ", ".join(path.name for path in paths)
    made = f"{preset}: {_words(response.name, settings.blur)}"
    facts = FusionData(where, tuple(found), made)
    return _Source(facts, scale, tuple(found.values()), first.wavelengths, scenes)


def _holds_pictures(path: Path, scale: int) -> bool:
    try:
        return bool(find_benchmark(path, scale).pairs)
    except InputError:
        return False


def _words(response: str, blur: simulation.Blur) -> str:
    return (
        f"guide through {response}, Gaussian {blur.size}x{blur.size} of sigma {blur.sigma:g} "
        f"({blur.padding}), pixel {blur.offset} of each cell kept"
    )


def _check(scene: FusionScene, contestants: Sequence[_Contestant]) -> None:
    for contestant in contestants:
        model = contestant.model
        if model is None:
            continue
        for what, given, wanted in (
            ("bands", len(scene.lr), model.channels),
            ("guide channels", len(scene.guide), model.guide_channels),
        ):
            if given != wanted:
                raise InputError(
                    f"{scene.name} has {given} {what}, {contestant.name} is made for {wanted}"
                )


def _pages(
    folder: Path, scenes: Sequence[str], contestants: Sequence[_Contestant]
) -> dict[tuple[str, str], Path]:
    """The sheet of every scene and method; bicubic is what the others are compared with."""
    methods = [contestant.name for contestant in contestants if contestant.name != "bicubic"]
    keys = [(scene, method) for scene in scenes for method in methods]
    names = safe_names(f"{scene}-{method}".replace(" ", "-") for scene, method in keys)
    return {key: folder / f"{name}.png" for key, name in zip(keys, names, strict=True)}


def _draw(
    path: Path,
    scene: FusionScene,
    method: str,
    result: Tensor,
    wavelengths: tuple[float, ...] | None,
) -> None:
    draw_sheet(
        path,
        lr=scene.lr,
        guide=scene.guide,
        result=result,
        gt=scene.gt,
        upsampled=scene.upsampled,
        wavelengths=wavelengths,
        title=f"{scene.name}: {method}",
    )
