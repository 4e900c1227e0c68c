"""Means over one and two Gaussians: closed forms, other people's quadrature, and what is refused."""

import math

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import special as scipy
from scipy import stats

import advmf as mf
from advmf.errors import AccuracyError, ArgumentError
from advmf.functions import NormalMean, PairMean, SpreadMean
from advmf.functions.curves import kinks, slope, smooth
from advmf.special import normal_mean, pair_mean, spread_mean
from advmf.symbols import z

VARIANCES = np.array([1e-8, 1e-3, 0.5, 1.0, 30.0, 1e4, 1e8])


def relu(a):
    return np.maximum(a, 0)


def zero():
    return (0.0,)


@pytest.mark.parametrize(
    ("f", "kinks", "wanted"),
    [
        (lambda a: scipy.erf(a) ** 2, tuple, lambda Q: 2 / np.pi * np.arcsin(2 * Q / (1 + 2 * Q))),
        (np.cos, tuple, lambda Q: np.exp(-Q / 2)),
        (lambda a: np.exp(-(a**2)), tuple, lambda Q: 1 / np.sqrt(1 + 2 * Q)),
        (lambda a: relu(a) ** 3, zero, lambda Q: np.sqrt(2 / np.pi) * Q**1.5),
        (lambda a: (a > 1.7) * 1.0, lambda: (1.7,), lambda Q: stats.norm.sf(1.7 / np.sqrt(Q))),
    ],
    ids=["erf", "cos", "exp", "relu", "step"],
)
def test_one_gaussian_against_closed_forms(f, kinks, wanted):
    chosen = VARIANCES[:5] if f is np.cos else VARIANCES
    chosen = chosen[chosen > 0.02] if wanted(np.array([1e-8])) == 0 else chosen
    np.testing.assert_allclose(normal_mean(f, kinks, chosen), wanted(chosen), rtol=1e-11, atol=1e-14)


def test_a_jump_that_is_not_told_is_felt():
    """The control of all of these: without its kinks a function settles badly, and that is said."""
    with pytest.raises(AccuracyError, match="settles to"):
        normal_mean(lambda a: (a > 1.7) * 1.0, tuple, 1.0)


@pytest.mark.parametrize("c", [-1.0, -0.9, 0.0, 0.3, 0.97, 1 - 1e-7, 1.0])
def test_two_gaussians_against_the_arcsine_and_the_arc_cosine(c):
    Q, R = VARIANCES[1:], VARIANCES[1:][::-1]
    P = c * np.sqrt(Q * R)
    arcsine = 2 / np.pi * np.arcsin(2 * P / np.sqrt((1 + 2 * Q) * (1 + 2 * R)))
    np.testing.assert_allclose(
        pair_mean(scipy.erf, scipy.erf, (tuple, tuple), Q, R, P), arcsine, rtol=1e-11, atol=1e-14
    )
    cosine = np.sqrt(Q * R) * (math.sqrt(1 - c * c) + (np.pi - math.acos(c)) * c) / (2 * np.pi)
    found = pair_mean(relu, relu, (zero, zero), Q, R, P)
    np.testing.assert_allclose(found, cosine, rtol=1e-10, atol=1e-12 * np.sqrt(Q * R).max() if c == -1 else 0)


def test_two_gaussians_against_a_plain_sum_over_the_plane():
    """Where there is no closed form: tanh with softplus, on a grid of the trapezoidal rule."""
    Q, R, c = 1.3, 0.6, 0.8
    x, y = np.meshgrid(np.linspace(-9, 9, 721), np.linspace(-9, 9, 721))
    density = np.exp(-(x**2 + y**2) / 2) / (2 * np.pi) * (18 / 720) ** 2
    b = math.sqrt(R) * (c * x + math.sqrt(1 - c * c) * y)
    wanted = float((np.tanh(math.sqrt(Q) * x) * np.logaddexp(0, b) * density).sum())
    found = pair_mean(np.tanh, lambda b: np.logaddexp(0, b), (tuple, tuple), Q, R, c * math.sqrt(Q * R))
    assert float(found) == pytest.approx(wanted, rel=1e-12)
    assert float(
        pair_mean(np.tanh, lambda b: np.logaddexp(0, b), (tuple, tuple), Q, R, 0.81 * math.sqrt(Q * R))
    ) != pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("D", [1e-16, 1e-9, 0.9e-3, 1.1e-3, 0.4, 5.0])
