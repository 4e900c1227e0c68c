"""Derivations that verify themselves: chains of expressions, each link with a reason that a machine checks.

    proof = Derivation("E phi^2", "the second moment of an activation")
    proof.begin(GaussianMean(activation(z, u, v) ** 2, z), "E phi(z)^2")
    proof.step((u**2 + v**2) / 2, gaussian)
    print(proof)

A wrong step is refused when it is taken; the error gives both sides at a point where they differ. A step that cannot be
verified is refused too. A derivation lists what it rests on: what is proved, what numbers confirm, what is assumed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import sympy as sp
from sympy.core.function import AppliedUndef

from advmf.claim import Claim, Regime, Relation
from advmf.errors import StepError
from advmf.notebook import Shown
from advmf.observables import Expectation
from advmf.symbols import SYMBOLS, K, L, N, d
from advmf.theory.fact import Fact, Status, chained, worst
from advmf.theory.lemma import holds
from advmf.theory.lemmas import register_lemma
from advmf.theory.points import compare
from advmf.theory.reasons import Limit, Reason, algebra, by, gaussian, lemma

__all__ = [
    "Derivation",
    "Fact",
    "Limit",
    "Part",
    "Status",
    "Step",
    "algebra",
    "by",
    "gaussian",
    "lemma",
    "register_lemma",
]


@dataclass(frozen=True)
class Step(Shown):
    """One link of a chain, ``left relation right``, with its reason and how the reason was verified."""

    number: int
    left: sp.Expr
    relation: str
    right: sp.Expr
    reason: Reason
    text: str
    status: Status
    evidence: str
    where: tuple[sp.Basic, ...] = ()

    def verify(self, right: sp.Expr) -> None:
        """Verify the step with another right side, as a negative control; raises StepError for a wrong one."""
        self.reason.verify(self.left, right, self.where)

    def __str__(self) -> str:
        remark = f"  {self.text}" if self.text else ""
        return f"{self.relation} {self.right}\n            [{self.number}: {self.reason}, {self.status}: {self.evidence}]{remark}"


@dataclass(frozen=True)
class Part:
    """A definition or an assumption, which has no steps, or a chain of steps under a heading; ``fact`` is what it
    establishes."""

    title: str
    fact: Fact
    steps: tuple[Step, ...] = ()


@dataclass
class Derivation(Shown):
    """A derivation of ``name``: parts in order, the last of which ends in the result.

    ``where`` are conditions on the symbols under which everything holds; random points are drawn where they hold. A
    result found under them is put in only where the conditions are known. It concludes a claim only if they hold in all
    of the claim's domain.

    >>> import sympy as sp
    >>> from advmf.symbols import u, v
    >>> from advmf.functions import GaussianMean
    >>> from advmf.theory.lemmas import activation
    >>> from advmf.theory.proof import Derivation, algebra, gaussian
    >>> z = sp.Symbol("z", real=True)
    >>> proof = Derivation("alpha", "the second moment of an activation")
    >>> proof.begin(GaussianMean(activation(z, u, v) ** 2, z), "over z ~ N(0, 1)")
    >>> proof.step((u**2 + v**2) / 2, gaussian)
    >>> proof.result.right, proof.result.status
    (u**2/2 + v**2/2, <Status.PROVED: 'proved'>)
    >>> proof.step(u**2 + v**2, algebra, "a wrong factor")
    Traceback (most recent call last):
        ...
    advmf.errors.StepError: alpha, step 2 (algebra: a wrong factor): the sides differ: at u = ..., v = ... the left is
    ... the right ...
    """

    name: str
    title: str
    where: tuple[sp.Basic, ...] = ()
    _parts: list[Part] = field(default_factory=list, repr=False)
    _start: sp.Expr | None = field(default=None, repr=False)
    _heading: str = field(default="", repr=False)
    _conditions: tuple[sp.Basic, ...] = field(default=(), repr=False)
    _steps: list[Step] = field(default_factory=list, repr=False)
    _facts: set[Fact] = field(default_factory=set, repr=False)
    _stated: int = field(default=0, repr=False)
    """The number of parts before the last step of the chain under way."""

    def define(self, letter: sp.Expr, meaning: object, text: str = "") -> Fact:
        """Introduce a letter, or a function of letters, for an expression.

        Raises StepError for a letter of the theory, for one that is defined already or stands in its own definition,
        and for a meaning outside the domain of the letter.
        """
        expr = _expression(meaning)
        if not isinstance(letter, (sp.Symbol, AppliedUndef)):
            raise StepError(f"{self.name}: what is defined is a symbol or a function of symbols, not {letter}.")
        if letter in (quantity.symbol for quantity in SYMBOLS.values()):
            raise StepError(
                f"{self.name}: {letter} is a letter of the theory; for one value of it write where=(Eq({letter}, {expr}),)."
            )
        for part in self._parts:
            known = part.fact.left
            if known is None:
                continue
            alike = isinstance(known, AppliedUndef) and isinstance(letter, AppliedUndef) and known.func == letter.func
            if part.fact.status is Status.DEFINED and (
                known == letter or (alike and (known.free_symbols or letter.free_symbols))
            ):
                raise StepError(f"{self.name}: {letter} is defined twice.")
        if expr.has(letter):
            raise StepError(f"{self.name}: the definition of {letter} holds {letter} itself: {expr}.")
        if isinstance(letter, sp.Symbol):
            self._require_domain(letter, expr)
        return self._state(f"definition of {letter}", text, Status.DEFINED, letter, "==", expr)

    def _require_domain(self, letter: sp.Symbol, meaning: sp.Expr) -> None:
        """Raise StepError unless a meaning has the sign, and is as whole, as its letter is declared. Zero is allowed:
        what holds there holds by continuity."""
        wrong = [name for name in ("positive", "negative", "nonnegative", "nonpositive", "integer", "real")
                 if getattr(letter, f"is_{name}") and getattr(meaning, f"is_{name}") is False]  # fmt: skip
        relation = ">=" if letter.is_nonnegative else "<=" if letter.is_nonpositive else ""
        if not wrong and relation and not getattr(meaning, "is_nonnegative" if relation == ">=" else "is_nonpositive"):
            found = compare(meaning, sp.S.Zero, relation, self.where, points=12).difference
            wrong = [f"{relation} 0: {found}"] if found else []
        if wrong:
            raise StepError(f"{self.name}: {letter} is declared {wrong[0]}, and {meaning} is not.")

    def assume(self, text: str, left: object = None, relation: str = "==", right: object = None) -> Fact:
        """State an assumption, which nothing verifies.

        It is stated in words and, if it is to be put in somewhere, as ``left relation right``. An assumption in words
        alone bears on every chain after it: those chains count as assumed."""
        if not text:
            raise StepError(f"{self.name}: an assumption says in words what is assumed.")
        if relation not in list(Relation):
            raise StepError(f"{self.name}: a relation is one of {', '.join(Relation)}; got {relation!r}.")
        if (left is None) != (right is None):
            raise StepError(f"{self.name}: an assumption has two sides, or is in words alone; got {left} and {right}.")
        sides = [None if side is None else _expression(side) for side in (left, right)]
        number = 1 + sum(part.fact.status is Status.ASSUMED and not part.steps for part in self._parts)
        return self._state(f"assumption {number}", text, Status.ASSUMED, sides[0], relation, sides[1])

    def cite(self, other: Derivation) -> Fact:
        """The result of another derivation as a fact of this one, with the same status and conditions; raises StepError
        if it is a limit."""
        found = other.result
        if found.relation not in list(Relation):
            raise StepError(f"{other.name} ends in a limit, and so in nothing that could be put in.")
        return self._state(other.name, other.title, found.status, found.left, found.relation, found.right, found.where)

    def begin(self, start: object, text: str = "", where: tuple[sp.Basic, ...] = ()) -> None:
        """Start a chain at an expression; ``where`` are conditions for this chain alone."""
        self._close()
        self._start, self._heading, self._conditions = _expression(start), text, (*self.where, *where)

    def step(self, right: object, reason: Reason, text: str = "") -> None:
        """Go on to ``right`` by a reason; raises StepError, which names the step, if it is wrong or cannot
        be verified."""
        number = len(self.steps) + 1
        label = f"{self.name}, step {number} ({reason}{f': {text}' if text else ''})"
        left = self._last
        if left is None:
            raise StepError(f"{label}: no chain has begun; call begin(expression) first.")
        if not isinstance(reason, Reason):
            raise StepError(
                f"{label}: a reason is algebra, gaussian, Limit(...), by(...) or lemma(...); got {reason!r} of type {type(reason).__name__}."
            )
        target = _expression(right)
        foreign = [fact.label for fact in getattr(reason, "facts", ()) if fact not in self._facts]
        if foreign:
            raise StepError(f"{label}: {foreign[0]} is no fact of this derivation; cite the derivation that has it.")
        try:
            found = reason.verify(left, target, self._conditions)
            chained(self._relation, found.relation)
        except StepError as error:
            raise StepError(f"{label}: {error}\n    left:  {left}\n    right: {target}") from None
        self._steps.append(Step(number, left, found.relation, target, reason, text, *found[1:], self._conditions))
        self._stated = len(self._parts)

    def concludes(self, claim: Claim | sp.Expr) -> Fact:
        """End the chain in a claim of the package, or an expression: exactly its formula, from its left-hand side.

        A last step by algebra leads to the form that the package gives. A chain that holds letters of the formula
        (omega, beta) ends in the formula, and the letters must mean the same here. A chain without such letters ends in
        the right-hand side, with their meanings put in. Raises StepError if the chain is about something else, if its
        relation is weaker than the claim's, if a letter is not defined here or means something else, if the expressions
        differ, if the chain holds under conditions that the claim's letters do not meet everywhere, or if it takes a
        limit that the claim's regime does not.
        """
        if isinstance(claim, Claim):
            known = (L >= claim.depth,) if claim.depth else ()
            narrow = [c for c in self._conditions if holds(c, known) != "proved"]
            if narrow:
                raise StepError(
                    f"{self.name} holds where {', '.join(map(str, narrow))}, and {claim.name} is stated everywhere."
                )
            start = Expectation(claim.lhs**2) if claim.relation is Relation.LAW else claim.lhs
            if self._start != start:
                raise StepError(f"{self.name} begins at {self._start}, but {claim.name} is about {start}.")
            strong = {"<=": ("==", "<="), ">=": ("==", ">="), "approx": ("==", "approx")}.get(claim.relation, ("==",))
            if self._relation.removeprefix("lim ").replace("->", "==") not in strong or not self._limits_of(claim):
                raise StepError(f"{self.name} ends in {self._relation}, but {claim.name} states {claim.relation}.")
        target = self._target(claim) if isinstance(claim, Claim) else claim
        if self._last != target:
            self.step(target, algebra, "as the package derives it")
        return self.result

    def _limits_of(self, claim: Claim) -> bool:
        """Whether the claim's regime takes every limit of the current chain."""
        large = {N} if Regime.LARGE_WIDTH in claim.regime else set()
        large |= {d, K} if Regime.LARGE_DIMENSION in claim.regime else set()
        limits = [step.reason for step in self._steps if isinstance(step.reason, Limit)]
        return all(limit.symbol in large and limit.to is sp.oo for limit in limits)

    def _target(self, claim: Claim) -> sp.Expr:
        """The claim's formula if its letters are used here, with the same meanings; else the claim's right-hand
        side."""
        letters = claim.formula.free_symbols & set(claim.where)
        if self._last is not None and letters and not letters & self._last.free_symbols:
            return claim.rhs
        own = {part.fact.left: part.fact.right for part in self._parts if part.fact.status is Status.DEFINED}
        for letter in sorted(letters, key=str):
            if letter not in own:
                raise StepError(f"{self.name} does not define {letter}, which stands in the formula of {claim.name}.")
            mine, theirs = sp.sympify(own[letter]), claim.where[letter]
            for meanings in (own, claim.where) * 2:
                mine, theirs = (side.subs(dict(meanings)) for side in (mine, theirs))
            try:
                algebra.verify(mine, theirs, self._conditions)
            except StepError as error:
                raise StepError(f"{self.name}: {letter} does not mean what it means in {claim.name}: {error}") from None
        return claim.formula

    @property
    def parts(self) -> list[Part]:
        """Definitions, assumptions and chains, in order."""
        return [*self._parts, *([self._chain()] if self._steps else [])]

    @property
    def result(self) -> Fact:
        """What the last chain establishes."""
        chains = [part.fact for part in self.parts if part.steps]
        if not chains:
            raise StepError(f"{self.name} has no step yet.")
        self._facts.add(chains[-1])
        return chains[-1]

    @property
    def steps(self) -> list[Step]:
        """All steps, in order."""
        return [step for part in self._parts for step in part.steps] + self._steps

    def rests_on(self) -> dict[Status, list[str]]:
        """What is proved, what numbers confirm and what is assumed, in words."""
        found: dict[Status, list[str]] = {Status.PROVED: [], Status.CONFIRMED: [], Status.ASSUMED: []}
        for step in self.steps:
            found[step.status].append(f"step {step.number} ({step.reason})")
        for part in self.parts:
            if not part.steps and part.fact.status in found:
                found[part.fact.status].append(f"{part.fact.label} ({part.fact.text})")
        return found

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.title}"]
        if self.where:
            lines.append(f"where {', '.join(map(str, self.where))}")
        for part in self.parts:
            if part.steps:
                lines += ["", *([part.title] if part.title else []), f"        {part.steps[0].left}"]
                lines += [f"     {step}" for step in part.steps]
            else:
                lines.append(f"  {part.fact.label}: {part.fact}")
        proved, *others = self.rests_on().items()
        lines += ["", f"{proved[0]}: {len(proved[1])} of {len(self.steps)} steps"]
        lines += [f"{status}: {'; '.join(items) or 'nothing'}" for status, items in others]
        return "\n".join(lines)

    @property
    def _last(self) -> sp.Expr | None:
        return self._steps[-1].right if self._steps else self._start

    @property
    def _relation(self) -> str:
        return _composed(step.relation for step in self._steps)

    def _state(
        self,
        label: str,
        text: str,
        status: Status,
        left: object,
        relation: str,
        right: object,
        where: tuple[sp.Basic, ...] = (),
    ) -> Fact:
        fact = Fact(label, text, status, left, relation, right, where)
        self._parts.append(Part(text, fact))
        self._facts.add(fact)
        return fact

    def _close(self) -> None:
        """End the current chain and keep it as a part."""
        if self._steps:
            self._parts.append(self._chain())
            self._facts.add(self._parts[-1].fact)
        self._start, self._steps = None, []

    def _chain(self) -> Part:
        first, last = self._steps[0], self._steps[-1]
        label = f"step {first.number}" if first == last else f"steps {first.number} to {last.number}"
        facts = [fact.status for step in self._steps for fact in getattr(step.reason, "facts", ())]
        # An assumption in words bears on every step after it, because nothing says where it is used.
        facts += [part.fact.status for part in self._parts[: self._stated] if part.fact.left is None]
        status = worst(*(step.status for step in self._steps), *facts)
        fact = Fact(label, self._heading, status, first.left, self._relation, last.right, self._conditions)
        return Part(self._heading, fact, tuple(self._steps))


def _composed(relations: Iterable[str]) -> str:
    found = "=="
    for relation in relations:
        found = chained(found, relation)
    return found


def _expression(value: object) -> sp.Expr:
    """A value as an expression; raises StepError for a value that is no expression or is undefined."""
    try:
        expr = sp.sympify(value)
    except (sp.SympifyError, TypeError, AttributeError):
        expr = None
    if not isinstance(expr, sp.Expr) or expr.has(sp.nan, sp.zoo):
        raise StepError(
            f"a side of a step is an expression with a value; got {value!r} of type {type(value).__name__}."
        )
    return expr
