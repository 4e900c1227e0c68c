"""Torch's operations and what they do to a path: one table, from the name of an operation to its rule.

A rule gets the node and its arguments, with paths for values that depend on the input and :class:`Values` for
constants, and returns the path after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import sympy as sp
import torch
from torch import Tensor

from advmf.errors import DeclarationError
from advmf.modules.graph import where
from advmf.modules.items import (
    Added,
    Affine,
    Flat,
    Masked,
    Moved,
    Normed,
    Padded,
    Path,
    Pointwise,
    Pooled,
    Values,
    Weights,
    fork,
)
from advmf.nets import Erf, Gelu, ReLULike, Sine
from advmf.nets.activations.formula import NAMED
from advmf.nets.block import number
from advmf.symbols import z

Rule = Callable[..., Path]
RULES: dict[str, Rule] = {}
"""The rule of each operation, by its name in torch's aten, without an underscore for the form that works in place."""


def refuse(node: Any, why: str) -> DeclarationError:
    """The error for a node that no declared net has."""
    return DeclarationError(f"{where(node)}: {why}")


def rule(*names: str) -> Callable[[Rule], Rule]:
    """A decorator that registers the rule of some operations."""

    def registered(found: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, found))
        return found

    return registered


def _constant(node: Any, value: Any) -> sp.Expr:
    """A number as an expression; a constant tensor of one number too."""
    if isinstance(value, Values) and value.tensor.numel() == 1:
        value = value.tensor.item()
    if isinstance(value, sp.Expr):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse(node, "a number was expected in a function of each coordinate.")
    return number(str(node.name), "a number", float(value))


# Functions of each coordinate.

