"""Weights of the authors' own SESR implementation (github.com/ARM-software/sesr, TensorFlow).

Its collapsed training mode computes something other than its expanded mode, in two ways that a
trained network relies on:

* the impulses that measure the kernel pass through the biases too, so that every tap of the kernel
  carries the block's whole bias, and the convolution itself has none;
* a block gets the short residual whenever C_in == C_out, so at x4 with 16 features also the last.

And at x4 the 16 channels are shuffled to pixels in two steps of 2, coarse phase first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from vernier.errors import InputError
from vernier.models.sesr import SESR, identity_kernel

__all__ = ["import_official"]


def import_official(
    weights: Mapping[str, np.ndarray],
    *,
    scale: int,
    bias_in_kernel: bool = True,
    x4_identity: bool = True,
) -> SESR:
    """A deployed network that computes what the authors' does with these weights.

    Args:
        weights: expanded kernels in TensorFlow's order (k, k, C_in, C_out), named
            ``<block>.expand.kernel``, ``.expand.bias``, ``.project.kernel``, ``.project.bias`` with
            blocks ``first``, ``body0``, ..., ``last``, and ``body0.prelu.alpha``, ... (f), whose
            absence means ReLU.
        scale: 2 or 4, as trained.
        bias_in_kernel: trained in collapsed mode, with biases added to every tap; False keeps them
            as biases (expanded mode).
        x4_identity: trained in collapsed mode, with a short residual around a last block that has
            as many inputs as outputs; False for expanded mode.

    Raises:
        InputError: an array is missing, superfluous, or of another shape.
    """
    if scale not in (2, 4):
        raise InputError(f"official SESR weights are for scale 2 or 4, not {scale}")
    arrays = {key: torch.from_numpy(np.asarray(array)) for key, array in weights.items()}
    num_blocks = sum(re.fullmatch(r"body\d+\.expand\.kernel", key) is not None for key in arrays)
    names = ["first", *(f"body{i}" for i in range(num_blocks)), "last"]
    collapsed = {name: _collapse(arrays, name) for name in names}
    slopes = [arrays.pop(f"body{i}.prelu.alpha", None) for i in range(num_blocks)]
    if arrays:
        raise InputError(f"unknown arrays in official SESR weights: {', '.join(sorted(arrays))}")

    num_features, expansion = collapsed["first"][0].shape[0], collapsed["first"][2]
    if num_blocks == 0 or collapsed["last"][0].shape[0] != scale**2:
        raise InputError(
            f"not SESR weights for scale {scale}: {num_blocks} body blocks, the last block has "
            f"{collapsed['last'][0].shape[0]} outputs"
        )
    model = SESR(
        scale=scale,
        num_blocks=num_blocks,
        num_features=num_features,
        expansion=expansion,
        bias=not bias_in_kernel,
        activation="relu" if None in slopes else "prelu",
    ).skeleton()
    for name, conv in zip(names, model.blocks(), strict=True):
        kernel, bias, _ = collapsed[name]
        if bias_in_kernel:
            kernel = kernel + bias[:, None, None, None]
        square = kernel.shape[0] == kernel.shape[1]
        if name.startswith("body") or (name == "last" and square and x4_identity):
            kernel = kernel + identity_kernel(kernel)
        if name == "last" and scale == 4:
            order = _coarse_to_fine()
            kernel, bias = kernel[order], bias[order]
        assert isinstance(conv, nn.Conv2d)
        if conv.weight.shape != kernel.shape:
            raise InputError(
                f"{name} collapses to {tuple(kernel.shape)}, expected {tuple(conv.weight.shape)}"
            )
        conv.weight.data.copy_(kernel)
        if conv.bias is not None:
            conv.bias.data.copy_(bias)
    for activation, slope in zip(model.activations, slopes):
        if isinstance(activation, nn.PReLU) and slope is not None:
            activation.weight.data.copy_(slope)
    return model.eval()


def _collapse(arrays: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor, int]:
    """Take one linear block out of ``arrays``: kernel (C_out, C_in, k, k), bias, expansion.

    Float64, so that the only rounding is the one to the stored float32 kernel.
    """
    try:
        expand, expand_bias, project, project_bias = (
            arrays.pop(f"{name}.{part}").double()
            for part in ("expand.kernel", "expand.bias", "project.kernel", "project.bias")
        )
    except KeyError as error:
        raise InputError(f"official SESR weights lack {error.args[0]}") from error
    if expand.ndim != 4 or project.shape[:3] != (1, 1, expand.shape[3]):
        raise InputError(
            f"{name}: a {tuple(expand.shape)} kernel and a {tuple(project.shape)} one are no "
            "linear block"
        )
    kernel = torch.einsum("hwip,po->oihw", expand, project[0, 0])
    return kernel, expand_bias @ project[0, 0] + project_bias, expand.shape[3]


def _coarse_to_fine() -> Tensor:
    """For each of the 16 channels of one pixel shuffle by 4, the channel of two shuffles by 2."""
    twice = torch.arange(16)
    return rearrange(
        twice, "(y_coarse x_coarse y_fine x_fine) -> (y_coarse y_fine x_coarse x_fine)",
        y_coarse=2, x_coarse=2, y_fine=2,
    )  # fmt: skip
