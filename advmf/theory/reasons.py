"""The reasons of a derivation's steps, each of which a machine verifies: algebra, Gaussian integrals, limits, substitutions, lemmas.

``reason.verify(left, right, where)`` returns what relation holds and how that is known, or raises StepError.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sympy as sp

from advmf.errors import StepError
from advmf.theory.flow_functions import Flow
from advmf.theory.gaussian_functions import GaussianMean
from advmf.theory.lemma import Instance
from advmf.theory.lemmas import find_lemma
from advmf.theory.points import DIGITS, FLOWS, POINTS, Difference, compare, evaluated, opaque, proves_zero, within

QUADRATURE = 1e-9
"""The relative accuracy asked of a cross-check by quadrature."""

FAR = sp.Integer(10) ** 18
"""Where the departure from a limit is measured that SymPy does not find; it has to be below the inverse root of this."""


class Status(enum.StrEnum):
    """How a statement of a derivation is known.

    ``PROVED``: by SymPy, or by a published lemma whose hypotheses hold. ``CONFIRMED``: at random points, in high precision. ``DEFINED``: it
    introduces a letter. ``ASSUMED``: only stated.
    """

    PROVED = "proved"
    CONFIRMED = "numerically confirmed"
    DEFINED = "defined"
    ASSUMED = "assumed"


@dataclass(frozen=True)
class Fact:
    """``left relation right``, known to a derivation; an assumption in words has no sides."""

    label: str
    text: str
    status: Status
    left: sp.Expr | None = None
    relation: str = "=="
    right: sp.Expr | None = None

    def __str__(self) -> str:
        sides = "" if self.left is None else f"{self.left} {self.relation} {self.right}"
        return ": ".join(part for part in (self.text, sides) if part)


class Verified(NamedTuple):
    """The relation that a reason establishes, and how."""

    relation: str
    status: Status
    evidence: str


class Reason(ABC):
    """Why one expression follows from another."""

    @abstractmethod
    def verify(self, left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic] = ()) -> Verified:
        """The relation between the sides; raises StepError if they do not have it or if nothing here can tell."""


@dataclass(frozen=True)
class Algebra(Reason):
    """The sides are the same number: SymPy proves that, or they agree at random points in high precision.

    >>> import sympy as sp
    >>> from advmf.theory.reasons import algebra
    >>> x = sp.Symbol("x", positive=True)
    >>> algebra.verify((x + 1) ** 2, x**2 + 2 * x + 1)
    Verified(relation='==', status=<Status.PROVED: 'proved'>, evidence='SymPy: the difference is 0')
    """

    def verify(self, left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic] = ()) -> Verified:
        if left == right:
            return Verified("==", Status.PROVED, "the same expression")
        if within(1, lambda: sp.expand(left - right) == 0):
            return Verified("==", Status.PROVED, "SymPy: the difference is 0")
        held = _agree(left, right, where)
        if proves_zero(left - right):
            return Verified("==", Status.PROVED, "SymPy: the difference is 0")
        wanted = FLOWS if left.has(Flow) or right.has(Flow) else POINTS
        if held == wanted or (held and not (left.free_symbols | right.free_symbols)):
            return Verified(
                "==",
                Status.CONFIRMED,
                f"agreement at {held} random points{'' if wanted < POINTS else f', to {DIGITS - 15} digits'}",
            )
        raise StepError(
            f"nothing here can verify it: SymPy does not prove that the difference is 0, and of {wanted} numbers of each side that "
            f"were wanted there are {held}. Split the step, or state it as an assumption."
        )

    def __str__(self) -> str:
        return "algebra"


@dataclass(frozen=True)
class GaussianIntegral(Reason):
    """Means over standard Gaussians, by the rules of :class:`GaussianMean` and SymPy's integral; cross-checked by quadrature."""

    def verify(self, left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic] = ()) -> Verified:
        means = left.atoms(GaussianMean)
        if not means:
            raise StepError(f"the left side, {left}, holds no GaussianMean to evaluate.")
        points = 3 if all(len(mean.args) == 2 for mean in means) else 2
        found = compare(left, right, "==", where, points=points, digits=12, tolerance=QUADRATURE)
        if found.difference:
            raise _differ(found.difference)
        if not found.held:
            raise StepError("nothing here can verify it: quadrature is for one or two Gaussians, and gave no number.")
        at = f"quadrature at {found.held} random point{'s' * (found.held > 1)}"
        done = within(4, lambda: left.replace(lambda e: isinstance(e, GaussianMean), lambda e: e.doit()))
        if done is not None and not done.has(sp.Integral) and proves_zero(done - right):
            return Verified("==", Status.PROVED, f"integrated by SymPy, and by {at}")
        return Verified("==", Status.CONFIRMED, at)

    def __str__(self) -> str:
        return "Gaussian expectation"


