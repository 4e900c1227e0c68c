"""Means over Gaussians in native code: the tests of tests/test_gaussian_means.py, and NumPy's numbers."""

import ctypes

import numpy as np
import pytest
import sympy as sp
from scipy import special as scipy
from scipy import stats

import advmf as mf
from advmf.emit.engine import cores, native, native_means
from advmf.emit.engine.grid import FEW
from advmf.errors import AccuracyError
from advmf.functions import NormalMean, PairMean
from advmf.nets.activations.formula import NAMED
from advmf.symbols import z

pytestmark = pytest.mark.skipif(not native.available(), reason=native.native_support())

Q, R = sp.symbols("Q R", positive=True)
P, s = sp.symbols("P s", real=True)
VARIANCES = np.array([1e-8, 1e-3, 0.5, 1.0, 30.0, 1e4, 1e8])
ACTIVATIONS = [name for name, formula in NAMED.items() if isinstance(formula, sp.Expr)]


def lam(expr):
    return sp.Lambda(z, expr)


def column(mean, monkeypatch, **moments):
    """The values of native code, in the fewest copies for which it can be used; NumPy must not be asked."""
    copies = -(-FEW // len(moments["Q"]))
    full = {name: np.tile(values, copies) for name, values in moments.items()}
    with monkeypatch.context() as patch:
        patch.setattr(native, "WORTH", FEW)
        patch.setattr(type(mean.head), "numbers", None)
        found = mf.kernel(mean, "native")(**full)
    assert np.array_equal(found, np.tile(found[: len(moments["Q"])], copies))
    return found[: len(moments["Q"])]


@pytest.mark.parametrize(
    ("expr", "wanted"),
    [
        (sp.erf(z) ** 2, lambda Q: 2 / np.pi * np.arcsin(2 * Q / (1 + 2 * Q))),
        (sp.cos(z), lambda Q: np.exp(-Q / 2)),
        (sp.exp(-(z**2)), lambda Q: 1 / np.sqrt(1 + 2 * Q)),
        (sp.Max(0, z) ** 3, lambda Q: np.sqrt(2 / np.pi) * Q**1.5),
        (sp.Heaviside(z - sp.Rational(17, 10)), lambda Q: stats.norm.sf(1.7 / np.sqrt(Q))),
    ],
    ids=["erf", "cos", "exp", "relu", "step"],
)
def test_one_gaussian_against_closed_forms(expr, wanted, monkeypatch):
    chosen = VARIANCES[:5] if expr == sp.cos(z) else VARIANCES
    chosen = chosen[chosen > 0.02] if wanted(np.array([1e-8])) == 0 else chosen
    found = column(NormalMean(lam(expr), Q), monkeypatch, Q=chosen)
    np.testing.assert_allclose(found, wanted(chosen), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("c", [-1.0, -0.9, 0.3, 0.97, 1 - 1e-7, 1.0])
def test_two_gaussians_against_the_arcsine_and_the_arc_cosine(c, monkeypatch):
    one, two = VARIANCES[1:], VARIANCES[1:][::-1]
    both = c * np.sqrt(one * two)
    arcsine = 2 / np.pi * np.arcsin(2 * both / np.sqrt((1 + 2 * one) * (1 + 2 * two)))
    found = column(PairMean(lam(sp.erf(z)), lam(sp.erf(z)), Q, R, P), monkeypatch, Q=one, R=two, P=both)
    np.testing.assert_allclose(found, arcsine, rtol=1e-11, atol=1e-14)
    cosine = np.sqrt(one * two) * (np.sqrt(1 - c * c) + (np.pi - np.arccos(c)) * c) / (2 * np.pi)
    relu = lam(sp.Max(0, z))
    found = column(PairMean(relu, relu, Q, R, P), monkeypatch, Q=one, R=two, P=both)
    np.testing.assert_allclose(found, cosine, rtol=1e-10, atol=1e-12 * np.sqrt(one * two).max() if c == -1 else 0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_numbers_and_slopes_of_every_activation_are_those_of_numpy(name):
    f, random = lam(NAMED[name]), np.random.default_rng(0)
    values = {"Q": np.exp(random.uniform(-6, 3, 12)), "R": np.exp(random.uniform(-6, 3, 12))}
    values["P"] = random.uniform(-1, 1, 12) * np.sqrt(values["Q"] * values["R"])
    for mean in (NormalMean(lam(NAMED[name] ** 2), Q), PairMean(f, lam(sp.cos(z) + z), Q, R, P)):
        names = [symbol.name for symbol in sorted(mean.free_symbols, key=str)]
        ours = mf.kernel(mean, "native", grad=names)(**{k: np.tile(values[k], 30) for k in names})
        theirs = mf.kernel(mean, "numpy", grad=names)(**{k: values[k] for k in names})
        for found, wanted in ((ours[0], theirs[0]), *((ours[1][k], theirs[1][k]) for k in names)):
            np.testing.assert_allclose(found[:12], wanted, rtol=1e-12, atol=1e-12 * np.abs(theirs[0]).max())


def test_a_recursion_through_a_mean_runs_in_native_code(monkeypatch):
    second = mf.moments(mf.vanilla(phi="tanh")).Q
    at = {"L": 6, "x_sq": np.linspace(0.1, 3, 300), "sigma_w": 1.4, "sigma_b": 0.2}
    wanted = mf.kernel(second, "numpy")(**at)
    asked = []
    monkeypatch.setattr(native_means, "_numbers", lambda head, run, *x: asked.append(head) or head.numbers(*x))
    native_means._mean.cache_clear()
    np.testing.assert_allclose(mf.kernel(second, "native")(**at), wanted, rtol=1e-12)
    native_means._mean.cache_clear()
    assert asked


def test_parameters_and_kinks_that_depend_on_them(monkeypatch):
    mean = NormalMean(lam(sp.Max(z, s) * sp.exp(-s * z / 9)), Q)
    at = {"Q": np.array([0.3, 2.0, 9.0]), "s": np.array([-1.2, 0.0, 0.7])}
    np.testing.assert_allclose(column(mean, monkeypatch, **at), mf.kernel(mean, "numpy")(**at), rtol=1e-12)


def test_a_jump_that_is_not_told_is_felt(monkeypatch):
    """The control: without its kinks every element of a jump fails the test of accuracy, for one and two Gaussians."""
    jump = lam(sp.Heaviside(z - sp.Rational(17, 10)))
    for mean, moments in ((NormalMean(jump, Q), 1), (PairMean(jump, jump, Q, R, P), 3)):
        for told in (True, False):
            with monkeypatch.context() as patch:
                if not told:
                    patch.setattr(native_means, "kinks", lambda f: ())
                code = native_means.source(mean.head)
            run = native.built(code, [ctypes.c_long] * 2 + [ctypes.c_void_p] * 3)
            asked = Asked()
            native_means._numbers(asked, run, *[np.full(5, v) for v in (1.0, 1.3, 0.8)[:moments]])
            assert asked.sizes == ([] if told else [5])


class Asked:
    """A mean that remembers how many elements NumPy was asked for."""

    def __init__(self):
        self.sizes = []

    def numbers(self, *arrays):
        self.sizes.append(arrays[0].size)
        return arrays[0]


def test_what_native_code_cannot_do_is_done_by_numpy_or_told():
    at = np.linspace(0.5, 2, 300)
    bessel = NormalMean(lam(sp.besselj(0, z)), Q)
    assert native_means.source(bessel.head) is None
    found = mf.kernel(bessel, "native")(Q=at)
    np.testing.assert_allclose(found, np.exp(-at / 4) * scipy.iv(0, at / 4), rtol=1e-11)
    zero = sp.Symbol("Q", nonnegative=True)
    zeros = mf.kernel(NormalMean(lam(sp.tanh(z) ** 2 + 1), zero), "native")(Q=np.where(at < 1, 0.0, at))
    assert (zeros[at < 1] == 1).all() and (zeros[at >= 1] > 1.2).all()
    for expr, words in ((sp.exp(z), "grows so fast"), (sp.sin(3000 * z) ** 2, r"settles to .* closed form")):
        with pytest.raises(AccuracyError, match=words):
            mf.kernel(NormalMean(lam(expr), Q), "native")(Q=np.full(300, 100.0))


def test_cores_share_the_work(monkeypatch):
    mean, at = NormalMean(lam(sp.tanh(z) ** 2), Q), {"Q": np.linspace(0.1, 5, 3001)}
    alone = mf.kernel(mean, "native")(**at)
    monkeypatch.setattr(cores, "SHARED", 0)
    monkeypatch.setattr(cores, "threads", lambda: 3)
    assert np.array_equal(mf.kernel(mean, "native")(**at), alone)
