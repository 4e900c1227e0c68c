"""The solutions of ``y' = y**r`` in closed form (C. Tsallis, J. Stat. Phys. 52, 1988)."""

from __future__ import annotations

import math
from typing import Any

import sympy as sp
from sympy.core.function import Function

from advmf.functions.columns import register


class QExponential(Function):
    """The solution of y' = y**r, y(0) = 1: ``QExponential(x, r) = (1 + (1 - r)*x)**(1/(1 - r))``, and exp(x) at r = 1.

    For r < 1 it reaches zero at a finite x and stays zero where the base is negative. For r > 1 it decays like a power
    of -x.

    >>> import sympy as sp
    >>> from advmf.functions import QExponential
    >>> x = sp.Symbol("x", positive=True)
    >>> QExponential(-x, 2), QExponential(-x, 1), QExponential(-3, sp.Rational(1, 2))
    (1/(x + 1), exp(-x), 0)
    """

    @classmethod
    def eval(cls, x: sp.Expr, r: sp.Expr) -> sp.Expr | None:
        if x == 0:
            return sp.S.One
        if (r - 1).is_zero:
            return sp.exp(x)
        base = 1 + (1 - r) * x
        if not r.is_number:
            return None
        if base.is_extended_nonpositive:
            return sp.S.Zero if (1 - r).is_positive else sp.oo
        return base ** (1 / (1 - r)) if base.is_positive else None

    def _eval_rewrite_as_Pow(self, x: sp.Expr, r: sp.Expr, **hints: Any) -> sp.Expr:
        """The power, valid for r != 1 where its base is positive."""
        return (1 + (1 - r) * x) ** (1 / (1 - r))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x, r = self.args
        if argindex == 1:
            return self**r
        base = 1 + (1 - r) * x
        smooth = self * (sp.log(base) / (1 - r) ** 2 - x / (base * (1 - r)))
        return sp.Piecewise((-(x**2) * self / 2, sp.Eq(r, 1)), (smooth, True))

    def _eval_is_extended_nonnegative(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        x, r = (arg._eval_evalf(prec) for arg in self.args)
        if x is None or r is None or not (x.is_number and r.is_number):
            return None
        base = 1 + (1 - r) * x
        if base <= 0:
            return sp.S.Zero if r < 1 else sp.oo
        return sp.exp(x if (r - 1).is_zero else sp.log(base) / (1 - r))._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        x, r = map(printer._print, self.args)
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"\exp_{{{r}}}{power}\left({x}\right)"


class QLogarithm(Function):
    """The inverse of :class:`QExponential`: ``QLogarithm(y, r) = (y**(1 - r) - 1)/(1 - r)``, and ln(y) at r = 1.

    >>> from advmf.functions import QExponential, QLogarithm
    >>> QLogarithm(3, 2), QExponential(QLogarithm(3, 2), 2), QLogarithm(3, 1)
    (2/3, 3, log(3))
    """

    @classmethod
    def eval(cls, y: sp.Expr, r: sp.Expr) -> sp.Expr | None:
        if y == 1:
            return sp.S.Zero
        if (r - 1).is_zero:
            return sp.log(y)
        return (y ** (1 - r) - 1) / (1 - r) if r.is_number else None

    def _eval_rewrite_as_Pow(self, y: sp.Expr, r: sp.Expr, **hints: Any) -> sp.Expr:
        """The quotient, valid for r != 1."""
        return (y ** (1 - r) - 1) / (1 - r)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        y, r = self.args
        if argindex == 1:
            return y ** (-r)
        smooth = (self - y ** (1 - r) * sp.log(y)) / (1 - r)
        return sp.Piecewise((-(sp.log(y) ** 2) / 2, sp.Eq(r, 1)), (smooth, True))

    def _eval_is_real(self) -> bool | None:
        return True if self.args[0].is_positive else None

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        y, r = (arg._eval_evalf(prec) for arg in self.args)
        if y is None or r is None or not (y.is_number and r.is_number):
            return None
        return (sp.log(y) if (r - 1).is_zero else (y ** (1 - r) - 1) / (1 - r))._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        y, r = map(printer._print, self.args)
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"\ln_{{{r}}}{power}\left({y}\right)"


def _scaled_exponential(a: Any, x: Any, r: Any) -> Any:
    """exp(log1p(w)/(1 - r)) with w = (1 - r)x, smooth at r = 1; zero or infinite where w < -1."""
    rest = 1 - a.linear(r)
    w = a.multiply(a.value(rest), x)
    line = a.linear(w)
    near, dead = a.abs(line) < 1e-4, line <= -1
    small, safe = a.where(near, line, 0.0), a.where(near, 1.0, rest)
    series = a.where(near, a.linear(x), 0.0) * (1 - small / 2 + small**2 / 3 - small**3 / 4)
    log = a.log_abs(a.select(near | dead, a.value(a.array(1.0)), a.one_plus(w)))
    out = a.exponential(a.where(near, series, log / safe))
    return a.select(dead, a.value(a.where(rest > 0, 0.0, math.inf)), out)


def _scaled_logarithm(a: Any, y: Any, r: Any) -> Any:
    """ln(y) phi((1 - r) ln y), which is smooth at r = 1."""
    log = a.logarithm(y).m
    return a.multiply(a.value(log), a.phi((1 - a.linear(r)) * log))


def _plain_exponential(a: Any, x: int, r: int) -> int:
    """exp(x ln(1 + w)/w) with w = (1 - r)x; zero or infinite where w < -1."""
    x, r = a.value(x), a.value(r)
    zero, one = a.const(0.0), a.const(1.0)
    rest = a.op("sub", one, r)
    w = a.op("mul", rest, x)
    dead, flat = a.op("le", w, a.const(-1.0)), a.op("eq", w, zero)
    safe = a.select(a.op("or", dead, flat), one, w)
    quotient = a.select(flat, one, a.op("div", a.op("ln1p", safe), safe))
    alive = a.op("exp", a.select(dead, zero, a.op("mul", x, quotient)))
    return a.select(dead, a.select(a.op("gt", rest, zero), zero, a.const(float("inf"))), alive)


def _plain_logarithm(a: Any, y: int, r: int, plus_one: bool = False) -> int:
    """(y**(1 - r) - 1)/(1 - r), and ln y at r = 1."""
    log, one = a.base(y, plus_one), a.const(1.0)
    rest = a.op("sub", one, a.value(r))
    flat = a.op("eq", rest, a.const(0.0))
    safe = a.select(flat, one, rest)
    return a.select(flat, log, a.op("div", a.op("expm1", a.op("mul", safe, log)), safe))


register(
    QExponential,
    scaled=_scaled_exponential,
    plain=_plain_exponential,
    python=(
        "def q_exponential(x, r):\n    if r == 1:\n        return math.exp(x)\n    if 1 + (1 - r) * x <= 0:\n"
        "        return 0.0 if r < 1 else math.inf\n    return math.exp(math.log1p((1 - r) * x) / (1 - r))"
    ),
    json=True,
    notation=lambda e: e.rewrite(sp.Pow),
    bracket=lambda e: e.args[0],
)
register(
    QLogarithm,
    scaled=_scaled_logarithm,
    plain=_plain_logarithm,
    near_one=True,
    python=(
        "def q_logarithm(y, r):\n    return math.log(y) if r == 1 else math.expm1((1 - r) * math.log(y)) / (1 - r)"
    ),
    json=True,
    notation=lambda e: e.rewrite(sp.Pow),
    bracket=lambda e: e.args[0],
)
