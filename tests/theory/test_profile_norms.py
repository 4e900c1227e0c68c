"""Norm factors of matrices whose columns have a profile: against simulated matrices, and laws known in closed form.

A mean of simulated norms disagrees with a claim of 3 % where all of its interval of 3.3 standard errors (1e-3 of seeds;
seeds are fixed) lies further away. The errors are at most 0.8 %. Searched norms are lower bounds, so at those pairs the
route is held to what the search found. The control is the norm factor of a profile that is flattened to its mean, which
must disagree.
"""

import functools
import math
import re

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import advmf as mf
from advmf.errors import ArgumentError, DeclarationError, DomainError
from advmf.special import estimated_norm, estimated_profile_norm, extreme_norm, profile_extreme, profile_norm
from advmf.special.extremes import mixed_law
from advmf.special.profile_matrices import singular_value

RELU = mf.ReLULike(1, 0)
ZERO = mf.conv(1, 0, padding="zero")
SKIPPED = mf.Net(
    mf.Stage(mf.Serial(mf.Conv(kernel=1, stride=2), RELU), 1),
    mf.Stage(mf.Serial(mf.Conv(padding="zero"), RELU), 2),
    image=(1, 16, 16),
)
"""Three of four pixels are not met, and the others are unlike."""
NETS = {"zero": (ZERO, {"L": 4, "sigma_w": 2**0.5}), "skipped": (SKIPPED, {"sigma_w": 2**0.5})}
PAIRS = [(p, q) for p in (1, 2, math.inf) for q in (1, 2, math.inf)] + [(1.5, 1), (3, 1.5)]
K, WITHIN, ERRORS = 10, 0.03, 3.3


@functools.cache
def simulated(name, p, q):
    """The mean norm and its standard error, of matrices with the profile's columns."""
    net, at = NETS[name]
    s = np.repeat(mf.profile(net).at(**at).ravel(), net.image[0])
    samples = 800 if p == 1 or q == math.inf or (p, q) == (2, 2) else 160
    J = np.random.default_rng(0).standard_normal((samples, K, s.size)) * np.sqrt(s / s.size)
    norms = mf.simulate.operator_norm(torch.tensor(J), p, q, starts=4).value.numpy()
    return norms.mean(), norms.std() / math.sqrt(samples)


def agrees(name, p, q, claimed):
    mean, error = simulated(name, p, q)
    assert error < 0.008 * mean
    return abs(mean / claimed - 1) < WITHIN + ERRORS * error / claimed


def number(name, p, q, route):
    net, at = NETS[name]
    return float(mf.kernel(mf.profile(net).beta(p, q, route))(**at, K=K, d=net.inputs))


@pytest.mark.parametrize(("p", "q"), PAIRS)
@pytest.mark.parametrize("name", NETS)
def test_norm_factors_of_profiles_agree_with_matrices(name, p, q):
    border = p == 1 or q == math.inf
    claimed = number(name, p, q, "extremal" if border else "estimate")
    mean, error = simulated(name, p, q)
    assert agrees(name, p, q, claimed), (mean / claimed, error / claimed)
    if border:
        assert number(name, p, q, "estimate") == claimed == number(name, p, q, "best")
    low, high = number(name, p, q, "lower"), number(name, p, q, "chevet")
    assert low <= mean + ERRORS * error and mean - ERRORS * error <= high and low < claimed < high
    net, at = NETS[name]
    flat = math.sqrt(mf.profile(net).at(**at).mean()) * float(estimated_norm(K, net.inputs, p, q) / net.inputs**0.5)
    if name == "skipped" or p == 1:
        assert not agrees(name, p, q, flat), "the control: a flat profile"


@pytest.mark.parametrize(("p", "q"), [(1, 3), (3, math.inf), (2, 2), (2, 1), (math.inf, 2), (1.5, 1.5), (1.3, 4)])
def test_equal_columns_have_the_norm_factors_of_dense_layers(p, q):
    even = (2, 1, 7, 0)
    assert estimated_profile_norm(3, p, q, *even) == pytest.approx(estimated_norm(3, 14, p, q), rel=1e-8)
    if p == 1:
        assert profile_extreme(3, p, q, *even) == pytest.approx(extreme_norm(14, 3, q), rel=1e-9)
    if q == math.inf:
        assert profile_extreme(3, p, q, *even) == pytest.approx(extreme_norm(3, 14, p / (p - 1)), rel=1e-7)


CODE = (1, 1, 4, 1, 2, 1, 0.5, 1, 3, 1, -1, 0)
T = [math.sqrt(5 / 36), math.sqrt(8 / 36)]


