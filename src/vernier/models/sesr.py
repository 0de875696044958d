"""SESR: super-efficient super-resolution with collapsible linear blocks.

Bhardwaj et al., "Collapsible Linear Blocks for Super-Efficient Super Resolution", MLSys 2022
(arXiv 2103.09404).

A linear block is a k x k convolution to ``expansion`` channels followed by a 1x1 convolution, with
nothing in between: over-parameterised for training, yet one k x k convolution to execute. The
network computes, on luma at low resolution,

    first 5x5 -> m x [3x3 + short residual, PReLU] -> + first -> last 5x5 -> + lr -> depth to space

Three forms of the same function:

* ``collapsed`` (training): each step multiplies the kernels out and runs the small convolution;
  gradients reach the expanded weights (section 3.2 of the paper).
* ``expanded``: runs both convolutions, as written above; for study and for parity tests.
* deployed (`SESR.deploy`): plain convolutions only; what ships.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vernier.models.layers import SRModel

__all__ = ["SESR", "CollapsibleConv2d", "identity_kernel"]

Form = Literal["collapsed", "expanded"]


class CollapsibleConv2d(nn.Module):
    """Linear block: k x k convolution C_in -> p, then 1x1 convolution p -> C_out, stride 1.

    Args:
        in_channels, out_channels, kernel_size: C_in, C_out and the odd k.
        expansion: p, the width in between (256 in the paper, 64 for M11 and XL).
        short_residual: add the input to the output; needs C_in == C_out.
        bias: give both convolutions a bias (the paper's deployed counts have none).
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        expansion: int,
        short_residual: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        if short_residual and in_channels != out_channels:
            raise ValueError(
                f"a short residual needs equal channels, got {in_channels} -> {out_channels}"
            )
        self.kernel_size = kernel_size
        self.short_residual = short_residual
        self.expand = nn.Conv2d(
            in_channels, expansion, kernel_size, padding=kernel_size // 2, bias=bias
        )
        self.project = nn.Conv2d(expansion, out_channels, 1, bias=bias)
        for conv in (self.expand, self.project):
            nn.init.xavier_uniform_(conv.weight)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def collapse(self) -> tuple[Tensor, Tensor | None]:
        """The one convolution that equals this block: kernel (C_out, C_in, k, k) and bias (C_out).

        K = P E and B = P b1 + b2 (Algorithm 1); the short residual becomes a one at the centre of
        K (Algorithm 2). Differentiable.
        """
        expand, project = self.expand.weight, self.project.weight.flatten(1)
        kernel = (project @ expand.flatten(1)).view(-1, *expand.shape[1:])
        if self.short_residual:
            kernel = kernel + identity_kernel(kernel)
        if self.expand.bias is None or self.project.bias is None:
            return kernel, None
        return kernel, project @ self.expand.bias + self.project.bias

    @torch.no_grad()
    def set_collapsed(self, kernel: Tensor, bias: Tensor | None = None) -> None:
        """Move the expanded weights, as little as possible, to where they collapse to ``kernel``.

        The 1x1 convolution stays; the k x k one takes the least-squares correction, exact because
        its p columns span all output channels.

        Raises:
            ValueError: ``bias`` is given and the block has none, or expansion < C_out.
        """
        if self.project.in_channels < self.project.out_channels:
            raise ValueError(
                f"{self.project.in_channels} expanded channels cannot reach every kernel of "
                f"{self.project.out_channels} outputs"
            )
        if self.project.bias is not None:
            self.project.bias.zero_() if bias is None else self.project.bias.copy_(bias)
            assert self.expand.bias is not None
            self.expand.bias.zero_()
        elif bias is not None:
            raise ValueError("this linear block has no bias to set")
        missing = kernel.double() - self.collapse()[0].double()
        inverse = torch.linalg.pinv(self.project.weight.double().flatten(1))
        self.expand.weight += (inverse @ missing.flatten(1)).view_as(self.expand.weight)

    def deploy(self) -> nn.Conv2d:
        """The plain convolution this block collapses to, detached."""
        kernel, bias = self.collapse()
        out_channels, in_channels = kernel.shape[:2]
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            self.kernel_size,
            padding=self.kernel_size // 2,
            bias=bias is not None,
        )
        conv.weight.data.copy_(kernel.detach())
        if bias is not None and conv.bias is not None:
            conv.bias.data.copy_(bias.detach())
        return conv

    def forward(self, x: Tensor, *, expanded: bool = False) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W)."""
        if expanded:
            y: Tensor = self.project(self.expand(x))
            return x + y if self.short_residual else y
        kernel, bias = self.collapse()
        return F.conv2d(x, kernel, bias, padding=self.kernel_size // 2)


def identity_kernel(kernel: Tensor) -> Tensor:
    """A kernel of the same shape that copies its input: ones at the centre of the diagonal."""
    size = kernel.shape[-1]
    identity = kernel.new_zeros(kernel.shape)
    identity[:, :, size // 2, size // 2] = torch.eye(
        kernel.shape[0], dtype=kernel.dtype, device=kernel.device
    )
    return identity


class SESR(SRModel):
    """SESR on luma. See the module's text for the network and its forms.

    Args:
        scale: 2, 3 or 4 (any positive integer works).
        num_blocks: m, the number of 3x3 blocks (3, 5, 7 for M3, M5, M7; 11 for M11 and XL).
        num_features: f, the width (16; 32 for XL).
        expansion: p, the inner width of a linear block (256; 64 for M11 and XL).
        bias: biases in the linear blocks; the deployed network then has f (m + 1) + scale^2 more
            parameters than the paper counts.
        activation: "prelu" (one slope per channel, starting at 0) or "relu".
        form: "collapsed" or "expanded", how the linear blocks run; may be changed at any time.
    """

    architecture = "sesr"
    channels = 1
    colour: Literal["luma"] = "luma"

    def __init__(
        self,
        *,
        scale: int,
        num_blocks: int,
        num_features: int,
        expansion: int = 256,
        bias: bool = False,
        activation: Literal["prelu", "relu"] = "prelu",
        form: Form = "collapsed",
    ) -> None:
        super().__init__()
        if activation not in ("prelu", "relu"):
            raise ValueError(f"activation must be 'prelu' or 'relu', got {activation!r}")
        if min(scale, num_blocks, num_features, expansion) < 1:
            raise ValueError("scale, num_blocks, num_features and expansion must be at least 1")
        self.scale = scale
        self.num_blocks = num_blocks
        self.num_features = num_features
        self.expansion = expansion
        self.bias = bias
        self.activation = activation
        self.form: Form = form

        def block(in_channels: int, out_channels: int, kernel_size: int) -> nn.Module:
            return CollapsibleConv2d(
                in_channels=in_channels,
                out_channels=out_channels,
                kernel_size=kernel_size,
                expansion=expansion,
                short_residual=kernel_size == 3,
                bias=bias,
            )

        self.first = block(1, num_features, 5)
        self.body = nn.ModuleList(block(num_features, num_features, 3) for _ in range(num_blocks))
        self.activations = nn.ModuleList(
            nn.PReLU(num_features, init=0.0) if activation == "prelu" else nn.ReLU()
            for _ in range(num_blocks)
        )
        self.last = block(num_features, scale**2, 5)

    @property
    def receptive_radius(self) -> int:
        """LR pixels on each side that an output pixel depends on."""
        return 2 + self.num_blocks + 2

    @property
    def config(self) -> dict[str, Any]:
        """The constructor arguments that make this network, without ``scale`` and ``form``."""
        return {
            "num_blocks": self.num_blocks,
            "num_features": self.num_features,
            "expansion": self.expansion,
            "bias": self.bias,
            "activation": self.activation,
        }

    @property
    def deployed(self) -> bool:
        return isinstance(self.first, nn.Conv2d)

    def forward(self, lr: Tensor) -> Tensor:
        """(B, 1, H, W) luma in [0, 1] -> (B, 1, scale H, scale W) luma, clipped to [0, 1]."""
        return self.forward_unclipped(lr).clamp(0, 1)

    def forward_unclipped(self, lr: Tensor) -> Tensor:
        """The output before the final clip, whose gradient does not vanish where it saturates."""
        # Zero padding after the shift pads the picture with mid-gray instead of black.
        first = self._run(self.first, lr - 0.5)
        features = first
        for block, activation in zip(self.body, self.activations, strict=True):
            features = activation(self._run(block, features))
        # The LR picture joins every output phase: nearest-neighbour upsampling (paper, fig. 2).
        phases = self._run(self.last, features + first) + lr
        return F.pixel_shuffle(phases, self.scale)

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        if isinstance(block, CollapsibleConv2d):
            y: Tensor = block(x, expanded=self.form == "expanded")
        else:
            y = block(x)
        return y

    def deploy(self) -> SESR:
        """A copy whose linear blocks are collapsed to plain convolutions; same function."""
        copy = self.skeleton()
        for target, source in zip(copy.blocks(), self.blocks(), strict=True):
            conv = source.deploy() if isinstance(source, CollapsibleConv2d) else source
            target.load_state_dict(conv.state_dict())
        copy.activations.load_state_dict(self.activations.state_dict())
        return copy.to(next(self.parameters()).device).train(self.training)

    def skeleton(self) -> SESR:
        """An untrained deployed network of the same sizes; deployed weights load into it."""
        copy = type(self)(
            scale=self.scale,
            num_blocks=self.num_blocks,
            num_features=self.num_features,
            expansion=1,
            bias=self.bias,
            activation=self.activation,
        )
        copy.expansion = self.expansion
        copy.first = copy.first.deploy()  # type: ignore[operator]
        copy.body = nn.ModuleList(block.deploy() for block in copy.body)  # type: ignore[operator]
        copy.last = copy.last.deploy()  # type: ignore[operator]
        return copy

    def blocks(self) -> list[nn.Module]:
        """The linear blocks, or what they became, in the order they run."""
        return [self.first, *self.body, self.last]

    @torch.no_grad()
    def init_from(self, other: nn.Module) -> list[str]:
        """Start from another trained SESR: every layer that fits is copied, nothing else changes.

        Blocks are copied in the collapsed sense, so the expansion and the form of ``other`` do not
        matter. Deeper networks start as the shallower one: blocks that ``other`` lacks start as
        the identity, which the short residual makes exact. The last block is copied only when the
        scales agree (x4 from x2 keeps all but it, section 5.1 of the paper).

        Returns:
            Names of the layers that were copied.

        Raises:
            ValueError: ``other`` is no SESR or is deeper, widths, biases or activations differ, or
                this network is deployed.
        """
        if not isinstance(other, SESR):
            raise ValueError(f"a SESR starts from a SESR, not from {type(other).__name__}")
        if self.deployed:
            raise ValueError("a deployed network cannot be initialised: create a trainable one")
        mine = (self.num_features, self.bias, self.activation)
        theirs = (other.num_features, other.bias, other.activation)
        if mine != theirs or other.num_blocks > self.num_blocks:
            raise ValueError(
                f"cannot start (features, bias, activation) {mine}, {self.num_blocks} blocks from "
                f"{theirs}, {other.num_blocks} blocks"
            )
        deployed = other.deploy()
        copied = ["first"]
        pairs: list[tuple[nn.Module, nn.Module]] = [(self.first, deployed.first)]
        for i, (block, source) in enumerate(zip(self.body, deployed.body)):
            pairs.append((block, source))
            self.activations[i].load_state_dict(deployed.activations[i].state_dict())
            copied.append(f"body.{i}")
        if self.scale == other.scale:
            pairs.append((self.last, deployed.last))
            copied.append("last")
        for block, source in pairs:
            assert isinstance(block, CollapsibleConv2d)
            assert isinstance(source, nn.Conv2d)
            block.set_collapsed(source.weight, source.bias)
        for block, activation in zip(
            list(self.body)[other.num_blocks :], list(self.activations)[other.num_blocks :]
        ):
            assert isinstance(block, CollapsibleConv2d)
            kernel, _ = block.collapse()
            block.set_collapsed(identity_kernel(kernel))
            if isinstance(activation, nn.PReLU):
                activation.weight.fill_(1.0)
        return copied
