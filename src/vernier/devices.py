"""Where networks run."""

from __future__ import annotations

import torch

from vernier.errors import InputError

__all__ = ["find_device"]


def find_device(name: str | torch.device) -> torch.device:
    """The torch device of this name: cpu, cuda, cuda:1, ..., mps.

    Raises:
        InputError: no such device, or it cannot be used on this machine.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    # What else torch knows holds no values, or is not tested.
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"unknown device {str(name)!r}: choose cpu, cuda (cuda:1, ...) or mps")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            found.append("mps")
        raise InputError(
            f"device {str(name)!r} cannot be used: on this machine torch finds {', '.join(found)}"
        ) from error
    return device