_FORMULAS: dict[str, Any] = {
    "relu": lambda: ReLULike(1, 0).phi(z),
    "abs": lambda: ReLULike(1, -1).phi(z),
    "neg": lambda: -z,
    "erf": lambda: Erf().phi(z),
    "special_erf": lambda: Erf().phi(z),
    "sin": lambda: Sine().phi(z),
    "tanh": lambda: NAMED["tanh"],
    "sigmoid": lambda: NAMED["sigmoid"],
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


def _pointwise(node: Any, x: Path, formula: sp.Basic) -> Path:
    return (*x, Pointwise(where(node), formula))


for _name, _make in _FORMULAS.items():
    RULES[_name] = lambda node, x, make=_make: _pointwise(node, x, make())


@rule("leaky_relu")
def _leaky(node: Any, x: Path, slope: Any = 0.01) -> Path:
    return _pointwise(node, x, ReLULike(1, _constant(node, slope)).phi(z))


@rule("gelu")
def _gelu(node: Any, x: Path, approximate: str = "none") -> Path:
    if approximate == "none":
        return _pointwise(node, x, Gelu().phi(z))
    return _pointwise(node, x, z * (1 + sp.tanh(sp.sqrt(2 / sp.pi) * (z + sp.Rational("0.044715") * z**3))) / 2)


@rule("softplus")
def _softplus(node: Any, x: Path, beta: Any = 1, threshold: Any = 20) -> Path:
    # Above the threshold torch returns z, which is the function up to rounding.
    slope = _constant(node, beta)
    return _pointwise(node, x, sp.log(1 + sp.exp(slope * z)) / slope)


@rule("elu")
def _elu(node: Any, x: Path, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Path:
    a, s, inner = (_constant(node, value) for value in (alpha, scale, input_scale))
    if (a, s, inner) == (1, 1, 1):
        return _pointwise(node, x, NAMED["elu"])
    return _pointwise(node, x, s * sp.Piecewise((z, z > 0), (a * (sp.exp(inner * z) - 1), True)))


@rule("celu")
def _celu(node: Any, x: Path, alpha: Any = 1) -> Path:
    a = _constant(node, alpha)
    return _pointwise(node, x, sp.Piecewise((z, z > 0), (a * (sp.exp(z / a) - 1), True)))


@rule("hardtanh", "clamp", "clip")
def _clamp(node: Any, x: Path, low: Any = None, high: Any = None) -> Path:
    if str(node.target).startswith("aten.hardtanh"):
        low, high = -1 if low is None else low, 1 if high is None else high
    formula: sp.Expr = z if high is None else sp.Min(_constant(node, high), z)
    return _pointwise(node, x, formula if low is None else sp.Max(_constant(node, low), formula))


@rule("clamp_min", "threshold_min")
def _clamp_min(node: Any, x: Path, low: Any) -> Path:
    return _clamp(node, x, low)


@rule("pow")
def _power(node: Any, x: Path, power: Any) -> Path:
    return _pointwise(node, x, z ** _constant(node, power))


@rule("full_like", "zeros_like", "ones_like")
def _full(node: Any, x: Path, value: Any = None, **how: Any) -> Path:
    value = float("ones" in str(node.target)) if value is None else value
    return _pointwise(node, x, _constant(node, value) + 0 * z)


@rule("maximum", "max")
def _maximum(node: Any, x: Any, y: Any) -> Path:
    return _together(node, x, y, sp.Max)


@rule("minimum", "min")
def _minimum(node: Any, x: Any, y: Any) -> Path:
    return _together(node, x, y, sp.Min)


for _name, _relation in {"gt": sp.Gt, "lt": sp.Lt, "ge": sp.Ge, "le": sp.Le}.items():
    RULES[_name] = lambda node, x, y, relation=_relation: _together(node, x, y, relation)


@rule("where")
def _where(node: Any, condition: Any, x: Any, y: Any) -> Path:
    chosen = _together(node, condition, x, lambda c, a: sp.Tuple(c, a))
    return _together(node, chosen, y, lambda pair, b: sp.Piecewise((pair[1], pair[0]), (b, True)))


def composed(path: Path) -> sp.Basic | None:
    """The one function of each coordinate that a path is; None if it is another thing."""
    formula: sp.Basic = z
    for item in path:
        if not isinstance(item, Pointwise):
            return None
        formula = item.formula.xreplace({z: formula})
    return formula


def _together(node: Any, x: Any, y: Any, combine: Callable[[Any, Any], sp.Basic]) -> Path:
    """A function of two values that are both functions of the coordinates of the same point."""
    if not (isinstance(x, tuple) and isinstance(y, tuple)):
        path = x if isinstance(x, tuple) else y
        a, b = (z if isinstance(each, tuple) else _constant(node, each) for each in (x, y))
        return _pointwise(node, path, combine(a, b))
    common, *rests = fork(x, y)
    a, b = map(composed, rests)
    if a is None or b is None:
        raise refuse(node, "it joins two values that are not functions of the coordinates of the same stream.")
    return (*common, Pointwise(where(node), combine(a, b)))


# Sums, differences, factors.


@rule("add")
def _add(node: Any, x: Any, y: Any, alpha: Any = 1) -> Path:
    if alpha != 1:
        y = _multiply(node, y, alpha)
    if not (isinstance(x, tuple) and isinstance(y, tuple)):
        path, constant = (x, y) if isinstance(x, tuple) else (y, x)
        if isinstance(constant, Values) and constant.tensor.numel() > 1:
            return _affine(node, path, None, constant.tensor)
        return _pointwise(node, path, z + _constant(node, constant))
    common, a, b = fork(x, y)
    both = composed(a), composed(b)
    if both[0] is not None and both[1] is not None:
        return (*common, Pointwise(where(node), both[0] + both[1]))
    shortcut, branch = (a, b) if _effort(a) <= _effort(b) else (b, a)
    return (*common, Added(where(node), shortcut, branch))


def _effort(path: Path) -> tuple[int, int]:
    """The path with less of it is the shortcut."""
    return sum(not isinstance(item, Weights | Padded) for item in path), len(path)


@rule("sub")
def _subtract(node: Any, x: Any, y: Any, alpha: Any = 1) -> Path:
    if isinstance(y, Values) and y.tensor.numel() > 1:
        return _add(node, x, replace(y, tensor=-alpha * y.tensor))
    return _add(node, x, _multiply(node, y, -alpha) if isinstance(y, tuple) else -alpha * _constant(node, y))


@rule("rsub")
def _subtract_from(node: Any, x: Any, y: Any, alpha: Any = 1) -> Path:
    return _subtract(node, y, x, alpha)


@rule("mul")
def _multiply(node: Any, x: Any, y: Any) -> Path:
    if isinstance(x, tuple) and isinstance(y, tuple):
        return _together(node, x, y, lambda a, b: a * b)
    path, constant = (x, y) if isinstance(x, tuple) else (y, x)
    if isinstance(constant, Values) and constant.tensor.numel() > 1:
        return _factors(node, path, constant)
    return _pointwise(node, path, z * _constant(node, constant))


@rule("div")
def _divide(node: Any, x: Any, y: Any) -> Path:
    if isinstance(x, tuple) and isinstance(y, tuple):
        return _together(node, x, y, lambda a, b: a / b)
    if not isinstance(x, tuple):
        return _pointwise(node, y, _constant(node, x) / z)
    if isinstance(y, Values) and y.tensor.numel() > 1:
        return _factors(node, x, replace(y, tensor=1 / y.tensor))
    return _pointwise(node, x, z / _constant(node, y))


def _factors(node: Any, x: Path, by: Values) -> Path:
    """The stream times a vector: a mask, or the factors of an affine map."""
    own = by.tensor.unique()
    if not by.trained and len(own) == 2 and own[0] == 0 and own[1] >= 1:
        return (*x, Masked(where(node), _rate(own[1]), by.tensor))
    return _affine(node, x, by.tensor, None)


def _rate(factor: Tensor) -> sp.Expr:
    """The rate of a mask from its factor 1/(1 - rate): the simplest fraction that gives it."""
    exact = 1 - 1 / float(factor)
    for digits in range(1, 9):
        found = Fraction(exact).limit_denominator(10**digits)
        if torch.tensor(1 / (1 - float(found))).to(factor) == factor:
            return sp.Rational(found)
    return sp.Float(exact)


def _affine(node: Any, x: Path, factor: Tensor | None, shift: Tensor | None) -> Path:
    """The stream times a vector plus a vector."""
    shifted = shift if shift is not None and bool(shift.any()) else None
    if factor is None and shifted is None:
        return x
    given = shifted if factor is None else factor
    assert given is not None
    return (*x, Affine(where(node), torch.ones_like(given) if factor is None else factor, shifted))


# Layers.


@rule("linear")
def _linear(node: Any, x: Path, weight: Any, bias: Any = None) -> Path:
    weight, bias = _parameters(node, weight, bias)
    return (*x, _weights(node, weight, bias, weight.tensor))


@rule("conv1d", "conv2d")
def _convolve(
    node: Any,
    x: Path,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Path:
    weight, bias = _parameters(node, weight, bias)
    axes = weight.tensor.ndim - 2
    kernels = set(weight.tensor.shape[2:])
    steps, gaps, pads = (
        set(value) if isinstance(value, list | tuple) else {value} for value in (stride, dilation, padding)
    )
    kernel, around, before = max(kernels), "zero", 0
    if x and isinstance(x[-1], Padded):
        *rest, padded = x
        x, before, around = tuple(rest), padded.width, padded.padding  # type: ignore[attr-defined]
    if pads <= {"same", "valid"}:
        pads = {kernel // 2 if "same" in pads else 0}
    pads = {size + before for size in pads}
    supported = (
        len(kernels) == len(steps) == 1 and kernel % 2 == 1 and pads == {kernel // 2} and gaps == {1} and groups == 1
    )
    if not supported:
        raise refuse(
            node,
            f"a convolution with kernel {sorted(kernels)}, stride {sorted(steps)}, padding {sorted(pads)}, dilation {sorted(gaps)} and groups "
            f"{groups}. Supported are odd kernels, the same along all axes, with the padding kernel//2 (zeros or circular), dilation 1 and groups 1.",
        )
    matrix = weight.tensor.flatten(1)
    found = _weights(node, weight, bias, matrix)
    return (*x, replace(found, axes=axes, kernel=kernel, stride=int(max(steps)), padding=around))


def _parameters(node: Any, weight: Any, bias: Any) -> tuple[Values, Values | None]:
    for each in (weight, bias):
        if isinstance(each, tuple):
            raise refuse(node, "its weights are computed; only parameters have a law (remove parametrisations first).")
    return weight, bias


def _weights(node: Any, weight: Values, bias: Values | None, matrix: Tensor) -> Weights:
    return Weights(where(node), weight.name, matrix, None if bias is None else bias.tensor, weight.trained)


@rule("pad")
def _pad(node: Any, x: Path, widths: Any, mode: str = "constant", value: Any = None) -> Path:
    axes = len(node.meta["val"].shape) - 2
    if (
        len(set(widths)) != 1
        or len(widths) != 2 * axes
        or mode not in ("circular", "constant")
        or value not in (None, 0)
    ):
        raise refuse(
            node, f"padding {list(widths)} in mode {mode!r}; supported are zeros and circular, the same at all sides."
        )
    return (*x, Padded(where(node), int(widths[0]), "circular" if mode == "circular" else "zero"))


@rule("batch_norm")
def _batch_norm(
    node: Any,
    x: Path,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    training: bool,
    momentum: Any,
    eps: float,
    *rest: Any,
) -> Path:
    if training or mean is None or var is None:
        raise refuse(
            node,
            "a batch norm that uses the batch's own statistics; call module.eval() first, with running statistics.",
        )
    factor = (var.tensor + eps).rsqrt() * (1 if weight is None else weight.tensor)
    return _affine(node, x, factor, -mean.tensor * factor + (0 if bias is None else bias.tensor))


@rule("layer_norm")
def _layer_norm(node: Any, x: Path, shape: Any, weight: Any = None, bias: Any = None, *rest: Any) -> Path:
    return _norm(node, x, shape, weight, bias, True)


@rule("rms_norm")
def _rms_norm(node: Any, x: Path, shape: Any, weight: Any = None, *rest: Any) -> Path:
    return _norm(node, x, shape, weight, None, False)


def _norm(node: Any, x: Path, shape: Any, weight: Any, bias: Any, centred: bool) -> Path:
    sizes = node.meta["val"].shape
    if len(shape) != 1 or not (len(sizes) == 2 or (x and isinstance(x[-1], Moved))):
        raise refuse(
            node,
            f"a norm over the axes of sizes {list(shape)}; a declared norm is over the channels, at each position.",
        )
    after = (*x, Normed(where(node), centred))
    return _affine(node, after, *(None if each is None else each.tensor for each in (weight, bias)))


@rule("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
def _dropout(node: Any, x: Path, rate: float = 0.5, training: bool = False) -> Path:
    if training and rate:
        raise refuse(node, "dropout in the mode of training; call module.eval() first.")
    return x


# Shapes.


@rule("flatten", "view", "reshape", "squeeze", "unflatten", "unsqueeze", "_unsafe_view")
def _reshape(node: Any, x: Path, *how: Any) -> Path:
    before, after = (tuple(each.meta["val"].shape) for each in (node.args[0], node))
    if before == after or (x and isinstance(x[-1], Pooled) and len(after) == 2):
        return x
    if after != (before[0], *[node.meta["val"][0].numel()]):
        raise refuse(
            node,
            f"it turns {before[1:]} into {after[1:]}; supported is to flatten an image, at the start or before the last layer.",
        )
    return (*x, Flat(where(node)))


@rule("alias", "clone", "contiguous", "detach", "lift_fresh_copy", "positive", "identity", "to", "_to_copy")
def _same(node: Any, x: Path, *how: Any, **more: Any) -> Path:
    return x


@rule("adaptive_avg_pool1d", "adaptive_avg_pool2d")
def _adaptive(node: Any, x: Path, size: Any) -> Path:
    if set(size) != {1}:
        raise refuse(
            node,
            f"an average over parts of the image (to {list(size)}); supported is the average over all positions, at the end.",
        )
    return (*x, Pooled(where(node)))


@rule("avg_pool1d", "avg_pool2d")
def _average(node: Any, x: Path, size: Any, *how: Any) -> Path:
    before, after = (tuple(each.meta["val"].shape[2:]) for each in (node.args[0], node))
    if set(after) != {1} or tuple(size) not in (before, before[:1]):
        raise refuse(
            node,
            f"an average over windows of {list(size)} positions; supported is the average over all positions, at the end.",
        )
    return (*x, Pooled(where(node)))


@rule("mean")
def _mean(node: Any, x: Path, axes: Any = None, keep: bool = False, **how: Any) -> Path:
    count = len(node.args[0].meta["val"].shape)
    if axes is None or sorted(axis % count for axis in axes) != list(range(2, count)):
        raise refuse(node, "a mean; supported is that over all positions of an image, at the end.")
    return (*x, Pooled(where(node)))


@rule("movedim", "moveaxis")
def _move(node: Any, x: Path, source: Any, target: Any) -> Path:
    count = len(node.meta["val"].shape)
    return _moved(node, x, source % count, target % count)


@rule("permute")
def _permute(node: Any, x: Path, order: Any) -> Path:
    count = len(node.meta["val"].shape)
    own = [axis % count for axis in order]
    for pair in ((1, count - 1), (count - 1, 1)):
        expected = [axis for axis in range(count) if axis != pair[0]]
        expected.insert(pair[1], pair[0])
        if own == expected:
            return _moved(node, x, *pair)
    raise refuse(
        node, f"it orders the axes as {own}; inputs are channels first, and a norm may take the channels last and back."
    )


@rule("transpose")
def _transpose(node: Any, x: Path, a: int, b: int) -> Path:
    if len(node.meta["val"].shape) != 3:
        raise refuse(node, f"it exchanges the axes {a} and {b}; inputs are channels first.")
    return _moved(node, x, 1, 2)


def _moved(node: Any, x: Path, source: int, target: int) -> Path:
    """The channels taken last for a norm, and back; together that is the norm alone."""
    last = len(node.meta["val"].shape) - 1
    if (
        len(x) > 1
        and isinstance(x[-2], Moved)
        and isinstance(x[-1], Normed)
        and (source, target) in {(last, 1), (1, last)}
    ):
        return (*x[:-2], x[-1])
    if (source, target) != (1, last) or not x:
        raise refuse(
            node, "it moves the axes of an image; supported is to take the channels last for a norm, and back."
        )
    return (*x, Moved(where(node), source, target))
