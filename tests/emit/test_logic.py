"""Conditions of every logical form, on every engine, against the conditions themselves."""

import itertools

import numpy as np
import pytest
import sympy as sp

import advmf as mf

X, Y = sp.symbols("x y", real=True)
A, B, C = X > 0, Y > X, X + Y < 1
CONDITIONS = {
    "and": sp.And(A, B),
    "or": sp.Or(A, C),
    "not": sp.Not(sp.Or(A, B)),
    "xor": sp.Xor(A, B),
    "xor of three": sp.Xor(A, B, C),
    "if then else": sp.ITE(A, B, C),
    "nested": sp.ITE(sp.Xor(A, C), sp.Implies(B, A), sp.Equivalent(A, B, C)),
    "implies": sp.Implies(A, B),
    "equivalent": sp.Equivalent(A, B),
    "nand": sp.Nand(A, B),
    "nor": sp.Nor(A, C),
    "xnor": sp.Not(sp.Xor(A, B)),
    "kept as it is": sp.Xor(A, sp.ITE(B, C, A, evaluate=False), evaluate=False),
    "interval": sp.Interval(0, 1).contains(X),
    "union": sp.Union(sp.Interval.open(-1, 0), sp.Interval(1, 2)).contains(Y),
}
POINTS = np.array(list(itertools.product([-2.0, -0.5, 0.0, 0.3, 0.6, 1.0, 1.7], repeat=2)))
ENGINES = {
    "few": ("numpy", 1),
    "numpy": ("numpy", 8),
    "native": ("native", 50),
    "torch": ("torch", 1),
    "torch, many": ("torch", 50),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CONDITIONS)
def test_a_piecewise_of_any_condition(name, engine):
    backend, times = ENGINES[engine]
    x, y = np.tile(POINTS.T, times)
    expr = sp.Piecewise((X + 10, CONDITIONS[name]), (Y**2, True), evaluate=False)
    taken = [bool(CONDITIONS[name].subs({X: sp.Rational(str(a)), Y: sp.Rational(str(b))})) for a, b in POINTS]
    expected = np.where(np.tile(taken, times), x + 10, y**2)
    given = {s.name: {"x": x, "y": y}[s.name] for s in expr.free_symbols}
    assert (np.asarray(mf.kernel(expr, backend)(**given)) == expected).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("at_zero", [None, 0, 1, sp.Rational(1, 3)])
def test_steps(engine, at_zero):
    backend, times = ENGINES[engine]
    step = sp.Heaviside(X) if at_zero is None else sp.Heaviside(X, at_zero)
    x = np.tile(POINTS[:, 0], times)
    expected = np.where(x > 0, 1.0, np.where(x < 0, 0.0, 0.5 if at_zero is None else float(at_zero)))
    assert (np.asarray(mf.kernel(3 * step + X, backend)(x=x)) == 3 * expected + x).all()
