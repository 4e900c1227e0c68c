"""Negative controls: wrong versions of a claim that the same check, on the same networks, must refute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from advmf.claim import Claim
from advmf.events import event_of
from advmf.observables import Probability
from advmf.symbols import N
from advmf.theorems import wrong_versions
from advmf.verify.values import value


def controls(claim: Claim, of: str = "") -> list[Claim]:
    """Wrong versions of ``claim``, named after the mistake. A check tests consequences of the right-hand side, so that
    those of a wrong version are wrong as well.

    A claim of a theorem has the wrong versions of that theorem. A claim of one's own has those of its form
    (:mod:`advmf.theorems.wrong`). ``of`` is the theorem's name, if the claim has been renamed since.

    A change that leaves this claim the same is left out, such as a dropped share of 1. A mutant (a wrong version) may
    still equal its claim at the point of a check, as with L + 1 for L where ω = 1. :func:`differs` tells.

    >>> import advmf as mf
    >>> [c.name for c in controls(mf.loss_bound(mf.residual(u=1, v=0), 2, 2))]
    ['T2 [half the bound]', 'T2 [omega without the shortcut]']
    """
    mutants = wrong_versions(of or claim.name)(claim)

    def said(each: Claim) -> tuple[object, ...]:
        return each.relation, each.subject, each.rhs, each.implied

    return [mutant for mutant in mutants if said(mutant) != said(claim)]


CHANGE = 0.25
"""A wrong version has to change a number by this share of its scale. Checks resolve 15 % of a mean and 50 % of a fourth
moment. A smaller change would be left undecided by chance."""


def differs(claim: Claim, mutant: Claim, at: Mapping[str, float]) -> bool:
    """Whether a mutant differs from its claim at the point of the check, by :data:`CHANGE` or more. One that rules out
    more, as an equality does beside a bound, differs at every point."""
    if mutant.relation.bound < claim.relation.bound:
        return True
    sides = [(a.rhs, b.rhs, a.scale / N**a.order) for a, b in zip(claim.implied, mutant.implied)]
    if isinstance(claim.lhs, Probability) and mutant.lhs != claim.lhs:
        own, other = (event_of(each.subject).threshold for each in (claim, mutant))
        sides.append((own, other, own))
    return any(
        abs(value(b, at) - value(a, at)) >= CHANGE * abs(value(scale, at)) > 0
        for a, b, scale in [(claim.rhs, mutant.rhs, claim.rhs), *sides]
        if a != b
    )


def weak(mutant: Claim) -> Claim:
    """The mutant under a name that says that it hardly differs from its claim at the point of the check. It is hardly
    refuted there."""
    return replace(mutant, name=f"{mutant.name.removesuffix(']')}: next to no change at this point]")
