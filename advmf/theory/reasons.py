"""The reasons of a derivation's steps, each verified by machine: algebra, Gaussian integrals, limits, substitutions,
lemmas.

``reason.verify(left, right, where)`` returns the relation that holds and how it is known, or raises StepError.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, NamedTuple

import sympy as sp

from advmf.errors import StepError
from advmf.expressions import expression
from advmf.functions import Flow, GaussianMean, NormalMean
from advmf.theory.clock import within
from advmf.theory.fact import Fact, Status, chained, worst
from advmf.theory.lemma import Instance
from advmf.theory.lemmas import find_lemma
from advmf.theory.points import (
    DIGITS,
    FLOWS,
    POINTS,
    Difference,
    abstracted,
    compare,
    evaluated,
    observables,
    opaque,
    proves_zero,
)
from advmf.theory.put_in import known, put_in, put_in_equality

QUADRATURE = 1e-9
"""The relative accuracy asked of a cross-check by quadrature."""

FAR = (sp.Integer(10) ** 18, sp.Integer(3) ** 39 + 2, sp.Rational(7) ** 29 / 3, sp.Integer(10) ** 40 + 1)
"""Where a limit that SymPy does not find is checked by numbers: the departure from it must be below 1e-9 at each of
these."""


class Verified(NamedTuple):
    """The relation that a reason establishes, its status and the evidence for it."""

    relation: str
    status: Status
    evidence: str


class Reason(ABC):
    """Why one expression follows from another."""

    @abstractmethod
    def verify(self, left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic] = ()) -> Verified:
        """The relation between the sides; raises StepError if it fails or cannot be verified."""


QUICK, PATIENT, LONG = 1, 4, 10
"""Seconds of processor time for SymPy to expand a difference, to integrate and to take a limit; without a limit it may
never end. After that time other means take over, and the step says what it rests on."""

REMEMBERED = 1000
"""How many verified steps, integrals and limits a process keeps."""

Verify = Callable[[Any, sp.Expr, sp.Expr, Sequence[sp.Basic]], Verified]


def remembered(verify: Verify) -> Callable[..., Verified]:
    """A verification that is done once in a process for the same reason, sides and conditions, on which alone it
    depends. A step that is refused is verified anew."""
    found = lru_cache(REMEMBERED)(verify)

    @wraps(verify)
    def again(self: Reason, left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic] = ()) -> Verified:
        return found(self, left, right, tuple(where))

    return again


@lru_cache(REMEMBERED)
def _integrated(expr: sp.Expr) -> sp.Expr | None:
    """The expression with its Gaussian means done; None if SymPy does not get there in time."""
    return within(PATIENT, lambda: expr.replace(lambda e: isinstance(e, GaussianMean), lambda e: e.doit()))


@lru_cache(REMEMBERED)
def _limit(expr: sp.Expr, symbol: sp.Symbol, to: sp.Expr, direction: str) -> sp.Expr | None:
    """SymPy's limit; None if it finds none in time. A polynomial approaches its value."""
    if to.is_finite and expr.is_polynomial(symbol):
        return expr.subs(symbol, to)
    found = within(LONG, lambda: sp.limit(expr, symbol, to, direction))
    return None if found is None or found.has(sp.Limit, sp.AccumBounds, sp.nan) else found


