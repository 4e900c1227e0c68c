"""The law of ‖g_m‖_r and its largest copies against closed forms, other formulas, an inverted characteristic function
and sampling."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special

import advmf as mf
from advmf.errors import DomainError
from advmf.functions import ExtremeNorm, ExtremeNormQuantile, GaussianNorm
from advmf.special import extreme_norm, extreme_norm_quantile, extremes, gaussian_norm, norm_law
from advmf.symbols import K, d, q

DETECTION = 4.9
"""Standard errors; a two-sided false alarm in 1e-6 of seeds."""


@pytest.fixture
def general(monkeypatch):
    """Sends r = 2 through the convolutions."""
    monkeypatch.setattr(extremes, "_CHI", 0)
    extremes._nodes.cache_clear()
    yield
    extremes._nodes.cache_clear()


def probabilities(law, count=200, tail=8.2):
    """Arguments over the whole law to 1e-16 in either tail."""
    y = np.linspace(law.low, law.high, 20 * count)
    y = y[np.abs(law.score(y)) < tail]
    return np.exp(y[:: max(1, y.size // count)])


class TestLaw:
    @pytest.mark.parametrize("m", [2, 3, 5, 10, 31, 100, 784, 10_000])
    def test_convolution_against_chi(self, m, general):
        law = norm_law(m, 2)
        z = probabilities(law)
        assert np.abs(law.log_survival(z) - np.log(special.gammaincc(m / 2, z * z / 2))).max() < 1e-10
        assert np.abs(law.log_cdf(z) - np.log(special.gammainc(m / 2, z * z / 2))).max() < 1e-8
        wrong = special.gammaincc((m + 0.01) / 2, z * z / 2)
        assert np.abs(law.log_survival(z) - np.log(wrong)).max() > 1e-4

    @pytest.mark.parametrize("r", [1, 1.001, 1.5, 2, 4, 30, 1e3, 1e5])
    def test_two_variables_in_polar_coordinates(self, r, general):
        """P(Z > z) is the mean over angles of exp(-z**2/(2 rho**2)), rho the norm of the unit vector."""
        law = norm_law(2, r)
        z = probabilities(law, 12)
        z = z[z > 0.05]
        for at, found in zip(z, law.log_survival(z)):

            def ratio(angle, at=at, found=found):
                log_rho = math.log(math.cos(angle)) + math.log1p(math.tan(angle) ** r) / r
                return math.exp(-at * at / 2 * math.exp(-2 * log_rho) - found)

            corner = math.pi / 4
            cuts = [0.0, *(corner * (1 - 0.5**k) for k in range(1, 24)), corner]
            mean = sum(integrate.quad(ratio, *ends, epsabs=1e-13)[0] for ends in itertools.pairwise(cuts)) / corner
            assert math.isclose(mean, 1, rel_tol=1e-10)

    def test_a_rotated_square(self):
        law = norm_law(2, 1)
        z = probabilities(law)
        exact = np.log(special.erfc(z / 2)) + np.log1p(special.erf(z / 2))
        assert np.allclose(law.log_survival(z), exact, rtol=0, atol=1e-11)
        assert np.allclose(law.log_cdf(z), 2 * np.log(special.erf(z / 2)), rtol=0, atol=1e-11)

    @pytest.mark.parametrize("m", [1, 2, 3, 5, 10])
    def test_the_inverted_characteristic_function(self, m):
        """E exp(it|g|) = w(t/sqrt 2) with Faddeeva's w; at odd multiples of h/2, Gil-Pelaez errs only by the mass
        beyond 2 pi/h - z."""
        law, h = norm_law(m, 1), 2 * math.pi / 150
        k = np.arange(2_000_000) + 0.5
        phi = special.wofz(k * h / math.sqrt(2)) ** m
        for z in np.linspace(0.3, 3, 5) * m:
            inverted = 0.5 - (np.imag(np.exp(-1j * k * h * z) * phi) / k).sum() / math.pi
            assert math.isclose(math.exp(law.log_cdf(z)), inverted, abs_tol=1e-9 if m == 1 else 1e-12)

    @pytest.mark.parametrize(("m", "r"), [(1000, 1), (3000, 3), (10**6, 7), (10**7, 1.3), (4097, 1e3)])
    def test_another_quadrature_gives_the_same(self, m, r, monkeypatch):
        law = norm_law(m, r)
        z = probabilities(law, tail=7.03)
        value, finer = law.log_survival(z), {"_PANELS": 17, "_DEGREE": 24, "_ORDER": 120}
        for name, number in finer.items():
            monkeypatch.setattr(extremes, name, number)
        extremes._table.cache_clear()
        again = norm_law(m, r).log_survival(z)
        extremes._table.cache_clear()
        assert 0 < np.abs(value - again).max() < 1e-6

    def test_a_sum_of_many(self):
        """At m = 1e7 the norm is normal up to a skewness of 1e-4; the moments of Z to order 1/m are those of the delta
        method."""
        m = 10**7
        law = norm_law(m, 1)
        mean, sd = m * math.sqrt(2 / math.pi), math.sqrt(m * (1 - 2 / math.pi))
        t = np.linspace(-4, 4, 17)
        skewness = math.sqrt(2 / math.pi) * (4 / math.pi - 1) / (1 - 2 / math.pi) ** 1.5 / math.sqrt(m)
        edgeworth = special.ndtr(t) - skewness / 6 * (t * t - 1) * np.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        error = np.exp(law.log_cdf(mean + sd * t)) - edgeworth
        assert np.abs(error).max() < 1e-7
        assert np.abs(error + edgeworth - special.ndtr(t)).max() > 1e-5


class TestMean:
    @pytest.mark.parametrize("m", [1, 2, 3, 7, 50, 784, 10**7])
    def test_one_copy_is_the_gaussian_norm(self, m, general):
        r = np.array([1, 1.01, 1.7, 2, 3, 8, 50, 1e3, 1e5, 1e9, math.inf] if m < 10**7 else [2, 7])
        assert np.allclose(extreme_norm(1, m, r), gaussian_norm(m, r), rtol=1e-11, atol=0)

    @pytest.mark.parametrize("n", [1, 2.5, 784, 1e12])
    def test_the_end_of_the_exponents(self, n):
        for m in (1, 10, 1000):
            assert extreme_norm(n, m, math.inf) == gaussian_norm(n * m, math.inf)
            assert math.isclose(extreme_norm(n, m, 2e6), gaussian_norm(n * m, math.inf), rel_tol=1e-10)
        assert extreme_norm(n, 1, 3) == gaussian_norm(n, math.inf)

    @pytest.mark.parametrize("m", [2, 10, 784])
    @pytest.mark.parametrize("n", [2, 784, 1e7, 1e12])
    def test_chi_through_both_paths_and_by_quadrature(self, m, n, general):
        value = extreme_norm(n, m, 2)

        def outside(z):
            return -math.expm1(n * math.log1p(-min(special.gammaincc(m / 2, z * z / 2), 1 - 1e-16)))

        z = [value - 20, value - 3, value - 1, value, value + 1, value + 3, value + 20]
        z = sorted(max(0.0, at) for at in z)
        by_quad = z[0] + sum(integrate.quad(outside, *ends, epsabs=1e-13)[0] for ends in itertools.pairwise(z))
        assert math.isclose(value, by_quad, rel_tol=1e-10)
        table = norm_law(m, 2)
        assert isinstance(getattr(table.score, "__self__", None), extremes._Table)

    def test_continuity(self):
        for n, m in ((50, 7), (1e6, 784)):
            at_two = extreme_norm(n, m, [2 - 1e-7, 2, 2 + 1e-7])
            assert math.isclose(at_two[0] - at_two[1], at_two[1] - at_two[2], rel_tol=1e-3)
            assert at_two[0] > at_two[1] > at_two[2]
            first, second = extreme_norm(n, m, [1e3, 1e4]) - extreme_norm(n, m, math.inf)
            assert math.isclose(first / second, 100, rel_tol=0.15)
            assert math.isclose(*extreme_norm(n, m, [1e6, 1e6 + 1]), rel_tol=1e-10)

    @pytest.mark.parametrize("r", [1, 1.3, 3, 7])
    def test_against_sampling(self, r):
        g = np.abs(np.random.default_rng(0).standard_normal((40_000, 20, 6)))
        largest = (g**r).sum(2).max(1) ** (1 / r)
        error = DETECTION * largest.std() / math.sqrt(largest.size)
        assert abs(extreme_norm(20, 6, r) - largest.mean()) < error
        for other in ((21, 6, r), (20, 7, r), (20, 6, r * 1.1 if r < 5 else 2 * r)):
            assert abs(extreme_norm(*other) - largest.mean()) > error
        for delta in (0.9, 0.1, 0.01):
            share = (largest > extreme_norm_quantile(20, 6, r, delta)).mean()
            assert abs(share - delta) < DETECTION * math.sqrt(delta * (1 - delta) / largest.size)

    @settings(max_examples=8, deadline=None, derandomize=True)
    @given(st.floats(1, 1e9), st.integers(1, 60), st.floats(1, 30), st.floats(1.01, 3))
    def test_monotone(self, n, m, r, factor):
        value, copies, longer, flatter = extreme_norm([n, n * factor, n, n], [m, m, m + 1, m], [r, r, r, r * factor])
        assert copies > value
        assert longer > value
        assert flatter <= value * (1 + 1e-12)
        assert value >= gaussian_norm(m, r) * (1 - 1e-12)

    def test_shapes_and_errors(self):
        assert isinstance(extreme_norm(3, 2, 1.5), np.float64)
        assert extreme_norm([[2], [3]], [1, 2, 3], 1).shape == (2, 3)
        assert extreme_norm_quantile([[2], [3]], 2, 1, [0.1, 0.2, 0.3]).shape == (2, 3)
        for bad in (
            (0.5, 3, 1),
            (math.inf, 3, 1),
            (2, 2.5, 1),
            (2, 0, 1),
            (2, 3, 0.9),
            (2, 3, math.nan),
            (math.nan, 3, 1),
        ):
            with pytest.raises(DomainError, match=r"got [nmr] = "):
                extreme_norm(*bad)
            with pytest.raises(DomainError, match=r"got [nmr] = "):
                extreme_norm_quantile(*bad, 0.5)
        with pytest.raises(DomainError, match="got m = 0"):
            norm_law(0, 3)
        for delta in (0, 1, -1, math.nan):
            with pytest.raises(DomainError, match="delta is a probability"):
                extreme_norm_quantile(2, 3, 1, delta)


class TestQuantile:
    @pytest.mark.parametrize("r", [1, 2, 3.3, 1e4, math.inf])
    @pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (784, 10), (1e9, 50)])
    def test_it_is_exceeded_with_probability_delta(self, n, m, r):
        for delta in (1 - 1e-9, 0.5, 1e-3, 1e-9):
            z = extreme_norm_quantile(n, m, r, delta)
            law = norm_law(m, r)
            assert math.isclose(-math.expm1(n * law.log_cdf(z)), delta, rel_tol=1e-9)

    def test_closed_forms(self):
        delta = np.array([0.9, 0.1, 1e-12])
        assert np.allclose(extreme_norm_quantile(1, 2, 2, delta), np.sqrt(-2 * np.log(delta)), rtol=1e-12)
        each = -np.expm1(np.log1p(-delta) / 70)
        expected = math.sqrt(2) * special.erfcinv(each)
        assert np.allclose(extreme_norm_quantile(7, 10, math.inf, delta), expected, rtol=1e-12)


class TestSymbolic:
    def test_closed_cases_and_latex(self):
        assert ExtremeNorm(1, d, q) == GaussianNorm(d, q)
        assert ExtremeNorm(K, d, sp.oo) == GaussianNorm(K * d, sp.oo)
        assert ExtremeNorm(K, 1, q) == GaussianNorm(K, sp.oo)
        assert ExtremeNorm(K, 3, 1).evalf() == ExtremeNorm(K, 3, 1)
        assert mf.latex(ExtremeNorm(d, K, 3)) == r"\mathbb{E}\max_{j\le d}\lVert g_K^{(j)}\rVert_3"
        quantile = mf.latex(ExtremeNormQuantile(d, K, 3, sp.Rational(1, 2)))
        assert quantile == r"Q_{1-1/2}\left(\max_{j\le d}\lVert g_K^{(j)}\rVert_3\right)"

    @pytest.mark.parametrize("backend", ["numpy", "torch"])
    def test_kernels_agree_with_evalf(self, backend):
        delta = sp.Symbol("delta", positive=True)
        for head, more in ((ExtremeNorm, {}), (ExtremeNormQuantile, {"delta": 0.25})):
            values = mf.kernel(head(d, K, q, *([delta] if more else [])), backend)(
                K=[2, 5], d=[[4], [9]], q=3.0, **more
            )
            expected = [[float(head(n, k, 3.0, *more.values()).evalf()) for k in (2, 5)] for n in (4, 9)]
            assert np.allclose(values, expected, rtol=1e-15)
            assert isinstance(values, torch.Tensor if backend == "torch" else np.ndarray)

    @settings(max_examples=8, deadline=None, derandomize=True)
    @given(st.one_of(st.sampled_from([1.0, 2.0, math.inf]), st.floats(1, 12)), st.integers(1, 200), st.integers(1, 200))
    def test_the_route_lies_between_the_bounds_and_is_its_own_mirror(self, r, dim, rank):
        sizes = {"d": dim, "K": rank}
        low, exact, high = (
            float(mf.kernel(mf.beta(1, r, route))(**sizes)) for route in ("lower", "extremal", "chevet")
        )
        assert low <= exact * (1 + 1e-12)
        assert exact <= high * (1 + 1e-12)
        dual = math.inf if r == 1 else 1 if r == math.inf else r / (r - 1)
        mirror = float(mf.kernel(mf.beta(dual, "inf", "extremal"))(d=rank, K=dim))
        assert math.isclose(exact * math.sqrt(dim), mirror * math.sqrt(rank), rel_tol=1e-10)

    def test_the_route_s_quantile_is_below_the_bound(self):
        for p, r in ((1, 2), (3, "inf")):
            exact, bound = (
                float(mf.kernel(mf.beta_quantile(p, r, 0.05, route))(d=50, K=8)) for route in ("extremal", "chevet")
            )
            mean = float(mf.kernel(mf.beta(p, r, "extremal"))(d=50, K=8))
            assert mean < exact < bound
