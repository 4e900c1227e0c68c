"""Wrong versions of claims: the mistakes that claims of one form have in common."""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from advmf.claim import RHS, Claim, Equation, Relation
from advmf.observables import AdversarialLoss, Expectation
from advmf.symbols import K, L, N, d
from advmf.theorems.theorem import mutant
from advmf.theory.propagation import OMEGA, grows_uniformly, moments, omega
from advmf.theory.spike import LAMBDA


def by_form(claim: Claim) -> list[Claim]:
    """Those of the claim's form: a bound, a law, an equality, or an order of growth."""
    if claim.relation is Relation.ORDER:
        (size,) = claim.rhs.free_symbols or {d}
        return [mutant(claim, "half a power more", lambda e: e * sp.sqrt(size))]
    if claim.relation.bound and claim.rhs != 0:
        return bound(claim)
    own = next((e for e in claim.equations if e.states), None)
    if own and (own.order or (own.scale.has(RHS) and claim.rhs.has(N))):
        return widths(claim)
    if claim.relation is Relation.LAW and not (own and not own.scale.has(RHS)):
        return law(claim)
    return equality(claim)


def twice(claim: Claim) -> Claim:
    """Twice the right-hand side."""
    return mutant(claim, "twice", lambda e: 2 * e)


def deeper(claim: Claim) -> Claim:
    """Depth L + 1 instead of L."""
    return mutant(claim, "depth L + 1", lambda e: e.subs(L, L + 1))


def exchanged(claim: Claim) -> Claim:
    """d and K exchanged."""
    return mutant(claim, "d and K exchanged", lambda e: e.subs({d: K, K: d}, simultaneous=True))


def law(claim: Claim) -> list[Claim]:
    """Of a law of independent Gaussians: another depth, and twice the variance."""
    return [deeper(claim), twice_the_variance(claim)]


def twice_the_variance(claim: Claim) -> Claim:
    """Twice the variance of a law."""
    return mutant(claim, "twice the variance", lambda e: 2 * e)


def widths(claim: Claim) -> list[Claim]:
    """Of a statement at finite width: its limit, half the width, and another depth."""
    return [
        mutant(claim, "infinite width", lambda e: e.subs(N, 10**12)),
        mutant(claim, "half the width", lambda e: e.subs(N, N / 2)),
        deeper(claim),
    ]


def equality(claim: Claim) -> list[Claim]:
    """Of an equality: half of its scale more, where it has one of its own, else twice the right-hand side.

    Half of that of an adversarial loss, which an attack bounds from below; and of a statement about matrices d and K
    exchanged as well.
    """
    own = next((e for e in claim.equations if e.states), None)
    if own and not own.scale.has(RHS):
        return [_shifted(claim, own)]
    if claim.net is None:
        return [twice(claim), exchanged(claim)]
    return [mutant(claim, "half", lambda e: e / 2)] if claim.lhs.atoms(AdversarialLoss) else [twice(claim)]


def bound(claim: Claim) -> list[Claim]:
    """Of a bound: half of it, or three times, where it bounds from below; and ω without the 1 of the shortcut, or ω = 1
    where there is none.

    Where a mean is carried, half of what the bound would be by the growth across x, as it has room for more than half.
    """
    size = claim.rhs if claim.rhs.is_nonnegative else sp.Abs(claim.rhs)
    if claim.relation is Relation.AT_LEAST:
        return [mutant(claim, "three times the bound", lambda e: e + 2 * size)]
    if claim.net is None:
        return [mutant(claim, "half the bound", lambda e: e - size / 2)]
    spiked = LAMBDA in claim.where
    across = replace(claim, formula=claim.formula.subs(LAMBDA, moments(claim.net).j)) if spiked else claim
    mutants = [
        mutant(across, "half the bound across x", lambda e: e / 2)
        if spiked
        else mutant(claim, "half the bound", lambda e: e - size / 2)
    ]
    if not claim.formula.has(OMEGA, LAMBDA):
        return mutants
    if not grows_uniformly(claim.net):
        mistake, less = "growth dropped", {LAMBDA: sp.S.One}
    elif (growth := omega(claim.net)).is_Add and 1 in growth.args:
        mistake, less = "omega without the shortcut", {LAMBDA: (growth - 1) ** claim.net.depth, OMEGA: OMEGA - 1}
    else:
        mistake, less = "omega dropped", {OMEGA: sp.S.One}
    return [*mutants, replace(claim, name=f"{claim.name} [{mistake}]", formula=claim.formula.subs(less))]


def _shifted(claim: Claim, own: Equation) -> Claim:
    """By half the scale, to where a bound is broken."""
    half = (-1 if claim.relation is Relation.AT_MOST else 1) * own.scale / 2
    several = isinstance(claim.lhs, Expectation) and len(claim.lhs.observables) > 1
    return mutant(claim, "correlated" if several else "off by half the scale", lambda e: e + half)