@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_the_spread_of_two_gaussians_against_that_of_sines(D, gap):
    """E (sin a - sin b)² = (1 - e^{-2Q})/2 + (1 - e^{-2R})/2 - e^{-(Q + R)/2} (e^P - e^{-P}), by mpmath."""
    Q, R = 1.7, 1.7 - gap * math.sqrt(D)
    with mpmath.workdps(50):
        q, r, d = map(mpmath.mpf, (Q, R, D))
        P = (q + r - d) / 2
        both = mpmath.exp(-(q + r) / 2) * (mpmath.exp(P) - mpmath.exp(-P))
        wanted = float(1 - (mpmath.exp(-2 * q) + mpmath.exp(-2 * r)) / 2 - both)
    found = float(spread_mean(np.sin, np.cos, (tuple, tuple), Q, R, D))
    close = 1e-11 if not gap else max(1e-11, 1e-15 / math.sqrt(D))  # a gap of variances is known to rounding
    assert found == pytest.approx(wanted, rel=close, abs=0)
    assert found != pytest.approx(1.001 * wanted, rel=1e-4, abs=0)


def test_a_spread_that_does_not_settle_says_so():
    with pytest.raises(AccuracyError, match="mean square of a difference settles to"):
        spread_mean(lambda a: np.sin(900 * a), lambda a: 900 * np.cos(900 * a), (tuple, tuple), 1.0, 1.0, 1e-4)
    assert SpreadMean.of(sp.Lambda(z, sp.Max(0, z)), *map(sp.Symbol, "QRD")).has(PairMean)
    assert spread_mean(np.sin, np.cos, (tuple, tuple), [0.0, 1.0], [0.0, 1.0], 0.0).tolist() == [0.0, 0.0]
    opposite = spread_mean(np.sin, np.cos, (tuple, tuple), [1e-6, 1.0], [1e-6, 1.0], [4e-6, 4.0])
    np.testing.assert_allclose(opposite, -2 * np.expm1(-2 * np.array([1e-6, 1.0])), rtol=1e-9)


def test_shapes_zeros_and_what_is_not_finite():
    assert normal_mean(np.cos, tuple, 0.0) == 1.0 and normal_mean(np.cos, tuple, np.zeros((0, 3))).shape == (0, 3)
    assert normal_mean(lambda a, s: np.cos(s * a), lambda s: (), np.ones((2, 1)), np.arange(3.0)).shape == (2, 3)
    assert np.isnan(normal_mean(np.cos, tuple, [math.nan, -1.0, math.inf])).all()
    assert pair_mean(np.cos, np.cos, (tuple, tuple), 0.0, 1.0, 0.0) == pytest.approx(math.exp(-0.5), rel=1e-12)
    assert np.isnan(pair_mean(np.cos, np.cos, (tuple, tuple), math.nan, 1.0, 0.0))


def test_what_is_out_of_reach_says_so():
    with pytest.raises(
        AccuracyError, match=r"grows so fast that a Gaussian of deviation up to 5 has .* beyond ten deviations"
    ):
        normal_mean(np.exp, tuple, 25.0)
    with pytest.raises(AccuracyError, match=r"settles to .* closed form"):
        normal_mean(lambda a: np.sin(3000 * a) ** 2, tuple, 100.0)
    with pytest.raises(ArgumentError, match="takes functions of one variable"):
        NormalMean(z**2, sp.Integer(1))
    with pytest.raises(ArgumentError, match="does not find where"):
        kinks(sp.Lambda(z, sp.Abs(sp.cos(z) - z)))


