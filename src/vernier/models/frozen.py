"""Networks that are looked at while others use them."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

__all__ = ["frozen_twin"]

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def frozen_twin(module: AnyModule) -> AnyModule:
    """The same network in eval mode, whose parameters need no gradients.

    It shares the memory of all tensors and nothing else: its modes, the gradients of its parameters
    and hooks that it is given are its own. So ``module`` stays as it is, and any number of threads
    may have a twin of it at once.
    """
    shared: dict[int, object] = {}
    for each in module.modules():
        shared |= {id(x): x.detach() for x in vars(each).values() if isinstance(x, Tensor)}
    shared |= {id(x): x for x in module.buffers()}
    shared |= {id(x): nn.Parameter(x.detach(), requires_grad=False) for x in module.parameters()}
    return copy.deepcopy(module, shared).eval().requires_grad_(False)
