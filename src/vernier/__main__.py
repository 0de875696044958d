"""``python -m vernier``, also for ``torchrun -m vernier``."""

from vernier.cli import main

main()
