"""Heat map, captions, boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vernier.drawing import (
    RED,
    boxed,
    captioned,
    enlarged,
    heat,
    painted,
    save_figure,
    side_by_side,
    stacked,
)
from vernier.imaging import rgb_to_luma
from vernier.io import PictureError, read_picture


@pytest.mark.parametrize(("fixture", "zoom"), [("lam_tinyconv", 2), ("lam_hat_a_x4_w8", 4)])
def test_heat_is_the_papers_map(shared: Path, fixture: str, zoom: int) -> None:
    arrays = np.load(shared / "golden" / "hat" / f"{fixture}.npz")
    name = "blur_abs_norm" if fixture == "lam_tinyconv" else "abs_norm"
    # The authors' map has 256 colours, of which they use the upper half; ours is continuous.
    index = np.minimum((0.5 + 0.5 * arrays[name].astype(np.float64)) * 256, 255).astype(int)
    ours = enlarged(heat(torch.from_numpy(2 * index / 255 - 1)), zoom).permute(1, 2, 0) * 255
    np.testing.assert_allclose(ours, arrays[f"vis_abs_zoom{zoom}_uint8"], atol=1)


def test_heat_darkens_all_the_way() -> None:
    colours = heat(torch.linspace(0, 1, 101)[None])
    assert colours[:, 0, 0].tolist() == [1, 1, 1]
    assert colours[:, 0, -1].tolist() == [0.5, 0, 0]
    assert (rgb_to_luma(colours)[0, 0].diff() < 0).all()


def test_text_is_drawn_beneath_and_widens() -> None:
    panel = captioned(Image.new("RGB", (20, 10), "red"), ["a rather long caption", "two"])
    assert panel.width > 100
    text = np.asarray(panel)[10:].min(-1)
    assert (text < 100).sum() > 50
    assert captioned(Image.new("RGB", (20, 10)), []).size == (20, 14)


def test_a_box_frames_the_window_from_outside() -> None:
    pixels = np.asarray(boxed(Image.new("RGB", (30, 20)), 10, 5, 4))
    assert (pixels[5:9, 10:14] == 0).all()
    for row, column in ((3, 8), (4, 12), (10, 15), (7, 9)):
        assert tuple(pixels[row, column]) == RED
    assert (pixels[:3] == 0).all()


def test_a_box_at_the_edge_is_whole() -> None:
    pixels = np.asarray(boxed(Image.new("RGB", (30, 20)), 0, 12, 8))
    for part in (pixels[10:, :2], pixels[10:, 8:10], pixels[10:12, :10], pixels[18:, :10]):
        assert (part == RED).all()
    assert (pixels[12:18, 2:8] == 0).all()


def test_panels_are_joined_with_a_gap(tmp_path: Path) -> None:
    a, b = (painted(torch.rand(3, *size)) for size in ((4, 5), (6, 7)))
    assert side_by_side([a, b]).size == (5 + 8 + 7, 6)
    assert stacked([a, b]).size == (7, 4 + 8 + 6)
    save_figure(a, tmp_path / "a.png")
    assert np.array_equal(read_picture(tmp_path / "a.png").pixels, np.asarray(a))
    with pytest.raises(PictureError, match="cannot write"):
        save_figure(a, tmp_path / "a.xyz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]
