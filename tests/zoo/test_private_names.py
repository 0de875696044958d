"""Names of torch that are not public: when one goes, it fails here, and says where it is used."""

from __future__ import annotations

import torch
from torch import nn


def test_a_storage_has_an_address_that_its_views_share() -> None:
    # `vernier.zoo.complexity` tells weights from feature maps by it, on the meta device too.
    for device in ("cpu", "meta"):
        weight = torch.empty(4, 3, device=device)
        assert weight.untyped_storage()._cdata == weight.t()[1:].untyped_storage()._cdata
        other = torch.empty(4, 3, device=device)
        assert weight.untyped_storage()._cdata != other.untyped_storage()._cdata


def test_all_batch_norms_have_one_parent() -> None:
    # `vernier.zoo.complexity` counts them as papers do.
    from torch.nn.modules.batchnorm import _BatchNorm

    for norm in (nn.BatchNorm1d(1), nn.BatchNorm2d(1), nn.BatchNorm3d(1), nn.SyncBatchNorm(1)):
        assert isinstance(norm, _BatchNorm)
    assert not isinstance(nn.LayerNorm(1), _BatchNorm)


def test_a_dispatch_mode_sees_every_operator_by_its_packet() -> None:
    # `vernier.zoo.complexity` counts by it.
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[object] = []

    class Noting(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.append(func._overloadpacket)
            return func(*args, **(kwargs or {}))

    with Noting():
        nn.functional.conv2d(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3))
    assert torch.ops.aten.convolution in seen
    for name in ("_native_batch_norm_legit_no_training", "_safe_softmax", "_softmax"):
        assert hasattr(torch.ops.aten, name), name
