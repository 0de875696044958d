"""Draw the README's picture: bicubic, Vernier and the original, side by side.

python tools/readme_picture.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vernier import Upscaler
from vernier.data.folders import read_uint8
from vernier.imaging import imresize_uint8
from vernier.io import Picture, write_picture

SCALE = 2
# The face of examples/astronaut.png, rows and columns; shown three times as large, pixel by pixel.
WINDOW = (slice(72, 168), slice(172, 268))
ZOOM = 3


def main() -> None:
    original = read_uint8("examples/astronaut.png")
    lr = imresize_uint8(original, 1 / SCALE)
    bicubic = imresize_uint8(lr, float(SCALE))
    pixels = Upscaler("sesr-m5", scale=SCALE).upscale_array(
        np.ascontiguousarray(lr.permute(1, 2, 0).numpy())
    )
    ours = torch.from_numpy(pixels).permute(2, 0, 1)
    views = [
        image[:, *WINDOW].repeat_interleave(ZOOM, 1).repeat_interleave(ZOOM, 2)
        for image in (bicubic, ours, original)
    ]
    gap = torch.full((3, views[0].shape[1], 8), 255, dtype=torch.uint8)
    row = torch.cat([views[0], gap, views[1], gap, views[2]], dim=2)
    path = Path("docs/images/astronaut-x2.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(Picture(np.ascontiguousarray(row.permute(1, 2, 0).numpy())), path, compression=6)


if __name__ == "__main__":
    main()
