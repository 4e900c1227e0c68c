"""The Gaussian norm and its relatives against closed forms, quadratures of other formulas, sampling and differences."""

from __future__ import annotations

import math
import tracemalloc

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from advmf.emit.kernels import kernel
from advmf.errors import DomainError
from advmf.functions import GaussianNorm
from advmf.special import (
    arc_cosine,
    arc_cosine_rest,
    arc_cosine_rest_slope,
    chi_mean,
    gaussian_norm,
    gaussian_vectors,
    log_gamma_ratio,
    spectral,
    spectral_norm,
)
from advmf.symbols import d, q

torch_norm = kernel(GaussianNorm(d, q), "torch")
EXPONENTS = [1, 1 + 1e-9, 1 + 1e-6, 1.01, 1.3, 1.999, 2, 2.5, 3, 7.5, 40, 300, 5000, 1e5, 1e12, 1e300, math.inf]


def tensor(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def pair(r):
    """E‖g‖_r for n = 2 in polar coordinates, in 30 digits: sqrt(pi/2) times the mean over angles."""
    with mpmath.workdps(30):
        r = mpmath.mpf(r)

        def radius(angle):
            tangent = mpmath.tan(angle) if angle > 0 else mpmath.mpf(0)
            return mpmath.cos(angle) * mpmath.exp(mpmath.log1p(tangent**r) / r) if r < mpmath.inf else mpmath.cos(angle)

        corner = mpmath.pi / 4
        cuts = [0, *(corner - mpmath.mpf(2) ** -k for k in range(1, 24)), corner]
        return mpmath.sqrt(mpmath.pi / 2) / corner * mpmath.quad(radius, cuts if r > 50 else [0, corner / 2, corner])


@pytest.mark.parametrize("r", EXPONENTS)
def test_two_variables(r):
    assert math.isclose(gaussian_norm(2, r), pair(r if r < 1e9 else math.inf), rel_tol=2e-15)


@pytest.mark.parametrize("r", EXPONENTS)
def test_one_variable(r):
    assert math.isclose(gaussian_norm(1, r), math.sqrt(2 / math.pi), rel_tol=1e-15)


@pytest.mark.parametrize("n", [1.5, 3, 10, 784, 1e5, 1e7, 1e10])
def test_the_quadrature_against_closed_forms(n):
    """Asking for the derivative in r sends r = 1, 2 and oo through the general rule."""
    general = torch_norm(d=n, q=tensor([1.0, 2.0, math.inf])).detach().numpy()
    half = mpmath.mpf(n) / 2
    with mpmath.workdps(30):
        chi = mpmath.sqrt(2) * mpmath.exp(mpmath.loggamma(half + 0.5) - mpmath.loggamma(half))
        largest = mpmath.quad(
            lambda z: -mpmath.expm1(n * mpmath.log1p(-mpmath.erfc(z / mpmath.sqrt(2)))) if z > 0 else mpmath.mpf(1),
            [0, 0.5, 1, 2, 3, 4, 5, 6, 7, 8, 10, 20],
        )
    exact = [n * math.sqrt(2 / math.pi), float(chi), float(largest)]
    assert np.allclose(general, exact, rtol=1e-14, atol=0)
    assert np.allclose(gaussian_norm(n, [1, 2, math.inf]), exact, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("n", "r"), [(3, 3), (10, 2.5), (50, 6)])
def test_against_the_quadrature_of_another_formula(n, r):
    """E‖g‖_r = 1/Gamma(1 - 1/r) * Integral 1 - (E exp(-(|g|/z)**r))**n dz."""

    def outside(z):
        density = lambda x: math.sqrt(2 / math.pi) * math.exp(-x * x / 2)  # noqa: E731
        missing = integrate.quad(lambda x: -math.expm1(-((x / z) ** r)) * density(x), 0, 40, points=[z], limit=200)[0]
        return -math.expm1(n * math.log1p(-missing))

    pieces = [integrate.quad(outside, *ends, epsabs=1e-11, epsrel=1e-11)[0] for ends in ((1e-9, 2), (2, 9), (9, 200))]
    moment = 2 ** (r / 2) * math.gamma((r + 1) / 2) / math.sqrt(math.pi)
    reference = (sum(pieces) + n * moment * 200 ** (1 - r) / (r - 1)) / math.gamma(1 - 1 / r)
    assert math.isclose(gaussian_norm(n, r), reference, rel_tol=1e-6)


@pytest.mark.parametrize(("n", "r"), [(10, 1.2), (10, 4), (300, 1.7), (300, 12)])
def test_against_sampling(n, r):
    norms = (np.abs(np.random.default_rng(0).standard_normal((20_000, n))) ** r).sum(1) ** (1 / r)
    # Six standard errors: a false alarm in 2e-9 of seeds. A wrong r of 5 % must be seen.
    error = 6 * norms.std() / math.sqrt(norms.size)
    assert abs(gaussian_norm(n, r) - norms.mean()) < error
    assert abs(gaussian_norm(n, 1 + (r - 1) * 1.05) - norms.mean()) > error / 3


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.floats(1, 1e6), st.floats(1, 60), st.floats(1e-3, 1))
def test_norms_decrease_in_the_exponent_and_increase_in_the_dimension(n, r, step):
    values = gaussian_norm([n, n, n + step], [r, r + step, r])
    assert values[1] <= values[0] * (1 + 1e-14)
    assert values[2] >= values[0] * (1 - 1e-14)
    assert values[0] <= float(
        n ** (1 / r) * math.sqrt(2) * math.exp((math.lgamma((r + 1) / 2) - math.lgamma(0.5)) / r)
    ) * (1 + 1e-13)


