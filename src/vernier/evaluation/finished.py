"""Folders of finished results, whoever made them: found by the names of the HR pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vernier.data.benchmark_names import begins_with, keys_of, result_keys
from vernier.data.benchmarks import Benchmark, LoadedPair, Pair
from vernier.errors import InputError
from vernier.io import PICTURE_SUFFIXES, picture_size, read_picture
from vernier.io.files import check_folder, shown, visible_files

__all__ = ["find_results", "load_result"]

# Missing pictures that a message names.
_NAMED = 5


def find_results(folder: Path, benchmarks: Sequence[Benchmark]) -> dict[Path, Path]:
    """The result for each HR picture.

    A result is named as its HR or LR picture, with endings such as ``_x2``, ``-x2``, ``_SR``,
    ``_out``, or with whatever follows the name if no other picture begins alike. A folder inside
    with a benchmark's name holds the results of that one.

    Raises:
        InputError: no such folder, a picture without its result, or one with several.
    """
    check_folder(folder, cure="name one that holds results")
    found: dict[Path, Path] = {}
    for benchmark in benchmarks:
        inside = folder / benchmark.name
        place = inside if inside.is_dir() else folder
        pictures = [p for p in visible_files(place) if p.suffix.lower() in PICTURE_SUFFIXES]
        by_key: dict[str, list[Path]] = {}
        for path in pictures:
            for key in result_keys(path.stem):
                by_key.setdefault(key, []).append(path)
        hr = [pair.hr_path for pair in benchmark.pairs]
        bases = {key for path in hr for key in keys_of(path.stem)} - {""}
        missing = []
        for path in hr:
            result = _result_of(path, pictures, by_key, bases)
            if result is None:
                missing.append(path.name)
            elif result.samefile(path):
                raise InputError(f"{shown(result)}: is the HR picture itself, not a result of it")
            else:
                found[path] = result
        if missing:
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            raise InputError(
                f"{shown(place)}: no result for {', '.join(map(shown, missing[:_NAMED]))}{more} of "
                f"{benchmark.name}; name each result as its HR picture"
            )
    return found


def _result_of(
    hr: Path, pictures: Sequence[Path], by_key: Mapping[str, Sequence[Path]], bases: set[str]
) -> Path | None:
    keys = [key for key in keys_of(hr.stem) if key]
    candidates = [
        [path for path in pictures if path.stem == hr.stem],
        *(by_key.get(key, []) for key in keys),
        *(
            [
                path
                for path in pictures
                if begins_with(path.stem, key)
                # What belongs to a picture of a longer name is not of this one.
                and not any(
                    len(other) > len(key) and begins_with(f"{path.stem}_", other)
                    for other in bases - set(keys)
                )
            ]
            for key in keys
        ),
    ]
    best = next((each for each in candidates if each), [])
    if len(best) > 1:
        raise InputError(
            f"{shown(best[0].parent)}: several results for {shown(hr.name)}, such as "
            f"{shown(best[0].name)} and {shown(best[1].name)}; keep one of them there"
        )
    return best[0] if best else None


def load_result(path: Path, pair: Pair, loaded: LoadedPair) -> Tensor:
    """A result as it is compared with ``loaded.hr``: (C, H, W) in [0, 1], unrounded.

    It may have the size of the whole HR picture, or of what the benchmark crops it to.

    Raises:
        InputError: it cannot be read, or has another size or fewer colours.
    """
    picture = read_picture(path)
    pixels = np.clip(picture.pixels[..., : picture.colour_channels] / picture.peak, 0, 1)
    result = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))
    channels, height, width = loaded.hr.shape
    columns, rows, _ = picture_size(pair.hr_path)
    if tuple(result.shape[-2:]) not in ((height, width), (rows, columns)):
        raise InputError(
            f"{shown(path)}: is {result.shape[2]}x{result.shape[1]}, but {shown(pair.hr_path)} "
            f"needs {width}x{height} for x{pair.scale}"
        )
    if len(result) < channels:
        raise InputError(f"{shown(path)}: is gray, but {shown(pair.hr_path)} is RGB")
    result = result[:, :height, :width]
    # Many programs write gray pictures as RGB.
    return result.mean(dim=0, keepdim=True) if len(result) > channels else result
