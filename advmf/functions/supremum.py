"""The largest value of an expression over an interval of one of its letters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sympy as sp
from sympy.core.function import Function

from advmf.errors import ArgumentError
from advmf.functions.columns import register, script

POINTS = 49
"""The values of the letter at which an expression is evaluated: both ends, and Chebyshev's points between them."""

NODES = [-math.cos(math.pi * k / (POINTS - 1)) for k in range(POINTS)]
"""The places of these values in the interval from -1 to 1."""


class Supremum(Function):
    """sup of ``expr`` over ``low <= variable <= high``: ``Supremum(expr, variable, low, high)``.

    Its number is found from :data:`POINTS` values, the ends among them: the vertex of the parabola through the largest
    value and its neighbours, or the value itself at an end. An interval whose ends meet is one point.

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
        """The :class:`Crest` of the values at the points."""
        expr, variable, low, high = self.args
        if variable not in expr.free_symbols:
            return expr
        middle, half = (low + high) / 2, (high - low) / 2
        places = [low, *(middle + sp.Float(node) * half for node in NODES[1:-1]), high]
        return Crest(*(expr.xreplace({variable: place}) for place in places))

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
        return sp.Derivative(self, symbol, evaluate=False) if symbol in self.free_symbols else sp.S.Zero

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


class Crest(Function):
    """The largest value of a function between -1 and 1, from its values at :data:`NODES`: ``Crest(*values)``.

    >>> from advmf.functions.supremum import NODES, Crest
    >>> Crest(*(3 - (node - 0.3) ** 2 for node in NODES)).evalf(10)
    3.000000000
    """

    @classmethod
    def eval(cls, *values: sp.Expr) -> None:
        if len(values) != POINTS:
            raise ArgumentError(f"Crest takes {POINTS} values; got {len(values)}.")

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        raise sp.core.function.ArgumentIndexError(self, argindex)

    def _eval_is_real(self) -> bool | None:
        return True if all(value.is_real for value in self.args) else None

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = rf"\operatorname{{crest}}({', '.join(map(printer._print, self.args))})"
        return text if exp is None else rf"{text}^{{{exp}}}"

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        values = [value._eval_evalf(53) for value in self.args]
        if not all(value is not None and value.is_Float for value in values):
            return None
        return sp.Float(float(_numbers(*(float(value) for value in values))), precision=prec)


def _numbers(*values: Any) -> np.ndarray:
    y = np.stack(np.broadcast_arrays(*values)).astype(float)
    return _crest(y, np.asarray(NODES), y.max(0), y.argmax(0), np.take_along_axis, np.where, np.clip)


def _tensors(*values: Any) -> Any:
    import torch

    y = torch.stack(torch.broadcast_tensors(*values))
    best, at = y.max(0)
    return _crest(
        y,
        torch.as_tensor(NODES, dtype=y.dtype, device=y.device),
        best,
        at,
        lambda a, i, _: a.gather(0, i),
        torch.where,
        torch.clamp,
    )


def _crest(y: Any, nodes: Any, best: Any, at: Any, take: Any, where: Any, clip: Any) -> Any:
    """The vertex of the parabola through the largest value and its neighbours; at an end the value itself."""
    inside = (at > 0) & (at < POINTS - 1)
    k = clip(at, 1, POINTS - 2)
    (a, b, c), (low, middle, high) = (
        [take(y, i[None], 0)[0] for i in (k - 1, k, k + 1)],
        [nodes[i] for i in (k - 1, k, k + 1)],
    )
    rise, fall = (b - a) / (middle - low), (c - b) / (high - middle)
    bend = (rise - fall) / (high - low)
    slope = rise - bend * (middle - low)
    curved = inside & (bend > 0)
    return where(curved, best + slope**2 / (4 * where(curved, bend, bend * 0 + 1)), best)


register(
    Supremum,
    applied=lambda e: e.doit(),
    json=True,
    javascript=script("supremum"),
    binds=lambda e: (sp.Lambda(e.args[1], e.args[0]), e.args[2:]),
)
register(
    Crest,
    numpy=_numbers,
    torch=_tensors,
    elementwise=True,
    json=True,
    python=(
        "def crest(*values):\n    n = len(values) - 1\n    k = max(range(n + 1), key=values.__getitem__)\n"
        "    if k in (0, n):\n        return values[k]\n"
        "    low, middle, high = (-math.cos(math.pi * i / n) for i in (k - 1, k, k + 1))\n"
        "    rise = (values[k] - values[k - 1]) / (middle - low)\n"
        "    bend = (rise - (values[k + 1] - values[k]) / (high - middle)) / (high - low)\n"
        "    return values[k] + (rise - bend * (middle - low)) ** 2 / (4 * bend) if bend > 0 else values[k]"
    ),
)
