"""Putting facts into expressions: equalities where they are known to hold, bounds where the expression is monotone,
approximations where errors do not grow. A substitution that would not follow raises StepError."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sympy as sp

from advmf.errors import StepError
from advmf.expressions import expression
from advmf.functions import Flow, Recursion
from advmf.symbols import N
from advmf.theory.fact import Fact
from advmf.theory.lemma import holds
from advmf.theory.points import BINDING, LOCAL, POINTS, compare, evaluated, observables
from advmf.theory.smoothness import continuous


def put_in_equality(expr: sp.Expr, fact: Fact, where: Sequence[sp.Basic]) -> sp.Expr:
    """``expr`` with the fact's right side in place of its left side.

    Within a case of a Piecewise the conditions of the case are known. Raises StepError where the conditions of the fact
    are not known. It also raises StepError under a derivative, sum or integral over a variable on which only one side
    depends.
    """
    if not expr.has(fact.left):
        return expr
    for act, symbols in _acts(expr):
        moved = symbols & (_differing(fact) | set().union(*(c.free_symbols for c in fact.where)))
        if moved and _inner(act).has(fact.left):
            names = ", ".join(sorted(map(str, moved)))
            raise StepError(
                f"{fact.label} cannot be put in under {type(act).__name__}, which acts on {names}: it is about one value of that."
            )
    return evaluated(_replaced(expr, fact, where))


def _replaced(expr: sp.Basic, fact: Fact, where: Sequence[sp.Basic]) -> sp.Basic:
    if not expr.has(fact.left):
        return expr
    missing = [c for c in fact.where if not known(c, where)]
    if not missing:
        return expr.subs(fact.left, fact.right)
    if expr != fact.left and isinstance(expr, sp.Piecewise):
        cases, here = [], tuple(where)
        for value, condition in expr.args:
            cases.append((_replaced(value, fact, (*here, *_parts(condition))), _replaced(condition, fact, here)))
            here = (*here, *_parts(sp.to_nnf(sp.Not(condition))))
        return sp.Piecewise(*cases)
    if expr == fact.left or not expr.args or isinstance(expr, BINDING):
        raise StepError(f"{fact.label} holds where {', '.join(map(str, missing))}, which is not known here.")
    return expr.func(*(_replaced(arg, fact, where) for arg in expr.args))


def known(condition: sp.Basic, where: Sequence[sp.Basic]) -> bool:
    """Whether a condition is among others, or SymPy proves it on all of the domain."""
    return condition in where or getattr(condition, "reversed", None) in where or holds(condition) == "proved"


def _parts(condition: sp.Basic) -> tuple[sp.Basic, ...]:
    return condition.args if isinstance(condition, sp.And) else (condition,)


def _differing(fact: Fact) -> set[sp.Basic]:
    """The letters that stand on one side only."""
    return fact.left.free_symbols ^ fact.right.free_symbols  # type: ignore[union-attr]


def _acts(expr: sp.Expr) -> Iterator[tuple[sp.Expr, set[sp.Basic]]]:
    """The derivatives, sums and integrals in an expression, each with the symbols on which it acts."""
    for act in expr.atoms(*LOCAL, *BINDING):
        bound = (
            act.variables
            if isinstance(act, sp.Derivative)
            else act.bound_symbols
            if hasattr(act, "bound_symbols")
            else act.args[1:]
        )
        yield act, {s for e in bound for s in expression(e).free_symbols}


def _inner(act: sp.Expr) -> sp.Expr:
    """The expression that is differentiated, summed or integrated, without the ends of the operation."""
    return act.args[2] if isinstance(act, (Recursion, Flow)) else act.args[0]


def put_in(
    expr: sp.Expr, old: sp.Expr, relation: str, new: sp.Expr, label: str, where: Sequence[sp.Basic]
) -> tuple[sp.Expr, str, bool]:
    """``expr`` with ``new`` for ``old``, the relation between the two expressions, and whether the relation is known by
    numbers only."""
    if not expr.has(old):
        raise StepError(f"{label} speaks of {old}, which does not occur in {expr}.")
    if relation == "==":
        return evaluated(expr.subs(old, new)), relation, False
    if relation == "->" and _multiple(expr, old, new):
        return evaluated(expr.subs(old, new)), relation, False
    if relation not in ("<=", ">=", "approx"):
        raise StepError(
            f"{label} says {old} {relation} {new}, which cannot be put in: it leaves no relation that a chain has."
        )
    if any(act.has(old) for act in expr.atoms(*LOCAL)) or any(
        act.has(old) and not old.free_symbols.isdisjoint(bound) for act, bound in _acts(expr)
    ):
        raise StepError(
            f"{label} is no equality, and {old} stands under a derivative or a limit, or depends on what is summed."
        )
    after = evaluated(expr.subs(old, new))
    if relation == "approx":
        return after, relation, _keeps_errors(expr, old, label, where)
    falls, numeric = _monotone(expr, (old, new) if relation == "<=" else (new, old), old, label, where)
    return after, {"<=": ">=", ">=": "<="}[relation] if falls else relation, numeric


def _multiple(expr: sp.Expr, old: sp.Expr, new: sp.Expr) -> bool:
    """Whether ``expr`` is ``old`` times a factor that stands still while ``old`` approaches ``new``: no observable, and
    neither N nor a letter that the limit took away."""
    factor = expr / old
    return not (observables(factor) or factor.free_symbols & ({N} | old.free_symbols - new.free_symbols))


def _monotone(
    expr: sp.Expr, ends: tuple[sp.Expr, sp.Expr], old: sp.Expr, label: str, where: Sequence[sp.Basic]
) -> tuple[bool, bool]:
    """Whether ``expr`` falls (not rises) in ``old`` between two ends, and whether this is known by numbers only."""
    x, gap = sp.Dummy("x", **_sign(*ends)), sp.Dummy("gap", positive=True)
    moved = expr.xreplace({old: x})
    slope = sp.diff(moved, x)
    if continuous(moved, x):
        if slope.is_extended_nonnegative:
            return False, False
        if slope.is_extended_nonpositive:
            return True, False
    near, far = (x, x + gap) if not x.is_negative else (x - gap, x)
    for falls, relation in ((False, ">="), (True, "<=")):
        found = compare(moved.xreplace({x: far}), moved.xreplace({x: near}), relation, where)
        if found.held == POINTS and not found.difference:
            return falls, True
    raise StepError(f"{label} is an inequality, and {expr} is not monotone in {old}.")


def _sign(low: sp.Expr, high: sp.Expr) -> dict[str, bool]:
    """The sign of all numbers between two, as an assumption of a symbol. An end at zero is allowed, by continuity."""
    if _nonnegative(low):
        return {"positive": True}
    return {"negative": True} if high.is_nonpositive else {"real": True}


def _nonnegative(expr: sp.Expr) -> bool:
    if isinstance(expr, (sp.Sum, sp.Product)):
        return _nonnegative(expr.function)
    return bool(expr.is_extended_nonnegative)


def _keeps_errors(expr: sp.Expr, old: sp.Expr, label: str, where: Sequence[sp.Basic]) -> bool:
    """Check that a relative error of ``old`` causes no larger one in ``expr``, else raise StepError; return whether
    this is known by numbers only."""
    x = sp.Dummy("x", **_sign(old, old))
    moved = expr.xreplace({old: x})
    growth = sp.simplify(x * sp.diff(moved, x) / moved)
    if growth.is_number:
        if abs(growth) <= 1:
            return False
    elif (found := compare(sp.Abs(growth), sp.S.One, "<=", where)).held == POINTS and not found.difference:
        return True
    raise StepError(
        f"{label} is an approximation, and in {expr} a relative error of {old} grows: by the factor {growth}."
    )
