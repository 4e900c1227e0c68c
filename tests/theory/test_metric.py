"""The metric of a network, T2 by metric domination, its split form, tail and value: against differences of the kernel,
explicit networks in plain torch, and Gaussian matrices."""

import itertools
import math

import numpy as np
import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.errors import ArgumentError, DeclarationError
from advmf.functions import Supremum
from advmf.theory.metric import largest
from advmf.theory.spike import LAMBDA
from advmf.verify.verdict import Verdict

POINT = {"L": 4, "sigma_w": 1.5, "sigma_b": 0.3}
SMOOTH = {
    "tanh": mf.vanilla(phi="tanh"),
    "gelu": mf.vanilla(phi="gelu"),
    "plain gelu": mf.plain_residual(phi="gelu"),
    "erf, mixed": mf.residual(phi="erf"),
}
KINKED = {"pre-norm": mf.pre_norm(1, 0), "post-norm": mf.post_norm(1, 0), "plain": mf.plain_residual(1, 0)}


def numbers(expr, **at):
    f = mf.kernel(expr)
    return np.asarray(f(**{name: value for name, value in {**POINT, **at}.items() if name in f.arguments}))


@pytest.mark.parametrize("name", [*SMOOTH, *KINKED])
def test_the_metric_is_the_mixed_second_derivative_of_the_kernel(name):
    """Of 𝒦(x, x') at x' = x by differences; the kernel of a kinked activation has a third power of |x - x'|."""
    net, x_sq = {**SMOOTH, **KINKED}[name], 1.3
    h, allowed = (1e-3, 1e-4) if name in SMOOTH else (1e-5, 1e-3)
    kernel = mf.kernel(mf.nngp(net))

    def K(a, b):
        (xx, yy, xy) = (float(v @ w) for v, w in ((a, a), (b, b), (a, b)))
        at = {k: v for k, v in POINT.items() if k in kernel.arguments}
        return float(kernel(c=min(1.0, xy / math.sqrt(xx * yy)), x_sq=xx, y_sq=yy, **at))

    x = np.array([math.sqrt(x_sq), 0.0])
    found = mf.metric(net)
    for expr, e in ((found.along, np.array([1.0, 0.0])), (found.across, np.array([0.0, 1.0]))):
        if name in SMOOTH:
            mixed = sum(s * t * K(x + s * h * e, x + t * h * e) for s, t in itertools.product((1, -1), repeat=2))
            slope = mixed / (4 * h * h)
        else:
            slope = (K(x + h * e, x + h * e) - 2 * K(x + h * e, x) + K(x, x)) / h**2
        assert numbers(expr, x_sq=x_sq) == pytest.approx(slope, rel=allowed if name in SMOOTH else 5e-3)


class Explicit(torch.nn.Module):
    """A network in plain torch: nothing of the package."""

    def __init__(self, kind, N, d, K, L, sigma_w, sigma_b):
        super().__init__()
        layers = [torch.nn.Linear(N, N).double() for _ in range(L)]
        for layer in layers:
            torch.nn.init.normal_(layer.weight, std=sigma_w / math.sqrt(N))
            torch.nn.init.normal_(layer.bias, std=sigma_b)
        self.layers = torch.nn.ModuleList(layers)
        self.P_in = torch.randn(N, d, dtype=torch.float64) / math.sqrt(d)
        self.P_out = torch.randn(K, N, dtype=torch.float64) / math.sqrt(N)
        self.kind = kind

    def forward(self, x):
        x = x @ self.P_in.T
        for W in self.layers:
            if self.kind == "tanh":
                x = torch.tanh(W(x))
            elif self.kind == "gelu":
                x = torch.nn.functional.gelu(W(x))
            elif self.kind == "plain":
                x = x + torch.relu(W(x))
            else:
                x = x + W(torch.relu(x / x.square().mean(-1, keepdim=True).sqrt()))
        return x @ self.P_out.T


DECLARED = {
    "tanh": mf.vanilla(phi="tanh"),
    "gelu": mf.vanilla(phi="gelu"),
    "plain": mf.plain_residual(1, 0),
    "pre-norm": mf.pre_norm(1, 0),
}


