"""Models side by side: their names, their scale, and that each file is read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vernier.errors import InputError
from vernier.zoo import contestants, create_model, new_card, save_weights
from vernier.zoo.contestants import load_contestants, numbered, table_name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("sesr-m5", "sesr-m5"),
        ("some/where/mine.safetensors", "mine"),
        ("runs/first/weights.safetensors", "first"),
        (Path("runs/first/weights.safetensors"), "first"),
        ("mine.net:Net@runs/first/weights.safetensors", "first"),
        ("mine.net:Net", "mine.net:Net"),
    ],
)
def test_a_name_for_a_table(source: str | Path, name: str) -> None:
    assert table_name(source) == name


def test_a_name_that_comes_again_is_numbered() -> None:
    names: list[str] = []
    for _ in range(3):
        names.append(numbered("m", names))
    assert names == ["m", "m (2)", "m (3)"]


def test_each_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = create_model("sesr-m3", scale=2, expansion=16)
    path = str(tmp_path / "a.safetensors")
    save_weights(model, path, new_card(model, "a"))  # type: ignore[arg-type]
    read: list[object] = []
    load = contestants.load_model

    def counted(source: Any, scale: int | None = None) -> Any:
        read.append(source)
        return load(source, scale)

    monkeypatch.setattr(contestants, "load_model", counted)
    scale, found = load_contestants([path, "sesr-m3", path])
    assert (scale, list(found)) == (2, ["a", "sesr-m3", "a (2)"])
    assert sorted(map(str, read)) == sorted([path, "sesr-m3"])


def test_scales_that_do_not_meet(tmp_path: Path) -> None:
    for scale in (2, 3):
        model = create_model("sesr-m3", scale=scale, expansion=16)
        save_weights(model, tmp_path / f"{scale}.safetensors", new_card(model, "a"))  # type: ignore[arg-type]
    sources = [str(tmp_path / f"{scale}.safetensors") for scale in (2, 3)]
    with pytest.raises(InputError, match=r"no common scale \(.*2\.safetensors: \[2\], "):
        load_contestants(sources)
    with pytest.raises(InputError, match="is a model for scale 3, not 2"):
        load_contestants(sources, 2)
    with pytest.raises(InputError, match="no model given"):
        load_contestants([])
