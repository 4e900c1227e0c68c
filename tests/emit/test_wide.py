"""Formulas whose parts leave the range of floats where the whole does not: every function that kernels know, on every
engine."""

import mpmath
import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.emit.engine.arrays_numpy import NumPy

X = sp.Symbol("x", real=True)

CASES = {
    "a tail": (sp.exp(X**2) * sp.erfc(X), (5.0, 24.9, 25.1, 26.4, 27.0, 30.0, 1000.0)),
    "a tail beside one": (1 + sp.exp(X**2) * sp.erfc(X), (5.0, 27.0, 30.0)),
    "a ratio of tails": (sp.erfc(X) / sp.erfc(X + sp.Rational(1, 8)), (-30.0, 3.0, 26.5, 40.0, 500.0)),
    "hyperbolic ratio": (sp.sinh(X) / sp.cosh(X), (-900.0, -1e-5, 1e-5, 19.9, 20.1, 710.5, 800.0, 1e9)),
    "hyperbolic against powers": (1 + sp.cosh(X) ** 2 / sp.exp(2 * X), (-0.5, 400.0, 1e5)),
    "Langevin": (sp.cosh(X) / sp.sinh(X) - 1 / X, (5.0, 720.0, 1e6)),
    "difference of tanh": (sp.tanh(sp.exp(X)) * sp.exp(-X), (-1000.0, -3.0, 1.0)),
    "inverse hyperbolic": (sp.asinh(sp.exp(X)) + sp.acosh(sp.cosh(X) + sp.exp(X)), (3.0, 400.0, 1000.0)),
    "small sine": (sp.sin(sp.exp(X)) / sp.exp(X), (-1000.0, -400.0, -3.0)),
    "small error function": (sp.erf(sp.exp(X)) / sp.tan(sp.exp(X)), (-1000.0, -300.0, -3.0)),
    "small inverses": (
        sp.asin(sp.exp(X)) * sp.atanh(sp.exp(X)) / sp.atan(sp.exp(X)) / sp.asinh(sp.exp(X)),
        (-900.0, -300.0, -3.0),
    ),
    "angle": (sp.atan2(sp.exp(X), 3 * sp.cosh(X)), (-1000.0, 5.0, 1000.0)),
    "floor": (sp.floor(sp.exp(X)) / sp.exp(X), (5.0, 600.0, 1000.0)),
    "gamma ratio far apart": (sp.gamma(X + sp.Rational(201, 2)) / sp.gamma(X) / X**100, (3.0, 200.0, 1e4)),
    "binomial": (sp.gamma(2 * X) / sp.gamma(X) ** 2 / 4**X, (3.0, 90.0, 2000.0)),
    "factorials": (sp.factorial(X) / sp.gamma(X), (3.5, 171.5, 1e5)),
}

ENGINES = {"few": ("numpy", 3), "numpy": ("numpy", 300), "native": ("native", 2000), "torch": ("torch", 3)}


def exact(expr, x):
    """The formula at x, with hundreds of digits."""
    with mpmath.workdps(60 + 2 * int(min(abs(x), 1000))):
        return +sp.lambdify(X, expr, [{"loggamma": mpmath.loggamma}, "mpmath"])(mpmath.mpf(x))


def largest_logarithm(expr, x):
    """The largest logarithm of a power, an exponential, a tail or a gamma function in the formula at x."""
    sizes = [1.0]
    for part in sp.preorder_traversal(expr):
        if isinstance(part, (sp.exp, sp.erfc, sp.gamma, sp.factorial, sp.sinh, sp.cosh)) or part.is_Pow:
            size = abs(exact(part, x))
            sizes.append(float(abs(mpmath.log(size))) if size else 0.0)
    return max(sizes)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CASES)
def test_what_overflows_within_a_formula_is_computed(case, engine):
    expr, points = CASES[case]
    backend, size = ENGINES[engine]
    f = mf.kernel(expr, backend)
    for x in points:
        expected = exact(expr, x)
        found = np.asarray(f(x=np.full(size, x)))
        # The page's promise, and what two logarithms of gamma functions add.
        units = 10 + 12 * largest_logarithm(expr, x)
        assert (abs(found - float(expected)) <= units * 2.0**-52 * abs(float(expected))).all(), (x, found[0], expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "head", [sp.erfc, sp.cosh, sp.sinh, lambda x: sp.asinh(sp.exp(-x)), lambda x: sp.sin(sp.exp(-x))]
)
def test_the_logarithm_of_what_no_float_holds(head, engine):
    backend, size = ENGINES[engine]
    for x in (0.5, 26.5, 27.0, 30.0, 800.0, 1e4):
        with mpmath.workdps(60):
            expected = mpmath.log(abs(exact(head(X), x)))
        found = np.asarray(mf.kernel(head(X), backend).log(x=np.full(size, x)))
        assert (abs(found - float(expected)) <= 20 * 2.0**-52 * max(1, abs(float(expected)))).all(), (
            x,
            found,
            expected,
        )


def test_every_function_of_a_kernel_is_bounded_or_has_a_rule_for_large_values():
    """A function that is added to the table and overflows has to be added to the rules."""
    from advmf.emit.engine.wide import _RULES

    bounded = {sp.cos, sp.acos, sp.polygamma}
    ours = {head for head in NumPy.functions if head.__module__.startswith("advmf")}
    assert set(NumPy.functions) - ours - bounded == set(_RULES)


@pytest.mark.parametrize("expr", [sp.exp(X**2) * sp.erfc(X), sp.sinh(X) / sp.cosh(X), sp.asinh(sp.exp(X))], ids=str)
def test_torch_has_the_slopes_where_parts_overflow(expr):
    import torch

    points = torch.tensor([-2.0, 0.5, 24.5, 26.0, 30.0, 800.0], dtype=torch.float64, requires_grad=True)
    mf.kernel(expr, "torch")(x=points).sum().backward()
    for x, slope in zip(points.tolist(), points.grad.tolist()):
        expected = exact(expr.diff(X), x)
        # The slopes of the first are differences of numbers up to 2x, the others vanish at large x.
        assert abs(slope - float(expected)) <= 2.0**-52 * (20 + x**2 + abs(float(expected)) * 30), (x, slope, expected)