@pytest.mark.parametrize("kind", DECLARED)
def test_explicit_networks_have_the_metric_and_keep_to_the_bound(kind):
    """Jacobians by autograd, and plain gradient ascent within an l2 ball; half the bound and the other eigenvalue are
    the controls."""
    N, d, K, eps, nets = 400, 16, 4, 0.5, 40
    torch.manual_seed(1)
    x = torch.zeros(d, dtype=torch.float64)
    x[0] = math.sqrt(d)
    squares, losses = [], []
    for _ in range(nets):
        net = Explicit(kind, N, d, K, **POINT)
        J = torch.func.jacrev(net)(x).detach()
        squares.append([float((J[:, 0] ** 2).mean() * d), float((J[:, 1:] ** 2).mean() * d)])
        start = torch.linalg.svd(J).Vh[0]
        eta = torch.stack((eps * start, -eps * start)).requires_grad_()
        best = 0.0
        for step in range(12):
            size = (net(x + eta) - net(x)).norm(dim=1)
            best = max(best, float(size.detach().max()))
            (slope,) = torch.autograd.grad(size.sum(), eta)
            moved = eta.detach() + eps * (1 - step / 12) * slope / slope.norm(dim=1, keepdim=True)
            eta = (moved * torch.clamp(eps / moved.norm(dim=1, keepdim=True), max=1)).requires_grad_()
        losses.append(best)
    squares, losses = np.array(squares), np.array(losses)
    predicted = np.array(
        [float(numbers(e, x_sq=1)) for e in (mf.metric(DECLARED[kind]).along, mf.metric(DECLARED[kind]).across)]
    )
    allowed = 5 * squares.std(0) / math.sqrt(nets) + 30 / N * predicted
    assert (np.abs(squares.mean(0) - predicted) < allowed).all(), (squares.mean(0), predicted, allowed)
    assert (np.abs(squares.mean(0) - predicted[::-1]) > allowed).any(), "the control"
    bound = float(numbers(mf.loss_bound(DECLARED[kind], 2, 2), x_sq=1, d=d, K=K, eps=eps))
    assert losses.mean() < bound * (1 + 15 / N) + 4 * losses.std() / math.sqrt(nets)
    if kind != "plain":  # whose bound is coarse
        assert losses.mean() > 0.5 * bound


def test_the_bound_over_a_ball_is_that_of_its_worst_input():
    """On a fine grid of radii, for balls of any size and shape; the metric at x is none."""
    d = 9
    for net, (p, reach) in itertools.product((SMOOTH["tanh"], SMOOTH["gelu"]), ((2, 1 / 3), ("inf", 1.0), (1, 1 / 3))):
        for eps in (0.01, 0.5, 6.0):
            radii = np.linspace(max(1 - eps * reach, 1e-5), 1 + eps * reach, 2001)
            most = numbers(mf.metric(net).largest, x_sq=radii**2).max()
            found = numbers(largest(net, sp.sympify("oo" if p == "inf" else p)), x_sq=1, eps=eps, d=d)
            assert most * (1 - 2e-3) <= found <= most * (1 + 2e-3)
    assert numbers(mf.metric(SMOOTH["tanh"]).largest, x_sq=1) < 0.5 * numbers(
        largest(SMOOTH["tanh"], sp.Integer(2)), x_sq=1, eps=6.0, d=d
    )


def test_where_the_growth_is_omega_the_bound_is_the_paper_s_and_proved():
    for net in (mf.vanilla(), mf.residual(), mf.preactivation(), mf.plain_residual(1, 1)):
        assert mf.metric(net).isotropic and mf.metric(net).along == mf.omega(net) ** mf.symbols.L
        for p, q in itertools.product((1, 2, "inf"), repeat=2):
            claim = mf.loss_bound(net, p, q)
            assert LAMBDA not in claim.where and claim.regime is mf.Regime.LARGE_WIDTH and not claim.heuristic
            assert mf.loss_bound(net, p, q, "leading").heuristic == ""
        for route in ("spectral", "tilted"):
            assert mf.Regime.HEURISTIC in mf.loss_bound(net, 2, 2, route).regime
    assert "whole ball" in mf.loss_bound(mf.plain_residual(1, 0), 2, 2, paper=True).heuristic


