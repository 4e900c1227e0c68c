import math

import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.errors import DomainError
from advmf.symbols import SYMBOLS, exponent, fraction


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("inf", sp.oo),
        ("oo", sp.oo),
        (math.inf, sp.oo),
        (1, 1),
        (1.1, sp.Rational(11, 10)),
        ("3/2", sp.Rational(3, 2)),
        (sp.oo, sp.oo),
    ],
)
def test_exponents(given, value):
    assert exponent(given) == value


def test_a_symbolic_exponent_is_the_registry_symbol():
    assert exponent("q") is SYMBOLS["q"].symbol


@pytest.mark.parametrize("given", [0.5, 0, -1, "abc", "1/0", math.nan, -math.inf, None, True, 1j, [2]])
def test_bad_exponents_say_what_was_given(given):
    with pytest.raises(DomainError, match=r"must be a number in \[1, oo\]"):
        exponent(given)


def test_registry():
    assert set("L N d K sigma_w sigma_b u v eps p q t M m x_sq".split()) <= set(SYMBOLS)
    assert SYMBOLS["p"].domain == "[1, oo]"
    assert SYMBOLS["sigma_b"].domain == "[0, oo)"
    assert SYMBOLS["eps"].domain == "(0, oo)"
    assert SYMBOLS["u"].domain == "(-oo, oo)"
    assert SYMBOLS["sigma_b"].contains(0)
    assert not SYMBOLS["sigma_w"].contains(0)


@pytest.mark.parametrize("near", [2.0**-k for k in range(8, 53, 6)])
def test_floats_next_to_one_stay_themselves(near):
    """An exponent or a slope of 1 + 1e-9 is not one of 1."""
    assert float(exponent(1 + near)) == 1 + near
    assert float(mf.ReLULike(1 + near, near).u) == 1 + near
    assert float(mf.ReLULike(1, near**8).v) == near**8
    ends = [float(mf.kernel(mf.beta(2, q, "chevet"))(d=9, K=5)) for q in (1, 1 + near)]
    symbolic = float(mf.kernel(mf.beta(2, mf.symbols.q, "chevet"))(d=9, K=5, q=1 + near))
    epsilon = np.finfo(float).eps
    assert abs(ends[1] - symbolic) <= 64 * epsilon * symbolic
    if near > 64 * epsilon:
        assert ends[1] != ends[0]


def test_fractions_are_the_simplest():
    simple = [sp.Rational(1, 10), sp.Rational(4, 3), 2, sp.Rational(1, 7)]
    assert [fraction(x) for x in (0.1, 4 / 3, 2.0, 1 / 7)] == simple
    for x in 10.0 ** np.random.default_rng(3).uniform(-300, 300, 100):
        assert float(fraction(float(x))) == x
