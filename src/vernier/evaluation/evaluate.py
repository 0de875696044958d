"""Pictures and cubes measured by one call, which finds out what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import overload

import torch

from vernier.data.scenes import is_fusion_file
from vernier.devices import find_device
from vernier.errors import InputError
from vernier.evaluation.candidates import ModelSource, is_for_cubes, load_candidates, name_of
from vernier.evaluation.cube_report import FusionReport
from vernier.evaluation.cubes import is_fusion_data, measure_cubes
from vernier.evaluation.picture_report import PAPERS, PictureReport, Protocol
from vernier.evaluation.pictures import measure_pictures
from vernier.io.files import check_target
from vernier.progress import Progress
from vernier.tables import Format, Report
from vernier.zoo import list_models
from vernier.zoo.own import parse_own
from vernier.zoo.registry import nearest

__all__ = ["evaluate", "split_arguments"]


@overload
def evaluate(
    models: Sequence[ModelSource],
    data: Sequence[str | Path],
    *,
    protocol: Protocol,
    scale: int | None = None,
    results: Sequence[str | Path] = (),
    device: str | torch.device = "cpu",
    output: str | Path | None = None,
    form: Format | None = None,
    progress: Progress | None = None,
) -> PictureReport: ...


@overload
def evaluate(
    models: Sequence[ModelSource],
    data: Sequence[str | Path],
    *,
    convention: str,
    scale: int | None = None,
    preset: str | None = None,
    peak: float | None = None,
    clamp: bool = True,
    sheets: str | Path | None = None,
    device: str | torch.device = "cpu",
    output: str | Path | None = None,
    form: Format | None = None,
    progress: Progress | None = None,
) -> FusionReport: ...


@overload
def evaluate(
    models: Sequence[ModelSource],
    data: Sequence[str | Path],
    *,
    scale: int | None = None,
    results: Sequence[str | Path] = (),
    protocol: Protocol = PAPERS,
    convention: str | None = None,
    preset: str | None = None,
    peak: float | None = None,
    clamp: bool = True,
    sheets: str | Path | None = None,
    device: str | torch.device = "cpu",
    output: str | Path | None = None,
    form: Format | None = None,
    progress: Progress | None = None,
) -> PictureReport | FusionReport: ...


def evaluate(
    models: Sequence[ModelSource],
    data: Sequence[str | Path],
    *,
    scale: int | None = None,
    results: Sequence[str | Path] = (),
    protocol: Protocol = PAPERS,
    convention: str | None = None,
    preset: str | None = None,
    peak: float | None = None,
    clamp: bool = True,
    sheets: str | Path | None = None,
    device: str | torch.device = "cpu",
    output: str | Path | None = None,
    form: Format | None = None,
    progress: Progress | None = None,
) -> PictureReport | FusionReport:
    """Measure models as the papers do: on benchmarks of pictures, or on hyperspectral scenes.

    Cubes are measured where a model fuses cubes or where the data are cubes, else pictures.

    * Pictures: bicubic is always the first row. It is MATLAB's, on RGB, rounded to 8 bit after each
      dimension as the LR were (not at all when the protocol does not round). A luma model runs on
      the unrounded luma of the 8-bit LR; under the luma protocol its output is compared as it is,
      on RGB its chroma is carried by bicubic. Gray pictures are their own luma; an RGB model sees
      three copies, and the mean of its outputs is compared.
    * Cubes: bicubic and the classical methods are always the first rows. Models see the upsampled
      cube of a fusion file, the bicubic row is made here.

    Args:
        models: registry names, weight files, ``package.module:Class`` (``@file`` with the weights),
            or modules with the attributes ``scale`` and ``colour`` (see
            `vernier.zoo.registry.facts_of`); may be empty.
        data: for pictures the folders that `vernier.data.benchmarks.find_benchmark` recognises; for
            cubes fusion files (`vernier.data.scenes.read_fusion`), or sharp cubes and folders of
            them, whose inputs are then simulated.
        scale: None takes it from the models, of cubes also from the fusion files; all must agree.
        results: of pictures: folders of finished results, a row each; a result is named as its HR
            picture, see `vernier.evaluation.finished.find_results`.
        protocol: of pictures: how results are compared.
        convention: of cubes: key in `vernier.metrics.CONVENTIONS`; None is "matlab".
        preset: of cubes: how sharp cubes are simulated, see `vernier.imaging.simulation.preset`;
            None is "cave".
        peak: of cubes: the value that stands for 1, where files do not say.
        clamp: of cubes: bring results to [0, 1] before they are measured.
        sheets: of cubes: folder for a page per scene and method
            (`vernier.fusion.sheet.draw_sheet`), made if need be.
        device: where the models run; modules are moved there.
        output: a file for the report; of cubes as CSV, NAME-bands.csv beside it gets the curves.
        form: of the file; None takes it from the suffix.
        progress: called before each picture or scene, with its name.

    Returns:
        A `PictureReport` or a `FusionReport`.

    Raises:
        InputError: a model, a file or a setting cannot be used, models and data do not belong
            together, scales or bands differ, something is too small to be measured, or an output
            would overwrite what is read.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from vernier.io import Picture, write_picture
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ramp = np.arange(24 * 24 * 3, dtype=np.uint8).reshape(24, 24, 3)
        ...     write_picture(Picture(ramp), f"{folder}/ramp.png")
        ...     report = evaluate(["sesr-m3"], [folder], scale=2)
        >>> [result.model for result in report.results]
        ['bicubic', 'sesr-m3']
    """
    if isinstance(results, str):
        raise InputError("results is a list of folders: write ['out'], not 'out'")
    if isinstance(models, str) or isinstance(data, str):
        raise InputError("models and data are lists: write ['sesr-m5'], not 'sesr-m5'")
    target = find_device(device)
    others = [name_of(model) for model in models if not is_for_cubes(model)]
    fusing = len(others) < len(models)
    if not fusing and not any(map(is_fusion_data, data)):
        cubes_only = {"--convention": convention, "--preset": preset, "--peak": peak}
        given = {name: value is not None for name, value in cubes_only.items()}
        _refuse("pictures", {**given, "--no-clamp": not clamp, "--sheets": sheets is not None})
        outputs = _outputs(PictureReport, output, form)
        report: PictureReport | FusionReport = measure_pictures(
            load_candidates(models, scale),
            data,
            scale=scale,
            results=[Path(folder) for folder in results],
            protocol=protocol,
            device=target,
            outputs=outputs,
            progress=progress,
        )
    else:
        if others:
            raise InputError(f"{others[0]} upscales pictures; evaluate it apart from fusion")
        pictures_only = {
            "--results": bool(results),
            "--rgb": not protocol.luma,
            "--crop": protocol.crop is not None,
            "--no-rounding": not protocol.rounding,
        }
        _refuse("cubes", pictures_only)
        outputs = _outputs(FusionReport, output, form)
        report = measure_cubes(
            load_candidates(models, scale),
            data,
            scale=scale,
            convention=convention or "matlab",
            preset=preset or "cave",
            peak=peak,
            clamp=clamp,
            sheets=None if sheets is None else Path(sheets),
            device=target,
            outputs=outputs,
            progress=progress,
        )
    if output is not None:
        report.write(output, form)
    return report


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Words of a command line -> models and data: a folder or a fusion file is no model.

    After ``--data Set5 Set14`` the second folder stands among the models.

    Raises:
        InputError: one is neither a model nor there.
    """
    known = list_models()
    models, data = [], []
    for name in arguments:
        if name not in known and (Path(name).is_dir() or is_fusion_file(name)):
            data.append(Path(name))
        elif name in known or parse_own(name) is not None or Path(name).is_file():
            models.append(name)
        else:
            raise InputError(
                f"{name}: no such folder, weight file or model{nearest(name, known)}; "
                "`vernier models` lists the models"
            )
    return models, data


def _outputs(report: type[Report], output: str | Path | None, form: Format | None) -> list[Path]:
    """What will be written; that it cannot be is said before hours of work."""
    if output is None:
        return []
    paths = report.paths(output, form)
    for path in paths:
        check_target(path)
    return paths


def _refuse(measured: str, given: Mapping[str, bool]) -> None:
    if wrong := [name for name, is_given in given.items() if is_given]:
        raise InputError(f"{', '.join(wrong)}: not for {measured}; leave it out")
