"""Which claims about N -> oo can be judged on networks of infinite width (:mod:`advmf.simulate.limit`).

Such networks are drawn from the limiting Gaussian process. They know its kernel (its covariance). So a verdict tests a
claim *given* the limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sympy as sp

from advmf.claim import Claim, Regime
from advmf.errors import ArgumentError, DeclarationError
from advmf.nets import Net
from advmf.observables import GRADIENTS, Observable
from advmf.simulate.limit.image_kernel import kernel_of
from advmf.symbols import N
from advmf.theorems.theorem import LIMIT

INFINITE: int = math.inf  # type: ignore[assignment]
"""The width of such networks. The widths of ladders are whole numbers."""
GIVEN = "the limit kernel"
"""What a verdict on such networks takes for granted."""


def has_limit(net: Net) -> bool:
    """Whether networks of infinite width can be drawn of a net.

    >>> import sympy as sp
    >>> import advmf as mf
    >>> has_limit(mf.vanilla(1, 0)), has_limit(mf.vanilla(phi=mf.Activation(sp.Max(0, sp.tanh(mf.symbols.z)))))
    (True, False)
    """
    try:
        kernel_of(net, 1, lambda expr: 1.0)
    except DeclarationError:
        return False
    return True


def require_limit(claims: Sequence[Claim], at: Mapping[str, Any], widths: str) -> None:
    """Raise ArgumentError unless ``widths`` is LIMIT and networks of infinite width can judge the claims. Such a claim
    is about N -> oo, and has no number that depends on N, no weights and no stream."""
    if widths != LIMIT:
        raise ArgumentError(
            f"widths must be whole numbers, e.g. widths=(128, 256, 512), or {LIMIT!r} for networks of infinite width; got {widths!r}."
        )
    if "N" in at:
        raise ArgumentError(f"at gives N = {at['N']}, and networks of widths={LIMIT!r} have N = inf; leave N out.")
    for claim in claims:
        if why := next(_hindrances(claim), ""):
            raise ArgumentError(
                f"{claim.name} {why}, and networks of infinite width do not tell of that. Take finite widths."
            )


def _hindrances(claim: Claim) -> Iterator[str]:
    """Why the limit does not judge a claim."""
    equations = claim.implied
    sides = [claim.put_in(e.lhs) for e in equations] or [claim.subject]
    if claim.net is None:
        yield "is about Gaussian matrices, which have no width"
    for o in sorted(set().union(*(side.atoms(Observable) for side in sides)), key=sp.default_sort_key):
        if o.weights or GRADIENTS in o.needs:
            yield f"is about {o}, which takes the weights or the stream of a network"
    if Regime.LARGE_WIDTH not in claim.regime:
        yield f"is no claim about N -> oo (its regime is {claim.regime.name})"
    for e in equations:
        if e.order:
            yield f"has an equation about a coefficient of 1/N ({e.label})"
    if any(
        N in side.atoms(sp.Symbol) for side in (*sides, claim.rhs, *(s for e in equations for s in (e.rhs, e.scale)))
    ):
        yield "depends on N"
