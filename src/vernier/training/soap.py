"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner.

Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", arXiv 2409.11321 (Algorithm 3).
The small convolutions of efficient super-resolution have gradients whose directions differ in
scale by orders of magnitude, while their preconditioners (16 x 16 and 144 x 144 for a 3x3 layer of
SESR) cost next to nothing beside a step's convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

__all__ = ["SOAP"]


class SOAP(torch.optim.Optimizer):
    """Adam whose moments live in the eigenbasis of the gradient's row and column covariances.

    A weight (C_out, C_in, k, k) counts as the matrix C_out x (C_in k k), a bank of n of them as
    (n C_out) x (C_in k k); vectors take plain Adam.

    Args:
        params: parameters to optimise.
        lr: learning rate (named as torch names it).
        betas: decay of the first moment, and of the second moment and the covariances.
        eps: added to the root of the second moment.
        precondition_every: steps between refreshments of the eigenbases.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        precondition_every: int = 10,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "precondition_every": precondition_every}
        )

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update; the first call only gathers the covariances."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad.float()
        if gradient.ndim > 1:
            gradient = gradient.flatten(0, max(0, gradient.ndim - 4)).flatten(1)
        state = self.state[parameter]
        first_decay, second_decay = group["betas"]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.long)
            state["mean"] = torch.zeros_like(gradient)
            state["square"] = torch.zeros_like(gradient)
            if gradient.ndim == 2:
                state["rows"] = gradient @ gradient.T
                state["columns"] = gradient.T @ gradient
                state["row_basis"] = torch.linalg.eigh(state["rows"])[1]
                state["column_basis"] = torch.linalg.eigh(state["columns"])[1]
            return
        state["step"] += 1
        step = int(state["step"])
        state["mean"].lerp_(gradient, 1 - first_decay)
        rotated_gradient = _rotate(gradient, state)
        state["square"].mul_(second_decay)
        state["square"].addcmul_(rotated_gradient, rotated_gradient, value=1 - second_decay)
        mean = _rotate(state["mean"], state) / (1 - first_decay**step)
        square = state["square"] / (1 - second_decay**step)
        update = mean / (square.sqrt() + group["eps"])
        if gradient.ndim == 2:
            update = state["row_basis"] @ update @ state["column_basis"].T
        parameter.add_(update.view_as(parameter), alpha=-group["lr"])
        if gradient.ndim == 2:
            state["rows"].lerp_(gradient @ gradient.T, 1 - second_decay)
            state["columns"].lerp_(gradient.T @ gradient, 1 - second_decay)
            # The first bases come from a single gradient: refine them at once.
            if step < 5 or step % group["precondition_every"] == 0:
                _refresh(state, "rows", "row_basis", dim=0)
                _refresh(state, "columns", "column_basis", dim=1)


def _rotate(matrix: Tensor, state: dict[str, Tensor]) -> Tensor:
    if matrix.ndim < 2:
        return matrix
    return state["row_basis"].T @ matrix @ state["column_basis"]


def _refresh(state: dict[str, Tensor], covariance: str, basis: str, *, dim: int) -> None:
    """One step of orthogonal iteration from the old basis, eigenvalues in descending order."""
    matrix, old = state[covariance], state[basis]
    order = (old * (matrix @ old)).sum(dim=0).argsort(descending=True)
    state["square"] = state["square"].index_select(dim, order)
    state[basis] = torch.linalg.qr(matrix @ old[:, order])[0]
