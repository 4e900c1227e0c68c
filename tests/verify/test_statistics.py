"""The statistics do what they declare: exact moments, calibrated errors, extrapolation, fit tests."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advmf.errors import AdvmfError
from advmf.verify.moments import Running
from advmf.verify.statistics import Design, Estimate, Rung, combine, quantile, resolution


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5), min_size=1, max_size=6))
def test_streaming_moments_equal_those_of_the_whole(blocks):
    running = Running(1)
    for block in blocks:
        running.add(np.array(block)[:, None])
    whole = np.concatenate(blocks)
    assert running.count == len(whole)
    np.testing.assert_allclose(running.mean, whole.mean(), rtol=1e-9, atol=1e-9)
    if len(whole) > 1:
        np.testing.assert_allclose(running.variance, whole.var(ddof=1), rtol=1e-7, atol=1e-7)
    else:
        assert running.variance == math.inf


def ladder(truth, noise, nets, rng=None, widths=(64, 128, 256, 512)):
    """Rungs of synthetic networks: ``truth(h)`` plus noise per network."""
    rungs = []
    for N in widths:
        values = truth(1 / N) + (noise(rng, nets) if rng is not None else np.zeros(nets))
        rungs.append(Rung(N, nets, float(values.mean()), float(values.std(ddof=1) / math.sqrt(nets))))
    return rungs


def test_extrapolation_is_exact_for_polynomials():
    rungs = ladder(lambda h: 2 - 30 * h + 500 * h**2, None, 5)
    assert combine(rungs, 2).value == pytest.approx(2, rel=1e-12)
    assert combine(rungs, 1).value != pytest.approx(2, rel=1e-3)
    with pytest.raises(ValueError, match="more than 2 widths"):
        combine(rungs[:2], 2)


def test_means_times_a_power_of_the_width_weigh_by_its_square():
    """N times a mean has N times its error: the fit of order 1 to N y is the weighted fit of y to 1/N, 1/N², 1/N³."""
    rng = np.random.default_rng(0)
    widths, nets = (100, 200, 400, 800, 1600), (50, 40, 30, 20, 10)
    y = [3 / N + 50 / N**2 + rng.normal() / N for N in widths]
    rungs = [Rung(N, n, N * v, 0.1 * N) for N, n, v in zip(widths, nets, y)]
    basis = np.array([[1 / N, 1 / N**2, 1 / N**3] for N in widths]) * np.sqrt(nets)[:, None]
    expected = np.linalg.lstsq(basis, np.array(y) * np.sqrt(nets))[0][0]
    assert combine(rungs, 2, order=1).value == pytest.approx(expected, rel=1e-6)


def test_averaging_weighs_by_the_number_of_networks():
    assert combine([Rung(8, 100, 1.0, 0.1), Rung(16, 300, 2.0, 0.1)], 0).value == pytest.approx(1.75)


@pytest.mark.parametrize("degree", [0, 1, 2])
@pytest.mark.parametrize("tail", ["normal", "lognormal"])
def test_false_refute_rate_is_the_declared_one(degree, tail):
    """Over 4,000 synthetic checks of a true value, the share beyond the two-sided quantile is the declared rate."""
    rng = np.random.default_rng(degree)
    noise = {
        "normal": lambda rng, n: rng.normal(0, 1, n),
        "lognormal": lambda rng, n: (rng.lognormal(0, 0.5, n) - math.exp(0.125)) / 0.6,
    }[tail]
    truth = lambda h: 1 + (20 * h if degree > 0 else 0) + (300 * h * h if degree > 1 else 0)  # noqa: E731
    alpha, runs, beyond, fits = 0.02, 4000, 0, 0
    for _ in range(runs):
        e = combine(ladder(truth, noise, 100, rng), degree)
        beyond += abs(e.value - 1) > quantile(alpha / 2, e.dof) * e.stderr
        fits += e.fit_p < alpha
    margin = 4 * math.sqrt(alpha / runs)
    slack = 0.4 * alpha if tail == "lognormal" else 0  # Student's t for a skewed sample of 100
    assert abs(beyond / runs - alpha) < margin + slack
    assert fits / runs < alpha + margin + 0.5 * alpha


def test_power_at_the_resolution_is_the_declared_one():
    rng, alpha, beta = np.random.default_rng(3), 0.01, 0.1
    scale = resolution(combine(ladder(lambda h: 1.0, lambda r, n: r.normal(0, 1, n), 400, rng), 2), alpha / 2, beta)
    found = 0
    for _ in range(1500):
        e = combine(ladder(lambda h: 1.0 + scale, lambda r, n: r.normal(0, 1, n), 400, rng), 2)
        found += abs(e.value - 1) > quantile(alpha / 2, e.dof) * e.stderr
    assert found / 1500 == pytest.approx(1 - beta, abs=0.06)


def test_a_wrong_law_in_the_width_is_noticed():
    rng = np.random.default_rng(0)
    law = lambda power: combine(ladder(lambda h: 1 + 5 * h**power, lambda r, n: r.normal(0, 0.02, n), 400, rng), 1)  # noqa: E731
    assert law(1).fit_p > 1e-3
    assert law(0.5).fit_p < 1e-3


def test_rungs_without_noise():
    e = combine([Rung(8, 10, 1.0, 0.0), Rung(16, 10, 1.0, 0.0)], 0)
    assert (e.value, e.stderr) == (1.0, 0.0)
    assert resolution(e, 0.01, 0.05) == 0
    assert quantile(0.025, math.inf) == pytest.approx(1.959964, abs=1e-6)
    assert resolution(Estimate(0, 1, 5), 0.01, 0.05) > resolution(Estimate(0, 1, 500), 0.01, 0.05)


BAD = [{"alpha": 0}, {"alpha": 0.7}, {"beta": -1}, {"effect": 0}, {"effect_fourth": math.nan}, {"effect": math.inf}]
BAD += [{"alpha": "0.1"}, {"beta": None}, {"effect": 1j}, {"effect": True}, {"effect_fourth": [1]}]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_designs_are_validated(bad):
    with pytest.raises(AdvmfError, match=r"must|is a real number"):
        Design(**bad)
