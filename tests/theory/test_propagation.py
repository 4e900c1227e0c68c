"""The five rows of the paper's table, closed forms and recursions, against hand-written oracles and
explicit networks."""

import math

import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.functions import Recursion
from advmf.symbols import L, sigma_b, sigma_w, u, v, x_sq
from advmf.theory.propagation import START, STATE, abbreviations, moments, step

ALPHA = (u**2 + v**2) / 2
S = sp.Symbol("s", real=True)
TWO_LAYER = mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(), mf.Dense(sigma_b=0), scale=S))


@pytest.mark.parametrize(
    ("net", "omega"),
    [
        (mf.vanilla(), ALPHA * sigma_w**2),
        (mf.residual(), 1 + ALPHA * sigma_w**2),
        (mf.plain_residual(), 1 + ALPHA * sigma_w**2),
        (mf.preactivation(), 1 + ALPHA * sigma_w**2),
        (TWO_LAYER, 1 + S**2 * ALPHA * sigma_w**4),
    ],
)
def test_omega_of_every_row(net, omega):
    assert sp.expand(mf.omega(net) - omega) == 0


@pytest.mark.parametrize(
    ("net", "bias"), [(mf.vanilla(), ALPHA), (mf.residual(), ALPHA), (mf.preactivation(), sp.S.One)]
)
def test_second_moment_in_closed_form(net, bias):
    omega = mf.omega(net)
    expected = omega**L * x_sq + bias * sigma_b**2 * sp.Sum(omega ** (sp.Symbol("k") - 1), (sp.Symbol("k"), 1, L))
    for depth in (0, 1, 4):
        found = moments(net).Q.subs(L, depth).doit()
        assert sp.expand((found - expected.subs(L, depth).doit()).doit()) == 0


@pytest.mark.parametrize("net", [mf.vanilla(1, 0), mf.residual(1, 0.5), mf.preactivation(2, -1), TWO_LAYER])
def test_closed_forms_solve_the_recursion(net):
    values = {
        sigma_w: sp.Rational(6, 5),
        sigma_b: sp.Rational(1, 3),
        x_sq: sp.Rational(3, 4),
        u: 1,
        v: -2,
        S: sp.Rational(1, 2),
    }
    state = [(symbol, START.items()[name].subs(values)) for name, symbol in STATE.items().items()]
    for depth in range(6):
        for (symbol, value), solution in zip(state, moments(net).items().values()):
            if not solution.has(Recursion):
                assert sp.simplify(solution.subs(L, depth).subs(values).doit() - value) == 0, (symbol, depth)
        state = [
            (symbol, after.subs(values).subs(state))
            for symbol, after in zip(STATE.items().values(), step(net.block).items().values())
        ]


def carried_mean(L, sigma_w, sigma_b, u, v, x_sq):
    """The plain shortcut by hand: x <- x + phi(Wx + b), with the mean of a coordinate carried."""
    Q, mu, alpha = x_sq, 0.0, (u * u + v * v) / 2
    for _ in range(L):
        h = sigma_w**2 * Q + sigma_b**2
        mean = (u - v) * math.sqrt(h / (2 * math.pi))
        Q, mu = Q + alpha * h + 2 * mu * mean, mu + mean
    return Q, mu


@pytest.mark.parametrize("slopes", [(1, 0), (1, 0.2), (1, -1), (1, 1)])
def test_plain_shortcut_carries_its_mean(slopes):
    point = {"L": 7, "sigma_w": 0.9, "sigma_b": 0.4, "x_sq": 1.3}
    net = mf.plain_residual()
    Q = mf.kernel(moments(net).Q)(**point, u=slopes[0], v=slopes[1])
    assert Q == pytest.approx(carried_mean(**point, u=slopes[0], v=slopes[1])[0], rel=1e-12)
    naive = (1 + (slopes[0] ** 2 + slopes[1] ** 2) / 2 * 0.81) ** 7 * 1.3
    assert Q > 1.1 * naive  # the control: without the mean and the biases the value is another


def test_plain_shortcut_stays_a_recursion_and_its_linear_case_does_not():
    assert moments(mf.plain_residual()).Q.has(Recursion)
    assert not moments(mf.plain_residual(u=1, v=1)).Q.has(Recursion)


@pytest.mark.parametrize("slopes", [(1, 0), (1, sp.Rational(1, 5)), (1, -1), (2, 1)])
@pytest.mark.parametrize("value", [0.3, 1.0, 4.0])
def test_growth_rate_is_the_ratio_at_large_depth(slopes, value):
    rate = float(mf.growth_rate(mf.plain_residual(*slopes)).subs(sigma_w, value))
    u, v = map(float, slopes)
    late, later = (carried_mean(depth, value, 0.0, u, v, 1.0)[0] for depth in (150, 151))
    assert rate == pytest.approx(later / late, rel=1e-9)
    assert rate > float(mf.omega(mf.plain_residual(*slopes)).subs(sigma_w, value))


