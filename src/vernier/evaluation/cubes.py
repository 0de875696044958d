"""Fusion measured: bicubic, the classical methods and models over hyperspectral scenes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from vernier.data.scenes import FusionScene, find_scenes, is_fusion_file, read_fusion
from vernier.devices import find_device
from vernier.errors import InputError
from vernier.evaluation.cube_report import FusionData, FusionReport, FusionResult, SceneScore
from vernier.fusion.classical import CLASSICAL
from vernier.fusion.sheet import draw_sheet
from vernier.imaging import simulation
from vernier.io.cubes import CubeError, find_cubes, read_cube
from vernier.io.files import safe_names
from vernier.metrics.conventions import CONVENTIONS, Convention
from vernier.metrics.spectral import band_cc, band_psnr, band_rmse
from vernier.models.layers import FusionModel
from vernier.zoo import list_models, load_model
from vernier.zoo.complexity import complexity
from vernier.zoo.registry import get_entry, nearest

__all__ = ["evaluate_fusion", "is_fusion_data", "is_fusion_model"]

_CURVES = {"psnr_db": band_psnr, "rmse": band_rmse, "cc": band_cc}


@dataclass(frozen=True)
class _Contestant:
    """A row of the table, and how it fuses a scene: -> (bands, H, W)."""

    name: str
    fuse: Callable[[FusionScene], Tensor]
    model: FusionModel | None = None


@dataclass(frozen=True)
class _Source:
    """Where scenes come from; they are read when they are asked for."""

    facts: FusionData
    scale: int
    wavelengths: tuple[float, ...] | None
    scenes: Callable[[], Iterator[FusionScene]]


def is_fusion_model(source: str | Path) -> bool:
    """Whether a registry name or a weight file is a network that fuses cubes.

    Raises:
        InputError: neither a name nor a file that can be read.
    """
    if isinstance(source, str) and source in list_models():
        return get_entry(source).facts.colour == "cube"
    return isinstance(load_model(source)[0], FusionModel)


def is_fusion_data(path: str | Path) -> bool:
    """Whether a path is a fusion file, or a CAVE scene or a folder of such."""
    if is_fusion_file(path):
        return True
    try:
        return any(found.is_dir() and found.name.endswith("_ms") for found in find_cubes(path))
    except CubeError:
        return False


def evaluate_fusion(
    models: Sequence[str | Path | FusionModel],
    data: Sequence[str | Path],
    *,
    scale: int | None = None,
    convention: str = "matlab",
    clamp: bool = True,
    preset: str = "cave",
    peak: float | None = None,
    device: str | torch.device = "cpu",
    sheets: str | Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> FusionReport:
    """Measure models on scenes; bicubic and the classical methods are always the first rows.

    Models see the upsampled cube of a fusion file, the bicubic row is made here.

    Args:
        models: registry names, weight files or networks; may be empty.
        data: fusion files (`vernier.data.scenes.read_fusion`), or sharp cubes and folders of them,
            whose inputs are then simulated.
        scale: None takes it from the models, else from the fusion files; all must agree.
        convention: key in `vernier.metrics.CONVENTIONS`.
        clamp: bring results to [0, 1] before they are measured.
        preset: how sharp cubes are simulated, see `vernier.imaging.simulation.preset`.
        peak: the value of fusion files and cubes that stands for 1, where they do not say.
        device: where the models run; modules are moved there.
        sheets: folder for a page per scene and method (`draw_sheet`), made if need be.
        progress: called before each scene with (scenes done, scenes in all, name).

    Raises:
        InputError: a model, a file or a setting cannot be used, scales or bands differ, or a scene
            has no reference or is too small to be measured.
    """
    if not data:
        raise InputError("no data given; name a fusion file or a folder of cubes with --data")
    if convention not in CONVENTIONS:
        raise InputError(
            f"unknown convention {convention!r}{nearest(convention, CONVENTIONS)}; "
            f"known: {', '.join(CONVENTIONS)}"
        )
    measure = CONVENTIONS[convention]
    device = find_device(device)
    loaded = [_load(source, scale) for source in models]
    files = [path for path in data if is_fusion_file(path)]
    cubes = [path for path in data if path not in files]
    sources = [_file_source(path, peak) for path in files]
    scale = _common_scale(loaded, sources, scale)
    if cubes:
        sources.append(_cube_source(cubes, scale, preset, peak))
    names = [name for source in sources for name in source.facts.scenes]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two scenes are named {name}; evaluate them apart")
    contestants = _contestants(loaded, device)
    folder = None if sheets is None else _folder(Path(sheets))

    training = [model.training for _, model in loaded]
    scores: dict[str, list[SceneScore]] = {contestant.name: [] for contestant in contestants}
    pixels: set[tuple[int, int]] = set()
    done = 0
    try:
        for source in sources:
            for scene in source.scenes():
                if progress is not None:
                    progress(done, len(names), scene.name)
                _check(scene, loaded)
                pixels.add((scene.lr.shape[-2], scene.lr.shape[-1]))
                for contestant in contestants:
                    score, result = _score(contestant, scene, measure, scale, clamp)
                    scores[contestant.name].append(score)
                    if folder is not None and contestant.name != "bicubic":
                        _draw(folder, scene, contestant.name, result, source.wavelengths)
                done += 1
    finally:
        for (_, model), was_training in zip(loaded, training, strict=True):
            model.train(was_training)
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


def _contestants(
    loaded: Sequence[tuple[str, FusionModel]], device: torch.device
) -> list[_Contestant]:
    rows = [
        _Contestant(name, partial(_fuse_classically, method)) for name, method in CLASSICAL.items()
    ]
    for base, model in loaded:
        taken = [row.name for row in rows]
        numbered = (base if i == 1 else f"{base} ({i})" for i in count(1))
        name = next(name for name in numbered if name not in taken)
        model = model.eval().to(device)
        rows.append(_Contestant(name, partial(_fuse_with, model, device), model))
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
    start = time.perf_counter()
    result = contestant.fuse(scene)
    seconds = time.perf_counter() - start
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


def _load(source: str | Path | FusionModel, scale: int | None) -> tuple[str, FusionModel]:
    if isinstance(source, FusionModel):
        if scale is not None and source.scale != scale:
            raise InputError(
                f"{type(source).__name__} is a model for scale {source.scale}, not {scale}"
            )
        return type(source).__name__, source
    if not is_fusion_model(source):
        raise InputError(f"{source} upscales pictures; evaluate it apart from fusion")
    model, _ = load_model(source, scale)
    assert isinstance(model, FusionModel)
    path = Path(source)
    # Every training run calls its weights "weights": the run's folder tells them apart.
    stem = path.absolute().parent.name if path.stem == "weights" else path.stem
    return (str(source) if str(source) in list_models() else stem), model


def _common_scale(
    loaded: Sequence[tuple[str, FusionModel]], files: Sequence[_Source], scale: int | None
) -> int:
    scales = {
        **{name: model.scale for name, model in loaded},
        **{source.facts.name: source.scale for source in files},
        **({} if scale is None else {"--scale": scale}),
    }
    if not scales:
        raise InputError("nothing to take the scale from; give one, for example --scale 4")
    if len(set(scales.values())) > 1:
        listed = ", ".join(f"{name} x{value}" for name, value in scales.items())
        raise InputError(f"scales differ ({listed}); evaluate one scale at a time")
    return next(iter(scales.values()))


def _file_source(path: str | Path, peak: float | None) -> _Source:
    scenes = read_fusion(path, peak=peak)
    if scenes.gt is None:
        raise InputError(f"{path}: holds no reference (GT); there is nothing to compare with")
    settings = scenes.settings
    made = "as the file has it"
    if "blur_size" in settings:
        blur = simulation.Blur(
            int(settings["blur_size"]),
            float(settings["blur_sigma"]),
            settings["blur_padding"],
            int(settings["decimation_offset"]),
        )
        made = f"{settings.get('preset', '')}: {_words(settings['response'], blur)}"
    facts = FusionData(Path(path).name, scenes.names, made, scenes.notes)
    return _Source(facts, scenes.scale, scenes.wavelengths, lambda: iter(scenes))


def _cube_source(
    paths: Sequence[str | Path], scale: int, preset: str, peak: float | None
) -> _Source:
    found = find_scenes(paths)
    settings = simulation.preset(preset, scale)
    response = simulation.find_response(settings.response)
    first = read_cube(next(iter(found.values())), peak=peak)

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

    where = ", ".join(str(Path(path).name) for path in paths)
    made = f"{preset}: {_words(response.name, settings.blur)}"
    return _Source(FusionData(where, tuple(found), made), scale, first.wavelengths, scenes)


def _words(response: str, blur: simulation.Blur) -> str:
    return (
        f"guide through {response}, Gaussian {blur.size}x{blur.size} of sigma {blur.sigma:g} "
        f"({blur.padding}), pixel {blur.offset} of each cell kept"
    )


def _check(scene: FusionScene, loaded: Sequence[tuple[str, FusionModel]]) -> None:
    for name, model in loaded:
        for what, given, wanted in (
            ("bands", len(scene.lr), model.channels),
            ("guide channels", len(scene.guide), model.guide_channels),
        ):
            if given != wanted:
                raise InputError(f"{scene.name} has {given} {what}, {name} is made for {wanted}")


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made ({error.strerror})") from None
    return path


def _draw(
    folder: Path,
    scene: FusionScene,
    method: str,
    result: Tensor,
    wavelengths: tuple[float, ...] | None,
) -> None:
    (name,) = safe_names([f"{scene.name}-{method}".replace(" ", "-")])
    draw_sheet(
        folder / f"{name}.png",
        lr=scene.lr,
        guide=scene.guide,
        result=result,
        gt=scene.gt,
        upsampled=scene.upsampled,
        wavelengths=wavelengths,
        title=f"{scene.name}: {method}",
    )
