"""A process that is forked after libraries have made threads: refused, where it would hang."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vernier.io import Picture, write_picture

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="systems without fork")

_FORKING = """
import os, signal, sys, warnings
import numpy as np
import vernier
warnings.simplefilter("ignore")
path, step, before = sys.argv[1], sys.argv[2], sys.argv[3] == "used"
upscaler = vernier.Upscaler("sesr-m3", engine="torch" if step == "torch" else "openvino")
steps = {
    "read": lambda: vernier.read_picture(path),
    "write": lambda: vernier.write_picture(vernier.Picture(np.zeros((9, 9, 3), np.uint8)), path),
    "openvino": lambda: upscaler.upscale_array(np.zeros((99, 99, 3), np.uint8)),
}
steps["torch"] = steps["openvino"]
if step == "torch":
    import torch
    torch.set_num_threads(2)
if before:
    steps[step]()
child = os.fork()
if not child:
    signal.alarm(20)
    try:
        steps[step]()
    except vernier.InputError as error:
        print(error, flush=True)
        os._exit(3)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(
    ("step", "code"), [("read", 3), ("write", 3), ("torch", 3), ("openvino", 0)]
)
def test_a_fork_after_work_is_refused_and_one_before_works(
    step: str, code: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    write_picture(Picture(np.zeros((40, 40, 3), np.uint8)), path)
    for before, expected in (("used", code), ("unused", 0)):
        ran = subprocess.run(
            [sys.executable, "-c", _FORKING, str(path), step, before],
            capture_output=True,
            text=True,
            check=True,
        )
        *told, last = ran.stdout.splitlines()
        assert int(last) == expected
        assert ["this process was forked after" in line for line in told] == [True] * bool(expected)