@pytest.mark.parametrize(
    "expr", [sp.tanh(z), sp.Max(0, z) * sp.exp(-z), sp.Abs(z - 1), sp.Piecewise((z, z > 0), (sp.exp(z) - 1, True))]
)
def test_means_are_closed_under_differentiation(expr):
    """Of one and of two Gaussians, in moments and in letters, against differences."""
    Q, R, P, s = *sp.symbols("Q R", positive=True), sp.Symbol("P", real=True), sp.Symbol("s", positive=True)
    f, g = sp.Lambda(z, expr.subs(z, s * z)), sp.Lambda(z, sp.cos(z) + z)
    at = {"Q": 0.8, "R": 1.4, "P": 0.4, "s": 1.2}
    means = [NormalMean(f, Q), PairMean(f, g, Q, R, P), PairMean(g, f, R, Q, P)]
    for mean in [mean for mean in means if mean != 0]:
        kernel = mf.kernel(mean, grad=[x.name for x in sorted(mean.free_symbols, key=str)])
        _, slopes = kernel(**{name: at[name] for name in kernel.arguments})
        for name, found in slopes.items():
            ends = []
            for sign in (1, -1):
                value, _ = kernel(**{n: at[n] * (1 + sign * 1e-5 * (n == name)) for n in kernel.arguments})
                ends.append(float(value))
            assert float(found) == pytest.approx((ends[0] - ends[1]) / (2e-5 * at[name]), rel=1e-6, abs=1e-9), (
                mean,
                name,
            )


def test_functions_know_their_slope_and_kinks():
    f = sp.Lambda(z, sp.Max(0, z) + sp.Abs(z - 2))
    assert kinks(f) == (0, 2) and not smooth(f) and smooth(sp.Lambda(z, sp.tanh(z)))
    assert [slope(f)(x) for x in (-1, 1, 3)] == [-1, 0, 2]
    assert kinks(sp.Lambda(z, sp.Max(-1, sp.Min(1, z)))) == (-1, 1)


def test_means_go_through_files_and_substitution():
    """Bound variables are no letters of a formula; moments and parameters are."""
    Q, a = sp.symbols("Q a", positive=True)
    mean = NormalMean(sp.Lambda(z, sp.tanh(a * z) ** 2), Q)
    assert mean.free_symbols == {Q, a} and mean.subs(z, 3) == mean
    assert mean.subs({a: 2, Q: 1}) == NormalMean(sp.Lambda(z, sp.tanh(2 * z) ** 2), 1)
    assert float(mean.subs({a: 2, Q: 1}).evalf()) == pytest.approx(float(mf.kernel(mean)(a=2.0, Q=1.0)), rel=1e-14)
    assert "tanh" in mf.latex(mean) and "mathcal" in mf.latex(mean)


@pytest.mark.parametrize("w", [5, 30, 100, 200])
@pytest.mark.parametrize("c", [0.5, 0.9, 0.9999])
def test_a_product_of_fast_waves_is_right_or_refused(w, c):
    """E sin(wa) sin(wb) is known; a series of few terms, or of coefficients by too few points, would miss it."""
    exact = (math.exp(-w * w * (1 - c)) - math.exp(-w * w * (1 + c))) / 2
    wave = lambda a: np.sin(w * a)  # noqa: E731
    try:
        found = float(pair_mean(wave, wave, (tuple, tuple), 1.0, 1.0, c))
    except AccuracyError:
        assert w >= 30, "five waves are few enough"
        return
    assert found == pytest.approx(exact, rel=1e-10, abs=1e-14)


def test_no_number_comes_of_what_is_none():
    """A function without values somewhere: neither rule may take NaN for settled."""
    hole = lambda a: np.where(np.abs(a) < 0.1, math.nan, 1.0)  # noqa: E731
    for mean in (lambda: normal_mean(hole, tuple, 1.0), lambda: pair_mean(hole, hole, (tuple, tuple), 1.0, 1.0, 0.5)):
        with pytest.raises(AccuracyError):
            mean()
