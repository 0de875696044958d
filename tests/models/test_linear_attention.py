"""Linear attention against the definition, in double loops and in matrices, and its stability."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from vernier.models.linear_attention import (
    GRBFAttention,
    KeyPrior,
    LinearAttention,
    efficient_attention,
    elementwise_attention,
    grbf_attention,
    grbf_attention_side_by_side,
    grbf_moments,
    grbf_readout,
    merge_moments,
    relu_attention,
    taylor_attention,
)


def unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)


def quadratic(
    q: Tensor, k: Tensor, v: Tensor, gamma: float, order: int, prior: KeyPrior, normalise: bool
) -> Tensor:
    """The definition, all N^2 weights written out."""
    phi = torch.exp(-gamma * (k.square().sum(-1) - k.square().sum(-1).amin(-1, keepdim=True)))
    if normalise:
        q, k = unit(q), unit(k)
    x = 2 * gamma * q @ k.transpose(-1, -2)
    weights = 1 + x + (x.square() / 2 if order == 2 else 0)
    if prior == "raw":
        weights = weights * phi[..., None, :]
    return weights @ v / weights.sum(-1, keepdim=True)


def rounding_bound(
    q: Tensor, k: Tensor, v: Tensor, gamma: float, order: int, prior: KeyPrior, normalise: bool
) -> Tensor:
    """How far two ways of computing the same quotient may lie apart: (B, heads, N, d).

    Numerator and denominator are sums of terms of both signs. Rounding is relative to the sum of
    the terms' sizes, so that where they cancel the quotient is as wrong as its condition says:

        |error| <= 2 u sum_j s_ij r_j (|v_j| + |out_i|) / |sum_j w_ij|

    with s_ij the weight w_ij of the absolute values, and r_j the roundings that one term goes
    through: a sum over the tokens, a dot product of q and k and the lengths before it, and the
    exponent of the prior, whose absolute rounding is the weight's relative one.
    """
    norms = k.square().sum(-1)
    floor = norms.amin(-1, keepdim=True)
    tokens, d = k.shape[-2:]
    roundings = (tokens + 6 * d + 10) * torch.ones_like(norms)
    weight = torch.ones_like(norms)
    if prior == "raw":
        weight = torch.exp(-gamma * (norms - floor))
        roundings += gamma * (d + 2) * (norms + floor)
    out = quadratic(q, k, v, gamma, order, prior, normalise)
    if normalise:
        q, k = unit(q), unit(k)
    x = 2 * gamma * q @ k.transpose(-1, -2)
    sizes = 2 * gamma * q.abs() @ k.abs().transpose(-1, -2)
    second = 0.5 if order == 2 else 0.0
    denominator = ((1 + x + second * x.square()) * weight[..., None, :]).sum(-1, keepdim=True)
    terms = (1 + sizes + second * sizes.square()) * (weight * roundings)[..., None, :]
    errors = terms @ v.abs() + terms.sum(-1, keepdim=True) * out.abs()
    u = torch.finfo(v.dtype).eps / 2
    return 2 * u * errors / denominator.abs()


def qkv(*shape: int, scale: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, *shape, dtype=torch.float64, generator=generator)
    return scale * q, scale * k, v


@pytest.mark.parametrize("coefficient", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("prior", [True, False])
def test_reference_loops(
    shared: Path, coefficient: float, order: int, normalised: bool, prior: bool
) -> None:
    file = np.load(shared / "golden" / "grla" / "grbfla_reference_fp64.npz", allow_pickle=False)
    q, k, v = (torch.from_numpy(file[name])[None] for name in "qkv")
    name = f"{'l2' if normalised else 'raw'}_o{order}_phi{int(prior)}_c{coefficient}"
    if normalised:
        # The reference divides by the norm alone, without the small constant.
        q, k = (x / x.norm(dim=-1, keepdim=True) for x in (q, k))
    gamma = coefficient / math.sqrt(11)
    out = grbf_attention(
        q,
        k,
        v,
        gamma=gamma,
        order=order,  # type: ignore[arg-type]
        key_prior="raw" if prior else "none",
        normalise=False,
    )
    expected = torch.from_numpy(file[f"out_{name}"])
    denominator = torch.from_numpy(file[f"den_{name}"])
    # First order on raw keys passes near zero: there, and only there, rounding is magnified.
    sound = denominator.abs() > 1e-3 * denominator.abs().max()
    assert sound.float().mean() > 0.8
    torch.testing.assert_close(out[0][sound], expected[sound], rtol=1e-10, atol=1e-12)


@given(
    tokens=st.integers(1, 70),
    d=st.integers(2, 12),
    heads=st.integers(1, 3),
    order=st.sampled_from([1, 2]),
    prior=st.sampled_from(["none", "raw"]),
    normalise=st.booleans(),
    scale=st.floats(1e-3, 30),
    seed=st.integers(0, 2**20),
)
def test_linear_equals_quadratic(
    tokens: int,
    d: int,
    heads: int,
    order: int,
    prior: KeyPrior,
    normalise: bool,
    scale: float,
    seed: int,
) -> None:
    # Unnormalised first order has no sound values to compare.
    normalise = normalise or order == 1
    gamma = 0.5 / math.sqrt(d)
    q, k, v = qkv(1, heads, tokens, d, scale=scale, seed=seed)
    arguments = (gamma, order, prior, normalise)
    out = grbf_attention(
        q,
        k,
        v,
        gamma=gamma,
        order=order,  # type: ignore[arg-type]
        key_prior=prior,
        normalise=normalise,
    )
    error = (out - quadratic(q, k, v, *arguments)).abs()
    assert (error <= rounding_bound(q, k, v, *arguments)).all()


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    order=st.sampled_from([1, 2]),
    prior=st.sampled_from(["none", "raw"]),
    scale=st.floats(0.1, 200),
    seed=st.integers(0, 2**20),
)
def test_moments_of_parts_are_those_of_the_whole(
    sizes: list[int], order: int, prior: KeyPrior, scale: float, seed: int
) -> None:
    gamma = 0.2
    q, k, v = qkv(2, 2, sum(sizes), 5, scale=scale, seed=seed)

    def moments(k: Tensor, v: Tensor):  # type: ignore[no-untyped-def]
        return grbf_moments(k, v, order=order, gamma=gamma, key_prior=prior)  # type: ignore[arg-type]

    merged, *rest = [
        moments(*part) for part in zip(k.split(sizes, 2), v.split(sizes, 2), strict=True)
    ]
    for part in rest:
        merged = merge_moments(merged, part, gamma=gamma)
    assert merged.tokens == sum(sizes)
    whole = grbf_readout(q, moments(k, v), gamma=gamma)
    error = (grbf_readout(q, merged, gamma=gamma) - whole).abs()
    # Each merge rounds the exponents of the priors once more.
    assert (error <= len(sizes) * rounding_bound(q, k, v, gamma, order, prior, True)).all()


def test_prior_from_normalised_keys_would_cancel() -> None:
    """As the paper's text has it, phi is one number for all keys."""
    q, k, v = qkv(1, 2, 30, 11)
    k = k / k.norm(dim=-1, keepdim=True)
    plain, prior = (
        grbf_attention(q, k, v, gamma=0.15, key_prior=each)  # type: ignore[arg-type]
        for each in ("none", "raw")
    )
    torch.testing.assert_close(plain, prior, rtol=1e-12, atol=1e-12)