@dataclass(frozen=True)
class Limit(Reason):
    """The right side is the limit of the left one as ``symbol`` goes to ``to``, from the side ``direction`` if that is finite."""

    symbol: sp.Symbol
    to: sp.Expr
    direction: str = "+"

    def verify(self, left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic] = ()) -> Verified:
        if self.symbol not in left.free_symbols:
            raise StepError(f"{self.symbol} does not occur in the left side, {left}.")
        plain, target = opaque(evaluated(left), right)
        found = within(10, lambda: sp.limit(plain, self.symbol, self.to, self.direction))
        if found is not None and not found.has(sp.Limit, sp.AccumBounds, sp.nan):
            _agree(found, target, where)
            if proves_zero(found - target):
                return Verified("==", Status.PROVED, "SymPy's limit")
        near = FAR if self.to is sp.oo else self.to + (1 if self.direction == "+" else -1) / FAR
        last = compare(plain.xreplace({self.symbol: near}), target, "==", where, tolerance=float(FAR) ** -0.5)
        if last.difference:
            raise _differ(last.difference, f" with {self.symbol} = {near.evalf(3)}")
        if not last.held:
            raise StepError("nothing here can verify it: SymPy finds no limit, and the sides have no numbers near it.")
        return Verified("==", Status.CONFIRMED, f"approached to 1e-9 at {last.held} random points")

    def __str__(self) -> str:
        return f"limit {self.symbol} -> {self.to}"


@dataclass(frozen=True)
class Substitution(Reason):
    """Known facts are put in: equalities on both sides, an inequality on the left one, where the expression is monotone in what it bounds."""

    facts: tuple[Fact, ...]

    def verify(self, left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic] = ()) -> Verified:
        relation, status, target = "==", Status.PROVED, right
        expr = left
        for fact in self.facts:
            if fact.left is None or fact.right is None:
                raise StepError(f"{fact.label} ({fact.text}) is a statement in words; nothing can be put in by it.")
            if fact.relation == "==":
                if not (expr.has(fact.left) or target.has(fact.left)):
                    raise StepError(f"{fact.label} speaks of {fact.left}, which is on neither side.")
                expr, target = (evaluated(side.subs(fact.left, fact.right)) for side in (expr, target))
                continue
            expr, own, confirmed = _put_in(expr, fact.left, fact.relation, fact.right, fact.label, where)
            relation = chained(relation, own)
            status = Status.CONFIRMED if confirmed else status
        same = algebra.verify(expr, target, where)
        return Verified(relation, worst(status, same.status), same.evidence)

    def __str__(self) -> str:
        return f"by {', '.join(fact.label for fact in self.facts)}"


@dataclass(frozen=True)
class LemmaUse(Reason):
    """One side of a lemma of :mod:`advmf.theory.lemmas` stands in the left expression and is replaced by the other."""

    name: str
    values: tuple[tuple[str, Any], ...]

    def verify(self, left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic] = ()) -> Verified:
        found = find_lemma(self.name)
        instance: Instance = found.at(where, **dict(self.values))
        forwards = (instance.left, instance.relation, instance.right)
        backwards = (instance.right, {"<=": ">=", ">=": "<="}.get(instance.relation, "=="), instance.left)
        chosen = forwards if left.has(instance.left) or not left.has(instance.right) else backwards
        expr, relation, confirmed = _put_in(left, *chosen, self.name, where)
        same = algebra.verify(expr, right, where)
        numeric = confirmed or not instance.proved
        tested = "" if relation == "==" else _tested(left, right, relation, where)
        return Verified(
            relation,
            worst(Status.CONFIRMED if numeric else Status.PROVED, same.status),
            f"{found.source}; hypotheses hold{tested}",
        )

    def __str__(self) -> str:
        return self.name


