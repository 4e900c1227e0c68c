"""The order in which an expression grows with one of its letters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import sympy as sp

from advmf.boundary import public
from advmf.errors import ArgumentError
from advmf.expressions import expression
from advmf.functions import GaussianNorm, NumericNorm


@public
@cache
def growth_order(expr: sp.Expr, symbol: sp.Symbol) -> tuple[sp.Expr, sp.Expr]:
    """The exponents (a, b) with ``expr`` of the order of ``symbol**a * log(symbol)**b`` as the symbol goes to infinity.

    a is the limit of the local slope ``symbol * d ln(expr)/d symbol``, and b the limit of ``ln(symbol) * (slope - a)``.
    E‖g_n‖_r is replaced by its leading term at large n (by the law of large numbers; at r = oo by extreme values).
    Raises ArgumentError where SymPy finds no finite limits.

    >>> import advmf as mf
    >>> mf.growth_order(mf.beta(1, 2), mf.symbols.d), mf.growth_order(mf.beta(3, 2), mf.symbols.K)
    ((-1/2, 1/2), (1/2, 0))
    """
    expr, symbol = expression(expr), expression(symbol)
    if not isinstance(symbol, sp.Symbol) or not isinstance(expr, sp.Expr):
        raise ArgumentError(
            f"growth_order takes an expression and one of its symbols; got {expr!r:.80} and {symbol!r:.80}."
        )
    leading = expr.replace(lambda e: isinstance(e, GaussianNorm) and e.has(symbol), lambda e: e.bound())
    leading = leading.replace(sp.Piecewise, lambda *cases: _last(cases, symbol))
    norms = [e for e in leading.atoms(GaussianNorm, NumericNorm) if not e.has(symbol)]
    leading = leading.xreplace({e: sp.Dummy(positive=True) for e in norms})
    known = _order(leading, symbol)
    if known and all(each.is_number and each.is_finite for each in known):
        return known
    slope = symbol * sp.diff(sp.log(leading), symbol)
    try:
        power = sp.limit(slope, symbol, sp.oo)
        log_power = sp.limit(sp.log(symbol) * (slope - power), symbol, sp.oo)
    except (NotImplementedError, ValueError):  # of SymPy, where it finds no limit
        power = log_power = sp.nan
    if not (power.is_number and power.is_finite and log_power.is_number and log_power.is_finite):
        raise ArgumentError(
            f"SymPy finds no power of {symbol} that {expr} grows by; give numbers for p and q, and the route 'chevet' or 'leading'."
        )
    return power, log_power


def _order(expr: sp.Expr, symbol: sp.Symbol) -> tuple[sp.Expr, sp.Expr] | None:
    """The exponents of sums, products and powers of the symbol and its logarithms that end up positive, term by term:
    of a sum those of its largest term. None for anything else, of which a limit is asked."""
    if not expr.has(symbol):
        return (sp.S.Zero, sp.S.Zero) if expr.is_positive else None
    if expr == symbol:
        return sp.S.One, sp.S.Zero
    if isinstance(expr, sp.log):
        inner = _order(expr.args[0], symbol)
        return (sp.S.Zero, sp.S.One) if inner and inner[0].is_positive else None
    if isinstance(expr, sp.Pow) and not expr.exp.has(symbol):
        inner = _order(expr.base, symbol)
        return inner and (expr.exp * inner[0], expr.exp * inner[1])
    if isinstance(expr, sp.Mul | sp.Add):
        parts = [_order(arg, symbol) for arg in expr.args]
        if any(part is None or not (part[0].is_number and part[1].is_number) for part in parts):
            return None
        found: list[tuple[sp.Expr, sp.Expr]] = [part for part in parts if part]
        if isinstance(expr, sp.Add):
            return max(found, key=lambda part: (part[0].evalf(), part[1].evalf()))
        return sp.Add(*(a for a, _ in found)), sp.Add(*(b for _, b in found))
    return None


def _last(cases: Sequence[sp.Tuple], symbol: sp.Symbol) -> sp.Expr:
    """The case of a bound that holds for large values of the symbol: the conditions compare its logarithm with
    numbers."""
    far = [(expr, condition.subs(symbol, sp.exp(10**9))) for expr, condition in cases]
    settled = all(condition in (sp.true, sp.false) for _, condition in far)
    return next(expr for expr, condition in far if condition == sp.true) if settled else sp.Piecewise(*cases)