def test_exact_routes_are_integrals_of_known_laws():
    """Of two sizes, two coordinates each: the columns' norms are chi, and the square of a row's norm is the sum of two
    exponential variables."""
    columns = lambda z: 1 - np.prod([stats.chi(3).cdf(z / t) ** 2 for t in T])  # noqa: E731
    assert profile_extreme(3, 1, 2, *CODE) == pytest.approx(integrate.quad(columns, 0, 9, epsabs=1e-13)[0], rel=1e-9)
    a, b = (2 * t**2 for t in T)

    def row(z):
        return 1 - (b * math.exp(-z * z / b) - a * math.exp(-z * z / a)) / (b - a)

    rows = integrate.quad(lambda z: 1 - row(z) ** 3, 0, 9, epsabs=1e-13)[0]
    assert profile_extreme(3, 2, math.inf, *CODE) == pytest.approx(rows, rel=1e-9)
    for r in (3, 1.5, 1):  # one row: the mean norm of a vector, by another way
        assert profile_extreme(1, math.inf if r == 1 else r / (r - 1), 2, *CODE) == profile_norm(r, *CODE)
        z = np.linspace(0, 9, 3001)[1:]
        survival = np.exp(mixed_law(T, [2, 2], r).log_survival(z))
        assert integrate.simpson(np.append(1.0, survival), dx=0.003) == pytest.approx(profile_norm(r, *CODE), rel=1e-7)


@pytest.mark.parametrize("sizes", [((1.0, 5.0), (39, 1)), ((0.2, 1.0), (200, 10)), ((0.5, 0.8, 1.0), (30, 30, 30))])
def test_the_edge_of_the_spectrum(sizes):
    """The mean largest singular value, within 3 %; the one of equal columns of the same mean square is not, where sizes
    differ much."""
    t = np.repeat(*map(np.array, sizes))
    norms = np.linalg.norm(np.random.default_rng(1).standard_normal((9000, 6, t.size)) * t, 2, axis=(1, 2))
    value, error = singular_value(6.0, sizes)[0], norms.std() / math.sqrt(len(norms))
    assert abs(norms.mean() / value - 1) + ERRORS * error / value < WITHIN, (norms.mean() / value, error / value)
    flat = math.sqrt((t**2).mean()) * float(mf.special.spectral_norm(6, t.size, 1))
    if sizes[0][-1] / sizes[0][0] > 2:
        assert norms.mean() > 1.05 * flat


def test_the_loss_of_small_balls_has_the_profile():
    """An equality by exact routes and by the estimate, in the place of a bound; it is known to be heuristic in a finite
    ball."""
    at = {"L": 2, "sigma_w": 2.0, "eps": 0.01, "d": 64, "K": 4}
    exact, close = mf.loss_value(ZERO, 1, 2), mf.loss_value(ZERO, 2, 2)
    assert (exact.relation, close.relation) == ("==", "approx") and exact.tolerance == 0
    assert float(mf.kernel(exact)(**at)) < float(mf.kernel(mf.loss_bound(ZERO, 1, 2))(**at))
    assert mf.loss_value(mf.conv(1, 0), 1, 2) == mf.loss_value(mf.conv(1, 0), 1, 2, "extremal")
    sharp = mf.loss_bound(ZERO, 1, 2, "best")
    assert mf.Regime.HEURISTIC in sharp.regime and mf.kernel(sharp)(**at) == mf.kernel(exact)(**at)
    assert mf.Regime.HEURISTIC not in mf.loss_bound(ZERO, 2, 2, "best").regime
    own, other = (mf.loss_tail(ZERO, 1, 2, "1/100", route).lhs.args[0].rhs for route in ("chevet", "best"))
    assert float(mf.kernel(other)(**at)) < float(mf.kernel(own)(**at))


REFUSED = [
    (
        lambda: mf.profile(ZERO).beta(2, 2, "spectral"),
        ArgumentError,
        "The route 'spectral' is for equal pixels; for p = 2",
    ),
    (lambda: mf.profile(ZERO).beta(2, 2, "extremal"), ArgumentError, "The route 'extremal' is for p = 1 or q = oo"),
    (lambda: mf.profile(ZERO).beta(2, 2, "none"), ArgumentError, "route must be best or one of"),
    (
        lambda: mf.profile(ZERO).beta_quantile(2, 2, 0.1, "estimate"),
        ArgumentError,
        "takes an upper route (extremal, chevet)",
    ),
    (lambda: mf.loss_bound(ZERO, 2, 2, "estimate"), ArgumentError, "An upper bound takes an upper route"),
    (
        lambda: mf.loss_value(ZERO, 2, 2, "chevet"),
        ArgumentError,
        "A value takes a route that is no bound, here one of estimate",
    ),
    (lambda: mf.loss_value(mf.conv(1, 0, head="pool"), 2, 2), DeclarationError, "averages positions, so that Sigma(x)"),
    (lambda: profile_extreme(1.5, 1, 2, *CODE), DomainError, "got K = 1.5"),
]


@pytest.mark.parametrize(("ask", "error", "message"), REFUSED)
def test_what_is_not_known_is_refused_by_name(ask, error, message):
    with pytest.raises(error, match=re.escape(message)):
        ask()


def test_other_exponents_have_no_numbers():
    assert math.isnan(profile_extreme(3, 2, 2, *CODE)) and math.isnan(estimated_profile_norm(3, 0.5, 2, *CODE))
