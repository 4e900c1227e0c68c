"""Negative controls: wrong versions of a claim that the same check, on the same networks, must refute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import sympy as sp

from advmf.claim import Claim
from advmf.emit.kernels import kernel
from advmf.net import Block, ReLULike, Residual, Serial
from advmf.observables import Capacity, WeightNormSlope, WeightVarianceSlope
from advmf.symbols import K, L, N, d
from advmf.theory.dynamics import share
from advmf.theory.functions import Conjugate
from advmf.theory.growth import growth
from advmf.theory.norms import norm_factor
from advmf.theory.propagation import OMEGA, alpha, omega
from advmf.theory.spike import LAMBDA


def controls(claim: Claim) -> list[Claim]:
    """Wrong versions of ``claim``, named after the mistake.

    A bound: half of it (where a mean is carried, of what it would be by the growth across x, as the bound has room for more than half), and ω
    without the 1 of the shortcut where there is one. A law: depth L + 1 instead of L, and twice the
    variance. An independence: a correlation of one half. A law of finite width: its limit, half the width, and depth L + 1. A norm
    factor: twice that, and d and K exchanged. A slope of the weight variance: 2 for 4, the
    wrong sign, 1/sqrt(N) for 1/N, α or the share dropped; half the share in Euler's identity. A capacity: depth L + 1, and twice that. An order of
    growth: half a power more, and the power of the dual exponents. A mutant
    that happens to equal its claim at the point of a check (L + 1 where ω = 1) is no control; :func:`differs` tells.

    >>> import advmf as mf
    >>> [c.name for c in controls(mf.loss_bound(mf.residual(u=1, v=0), 2, 2))]
    ['T2 [half the bound]', 'T2 [omega without the shortcut]']
    """
    if claim.net is None:
        return _of_matrices(claim)
    if claim.relation == "<=":
        spiked, growth = LAMBDA in claim.where, omega(claim.net)
        across = replace(claim, formula=claim.formula.subs(LAMBDA, growth**L))
        mutants = [_mutant(across, "half the bound across x" if spiked else "half the bound", lambda e: e / 2)]
        if growth.is_Add and 1 in growth.args:
            shorter = claim.formula.subs({LAMBDA: (growth - 1) ** L, OMEGA: OMEGA - 1})
            mutants.append(replace(claim, name=f"{claim.name} [omega without the shortcut]", formula=shorter))
        return mutants
    if claim.lhs.atoms(WeightVarianceSlope, WeightNormSlope):
        return _of_slopes(claim)
    if claim.lhs.atoms(Capacity):
        return [_mutant(claim, "depth L + 1", lambda e: e.subs(L, L + 1)), _mutant(claim, "twice", lambda e: 2 * e)]
    if claim.rhs.has(N):
        return [
            _mutant(claim, "infinite width", lambda e: e.subs(N, 10**12)),
            _mutant(claim, "half the width", lambda e: e.subs(N, N / 2)),
            _mutant(claim, "depth L + 1", lambda e: e.subs(L, L + 1)),
        ]
    if claim.rhs == 0 or claim.relation == "==":
        correlated = tuple(replace(e, rhs=e.rhs + e.scale / 2) for e in claim.equations)
        return [replace(claim, name=f"{claim.name} [correlated]", equations=correlated)]
    return [
        _mutant(claim, "depth L + 1", lambda e: e.subs(L, L + 1)),
        _mutant(claim, "twice the variance", lambda e: 2 * e),
    ]


def _of_slopes(claim: Claim) -> list[Claim]:
    if claim.equations:  # E slope + 2 share E loss = 0; with half the share it would be share E loss.
        halved = tuple(replace(e, rhs=e.rhs + e.scale / 2) for e in claim.equations)
        return [replace(claim, name=f"{claim.name} [half the share]", equations=halved)]
    return [
        _mutant(claim, "2 for 4", lambda e: e / 2),
        _mutant(claim, "wrong sign", lambda e: -e),
        _mutant(claim, "1/sqrt(N) for 1/N", lambda e: e * sp.sqrt(N)),
        _mutant(claim, "alpha dropped", lambda e: e / _alpha(claim.net.block) if claim.net else e),
        _mutant(claim, "share dropped", lambda e: e / share(claim.net)[0] if claim.net else e),
    ]


def _alpha(block: Block) -> sp.Expr:
    """The product of the activations' α."""
    match block:
        case ReLULike():
            return alpha(block)
        case Serial(blocks=parts):
            return sp.prod(map(_alpha, parts))
        case Residual(branch=branch, shortcut=shortcut):
            return _alpha(branch) * _alpha(shortcut)
    return sp.S.One


def _of_matrices(claim: Claim) -> list[Claim]:
    if claim.relation == "<=":
        return [_mutant(claim, "half the bound", lambda e: e / 2)]
    if claim.relation != "asymp":
        exchanged = _mutant(claim, "d and K exchanged", lambda e: e.subs({d: K, K: d}, simultaneous=True))
        return [_mutant(claim, "twice", lambda e: 2 * e), exchanged]
    (size,) = claim.rhs.free_symbols or {d}
    dual = growth(norm_factor(Conjugate(claim.p), Conjugate(claim.q)), size)
    return [
        _mutant(claim, "half a power more", lambda e: e * sp.sqrt(size)),
        _mutant(claim, "dual exponents", lambda e: dual.rhs),
    ]


def _mutant(claim: Claim, mistake: str, change: Callable[[sp.Expr], sp.Expr]) -> Claim:
    equations = tuple(replace(e, rhs=change(e.rhs)) for e in claim.equations)
    return replace(claim, name=f"{claim.name} [{mistake}]", formula=change(claim.rhs), where={}, equations=equations)


def differs(claim: Claim, mutant: Claim, at: Mapping[str, float]) -> bool:
    """Whether a mutant says something else than its claim at the point of the check, by 40 % or more."""
    sides = [(claim.rhs, mutant.rhs, abs(claim.rhs))]
    sides += [(a.rhs, b.rhs, a.scale / N**a.order) for a, b in zip(claim.equations, mutant.equations)]
    return any(abs(_at(b, at) - _at(a, at)) >= 0.4 * _at(scale, at) > 0 for a, b, scale in sides)


def _at(expr: Any, at: Mapping[str, float]) -> float:
    compiled = kernel(expr)
    return float(compiled(**{name: at[name] for name in compiled.arguments}))
