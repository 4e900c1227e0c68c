"""Sums, differences, and factors."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import sympy as sp
import torch
from torch import Tensor

from advmf.modules.graph import where
from advmf.modules.items import (
    Added,
    Affine,
    Masked,
    Padded,
    Path,
    Pointwise,
    Values,
    Weights,
    fork,
)
from advmf.modules.operations.functions import composed, together, with_function
from advmf.modules.operations.table import constant_of, rule
from advmf.symbols import z


@rule("add")
def _add(node: Any, x: Any, y: Any, alpha: Any = 1) -> Path:
    if alpha != 1:
        y = multiply(node, y, alpha)
    if not (isinstance(x, tuple) and isinstance(y, tuple)):
        path, constant = (x, y) if isinstance(x, tuple) else (y, x)
        if isinstance(constant, Values) and constant.tensor.numel() > 1:
            return affine(node, path, None, constant.tensor)
        return with_function(node, path, z + constant_of(node, constant))
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
    return _add(node, x, multiply(node, y, -alpha) if isinstance(y, tuple) else -alpha * constant_of(node, y))


@rule("rsub")
def _subtract_from(node: Any, x: Any, y: Any, alpha: Any = 1) -> Path:
    return _subtract(node, y, x, alpha)


@rule("mul")
def multiply(node: Any, x: Any, y: Any) -> Path:
    if isinstance(x, tuple) and isinstance(y, tuple):
        return together(node, x, y, lambda a, b: a * b)
    path, constant = (x, y) if isinstance(x, tuple) else (y, x)
    if isinstance(constant, Values) and constant.tensor.numel() > 1:
        return _factors(node, path, constant)
    return with_function(node, path, z * constant_of(node, constant))


@rule("div")
def _divide(node: Any, x: Any, y: Any) -> Path:
    if isinstance(x, tuple) and isinstance(y, tuple):
        return together(node, x, y, lambda a, b: a / b)
    if not isinstance(x, tuple):
        return with_function(node, y, constant_of(node, x) / z)
    if isinstance(y, Values) and y.tensor.numel() > 1:
        return _factors(node, x, replace(y, tensor=1 / y.tensor))
    return with_function(node, x, z / constant_of(node, y))


def _factors(node: Any, x: Path, by: Values) -> Path:
    """The stream times a vector: a mask, or the factors of an affine map."""
    own = by.tensor.unique()
    if not by.trained and len(own) == 2 and own[0] == 0 and own[1] >= 1:
        return (*x, Masked(where(node), _rate(own[1]), by.tensor))
    return affine(node, x, by.tensor, None)


def _rate(factor: Tensor) -> sp.Expr:
    """The rate of a mask from its factor 1/(1 - rate): the simplest fraction that gives it."""
    exact = 1 - 1 / float(factor)
    for digits in range(1, 9):
        found = Fraction(exact).limit_denominator(10**digits)
        if torch.tensor(1 / (1 - float(found)), dtype=factor.dtype, device=factor.device) == factor:
            return sp.Rational(found)
    return sp.Float(exact)


def affine(node: Any, x: Path, factor: Tensor | None, shift: Tensor | None) -> Path:
    """The stream times a vector plus a vector."""
    shifted = shift if shift is not None and bool(shift.any()) else None
    if factor is None and shifted is None:
        return x
    given = shifted if factor is None else factor
    assert given is not None
    return (*x, Affine(where(node), torch.ones_like(given) if factor is None else factor, shifted))
