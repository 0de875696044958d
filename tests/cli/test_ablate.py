"""`vernier ablate` as users see it: exit code, stdout, stderr, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import Ran
from support.experiment import make_experiment

from vernier import ablation


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return make_experiment(tmp_path)


def test_it_tells_each_step_and_prints_the_table(
    experiment: Path, tmp_path: Path, vernier: Callable[..., Ran]
) -> None:
    small = ("seeds=[0]", "arms={three: {}}")
    code, out, err = vernier("ablate", experiment, *small, "--format", "markdown")
    assert code == 0, err
    folder = tmp_path / "runs" / "depth"
    steps = ["training three, seed 0", "measuring three, seed 0", "measuring costs"]
    written = [f"{folder / name}: written" for name in ("results.md", "results.csv")]
    lines = err.splitlines()
    assert [line for line in lines if line in steps] == steps
    assert lines[-3:] == [*written, f"{folder / 'results.json'}: written"]
    assert out == (folder / "results.md").read_text(encoding="utf-8")
    assert out.startswith("| arm | Pictures PSNR | Pictures SSIM | parameters | G MAC | ms | MiB |")


def test_an_interruption_says_how_to_go_on(
    experiment: Path, vernier: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation, "train", interrupted)
    code, out, err = vernier("ablate", experiment)
    assert (code, out) == (130, "")
    assert err.endswith("interrupted; the same command goes on where it stopped\n")


def test_it_refuses_in_one_line(experiment: Path, vernier: Callable[..., Ran]) -> None:
    for arguments, told in (
        (("nothing.yaml",), "cannot read nothing.yaml"),
        ((experiment, "seeds=[1, 1]"), "each once"),
        ((experiment, "test=[missing]"), "missing: no such folder"),
    ):
        code, out, err = vernier("ablate", *arguments)
        assert (code, out) == (2, "")
        assert told in err
        assert err.count("\n") == 1
