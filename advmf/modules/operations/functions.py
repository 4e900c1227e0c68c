"""Operations on each coordinate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from advmf.modules.graph import where
from advmf.modules.items import (
    Path,
    Pointwise,
    fork,
)
from advmf.modules.operations.table import RULES, constant_of, refuse, rule
from advmf.nets import Erf, Gelu, ReLULike, Sine
from advmf.nets.activations.formula import NAMED
from advmf.symbols import z

_FORMULAS: dict[str, Any] = {
    "relu": lambda: ReLULike(1, 0).phi(z),
    "abs": lambda: ReLULike(1, -1).phi(z),
    "neg": lambda: -z,
    "erf": lambda: Erf().phi(z),
    "special_erf": lambda: Erf().phi(z),
    "sin": lambda: Sine().phi(z),
    "tanh": lambda: NAMED["tanh"],
    "sigmoid": lambda: NAMED["sigmoid"],
    "special_expit": lambda: NAMED["sigmoid"],
    "silu": lambda: NAMED["silu"],
    "selu": lambda: NAMED["selu"],
    "cos": lambda: sp.cos(z),
    "exp": lambda: sp.exp(z),
    "expm1": lambda: sp.exp(z) - 1,
    "log": lambda: sp.log(z),
    "log1p": lambda: sp.log(1 + z),
    "sqrt": lambda: sp.sqrt(z),
    "rsqrt": lambda: 1 / sp.sqrt(z),
    "square": lambda: z**2,
    "reciprocal": lambda: 1 / z,
    "atan": lambda: sp.atan(z),
    "arctan": lambda: sp.atan(z),
    "sinh": lambda: sp.sinh(z),
    "cosh": lambda: sp.cosh(z),
    "mish": lambda: z * sp.tanh(sp.log(1 + sp.exp(z))),
    "relu6": lambda: sp.Max(0, sp.Min(6, z)),
    "hardsigmoid": lambda: sp.Max(0, sp.Min(6, z + 3)) / 6,
    "hardswish": lambda: z * sp.Max(0, sp.Min(6, z + 3)) / 6,
    "softsign": lambda: z / (1 + sp.Abs(z)),
    "log_sigmoid": lambda: -sp.log(1 + sp.exp(-z)),
}


def with_function(node: Any, x: Path, formula: sp.Basic) -> Path:
    return (*x, Pointwise(where(node), formula))


for _name, _make in _FORMULAS.items():
    RULES[_name] = lambda node, x, make=_make: with_function(node, x, make())


@rule("leaky_relu")
def _leaky(node: Any, x: Path, slope: Any = 0.01) -> Path:
    return with_function(node, x, ReLULike(1, constant_of(node, slope)).phi(z))


@rule("gelu")
def _gelu(node: Any, x: Path, approximate: str = "none") -> Path:
    if approximate == "none":
        return with_function(node, x, Gelu().phi(z))
    return with_function(node, x, z * (1 + sp.tanh(sp.sqrt(2 / sp.pi) * (z + sp.Rational("0.044715") * z**3))) / 2)


@rule("softplus")
def _softplus(node: Any, x: Path, beta: Any = 1, threshold: Any = 20) -> Path:
    # Above the threshold torch returns z, which is the function up to rounding.
    slope = constant_of(node, beta)
    return with_function(node, x, sp.log(1 + sp.exp(slope * z)) / slope)


@rule("elu")
def _elu(node: Any, x: Path, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Path:
    a, s, inner = (constant_of(node, value) for value in (alpha, scale, input_scale))
    if (a, s, inner) == (1, 1, 1):
        return with_function(node, x, NAMED["elu"])
    return with_function(node, x, s * sp.Piecewise((z, z > 0), (a * (sp.exp(inner * z) - 1), True)))


@rule("celu")
def _celu(node: Any, x: Path, alpha: Any = 1) -> Path:
    a = constant_of(node, alpha)
    return with_function(node, x, sp.Piecewise((z, z > 0), (a * (sp.exp(z / a) - 1), True)))


@rule("hardtanh", "clamp", "clip")
def _clamp(node: Any, x: Path, low: Any = None, high: Any = None) -> Path:
    if str(node.target).startswith("aten.hardtanh"):
        low, high = -1 if low is None else low, 1 if high is None else high
    formula: sp.Expr = z if high is None else sp.Min(constant_of(node, high), z)
    return with_function(node, x, formula if low is None else sp.Max(constant_of(node, low), formula))


@rule("clamp_min")
def _clamp_min(node: Any, x: Path, low: Any) -> Path:
    return _clamp(node, x, low)


@rule("clamp_max")
def _clamp_max(node: Any, x: Path, high: Any) -> Path:
    return _clamp(node, x, None, high)


@rule("threshold")
def _threshold(node: Any, x: Path, threshold: Any, value: Any) -> Path:
    return with_function(node, x, _chosen(z > constant_of(node, threshold), z, constant_of(node, value)))


@rule("pow")
def _power(node: Any, x: Path, power: Any) -> Path:
    return with_function(node, x, z ** constant_of(node, power))


@rule("full_like", "zeros_like", "ones_like")
def _full(node: Any, x: Path, value: Any = None, **how: Any) -> Path:
    value = float("ones" in str(node.target)) if value is None else value
    return with_function(node, x, constant_of(node, value) + 0 * z)


@rule("maximum", "max")
def _maximum(node: Any, x: Any, y: Any) -> Path:
    return together(node, x, y, sp.Max)


@rule("minimum", "min")
def _minimum(node: Any, x: Any, y: Any) -> Path:
    return together(node, x, y, sp.Min)


def _chosen(condition: Any, a: Any, b: Any) -> sp.Basic:
    return sp.Piecewise((a, condition), (b, True))


for _name, _relation in {"gt": sp.Gt, "lt": sp.Lt, "ge": sp.Ge, "le": sp.Le}.items():
    # True is 1 and False is 0, as where torch computes with them.
    RULES[_name] = lambda node, x, y, relation=_relation: together(
        node, x, y, lambda a, b: _chosen(relation(a, b), sp.S.One, sp.S.Zero)
    )


@rule("where")
def _where(node: Any, condition: Any, x: Any, y: Any) -> Path:
    chosen = together(node, condition, x, lambda c, a: sp.Tuple(c, a))
    return together(node, chosen, y, lambda pair, b: _chosen(_condition(pair[0]), pair[1], b))


def _condition(number: sp.Basic) -> Any:
    """The condition of which a number is 1 or 0."""
    if isinstance(number, sp.Piecewise) and [pair.expr for pair in number.args] == [1, 0]:
        return number.args[0].cond
    return sp.Ne(number, 0)


def composed(path: Path) -> sp.Basic | None:
    """The one function of each coordinate that a path is; None if it is another thing."""
    formula: sp.Basic = z
    for item in path:
        if not isinstance(item, Pointwise):
            return None
        formula = item.formula.xreplace({z: formula})
    return formula


def together(node: Any, x: Any, y: Any, combine: Callable[[Any, Any], sp.Basic]) -> Path:
    """A function of two values that are both functions of the coordinates of the same point."""
    if not (isinstance(x, tuple) and isinstance(y, tuple)):
        path = x if isinstance(x, tuple) else y
        a, b = (z if isinstance(each, tuple) else constant_of(node, each) for each in (x, y))
        return with_function(node, path, combine(a, b))
    common, *rests = fork(x, y)
    a, b = map(composed, rests)
    if a is None or b is None:
        raise refuse(node, "it joins two values that are not functions of the coordinates of the same stream.")
    return (*common, Pointwise(where(node), combine(a, b)))
