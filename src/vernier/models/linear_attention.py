"""Attention over all pixels at a cost that is linear in their number.

The kernel is that of "GRLA: Bridging Softmax and Linear Attention via Gaussian RBF Kernel for
Lightweight Image Super-Resolution" (OpenReview qS3LTUrncS, equations 3 to 12). With the Gaussian
exp(-gamma |q - k|^2) = phi(q) phi(k) exp(2 gamma q.k), phi(x) = exp(-gamma |x|^2), the factor
phi(q) cancels between numerator and denominator, and exp(x) is replaced by its series:

    out_i = sum_j w_ij v_j / sum_j w_ij,   w_ij = phi(k_j) (1 + x_ij [+ x_ij^2 / 2]),
    x_ij = 2 gamma q_i.k_j

which is a product of features of q_i and features of k_j, so that the sums over j are made once.

Three things keep it sound, all proved by the tests:

* q and k are normalised per head, hence |x| <= 2 gamma. First order then has positive weights
  exactly if 2 gamma < 1; otherwise the denominator changes sign and training explodes. Second
  order is positive for any q and k, since 1 + x + x^2 / 2 >= 1 / 2.
* Sums are kept as means, in float32 at least, under any autocast: sums overflow float16 from about
  80,000 pixels on.
* After normalisation phi(k) is one and the same for every key and cancels. A prior that does
  something has to look at the norm before (``key_prior="raw"``); its exponent is taken relative to
  the smallest norm, which cancels too and keeps 0 / 0 away.

The functions take q, k, v (B, heads, N, d) in any strides and return (B, heads, N, d).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vernier.models.layers import is_tracing

__all__ = [
    "GRBFAttention",
    "Heads",
    "KeyPrior",
    "LinearAttention",
    "Moments",
    "efficient_attention",
    "elementwise_attention",
    "grbf_attention",
    "grbf_attention_side_by_side",
    "grbf_moments",
    "grbf_readout",
    "merge_moments",
    "relu_attention",
    "taylor_attention",
]

KeyPrior = Literal["none", "raw"]

_NORM_EPS = 1e-6


class Moments(NamedTuple):
    """What the keys and values leave behind: weighted means over all of them.

    Attributes:
        tokens: how many keys they are means of.
        floor: (B, heads, 1, 1), the smallest squared key norm, to which the prior is relative; zero
            without a prior.
        constant: (B, heads, 1, d + 1), the mean of phi [v, 1].
        first: (B, heads, d, d + 1), the mean of phi k [v, 1]^T.
        second: (B, heads, d (d + 1) / 2, d + 1), the same of the products k_a k_b; None in first
            order.
    """

    tokens: int
    floor: Tensor
    constant: Tensor
    first: Tensor
    second: Tensor | None


def grbf_moments(
    k: Tensor,
    v: Tensor,
    *,
    order: Literal[1, 2] = 1,
    gamma: float = 0.0,
    key_prior: KeyPrior = "none",
    normalise: bool = True,
) -> Moments:
    """The means over the keys; ``gamma`` matters to the prior only. See `grbf_attention`."""
    with _without_autocast(k):
        k, v = _at_least_float32(k), _at_least_float32(v)
        tokens = k.shape[-2]
        floor = k.new_zeros(())
        phi = None
        if key_prior == "raw":
            norms = k.square().sum(-1, keepdim=True)
            floor = norms.amin(-2, keepdim=True)
            phi = torch.exp(-gamma * (norms - floor))
        if normalise:
            k = _unit(k)
        # Scaling v and the column of ones is scaling every term.
        values = v if phi is None else v * phi
        mean = values.mean(-2, keepdim=True)
        weight = torch.ones_like(mean[..., :1]) if phi is None else phi.mean(-2, keepdim=True)
        return Moments(
            tokens,
            floor,
            torch.cat((mean, weight), -1),
            _mean_product(k, values, phi),
            _mean_product(_pairs(k), values, phi) if order == 2 else None,
        )


def merge_moments(a: Moments, b: Moments, *, gamma: float = 0.0) -> Moments:
    """The moments of the keys of both; ``gamma`` as in `grbf_moments`."""
    tokens = a.tokens + b.tokens
    floor = torch.minimum(a.floor, b.floor)
    share_a = torch.exp(-gamma * (a.floor - floor)) * (a.tokens / tokens)
    share_b = torch.exp(-gamma * (b.floor - floor)) * (b.tokens / tokens)
    second = None
    if a.second is not None and b.second is not None:
        second = share_a * a.second + share_b * b.second
    return Moments(
        tokens,
        floor,
        share_a * a.constant + share_b * b.constant,
        share_a * a.first + share_b * b.first,
        second,
    )


def grbf_readout(q: Tensor, moments: Moments, *, gamma: float, normalise: bool = True) -> Tensor:
    """(B, heads, N, d) queries and the keys' moments -> (B, heads, N, d), in the dtype of q."""
    with _without_autocast(q):
        queries = _at_least_float32(q)
        if normalise:
            queries = _unit(queries)
        result = queries @ (2 * gamma * moments.first) + moments.constant
        if moments.second is not None:
            result = result + _pairs(queries) @ (2 * gamma**2 * moments.second)
        return (result[..., :-1] / result[..., -1:]).to(q.dtype)


