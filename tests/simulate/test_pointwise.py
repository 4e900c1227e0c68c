"""An activation on tensors: differences keep their digits, whatever their size, and slopes are derivatives."""

from dataclasses import replace

import mpmath
import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.nets.activations.formula import NAMED
from advmf.simulate.pointwise import WIDEST as NEAR
from advmf.simulate.pointwise import Function, Smooth
from advmf.symbols import z

A = sp.Symbol("a", positive=True)
FORMULAS = {
    **{name: mf.Activation(name).phi(z) for name in NAMED if name != "linear"},
    "a letter": A * sp.tanh(z),
    "steep": sp.tanh(100 * z) / 100,
    "steep elsewhere": sp.erf(20 * z - 10) / 20,
}
every_formula = pytest.mark.parametrize("phi", FORMULAS.values(), ids=FORMULAS)


def of(phi):
    return Smooth.of(phi, lambda expr: float(expr.subs(A, 0.7)))


@every_formula
@pytest.mark.parametrize("size", [1e-14, 1e-7, 1e-3, 0.9 * NEAR, 1.1 * NEAR, 2.0])
def test_a_difference_has_the_digits_of_itself(phi, size):
    """Against 40 digits of mpmath, next to kinks and across them, in units of the largest slope times the step."""
    exact = sp.lambdify(z, phi.subs(A, sp.Rational(7, 10)), "mpmath")
    points = torch.cat([torch.linspace(-3, 3, 61, dtype=torch.float64), torch.tensor([0.0, 1 - size / 3, size / 2])])
    function = of(phi)
    prepared = function.prepared(points)
    for sign in (1, -1):
        delta = torch.full_like(points, sign * size)
        found, kept = function.difference(prepared, delta)
        with mpmath.workdps(40):
            wanted = [
                float(exact(mpmath.mpf(x) + mpmath.mpf(d)) - exact(mpmath.mpf(x)))
                for x, d in zip(points.tolist(), delta.tolist())
            ]
        # A plain difference has the rounding of its values, and next to a kink at 1 a point has that of 1.
        unit = 3 * size * 2e-15 + (1e-15 if size > function.near else 0) + (2.3e-16 if any(function.kinks) else 0)
        assert float((found - torch.tensor(wanted, dtype=torch.float64)).abs().max()) < unit
        torch.testing.assert_close(function.moved(prepared, kept), points + delta)
    plain = function.value(points + size) - function.value(points)
    with mpmath.workdps(40):
        wanted = [float(exact(mpmath.mpf(x) + mpmath.mpf(size)) - exact(mpmath.mpf(x))) for x in points.tolist()]
    if size < 1e-6 and not function.kinks and function.near == NEAR:
        assert float((plain - torch.tensor(wanted, dtype=torch.float64)).abs().max()) > 1e-10 * size, (
            "the control: a plain difference cancels"
        )


@every_formula
def test_a_tangent_is_the_derivative(phi):
    function, x = of(phi), torch.linspace(-3, 3, 60, dtype=torch.float64)
    t = torch.randn(60, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h = 1e-6
    numeric = (function.value(x + h) - function.value(x - h)) / (2 * h) * t
    torch.testing.assert_close(function.tangent(x, t), numeric, rtol=1e-7, atol=1e-8)


def test_relu_by_its_formula_is_relu():
    """The override for two slopes against the default, in networks of the same seed."""
    general = mf.Activation(sp.Piecewise((z, z >= 0), (z / 5, True)))
    x, eta = torch.ones(6, dtype=torch.float64), 1e-9 * torch.ones(2, 6, 1, 1, dtype=torch.float64)
    sizes = {"N": 30, "L": 3, "d": 6, "K": 4, "nets": 2, "sigma_w": 1.1, "sigma_b": 0.3, "dtype": torch.float64}
    made = []
    for net in (mf.residual(1, "1/5"), mf.residual(phi=general)):
        ensemble = mf.simulate.sample(net, **sizes, generator=torch.Generator().manual_seed(3))
        trace = next(ensemble.traces(x))
        made.append((trace.output, trace.jacobian(), trace.shift(eta).output))
    for one, other in zip(*made):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-22)
    assert isinstance(mf.ReLULike(1, 0).tensors(float), Function) and mf.Erf().tensors(float) is None


def test_single_precision_stays_single():
    function = of(sp.tanh(z))
    x = torch.linspace(-2, 2, 9)
    difference, _ = function.difference(function.prepared(x), torch.full((9,), 1e-6))
    assert {y.dtype for y in (function.value(x), function.tangent(x, x), difference)} == {torch.float32}
    torch.testing.assert_close(difference, 1e-6 / torch.cosh(x) ** 2, rtol=1e-5, atol=0)


def test_a_steep_function_has_shorter_ways():
    """A hundred times as steep: four points over the usual way miss what happens on it, the control."""
    function, x = of(FORMULAS["steep"]), torch.linspace(-0.05, 0.05, 201, dtype=torch.float64)
    assert function.near < NEAR / 50
    step = torch.full_like(x, 0.8 * NEAR)
    exact = function.value(x + step) - function.value(x)
    for found, wrong in ((function, False), (replace(function, near=NEAR), True)):
        error = (found.difference(found.prepared(x), step)[0] - exact).abs().max()
        assert bool(error > 1e-6) is wrong
