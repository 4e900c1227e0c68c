"""The Hölder conjugate."""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.core.function import Function

from advmf.functions.columns import register


def positive_number(expr: sp.Expr) -> bool:
    """Whether ``expr`` is a positive number, or oo."""
    return bool(expr.is_number and expr.is_extended_positive)


class Conjugate(Function):
    """The Hölder conjugate r* with 1/r + 1/r* = 1; it is its own inverse.

    >>> import sympy as sp
    >>> from advmf.functions import Conjugate
    >>> Conjugate(1), Conjugate(3), Conjugate(sp.oo)
    (oo, 3/2, 1)
    """

    @classmethod
    def eval(cls, r: sp.Expr) -> sp.Expr | None:
        if r == 1:
            return sp.oo
        if r is sp.oo:
            return sp.S.One
        if positive_number(r):
            return r / (r - 1)
        if isinstance(r, Conjugate):
            return r.args[0]
        return None

    def _eval_is_extended_real(self) -> bool:
        return True  # not extended_positive: SymPy then takes Eq(r*, oo) for true

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return -1 / (self.args[0] - 1) ** 2

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = f"{printer._print(self.args[0])}^{{*}}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


def _plain(a: Any, r: int) -> int:
    return a.op("add", a.const(1.0), a.op("inv", a.op("add", a.value(r), a.const(-1.0))))


register(
    Conjugate,
    scaled=lambda a, r: a.value(1 + 1 / (a.linear(r) - 1)),
    plain=_plain,
    inverse=lambda e: 1 - 1 / e.args[0],
    python="def conjugate(r):\n    return 1.0 if r == math.inf else math.inf if r == 1 else r / (r - 1)",
    json=True,
)
