"""JavaScript as the array library of kernels: its arrays are expressions of JavaScript, which are written down instead
of computed.

An operation on :class:`Traced` values gives another one. The columns of special functions and the arithmetic of
:mod:`advmf.emit.engine.scaled` run on them unchanged, and what they compute becomes source text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sympy as sp

from advmf.emit.engine.scaled import Arrays, Value
from advmf.errors import UnsupportedFunctionError
from advmf.functions.normal_mean import Integrand

_FOLD: dict[str, Callable[..., Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "<": np.less, "<=": np.less_equal, ">": np.greater,
    ">=": np.greater_equal, "===": np.equal, "!==": np.not_equal, "&&": np.logical_and, "||": np.logical_or,
    "!": np.logical_not, "?": np.where, "pow": np.power, "exp": np.exp, "log": np.log, "log1p": np.log1p,
    "expm1": np.expm1, "floor": np.floor, "sqrt": np.sqrt, "abs": np.abs, "sign": np.sign, "max": np.maximum,
    "min": np.minimum, "exp2": np.exp2, "exponent": lambda m: np.float64(np.frexp(m)[1]),
    "shifted": lambda m, e: np.ldexp(m, -int(e)),
}  # fmt: skip
"""The operations on constants that are done at once."""


def _both(op: str) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    """The methods for ``self op other`` and ``other op self``."""
    return lambda self, other: make(op, self, other), lambda self, other: make(op, other, self)


@dataclass(frozen=True, eq=False)
class Traced:
    """An expression of JavaScript: an operation on others, ``"constant"`` or ``"name"``, whose datum is in ``data``.

    ``"own"`` calls the function whose source is its datum, ``"item"`` is an entry of what ``"loop"`` or ``"flow"``
    gives, ``"mean"`` is a mean over a Gaussian.
    """

    op: str
    args: tuple[Traced, ...] = ()
    data: Any = None

    __add__, __radd__ = _both("+")
    __sub__, __rsub__ = _both("-")
    __mul__, __rmul__ = _both("*")
    __truediv__, __rtruediv__ = _both("/")
    __lt__, __gt__ = _both("<")
    __le__, __ge__ = _both("<=")
    __eq__, __ne__ = _both("===")[0], _both("!==")[0]
    __and__, __rand__ = _both("&&")
    __or__, __ror__ = _both("||")
    __hash__ = object.__hash__

    def __neg__(self) -> Traced:
        return make("-", 0.0, self) if self.op != "constant" else constant(-self.data)

    def __pow__(self, other: Any) -> Traced:
        return make("*", self, self) if isinstance(other, int) and other == 2 else make("pow", self, other)

    def __xor__(self, other: Any) -> Traced:
        return make("!", self) if other is True else make("!==", self, other)

    def __invert__(self) -> Traced:
        return make("!", self)

    def __bool__(self) -> bool:
        raise UnsupportedFunctionError(
            "A function without a column javascript= decides by its numbers which operations it takes, so that they "
            "cannot be written in JavaScript. Register javascript= for it."
        )


def constant(value: Any) -> Traced:
    """A number or a truth value."""
    return Traced("constant", data=bool(value) if isinstance(value, bool | np.bool_) else float(value))


def traced(value: Any) -> Traced:
    """The value itself if it is traced, else a constant."""
    return value if isinstance(value, Traced) else constant(value)


def make(op: str, *args: Any) -> Traced:
    """An operation; one on constants is done at once, and one that changes nothing is left out."""
    nodes = tuple(map(traced, args))
    if op in _FOLD and all(node.op == "constant" for node in nodes):
        with np.errstate(all="ignore"):
            return constant(np.asarray(_FOLD[op](*(node.data for node in nodes)))[()])
    first = nodes[0].data if nodes[0].op == "constant" else None
    last = nodes[-1].data if nodes[-1].op == "constant" else None
    if op == "?" and first is not None:
        return nodes[1] if first else nodes[2]
    if op == "?" and nodes[1] is nodes[2]:
        return nodes[1]
    if op in ("&&", "||") and (first is not None or last is not None):
        known, other = (first, nodes[1]) if first is not None else (last, nodes[0])
        return constant(known) if known == (op == "||") else other
    if (op == "*" and first == 1.0) or (op == "+" and first == 0.0):
        return nodes[1]
    if (op in "*/" and last == 1.0) or (op in "+-" and last == 0.0):
        return nodes[0]
    return Traced(op, nodes)


def _call(name: str) -> Callable[..., Traced]:
    return lambda *args: make(name, *args)


class JavaScript(Arrays):
    """Numbers as expressions of JavaScript."""

    name = "javascript"
    functions: ClassVar = {
        head: _call(name)
        for head, name in {
            sp.sin: "sin", sp.cos: "cos", sp.tan: "tan", sp.asin: "asin", sp.acos: "acos", sp.atan: "atan",
            sp.atan2: "atan2", sp.sinh: "sinh", sp.cosh: "cosh", sp.tanh: "tanh", sp.asinh: "asinh",
            sp.acosh: "acosh", sp.atanh: "atanh", sp.erf: "erf", sp.erfc: "erfc", sp.floor: "floor",
            sp.ceiling: "ceil",
        }.items()
    }  # fmt: skip
    where = staticmethod(_call("?"))
    exp, expm1, log, log1p = map(staticmethod, map(_call, ("exp", "expm1", "log", "log1p")))
    exp2, floor, sqrt, abs, sign = map(staticmethod, map(_call, ("exp2", "floor", "sqrt", "abs", "sign")))
    maximum, erfc, lgamma = map(staticmethod, map(_call, ("max", "erfc", "lgamma")))
    asin, acos = map(staticmethod, map(_call, ("asin", "acos")))
    array = detach = staticmethod(traced)

    @staticmethod
    def clip(x: Any, low: float, high: float) -> Traced:
        return make("min", make("max", x, low), high)

    @staticmethod
    def broadcast(*arrays: Any) -> tuple[Traced, ...]:
        return tuple(map(traced, arrays))

    @staticmethod
    def tracked(_: Any) -> bool:
        return False

    @staticmethod
    def integral(head: Any) -> Callable[..., Traced] | None:
        """A mean over one Gaussian; raises UnsupportedFunctionError for one over several."""
        if not isinstance(head, Integrand):
            return None
        if head.kind.places > 1:
            raise UnsupportedFunctionError(
                f"{head.__name__} has no JavaScript form: it takes a quadrature in the plane."
            )
        return lambda *args: Traced("mean", tuple(map(traced, args)), head)

    @staticmethod
    def written(source: str) -> Callable[..., Traced]:
        """The function whose source a column has."""
        return lambda *args: Traced("own", tuple(map(traced, args)), source)

    @staticmethod
    def split(m: Any, k: Any) -> tuple[Any, Any]:
        shift = make("exponent", m)
        return make("shifted", m, shift), k + shift

    def guard(self, x: Value, _: Any) -> Value:
        return x

    # What follows is the arithmetic of the base class in one call for each, so that pages stay small.

    def log_abs(self, x: Value) -> Any:
        if x.k is None and x.rest is None:
            return make("log", make("abs", x.m))
        return (
            super().log_abs(x) if x.k is None else make("logarithm", x.m, x.k, math.nan if x.rest is None else x.rest)
        )

    def exponential(self, x: Any) -> Value:
        k = make("exp_exponent", x)
        return Value(make("exp_mantissa", x, k), k)

    def linear(self, x: Value) -> Any:
        return x.m if x.k is None else make("linear", x.m, x.k)

    def add(self, *terms: Value) -> Value:
        if all(term.k is None for term in terms) or len(terms) == 1:
            return super().add(*terms)
        terms = tuple(map(self.deep, terms))
        top = make("top", *(part for term in terms for part in term[:2]))
        total: Any = 0.0
        for m, k, _ in terms:
            total = make("+", total, make("below", m, make("-", k, top)))
        return Value(*self.split(total, top))

    @classmethod
    def read(cls, values: Mapping[str, object]) -> tuple[Arrays, list[Any]]:
        return cls(), [Traced("name", data=name) for name in values]