@pytest.mark.parametrize("n", [2, 10, 784])
def test_continuity_at_the_ends(n):
    first, second = gaussian_norm(n, math.inf) - gaussian_norm(n, [1e4, 1e5])
    assert first < 0
    assert math.isclose(first / second, 100, rel_tol=0.05)
    slope = np.diff(gaussian_norm(n, [1, 1 + 1e-6, 1 + 2e-6])) / 1e-6
    assert math.isclose(*slope, rel_tol=1e-4)


class TestDerivatives:
    @pytest.mark.parametrize("r", [1.0, 1.4, 2.0, 3.0, 12.0, math.inf])
    @pytest.mark.parametrize("n", [1.0, 2.0, 40.0, 784.0])
    def test_in_the_dimension(self, n, r):
        at = tensor(n)
        (slope,) = torch.autograd.grad(torch_norm(d=at, q=r), at)
        h = 1e-4 * n
        low, middle, high = gaussian_norm([n, n + h, n + 2 * h], r)
        assert math.isclose(float(slope), (4 * middle - 3 * low - high) / (2 * h), rel_tol=1e-6)
        if r == 2:
            exact = chi_mean(n) * (mpmath.digamma((n + 1) / 2) - mpmath.digamma(n / 2)) / 2
            assert math.isclose(float(slope), float(exact), rel_tol=1e-12)

    @pytest.mark.parametrize("r", [1.0, 1.4, 2.0, 3.0, 12.0])
    @pytest.mark.parametrize("n", [2.0, 40.0, 784.0])
    def test_in_the_exponent(self, n, r):
        at = tensor(r)
        (slope,) = torch.autograd.grad(torch_norm(d=n, q=at), at)
        h = 1e-4
        low, middle, high = gaussian_norm(n, [r, r + h, r + 2 * h])
        assert math.isclose(float(slope), (4 * middle - 3 * low - high) / (2 * h), rel_tol=1e-5)

    def test_together_and_at_infinity(self):
        n, r = tensor([[5.0], [9.0]]), tensor([1.0, 2.0, 3.0, math.inf])
        slopes = torch.autograd.grad(torch_norm(d=n, q=r).sum(), (n, r))
        assert all(torch.isfinite(slope).all() for slope in slopes)
        assert float(slopes[1][3]) == 0
        one = tensor(9.0)
        parts = [torch.autograd.grad(torch_norm(d=one, q=e), one)[0] for e in (1.0, 2.0, 3.0, math.inf)]
        assert math.isclose(float(slopes[0][1, 0]), float(sum(parts)), rel_tol=1e-12)


