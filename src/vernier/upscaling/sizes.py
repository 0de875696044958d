"""How large a picture should become, where no scale says so."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields

from vernier.errors import InputError

__all__ = ["Paper", "Size"]

_MILLIMETRES = {"mm": 1.0, "cm": 10.0, "in": 25.4}
_INCH = 25.4
# Pixels a side; beyond, no picture file and no memory goes.
_MOST = 10_000_000
_PAPER = re.compile(
    r"([0-9]+(?:\.[0-9]+)?)x([0-9]+(?:\.[0-9]+)?)(mm|cm|in)@([0-9]+(?:\.[0-9]+)?)dpi", re.IGNORECASE
)
_SIDES = re.compile(r"([0-9]+)x([0-9]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Paper:
    """What a picture is printed on.

    Attributes:
        width, height: of the paper in millimetres; it is turned if that suits the picture better.
        dpi: pixels per inch, in both directions.

    Raises:
        InputError: one of them is not above zero.

    Example:
        >>> Paper.parse("30x20cm@300dpi")
        Paper(width=300.0, height=200.0, dpi=300.0)
    """

    width: float
    height: float
    dpi: float

    def __post_init__(self) -> None:
        for name in ("width", "height", "dpi"):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 < value < math.inf:
                raise InputError(f"{name} of the paper must be a number above 0, not {value!r}")

    @classmethod
    def parse(cls, text: str) -> Paper:
        """Read WIDTHxHEIGHT, a unit (mm, cm, in), and the density, as in "30x20cm@300dpi".

        Raises:
            InputError: it says something else.
        """
        found = _PAPER.fullmatch("".join(text.split()))
        if found is None:
            raise InputError(
                f"{text!r} is no size of a print: give 30x20cm@300dpi, 300x200mm@300dpi or "
                "8x10in@300dpi"
            )
        unit = _MILLIMETRES[found[3].lower()]
        return cls(float(found[1]) * unit, float(found[2]) * unit, float(found[4]))

    @property
    def density(self) -> tuple[float, float]:
        """Pixels per millimetre, as `vernier.io.Picture` has it."""
        return (self.dpi / _INCH, self.dpi / _INCH)

    def pixels(self, width: int, height: int) -> tuple[int, int]:
        """Of the paper, turned as a picture of this size is."""
        sides = (_rounded(side * self.dpi / _INCH) for side in (self.width, self.height))
        longer, shorter = sorted(sides, reverse=True)
        return (longer, shorter) if width >= height else (shorter, longer)


@dataclass(frozen=True)
class Size:
    """The size that pictures should have, by exactly one of these; the shape is always kept.

    Attributes:
        width, height: in pixels; the other side follows.
        longest, shortest: of the two sides.
        at_least: (width, height) that the picture covers: one side is met, the other is as large
            or larger. A picture that is that large already stays as it is.
        paper: the picture covers the paper, and gets its density.

    Raises:
        InputError: none or several of them, or no whole number above 0.

    Example:
        >>> Size(width=3000).pixels(1500, 999)
        (3000, 1998)
        >>> Size(at_least=(1920, 1080)).pixels(800, 600)
        (1920, 1440)
    """

    width: int | None = None
    height: int | None = None
    longest: int | None = None
    shortest: int | None = None
    at_least: tuple[int, int] | None = None
    paper: Paper | None = None

    def __post_init__(self) -> None:
        given = {each.name for each in fields(self) if getattr(self, each.name) is not None}
        if len(given) != 1:
            told = " and ".join(sorted(given)).replace("_", " ") or "none is given"
            raise InputError(
                "choose one of width, height, longest, shortest, at least and paper "
                f"(print): {told}"
            )
        for name in given - {"paper"}:
            value = getattr(self, name)
            sides = value if name == "at_least" and isinstance(value, tuple) else (value,)
            if len(sides) != (2 if name == "at_least" else 1) or not all(map(_is_side, sides)):
                raise InputError(
                    f"{name.replace('_', ' ')} must be a number of pixels from 1 to {_MOST:,}, "
                    f"not {value!r}"
                )

    @classmethod
    def of_words(
        cls,
        width: int | None = None,
        height: int | None = None,
        longest: int | None = None,
        shortest: int | None = None,
        at_least: str | None = None,
        paper: str | None = None,
    ) -> Size | None:
        """The size that a command line names; None where it names none.

        Args:
            at_least: such as "1920x1080".
            paper: see `Paper.parse`.

        Raises:
            InputError: several sizes, or one that cannot be used.
        """
        sides = None
        if at_least is not None:
            found = _SIDES.fullmatch("".join(at_least.split()))
            if found is None:
                raise InputError(f"{at_least!r} is no size: give WIDTHxHEIGHT, such as 1920x1080")
            sides = int(found[1]), int(found[2])
        printed = None if paper is None else Paper.parse(paper)
        if all(each is None for each in (width, height, longest, shortest, sides, printed)):
            return None
        return cls(width, height, longest, shortest, sides, printed)

    def pixels(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that a picture of this size becomes; one is exactly as asked for."""
        if self.at_least and width >= self.at_least[0] and height >= self.at_least[1]:
            return width, height
        cover = self.at_least or (self.paper and self.paper.pixels(width, height))
        if cover:
            # The side that needs the larger factor decides; whole numbers know which.
            by_width = cover[0] * height >= cover[1] * width
            wanted = cover[0] if by_width else cover[1]
        else:
            by_width = self.height is None and (
                self.width is not None or (width >= height) == (self.longest is not None)
            )
            wanted = self.width or self.height or self.longest or self.shortest or 0
        if by_width:
            return wanted, max(1, (2 * height * wanted + width) // (2 * width))
        return max(1, (2 * width * wanted + height) // (2 * height)), wanted

    @property
    def label(self) -> str:
        """For names of files, such as "w3000"."""
        if self.paper:
            return f"{self.paper.width:g}x{self.paper.height:g}mm"
        if self.at_least:
            return "{}x{}".format(*self.at_least)
        return "".join(
            f"{name[0]}{value}"
            for name in ("width", "height", "longest", "shortest")
            if (value := getattr(self, name)) is not None
        )

    def __str__(self) -> str:
        """For people, such as "width 3000"."""
        if self.paper:
            paper = self.paper
            return f"print {paper.width:g}x{paper.height:g} mm at {paper.dpi:g} dpi"
        if self.at_least:
            return "at least {}x{}".format(*self.at_least)
        return " ".join(
            f"{name} {value}"
            for name in ("width", "height", "longest", "shortest")
            if (value := getattr(self, name)) is not None
        )


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST


def _rounded(value: float) -> int:
    return max(1, int(value + 0.5))