def grbf_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    gamma: float,
    order: Literal[1, 2] = 1,
    key_prior: KeyPrior = "none",
    normalise: bool = True,
) -> Tensor:
    """Gaussian RBF linear attention (equations 8 to 12).

    Args:
        q, k, v: (B, heads, N, d).
        gamma: of the kernel; the paper takes 1 / (2 sqrt d).
        order: of the series; 1 in the paper.
        key_prior: "raw" weights each key by exp(-gamma |k|^2) of the key before normalisation.
        normalise: bring q and k of each head to unit length. Without it, first order is unsound
            (see the module's text); nothing is checked here, `GRBFAttention` does.

    Returns:
        (B, heads, N, d), in the dtype of q.
    """
    moments = grbf_moments(k, v, order=order, gamma=gamma, key_prior=key_prior, normalise=normalise)
    return grbf_readout(q, moments, gamma=gamma, normalise=normalise)


def grbf_attention_side_by_side(
    q: Tensor, k: Tensor, v: Tensor, *, num_heads: int, gamma: float
) -> Tensor:
    """`grbf_attention` in first order, without a prior, of heads that lie side by side.

    Products with block-diagonal matrices keep the heads apart, so that none is copied out. They
    multiply by many zeros, and yet take less time where every copy is a pass through memory.

    Args:
        q, k, v: (B, N, C), of each head C / num_heads neighbouring channels.
        num_heads, gamma: as in `grbf_attention`.

    Returns:
        (B, N, C), in the dtype of q.
    """
    with _without_autocast(q):
        queries, keys, values = map(_at_least_float32, (q, k, v))
        tokens, channels = q.shape[-2:]
        head = torch.arange(channels, device=q.device) // (channels // num_heads)
        # (C, heads): sums the channels of a head; transposed it gives each of them what is its.
        by_head = (head[:, None] == torch.arange(num_heads, device=q.device)).to(queries.dtype)

        def unit(x: Tensor) -> Tensor:
            return x * (torch.rsqrt((x * x) @ by_head + _NORM_EPS) @ by_head.T)

        queries, keys = unit(queries), unit(keys)
        context = keys.transpose(-1, -2) @ (values * (2 * gamma / tokens)) * (by_head @ by_head.T)
        weights = 1 + (queries * (2 * gamma * keys.mean(-2, keepdim=True))) @ by_head
        result = queries @ context + values.mean(-2, keepdim=True)
        return (result * (weights.reciprocal() @ by_head.T)).to(q.dtype)


def efficient_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax of q over its channels and of k over all pixels.

    Shen et al., "Efficient Attention: Attention with Linear Complexities", WACV 2021, equation 4.
    """
    with _without_autocast(q):
        queries, keys, values = map(_at_least_float32, (q, k, v))
        context = keys.softmax(-2).transpose(-1, -2) @ values
        return (queries.softmax(-1) @ context).to(q.dtype)


def relu_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Weights relu(q).relu(k), normalised.

    Cai et al., "EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction",
    ICCV 2023, equation 2. A query that is nowhere positive gets zero.
    """
    with _without_autocast(q):
        queries, keys, values = map(_at_least_float32, (q, k, v))
        queries, keys = queries.relu(), keys.relu()
        result = queries @ _mean_product(keys, values, None)
        return (result[..., :-1] / (result[..., -1:] + _NORM_EPS)).to(q.dtype)


def elementwise_attention(q: Tensor, k: Tensor, v: Tensor, *, gamma: float = 0.5) -> Tensor:
    """Weights f(q).f(k) with the elementwise f(x) = exp(2 gamma x - gamma x^2).

    What an early re-implementation of GRLA took for the kernel. It is no function of q - k: f is a
    Gaussian around 1, up to a factor that cancels. Its constants are kept, for its weights.
    """

    def f(x: Tensor) -> Tensor:
        return torch.exp(gamma * x * (2 - x)) + _NORM_EPS

    with _without_autocast(q):
        queries, keys, values = map(_at_least_float32, (q, k, v))
        result = f(queries) @ _mean_product(f(keys), values, None)
        return (result[..., :-1] / (result[..., -1:] + _NORM_EPS / k.shape[-2])).to(q.dtype)