class TestArrays:
    def test_shapes(self):
        assert isinstance(gaussian_norm(3, 1.5), np.float64)
        assert gaussian_norm([[1], [2]], [1, 2, 3]).shape == (2, 3)
        assert gaussian_norm([], 2).shape == (0,)
        assert gaussian_norm(2, 2).shape == ()

    def test_outside_the_domain(self):
        values = gaussian_norm([0.5, 2, 2, 2, math.nan, 2, -3, math.inf], [2, 0.9, 0, -1, 2, math.nan, 2, 3])
        assert np.isnan(values[:-1]).all()
        assert values[-1] == math.inf

    def test_equal_pairs_are_evaluated_once(self, monkeypatch):
        calls = []
        rule = gaussian_vectors._quadrature
        monkeypatch.setattr(gaussian_vectors, "_quadrature", lambda n, a, ops: calls.append((n, a)) or rule(n, a, ops))
        gaussian_vectors._remembered.cache_clear()  # of what other tests asked
        n, r = np.array([10, 20, 10] * 50), np.array([3, 3, 1.5] * 50)
        values = gaussian_norm(n, r)
        assert len(calls) == 3
        assert values[:3].tolist() == [gaussian_norm(*pair) for pair in ((10, 3), (20, 3), (10, 1.5))]
        kernel(GaussianNorm(d, q), "torch")(d=torch.tensor(n), q=torch.tensor(r))
        assert len(calls) == 3, "and are remembered, for torch as well"

    def test_large_arrays_take_bounded_memory(self):
        random = np.random.default_rng(0)
        n, r = random.uniform(1, 1e6, 20_000), random.choice([1, 2, math.inf], 20_000)
        tracemalloc.start()
        values = gaussian_norm(n, r)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 60e6
        index = int(np.argmax(r == math.inf))
        assert math.isclose(values[index], gaussian_norm(n[index], math.inf), rel_tol=1e-14)
        assert np.allclose(values[r == 1], n[r == 1] * math.sqrt(2 / math.pi), rtol=1e-15)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.one_of(
        st.floats(-1, 1), st.builds(lambda sign, k: sign * (1 - 2.0**-k), st.sampled_from([-1, 1]), st.integers(1, 54))
    )
)
def test_arc_cosine(c):
    with mpmath.workdps(60):
        exact = (mpmath.sqrt(1 - mpmath.mpf(c) ** 2) + (mpmath.pi - mpmath.acos(c)) * c) / mpmath.pi
    assert math.isclose(arc_cosine(c), float(exact), rel_tol=5e-15)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.one_of(st.floats(0, 2), st.builds(lambda k: 10.0**-k, st.floats(0, 200)), st.just(2.0)))
def test_what_the_arc_cosine_kernel_has_above_its_tangent(delta):
    with mpmath.workdps(500):
        c = 1 - mpmath.mpf(delta)
        angle = mpmath.acos(c)
        rest, slope = (mpmath.sin(angle) - angle * c) / mpmath.pi, angle / mpmath.pi
    assert math.isclose(arc_cosine_rest(delta, 0.0), float(rest), rel_tol=5e-15, abs_tol=1e-300)
    assert math.isclose(arc_cosine_rest_slope(delta, 0.0), float(slope), rel_tol=5e-15)


def test_a_difference_within_rounding_is_none():
    assert arc_cosine_rest_slope(0.3 * (1 + 2.0**-51), 0.3) == 0 == arc_cosine_rest_slope(0.3 * (1 - 2.0**-51), 0.3)
    assert arc_cosine_rest_slope(0.3 * (1 + 2.0**-40), 0.3) > 0
    assert math.isnan(arc_cosine_rest(0.1, 0.3)) and math.isnan(arc_cosine_rest_slope(2.1, 0.0))


class TestGammaRatio:
    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.floats(1e-3, 1e12), st.floats(-5, 20))
    def test_against_mpmath(self, x, h):
        if x + h < 1e-3:
            return
        with mpmath.workdps(60):
            exact = mpmath.loggamma(mpmath.mpf(x) + mpmath.mpf(h)) - mpmath.loggamma(mpmath.mpf(x))
        size = abs(math.lgamma(x)) + abs(math.lgamma(x + h)) if x < 25 else 40 + abs(float(exact))
        assert abs(log_gamma_ratio(x, h) - float(exact)) < 3e-15 * (1 + size)

    def test_arrays_and_the_seam_of_the_series(self):
        x = np.array([19.999, 20.0, 20.001, 1e300])
        exact = [float(mpmath.sqrt(2) * mpmath.gammaprod([z / 2 + 0.5], [z / 2])) for z in 2 * x[:3]]
        assert np.allclose(chi_mean(2 * x[:3]), exact, rtol=1e-14, atol=0)
        assert math.isclose(chi_mean(x)[3], 1e150, rel_tol=1e-12)


