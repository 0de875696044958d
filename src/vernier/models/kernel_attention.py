"""Kernel attention: convolutions whose kernels attend to each other, variants 1 to 22.

An unpublished line of work on PSRT (public code, 2023-10 to 2024-03; its fourth variant became the
window-interaction module of Cui and Ni, ICLR 2024 Tiny Papers). Half of a block's channels go to
window attention, the other half here. The map is divided into n windows, a grid of sqrt(n) x
sqrt(n) over the whole of it, and each has a kernel, which is

* a free parameter ("bank"), perhaps weighted by a gate that looks at the window, or made from the
  window by average pooling to k x k ("pooled");
* perhaps refined by self-attention among the taps of all kernels, by squeeze-excitation over its
  input channels, and joined by a global kernel, a mixture of all;
* applied to its window or, with all the others, to the whole map, whose n results a 1x1
  convolution fuses.

`VARIANTS` is the table. All convolutions are linear and so is the fusion: the kernels are
multiplied out first and the map is convolved once (`KernelAttention.collapse`). Where no kernel
depends on the input, they can be multiplied out for good (`KernelAttention.fuse`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "VARIANTS",
    "FusedKernels",
    "KernelAttention",
    "Kernels",
    "Switches",
    "Variant",
    "switches_of",
]


@dataclass(frozen=True)
class Switches:
    """What a kernel attention does.

    Attributes:
        source: "bank", kernels are parameters; "pooled", made from each window by average pooling
            to kernel_size x kernel_size and self-attention among all taps of all windows.
        expansion: how a pooled kernel's number per tap and input channel i becomes one per output
            channel o too: "linear", C -> C*C at each tap; "affine", a[o, i] p[i] + b[o, i];
            "input_affine", a[i] p[i] + b[i]; "repeat", p[i]. The last two give every output
            channel the same kernel.
        num_windows: n, a square number.
        kernel_size: k, odd.
        depthwise: the kernels of the bank have one input channel.
        gate: weigh the bank's kernels by one number in 0..1 per picture and window.
        tap_attention: self-attention among the taps of all window kernels.
        squeeze: squeeze-excitation over input channels, "shared" by the kernels or "per_window".
        squeeze_activation: inside it.
        squeeze_first: before the attention among taps instead of after it.
        global_kernel: mix all kernels into one more, from the "raw" or the "attended" ones.
        global_bias: the mixture has a bias.
        global_joins: the global kernel takes part in attention and squeeze-excitation.
        global_squeeze: the global kernel has a squeeze-excitation of its own.
        apply: window kernels act on their "windows", on the whole "map", or not at all ("global").
        window_conv: the windows convolved with the raw bank are not computed ("none"), replace the
            map after a GELU ("map"), or are one more input of the fusion ("fuse").
        fusion: 1x1 convolution over all results; without it there must be only one.
        output_gelu: GELU at the end.
        normed: it sees the tokens after the block's LayerNorm, as all published variants do.
        quirk: what the original code does by mistake: "identity", it returns its input;
            "scramble", it mixes up output channels and windows before the attention among taps;
            "misread", the same after it.
        bank_std: standard deviation of a new bank; None = PyTorch's start of convolutions.
    """

    source: Literal["bank", "pooled"] = "bank"
    expansion: Literal["linear", "affine", "input_affine", "repeat"] = "linear"
    num_windows: int = 4
    kernel_size: int = 3
    depthwise: bool = False
    gate: bool = False
    tap_attention: bool = False
    squeeze: Literal["none", "shared", "per_window"] = "none"
    squeeze_activation: Literal["relu", "gelu"] = "relu"
    squeeze_first: bool = False
    global_kernel: Literal["none", "raw", "attended"] = "none"
    global_bias: bool = True
    global_joins: bool = False
    global_squeeze: bool = False
    apply: Literal["windows", "map", "global"] = "map"
    window_conv: Literal["none", "map", "fuse"] = "none"
    fusion: bool = True
    output_gelu: bool = False
    normed: bool = True
    quirk: Literal["none", "identity", "scramble", "misread"] = "none"
    bank_std: float | None = None

    def __post_init__(self) -> None:
        if math.isqrt(self.num_windows) ** 2 != self.num_windows or self.num_windows < 1:
            raise ValueError(f"num_windows must be a square number, not {self.num_windows}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, not {self.kernel_size}")
        bank_only = (self.gate, self.depthwise, self.window_conv != "none", self.tap_attention)
        if self.source == "pooled" and (any(bank_only) or self.apply != "map"):
            raise ValueError(
                "pooled kernels act on the map and attend among taps as they are; gate, depthwise, "
                "window_conv and tap_attention are for banks"
            )
        if self.depthwise and (self.tap_attention or self.squeeze != "none"):
            raise ValueError("depthwise kernels have no input channels to attend to or to squeeze")
        if self.depthwise and (self.apply != "map" or self.window_conv != "none"):
            raise ValueError("depthwise kernels act on the map")
        if self.gate and (self.apply != "map" or self.tap_attention):
            raise ValueError("gated kernels act on the map, without attention among taps")
        if self.global_joins and (self.global_kernel != "raw" or self.squeeze == "per_window"):
            raise ValueError("only a raw global kernel joins, and not a squeeze of each window")
        if self.apply == "global" and self.global_kernel == "none":
            raise ValueError("apply='global' needs a global_kernel")
        if self.num_results != 1 and not self.fusion:
            raise ValueError(f"{self.num_results} results need fusion=True")

    @property
    def num_results(self) -> int:
        """Results of width C that the fusion sees."""
        windows = {"windows": 1, "map": self.num_windows, "global": 0}[self.apply]
        return windows + (self.global_kernel != "none") + (self.window_conv == "fuse")

    @property
    def input_adaptive(self) -> bool:
        """Whether kernels depend on the input."""
        return (self.source == "pooled" or self.gate) and self.quirk != "identity"

    @property
    def local_reach(self) -> int | None:
        """Pixels that an output pixel depends on to each side; None = tied to the whole map."""
        if self.quirk == "identity":
            return 0
        if self.input_adaptive or self.apply == "windows" or self.window_conv != "none":
            return None
        return self.kernel_size // 2


@dataclass(frozen=True)
class Variant:
    """A row of the table.

    Attributes:
        switches: the sound form, what the authors describe without what their code gets wrong.
        published: what their code has otherwise, as far as the function or the parameters go.
        dead: what it allocates besides and never reads.
    """

    switches: Switches
    published: Mapping[str, Any] = field(default_factory=dict)
    dead: tuple[
        Literal["norm", "layernorm", "bank_bias", "squeezes", "squeeze", "global_squeeze", "gate"],
        ...,
    ] = ()


# The convolution with the bank of variants 2-8, 10, 11 and 13 is thrown away by the original, its
# bias with it. Variant 2's reshape before the attention among taps is wrong and harmless: a linear
# layer acts on the last axis alone. Variants 12 and 14 to 22 start their banks from N(0, 1), of
# which the authors note that some do not converge; the sound form starts as convolutions do.
_NORMAL = MappingProxyType({"bank_std": 1.0})
VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "ka1": Variant(Switches(source="pooled", squeeze="shared"), dead=("norm",)),
        "ka2": Variant(
            Switches(tap_attention=True, squeeze="shared", apply="windows", fusion=False),
            dead=("norm", "layernorm", "bank_bias"),
        ),
        "ka3": Variant(
            Switches(tap_attention=True, squeeze="per_window", apply="windows", fusion=False),
            dead=("norm", "bank_bias"),
        ),
        "ka4": Variant(
            Switches(
                tap_attention=True,
                squeeze="per_window",
                global_kernel="attended",
                global_squeeze=True,
                apply="windows",
            ),
            dead=("norm", "bank_bias"),
        ),
        "ka5": Variant(
            Switches(global_kernel="raw", global_squeeze=True, apply="global", fusion=False),
            published={
                "quirk": "identity",
                "tap_attention": True,
                "squeeze": "per_window",
                "apply": "windows",
                "fusion": True,
            },
            dead=("norm", "bank_bias"),
        ),
        "ka6": Variant(
            Switches(tap_attention=True, squeeze="shared", global_kernel="raw", global_joins=True),
            dead=("bank_bias", "squeezes", "global_squeeze"),
        ),
        "ka7": Variant(Switches(tap_attention=True, squeeze="shared"), dead=("bank_bias",)),
        "ka8": Variant(
            Switches(
                tap_attention=True,
                squeeze="shared",
                global_kernel="raw",
                global_bias=False,
                global_joins=True,
            ),
            published={"quirk": "scramble"},
            dead=("bank_bias",),
        ),
        "ka9": Variant(
            Switches(source="pooled", expansion="affine", squeeze="shared"),
            published={"expansion": "repeat"},
        ),
        # A day later in the authors' history, and no less of rank one.
        "ka9-late": Variant(Switches(source="pooled", expansion="input_affine", squeeze="shared")),
        "ka10": Variant(
            Switches(tap_attention=True),
            published={"quirk": "misread"},
            dead=("bank_bias", "squeeze"),
        ),
        "ka11": Variant(Switches(global_kernel="raw"), dead=("bank_bias",)),
        "ka12": Variant(Switches(tap_attention=True, global_kernel="raw"), published=_NORMAL),
        # The state of the code that their published count (0.851 M) belongs to.
        "ka12-early": Variant(Switches(squeeze="shared"), dead=("bank_bias",)),
        "ka13": Variant(
            Switches(tap_attention=True, squeeze="shared", output_gelu=True), dead=("bank_bias",)
        ),
        "ka14": Variant(
            Switches(
                tap_attention=True,
                squeeze="shared",
                squeeze_activation="gelu",
                squeeze_first=True,
                global_kernel="raw",
                window_conv="map",
            ),
            published={"quirk": "misread", "bank_std": 1.0},
        ),
        "ka15": Variant(Switches(global_kernel="raw", window_conv="fuse"), published=_NORMAL),
        "ka16": Variant(Switches(squeeze="shared", global_kernel="raw"), published=_NORMAL),
        "ka17": Variant(Switches(gate=True, global_kernel="raw"), published=_NORMAL),
        "ka18": Variant(Switches(gate=True), published=_NORMAL),
        "ka19": Variant(Switches(), published=_NORMAL, dead=("gate",)),
        "ka20": Variant(Switches(), published=_NORMAL, dead=("gate",)),
        "ka21": Variant(
            Switches(depthwise=True, kernel_size=7, gate=True, global_kernel="raw"),
            published=_NORMAL,
        ),
        "ka22": Variant(
            Switches(gate=True, global_kernel="raw", global_squeeze=True), published=_NORMAL
        ),
    }
)


def switches_of(
    variant: str, overrides: Mapping[str, Any] = MappingProxyType({}), *, as_published: bool = False
) -> Switches:
    """The switches of a row of the table, some of them replaced.

    Raises:
        ValueError: no such row or switch, or switches that exclude each other.
    """
    if variant not in VARIANTS:
        raise ValueError(f"no kernel attention {variant!r}; known: {', '.join(VARIANTS)}")
    row = VARIANTS[variant]
    known = {each.name for each in fields(Switches)}
    if unknown := overrides.keys() - known:
        raise ValueError(
            f"kernel attention has no switch {sorted(unknown)[0]!r}; known: "
            f"{', '.join(sorted(known))}"
        )
    return replace(row.switches, **{**(row.published if as_published else {}), **overrides})


class Kernels(NamedTuple):
    """Everything multiplied out: kernels (C, C, k, k) for the map, with a batch axis before them
    where they depend on the picture; (n, C, C, k, k) for the windows; bias (C)."""

    on_map: Tensor | None
    on_windows: Tensor | None
    bias: Tensor | None


class SqueezeExcitation(nn.Module):
    """Weigh the input channels of each kernel and output channel by their means over the taps."""

    def __init__(self, channels: int, activation: Literal["relu", "gelu"]) -> None:
        super().__init__()
        hidden = channels if channels < 64 else channels // 16
        self.reduce = nn.Linear(channels, hidden)
        self.activation = nn.ReLU() if activation == "relu" else nn.GELU()
        self.expand = nn.Linear(hidden, channels)

    def forward(self, kernels: Tensor) -> Tensor:
        """(..., C_in, k, k) -> the same."""
        weights = self.expand(self.activation(self.reduce(kernels.mean((-2, -1)))))
        y: Tensor = kernels * weights.sigmoid()[..., None, None]
        return y


class TapAttention(nn.Module):
    """Multi-head self-attention of (batch, tokens, C); a token is a tap."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {channels} channels")
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, taps: Tensor) -> Tensor:
        batch, tokens, channels = taps.shape
        qkv = self.qkv(taps).view(batch, tokens, 3, self.num_heads, channels // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        y: Tensor = self.proj((attention @ v).transpose(1, 2).reshape(batch, tokens, channels))
        return y


class WindowGate(nn.Module):
    """One number in 0..1 per window, from the means of the windows convolved with their kernels."""

    def __init__(self, channels: int, num_windows: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_windows, channels))
        self.bias = nn.Parameter(torch.zeros(num_windows))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.widen = nn.Linear(num_windows, 4 * num_windows)
        self.narrow = nn.Linear(4 * num_windows, num_windows)

    def forward(self, means: Tensor) -> Tensor:
        """(B, n, C) -> (B, n)."""
        scores = (means * self.weight).sum(-1) + self.bias
        y: Tensor = self.narrow(F.gelu(self.widen(scores))).sigmoid()
        return y


