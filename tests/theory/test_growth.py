"""How the norm factor grows with the dimensions: the exponents, their inheritance, and the numbers at large
dimensions."""

import math
from dataclasses import replace

import pytest
import sympy as sp

import advmf as mf
from advmf.claim import Regime
from advmf.errors import ArgumentError
from advmf.symbols import K, d, q
from advmf.theorems.t6_dimensions import growth
from advmf.theory.growth import growth_order

EXPONENTS = (1, sp.Rational(5, 4), sp.Rational(3, 2), 2, 3, 7, sp.oo)


@pytest.mark.parametrize(("p", "q"), [*zip(EXPONENTS, reversed(EXPONENTS)), (1, 1), (sp.oo, sp.oo)])
def test_exponents(p, q):
    """d**(1/2 - 1/p) K**(1/q), by hand from Chevet's terms; a logarithm where the largest of many Gaussians is the
    norm."""
    for route in ("chevet", "leading") if p in (1, 2) else ("chevet",):
        factor = mf.beta(p, q, route)
        assert growth_order(factor, d) == (sp.Rational(1, 2) - 1 / sp.S(p), sp.Rational(1, 2) if p == 1 else 0)
        assert growth_order(factor, K) == (1 / sp.S(q), sp.Rational(1, 2) if q == sp.oo else 0)


@pytest.mark.parametrize(("p", "q"), [(1, 1), (2, 2), (3, 1.5), ("inf", 1), (1, "inf")])
def test_what_the_norm_factor_stands_in_inherits_its_order(p, q):
    net = mf.residual(1, 0)
    for symbol in ("d", "K"):
        norm = growth(mf.norm_factor(p, q), symbol)
        loss = growth(mf.loss_bound(net, p, q), symbol)
        assert norm.rhs == loss.rhs
        assert (norm.relation, loss.relation) == ("asymp", "asymp")
        assert Regime.LARGE_DIMENSION in norm.regime
        assert Regime.LARGE_DIMENSION in loss.regime
        assert (norm.lhs, loss.lhs) == (mf.norm_factor(p, q).lhs, mf.loss_bound(net, p, q).lhs)
        assert "beta" not in {s.name for s in norm.rhs.free_symbols}


def test_the_order_is_that_of_every_route():
    for route in mf.routes(2, 2):
        assert growth(mf.norm_factor(2, 2, route.name), d).rhs == 1
        assert growth(mf.norm_factor(2, 2, route.name), K).rhs == sp.sqrt(K)


@pytest.mark.parametrize(
    ("route", "p", "q"),
    [
        *(("chevet", p, q) for p, q in (("inf", 1), (1.5, 3), (1, 2), (2, "inf"))),
        *((route, p, q) for route in ("lower", "estimate") for p, q in ((2, 2), (1, 2))),
        ("estimate", "inf", 1),
    ],
)
def test_slopes_at_large_dimensions(route, p, q):
    """The local slope of ln beta less that of the order. What is left falls as a power, or as 1/log where a logarithm
    stands."""
    value = mf.kernel(mf.beta(p, q, route))
    for symbol, other in (("d", "K"), ("K", "d")):
        order = mf.kernel(growth(mf.norm_factor(p, q), symbol).rhs)
        sizes = (10**6, 10**7) if route == "chevet" else (10**5, 10**6)
        found, claimed = (
            [float(f(**{s: {symbol: n, other: 2}[s] for s in f.arguments})) for n in sizes] for f in (value, order)
        )
        slope = math.log(found[1] / found[0]) / math.log(10)
        assert slope == pytest.approx(math.log(claimed[1] / claimed[0]) / math.log(10), abs=0.02)


@pytest.mark.parametrize(
    ("expr", "order"),
    [
        (sp.sqrt(d) * sp.log(d) ** 3, (sp.Rational(1, 2), 3)),
        (1 / d + 1 / d**2, (-1, 0)),
        (1 + 1 / sp.log(d), (0, 0)),
        (K * 7, (0, 0)),
    ],
)
def test_order_of_other_expressions(expr, order):
    assert growth_order(sp.sympify(expr), d) == order


def test_what_has_no_order():
    for expr in (sp.exp(d), d ** (1 / q), mf.beta("p", 2), mf.beta(2, 2, "spectral"), mf.beta(3, 2, "estimate")):
        with pytest.raises(ArgumentError, match="finds no power of d"):
            growth_order(expr, d)


def test_bad_arguments():
    factor = mf.norm_factor(2, 2)
    for symbol in ("N", "L", "", None, sp.Symbol("x"), 3):
        with pytest.raises(ArgumentError, match="growth is with the dimension d or K"):
            growth(factor, symbol)
    with pytest.raises(ArgumentError, match="in which the norm factor beta stands"):
        growth(mf.linear_form(mf.vanilla(1, 0))[0], "d")
    with pytest.raises(ArgumentError, match="beta stands"):
        growth(growth(factor, "d"), "d")
    with pytest.raises(ArgumentError, match="give numbers for p and q"):
        growth(mf.norm_factor("p", 2), "d")
    with pytest.raises(ArgumentError, match="give numbers for p and q"):
        growth(replace(mf.norm_factor(2, "q", "chevet")), "K")
