"""Paths as they are declared: functions of coordinates one by one, factors in the layers that they belong to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sympy as sp
from torch import Tensor

from advmf.errors import AdvmfError, DeclarationError
from advmf.modules.items import (
    Added,
    Affine,
    Averaged,
    Flat,
    Item,
    Masked,
    Moved,
    Normed,
    Padded,
    Path,
    Pointwise,
    Pooled,
    Weights,
)
from advmf.nets import Activation, Erf, Gelu, ReLULike, Sine
from advmf.nets import Pointwise as Function
from advmf.nets.activations.formula import NAMED
from advmf.nets.block import number
from advmf.symbols import z


def tidy(path: Path, scaled: bool = False) -> tuple[Path, sp.Expr]:
    """A path with its factors in place; the factor at its end by itself where it is ``scaled``."""
    items, scale = list(path), sp.S.One
    while scaled and items and (own := _factor(items[-1])) is not None:
        items.pop()
        scale = scale * own
    found = list[Item]()
    loose: sp.Expr = sp.S.One
    for item in items:
        if isinstance(item, Affine):
            if found and isinstance(found[-1], Weights):
                found[-1] = _folded(item, found[-1])
            else:
                loose = loose * _only(item)
            continue
        if isinstance(item, Padded | Moved):
            raise DeclarationError(f"{item.node}: it changes an image in a way that no declared net has.")
        own = _factor(item)
        if isinstance(item, Added):
            item = _sum(item)
        if own is not None and found and isinstance(found[-1], Weights):
            found[-1] = _times(found[-1], own)
            continue
        if loose != 1 and isinstance(item, Weights):
            item, loose = replace(item, matrix=item.matrix * float(loose)), sp.S.One
        elif loose != 1 and not _commutes(item, loose):
            found.append(Pointwise(item.node, loose * z))
            loose = sp.S.One
        if isinstance(item, Pointwise) and found and isinstance(found[-1], Pointwise):
            item = Pointwise(item.node, _after(item, found.pop()))
        found.append(item)
    if loose != 1:
        found.append(Pointwise(items[-1].node, loose * z))
    return tuple(found), scale


def _sum(item: Added) -> Added:
    shortcut, _ = tidy(item.shortcut)
    branch, scale = tidy(item.branch, scaled=True)
    return replace(item, shortcut=shortcut, branch=branch, scale=scale)


def _factor(item: Item) -> sp.Expr | None:
    """The number by which an item multiplies every coordinate; None for another item."""
    if not isinstance(item, Pointwise) or not isinstance(item.formula, sp.Expr):
        return None
    ratio = sp.cancel(item.formula / z) if item.formula.is_polynomial(z) else z
    return None if ratio.has(z) or ratio == 0 else ratio


def _commutes(item: Item, factor: sp.Expr) -> bool:
    """Whether a factor may stand after an item as well as before it."""
    if isinstance(item, Pointwise):
        return bool(factor > 0) and function(item).homogeneous
    return isinstance(item, Averaged | Pooled | Flat | Masked)


def _folded(item: Affine, before: Weights) -> Weights:
    """A layer with an affine map of its outputs in it."""
    rows = len(before.matrix)
    factor, shift = _per_row(item, item.factor, rows), before.bias
    bias = None if shift is None else factor * shift
    if item.shift is not None:
        shifted = _per_row(item, item.shift, rows)
        bias = shifted if bias is None else bias + shifted
    return replace(before, matrix=factor[:, None] * before.matrix, bias=bias)


def _per_row(item: Affine, values: Tensor, rows: int) -> Tensor:
    if values.numel() not in (1, rows):
        raise DeclarationError(f"{item.node}: {values.numel()} constants for {rows} channels; each channel has one.")
    return values.flatten().expand(rows)


def _only(item: Affine) -> sp.Expr:
    """The one factor of an affine map that no layer takes up."""
    if item.shift is not None:
        raise DeclarationError(
            f"{item.node}: it shifts coordinates by constants, and no Linear or Conv stands right before it to take them up."
        )
    if float(item.factor.min()) != float(item.factor.max()):
        raise DeclarationError(
            f"{item.node}: it scales coordinates by different factors, and no Linear or Conv stands right before it to take them up."
        )
    return number("a module", "a factor", float(item.factor.flatten()[0]))


def _times(item: Weights, factor: sp.Expr) -> Weights:
    number = float(factor)
    return replace(item, matrix=number * item.matrix, bias=None if item.bias is None else number * item.bias)


def _after(item: Pointwise, before: Item) -> sp.Basic:
    assert isinstance(before, Pointwise)
    return item.formula.xreplace({z: before.formula})


_CLOSED = {form.phi(z): form for form in (Erf(), Gelu(), Sine())}
_POSITIVE = sp.Symbol("t", positive=True)


def function(item: Pointwise) -> Function:
    """The declared activation of a function of each coordinate. Raises DeclarationError, with the node, where there is
    none."""
    formula: Any = item.formula
    try:
        if formula in _CLOSED:
            return _CLOSED[formula]
        if formula in NAMED.values():
            return Activation(formula)
        u, v = (sp.cancel(formula.xreplace({z: sign * _POSITIVE}) / (sign * _POSITIVE)) for sign in (1, -1))
        if not (u.free_symbols or v.free_symbols) and formula.xreplace({z: sp.S.Zero}) == 0:
            return ReLULike(u, v)
        return Activation(formula)
    except (AdvmfError, TypeError, ValueError, AttributeError) as error:
        raise DeclarationError(f"{item.node}: {formula!s:.80} is no activation of a declared net: {error}") from None


def require_known(path: Path) -> None:
    """Raise DeclarationError for norms and functions of the inputs themselves."""
    for item in path:
        if isinstance(item, Weights):
            return
        if isinstance(item, Affine | Pointwise | Normed | Added):
            raise DeclarationError(
                f"{item.node}: it acts on the inputs before any Linear or Conv. A declared net begins with a random layer: take that part out, "
                "and give inputs that went through it (normalised images, and eps in their unit)."
            )
