"""Negative controls: wrong versions of a claim that the same check, on the same networks, must refute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import sympy as sp

from advmf.claim import BOUNDS, RHS, Claim, Equation
from advmf.emit.kernels import kernel
from advmf.observables import AdversarialLoss, Capacity, Expectation, WeightNormSlope, WeightVarianceSlope
from advmf.symbols import K, L, N, d
from advmf.theory.dynamics import share
from advmf.theory.functions import Conjugate
from advmf.theory.growth import growth
from advmf.theory.norms import norm_factor
from advmf.theory.propagation import OMEGA, alpha, omega
from advmf.theory.spike import LAMBDA


def controls(claim: Claim) -> list[Claim]:
    """Wrong versions of ``claim``, named after the mistake. What a check tests of them is wrong as well, for it follows the right-hand side.

    A bound: half of it (three times, where it bounds from below; where a mean is carried half of what it would be by the growth across x, as the
    bound has room for more than half), and ω without the 1 of the shortcut, or ω = 1 where there is none. A law: depth
    L + 1 instead of L, and twice the variance. An independence, and whatever has a scale of its own: half of that scale more. A law of finite
    width: its limit, half the width, and depth L + 1. A norm factor: twice that, and d and K exchanged. A slope of the weight variance: 2 for
    4, the wrong sign, 1/sqrt(N) for 1/N, twice the depth, α or the share dropped; half the share in Euler's identity. A capacity: depth L + 1,
    and twice that. An order of growth: half a power more, and the power of the dual exponents. Any other equality: twice that, or half of
    an adversarial loss, which an attack bounds from below.

    What is no mistake of this claim, as a share of 1 that is dropped, is left out. A mutant may still equal its claim at the point of a
    check, as L + 1 does where ω = 1; :func:`differs` tells.

    >>> import advmf as mf
    >>> [c.name for c in controls(mf.loss_bound(mf.residual(u=1, v=0), 2, 2))]
    ['T2 [half the bound]', 'T2 [omega without the shortcut]']
    """
    return [mutant for mutant in _mutants(claim) if (mutant.rhs, mutant.implied) != (claim.rhs, claim.implied)]


def _mutants(claim: Claim) -> list[Claim]:
    own = next((e for e in claim.equations if e.states), None)
    if claim.relation == "asymp":
        return _of_orders(claim)
    if claim.lhs.atoms(WeightVarianceSlope, WeightNormSlope):
        return _of_slopes(claim)
    if claim.relation in BOUNDS and claim.rhs != 0:
        return _of_bounds(claim)
    if own and own.order:  # what is stated is a coefficient of 1/N
        return _of_widths(claim)
    if own and not own.scale.has(RHS):
        return [_shifted(claim, own)]
    twice = _mutant(claim, "twice", lambda e: 2 * e)
    if claim.net is None:
        exchanged = _mutant(claim, "d and K exchanged", lambda e: e.subs({d: K, K: d}, simultaneous=True))
        return [twice, exchanged]
    if claim.lhs.atoms(Capacity):
        return [_deeper(claim), twice]
    if own and claim.rhs.has(N):
        return _of_widths(claim)
    if claim.relation == "~":
        return [_deeper(claim), _mutant(claim, "twice the variance", lambda e: 2 * e)]
    return [_mutant(claim, "half", lambda e: e / 2)] if claim.lhs.atoms(AdversarialLoss) else [twice]


def _deeper(claim: Claim) -> Claim:
    return _mutant(claim, "depth L + 1", lambda e: e.subs(L, L + 1))


def _of_bounds(claim: Claim) -> list[Claim]:
    size = claim.rhs if claim.rhs.is_nonnegative else sp.Abs(claim.rhs)
    if claim.relation == ">=":
        return [_mutant(claim, "three times the bound", lambda e: e + 2 * size)]
    if claim.net is None:
        return [_mutant(claim, "half the bound", lambda e: e - size / 2)]
    growth, spiked = omega(claim.net), LAMBDA in claim.where
    across = replace(claim, formula=claim.formula.subs(LAMBDA, growth**L))
    mutants = [
        _mutant(across, "half the bound across x", lambda e: e / 2)
        if spiked
        else _mutant(claim, "half the bound", lambda e: e - size / 2)
    ]
    if not claim.formula.has(OMEGA, LAMBDA):
        return mutants
    if growth.is_Add and 1 in growth.args:
        mistake, less = "omega without the shortcut", {LAMBDA: (growth - 1) ** L, OMEGA: OMEGA - 1}
    else:
        mistake, less = "omega dropped", {OMEGA: sp.S.One}
    return [*mutants, replace(claim, name=f"{claim.name} [{mistake}]", formula=claim.formula.subs(less))]


def _of_widths(claim: Claim) -> list[Claim]:
    return [
        _mutant(claim, "infinite width", lambda e: e.subs(N, 10**12)),
        _mutant(claim, "half the width", lambda e: e.subs(N, N / 2)),
        _deeper(claim),
    ]


def _shifted(claim: Claim, own: Equation) -> Claim:
    """By half the scale, to where a bound is broken."""
    half = (-1 if claim.relation == "<=" else 1) * own.scale / 2
    several = isinstance(claim.lhs, Expectation) and len(claim.lhs.observables) > 1
    return _mutant(claim, "correlated" if several else "off by half the scale", lambda e: e + half)


def _of_slopes(claim: Claim) -> list[Claim]:
    if claim.equations:  # Euler's identity
        return [_mutant(claim, "half the share", lambda e: e / 2)]
    return [
        _mutant(claim, "2 for 4", lambda e: e / 2),
        _mutant(claim, "wrong sign", lambda e: -e),
        _mutant(claim, "1/sqrt(N) for 1/N", lambda e: e * sp.sqrt(N)),
        _mutant(claim, "depth 2 L", lambda e: e.subs(L, 2 * L)),
        _mutant(claim, "alpha dropped", lambda e: e / sp.prod(map(alpha, claim.net.activations)) if claim.net else e),
        _mutant(claim, "share dropped", lambda e: e / share(claim.net)[0] if claim.net else e),
    ]


def _of_orders(claim: Claim) -> list[Claim]:
    (size,) = claim.rhs.free_symbols or {d}
    mutants = [_mutant(claim, "half a power more", lambda e: e * sp.sqrt(size))]
    if claim.p is None or claim.q is None:
        return mutants
    dual = growth(norm_factor(Conjugate(claim.p), Conjugate(claim.q)), size)
    return [*mutants, _mutant(claim, "dual exponents", lambda e: dual.rhs)]


def _mutant(claim: Claim, mistake: str, change: Callable[[sp.Expr], sp.Expr]) -> Claim:
    return replace(claim, name=f"{claim.name} [{mistake}]", formula=change(claim.rhs), where={})


def differs(claim: Claim, mutant: Claim, at: Mapping[str, float]) -> bool:
    """Whether a mutant says something else than its claim at the point of the check, by a quarter or more."""
    sides = [(a.rhs, b.rhs, a.scale / N**a.order) for a, b in zip(claim.implied, mutant.implied)]
    return any(
        abs(_at(b, at) - _at(a, at)) >= 0.25 * abs(_at(scale, at)) > 0
        for a, b, scale in [(claim.rhs, mutant.rhs, claim.rhs), *sides]
    )


def weak(mutant: Claim) -> Claim:
    """The mutant, named as one that does not differ from its claim at the point of a check, and is hardly refuted there."""
    return replace(mutant, name=f"{mutant.name.removesuffix(']')}: next to no change at this point]")


def _at(expr: Any, at: Mapping[str, float]) -> float:
    compiled = kernel(expr)
    return float(compiled(**{name: at[name] for name in compiled.arguments}))
