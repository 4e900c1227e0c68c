"""The symbol registry: every letter of the theory, its LaTeX, its domain and its meaning.

A symbol has a plain name (``sigma_w``), and that name is the keyword by which kernels, simulations and
checks take its value. :data:`SYMBOLS` maps the names to :class:`Quantity` records.

>>> from advmf.symbols import SYMBOLS, sigma_w
>>> SYMBOLS["sigma_w"].latex, SYMBOLS["sigma_w"].domain
('\\\\sigma_w', '(0, oo)')
"""

from __future__ import annotations

import math
from fractions import Fraction

import sympy as sp

from advmf.errors import ArgumentError, DomainError
from advmf.expressions import expression
from advmf.quantities import (
    SYMBOLS,
    K,
    L,
    M,
    N,
    Quantity,
    c,
    d,
    eps,
    lam,
    m,
    p,
    pull,
    q,
    sigma_b,
    sigma_w,
    t,
    u,
    v,
    x_sq,
    y_sq,
    z,
)

# fmt: off
__all__ = [
    "SYMBOLS", "Quantity", "exponent", "fraction",
    "K", "L", "M", "N", "c", "d", "eps", "lam", "m", "p", "pull", "q", "sigma_b", "sigma_w", "t", "u", "v", "x_sq", "y_sq", "z",
]
# fmt: on


def fraction(value: float) -> sp.Expr:
    """The simplest fraction with denominator up to a million that equals a float; without one, the fraction of its
    decimal digits.

    >>> from advmf.symbols import fraction
    >>> fraction(4 / 3), fraction(0.1), fraction(1 + 1e-9)
    (4/3, 1/10, 1000000001/1000000000)
    """
    if not math.isfinite(value):
        return sp.nan if math.isnan(value) else sp.oo if value > 0 else -sp.oo
    found = Fraction(value).limit_denominator(1_000_000)
    return sp.Rational(found) if float(found) == value else sp.Rational(repr(float(value)))


def exponent(value: object, name: str = "p") -> sp.Expr:
    """An exponent of an lp norm as a SymPy value: a number in [1, oo], ``"inf"``/``"oo"``, or a SymPy expression.

    >>> from advmf.symbols import exponent
    >>> exponent("inf"), exponent(1.5), exponent("3/2")
    (oo, 3/2, 3/2)
    """
    expected = f"{name} must be a number in [1, oo], 'inf' or 'oo', or a SymPy expression"
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("inf", "oo", "infinity"):
            return sp.oo
        if text in ("p", "q"):
            return SYMBOLS[text].symbol
        try:
            found = expression(text)
        except ArgumentError as error:
            raise DomainError(f"{expected}; got the string {value!r:.80}, which is no number ({error}).") from None
        if not found.is_number:
            raise DomainError(
                f"{expected}; got the string {value!r:.80}, which is no number. Write e.g. 2, '3/2' or 'inf'."
            )
        value = found
    if isinstance(value, bool) or value is None:
        raise DomainError(f"{expected}; got {value!r}.")
    try:
        expr = fraction(value) if isinstance(value, float) and math.isfinite(value) else expression(value)
    except (ArgumentError, ValueError):
        raise DomainError(f"{expected}; got {value!r} of type {type(value).__name__}.") from None
    if not isinstance(expr, sp.Expr) or expr is sp.nan or expr.is_extended_real is False:
        raise DomainError(f"{expected}; got {value!r}.")
    if expr.is_Rational and expr > 10**300:
        raise DomainError(f"{expected}; got {value!r:.80}, which no float holds. Write 'inf' for the largest exponent.")
    if expr.is_number and not expr >= 1:
        raise DomainError(f"{expected}; got {value!r}, but an l{name} norm needs {name} >= 1.")
    return expr
