"""Norms of matrices with rows N(0, Σ) by exact laws and estimates: against samples of such matrices, and closed
forms."""

import functools
import math
import re

import numpy as np
import pytest

import advmf as mf
from advmf.errors import AccuracyError, ArgumentError, DomainError
from advmf.experiments.image_norms import ImageMetric
from advmf.special import factored, profile_norm

INF = math.inf
PAIRS = [(1, 2), (1, INF), (2, INF), (INF, INF)]
ALLOWED = 4.5
"""Standard errors: 7e-6 of seeds for each pair."""
WITHIN = {"extremal": 1e-3, "estimate": 0.03}
K, SAMPLES = 4, 3000


def of(sigma):
    return ImageMetric(np.diag(sigma).copy(), sigma)


@functools.cache
def metric(name):
    """Σ of a pooled digit, of a spike along a digit, of a random low rank beside a profile, and of a profile."""
    rng, digits = np.random.default_rng(3), mf.simulate.load("digits").scaled(1.0).x
    if name == "pool":
        net = mf.conv(1, 0, head="pool")
        return of(64 * mf.image_metric(net, digits[0], L=2, sigma_w=2.0, sigma_b=0.3).dense())
    if name == "spike":
        x = digits[0] / np.linalg.norm(digits[0])
        return of(np.eye(64) + 15 * np.outer(x, x))
    if name == "low rank":
        u = rng.normal(size=(20, 2))
        return of(np.diag(rng.uniform(0.3, 2, 20)) + u @ u.T)
    return ImageMetric(rng.uniform(0.3, 2, 12))


@functools.cache
def sampled(name, p, q):
    return metric(name).sampled(p, q, K, samples=SAMPLES)


def departs(value, name, p, q, route):
    mean, error = sampled(name, p, q)
    return abs(value - mean) > WITHIN[route] * mean + ALLOWED * error


CASES = [(name, p, q, "extremal") for name in ("spike", "low rank") for p, q in PAIRS]
CASES += [("pool", p, q, "estimate") for p, q in PAIRS] + [("pool", 2, INF, "extremal")]
CASES += [(name, 2, 2, "estimate") for name in ("pool", "spike", "low rank")]


@pytest.mark.parametrize(("name", "p", "q", "route"), CASES)
def test_the_mean_norm_is_that_of_samples(name, p, q, route):
    """The control is the diagonal of Σ alone."""
    found = metric(name)
    value = found.beta(p, q, K, route)
    assert not departs(value, name, p, q, route), (value, sampled(name, p, q))
    assert value < found.beta(p, q, K), "the bound"
    wrong = ImageMetric(found.diagonal).beta(p, q, K, route)
    assert departs(wrong, name, p, q, route), ("the control", wrong, sampled(name, p, q))


@pytest.mark.parametrize("rho", [0.2, 0.7, -0.4])
def test_two_correlated_numbers(rho):
    """max(|x|, |y|) = (|x + y| + |x - y|)/2; the control takes them for independent."""
    found = of(np.array([[1.0, rho], [rho, 1.0]]))
    exact = (math.sqrt(1 + rho) + math.sqrt(1 - rho)) / math.sqrt(math.pi)
    assert found.beta(1, INF, 1, "extremal") == pytest.approx(exact, rel=1e-4)
    assert abs(2 / math.sqrt(math.pi) / exact - 1) > 1e-3, "the control"
    assert found.beta(1, 2, 1, "extremal") == pytest.approx(exact, rel=1e-3), "one row has one norm"
    assert found.beta(INF, INF, 1, "extremal") == pytest.approx(2 * math.sqrt(2 / math.pi), rel=1e-4)


@pytest.mark.parametrize("name", ["spike", "low rank"])
def test_a_single_row(name):
    """E‖row‖_1 is a sum of half-normal means; the length has a closed integral in the eigenvalues."""
    found = metric(name)
    exact = math.sqrt(2 / math.pi) * np.sqrt(found.diagonal).sum()
    assert found.beta(INF, INF, 1, "extremal") == pytest.approx(exact, rel=1e-4)
    values = np.linalg.eigvalsh(found.matrix)
    grid = np.exp(np.linspace(-30, 30, 6001))  # E √S = ∫ (1 - E e^{-xS}) x^{-3/2} dx / (2 √π)
    laplace = np.exp(-np.log1p(2 * grid[:, None] * values).sum(1) / 2)
    exact = 0.01 * ((1 - laplace) / np.sqrt(grid)).sum() / (2 * math.sqrt(math.pi))
    exact += math.exp(-15) / math.sqrt(math.pi)  # beyond the grid, where the transform is 0
    assert found.beta(2, INF, 1, "extremal") == pytest.approx(exact, rel=1e-5)


def test_of_independent_numbers_it_is_what_is_known_of_profiles():
    net = mf.conv(1, 0, image=(1, 6), padding="zero")
    at = {"L": 2, "sigma_w": 1.5}
    found = mf.image_metric(net, np.arange(1.0, 7), sigma_b=0.3, **at)
    for p, q, route in ((1, 2, "extremal"), (INF, INF, "extremal"), (INF, 1, "estimate"), (2, 2, "estimate")):
        known = float(mf.kernel(mf.profile(net).beta(p, q, route))(K=3, d=6, **at))
        assert found.beta(p, q, 3, route) == pytest.approx(known, rel=1e-7)
    t_sq = np.linspace(0.5, 2, 9)
    dense = factored.largest_sum(2, t_sq, np.zeros((9, 1)))
    assert dense == pytest.approx(ImageMetric(t_sq).beta(INF, INF, 2, "extremal"), rel=1e-5)
    assert profile_norm(1, 1, 1, 9, 0) == pytest.approx(factored.largest_sum(1, np.ones(9), np.zeros((9, 1))), rel=1e-6)


REFUSED = [
    (lambda: metric("pool").beta(2, 2, K, "spectral"), ArgumentError, "There is no route 'spectral'"),
    (
        lambda: metric("pool").beta(1, INF, K, "extremal"),
        ArgumentError,
        "of this one is left. Take 'estimate', or .sampled",
    ),
    (lambda: metric("pool").beta(1, 1, K, "estimate"), ArgumentError, "does not apply at (1, 1) for a Σ of kind dense"),
    (
        lambda: metric("profile").beta(2, 2, K, "extremal"),
        ArgumentError,
        "does not apply at (2, 2) for a Σ of kind profile",
    ),
    (lambda: metric("spike").beta(2, INF, 0, "extremal"), DomainError, "K"),
    (lambda: of(np.outer(*[np.arange(1.0, 13)] * 2)).beta(1, INF, K, "extremal"), AccuracyError, "part of low rank"),
]


@pytest.mark.parametrize(("ask", "error", "message"), REFUSED)
def test_what_is_not_known_is_refused_by_name(ask, error, message):
    with pytest.raises(error, match=re.escape(message)):
        ask()