def test_growth_rate_without_a_mean_is_omega():
    assert mf.growth_rate(mf.residual()) == mf.omega(mf.residual())


def test_abbreviations_stand_for_what_they_replace():
    for net in (mf.residual(), mf.vanilla(u=1, v=0), mf.preactivation()):
        short = moments(net, abbreviate=True).Q
        for symbol, meaning in abbreviations(net).items():
            short = short.subs(symbol, meaning)
        long = moments(net).Q
        values = {sigma_w: 1.1, sigma_b: 0.3, u: 1, v: 0.5, x_sq: 1, L: 5}
        assert float(short.subs(values)) == pytest.approx(float(long.subs(values)), rel=1e-12)


def explicit_moments(net_name, rng, nets=600, N=96, depth=4, sigma_w=1.0, sigma_b=0.5, u=1.0, v=0.0):
    """Second moments of the stream and of J x for explicit networks in NumPy, independent of the package's
    simulator."""
    phi = lambda z: np.where(z >= 0, u * z, v * z)  # noqa: E731
    slope = lambda z: np.where(z >= 0, u, v)  # noqa: E731
    x = rng.standard_normal((nets, N, 1))
    s = x.copy()
    for _ in range(depth):
        W = rng.standard_normal((nets, N, N)) * sigma_w / math.sqrt(N)
        V = rng.standard_normal((nets, N, N)) / math.sqrt(N)
        b = rng.standard_normal((nets, N, 1)) * sigma_b
        if net_name == "preactivation":
            x, s = x + W @ phi(x) + b, s + W @ (slope(x) * s)
            continue
        z, t = W @ x + b, W @ s
        y, r = phi(z), slope(z) * t
        if net_name == "vanilla":
            x, s = y, r
        elif net_name == "residual":
            x, s = x + V @ y, s + V @ r
        else:
            x, s = x + y, s + r
    parts = {"Q": x**2, "along": s**2, "A": (x - s) ** 2, "cross": s * (x - s)}
    means = {k: value.mean((1, 2)) for k, value in parts.items()}
    return {k: (m.mean(), m.std() / math.sqrt(nets)) for k, m in means.items()}


@pytest.mark.parametrize("name", ["vanilla", "residual", "plain_residual", "preactivation"])
def test_moments_of_explicit_networks(name):
    """All second moments, along the input and of the offset, within 4.5 standard errors plus the O(1/N) of the inexact
    nets."""
    found = explicit_moments(name, np.random.default_rng(0))
    state = moments(mf.PRESETS[name](1, 0))
    predicted = {"Q": state.Q, "along": state.along, "A": state.A, "cross": state.B - state.A}
    net = mf.PRESETS[name](1, 0)
    for key, expr in predicted.items():
        kernel = mf.kernel(expr)
        point = {"L": 4, "sigma_w": 1.0, "sigma_b": 0.5, "x_sq": 1.0}
        value = float(kernel(**{k: point[k] for k in kernel.arguments}))
        mean, stderr = found[key]
        allowance = 0 if net.exact else 6 / 96 * found["Q"][0]
        assert abs(mean - value) < 4.5 * stderr + allowance, (key, mean, stderr, value)
    if name == "plain_residual":  # the control: without the carried mean the prediction is far off
        mean, stderr = found["Q"]
        assert mean - float(mf.kernel(moments(mf.residual(1, 0)).Q)(**point)) > 20 * stderr


def test_endless_recursions_stay_as_they_stand_and_are_refused_as_numbers():
    """Whatever asks for them: 3^(2^60) has 10^18 digits, and 10^9 steps take a day."""
    x = sp.Symbol("x")
    squares = [Recursion(depth, (x,), (x**2,), (3,), x) for depth in (4, 60)]
    assert squares[0] == 3**16 and isinstance(squares[1], Recursion)
    assert sp.log(squares[1].evalf()) == pytest.approx(float(2**60 * sp.log(3)))
    assert Recursion(10_000, (x,), (x + 1,), (0,), x) == 10_000
    endless = Recursion(10**9, (x,), (x + 1,), (0,), x)
    assert isinstance(endless, Recursion)
    with pytest.raises(mf.errors.BudgetError, match=r"recursion of 1,000,000,000 steps.*100,000 seconds"):
        endless.evalf()
