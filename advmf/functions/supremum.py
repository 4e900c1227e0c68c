"""The largest value of an expression over an interval of one of its letters."""

from __future__ import annotations

import math
from typing import Any

import sympy as sp
from sympy.core.function import Function

from advmf.errors import ArgumentError

POINTS = 33
"""The values of the letter at which numbers are compared: both ends, and Chebyshev's points between them. Next to a
maximum that is not at an end there is a point within 1/20 of half the interval."""


class Supremum(Function):
    """sup of ``expr`` over ``low <= variable <= high``: ``Supremum(expr, variable, low, high)``.

    Its numbers, and its derivatives, are those of the largest of :data:`POINTS` values, the ends among them; an
    interval whose ends meet is one point.

    >>> import sympy as sp
    >>> from advmf.functions import Supremum
    >>> r, a = sp.symbols("r a", positive=True)
    >>> Supremum(r**2, r, a, a), Supremum(1 + r**2, r, 1, a).subs(a, 2).evalf(3)
    (a**2, 5.00)
    """

    @classmethod
    def eval(cls, expr: sp.Expr, variable: sp.Symbol, low: sp.Expr, high: sp.Expr) -> sp.Expr | None:
        if not isinstance(variable, sp.Symbol):
            raise ArgumentError(f"Supremum takes an expression, one of its symbols and two ends; got {variable}.")
        return expr.subs(variable, low) if low == high else None

    def doit(self, **hints: Any) -> sp.Expr:
        """The largest of the values at the points."""
        expr, variable, low, high = self.args
        if variable not in expr.free_symbols:
            return expr
        middle, half = (low + high) / 2, (high - low) / 2
        steps = [sp.Float(math.cos(math.pi * k / (POINTS - 1))) for k in range(1, POINTS - 1)]
        places = [low, high, *(middle + step * half for step in steps)]
        # Unevaluated, as SymPy would try to tell any two of them apart.
        return sp.Max(*(expr.xreplace({variable: place}) for place in places), evaluate=False)

    @property
    def free_symbols(self) -> set[sp.Basic]:
        expr, variable, low, high = self.args
        return (expr.free_symbols - {variable}) | low.free_symbols | high.free_symbols

    @property
    def bound_symbols(self) -> list[sp.Symbol]:
        return [self.args[1]]

    def _eval_subs(self, old: sp.Basic, new: sp.Basic) -> sp.Expr:
        expr, variable, low, high = self.args
        inner = expr if old == variable else expr._subs(old, new)
        return self.func(inner, variable, low._subs(old, new), high._subs(old, new))

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        return self.doit().diff(symbol) if symbol in self.free_symbols else sp.S.Zero

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return None if self.free_symbols else self.doit()._eval_evalf(prec)

    def _eval_is_real(self) -> bool | None:
        return self.args[0].is_real

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return True if self.args[0].is_nonnegative else None

    def _eval_is_extended_positive(self) -> bool | None:
        return True if self.args[0].is_positive else None

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        expr, variable, low, high = map(printer._print, self.args)
        text = rf"\sup_{{{low} \le {variable} \le {high}}} {expr}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"