def lemma(name: str, **values: Any) -> LemmaUse:
    """A step by a named lemma (:data:`advmf.theory.lemmas.LEMMAS`) for these values of its letters; StepError for an unknown one.

    >>> from advmf.theory.reasons import lemma
    >>> lemma("chevet")
    Traceback (most recent call last):
        ...
    advmf.errors.StepError: There is no lemma 'chevet'; did you mean 'Chevet'? The library has ...
    """
    return LemmaUse(find_lemma(name).name, tuple(values.items()))


def by(*facts: Fact) -> Substitution:
    """A step that puts in facts: definitions, assumptions, results of earlier chains."""
    for fact in facts:
        if not isinstance(fact, Fact):
            raise StepError(
                f"by takes facts, as define, assume and result give them; got {fact!r} of type {type(fact).__name__}."
            )
    return Substitution(tuple(facts))


algebra, gaussian = Algebra(), GaussianIntegral()


def chained(first: str, second: str) -> str:
    """The relation of a chain of two; raises StepError for a bound from above followed by one from below.

    >>> from advmf.theory.reasons import chained
    >>> chained("==", "<="), chained("<=", "approx")
    ('<=', 'approx')
    """
    if {first, second} == {"<=", ">="}:
        raise StepError("a bound from above is followed by one from below, which leaves no relation between the ends.")
    strength = ("==", "<=", ">=", "approx")
    return max(first, second, key=strength.index)


def worst(*statuses: Status) -> Status:
    """The weakest of several: assumed, then confirmed, then proved."""
    order = (Status.ASSUMED, Status.CONFIRMED, Status.PROVED, Status.DEFINED)
    return next(status for status in order if status in statuses)


def _agree(left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic]) -> int:
    found = compare(left, right, "==", where)
    if found.difference:
        raise _differ(found.difference)
    return found.held


def _differ(difference: Difference, more: str = "") -> StepError:
    return StepError(f"the sides differ: {difference}{more}.")


def _put_in(
    expr: sp.Expr, old: sp.Expr, relation: str, new: sp.Expr, label: str, where: Sequence[sp.Basic]
) -> tuple[sp.Expr, str, bool]:
    """``expr`` with ``new`` for ``old``, the relation between the two, and whether its direction is known by numbers only."""
    if not expr.has(old):
        raise StepError(f"{label} speaks of {old}, which does not occur in {expr}.")
    after = evaluated(expr.subs(old, new))
    if relation in ("==", "approx"):
        return after, relation, False
    x = sp.Dummy("x", positive=True)
    slope = sp.diff(expr.xreplace({old: x}), x)
    flipped = {"<=": ">=", ">=": "<="}[relation]
    if slope.is_nonnegative:
        return after, relation, False
    if slope.is_nonpositive:
        return after, flipped, False
    for direction, own in ((">=", relation), ("<=", flipped)):
        found = compare(slope, sp.S.Zero, direction, where)
        if found.held == POINTS:
            return after, own, True
    raise StepError(f"{label} is an inequality, and {expr} is not monotone in {old}.")


def _tested(left: sp.Expr, right: sp.Expr, relation: str, where: Sequence[sp.Basic]) -> str:
    """The inequality at random points, where both sides have numbers; raises StepError where it fails."""
    if left.has(sp.Function) and opaque(left)[0] != left:
        return ""
    found = compare(left, right, relation, where)
    if found.difference:
        raise StepError(f"the inequality fails: {found.difference}.")
    return f", and it holds at {found.held} random points" if found.held else ""