class TestSpectralNorm:
    @pytest.mark.parametrize("n", [1, 2, 7, 784, 10**6])
    def test_one_row_is_a_chi_variable(self, n):
        for r in (1, 3, 0.5):
            exact = mpmath.mpf(2) ** (r / 2) * mpmath.gammaprod([(n + r) / mpmath.mpf(2)], [n / mpmath.mpf(2)])
            assert math.isclose(spectral_norm(1, n, r), exact, rel_tol=1e-13)

    @pytest.mark.parametrize("n", [2, 3, 8])
    @pytest.mark.parametrize("r", [1, 3])
    def test_two_rows_by_quadrature(self, n, r):
        def density(b, a):
            return (a * b) ** (n - 2) * math.exp(-(a * a + b * b) / 2) * (a * a - b * b)

        def moment(k):
            integrand = lambda b, a: a**k * density(b, a)  # noqa: E731
            return integrate.dblquad(integrand, 0, 20, 0, lambda a: a, epsabs=1e-12, epsrel=1e-11)[0]

        assert math.isclose(spectral_norm(2, n, r), moment(r) / moment(0), rel_tol=1e-10)

    @pytest.mark.parametrize(("rows", "columns"), [(10, 64), (7, 4), (5, 5)])
    def test_against_sampling(self, rows, columns):
        """4.5 standard errors, a false alarm in 7e-6 of seeds; one column more is told apart."""
        draws = 20_000 if rows == 10 else 60_000
        s = np.linalg.norm(np.random.default_rng(0).standard_normal((draws, rows, columns)), 2, axis=(1, 2))
        for r in (1, 3):
            error = 4.5 * (s**r).std() / math.sqrt(draws)
            assert abs(spectral_norm(rows, columns, r) - (s**r).mean()) < error
            assert abs(spectral_norm(rows, columns + 1, r) - (s**r).mean()) > error

    @pytest.mark.parametrize(("rows", "columns"), [(9, 30), (50, 784), (51, 51)])
    def test_another_quadrature_gives_the_same(self, rows, columns, monkeypatch):
        value = spectral_norm(rows, columns, [1, 3])
        spectral._largest_singular_value.cache_clear()
        spectral._spectral_moment.cache_clear()
        monkeypatch.setattr(spectral, "_ORDER", 21)
        monkeypatch.setattr(spectral, "_REACH", 11.0)
        again = spectral_norm(rows, columns, [1, 3])
        spectral._largest_singular_value.cache_clear()
        spectral._spectral_moment.cache_clear()
        assert np.allclose(value, again, rtol=1e-12, atol=0)
        assert not np.array_equal(value, again)

    def test_the_approximation_joins_on(self):
        for columns, bound in ((128, (2e-4, 6e-4)), (1000, (3e-5, 1e-4))):
            for r, limit in zip((1, 3), bound):
                exact, approximate = spectral_norm(128, columns, r), spectral._tracy_widom_moment(128, columns, r)
                assert limit / 50 < abs(approximate / exact - 1) < limit
        assert 0.9 < (spectral_norm(300, 500, 3) / spectral_norm(300, 500, 1) - 800) / 2 / math.sqrt(150_000) < 1

    def test_arrays_symmetry_and_errors(self):
        assert spectral_norm([[3], [4]], [5, 6, 3], 1).shape == (2, 3)
        assert spectral_norm(3, 5, 1) == spectral_norm(5, 3, 1)
        assert isinstance(spectral_norm(3, 5, 1), np.float64)
        for bad in ((0, 3, 1), (2.5, 3, 1), (3, math.inf, 1), (math.nan, 3, 1), (3, 3, 0)):
            with pytest.raises(DomainError, match=r"got [Kdr] = "):
                spectral_norm(*bad)
