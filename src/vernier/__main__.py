"""``python -m vernier``, also for ``torchrun -m vernier``, and the command ``vernier``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; it can be interrupted while Python still reads its code, too."""
    try:
        from vernier.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