def test_prior_survives_norms_whose_exponential_is_zero() -> None:
    q, k, v = qkv(1, 1, 64, 11, scale=60.0)
    out = grbf_attention(q.float(), k.float(), v.float(), gamma=0.15, key_prior="raw")
    naive = torch.exp(-0.15 * k.float().square().sum(-1))
    assert naive.max() == 0
    expected = quadratic(q, k, v, 0.15, 1, "raw", True)
    torch.testing.assert_close(out.double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_half_precision_at_a_4k_pictures_size(dtype: torch.dtype, error: float, order: int) -> None:
    layer = GRBFAttention(channels=8, num_heads=2, coefficient=0.5, order=order)  # type: ignore[arg-type]
    # A mean of one: sums over as many tokens leave the range of float16.
    x = torch.randn(1, 230_400, 8) + 1
    with torch.no_grad():
        exact = layer(x)
        with torch.autocast("cpu", dtype):
            out = layer(x)
        converted = layer.to(dtype)(x.to(dtype))
    assert out.dtype == converted.dtype == dtype
    for each in (out, converted):
        assert (each.float() - exact).abs().max() < error * exact.abs().max()


def test_sums_stay_in_float32_under_autocast() -> None:
    q, k, v = (x.float() for x in qkv(1, 1, 4096, 8))
    plain = grbf_attention(q, k, v, gamma=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        cast = grbf_attention(q, k, v, gamma=0.1)
    assert torch.equal(plain, cast)


@pytest.mark.parametrize("prior", ["none", "raw"])
@pytest.mark.parametrize("order", [1, 2])
def test_gradients_at_zero_rows(order: int, prior: KeyPrior) -> None:
    q, k, v = (x.float() for x in qkv(1, 1, 6, 4))
    q[..., 0, :] = 0
    k[..., 1, :] = 0
    for x in (q, k, v):
        x.requires_grad_()
    out = grbf_attention(q, k, v, gamma=0.2, order=order, key_prior=prior)  # type: ignore[arg-type]
    out.square().sum().backward()
    for x in (q, k, v):
        assert x.grad is not None
        assert x.grad.isfinite().all()
        # The slope of x / |x| is at most 1 / sqrt(1e-6).
        assert x.grad.abs().max() < 1e3 * out.abs().max()


@pytest.mark.parametrize("order", [1, 2])
def test_gradients_are_those_of_the_function(order: int) -> None:
    q, k, v = (x.requires_grad_() for x in qkv(1, 2, 5, 3))
    assert torch.autograd.gradcheck(
        lambda *x: grbf_attention(*x, gamma=0.2, order=order, key_prior="raw"),  # type: ignore[arg-type]
        (q, k, v),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coefficient": 1.0, "num_heads": 4}, r"2 gamma .* < 1.* d = 3 gives 1.15.*below 0.866"),
        ({"coefficient": 0.5, "num_heads": 12}, "turn negative"),
        ({"coefficient": 0.0}, "positive number"),
        ({"coefficient": math.nan}, "positive number"),
        ({"order": 3}, "order must be 1 or 2, got 3"),
        ({"key_prior": "phi"}, "key_prior must be 'none' or 'raw', got 'phi'"),
        ({"normalise": False}, "first order needs normalised q and k"),
        ({"num_heads": 5}, "12 channels cannot be split into 5 heads"),
    ],
)
def test_what_cannot_be_sound_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GRBFAttention(**({"channels": 12, "num_heads": 3} | arguments))  # type: ignore[arg-type]


def test_second_order_needs_neither_limit() -> None:
    GRBFAttention(channels=12, num_heads=4, coefficient=5.0, order=2)
    layer = GRBFAttention(channels=12, num_heads=4, order=2, normalise=False)
    x = 100 * torch.randn(2, 50, 12)
    assert layer(x).isfinite().all()


def test_first_order_weights_are_positive_up_to_the_limit() -> None:
    """At 2 gamma < 1 the worst case, all keys opposite to the query, still has a sound sum."""
    d = 4
    q = torch.zeros(1, 1, 1, d, dtype=torch.float64)
    q[..., 0] = 1e3
    k = -q.expand(1, 1, 7, d)
    v = torch.ones(1, 1, 7, d, dtype=torch.float64)
    out = grbf_attention(q, k, v, gamma=0.4999)
    torch.testing.assert_close(out, torch.ones_like(out), rtol=1e-9, atol=0)


def naive_softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q.softmax(-1) @ (k.softmax(-2).transpose(-1, -2) @ v)


def naive_relu_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = q.relu() @ k.relu().transpose(-1, -2)
    return weights @ v / (weights.sum(-1, keepdim=True) + 1e-6 * q.shape[-2])


def naive_taylor_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = 1 + unit(q) @ unit(k).transpose(-1, -2)
    return weights @ v / (weights.sum(-1, keepdim=True) + 1e-6 * q.shape[-2])


def naive_elementwise_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k = (torch.exp(-0.5 * x**2 + x) + 1e-6 for x in (q, k))
    weights = q @ k.transpose(-1, -2)
    return weights @ v / (weights.sum(-1, keepdim=True) + 1e-6)


@pytest.mark.parametrize(
    ("linear", "naive"),
    [
        (efficient_attention, naive_softmax_attention),
        (relu_attention, naive_relu_attention),
        (taylor_attention, naive_taylor_attention),
        (elementwise_attention, naive_elementwise_attention),
    ],
)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 17, 5)])
def test_ablations_are_their_definitions(linear, naive, shape: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    q, k, v = qkv(*shape)
    torch.testing.assert_close(linear(q, k, v), naive(q, k, v), rtol=1e-11, atol=1e-11)
    half = linear(*(x.to(torch.float16) for x in (q, k, v)))
    assert half.dtype == torch.float16
    assert half.isfinite().all()


def test_layers_attend_over_all_tokens_and_keep_the_heads_apart() -> None:
    layers: list[nn.Module] = [
        GRBFAttention(channels=6, num_heads=2),
        *(LinearAttention(channels=6, num_heads=2, kernel=kind) for kind in _kinds()),
    ]
    x = torch.randn(2, 9, 6)
    for layer in layers:
        out = layer(x)
        assert out.shape == x.shape
        changed = x.clone()
        changed[:, 8] += 1
        assert (layer(changed)[:, 0] - out[:, 0]).abs().max() > 1e-7
        order = torch.randperm(9)
        torch.testing.assert_close(layer(x[:, order]), out[:, order], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="kernel must be one of efficient, relu, taylor"):
        LinearAttention(channels=6, num_heads=2, kernel="softmax")  # type: ignore[arg-type]


def _kinds() -> tuple[str, ...]:
    return ("efficient", "relu", "taylor")


def test_close_to_softmax_only_where_the_logits_are_small() -> None:
    """Of unit q and k at gamma = 1 / (2 sqrt d) softmax is nearly uniform, and near the series."""
    q, k, v = (unit(x) for x in qkv(1, 1, 256, 11))
    softmax = (q @ k.transpose(-1, -2) / math.sqrt(11)).softmax(-1) @ v
    errors = [
        (grbf_attention(q, k, v, gamma=0.5 / math.sqrt(11), order=order) - softmax).norm()
        for order in (1, 2)
    ]
    centred = (softmax - v.mean(-2, keepdim=True)).norm()
    assert errors[1] < errors[0] < 0.2 * centred


def test_pairs_of_parameters_are_tried() -> None:
    """Every combination the constructor takes runs and is differentiable."""
    for order, prior in itertools.product((1, 2), ("none", "raw")):
        layer = GRBFAttention(channels=8, num_heads=2, order=order, key_prior=prior)  # type: ignore[arg-type]
        layer(torch.randn(1, 5, 8)).sum().backward()
        assert layer.heads.qkv.weight.grad is not None
        assert layer.heads.qkv.weight.grad.isfinite().all()


@given(
    tokens=st.integers(1, 40),
    heads=st.sampled_from([1, 2, 5]),
    width=st.integers(1, 7),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
)
def test_heads_that_lie_side_by_side_attend_apart(
    tokens: int, heads: int, width: int, scale: float
) -> None:
    q, k, v = qkv(2, tokens, heads * width, scale=scale)
    k[:, 0] = 0
    gamma = 0.5 / math.sqrt(width)

    def apart(x: Tensor) -> Tensor:
        return x.view(2, tokens, heads, width).transpose(1, 2)

    separate = tuple(map(apart, (q, k, v)))
    expected = grbf_attention(*separate, gamma=gamma)
    found = apart(grbf_attention_side_by_side(q, k, v, num_heads=heads, gamma=gamma))
    bound = rounding_bound(*separate, gamma, 1, "none", True)
    assert ((found - expected).abs() <= bound).all()


def test_heads_side_by_side_are_summed_in_float32_under_autocast() -> None:
    q, k, v = (x.bfloat16() for x in qkv(1, 5000, 10))
    expected = grbf_attention_side_by_side(*(x.double() for x in (q, k, v)), num_heads=2, gamma=0.2)
    with torch.autocast("cpu", torch.bfloat16):
        found = grbf_attention_side_by_side(q, k, v, num_heads=2, gamma=0.2)
    assert found.dtype == torch.bfloat16
    # Nothing but the result is rounded.
    torch.testing.assert_close(found, expected.bfloat16(), rtol=2**-7, atol=1e-6)
