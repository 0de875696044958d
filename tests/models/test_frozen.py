"""A frozen twin shares weights with its module, and nothing that changes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vernier.models.frozen import frozen_twin


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        # Not a leaf of the graph, as what hooks compute from parameters.
        self.kept = self.first.weight * 2

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.norm(self.first(x))) + self.kept.sum()


def test_a_twin_shares_memory_and_leaves_the_module_as_it_is() -> None:
    net = Net()
    net.first.bias.requires_grad_(False)
    twin = frozen_twin(net)
    assert not any(each.training for each in twin.modules())
    assert not any(each.requires_grad for each in twin.parameters())
    assert all(each.training for each in net.modules())
    assert [p.requires_grad for p in net.parameters()] == [True, False, True, True, True]
    assert twin.second.weight is twin.first.weight
    for name, tensor in net.state_dict().items():
        assert twin.state_dict()[name].data_ptr() == tensor.data_ptr()
    assert twin.kept.data_ptr() == net.kept.data_ptr()
    x = torch.rand(4, 3, requires_grad=True)
    twin(x).sum().backward()
    assert x.grad is not None
    assert all(each.grad is None for each in net.parameters())
    with torch.no_grad():
        net.first.weight.zero_()
    assert not twin.first.weight.any()
