import math

import pytest
import sympy as sp

from advmf.errors import DomainError
from advmf.symbols import SYMBOLS, exponent


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
