"""The norm factor as a claim: the mean norm of a Gaussian matrix, by a route to β."""

from __future__ import annotations

from advmf.boundary import public
from advmf.claim import Claim, Regime, Relation
from advmf.observables import Expectation, MatrixNorm
from advmf.symbols import exponent
from advmf.theorems.scripted import Netless
from advmf.theorems.theorem import Caption, MatrixScale, Theorem
from advmf.theorems.wrong import bound, exchanged, twice
from advmf.theory.norms import BEST, BETA, CHEVET, ESTIMATE_TOLERANCE, choose


@public
def norm_factor(p: object, q: object, route: str = BEST) -> Claim:
    """The claim that the mean of ‖G‖_{p -> q}, for a K x d matrix of independent N(0, 1/d) entries, agrees with a route
    to β_{p,q}.

    ``p``, ``q``, ``route`` and the errors are those of :func:`beta`. For an exact route the claim is an equality, for
    an upper or a lower one a bound. For an estimate it states agreement within 3 % where the smaller dimension is at
    least 10 and the larger at least 50, and within 7 % elsewhere.

    >>> import advmf as mf
    >>> [mf.norm_factor("inf", 1, route).relation for route in ("tilted", "lower", "estimate")]
    ['<=', '>=', 'approx']
    """
    p, q = exponent(p, "p"), exponent(q, "q")
    chosen = choose(p, q, route)
    relation = {
        "exact": Relation.EQUAL, "upper bound": Relation.AT_MOST, "lower bound": Relation.AT_LEAST, "estimate": Relation.APPROX,
    }[chosen.rigour]  # fmt: skip
    estimate = relation is Relation.APPROX
    return Claim(
        name="beta",
        lhs=Expectation(MatrixNorm(p, q)),
        relation=relation,
        formula=BETA,
        where={BETA: chosen.formula(p, q)},
        regime=Regime.HEURISTIC if estimate else Regime.EXACT,
        heuristic="the corrections known at the borders of the square are interpolated" if estimate else "",
        assumptions=("G is K x d with independent N(0, 1/d) entries",),
        source=chosen.source,
        net=None,
        p=p,
        q=q,
        tolerance=ESTIMATE_TOLERANCE if estimate else 0.0,
    )


def _wrong(claim: Claim) -> list[Claim]:
    return bound(claim) if claim.relation.bound else [twice(claim), exchanged(claim)]


BETA_PQ = Theorem(
    name="beta",
    title="norm factor: the mean norm of a Gaussian matrix, by its best route",
    source=CHEVET,
    states=lambda net, p, q, route: [norm_factor(p, q, route)],
    tests=lambda net, pairs: [norm_factor(p, q) for p, q in pairs],
    wrong=_wrong,
    matrices=True,
    derive=Netless("beta_tilted"),
    captions={"beta": Caption("simulated/predicted", "Simulated/predicted", title="Norm factor")},
    scales={
        "quick": MatrixScale(d=784, K=10, samples=1200, searched=80),
        "paper": MatrixScale(d=3072, K=100, samples=500, searched=20),
    },
)
