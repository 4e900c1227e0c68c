"""Sufficient conditions for an expression to be continuous or smooth in a symbol, at all numbers of the symbol's
sign."""

from __future__ import annotations

import sympy as sp

_SMOOTH = (sp.exp, sp.sin, sp.cos, sp.sinh, sp.cosh, sp.tanh, sp.atan, sp.asinh, sp.erf)
_CONTINUOUS = (*_SMOOTH, sp.Abs, sp.Max, sp.Min)


def continuous(expr: sp.Expr, x: sp.Symbol) -> bool:
    """Whether ``expr`` is continuous in x by the way it is built.

    >>> import sympy as sp
    >>> from advmf.theory.smoothness import continuous
    >>> x, z = sp.Symbol("x", positive=True), sp.Symbol("z", real=True)
    >>> continuous(1 / x, x), continuous(1 / z, z), continuous(sp.floor(x), x)
    (True, False, False)
    """
    return _built(expr, x, _CONTINUOUS, smooth=False)


def smooth(expr: sp.Expr, x: sp.Symbol) -> bool:
    """Whether ``expr`` has a continuous derivative in x by the way it is built.

    >>> import sympy as sp
    >>> from advmf.theory.smoothness import smooth
    >>> x, z = sp.Symbol("x", positive=True), sp.Symbol("z", nonnegative=True)
    >>> smooth(sp.sqrt(x), x), smooth(sp.sqrt(z), z), smooth(z**2, z)
    (True, False, True)
    """
    return _built(expr, x, _SMOOTH, smooth=True)


def _built(expr: sp.Expr, x: sp.Symbol, functions: tuple[type, ...], smooth: bool) -> bool:
    if x not in expr.free_symbols or expr == x:
        return True
    if not all(_built(arg, x, functions, smooth) for arg in expr.args):
        return False
    if isinstance(expr, sp.Pow):
        base, power = expr.args
        if base.is_positive or (base.is_negative and power.is_integer):
            return True
        if x in power.free_symbols or not power.is_nonnegative:
            return False
        return bool(power.is_integer or (base.is_nonnegative and (not smooth or (power - 1).is_nonnegative)))
    return isinstance(expr, (sp.Add, sp.Mul, *functions)) or (
        isinstance(expr, sp.log) and bool(expr.args[0].is_positive)
    )
