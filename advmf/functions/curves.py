"""Calculus on a function of one variable, a SymPy Lambda: its slope, its kinks, its numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import sympy as sp

from advmf.errors import ArgumentError
from advmf.functions.gaussian_mean import KINKED


@lru_cache(maxsize=1024)
def slope(f: sp.Lambda) -> sp.Lambda:
    """f' away from its kinks. There the derivative of a sign is zero, as it is taken here."""
    (z,) = f.variables
    found = sp.diff(f.expr, z).replace(sp.DiracDelta, lambda *_: sp.S.Zero)
    if left := found.atoms(sp.Derivative, sp.Subs):
        raise ArgumentError(f"SymPy knows no derivative of {min(map(str, left), key=len)} in {f.expr}.")
    return sp.Lambda(z, sp.factor_terms(found))


@lru_cache(maxsize=1024)
def smooth(f: sp.Lambda) -> bool:
    """Whether f has no kinks and no jumps."""
    return not f.expr.has(*KINKED, sp.floor, sp.ceiling)


@lru_cache(maxsize=1024)
def kinks(f: sp.Lambda) -> tuple[sp.Expr, ...]:
    """The places where f has a kink or a jump; raises ArgumentError where SymPy does not find them.

    >>> import sympy as sp
    >>> from advmf.functions.curves import kinks
    >>> z = sp.Symbol("z", real=True)
    >>> kinks(sp.Lambda(z, sp.Max(0, z) + sp.Piecewise((z, z < 1), (1, True))))
    (0, 1)
    """
    (z,) = f.variables
    edges = {e for atom in f.expr.atoms(*KINKED) for edge in _edges(atom) for e in _branches(edge)}
    found: set[sp.Expr] = set()
    for edge in edges:
        if not edge.has(z):
            continue
        try:
            roots = sp.solve(edge, z)
        except NotImplementedError:
            roots = []
        if not roots and not (edge.is_positive or edge.is_negative):
            raise ArgumentError(f"SymPy does not find where {edge} = 0, at which {f.expr} has a kink.")
        found |= {root for root in roots if root.is_real is not False}
    return tuple(sorted(found, key=sp.default_sort_key))


@lru_cache(maxsize=1024)
def pieces(f: sp.Lambda, places: tuple[float, ...]) -> tuple[sp.Lambda, ...]:
    """The smooth formulas of f below, between and above its kinks, at the ascending ``places``.

    >>> import sympy as sp
    >>> from advmf.functions.curves import pieces
    >>> z = sp.Symbol("z", real=True)
    >>> [piece.expr for piece in pieces(sp.Lambda(z, sp.Max(0, z) + sp.Abs(z - 1)), (0.0, 1.0))]
    [1 - z, 1, 2*z - 1]
    """
    inner = [(low + high) / 2 for low, high in pairwise(places)]
    return tuple(_piece(f, sp.Float(x)) for x in (places[0] - 1, *inner, places[-1] + 1))


def _piece(f: sp.Lambda, x: sp.Expr) -> sp.Lambda:
    """The smooth formula of f near x, which is no kink."""
    (z,), expr = f.variables, f.expr
    while found := [atom for atom in expr.atoms(*KINKED) if not any(arg.has(*KINKED) for arg in atom.args)]:
        expr = expr.xreplace({atom: _branch(atom, z, x) for atom in found})
    return sp.Lambda(z, expr)


def _branch(atom: sp.Expr, z: sp.Symbol, x: sp.Expr) -> sp.Expr:
    """The expression that a kinked one is near x."""
    if isinstance(atom, sp.Piecewise):
        return next(value for value, condition in atom.args if condition.subs(z, x) == sp.true)
    if isinstance(atom, (sp.Max, sp.Min)):
        choose = max if isinstance(atom, sp.Max) else min
        return choose(atom.args, key=lambda arg: float(arg.subs(z, x)))
    above = float(atom.args[0].subs(z, x)) > 0
    if isinstance(atom, sp.Abs):
        return atom.args[0] if above else -atom.args[0]
    return sp.Integer(above) if isinstance(atom, sp.Heaviside) else sp.Integer(1 if above else -1)


def _edges(atom: sp.Expr) -> set[sp.Expr]:
    """Expressions that are zero where a function has a kink."""
    if isinstance(atom, sp.Piecewise):
        return {c.lhs - c.rhs for c in atom.atoms(sp.core.relational.Relational)}
    if isinstance(atom, (sp.Max, sp.Min)):
        return {x - y for i, x in enumerate(atom.args) for y in atom.args[:i]}
    return {atom.args[0]}


