"""The geometric sum."""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.core.function import Function

from advmf.functions.columns import register


class GeometricSum(Function):
    """``1 + z + ... + z**(n-1)`` for real ``n >= 0``: ``(z**n - 1)/(z - 1)``, and ``n`` at ``z = 1``.

    >>> from advmf.functions import GeometricSum
    >>> GeometricSum(2, 5), GeometricSum(1, 7)
    (31, 7)
    """

    @classmethod
    def eval(cls, z: sp.Expr, n: sp.Expr) -> sp.Expr | None:
        if z == 1:
            return n
        if n == 0 or (z == 0 and n.is_positive):
            return sp.S.Zero if n == 0 else sp.S.One
        if z.is_number and n.is_Integer and n < 1000:
            return (z**n - 1) / (z - 1)
        return None

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return True if all(arg.is_nonnegative for arg in self.args) else None

    def _eval_rewrite_as_Pow(self, z: sp.Expr, n: sp.Expr, **hints: Any) -> sp.Expr:
        """The quotient ``(z**n - 1)/(z - 1)``, valid for z != 1."""
        return (z**n - 1) / (z - 1)

    def doit(self, **hints: Any) -> sp.Expr:
        z, n = (arg.doit(**hints) if hints.get("deep", True) else arg for arg in self.args)
        if n.is_Integer and 0 <= n <= 64:
            return sp.Add(*(z**k for k in range(int(n))))
        return sp.Piecewise((n, sp.Eq(z, 1)), ((z**n - 1) / (z - 1), True))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        z, n = self.args
        if argindex == 2:
            return z**n * sp.log(z) / (z - 1)
        return sp.Piecewise((n * (n - 1) / 2, sp.Eq(z, 1)), ((n * z ** (n - 1) - self) / (z - 1), True))

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        z, n = (arg._eval_evalf(prec) for arg in self.args)
        if z is None or n is None or not (z.is_number and n.is_number):
            return None
        return n if z == 1 else ((z**n - 1) / (z - 1))._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        z, n = self.args
        base = printer.parenthesize(z, sp.printing.precedence.PRECEDENCE["Pow"])
        text = rf"\sum_{{k=1}}^{{{printer._print(n)}}} {base}^{{k-1}}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


def _scaled(a: Any, z: Any, n: Any) -> Any:
    """``n*phi(n*t)/phi(t)`` with t = ln z, which is smooth at z = 1; far below z = 1, the quotient ``(z**n - 1)/(z -
    1)``."""
    near, zero, one = a.linear(z) > 0.5, a.value(a.array(0.0)), a.value(a.array(1.0))
    rest = None if z.rest is None else a.where(near, z.rest, 0.0)
    t = a.log_abs(a.select(near, z, one)._replace(rest=rest))
    smooth = a.multiply(n, a.phi(a.linear(n) * t), a.number_power(a.phi(t), -1.0))
    far = a.select(near, zero, z)
    last = a.power(far, n)
    quotient = a.multiply(
        a.add(one, last._replace(m=-last.m)), a.number_power(a.add(one, far._replace(m=-far.m)), -1.0)
    )
    return a.select(near, smooth, quotient)


def _plain(a: Any, z: int, n: int, plus_one: bool = False) -> int:
    """expm1(n ln z)/(z - 1), and n at z = 1."""
    count = a.value(n)
    w = a.value(z) if plus_one else a.op("add", a.value(z), a.const(-1.0))
    one = a.op("eq", w, a.const(0.0))
    rise = a.op("expm1", a.op("mul", count, a.base(z, plus_one)))
    return a.select(one, count, a.op("div", rise, a.select(one, a.const(1.0), w)))


register(
    GeometricSum,
    scaled=_scaled,
    plain=_plain,
    near_one=True,
    python=(
        "def geometric_sum(z, n):\n    if z == 1:\n        return n\n"
        "    power = math.expm1(n * math.log(z)) if z > 0 else z**n - 1\n    return power / (z - 1)"
    ),
    json=True,
    grows=True,
    large_operator=True,
)
