"""T2: the bound on the adversarial loss.

Source: S. Kumano, H. Kera, T. Yamasaki, Adversarial Training from Mean Field Perspective, NeurIPS 2023,
arXiv:2505.14021.
"""

from __future__ import annotations

import sympy as sp

from advmf.boundary import public
from advmf.claim import Claim, Regime, Relation
from advmf.nets import Net
from advmf.observables import adversarial_loss
from advmf.symbols import eps, exponent
from advmf.theorems.theorem import GROWTH, PAPER, Caption, Scale, Theorem, random_network
from advmf.theorems.wrong import bound
from advmf.theory.norms import BETA, beta, require_upper
from advmf.theory.propagation import abbreviations, grown, growths
from advmf.theory.spike import LAMBDA, carries_mean, spike


@public
def loss_bound(net: Net, p: object, q: object, route: str = "chevet", *, paper: bool = False) -> Claim:
    """T2: the mean adversarial loss is at most ε β_{p,q} ω^{L/2}; of a net whose stream carries a mean, ε β_{p,q} √Λ.

    Λ is d times the largest variance of J(x) e over unit vectors e and inputs x (:mod:`advmf.theory.spike`): ω^L but
    for a carried mean, as in ``plain_residual`` with u != v, where J(x) is larger along x than across it. With
    ``paper`` the claim is the paper's also there, and false for deep networks.

    ``p``, ``q`` and ``route`` are those of :func:`advmf.beta`. Raises DomainError for exponents outside [1, oo],
    ArgumentError for a route that does not apply or is no upper bound, DeclarationError for a net whose Jacobian has no
    growth ω.

    Source: the adversarial-loss bound of Kumano et al. (NeurIPS 2023); ω by :func:`advmf.omega`, β by
    :func:`advmf.beta`.

    >>> import advmf as mf
    >>> claim = mf.loss_bound(mf.residual(u=1, v=0), p="inf", q=2)
    >>> claim.formula, claim.regime
    (beta*eps*omega**(L/2), <Regime.LARGE_WIDTH|HEURISTIC: 6>)
    """
    p, q = exponent(p, "p"), exponent(q, "q")
    factor = beta(p, q, route)
    require_upper(p, q, route)
    growths(net)  # which the bound rests on, whatever it is called
    uniform = paper or not carries_mean(net)
    return Claim(
        name="T2",
        lhs=adversarial_loss(p, q),
        relation=Relation.AT_MOST,
        formula=eps * BETA * sp.sqrt(grown(net) if uniform else LAMBDA),
        where={BETA: factor, **(abbreviations(net) if uniform else {LAMBDA: spike(net)})},
        regime=Regime.LARGE_WIDTH | Regime.HEURISTIC,
        heuristic=(
            f"the law of J(x) {'is the same' if uniform else 'has one bound'} for every x, and so is taken to bound the maximum of |J| over the "
            "ball; unproved where the ball holds very many linear regions"
        ),
        assumptions=(
            *random_network(net),
            f"T1: the entries of J(x) are i.i.d. N(0, {'omega^L' if net.repeated else 'j'}/d)"
            if uniform
            else "T1: the rows of J(x) are i.i.d. N(0, Sigma(x)), and no eigenvalue of Sigma(x) is above Lambda/d",
        ),
        source=f"{PAPER}, upper bounds of the adversarial loss",
        net=net,
        p=p,
        q=q,
    )


T2 = Theorem(
    name="T2",
    title="adversarial loss: at most eps beta omega^(L/2)",
    source=PAPER,
    states=lambda net, p, q, route: [loss_bound(net, p, q, route)],
    tests=lambda net, pairs: [loss_bound(net, p, q) for p, q in pairs],
    wrong=bound,
    needs=(GROWTH,),
    script="t2_adversarial_loss",
    scales={
        "quick": Scale(
            L=5, d=64, K=10, widths=(512, 2048, 10_000, 100_000), nets=(48, 48, 56, 16), directions=1, steps=5
        ),
        "sharp": Scale(L=5, d=64, K=10, widths=(256, 512, 2048, 4096), nets=(40, 160, 40, 160), directions=1, steps=5),
        "paper": Scale(
            L=10, d=784, K=10, widths=(2000, 10_000, 100_000, 1_000_000), nets=(64, 32, 12, 6), directions=1
        ),
    },
    captions={"T2": Caption("attack/bound at N -> oo", r"Attacked loss over the bound, as $N \to \infty$")},
)