def taylor_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Weights 1 + q.k of normalised q and k, the first-order series of softmax's exponential.

    Qiu et al., "MB-TaylorFormer: Multi-branch Efficient Transformer Expanded by Taylor Formula for
    Image Dehazing", ICCV 2023, equation 4. Weights reach zero where q = -k; were that so of all
    keys, the result would be 0 / 0, hence the small constant.
    """
    with _without_autocast(q):
        queries, keys, values = map(_at_least_float32, (q, k, v))
        moments = grbf_moments(keys, values)
        result = _unit(queries) @ moments.first + moments.constant
        return (result[..., :-1] / (result[..., -1:] + _NORM_EPS)).to(q.dtype)


class LinearAttention(nn.Module):
    """Projection to q, k, v, attention over all pixels, and projection back.

    Args:
        channels: C, a multiple of num_heads.
        num_heads: heads; each sees d = C / num_heads channels.
        kernel: "efficient", "relu" or "taylor": the functions above, the ablations of the paper.
    """

    def __init__(
        self,
        *,
        channels: int,
        num_heads: int,
        kernel: Literal["efficient", "relu", "taylor"],
    ) -> None:
        super().__init__()
        if kernel not in _KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(_KERNELS)}, got {kernel!r}")
        self.kernel = kernel
        self.heads = Heads(channels, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) tokens -> (B, N, C)."""
        return self.heads.merge(_KERNELS[self.kernel](*self.heads.split(x)))