def _branches(expr: sp.Expr) -> set[sp.Expr]:
    """The smooth expressions of which a kinked one is made. Their zeros include those of the expression, and further
    ones do no harm."""
    atom = next(iter(expr.atoms(*KINKED)), None)
    if atom is None:
        return {expr}
    if isinstance(atom, sp.Piecewise):
        values = [value for value, _ in atom.args]
    elif isinstance(atom, (sp.Max, sp.Min)):
        values = list(atom.args)
    else:
        zero, one = sp.S.Zero, sp.S.One
        values = {sp.Abs: [atom.args[0], -atom.args[0]], sp.sign: [-one, one], sp.Heaviside: [zero, one]}[type(atom)]
    return set().union(*(_branches(expr.xreplace({atom: value})) for value in values))


class LogOnePlusExp(sp.Function):
    """ln(1 + e^w) by the library function that does not overflow; for code only, it stands in no formula."""

    def _numpycode(self, printer: Any) -> str:
        return f"{printer._module_format('numpy.logaddexp')}(0.0, {printer._print(self.args[0])})"


@lru_cache(maxsize=1024)
def stable(expr: sp.Expr, z: sp.Symbol) -> sp.Expr:
    """The same function in a form that does not overflow where an exponential in a quotient or a logarithm would.

    >>> import sympy as sp
    >>> from advmf.functions.curves import stable
    >>> z = sp.Symbol("z", real=True)
    >>> stable(z / (1 + sp.exp(-z)), z), stable(sp.log(1 + sp.exp(z)), z)
    (z*(tanh(z/2) + 1)/2, LogOnePlusExp(z))
    """
    w = sp.Wild("w", properties=[lambda e: e.has(z)])
    expr = expr.replace(sp.log(1 + sp.exp(w)), LogOnePlusExp(w))
    under = {e for power in expr.atoms(sp.Pow) if power.exp.is_negative for e in power.base.atoms(sp.exp) if e.has(z)}
    for e in sorted(under, key=sp.default_sort_key):
        all_of_them = [other for other in expr.atoms(sp.exp) if other.has(z)]
        powers = {other: sp.simplify(other.args[0] / e.args[0]) for other in all_of_them}
        if all(power.is_Integer for power in powers.values()):  # else it is no quotient in one exponential
            t = sp.Dummy("t")
            ratio = expr.xreplace({other: ((1 + t) / (1 - t)) ** power for other, power in powers.items()})
            expr = sp.factor_terms(sp.cancel(sp.together(ratio)).xreplace({t: sp.tanh(e.args[0] / 2)}))
    return expr


@lru_cache(maxsize=1024)
def compiled(f: sp.Lambda, parameters: tuple[sp.Symbol, ...]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The function and its kinks as functions of arrays; the parameters are arguments too."""
    (z,) = f.variables
    library = ["scipy", "numpy"]
    return sp.lambdify((z, *parameters), stable(f.expr, z), library), sp.lambdify(parameters, kinks(f), library)


@lru_cache(maxsize=1024)
def require_lipschitz(f: sp.Lambda) -> None:
    """Raise ArgumentError for a function that is not real, does not depend on its variable, or jumps, and for one whose
    slope at a distance of a million from zero is larger than near zero.

    Free symbols in it are set to 1.

    >>> import sympy as sp
    >>> from advmf.functions.curves import require_lipschitz
    >>> z = sp.Symbol("z", real=True)
    >>> require_lipschitz(sp.Lambda(z, sp.Heaviside(z - 1)))
    Traceback (most recent call last):
        ...
    advmf.errors.ArgumentError: it jumps at z = 1
    """
    if not f.expr.has(*f.variables):
        raise ArgumentError("it does not depend on z, which is advmf.symbols.z")
    if f.expr.has(sp.I):
        raise ArgumentError("it is not real")
    try:
        fault = _fault(sp.Lambda(f.variables, f.expr.subs(dict.fromkeys(f.free_symbols, 1))))
    except (NameError, TypeError, ValueError, AttributeError) as error:
        raise ArgumentError(f"NumPy and SciPy do not compute it ({type(error).__name__}: {error})") from None
    if fault:
        raise ArgumentError(fault)


def _fault(f: sp.Lambda) -> str:
    """Why a function without free symbols is not Lipschitz, as far as its numbers tell."""
    (phi, places), (change, _) = compiled(f, ()), compiled(slope(f), ())
    with np.errstate(all="ignore"):
        for place in np.asarray(places(), complex):
            if place.imag == 0 and np.isfinite(place):
                low, high = (float(phi(np.array(place.real + h))) for h in (-1e-9, 1e-9))
                if not abs(high - low) < 1e-6 * (1 + abs(low)):
                    return f"it jumps at z = {place.real:g}"
        near, far = np.linspace(-10.0, 10.0, 2001), 1e6 * np.linspace(1.0, 2.0, 101)
        steep, steeper = (np.abs(np.broadcast_to(change(x), x.shape)) for x in (near, np.concatenate([far, -far])))
        # A Lipschitz function has no infinite slope, not even at a single point.
        bounded = np.isfinite(steep).all() and (steeper <= 10 * (1 + steep.max())).all()
    return "" if bounded else "its slope is not bounded, or its formula overflows for large |z|"