@dataclass(frozen=True)
class Algebra(Reason):
    """The sides are the same number: SymPy proves that, or they agree at random points in high precision.

    >>> import sympy as sp
    >>> from advmf.theory.reasons import algebra
    >>> x = sp.Symbol("x", positive=True)
    >>> algebra.verify((x + 1) ** 2, x**2 + 2 * x + 1)
    Verified(relation='==', status=<Status.PROVED: 'proved'>, evidence='SymPy: the difference is 0')
    """

    @remembered
    def verify(self, left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic] = ()) -> Verified:
        if left == right:
            return Verified("==", Status.PROVED, "the same expression")
        if within(QUICK, lambda: sp.expand(left - right) == 0):
            return Verified("==", Status.PROVED, "SymPy: the difference is 0")
        # If the sides agree for any values of their functions, the values need not be computed.
        same = abstracted(left, right)
        general = compare(same[0], same[1], "==", where)
        held = general.held if not general.difference else 0
        wanted = POINTS
        if held < wanted:
            held, wanted = _agree(left, right, where), FLOWS if left.has(Flow) or right.has(Flow) else POINTS
        if proves_zero(left - right):
            return Verified("==", Status.PROVED, "SymPy: the difference is 0")
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
    """Means over standard Gaussians, by the rules of :class:`GaussianMean` and SymPy's integral; cross-checked by
    quadrature."""

    @remembered
    def verify(self, left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic] = ()) -> Verified:
        means = left.atoms(GaussianMean)
        if not means:
            raise StepError(f"the left side, {left}, holds no GaussianMean to evaluate.")
        # A side that names a mean by quadrature has no closed form, and the search for one would take all its time.
        named = right.atoms(NormalMean) - left.atoms(NormalMean)
        done = None if named else _integrated(left)
        closed = done is not None and not done.has(sp.Integral)
        # SymPy's integral is cross-checked at a few points, since each takes a quadrature. Then the sides are compared
        # at many.
        points = (3 if all(len(mean.args) == 2 for mean in means) else 2) * (1 if closed else 2)
        found = compare(left, right, "==", where, points=points, digits=12, tolerance=QUADRATURE)
        if found.difference:
            raise _differ(found.difference)
        if not found.held:
            raise StepError("nothing here can verify it: quadrature is for one or two Gaussians, and gave no number.")
        at = f"quadrature at {found.held} random point{'s' * (found.held > 1)}"
        if closed:
            _agree(done, right, where)
            if proves_zero(done - right):
                return Verified("==", Status.PROVED, f"integrated by SymPy, and by {at}")
        return Verified("==", Status.CONFIRMED, at)

    def __str__(self) -> str:
        return "Gaussian expectation"


@dataclass(frozen=True)
class Limit(Reason):
    """The right side is the limit of the left side as ``symbol`` goes to ``to``; ``direction`` is the side from which
    it approaches a finite ``to``."""

    symbol: sp.Symbol
    to: sp.Expr
    direction: str = "+"

    @remembered
    def verify(self, left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic] = ()) -> Verified:
        to, sign = expression(self.to), {"+": 1, "-": -1}.get(self.direction)
        if sign is None:
            raise StepError(
                f"direction is '+' or '-', the side from which {self.symbol} goes to {to}; got {self.direction!r}."
            )
        if self.symbol in to.free_symbols:
            raise StepError(f"{self.symbol} cannot go to {to}, which holds it.")
        if self.symbol not in left.free_symbols:
            raise StepError(f"{self.symbol} does not occur in the left side, {left}.")
        if self.symbol in right.free_symbols:
            raise StepError(f"the limit does not depend on {self.symbol}, and the right side, {right}, does.")
        if moving := [e for side in (left, right) for e in observables(side) if self.symbol in e.free_symbols]:
            raise StepError(
                f"{moving[0]} may depend on {self.symbol}, and nothing here knows its limit: state it as an assumption."
            )
        plain, target = opaque(evaluated(left), right)
        nears = [sign * far if to.is_infinite else to + sign / far for far in FAR] if to is not sp.oo else FAR
        if any(condition.xreplace({self.symbol: nears[0]}) == sp.false for condition in where):
            raise StepError(
                f"the conditions of this chain, {', '.join(map(str, where))}, exclude {self.symbol} near {to}."
            )
        found = _limit(plain, self.symbol, to, self.direction)
        if found is not None:
            held = _agree(found, target, where)
            if proves_zero(found - target):
                return Verified("->", Status.PROVED, "SymPy's limit")
            if not held:
                raise StepError(f"SymPy's limit is {found}, and nothing here can verify that it is the right side.")
        for near in nears:
            last = compare(plain.xreplace({self.symbol: near}), target, "==", where, tolerance=1e-9)
            if last.difference:
                raise _differ(last.difference, f" with {self.symbol} = {near.evalf(3)}")
            if not last.held:
                raise StepError(
                    "nothing here can verify it: SymPy finds no limit, and the sides have no numbers near it."
                )
        return Verified("->", Status.CONFIRMED, f"approached to 1e-9 at {last.held} random points")

    def __str__(self) -> str:
        return f"limit {self.symbol} -> {self.to}"


