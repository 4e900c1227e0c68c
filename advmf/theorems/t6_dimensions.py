"""T6: how the norm factor, and the quantities proportional to it, grow with the input dimension d and the output
dimension K.

Source: S. Kumano, H. Kera, T. Yamasaki, Adversarial Training from Mean Field Perspective, NeurIPS 2023,
arXiv:2505.14021, on the impact of the dimensions.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from advmf.boundary import public
from advmf.claim import Claim, Regime, Relation
from advmf.errors import ArgumentError
from advmf.functions import Conjugate
from advmf.nets import Net
from advmf.symbols import K, d
from advmf.theorems.norm_factor import norm_factor
from advmf.theorems.scripted import Scripted
from advmf.theorems.t2_adversarial_loss import loss_bound
from advmf.theorems.t3_weight_variance import T3, variance_slope
from advmf.theorems.theorem import GROWTH, PAPER, Caption, MatrixScale, Theorem
from advmf.theorems.wrong import mutant
from advmf.theory.growth import growth_order
from advmf.theory.norms import BETA, CHEVET, beta

EXPONENT_TOLERANCE = 0.03
"""The change of an exponent, at the dimensions of a check, that lower-order terms may cause."""


@public
def growth(claim: Claim, symbol: sp.Symbol | str) -> Claim:
    """T6: the order in which the quantity of ``claim`` grows with ``symbol``, d or K, with everything else fixed.

    For the norm factor (:func:`advmf.norm_factor`) the order does not depend on the route, because Chevet's two terms
    bound it from above by their sum and from below by the larger. The adversarial loss (:func:`advmf.loss_bound`) and
    the slope of the weight variance (:func:`advmf.variance_slope`) have the same order, since nothing else in them
    depends on d or K.

    Raises ArgumentError for another symbol, for a claim without the norm factor, and where :func:`growth_order` does.

    >>> import advmf as mf
    >>> for symbol in ("d", "K"):
    ...     print(mf.growth(mf.norm_factor("inf", 2), symbol))
    T6: Expectation(MatrixNorm(oo, 2)) asymp sqrt(d)
    T6: Expectation(MatrixNorm(oo, 2)) asymp sqrt(K)
    """
    found = {"d": d, "K": K}.get(str(symbol))
    if found is None:
        raise ArgumentError(f"growth is with the dimension d or K; got {symbol!r}.")
    if BETA not in claim.where:
        raise ArgumentError(f"growth takes a claim in which the norm factor beta stands; {claim.name} has none.")
    bound = replace(claim, where={**claim.where, BETA: beta(claim.p, claim.q, "leading")})
    power, log_power = growth_order(bound.rhs, found)
    return replace(
        claim,
        name="T6",
        relation=Relation.ORDER,
        formula=found**power * sp.log(found) ** log_power,
        where={},
        regime=(claim.regime if claim.net else Regime(0)) | Regime.LARGE_DIMENSION,
        heuristic=claim.heuristic if claim.net else "",
        source=f"{claim.source}; {CHEVET}" if claim.net else CHEVET,
        equations=(),
        tolerance=EXPONENT_TOLERANCE,
    )


def _states(net: Net, p: str, q: str, route: str) -> list[Claim]:
    inherit = [loss_bound(net, p, q), *([] if T3.silent(net) else [variance_slope(net, p, q)])]
    return [growth(claim, size) for claim in inherit for size in ("d", "K")]


def _wrong(claim: Claim) -> list[Claim]:
    (size,) = claim.rhs.free_symbols or {d}
    mutants = [mutant(claim, "half a power more", lambda e: e * sp.sqrt(size))]
    if claim.p is None or claim.q is None:
        return mutants
    dual = growth(norm_factor(Conjugate(claim.p), Conjugate(claim.q)), size)
    return [*mutants, mutant(claim, "dual exponents", lambda e: dual.rhs)]


def _along(size: str, dimension: str, **scales: MatrixScale) -> Theorem:
    """The part of T6 that a check measures: the norm factor along one dimension."""
    return Theorem(
        name=f"T6.{size}",
        title=f"dimensions: how the norm factor grows with the {dimension} dimension",
        source=PAPER,
        tests=lambda net, pairs: [growth(norm_factor(p, q), size) for p, q in pairs],
        wrong=_wrong,
        matrices=True,
        derive=Scripted("t6_dimensions"),
        scales=scales,
        captions={
            f"T6.{size}": Caption(
                f"slope in ln {size}, simulated/predicted", rf"Slope in $\ln {size}$, simulated/predicted"
            )
        },
    )


T6 = Theorem(
    name="T6",
    title="dimensions: how the loss and the slope of the weight variance grow with d and K",
    source=PAPER,
    states=_states,
    wrong=_wrong,
    needs=(GROWTH,),
    derive=Scripted("t6_dimensions"),
    parts=(
        _along(
            "d",
            "input",
            quick=MatrixScale(d=1, K=2, samples=100, along="d", ladder=(500, 2000, 8000), searched=20),
            paper=MatrixScale(d=1, K=2, samples=100, along="d", ladder=(1000, 10_000, 100_000), searched=10),
        ),
        _along(
            "K",
            "output",
            quick=MatrixScale(d=2, K=1, samples=120, along="K", ladder=(500, 2000, 8000), searched=20),
            paper=MatrixScale(d=2, K=1, samples=100, along="K", ladder=(1000, 10_000, 100_000), searched=10),
        ),
    ),
)
