"""Wrong versions of claims: common mistakes for each form of claim."""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from advmf.claim import RHS, Claim, Equation, Relation
from advmf.events import event_of
from advmf.observables import AdversarialLoss, Expectation, Probability
from advmf.symbols import K, L, N, d
from advmf.theorems.theorem import mutant
from advmf.theory.metric import metric
from advmf.theory.propagation import OMEGA, grows_alike, grows_uniformly, omega
from advmf.theory.spike import LAMBDA


def by_form(claim: Claim) -> list[Claim]:
    """The wrong versions for the claim's form: a bound, a law, an equality, an order of growth, or a statement about a
    probability."""
    if claim.relation is Relation.ORDER:
        (size,) = claim.rhs.free_symbols or {d}
        return [mutant(claim, "half a power more", lambda e: e * sp.sqrt(size))]
    claim = replace(claim, lhs=claim.subject)
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
    """Wrong versions of a law of independent Gaussians: another depth, where it is not fixed, and twice the
    variance."""
    return [*([deeper(claim)] if claim.rhs.has(L) else []), twice_the_variance(claim)]


def twice_the_variance(claim: Claim) -> Claim:
    """Twice the variance of a law."""
    return mutant(claim, "twice the variance", lambda e: 2 * e)


def widths(claim: Claim) -> list[Claim]:
    """Wrong versions of a statement at finite width: its limit, half the width, and another depth."""
    return [
        mutant(claim, "infinite width", lambda e: e.subs(N, 10**12)),
        mutant(claim, "half the width", lambda e: e.subs(N, N / 2)),
        deeper(claim),
    ]


def equality(claim: Claim) -> list[Claim]:
    """Wrong versions of an equality: half its scale added, where it has its own scale, else twice the right-hand side.

    For an adversarial loss, which an attack bounds from below, half the right-hand side. For a statement about
    matrices, also d and K exchanged.
    """
    if counted(claim):
        return probability(claim)
    own = next((e for e in claim.equations if e.states), None)
    if own and not own.scale.has(RHS):
        return [_shifted(claim, own)]
    if claim.net is None:
        return [twice(claim), exchanged(claim)]
    return [mutant(claim, "half", lambda e: e / 2)] if claim.lhs.atoms(AdversarialLoss) else [twice(claim)]


def bound(claim: Claim) -> list[Claim]:
    """Wrong versions of a bound: half of it, or three times if it is a lower bound; and ω without the 1 of the
    shortcut, or ω = 1 without a shortcut.

    Where a mean is carried, half of the bound by the growth across x, because the bound itself may be loose by more
    than a factor of two.
    """
    if counted(claim):
        return probability(claim)
    size = claim.rhs if claim.rhs.is_nonnegative else sp.Abs(claim.rhs)
    if claim.relation is Relation.AT_LEAST:
        return [mutant(claim, "three times the bound", lambda e: e + 2 * size)]
    if claim.net is None:
        return [mutant(claim, "half the bound", lambda e: e - size / 2)]
    if LAMBDA in claim.where:
        across = replace(claim, formula=claim.formula.subs(LAMBDA, metric(claim.net).across))
        mutants = [mutant(across, "half the bound across x", lambda e: e / 2)]
    else:
        mutants = [mutant(claim, "half the bound", lambda e: e - size / 2)]
    if not (claim.formula.has(OMEGA, LAMBDA) and grows_alike(claim.net)):
        return mutants
    if not grows_uniformly(claim.net):
        mistake, less = "growth dropped", {LAMBDA: sp.S.One}
    elif (growth := omega(claim.net)).is_Add and 1 in growth.args:
        mistake, less = "omega without the shortcut", {LAMBDA: (growth - 1) ** claim.net.depth, OMEGA: OMEGA - 1}
    else:
        mistake, less = "omega dropped", {OMEGA: sp.S.One}
    return [*mutants, replace(claim, name=f"{claim.name} [{mistake}]", formula=claim.formula.subs(less))]


def counted(claim: Claim) -> bool:
    """Whether a claim is about the probability of its own event."""
    return isinstance(claim.lhs, Probability) and not claim.equations


def probability(claim: Claim) -> list[Claim]:
    """Wrong versions about a probability: half the event's threshold, or twice, whichever makes the claim false. For an
    equality, also a quarter of the probability.

    Where the threshold is 0: half the probability, or for a lower bound half the probability of the complement.
    """
    claim = replace(claim, lhs=claim.subject)
    event = event_of(claim.lhs)
    if event.threshold == 0:
        wrong = [
            mutant(claim, "half the complement", lambda e: (1 + e) / 2)
            if claim.relation is Relation.AT_LEAST
            else mutant(claim, "half the probability", lambda e: e / 2)
        ]
    else:
        lower = event.upper is not (claim.relation is Relation.AT_LEAST)
        halved = lower is not bool(event.threshold.is_negative)
        threshold = event.threshold / 2 if halved else 2 * event.threshold
        name = f"{claim.name} [{'half' if halved else 'twice'} the threshold]"
        wrong = [replace(claim, name=name, lhs=event.at(threshold))]
    if claim.relation.bound:
        return wrong
    return [*wrong, mutant(claim, "a quarter of the probability", lambda e: e / 4)]


def _shifted(claim: Claim, own: Equation) -> Claim:
    """The right-hand side moved by half the scale, in the direction that breaks a bound."""
    half = (-1 if claim.relation is Relation.AT_MOST else 1) * own.scale / 2
    several = isinstance(claim.lhs, Expectation) and len(claim.lhs.observables) > 1
    return mutant(claim, "correlated" if several else "off by half the scale", lambda e: e + half)
