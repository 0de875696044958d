"""The overview behind ``vernier models``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vernier.errors import InputError
from vernier.zoo.overview import overviews


@pytest.mark.usefixtures("few_models")
def test_every_model_at_every_scale(weights_folder: Path) -> None:
    found = {(each.model, each.scale): each for each in overviews()}
    # A network for fusion, which is the same at every scale, is listed once.
    assert len(found) == 5 * 3 + 3 + 1
    assert [scale for model, scale in found if model == "psrt"] == [4]
    assert found["grla-s", 2].trainable_parameters == 58_684
    assert found["grla-s", 2].macs > found["grla-s", 2].macs_without_attention
    assert found["sesr-m5", 2].macs == found["sesr-m5", 2].macs_without_attention
    assert found["sesr-m5", 2].macs == 3_115_008_000
    assert found["sesr-m5", 2].parameters == 13_520 + 80
    # 1280x720 is no multiple of 3: 427x240 LR pixels make 1281x720.
    assert found["sesr-m5", 3].macs == (25 * 16 + 9 * 5 * 256 + 25 * 16 * 9) * 427 * 240
    assert found["sesr-m5", 2].receptive_radius == 9
    assert [key for key, each in found.items() if each.card] == [("sesr-m3", 2)]


def test_one_model_one_scale_or_one_file(weights_folder: Path) -> None:
    assert [each.scale for each in overviews("sesr-xl")] == [2, 3, 4]
    (by_name,) = overviews("sesr-m3", 2)
    (by_file,) = overviews(str(weights_folder / "sesr-m3-x2.safetensors"))
    assert by_file.card == replace(by_name.card, sha256="")
    assert (by_file.macs, by_file.parameters) == (by_name.macs, by_name.parameters)
    with pytest.raises(InputError, match="did you mean 'sesr-xl'"):
        overviews("sesr-x")
    with pytest.raises(InputError, match="no scale 7"):
        overviews("sesr-m3", 7)