class GRBFAttention(nn.Module):
    """Gaussian RBF linear attention as a layer; see the module's text.

    Args:
        channels, num_heads: as in `LinearAttention`.
        coefficient: c in gamma = c / sqrt(d) (the paper's table 4; 1/2 is its best).
        order: of the series, 1 or 2.
        key_prior: "none", or "raw": see `grbf_attention`.
        normalise: bring q and k of each head to unit length; only second order can do without.

    Raises:
        ValueError: first order with 2 gamma >= 1 or without normalisation, whose weights are not
            all positive; or a value that is not offered.
    """

    def __init__(
        self,
        *,
        channels: int,
        num_heads: int,
        coefficient: float = 0.5,
        order: Literal[1, 2] = 1,
        key_prior: KeyPrior = "none",
        normalise: bool = True,
    ) -> None:
        super().__init__()
        if order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, got {order}")
        if key_prior not in ("none", "raw"):
            raise ValueError(f"key_prior must be 'none' or 'raw', got {key_prior!r}")
        if not (math.isfinite(coefficient) and coefficient > 0):
            raise ValueError(f"coefficient must be a positive number, got {coefficient}")
        self.heads = Heads(channels, num_heads)
        d = channels // num_heads
        self.gamma = coefficient / math.sqrt(d)
        if order == 1 and not normalise:
            raise ValueError(
                "first order needs normalised q and k, or weights 1 + 2 gamma q.k turn negative: "
                "take order 2"
            )
        if order == 1 and 2 * self.gamma >= 1:
            raise ValueError(
                f"first order needs 2 gamma = 2 coefficient / sqrt(d) < 1, or weights 1 + 2 gamma "
                f"q.k turn negative; coefficient {coefficient:g} with d = {d} gives "
                f"{2 * self.gamma:.3g}: take a coefficient below {math.sqrt(d) / 2:.3g}, or order 2"
            )
        self.order: Literal[1, 2] = order
        self.key_prior: KeyPrior = key_prior
        self.normalise = normalise

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) tokens -> (B, N, C)."""
        if is_tracing() and self.order == 1 and self.key_prior == "none":
            q, k, v = self.heads.separate(x)
            heads = self.heads.num_heads
            y = grbf_attention_side_by_side(q, k, v, num_heads=heads, gamma=self.gamma)
            projected: Tensor = self.heads.proj(y)
            return projected
        q, k, v = self.heads.split(x)
        return self.heads.merge(self.readout(q, self.moments(k, v)))

    def collect(self, parts: Iterable[Tensor]) -> Moments:
        """The moments of all tokens, which come in parts (B, n, C).

        Raises:
            ValueError: no part came.
        """
        found: Moments | None = None
        for part in parts:
            moments = self.moments(*self.heads.project(part, "kv"))
            found = moments if found is None else merge_moments(found, moments, gamma=self.gamma)
        if found is None:
            raise ValueError("attention over nothing: there is no part")
        return found

    def attend(self, x: Tensor, moments: Moments) -> Tensor:
        """(B, n, C), a part of the tokens whose moments were collected -> (B, n, C)."""
        (q,) = self.heads.project(x, "q")
        return self.heads.merge(self.readout(q, moments))

    def moments(self, k: Tensor, v: Tensor) -> Moments:
        """Of keys and values (B, heads, N, d); those of parts go through `merge_moments`."""
        return grbf_moments(
            k,
            v,
            order=self.order,
            gamma=self.gamma,
            key_prior=self.key_prior,
            normalise=self.normalise,
        )

    def readout(self, q: Tensor, moments: Moments) -> Tensor:
        """Queries (B, heads, N, d) and moments -> (B, heads, N, d)."""
        return grbf_readout(q, moments, gamma=self.gamma, normalise=self.normalise)


class Heads(nn.Module):
    """The projections around any attention: tokens to q, k, v by head, and back.

    Args:
        channels, num_heads: C, and the heads it is split into.
        qkv_bias: give the projection to q, k, v a bias.

    Attributes:
        scale: 1 / sqrt(d), by which softmax attention scales its products.

    Raises:
        ValueError: the channels cannot be split into that many heads.
    """

    def __init__(self, channels: int, num_heads: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        if num_heads < 1 or channels % num_heads:
            raise ValueError(f"{channels} channels cannot be split into {num_heads} heads")
        self.num_heads = num_heads
        self.scale = (channels // num_heads) ** -0.5
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)

    def split(self, x: Tensor, *, multiple: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, C) -> q, k, v, each (B, heads, N, d), views of one product.

        With ``multiple``, d is rounded up to it by zeros, which `merge` drops again.
        """
        q, k, v = self.project(x, "qkv", multiple=multiple)
        return q, k, v

    def separate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, C) -> q, k, v, each (B, N, C) of its own, heads side by side."""
        biases = [None] * 3 if self.qkv.bias is None else self.qkv.bias.chunk(3)
        q, k, v = map(F.linear, [x] * 3, self.qkv.weight.chunk(3), biases)
        return q, k, v

    def by_head(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, d), a view."""
        return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)

    def project(
        self, x: Tensor, which: Literal["q", "kv", "qkv"], *, multiple: int = 1
    ) -> tuple[Tensor, ...]:
        """Those of q, k, v alone; see `split`."""
        batch, tokens, _ = x.shape
        channels = self.qkv.in_features
        d, more = self._sizes(multiple)
        weight: Tensor = self.qkv.weight
        bias: Tensor | None = self.qkv.bias
        if more or which != "qkv":
            rows = slice(*{"q": (0, 1), "kv": (1, 3), "qkv": (0, 3)}[which])
            weight = weight.view(3, self.num_heads, d, channels)[rows]
            weight = F.pad(weight, (0, 0, 0, more)).flatten(0, 2)
            if bias is not None:
                bias = F.pad(bias.view(3, self.num_heads, d)[rows], (0, more)).flatten()
        y = F.linear(x, weight, bias).view(batch, tokens, len(which), self.num_heads, d + more)
        return y.permute(2, 0, 3, 1, 4).unbind(0)

    def merge(self, heads: Tensor, *, multiple: int = 1) -> Tensor:
        """(B, heads, N, d) -> (B, N, C); ``multiple`` as in `split`."""
        d, more = self._sizes(multiple)
        weight: Tensor = self.proj.weight
        if more:
            weight = F.pad(weight.view(-1, self.num_heads, d), (0, more)).flatten(1)
        return F.linear(heads.transpose(1, 2).flatten(2), weight, self.proj.bias)

    def _sizes(self, multiple: int) -> tuple[int, int]:
        """d, and how many zeros follow."""
        d = self.qkv.in_features // self.num_heads
        return d, -d % multiple


_KERNELS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {"efficient": efficient_attention, "relu": relu_attention, "taylor": taylor_attention}
)


def _unit(x: Tensor) -> Tensor:
    """Unit length along the last axis; zero stays zero, with a bounded gradient."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + _NORM_EPS)


def _pairs(x: Tensor) -> Tensor:
    """(..., d) -> (..., d (d + 1) / 2) so that pairs(q).pairs(k) = (q.k)^2."""
    d = x.shape[-1]
    rows, columns = torch.triu_indices(d, d, device=x.device)
    weights = torch.where(rows == columns, 1.0, 2.0).to(x.dtype).sqrt()
    return x[..., rows] * x[..., columns] * weights


def _mean_product(features: Tensor, values: Tensor, phi: Tensor | None) -> Tensor:
    """Mean over the tokens of features [values, phi]^T; ``values`` hold phi already."""
    weighted = features if phi is None else features * phi
    total = weighted.sum(-2).unsqueeze(-1)
    return torch.cat((features.transpose(-1, -2) @ values, total), -1) / features.shape[-2]


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()