@dataclass(frozen=True)
class Substitution(Reason):
    """Known facts are put in: an equality on both sides; an inequality on the left side, if the expression is monotone
    in the bounded quantity."""

    facts: tuple[Fact, ...]

    @remembered
    def verify(self, left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic] = ()) -> Verified:
        relation, status, target = "==", Status.PROVED, right
        expr, here = left, tuple(where)
        for fact in self.facts:
            if fact.left is None or fact.right is None:
                raise StepError(f"{fact.label} ({fact.text}) is a statement in words; nothing can be put in by it.")
            if fact.relation == "==":
                if not (expr.has(fact.left) or target.has(fact.left)):
                    raise StepError(f"{fact.label} speaks of {fact.left}, which is on neither side.")
                expr, target = (put_in_equality(side, fact, here) for side in (expr, target))
                # A condition stays true when equals are put into it.
                here = tuple(dict.fromkeys((*here, *(c.subs(fact.left, fact.right) for c in here if not fact.where))))
                continue
            if missing := [c for c in fact.where if not known(c, here)]:
                raise StepError(f"{fact.label} holds where {', '.join(map(str, missing))}, which is not known here.")
            expr, own, confirmed = put_in(expr, fact.left, fact.relation, fact.right, fact.label, here)
            relation = chained(relation, own)
            status = Status.CONFIRMED if confirmed else status
        same = algebra.verify(expr, target, here)
        return Verified(relation, worst(status, same.status), same.evidence)

    def __str__(self) -> str:
        return f"by {', '.join(fact.label for fact in self.facts)}"


@dataclass(frozen=True)
class LemmaUse(Reason):
    """One side of a lemma of :mod:`advmf.theory.lemmas`, which stands in the left expression, is replaced by the
    lemma's other side."""

    name: str
    values: tuple[tuple[str, Any], ...]

    def verify(self, left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic] = ()) -> Verified:
        found = find_lemma(self.name)
        instance: Instance = found.at(where, **dict(self.values))
        forwards = (instance.left, instance.relation, instance.right)
        backwards = (instance.right, {"<=": ">=", ">=": "<="}.get(instance.relation, "=="), instance.left)
        chosen = forwards if left.has(instance.left) or not left.has(instance.right) else backwards
        expr, relation, confirmed = put_in(left, *chosen, self.name, where)
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
    """A step by a named lemma (:data:`advmf.theory.lemmas.LEMMAS`) for these values of its letters; StepError for an
    unknown one.

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


def _agree(left: sp.Expr, right: sp.Expr, where: Sequence[sp.Basic]) -> int:
    found = compare(left, right, "==", where)
    if found.difference:
        raise _differ(found.difference)
    return found.held


def _differ(difference: Difference, more: str = "") -> StepError:
    return StepError(f"the sides differ: {difference}{more}.")


def _tested(left: sp.Expr, right: sp.Expr, relation: str, where: Sequence[sp.Basic]) -> str:
    """Test the inequality at random points where both sides have numbers; raises StepError where it fails."""
    if left.has(sp.Function) and opaque(left)[0] != left:
        return ""
    found = compare(left, right, relation, where)
    if found.difference:
        raise StepError(f"the inequality fails: {found.difference}.")
    return f", and it holds at {found.held} random points" if found.held else ""
