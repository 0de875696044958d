"""Draw the README's picture: bicubic, Vernier and the original, side by side.

python tools/readme_picture.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vernier import Upscaler
from vernier.data.pictures import read_uint8
from vernier.imaging import imresize_uint8
from vernier.io import Picture, write_picture

SCALE = 2
# The face and the collar of examples/astronaut.png: rows, columns.
WINDOW = (slice(8, 264), slice(92, 348))


def main() -> None:
    original = read_uint8("examples/astronaut.png")
    lr = imresize_uint8(original, 1 / SCALE)
    bicubic = imresize_uint8(lr, float(SCALE))
    pixels = Upscaler("sesr-m5", scale=SCALE).upscale_array(
        np.ascontiguousarray(lr.permute(1, 2, 0).numpy())
    )
    ours = torch.from_numpy(pixels).permute(2, 0, 1)
    gap = torch.full((3, WINDOW[0].stop - WINDOW[0].start, 8), 255, dtype=torch.uint8)
    views = [image[:, *WINDOW] for image in (bicubic, ours, original)]
    row = torch.cat([views[0], gap, views[1], gap, views[2]], dim=2)
    path = Path("docs/images/astronaut-x4.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(Picture(np.ascontiguousarray(row.permute(1, 2, 0).numpy())), path, compression=6)


if __name__ == "__main__":
    main()
