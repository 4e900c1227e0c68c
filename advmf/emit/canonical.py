"""A canonical form of expressions for printing and compiling: whatever ``evaluate=False`` left unevaluated is evaluated
here."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce, wraps
from operator import mul
from typing import Any, TypeVar, cast

import sympy as sp

_F = TypeVar("_F", bound=Callable[..., Any])


def evaluating(function: _F) -> _F:
    """The function, run with SymPy's evaluation on, even where it is called under ``sympy.evaluate(False)``."""

    @wraps(function)
    def inside(*args: Any, **settings: Any) -> Any:
        with sp.evaluate(True):
            return function(*args, **settings)

    return cast(_F, inside)


def canonical(expr: Any) -> Any:
    """An equal expression with flat sums and products, each with a single number, as printers and kernels expect.

    A number in front of a sum stays there, because its author put it there; SymPy would multiply it into the sum.
    Functions are not evaluated.

    >>> x = sp.Symbol("x")
    >>> canonical(sp.Add(x, 1, 1, evaluate=False)), canonical(sp.Mul(x, 2, x + 1, -1, evaluate=False))
    (x + 2, -2*x*(x + 1))
    >>> canonical(sp.Mul(2, x + 1, evaluate=False))
    2*(x + 1)
    """
    with sp.evaluate(True):
        return _settled(expr, {}) if isinstance(expr, sp.Basic) else expr


def _settled(expr: Any, known: dict[Any, Any]) -> Any:
    if not expr.args:
        return expr.func() if isinstance(expr, sp.Add | sp.Mul) else expr
    if expr not in known:
        args = tuple(_settled(arg, known) if isinstance(arg, sp.Basic) else arg for arg in expr.args)
        known[expr] = _rebuilt(expr, args)
    return known[expr]


def _rebuilt(expr: Any, args: tuple[Any, ...]) -> Any:
    if isinstance(expr, sp.UnevaluatedExpr):
        return args[0]
    if isinstance(expr, sp.Mul):
        return _product(args)
    if isinstance(expr, sp.Add) or (isinstance(expr, sp.Pow) and not _endless(*args)):
        return expr.func(*args)
    return expr if args == expr.args else expr.func(*args)


def _endless(base: Any, exponent: Any) -> bool:
    """Whether a power of numbers is too large to write out, such as 2**10**9."""
    return bool(base.is_number and exponent.is_number and abs(exponent) > 1000)


def _product(args: tuple[Any, ...]) -> Any:
    number, rest = sp.Mul(*(arg for arg in args if not arg.is_Number)).as_coeff_Mul()
    number = reduce(mul, (arg for arg in args if arg.is_Number), number)
    if number.is_Rational and number not in (0, 1) and rest.is_Add:
        return sp.Mul(number, rest, evaluate=False)
    return sp.Mul(number, rest)