def matrices(net, d, K, count, at):
    """J(x) as it is for N -> oo: rows N(0, Σ), x along the first axis."""
    rng = np.random.default_rng(0)
    J = rng.standard_normal((count, K, d)) * math.sqrt(float(numbers(mf.metric(net).across, **at)) / d)
    J[:, :, 0] = rng.standard_normal((count, K)) * math.sqrt(float(numbers(mf.metric(net).along, **at)) / d)
    return J


def norms(J, p, q):
    if p == 2 and q == 2:
        return np.linalg.norm(J, 2, axis=(1, 2))
    if p == 1:
        return np.linalg.norm(J, q, axis=1).max(1)
    signs = np.array(list(itertools.product((1, -1), repeat=J.shape[2]))).T
    return np.linalg.norm(J @ signs, q, axis=1).max(1)


@pytest.mark.parametrize(("p", "q"), [(2, 2), (1, 1), (1, 2), (np.inf, 2), (np.inf, 1)])
def test_the_split_bound_holds_of_matrices_and_is_sharper(p, q):
    """At the depth where the spike is ten times the rest; two fifths of it are refused."""
    net, d, K, at = KINKED["plain"], 8, 3, {"x_sq": 1, "sigma_b": 0.0, "L": 8}
    names = {"p": "inf" if p == np.inf else p, "q": q}
    split, plain = (
        float(numbers(mf.loss_bound(net, **names, route=r), eps=1, d=d, K=K, **at)) for r in ("split", "chevet")
    )
    found = norms(matrices(net, d, K, 4000, at), p, q)
    error = 5 * found.std() / math.sqrt(len(found))
    assert 0.4 * split < found.mean() - error and found.mean() + error < split
    if p >= 2:
        assert split < 0.8 * plain


def test_the_tail_holds_of_matrices():
    net, d, K, at = SMOOTH["gelu"], 12, 4, {"x_sq": 1}
    J = norms(matrices(net, d, K, 20_000, at), 2, 2)
    for delta in ("1/5", "1/50"):
        claim = mf.loss_tail(net, 2, 2, delta)
        threshold = claim.lhs.args[0].rhs
        share = (J > float(numbers(threshold, eps=1e-6, d=d, K=K, **at)) / 1e-6).mean()
        assert share <= float(sp.Rational(delta))
    half = (J > float(numbers(threshold, eps=1e-6, d=d, K=K, **at)) / 2e-6).mean()
    assert half > 0.02, "the control: half the threshold"


def test_the_value_for_small_balls_is_supported():
    net = mf.vanilla(1, 0)
    claim = mf.loss_value(net, 2, 2)
    at = {"L": 2, "d": 24, "K": 4, "sigma_w": 1.4, "sigma_b": 0.2, "eps": 0.01}
    right, wrong = mf.check_all(
        [claim, claim.scaled("2/3")], at, widths=(64, 256, 1024), nets=(1200, 1200, 300), directions=1, steps=1
    )
    assert right.verdict is Verdict.SUPPORTED, str(right)
    assert wrong.verdict is Verdict.REFUTED
    assert mf.loss_value(net, "inf", 1).tolerance == mf.norm_factor("inf", 1, "estimate").tolerance


def test_what_is_refused():
    with pytest.raises(ArgumentError, match=r"carries a mean"):
        mf.loss_value(mf.plain_residual(1, 0), 2, 2)
    with pytest.raises(DeclarationError, match="there is no omega"):
        mf.loss_value(SMOOTH["tanh"], 2, 2)
    with pytest.raises(ArgumentError, match=r"no bound, here one of spectral, estimate; got 'chevet'"):
        mf.loss_value(mf.vanilla(), 2, 2, "chevet")
    with pytest.raises(ArgumentError, match=r"has two\. Take 'chevet'"):
        mf.loss_tail(mf.plain_residual(1, 0), 2, 2, "1/10", "split")
    with pytest.raises(DeclarationError, match="there is no omega"):
        mf.loss_bound(SMOOTH["tanh"], 2, 2, paper=True)
    with pytest.raises(ArgumentError, match="route must be split, best or one of spectral"):
        mf.loss_bound(mf.vanilla(), 2, 2, "splitt")
    with pytest.raises(ArgumentError, match="one of its symbols"):
        Supremum(mf.symbols.d, sp.Integer(2), 0, 1)
