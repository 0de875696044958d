from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from vernier.errors import InputError
from vernier.upscaling.sizes import Paper, Size


@pytest.mark.parametrize(
    ("size", "picture", "expected"),
    [
        (Size(width=3000), (1500, 999), (3000, 1998)),
        (Size(width=7), (3, 2), (7, 5)),  # 4.67
        (Size(height=100), (30, 20), (150, 100)),
        (Size(height=1), (3, 1000), (1, 1)),
        (Size(longest=100), (30, 20), (100, 67)),
        (Size(longest=100), (20, 30), (67, 100)),
        (Size(longest=100), (20, 20), (100, 100)),
        (Size(shortest=100), (30, 20), (150, 100)),
        (Size(shortest=100), (20, 30), (100, 150)),
        (Size(at_least=(1920, 1080)), (800, 600), (1920, 1440)),
        (Size(at_least=(1920, 1080)), (800, 400), (2160, 1080)),
        (Size(at_least=(1920, 1080)), (1920, 1080), (1920, 1080)),
        (Size(at_least=(192, 108)), (400, 300), (400, 300)),
        (Size(at_least=(192, 108)), (400, 30), (1440, 108)),
        (Size(paper=Paper(300, 200, 300)), (1500, 1000), (3543, 2362)),
        (Size(paper=Paper(300, 200, 300)), (1000, 1500), (2362, 3543)),
        (Size(paper=Paper.parse("8x10in@240dpi")), (4000, 5000), (1920, 2400)),
        (Size(paper=Paper.parse("15x10cm@300DPI")), (1000, 1000), (1772, 1772)),
    ],
)
def test_the_size_is_exact(size: Size, picture: tuple[int, int], expected: tuple[int, int]) -> None:
    assert size.pixels(*picture) == expected


def test_the_shape_is_kept_to_half_a_pixel_and_what_is_covered_is() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        width, height, a, b = (int(each) for each in rng.integers(1, 5000, 4))
        for size in (Size(width=a), Size(height=a), Size(longest=a), Size(at_least=(a, b))):
            columns, rows = size.pixels(width, height)
            exact = min(
                abs(Fraction(height * columns, width) - rows),
                abs(Fraction(width * rows, height) - columns),
            )
            assert exact <= Fraction(1, 2) or 1 in (rows, columns)
        assert Size(width=a).pixels(width, height)[0] == a
        assert max(Size(longest=a).pixels(width, height)) == a
        columns, rows = Size(at_least=(a, b)).pixels(width, height)
        assert columns >= a
        assert rows >= b


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"width": 3, "height": 3},
        {"width": 0},
        {"width": -3},
        {"width": 2.5},
        {"width": True},
        {"width": "3"},
        {"width": 10**9},
        {"at_least": (3,)},
        {"at_least": 3},
        {"at_least": (3, 0)},
    ],
)
def test_what_is_no_size_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Size(**wrong)


@pytest.mark.parametrize(
    "wrong", ["", "30x20", "30x20cm", "30x20@300dpi", "0x3cm@3dpi", "-1x3cm@3dpi", "1x1cm@0dpi"]
)
def test_what_is_no_paper_is_refused(wrong: str) -> None:
    with pytest.raises(InputError):
        Paper.parse(wrong)
    with pytest.raises(InputError):
        Paper(float("nan"), 1, 1)


def test_words_of_a_command_line() -> None:
    assert Size.of_words() is None
    assert Size.of_words(width=3) == Size(width=3)
    assert Size.of_words(at_least="3 x 4") == Size(at_least=(3, 4))
    assert Size.of_words(paper="1x2mm@3dpi") == Size(paper=Paper(1, 2, 3))
    with pytest.raises(InputError):
        Size.of_words(width=3, paper="1x2mm@3dpi")
