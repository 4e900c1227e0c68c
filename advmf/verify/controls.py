"""Negative controls: wrong versions of a claim that the same check, on the same networks, must refute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import sympy as sp

from advmf.claim import Claim
from advmf.symbols import L, N
from advmf.theory.propagation import OMEGA, omega


def controls(claim: Claim) -> list[Claim]:
    """Wrong versions of ``claim``, named after the mistake.

    A bound: half of it, and ω without the 1 of the shortcut where there is one. A law: depth L + 1 instead of L, and twice the
    variance. An independence: a correlation of one half. A law of finite width: its limit, half the width, and depth L + 1. A mutant
    that happens to equal its claim at the point of a check (L + 1 where ω = 1) is no control; :func:`differs` tells.

    >>> import advmf as mf
    >>> [c.name for c in controls(mf.loss_bound(mf.residual(u=1, v=0), 2, 2))]
    ['T2 [half the bound]', 'T2 [omega without the shortcut]']
    """
    if claim.relation == "<=":
        mutants = [_mutant(claim, "half the bound", lambda e: e / 2)]
        growth = omega(claim.net)
        if growth.is_Add and 1 in growth.args:
            shorter = claim.formula.subs(OMEGA, OMEGA - 1)
            mutants.append(replace(claim, name=f"{claim.name} [omega without the shortcut]", formula=shorter))
        return mutants
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


def _mutant(claim: Claim, mistake: str, change: Callable[[sp.Expr], sp.Expr]) -> Claim:
    equations = tuple(replace(e, rhs=change(e.rhs)) for e in claim.equations)
    return replace(claim, name=f"{claim.name} [{mistake}]", formula=change(claim.rhs), where={}, equations=equations)
