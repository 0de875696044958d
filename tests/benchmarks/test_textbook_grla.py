"""The yardstick computes what the fixtures hold and what the shipped form computes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from support.grla import FIXTURE_NAMES

from benchmarks.textbook_grla import TextbookGRLA
from vernier.models.grla import GRLA


@pytest.mark.parametrize("scale", [2, 4])
def test_golden_network(shared: Path, scale: int) -> None:
    path = shared / "golden" / "grla" / f"grla_specB_tiny_x{scale}.npz"
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file.files}
    state = {}
    for key in arrays:
        if key.startswith("sd."):
            name = key[3:]
            for theirs, ours in FIXTURE_NAMES.items():
                name = re.sub(theirs, ours, name)
            state[name] = arrays[key]
    network = TextbookGRLA(state, scale=scale, num_blocks=3, num_heads=2, window_size=8)
    difference = (network(arrays["input"]) - arrays["output"]).abs().max()
    assert difference <= 2e-5 * arrays["output"].abs().max()


def test_it_is_the_network_that_ships() -> None:
    sizes = {"num_blocks": 2, "num_heads": 5, "window_size": 16}
    model = GRLA(scale=3, num_features=55, **sizes).eval()
    # Larger than what is run at once, so that the parts are compared too.
    lr = torch.rand(1, 3, 90, 100)
    with torch.inference_mode():
        expected = TextbookGRLA(model.state_dict(), scale=3, **sizes)(lr)
        torch.testing.assert_close(model.deploy()(lr), expected, rtol=1e-4, atol=1e-5)
