"""The benchmarks run and report what they should; how fast anything is, no test can tell."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from vernier.zoo import create_model, new_card, save_weights
from vernier.zoo.complexity import complexity

ROOT = Path(__file__).parents[2]
SUITES = {
    "inference": "## Inference: 64x48 to 128x96",
    "hat": "## HAT x4",
    "grla": "## GRLA",
    "psrt": "## PSRT",
    "tiles": "## Tiles",
    "training": "## Training",
    "resize": "## Resize and metrics",
    "command": "## The command line",
    "stability": "## Stability of GRLA in training",
}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[str]], None]]:
    monkeypatch.syspath_prepend(ROOT)
    threads = torch.get_num_threads()
    yield importlib.import_module("benchmarks.__main__").main
    torch.set_num_threads(threads)


def _rows(suite: dict[str, Any], title: str) -> list[dict[str, Any]]:
    (table,) = [table for table in suite["tables"] if table["title"].startswith(title)]
    rows: list[dict[str, Any]] = table["rows"]
    return rows


@pytest.mark.parametrize("suite", SUITES)
def test_suite_reports(suite: str, benchmark: Callable[[list[str]], None], tmp_path: Path) -> None:
    page, results = tmp_path / "page.md", tmp_path / "results.json"
    # What an earlier run found out about another suite stays.
    earlier = {"title": "Earlier", "notes": [], "tables": []}
    environment = {
        "versions": {"python": "3"},
        "quick": False,
        "quiet": True,
        "busy_cores": 0.0,
        **dict.fromkeys(("date", "processor", "instructions", "cores", "system", "repeats"), "?"),
    }
    results.write_text(json.dumps({"earlier": {**earlier, "environment": environment}}))
    more = ARGUMENTS[suite](tmp_path) if suite in ARGUMENTS else []
    benchmark([suite, *more, "--quick", "--output", str(page), "--json", str(results)])

    text, found = page.read_text(), json.loads(results.read_text())
    assert list(found) == ["earlier", suite]
    assert "## Earlier" in text
    assert SUITES[suite] in text
    assert found[suite]["environment"]["quick"]
    assert "no number here means anything" in text
    for table in found[suite]["tables"]:
        assert f"### {table['title']}" in text
        assert table["rows"]
        for row in table["rows"]:
            assert {column["key"] for column in table["columns"]} <= row.keys()
            seconds = row.get("seconds")
            assert seconds is None or 0 < seconds["fastest"] <= seconds["median"]
    CHECKS[suite](found[suite])


def _inference(suite: dict[str, Any]) -> None:
    rows = _rows(suite, "Luma to luma")
    assert len(rows) == 8
    for row in rows:
        if row["precision"] == "fp32":
            assert row["difference"] <= 1e-4, row["name"]
        else:
            assert row["difference"] > 0, f"{row['name']} does not compute in bf16"
            assert row["psnr"] > 30, row["name"]
    assert [row["difference"] <= 1 for row in _rows(suite, "Whole pictures")] == [True] * 4
    # 13520 weights (SESR-M5 x2, collapsed) on 64x48 pixels.
    (gflop,) = {row["amount"] for row in _rows(suite, "Floors") if row["unit"] == "GFLOP"}
    assert gflop == pytest.approx(2e-9 * 13520 * 64 * 48)


def _network(suite: dict[str, Any]) -> None:
    for row in suite["tables"][0]["rows"]:
        if row["precision"] == "fp32":
            assert row["difference"] <= 1e-3, row["name"]
        else:
            assert row["difference"] > 0, f"{row['name']} does not compute in bf16"
            assert row["psnr"] > 30, row["name"]


def _psrt(suite: dict[str, Any]) -> None:
    _network(suite)
    counted = {row["name"]: row for row in _rows(suite, "Where psrt's limits are")}
    assert 0 < counted["sum"]["least"] < counted["sum"]["every"]
    # What is counted by hand is what the operators show, the cube's upsampling left out.
    aligned = importlib.import_module("benchmarks.psrt").build("psrt 32 32")[0]
    assert counted["sum"]["macs"] * 1e9 == pytest.approx(complexity(aligned, (32, 32)).macs)


def _hat_weights(folder: Path) -> list[str]:
    small = {"embed_dim": 24, "depths": [1], "num_heads": [2], "squeeze_factor": 6}
    model = create_model("hat-s", scale=3, window_size=8, **small)
    with torch.no_grad():
        # As it starts, the pooled part is too weak to be seen.
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    path = folder / "hat.safetensors"
    save_weights(model, path, new_card(model, "hat-s"))
    return ["--weights", str(path)]


def _tiles(suite: dict[str, Any]) -> None:
    rows = {(row["name"], row["how"]): row for row in _rows(suite, "Tiled against whole")}
    assert rows.keys() == {
        ("sesr-m5 x2", "with a halo"),
        ("grla-s x2", "faded into each other"),
        ("grla-s x2", "exact"),
        ("hat", "faded into each other"),
    }
    differences = {key: row["difference"] for key, row in rows.items()}
    assert differences.pop(("sesr-m5 x2", "with a halo")) == 0
    assert 0 < differences.pop(("grla-s x2", "exact")) < 1e-5
    assert min(differences.values()) > 1e-5
    for row in rows.values():
        assert (row["between"] is None) == (row["difference"] == 0)
        assert abs(row["lost"]) < 1
        # Those that are trained know what a photograph looks like.
        assert (row["whole"] > 34) == (row["name"] != "hat")
    for row in _rows(suite, "Peak memory"):
        assert row["output"] * 2**20 == 3 * 4 * 120 * 224
        assert row["beside"] == row["peak"] - row["output"] > 0
        # Windows of 96, of which those at the bottom lack the 8 rows that end no window.
        assert (row["windows"], row["computed"]) == (10, 2)


def _training(suite: dict[str, Any]) -> None:
    rows = _rows(suite, "Steps alone")
    assert {(row["form"], row["precision"], row["optimiser"]) for row in rows} == {
        (form, precision, optimiser)
        for form in ("expanded", "collapsed", "deployed")
        for precision in ("fp32", "bf16")
        for optimiser in ("adam", "soap")
        if (form, optimiser) != ("expanded", "soap")
    }
    for row in rows:
        assert row["difference"] <= (1e-5 if row["precision"] == "fp32" else 1e-3), row
    gflop = {row["form"]: row["gflop"] for row in rows}
    assert gflop["deployed"] < gflop["collapsed"] < gflop["expanded"]
    # Forward, and backward to weights and inputs; the first layer has no input gradient.
    pixels = 2 * 16 * 16
    assert gflop["deployed"] == pytest.approx(2e-9 * pixels * (3 * 13520 - 25 * 16))
    assert all(0 <= row["wait"] <= 1 for row in _rows(suite, "`vernier train`"))
    assert any("convolution" in row["name"] for row in _rows(suite, "Where a step goes"))


def _resize(suite: dict[str, Any]) -> None:
    rows = _rows(suite, "Against the textbook")
    assert len(rows) == 8
    for row in rows:
        exact = row["name"].startswith("imresize_uint8")
        assert row["difference"] <= (0 if exact else 1e-5), row["name"]


def _command(suite: dict[str, Any]) -> None:
    (row,) = _rows(suite, "Its phases")
    phases = ("interpreter", "import", "model", "decode", "network", "encode")
    assert row["total"] == pytest.approx(sum(row[phase] for phase in phases))
    packages = [row["package"] for row in _rows(suite, "Imports with the openvino engine")]
    assert "openvino" in packages
    assert "torch" not in packages


def _stability(suite: dict[str, Any]) -> None:
    rows = _rows(suite, "Losses")
    assert len({row["name"] for row in rows}) == 5
    # Three steps are too few to diverge; that the control is another function, they show.
    assert [row["finite"] for row in rows] == ["yes"] * 5
    assert len({row["last"] for row in rows}) == 5


ARGUMENTS = {"tiles": _hat_weights}

CHECKS = {
    "inference": _inference,
    "hat": _network,
    "grla": _network,
    "psrt": _psrt,
    "tiles": _tiles,
    "training": _training,
    "resize": _resize,
    "command": _command,
    "stability": _stability,
}


def test_what_computes_something_else_is_refused(
    benchmark: Callable[[list[str]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    textbook = importlib.import_module("benchmarks.textbook")
    monkeypatch.setattr(textbook, "psnr", lambda *_: torch.tensor(20.0))
    page, results = tmp_path / "page.md", tmp_path / "results.json"
    with pytest.raises(RuntimeError, match="psnr 64x48 differs by"):
        benchmark(["resize", "--quick", "--output", str(page), "--json", str(results)])
    assert not page.exists()
    assert not results.exists()
