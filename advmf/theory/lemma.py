"""What a lemma is: a statement about letters, with hypotheses that are verified, a source, and a check by numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import sympy as sp

from advmf.errors import StepError
from advmf.symbols import SYMBOLS, exponent, fraction
from advmf.theory.points import POINTS, compare, proves_zero

SIGMAS = 5.0
"""A simulated side may miss by this many standard errors, which happens by chance in 6 of 10 million cases."""


class Instance(NamedTuple):
    """A lemma for given values of its letters; ``proved`` says whether its hypotheses are proved, not only confirmed by
    numbers."""

    left: sp.Expr
    relation: str
    right: sp.Expr
    proved: bool


class Case(NamedTuple):
    """Both sides of a lemma at a random point; the left side has a standard error if it is simulated."""

    left: float
    right: float
    stderr: float = 0.0


@dataclass(frozen=True)
class Lemma:
    """A statement ``left relation right`` about ``letters`` (name -> meaning), with its hypotheses as (words,
    condition).

    Lemmas with the same words, source and letters are equal, so a file that registers one may run twice.
    """

    name: str
    words: str
    source: str
    letters: Mapping[str, str]
    state: Callable[..., tuple[sp.Expr, str, sp.Expr]] = field(repr=False, compare=False)
    hypotheses: Callable[..., list[tuple[str, Any]]] = field(repr=False, compare=False)
    case: Callable[[np.random.Generator], Case] = field(repr=False, compare=False)
    equality: bool = False

    def at(self, where: Sequence[sp.Basic] = (), **values: Any) -> Instance:
        """The lemma for these values; raises StepError for a missing or unknown letter and for a hypothesis that fails.

        >>> from advmf.theory.lemmas import find_lemma
        >>> find_lemma("Gaussian norm").at(n=5, r=4)
        Instance(left=GaussianNorm(5, 4), relation='<=', right=15**(1/4), proved=True)
        >>> find_lemma("Chevet").at(p=0.5, q=2)
        Traceback (most recent call last):
            ...
        advmf.errors.StepError: Chevet needs p >= 1, and here it fails: p = 1/2.
        """
        if set(values) != set(self.letters):
            asked = ", ".join(f"{name} ({meaning})" for name, meaning in self.letters.items())
            raise StepError(f"{self.name} takes {asked}; got {', '.join(values) or 'nothing'}.")
        given = {name: _sympified(value) for name, value in values.items()}
        proved = True
        for words, condition in self.hypotheses(**given):
            known = holds(condition, where)
            if known is False:
                shown = ", ".join(f"{name} = {value}" for name, value in given.items() if name in words)
                raise StepError(f"{self.name} needs {words}, and here it fails: {shown or given}.")
            proved = proved and known == "proved"
        return Instance(*self.state(**given), proved)

    def check(self, cases: int = 12, factor: float = 1.0, seed: int = 0) -> None:
        """Compare the sides in random cases, with the right side times ``factor``. A factor other than 1 must be
        refused.

        Raises StepError where the sides are not as stated, up to rounding and five standard errors.
        """
        rng = np.random.default_rng(seed)
        for _ in range(cases):
            left, right, stderr = self.case(rng)
            right *= factor
            slack = SIGMAS * stderr + 1e-6 * max(abs(left), abs(right))
            if left > right + slack or (self.equality and left < right - slack):
                raise StepError(f"{self.name} fails in a random case: {left:.6g} +- {stderr:.2g} against {right:.6g}.")


def holds(condition: Any, where: Sequence[sp.Basic] = ()) -> bool | str:
    """Whether a condition is ``"proved"``, ``"confirmed"`` at random points, or False.

    >>> from advmf.symbols import d, p
    >>> from advmf.theory.lemma import holds
    >>> holds(p >= 1), holds(d >= 2), holds(2 * d > d)
    ('proved', False, 'proved')
    """
    condition = sp.sympify(condition)
    if condition in (sp.true, sp.false):
        return "proved" if condition == sp.true else False
    if condition in where or getattr(condition, "reversed", None) in where:
        return "proved"
    if isinstance(condition, sp.And):
        parts = {holds(part, where) for part in condition.args}
        return False if False in parts else "confirmed" if "confirmed" in parts else "proved"
    if isinstance(condition, sp.Or):
        return "proved" if "proved" in {holds(part, where) for part in condition.args} else False
    if isinstance(condition, sp.Ne) or not isinstance(condition, sp.core.relational.Relational):
        return False
    if isinstance(condition, sp.Eq):
        if sp.expand(condition.lhs - condition.rhs) == 0:
            return "proved"
        found = compare(condition.lhs, condition.rhs, "==", where)
        if found.difference:
            return False
        if proves_zero(condition.lhs - condition.rhs):
            return "proved"
    else:
        at_ends = condition.xreplace({s: _from_the_left_end(s) for s in condition.free_symbols})
        if at_ends == sp.true or sp.simplify(at_ends) == sp.true:
            return "proved"
        found = compare(condition.lhs, condition.rhs, condition.rel_op, where)
    return "confirmed" if found.held == POINTS and not found.difference else False


def _sympified(value: Any) -> Any:
    return (
        exponent(value, "p")
        if isinstance(value, str)
        else fraction(value)
        if isinstance(value, float)
        else sp.sympify(value)
    )


def _from_the_left_end(symbol: sp.Symbol) -> sp.Expr:
    """A symbol written as the left end of its domain plus a nonnegative symbol."""
    quantity = SYMBOLS.get(symbol.name)
    if quantity is None or quantity.symbol != symbol or quantity.low in (0, -float("inf")):
        return symbol
    return sp.sympify(int(quantity.low)) + sp.Dummy("x", nonnegative=True)
