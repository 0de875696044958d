"""What the names of a benchmark's files and folders say: HR or LR, of which picture and scale."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from vernier.errors import InputError
from vernier.io import picture_size
from vernier.io.files import shown

__all__ = [
    "LR_FOLDER",
    "SCALE_FOLDER",
    "SHARED_FOLDER",
    "HrAndLr",
    "begins_with",
    "holds_lr",
    "keys_of",
    "lr_partners",
    "result_keys",
    "sort_by_kind",
]

SHARED_FOLDER = re.compile(r"(?:image_)?SRF_?(\d+)", re.IGNORECASE)
"""Holds HR and LR of one scale beside each other, as SelfExSR lays benchmarks out."""

_SCALE = r"(?:x(?P<scale>\d+)|(?P<times>\d+)x)"
SCALE_FOLDER = re.compile(_SCALE, re.IGNORECASE)

LR_FOLDER = re.compile(
    r"(?P<word>lr(?:bi|bd)?(?:[_-]?bic(?:ubic)?)?|lq|low[_-]?res|bic(?:ubic)?(?:[_-]?lr)?)?"
    rf"[_-]?(?:{_SCALE})?",
    re.IGNORECASE,
)
"""The name of a folder of LR pictures, without what stands before "LR" for the set."""

_HR_WORDS = r"(?:hr|gt|hq)"
_LR_WORDS = r"(?:lr(?:bi|bd)?|lq)"
_KERNELS = r"(?:bicubic|bic)"
_SCALES = r"(?:srf_?(?P<srf>\d+)|x(?P<scale>\d+)|(?<=[_\-. ])(?P<times>\d+)x)"
_BREAK = r"(?:^|[_\-. ])"

# What stands at the end of a stem, taken off piece by piece.
_END = re.compile(
    rf"(?:{_BREAK}(?P<hr>{_HR_WORDS})|{_BREAK}(?:{_KERNELS}[_-]?)?(?P<lr>{_LR_WORDS})"
    rf"|{_BREAK}(?P<kernel>{_KERNELS})|[_\-. ]?{_SCALES})$",
    re.IGNORECASE,
)
_BEGIN = re.compile(rf"^(?:(?P<hr>{_HR_WORDS})|(?P<lr>{_LR_WORDS}))[_\-. ]+", re.IGNORECASE)


_RESULT = re.compile(rf"{_BREAK}(?:sr|out(?:put)?|result|rlt|upscaled|enhanced)$", re.IGNORECASE)


class _Parsed(NamedTuple):
    """A stem without what it says of kind and scale."""

    base: str
    kind: Literal["hr", "lr", ""]
    scale: int | None


class HrAndLr(NamedTuple):
    """The pictures of a folder: HR, LR of the scale that was asked for, and what is neither."""

    hr: list[Path]
    lr: list[Path]
    left: list[Path]


def holds_lr(folder: Path) -> bool:
    """Whether a folder is one of LR pictures by its name, as ``LR_bicubic/X2`` is."""

    def named(name: str) -> bool:
        # A set's name may stand before it: DIV2K_valid_LR_bicubic.
        found = LR_FOLDER.fullmatch(re.sub(r"^.*_(?=lr)", "", name, flags=re.IGNORECASE))
        return bool(found and (found["word"] or "").lower().startswith("l"))

    of_scale = SCALE_FOLDER.fullmatch(folder.name) is not None
    return named(folder.name) or (of_scale and named(folder.parent.name))


def keys_of(stem: str, scale: int | None = None) -> list[str]:
    """A stem, and what is left as marks of kind and scale are taken off, one after another.

    Args:
        stem: a file's name without its suffix.
        scale: marks of other scales stay; None takes off every scale.
    """
    return [key for key, _ in _stripped(stem, scale)]


def result_keys(stem: str) -> list[str]:
    """As `keys_of`, of an upscaled picture: also without the ending that a program adds."""
    keys = [stem]
    while True:
        mark = _RESULT.search(keys[-1])
        rest = keys[-1][: mark.start()] if mark else keys_of(keys[-1])[-1]
        if rest == keys[-1]:
            return keys
        keys += [rest] if mark else keys_of(keys[-1])[1:]


def begins_with(stem: str, key: str) -> bool:
    """Whether a name is a key and something more, set apart from it."""
    return stem.startswith(key) and stem[len(key) :][:1] in tuple("_-. ")


def lr_partners(hr: Sequence[Path], lr: Iterable[Path], scale: int) -> dict[Path, Path]:
    """The LR picture of each HR picture, as far as there is one for this scale.

    Raises:
        InputError: two are equally likely.
    """
    by_stem = {path.stem: path for path in lr}
    by_key: dict[str, list[tuple[int, Path]]] = {}
    for stem, path in by_stem.items():
        for stripped, key in enumerate(keys_of(stem, scale)):
            by_key.setdefault(key, []).append((stripped, path))
    partners: dict[Path, Path] = {}
    for path in hr:
        exact = by_stem.get(f"{path.stem}x{scale}", by_stem.get(path.stem))
        found = exact or _nearest(path, by_key)
        if found is not None:
            partners[path] = found
    return partners


def _nearest(hr: Path, by_key: Mapping[str, list[tuple[int, Path]]]) -> Path | None:
    for key in keys_of(hr.stem):
        if key not in by_key:
            continue
        fewest = min(stripped for stripped, _ in by_key[key])
        best = [path for stripped, path in by_key[key] if stripped == fewest]
        if len(best) > 1:
            raise InputError(
                f"{shown(hr)}: both {shown(best[0].name)} and {shown(best[1].name)} in "
                f"{shown(best[0].parent)} may be its LR; keep one of them there"
            )
        return best[0]
    return None


def sort_by_kind(folder: Path, pictures: Sequence[Path], scale: int) -> HrAndLr:
    """Tell the HR pictures of a folder from LR and other pictures that lie beside them.

    Raises:
        InputError: there is no HR picture, or it is open which of them are HR.
    """
    names = {path: _parse(path.stem) for path in pictures}
    marked = [path for path in pictures if names[path].kind == "hr"]
    low = [path for path in pictures if names[path].kind == "lr"]
    if len(low) == len(pictures):
        raise InputError(
            f"{shown(folder)}: holds LR pictures alone, such as {shown(low[0].name)}; name the "
            "folder of HR pictures"
        )
    bases = {names[path].base for path in marked}
    others = [path for path in pictures if names[path].kind != "hr"]
    beside = [path for path in others if _belongs(path.stem, names[path].base, bases)]
    of_scales = not others and len({names[path].scale for path in marked}) > 1
    if beside or of_scales:
        if len(beside) < len(others):
            stranger = next(path for path in others if path not in beside)
            raise InputError(
                f"{shown(stranger)}: is neither HR nor LR by its name, as the others in "
                f"{shown(folder)} are; rename it (_HR, _LR) or remove it"
            )
        return _of_marked(folder, names, marked, beside, scale)
    plain = {path.stem: path for path in pictures if names[path].kind != "lr"}
    reduced = [path for path in pictures if _is_reduced(path, names[path], plain)]
    if unknown := [path for path in low if path not in reduced]:
        raise InputError(
            f"{shown(unknown[0])}: is an LR picture by its name, but has no HR picture "
            f"{shown(names[unknown[0]].base)} beside it; rename or remove it"
        )
    hr = [path for path in pictures if path not in reduced]
    lr = [path for path in reduced if names[path].scale in (None, scale)]
    return HrAndLr(hr, lr, [path for path in reduced if path not in lr])


def _of_marked(
    folder: Path,
    names: Mapping[Path, _Parsed],
    marked: Sequence[Path],
    beside: Sequence[Path],
    scale: int,
) -> HrAndLr:
    """Of a folder in which HR pictures say that they are."""
    scales = {names[path].scale for path in marked}
    if scale in scales:
        wanted: int | None = scale
    elif len(scales) == 1:
        wanted = next(iter(scales))
    else:
        offered = ", ".join(f"x{s}" for s in sorted(s for s in scales if s is not None))
        raise InputError(f"{shown(folder)}: holds HR pictures for {offered}, not for x{scale}")
    hr = [path for path in marked if names[path].scale == wanted]
    # A scale that the HR states is that of its LR too.
    lr = [
        path
        for path in beside
        if names[path].kind == "lr" and (names[path].scale or wanted or scale) == scale
    ]
    return HrAndLr(hr, lr, [path for path in names if path not in hr and path not in lr])


def _belongs(stem: str, base: str, bases: set[str]) -> bool:
    """Whether a picture is of the scene of an HR picture that says that it is one."""
    begins = {stem[: mark.start()] for mark in re.finditer(r"[_\-. ]", stem)} - {""}
    return base in bases or not begins.isdisjoint(bases)


def _is_reduced(path: Path, name: _Parsed, plain: Mapping[str, Path]) -> bool:
    """Whether a picture is the LR of another one in its folder."""
    hr = next((plain[key] for key in keys_of(path.stem)[1:] if key in plain), None)
    if hr is None or hr == path:
        return False
    if name.kind == "lr":
        return True
    # "photo-x2" may as well be made of "photo".
    small, large = picture_size(path), picture_size(hr)
    return small[0] < large[0] and small[1] < large[1]


def _parse(stem: str) -> _Parsed:
    marks = [mark for _, mark in _stripped(stem, None)[1:]]
    kinds = {kind for kind in ("hr", "lr") for mark in marks if mark and mark[kind]}
    scales = [scale for mark in marks if mark and (scale := _scale_of(mark)) is not None]
    kind: Literal["hr", "lr", ""] = "lr" if "lr" in kinds else "hr" if kinds else ""
    return _Parsed(keys_of(stem)[-1], kind, scales[0] if scales else None)


def _stripped(stem: str, scale: int | None) -> list[tuple[str, re.Match[str] | None]]:
    """What `keys_of` gives, each with the mark that was taken off for it."""
    found: list[tuple[str, re.Match[str] | None]] = [(stem, None)]
    while True:
        key = found[-1][0]
        if mark := _END.search(key):
            rest = key[: mark.start()]
        elif mark := _BEGIN.search(key):
            rest = key[mark.end() :]
        else:
            return found
        if scale is not None and _scale_of(mark) not in (None, scale):
            return found
        found.append((rest, mark))


def _scale_of(mark: re.Match[str]) -> int | None:
    stated = [mark.groupdict().get(name) for name in ("srf", "scale", "times")]
    return next((int(text) for text in stated if text), None)
