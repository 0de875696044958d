"""The command line; the commands are listed in the order they are imported."""

# ruff: noqa: I001

from __future__ import annotations

import sys

import typer

from vernier.cli.app import app
from vernier.cli import (
    upscale,
    fuse,
    train,
    ablate,
    models,
    evaluate,
    data_fusion,
    data_preview,
    data_info,
    data_subimages,
    explain,
    compare,
    export,
)
from vernier.cli.endings import (
    BROKEN_PIPE,
    FULL,
    ending_cleanly,
    leads_nowhere,
    printing_anything,
    silence,
    silence_if_broken,
)
from vernier.cli.options import print_error, print_line
from vernier.errors import VernierError
from vernier.extras import named_extras

__all__ = [
    "ablate",
    "app",
    "compare",
    "data_fusion",
    "data_info",
    "data_preview",
    "data_subimages",
    "evaluate",
    "explain",
    "export",
    "fuse",
    "main",
    "models",
    "train",
    "upscale",
]


def main() -> None:
    """Run the command line; what is wrong with it or with its files is one line, exit code 2.

    Interrupted it is 130, ended by a signal 128 and its number, and 141 if nobody reads what it
    prints any more.
    """
    printing_anything(sys.stdout, sys.stderr)
    with ending_cleanly():
        code = _run()
        # Complained about here, and not by Python when the process ends.
        if silence_if_broken(sys.stdout) and not code:
            print_error("the output cannot be written: is the disk full?")
            code = 2
        silence_if_broken(sys.stderr)
        sys.exit(code)


def _run() -> int:
    """The exit code."""
    stdout, stderr = sys.stdout, sys.stderr
    try:
        with named_extras():
            return int(app(prog_name="vernier", standalone_mode=False) or 0)
    except VernierError as error:
        return _refused(error)
    except MemoryError as error:
        reason = f" ({error})" if str(error) else ""
        return _refused(f"memory ran out{reason}: take less at once, or close other programs")
    except (KeyboardInterrupt, typer.Abort):
        print_line("interrupted")
        return 130
    except OSError as error:
        # Of files that are named, what goes wrong has been told.
        if error.filename is not None or error.errno not in FULL:
            raise
        silence(sys.stdout)
        return _refused(f"the output cannot be written ({error.strerror})")
    except SystemExit as end:
        # Where the reader of a pipe has gone, typer puts something in the place of both streams,
        # and rich leads stdout to nowhere.
        if sys.stdout is not stdout or (end.code == 1 and leads_nowhere(stdout)):
            sys.stdout, sys.stderr = stdout, stderr
            silence(stdout)
            return BROKEN_PIPE
        return end.code if isinstance(end.code, int) else bool(end.code)
    except Exception as error:
        # What typer says of a wrong command line. Its class has no public name in all versions,
        # its method has.
        told = getattr(error, "format_message", None)
        if told is None:
            raise
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "vernier"
        reason = " ".join(told().replace("Value error, ", "").split())
        return _refused(f"{reason.rstrip('.')}: see {command} --help")


def _refused(reason: object) -> int:
    print_error(reason)
    return 2
