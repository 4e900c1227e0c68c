"""Facts of a derivation: how each is known, under which conditions, and how their relations chain."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import sympy as sp

from advmf.errors import StepError


class Status(enum.StrEnum):
    """How a statement of a derivation is known.

    ``PROVED``: by SymPy, or by a published lemma whose hypotheses hold. ``CONFIRMED``: at random points, in high
    precision. ``DEFINED``: it introduces a letter. ``ASSUMED``: only stated.
    """

    PROVED = "proved"
    CONFIRMED = "numerically confirmed"
    DEFINED = "defined"
    ASSUMED = "assumed"


@dataclass(frozen=True)
class Fact:
    """``left relation right``, known to a derivation under the conditions ``where``; an assumption in words has no
    sides."""

    label: str
    text: str
    status: Status
    left: sp.Expr | None = None
    relation: str = "=="
    right: sp.Expr | None = None
    where: tuple[sp.Basic, ...] = ()

    def __str__(self) -> str:
        sides = "" if self.left is None else f"{self.left} {self.relation} {self.right}"
        known = f", where {', '.join(map(str, self.where))}" if sides and self.where else ""
        return ": ".join(part for part in (self.text, f"{sides}{known}") if part)


def chained(first: str, second: str) -> str:
    """The relation between the ends of a chain of two links. ``->`` is a limit; ``lim <=`` is an inequality about a
    limit.

    Raises StepError where no relation is left between the ends: after a bound from above and one from below, a bound
    and an approximation, or two approximations, whose errors add up.

    >>> from advmf.theory.fact import chained
    >>> chained("==", "<="), chained("==", "approx"), chained("<=", "->")
    ('<=', 'approx', 'lim <=')
    """
    limit = any(relation.startswith(("->", "lim ")) for relation in (first, second))
    a, b = (relation.removeprefix("lim ").replace("->", "==") for relation in (first, second))
    if "==" not in (a, b) and (a != b or a == "approx"):
        raise StepError(f"{_WORDS[a]} is followed by {_WORDS[b]}, which leaves no relation between the ends.")
    relation = b if a == "==" else a
    return relation if not limit else "->" if relation == "==" else f"lim {relation}"


_WORDS = {"<=": "a bound from above", ">=": "one from below", "approx": "an approximation"}


def worst(*statuses: Status) -> Status:
    """The weakest of several: assumed, then confirmed, then proved."""
    order = (Status.ASSUMED, Status.CONFIRMED, Status.PROVED, Status.DEFINED)
    return next(status for status in order if status in statuses)
