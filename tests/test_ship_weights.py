"""The maintainers' tool that puts weights into the package: it asks before it replaces any."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from support.training import small_recipe

from vernier.training import train
from vernier.zoo.cards import read_card

TOOL = Path(__file__).parents[1] / "tools" / "ship_weights.py"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, whose package has its weights in ``shipped``."""
    spec = importlib.util.spec_from_file_location("ship_weights", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "shipped").mkdir()
    monkeypatch.setattr(module, "WEIGHTS_FOLDER", tmp_path / "shipped")
    return module


@pytest.fixture
def runs(face: Path, tmp_path: Path) -> list[Path]:
    """Two finished runs of one network."""
    data = {"train": [face], "validation": [face], "patch_size": 8, "batch_size": 2}
    for name, seed in (("one", 1), ("two", 2)):
        recipe = small_recipe(tmp_path / "runs", data=data, name=name, seed=seed)
        train(recipe, logs=[])
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "face.png").write_bytes(face.read_bytes())
    return [tmp_path / "runs" / "one", tmp_path / "runs" / "two"]


def test_shipped_weights_are_replaced_on_demand_alone(
    tool: ModuleType, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tmp_path / "test")]
    shipped = tmp_path / "shipped" / "sesr-m3-x2.safetensors"
    assert tool.main([str(runs[0]), *data]) == 0
    out = capsys.readouterr().out
    figures = read_card(shipped).measured["test"]
    assert out == (
        f"sesr-m3-x2.safetensors of {runs[0]}: test psnr {figures['psnr']:g}, "
        f"ssim {figures['ssim']:g}\n"
    )
    assert "1 pictures of" in read_card(shipped).data
    kept = {path: path.read_bytes() for path in shipped.parent.iterdir()}
    assert len(kept) == 2

    assert tool.main([str(runs[1]), *data]) == 2
    out, err = capsys.readouterr()
    old, new = out.splitlines()
    assert old == f"sesr-m3-x2.safetensors as shipped: test psnr {figures['psnr']:g}, " + (
        f"ssim {figures['ssim']:g}"
    )
    assert new.startswith(f"sesr-m3-x2.safetensors of {runs[1]}: test psnr ")
    assert err == (
        "error: sesr-m3-x2.safetensors is shipped already; --replace puts the new weights there\n"
    )
    assert kept == {path: path.read_bytes() for path in shipped.parent.iterdir()}

    assert tool.main([str(runs[1]), *data, "--replace"]) == 0
    assert kept[shipped] != shipped.read_bytes()


def test_what_is_wrong_is_one_line(
    tool: ModuleType, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = str(tmp_path / "test")
    (tmp_path / "no-data").mkdir()
    (tmp_path / "no-data" / "recipe.yaml").write_text((runs[0] / "recipe.yaml").read_text())
    for run, data in (
        (tmp_path / "missing", test),
        (tmp_path / "no-data", test),
        (runs[0], str(tmp_path / "Set5")),
    ):
        assert tool.main([str(run), "--data", data]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    assert not list((tmp_path / "shipped").iterdir())
