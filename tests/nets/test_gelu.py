"""GELU's closed forms against quadrature in twenty digits, and the identity of Stein that they rest on."""

import math
from functools import lru_cache

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch
from scipy import special

import advmf as mf
from advmf.nets.activations.activation import times_inputs

Q, R, P = *sp.symbols("Q R", positive=True), sp.Symbol("P", real=True)
FORMULA = mf.Activation(mf.symbols.z * (1 + sp.erf(mf.symbols.z / sp.sqrt(2))) / 2)


@lru_cache
def exact(q, r, c):
    """E φ(a)φ(b) in twenty digits, by one quadrature over a. Given a, b has a mean m and a variance v, and E b Φ(b) is
    m Φ(m/s) + (v/s) φ(m/s) with s² = 1 + v."""
    q, r, c = map(mpmath.mpf, (q, r, c))
    v, root = r * (1 - c**2), mpmath.sqrt(q)
    s = mpmath.sqrt(1 + v)

    def weighted(a):
        m = c * mpmath.sqrt(r / q) * a
        given = m * mpmath.ncdf(m / s) + v / s * mpmath.npdf(m / s)
        return a * mpmath.ncdf(a) * given * mpmath.npdf(a / root) / root

    cuts = {x * root for x in (-14, -6, -3, -1, 0, 1, 3, 6, 14)} | {x for x in (-8, -3, -1, 1, 3, 8) if x < 14 * root}
    return mpmath.quad(weighted, sorted(cuts))


SIZES = [(1e-8, 1e-8), (1e-8, 1.0), (0.3, 2.0), (100.0, 100.0), (1e4, 1.0), (1e6, 1e6)]


@pytest.mark.parametrize("backend", ["numpy", "native", "torch"])
def test_the_kernel_keeps_twelve_digits_of_its_scale(backend):
    """The scale is the root of E φ(a)² E φ(b)²: 1e-12 of it, at all correlations and sizes."""
    f = mf.kernel(mf.Gelu().product(Q, R, P), backend=backend)
    cases = [(q, r, c * math.sqrt(q * r)) for q, r in SIZES for c in (1, 0.999999, 0.5, 0, -0.5, -0.999, -1)]
    array = (lambda values: torch.tensor(values, dtype=torch.float64)) if backend == "torch" else np.array
    copies = 100 if backend == "native" else 1  # native code runs from 1,024 numbers on
    found = f(**{name: array(list(column) * copies) for name, column in zip("QRP", zip(*cases))})
    with mpmath.workdps(20):
        for (q, r, p), value in zip(cases, map(float, found[: len(cases)])):
            wanted = exact(q, r, mpmath.mpf(p) / mpmath.sqrt(mpmath.mpf(q) * mpmath.mpf(r)))
            scale = mpmath.sqrt(exact(q, q, 1) * exact(r, r, 1))
            assert abs(value - wanted) < 1e-12 * scale, (q, r, p)
            assert abs(1.0001 * value - wanted) > 1e-12 * scale or abs(wanted) < 1e-8 * scale, "the control"


def test_the_closed_forms_are_those_of_the_formula():
    """Against the means by quadrature of the same formula, in twelve digits; and a net's kernels."""
    for name in ("mean", "second", "gain", "tilt", "overlap", "stretch"):
        closed, numeric = (getattr(phi, name)(Q) for phi in (mf.Gelu(), FORMULA))
        assert not closed.has(mf.functions.NormalMean) and numeric.has(mf.functions.NormalMean)
        at = np.array([1e-4, 0.5, 1.0, 30.0])
        np.testing.assert_allclose(mf.kernel(closed)(Q=at), mf.kernel(numeric)(Q=at), rtol=1e-12)
    point = {"L": 4, "x_sq": 1.0, "y_sq": 1.3, "c": 0.4, "sigma_w": 1.5, "sigma_b": 0.3}
    for derive in (mf.nngp, mf.ntk):
        closed, numeric = (mf.kernel(derive(mf.plain_residual(phi=phi))) for phi in (mf.Gelu(), FORMULA))
        point = {"L": 4, "x_sq": 1.0, "y_sq": 1.3, "c": 0.4, "sigma_w": 1.5, "sigma_b": 0.3, "N": 50, "d": 9}
        values = [f(**{name: point[name] for name in f.arguments}) for f in (closed, numeric)]
        assert values[0] == pytest.approx(values[1], rel=1e-12)
        assert values[0] != pytest.approx(closed(**{n: 1.01 * point[n] for n in closed.arguments if n != "L"}, L=4))


def test_the_name_gives_the_class():
    assert mf.Activation("gelu") == mf.Gelu() != FORMULA
    assert mf.from_json(mf.to_json(mf.linear_form(mf.vanilla(phi="gelu"))[0])).net == mf.vanilla(phi=mf.Gelu())


PAIRS = {  # the kernel of f and g, and both as functions of arrays
    "sin and exp": (sp.exp((R - Q) / 2) * sp.sin(P), np.sin, np.exp),
    "erf": (mf.Erf().product(Q, R, P), special.erf, special.erf),
    "cubes": (9 * Q * R * P + 6 * P**3, lambda a: a**3, lambda b: b**3),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_kernel_of_z_times_a_function_is_that_of_a_quadrature(name):
    """Stein's identity twice, for other functions than GELU's, by Gauss and Hermite's rule; every term is needed."""
    kernel, f, g = PAIRS[name]
    q, r, c = 0.7, 1.6, -0.6
    p = c * math.sqrt(q * r)
    nodes, weights = np.polynomial.hermite_e.hermegauss(90)
    a, b = math.sqrt(q) * nodes[:, None], math.sqrt(r) * (c * nodes[:, None] + math.sqrt(1 - c**2) * nodes)
    mean = weights[:, None] * weights / (2 * math.pi)
    at = {Q: q, R: r, P: p}
    assert float(kernel.subs(at)) == pytest.approx((mean * f(a) * g(b)).sum(), rel=1e-11), "the kernel itself"
    wanted = float((mean * a * b * f(a) * g(b)).sum())
    whole = times_inputs(kernel, Q, R, P)
    assert float(whole.subs(at)) == pytest.approx(wanted, rel=1e-10)
    for factor, moment in ((2 * Q * P, Q), (2 * P * R, R), (Q * R, P), (P**2, P)):
        left = float((whole - factor * kernel.diff(moment)).subs(at))
        assert left != pytest.approx(wanted, rel=1e-3), "the control: without one term"
    assert float((whole - P * kernel).subs(at)) != pytest.approx(wanted, rel=1e-3)
