"""Functions of numbers of any size: hyperbolic and error functions beyond the range of floats, and functions that are
linear next to zero.

Each rule takes the arrays, the library's own function and the arguments as :class:`~advmf.emit.engine.scaled.Value`.
Functions without a rule here are bounded, or not large at any float, and are computed in plain numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import sympy as sp

from advmf.emit.engine.backends import function
from advmf.emit.engine.scaled import Value
from advmf.functions.columns import COLUMNS, NONE

_FAR = 20.0
"""From this x on, e**(-2x) is negligible next to 1."""
_TAIL = 25.0
"""From this x on, erfc is computed by its asymptotic series; it leaves the range of floats at 26."""
_SERIES = tuple(math.prod(range(1, 2 * k, 2)) / (-2.0) ** k for k in range(9))
"""The coefficients of erfc(x) x sqrt(pi) exp(x**2) in 1/x**2."""
_TINY = 1e-150


def call(arrays: Any, head: Any, *args: Value) -> Any:
    """A function of SymPy, or a registered one, at its arguments."""
    columns = COLUMNS.get(head, NONE)
    own = getattr(columns, arrays.name)
    if own is None and columns.scaled is not None:
        return columns.scaled(arrays, *args)
    plain = arrays.integral(head) or function(arrays.name, head)
    rule = None if own else _RULES.get(head)
    return Value(plain(*map(arrays.linear, args))) if rule is None else rule(arrays, plain, *args)


def _hyperbolic(a: Any, plain: Callable[..., Any], x: Value, odd: bool) -> Value:
    z = a.linear(x)
    near = a.abs(z) < _FAR
    far = a.exponential(a.where(near, 0.0, a.abs(z)))
    far = far._replace(m=far.m / 2 * a.sign(z) if odd else far.m / 2)
    small = Value(plain(a.where(near, z, 0.0)))
    return a.select(near, _linear_at_zero(a, plain, x, 1.0) if odd and x.k is not None else small, far)


def _erfc(a: Any, plain: Callable[..., Any], x: Value) -> Value:
    z = a.linear(x)
    near = z < _TAIL
    t = a.clip(a.where(near, _TAIL, z), _TAIL, 1e150)
    # The square in two parts, the first of which is exact: an error of one unit in the square would be hundreds of
    # units of the result.
    high = a.floor(a.detach(t) * 16) / 16
    i, series = 1 / t**2, 0.0
    for c in reversed(_SERIES):
        series = c + series * i
    parts = [a.exponential(-(high * high)), a.exponential(-(t - high) * (t + high))]
    tail = a.multiply(*parts, Value(series / (t * math.sqrt(math.pi))))
    return a.select(near, Value(plain(a.where(near, z, 0.0))), tail)


def _inverse_hyperbolic(a: Any, plain: Callable[..., Any], x: Value) -> Value:
    z = a.linear(x)
    if x.k is None:
        return Value(plain(z))
    far = a.abs(z) > 1e100
    large = (a.log_abs(a.select(far, x, Value(a.array(1.0)))) + math.log(2)) * a.sign(x.m)
    return Value(a.where(far, large, plain(a.where(far, 1.0, z))))


def _linear_at_zero(a: Any, plain: Callable[..., Any], x: Value, slope: float) -> Value:
    z = a.linear(x)
    if x.k is None:
        return Value(plain(z))
    tiny = a.abs(z) < _TINY
    line = a.multiply(Value(a.array(slope)), a.select(tiny, x, Value(a.array(0.0))))
    return a.select(tiny, line, Value(plain(a.where(tiny, 0.5, z))))


def _asinh(a: Any, plain: Callable[..., Any], x: Value) -> Value:
    if x.k is None:
        return Value(plain(x.m))
    tiny = a.abs(a.linear(x)) < _TINY
    return a.select(tiny, x, _inverse_hyperbolic(a, plain, a.select(tiny, Value(a.array(0.5)), x)))


def _whole(a: Any, plain: Callable[..., Any], x: Value) -> Value:
    z = a.linear(x)
    if x.k is None:
        return Value(plain(z))
    far = a.abs(z) >= 2.0**53
    return a.select(far, x, Value(plain(a.where(far, 0.0, z))))


def _angle(a: Any, plain: Callable[..., Any], y: Value, x: Value) -> Value:
    if y.k is not None or x.k is not None:
        y, x = a.deep(y), a.deep(x)
        top = a.maximum(a.where(y.m == 0, x.k, y.k), a.where(x.m == 0, y.k, x.k))
        y, x = (Value(z.m * a.exp2(a.clip(z.k - top, -1000.0, 0.0))) for z in (y, x))
    return Value(plain(y.m, x.m))


_RULES: dict[Any, Callable[..., Value]] = {
    sp.sinh: partial(_hyperbolic, odd=True),
    sp.cosh: partial(_hyperbolic, odd=False),
    sp.erfc: _erfc,
    sp.asinh: _asinh,
    sp.acosh: _inverse_hyperbolic,
    sp.floor: _whole,
    sp.ceiling: _whole,
    sp.atan2: _angle,
    **{head: partial(_linear_at_zero, slope=1.0) for head in (sp.sin, sp.tan, sp.tanh, sp.asin, sp.atan, sp.atanh)},
    sp.erf: partial(_linear_at_zero, slope=2 / math.sqrt(math.pi)),
    sp.erfinv: partial(_linear_at_zero, slope=math.sqrt(math.pi) / 2),
}