class KernelAttention(nn.Module):
    """See the module's text.

    Args:
        channels: C, in and out.
        num_heads: of the attention among taps.
        switches: what it does.
        dead: what it allocates besides (`Variant.dead`).
    """

    def __init__(
        self, channels: int, num_heads: int, switches: Switches, dead: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.channels = channels
        self.switches = switches
        n, k = switches.num_windows, switches.kernel_size
        in_channels = 1 if switches.depthwise else channels

        def squeeze() -> SqueezeExcitation:
            return SqueezeExcitation(channels, switches.squeeze_activation)

        if switches.source == "bank":
            self.bank = nn.Parameter(torch.empty(n, channels, in_channels, k, k))
            if switches.bank_std is None:
                bound = (in_channels * k * k) ** -0.5
                nn.init.uniform_(self.bank, -bound, bound)
            else:
                nn.init.normal_(self.bank, std=switches.bank_std)
        elif switches.expansion == "linear":
            self.expansion = nn.Linear(channels, channels**2)
        elif switches.expansion != "repeat":
            outputs = channels if switches.expansion == "affine" else 1
            self.expansion_weight = nn.Parameter(torch.randn(outputs, channels))
            self.expansion_bias = nn.Parameter(torch.zeros(outputs, channels))
        if switches.gate:
            self.gate = WindowGate(channels, n)
        if switches.tap_attention or switches.source == "pooled":
            self.tap_attention = TapAttention(channels, num_heads)
        if switches.squeeze == "shared":
            self.squeeze = squeeze()
        elif switches.squeeze == "per_window":
            self.squeezes = nn.ModuleList(squeeze() for _ in range(n))
        if switches.global_kernel != "none":
            self.global_mix = nn.Linear(n * in_channels, in_channels, switches.global_bias)
        if switches.global_squeeze:
            self.global_squeeze = squeeze()
        if switches.fusion:
            self.fusion = nn.Linear(switches.num_results * channels, channels)
        self._start_small()
        if dead:
            unused: dict[str, nn.Module] = {
                "norm": nn.LayerNorm(channels),
                "layernorm": nn.LayerNorm(channels),
                "bank_bias": nn.ParameterList([torch.zeros(n, channels)]),
                "squeezes": nn.ModuleList(squeeze() for _ in range(n)),
                "squeeze": squeeze(),
                "global_squeeze": squeeze(),
                "gate": WindowGate(channels, n),
            }
            self.dead = nn.ModuleDict({name: unused[name] for name in dead})

    @torch.no_grad()
    def _start_small(self) -> None:
        """The last linear layer before the result starts as those of PSRT's blocks do.

        A block then starts near the identity, in this half of its channels as in the other.
        """
        for name in ("fusion", "tap_attention", "global_mix"):
            if hasattr(self, name):
                last = getattr(self, name)
                last = last.proj if isinstance(last, TapAttention) else last
                nn.init.normal_(last.weight, std=0.01)
                if last.bias is not None:
                    nn.init.zeros_(last.bias)
                return

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), sides multiples of sqrt(num_windows), -> the same."""
        switches = self.switches
        if switches.quirk == "identity":
            return x
        if switches.window_conv == "map":
            x = F.gelu(conv_windows(x, self.bank))
        if switches.depthwise:
            return self._convolve_depthwise(x)
        y = convolve(x, self.collapse(x))
        return F.gelu(y) if switches.output_gelu else y

    def collapse(self, x: Tensor | None = None) -> Kernels:
        """The kernels, multiplied out with the fusion. Differentiable.

        Args:
            x: the map (B, C, H, W) where kernels depend on it, else not read.
        """
        switches = self.switches
        if switches.quirk == "identity":
            identity = torch.eye(self.channels).to(self.bank)[..., None, None]
            return Kernels(identity, None, None)
        kernels, global_kernel = self._kernels(x)
        on_map = on_windows = None
        if not switches.fusion:
            if switches.apply == "windows":
                return Kernels(None, kernels, None)
            (on_map,) = _stacked(switches, kernels, global_kernel).unbind(-5)
            return Kernels(on_map, None, None)
        parts = self.fusion.weight.view(self.channels, -1, self.channels)
        if switches.apply == "windows":
            on_windows = _mixed(parts[:, :1], kernels[:, None])
            if global_kernel is not None:
                on_map = _mixed(parts[:, 1:2], global_kernel[None])
        else:
            stack = _stacked(switches, kernels, global_kernel)
            on_map = _mixed(parts[:, : stack.shape[-5]], stack)
        if switches.window_conv == "fuse":
            windows = _mixed(parts[:, -1:], self.bank[:, None])
            on_windows = windows if on_windows is None else on_windows + windows
        return Kernels(on_map, on_windows, self.fusion.bias)

    @torch.no_grad()
    def fuse(self) -> FusedKernels:
        """The plain convolutions that this is, where no kernel depends on the input.

        Raises:
            ValueError: kernels depend on the input.
        """
        if self.switches.input_adaptive:
            raise ValueError("kernels that depend on the input cannot be fused")
        before = self.bank.detach().clone() if self.switches.window_conv == "map" else None
        return FusedKernels(self.collapse(), before=before, output_gelu=self.switches.output_gelu)

    def _kernels(self, x: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Window kernels ([B,] n, C, C_in, k, k) and the global one ([B,] C, C_in, k, k)."""
        switches = self.switches
        global_kernel = None
        if switches.source == "pooled":
            assert x is not None
            kernels = self._pooled(x)
            if switches.global_kernel != "none":
                global_kernel = self._mixed_globally(kernels)
        else:
            kernels = self.bank
            if switches.gate:
                assert x is not None
                weights = self.gate(window_conv_means(x, self.bank))
                kernels = kernels * weights[..., None, None, None, None]
            if switches.global_kernel == "raw":
                global_kernel = self._mixed_globally(kernels)
            if switches.global_joins and global_kernel is not None:
                kernels = torch.cat([kernels, global_kernel.unsqueeze(-5)], -5)
            if switches.squeeze_first:
                kernels = self._squeezed(kernels)
            if switches.tap_attention:
                kernels = self._attended(kernels)
            if switches.global_kernel == "attended":
                global_kernel = self._mixed_globally(kernels)
            if not switches.squeeze_first:
                kernels = self._squeezed(kernels)
            if switches.global_joins and global_kernel is not None:
                kernels, global_kernel = kernels[..., :-1, :, :, :, :], kernels[..., -1, :, :, :, :]
        if switches.global_squeeze:
            global_kernel = self.global_squeeze(global_kernel)
        return kernels, global_kernel

    def _pooled(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, n, C_out, C_in, k, k)."""
        grid, k, c = math.isqrt(self.switches.num_windows), self.switches.kernel_size, self.channels
        # The windows' own poolings, all at once: their borders fall on borders of these cells.
        pooled = F.adaptive_avg_pool2d(x, grid * k)
        taps = pooled.view(-1, c, grid, k, grid, k).permute(0, 2, 4, 3, 5, 1)
        taps = self.tap_attention(taps.reshape(-1, (grid * k) ** 2, c))
        kernels = taps.view(-1, grid**2, k, k, c).permute(0, 1, 4, 2, 3)
        kernels = self._squeezed(kernels)
        if self.switches.expansion == "linear":
            numbers: Tensor = self.expansion(kernels.permute(0, 1, 3, 4, 2))
            return numbers.view(*numbers.shape[:-1], c, c).permute(0, 1, 4, 5, 2, 3)
        kernels = kernels[:, :, None]
        if self.switches.expansion != "repeat":
            kernels = (
                kernels * self.expansion_weight[..., None, None]
                + self.expansion_bias[..., None, None]
            )
        return kernels.expand(-1, -1, c, -1, -1, -1)

    def _attended(self, kernels: Tensor) -> Tensor:
        """(m, C_out, C_in, k, k) -> the same; the taps of all m kernels of an output channel."""
        m, c, _, k, _ = kernels.shape
        # The original has the global kernel first, which matters to nothing but its mistake.
        first = int(self.switches.global_joins and self.switches.quirk == "scramble")
        kernels = kernels.roll(first, 0)
        taps = kernels.permute(1, 0, 3, 4, 2).reshape(c, m * k * k, c)
        if self.switches.quirk == "scramble":
            taps = taps.reshape(m, c, k * k, c).transpose(0, 1).reshape(c, m * k * k, c)
        taps = self.tap_attention(taps)
        if self.switches.quirk == "misread":
            kernels = taps.reshape(m, c, k, k, c).permute(0, 1, 4, 2, 3)
        else:
            kernels = taps.view(c, m, k, k, c).permute(1, 0, 4, 2, 3)
        return kernels.roll(-first, 0)

    def _squeezed(self, kernels: Tensor) -> Tensor:
        if self.switches.squeeze == "shared":
            kernels = self.squeeze(kernels)
        elif self.switches.squeeze == "per_window":
            pairs = zip(self.squeezes, kernels.unbind(-5), strict=True)
            kernels = torch.stack([squeeze(kernel) for squeeze, kernel in pairs], -5)
        return kernels

    def _mixed_globally(self, kernels: Tensor) -> Tensor:
        """([B,] n, C_out, C_in, k, k) -> ([B,] C_out, C_in, k, k): mixes windows and inputs."""
        all_inputs = kernels.movedim(-5, -1).movedim(-4, -1).flatten(-2)
        y: Tensor = self.global_mix(all_inputs)
        return y.movedim(-1, -3)

    def _convolve_depthwise(self, x: Tensor) -> Tensor:
        """Not multiplied out with the fusion: that would make a dense k x k kernel of it."""
        kernels, global_kernel = self._kernels(x)
        stack = _stacked(self.switches, kernels, global_kernel).flatten(-5, -4)
        _, _, height, width = x.shape
        # Plain numbers, which a tracer keeps: engines want kernels of a known shape.
        batch, k = int(x.shape[0]), self.switches.kernel_size
        maps = self.switches.num_results * self.channels
        weight = stack.expand(batch, *stack.shape[-4:]).reshape(batch * maps, 1, k, k)
        repeated = x.repeat(1, self.switches.num_results, 1, 1).view(1, -1, height, width)
        y = F.conv2d(repeated, weight, padding=k // 2, groups=batch * maps)
        y = y.view(batch, maps, height, width)
        return F.conv2d(y, self.fusion.weight[..., None, None], self.fusion.bias)


class FusedKernels(nn.Module):
    """What a `KernelAttention` with fixed kernels comes to: a convolution of the map, one of each
    window, or both."""

    on_map: Tensor | None
    on_windows: Tensor | None
    bias: Tensor | None
    before: Tensor | None

    def __init__(self, kernels: Kernels, *, before: Tensor | None, output_gelu: bool) -> None:
        super().__init__()
        self.output_gelu = output_gelu
        for name, tensor in (*kernels._asdict().items(), ("before", before)):
            self.register_parameter(name, None if tensor is None else nn.Parameter(tensor.clone()))

    @property
    def local_reach(self) -> int | None:
        """As `Switches.local_reach`."""
        if self.on_windows is not None or self.before is not None:
            return None
        assert self.on_map is not None
        return self.on_map.shape[-1] // 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        if self.before is not None:
            x = F.gelu(conv_windows(x, self.before))
        y = convolve(x, Kernels(self.on_map, self.on_windows, self.bias))
        return F.gelu(y) if self.output_gelu else y


def _stacked(switches: Switches, kernels: Tensor, global_kernel: Tensor | None) -> Tensor:
    """All kernels that act on the map, ([B,] m, C_out, C_in, k, k), in the order of the fusion."""
    if global_kernel is None:
        return kernels
    if switches.apply == "global":
        return global_kernel.unsqueeze(-5)
    return torch.cat([kernels, global_kernel.unsqueeze(-5)], -5)


def _mixed(parts: Tensor, kernels: Tensor) -> Tensor:
    """Fusion (C, m, C_out) of kernels (..., m, C_out, C_in, k, k) -> (..., C, C_in, k, k)."""
    flat = kernels.flatten(-5, -4).flatten(-3)
    mixed = parts.flatten(1) @ flat
    return mixed.view(*mixed.shape[:-1], *kernels.shape[-3:])


def convolve(x: Tensor, kernels: Kernels) -> Tensor:
    """(B, C, H, W) -> the same: the map convolved, its windows convolved, or the sum of both."""
    y = None
    if kernels.on_map is not None:
        y = _conv_map(x, kernels.on_map)
    if kernels.on_windows is not None:
        windows = conv_windows(x, kernels.on_windows)
        y = windows if y is None else y + windows
    assert y is not None
    return y if kernels.bias is None else y + kernels.bias[:, None, None]


def _conv_map(x: Tensor, kernel: Tensor) -> Tensor:
    padding = kernel.shape[-1] // 2
    if kernel.ndim == 4:
        return F.conv2d(x, kernel, padding=padding)
    if x.shape[0] == 1:
        return F.conv2d(x, kernel[0], padding=padding)
    # A kernel of its own for every picture: one group each.
    y = F.conv2d(x.flatten(0, 1)[None], kernel.flatten(0, 1), padding=padding, groups=x.shape[0])
    return y.view(x.shape)


def _windows(x: Tensor, grid: int) -> Tensor:
    """(B, C, H, W) -> (B, grid, grid, C, H / grid, W / grid)."""
    batch, channels, height, width = x.shape
    x = x.view(batch, channels, grid, height // grid, grid, width // grid)
    return x.permute(0, 2, 4, 1, 3, 5)


def conv_windows(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each window of (B, C, H, W) with its kernel (n, C, C, k, k), zeros around each."""
    n, _, _, k, _ = kernels.shape
    windows = _windows(x, math.isqrt(n))
    y = F.conv2d(windows.flatten(1, 3), kernels.flatten(0, 1), padding=k // 2, groups=n)
    return y.view(windows.shape).permute(0, 3, 1, 4, 2, 5).reshape(x.shape)


def window_conv_means(x: Tensor, kernels: Tensor) -> Tensor:
    """``conv_windows`` averaged over each window, (B, n, C_out), without computing it.

    A tap's contribution is the sum of the window without the rows and columns that the tap pushes
    over the edge, times its weight.
    """
    n, _, in_channels, k, _ = kernels.shape
    windows = _windows(x, math.isqrt(n)).flatten(1, 2)
    rows, columns = (_inside(windows.shape[axis], k, x) for axis in (-2, -1))
    sums = rows @ windows @ columns.transpose(0, 1)
    area = windows.shape[-2] * windows.shape[-1]
    if in_channels == 1:
        return (sums * kernels[:, :, 0]).sum((-2, -1)) / area
    flat = sums.flatten(2)[:, :, None] @ kernels.flatten(2).transpose(1, 2)
    return flat[:, :, 0] / area


def _inside(length: int, kernel_size: int, like: Tensor) -> Tensor:
    """(kernel_size, length) of 0 and 1: whether a tap meets this pixel at some output pixel."""
    taps = torch.arange(kernel_size, device=like.device)[:, None] - kernel_size // 2
    position = torch.arange(length, device=like.device)[None] - taps
    return ((position >= 0) & (position < length)).to(like)
