"""The values of a claim's sides at a point. Each is computed once, for a claim and its wrong versions share most of
them, often up to a factor."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import sympy as sp

from advmf.emit.kernels import Kernel, kernel


def value(expr: Any, at: Mapping[str, float]) -> float:
    """The value of an expression at a point. The point may also have values of symbols that the expression lacks.

    >>> import advmf as mf
    >>> value(mf.symbols.d**2 / mf.symbols.K, {"d": 6, "K": 4, "L": 3})
    9.0
    """
    if isinstance(expr, sp.Abs):
        return abs(value(expr.args[0], at))
    number, rest = expr.as_coeff_Mul()
    return float(number) * _value(rest, tuple((name, at[name]) for name in _compiled(rest).arguments))


@lru_cache(maxsize=4096)
def _compiled(expr: Any) -> Kernel:
    return kernel(expr)


@lru_cache(maxsize=4096)
def _value(expr: Any, at: tuple[tuple[str, float], ...]) -> float:
    return float(_compiled(expr)(**dict(at)))
