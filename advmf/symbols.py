"""The symbol registry: every letter of the theory, its LaTeX, its domain and its meaning.

A symbol has a plain name (``sigma_w``), and that name is the keyword by which kernels, simulations and
checks take its value. :data:`SYMBOLS` maps the names to :class:`Quantity` records.

>>> from advmf.symbols import SYMBOLS, sigma_w
>>> SYMBOLS["sigma_w"].latex, SYMBOLS["sigma_w"].domain
('\\\\sigma_w', '(0, oo)')
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import sympy as sp

from advmf.errors import ArgumentError, DomainError
from advmf.expressions import expression


@dataclass(frozen=True)
class Quantity:
    """One letter of the theory: its SymPy symbol, LaTeX, interval of admissible values and meaning."""

    symbol: sp.Symbol
    latex: str
    low: float
    high: float
    closed: bool
    meaning: str

    @property
    def name(self) -> str:
        return str(self.symbol.name)

    @property
    def integer(self) -> bool:
        """Whether the quantity counts something (a width, a depth, a dimension)."""
        return bool(self.symbol.is_integer)

    @property
    def domain(self) -> str:
        def end(z: float) -> str:
            return ("-oo" if z < 0 else "oo") if math.isinf(z) else f"{z:g}"

        open_left, open_right = not self.closed or math.isinf(self.low), math.isinf(self.high) and self.high_open
        return f"{'(' if open_left else '['}{end(self.low)}, {end(self.high)}{')' if open_right else ']'}"

    def contains(self, value: float) -> bool:
        """Whether ``value`` lies in the domain."""
        return (self.low <= value if self.closed else self.low < value) and value <= self.high

    @property
    def high_open(self) -> bool:
        return self.name not in ("p", "q")


def _quantity(
    name: str, latex: str, low: float, high: float, meaning: str, *, closed: bool = True, **assumptions: bool
) -> Quantity:
    return Quantity(sp.Symbol(name, **assumptions), latex, low, high, closed, meaning)


_INF = math.inf
_QUANTITIES = (
    _quantity("L", "L", 0, _INF, "depth: number of blocks", integer=True, nonnegative=True),
    _quantity("N", "N", 1, _INF, "width of the hidden layers", integer=True, positive=True),
    _quantity("d", "d", 1, _INF, "input dimension", integer=True, positive=True),
    _quantity("K", "K", 1, _INF, "output dimension", integer=True, positive=True),
    _quantity(
        "sigma_w", r"\sigma_w", 0, _INF, "hidden weights have variance sigma_w**2/N", closed=False, positive=True
    ),
    _quantity("sigma_b", r"\sigma_b", 0, _INF, "biases have variance sigma_b**2", nonnegative=True),
    _quantity("u", "u", -_INF, _INF, "slope of the activation for z >= 0", real=True),
    _quantity("v", "v", -_INF, _INF, "slope of the activation for z < 0", real=True),
    _quantity("eps", r"\epsilon", 0, _INF, "radius of the ball of perturbations", closed=False, positive=True),
    _quantity("p", "p", 1, _INF, "lp ball of the perturbation", extended_real=True),
    _quantity("q", "q", 1, _INF, "lq norm of the change of the output", extended_real=True),
    _quantity("t", "t", 0, _INF, "training time", nonnegative=True),
    _quantity("M", "M", 0, _INF, "upper edge of the trainable band", closed=False, positive=True),
    _quantity("m", "m", 0, _INF, "lower edge of the trainable band", closed=False, positive=True),
    _quantity(
        "x_sq",
        r"\tfrac{\lVert x\rVert^2}{d}",
        0,
        _INF,
        "mean square of the input, |x|^2/d",
        closed=False,
        positive=True,
    ),
    _quantity(
        "y_sq",
        r"\tfrac{\lVert x'\rVert^2}{d}",
        0,
        _INF,
        "mean square of a second input, |x'|^2/d",
        closed=False,
        positive=True,
    ),
    _quantity("c", "c", -1, 1, "correlation of two inputs", real=True),
    _quantity("lam", r"\lambda", 0, _INF, "weight of the adversarial loss in training", closed=False, positive=True),
    _quantity(
        "pull", r"\langle\nabla_f\ell, f\rangle", -_INF, _INF, "mean of <dl/df, f>, l the standard loss", real=True
    ),
)

SYMBOLS: dict[str, Quantity] = {quantity.name: quantity for quantity in _QUANTITIES}
"""Every symbol of the theory by name."""

L, N, d, K, sigma_w, sigma_b, u, v, eps, p, q, t, M, m, x_sq, y_sq, c, lam, pull = (
    quantity.symbol for quantity in _QUANTITIES
)

z = sp.Symbol("z", real=True)
"""The argument of an activation. It is bound there, and so is no symbol of a formula."""


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
