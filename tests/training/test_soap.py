"""SOAP: where it must equal Adam, and where it must beat it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from vernier.training.soap import SOAP


def _minimise(optimiser_of: type[torch.optim.Optimizer], steps: int, **settings: float) -> float:
    """Final loss of least squares whose columns differ in scale by a factor of 1,000."""
    generator = torch.Generator().manual_seed(1)
    rotation = torch.linalg.qr(torch.randn(12, 12, generator=generator))[0]
    inputs = torch.randn(64, 12, generator=generator) * torch.logspace(0, -3, 12) @ rotation
    target = inputs @ torch.randn(12, 5, generator=generator)
    weight = nn.Parameter(torch.zeros(5, 12))
    optimiser = optimiser_of([weight], **settings)  # type: ignore[call-arg]
    for _ in range(steps):
        loss = (inputs @ weight.T - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float(loss.detach())


def test_a_vector_moves_as_under_adam() -> None:
    gradients = torch.randn(6, 7)
    soap_weight = nn.Parameter(torch.ones(7))
    adam_weight = nn.Parameter(torch.ones(7))
    soap = SOAP([soap_weight], lr=0.1, betas=(0.9, 0.99))
    adam = torch.optim.Adam([adam_weight], lr=0.1, betas=(0.9, 0.99))
    soap_weight.grad = torch.zeros(7)
    soap.step()  # the first step only starts the statistics
    for gradient in gradients:
        soap_weight.grad, adam_weight.grad = gradient.clone(), gradient.clone()
        soap.step()
        adam.step()
    torch.testing.assert_close(soap_weight, adam_weight)


def test_it_beats_adam_where_the_curvature_is_rotated() -> None:
    adam = min(
        _minimise(torch.optim.Adam, 300, lr=learning_rate) for learning_rate in (0.01, 0.03, 0.1)
    )
    soap = min(_minimise(SOAP, 300, lr=learning_rate) for learning_rate in (0.01, 0.03, 0.1))
    assert soap < 0.5 * adam


def test_an_update_turns_with_the_problem() -> None:
    """Rotating rows and columns of the gradient rotates the update, as no elementwise rule does."""

    def run(left: Tensor, right: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(3)
        # Square, so that already the first covariances have distinct eigenvalues.
        weight = nn.Parameter(torch.zeros(4, 4))
        optimiser = SOAP([weight], lr=0.1, precondition_every=1)
        for _ in range(8):
            weight.grad = left @ torch.randn(4, 4, generator=generator) @ right.T
            optimiser.step()
        return weight.detach()

    left = torch.linalg.qr(torch.randn(4, 4))[0]
    right = torch.linalg.qr(torch.randn(4, 4))[0]
    plain = run(torch.eye(4), torch.eye(4))
    torch.testing.assert_close(run(left, right), left @ plain @ right.T, rtol=1e-3, atol=1e-4)


def test_state_survives_saving() -> None:
    def steps(optimiser: SOAP, weight: nn.Parameter, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(7):
            weight.grad = torch.randn(weight.shape, generator=generator)
            optimiser.step()

    first = nn.Parameter(torch.zeros(3, 2, 3, 3))
    optimiser = SOAP([first])
    steps(optimiser, first, 0)
    second = nn.Parameter(first.detach().clone())
    restored = SOAP([second])
    restored.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    steps(optimiser, first, 1)
    steps(restored, second, 1)
    assert torch.equal(first, second)
