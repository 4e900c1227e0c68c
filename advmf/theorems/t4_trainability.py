"""T4: how long a network stays trainable under adversarial training.

Gradients scale as E‖∂ℓ/∂x^0‖² = ω^L E‖∂ℓ/∂x^L‖². A network is (M, m)-trainable on [0, T] if m <= ω(t)^L <= M there,
with ω(t) from T3. ω(t) falls, so a network that starts in the band can leave it only at its lower edge. It never leaves
if ω stays above m^{1/L}, as with an identity shortcut for m <= 1.

Source: S. Kumano, H. Kera, T. Yamasaki, NeurIPS 2023, arXiv:2505.14021: networks without shortcuts are not
adversarially trainable in general, and width alleviates this.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from advmf.boundary import public
from advmf.claim import Claim, Relation
from advmf.functions import Flow
from advmf.nets import Net
from advmf.observables import EscapeTime
from advmf.symbols import L, M, m, t
from advmf.theorems.scripted import Scripted
from advmf.theorems.t3_weight_variance import T3, training_claim
from advmf.theorems.theorem import PAPER, Theorem
from advmf.theorems.wrong import equality
from advmf.theory.dynamics import clock, passage, system
from advmf.theory.propagation import OMEGA
from advmf.theory.scaling import window
from advmf.theory.trained import trained

FALL = sp.Symbol("s", nonnegative=True)
"""The amount by which ln ω must fall to reach the lower edge."""


def floor(net: Net) -> sp.Expr:
    """The limit of ω(t) as t → ∞: the part of ω without trained matrices.

    The flow ends where every reach σ_m² ∂ω/∂σ_m² vanishes. ω is a sum of products of variances with coefficients >= 0,
    so every product vanishes there.

    >>> import advmf as mf
    >>> from advmf.theorems.t4_trainability import floor
    >>> floor(mf.vanilla()), floor(mf.residual())
    (0, 1)
    """
    found = trained(net)
    return sp.expand(found.omega).subs(dict.fromkeys(found.variables, 0))


@public
def escape_time(net: Net, p: object, q: object, route: str = "chevet", *, weight: object = 1) -> Claim:
    """T4: the first time at which ω(t)^L is outside [m, M]: zero for a network that starts outside, infinite for one
    that never leaves.

    A network without blocks never leaves.

    From ω(t)^L = m and T3, for a vanilla network in the band at t = 0

        t* = N ((ω/m^{1/L})^{L/2 - 1} - 1)/((L/2 - 1) 2 α λ ε β ω^{L/2 - 1}),

    which for ω = 1 is N (m^{-(L/2 - 1)/L} - 1)/((L/2 - 1) 2 α λ ε β): proportional to the width and, for deep networks,
    to 1/L. A residual network always has ω > 1. It is trainable for all time if m <= 1 and ω^L <= M at t = 0, that is α
    σ_w² <= M^{1/L} - 1. In general the time is integrated by kernels. Arguments and errors are those of
    :func:`advmf.weight_variance`; the edges are the symbols ``m`` and ``M``.

    The loss has to live until t*. It is gone after a time of order K d/N (:func:`advmf.loss_life`), which is shorter
    than t* by a factor of the order of N²/(K d). So wide networks never reach t*, and stay in the band.

    >>> import advmf as mf
    >>> f = mf.kernel(mf.escape_time(mf.vanilla(u=1, v=0), 2, 2, "leading"))
    >>> f(N=[100, 200, 200], L=10, sigma_w=[2**0.5, 2**0.5, 2], m=0.5, M=2, eps=1, d=100, K=25).round(3)
    array([ 5.325, 10.65 ,  0.   ])
    >>> mf.kernel(mf.escape_time(mf.residual(u=1, v=0), 2, 2, "leading"))(
    ...     N=100, L=10, sigma_w=0.3, m=[0.5, 1.1], M=2, eps=1, d=100, K=25).round(2)
    array([ inf, 94.32])
    """
    least, edge = floor(net), m ** (1 / L)
    outside = sp.Or(OMEGA**L > M, OMEGA**L < m)
    # Without a block nothing moves.
    stays = sp.Or(sp.Eq(L, 0), edge <= least) if least != 0 else sp.Eq(L, 0)
    time = passage(net, system(net).omega, FALL)
    fall = sp.log(OMEGA / edge)
    if time.has(Flow):
        # An escape time that is not needed is not integrated.
        where = {FALL: sp.Piecewise((0, sp.Or(stays, outside)), (fall, True))}
    else:
        time, where = sp.simplify(time.subs(FALL, fall)), {}
    branches = [(sp.S.Zero, outside), (sp.oo, stays), (time * t / clock(weight), True)]
    claim = training_claim(
        net,
        p,
        q,
        route,
        "trainable: m <= omega(t)^L <= M, for gradients scale as omega^L",
        f"{window(net)}; where t* exceeds it, the loss is gone before and the network stays in the band",
        depth=0,
        name="T4",
        lhs=EscapeTime(),
        relation=Relation.EQUAL,
        formula=sp.Piecewise(*branches),
        source=f"{PAPER}, trainability",
    )
    return replace(claim, where={**where, **claim.where})


T4 = Theorem(
    name="T4",
    title="trainability: the time at which omega(t)^L leaves the band from m to M",
    source=PAPER,
    states=lambda net, p, q, route: [escape_time(net, p, q, route)],
    wrong=equality,
    needs=T3.needs,
    unchecked=(
        "it is about the course of training, and a check measures networks at t = 0. 'advmf show T4' gives its formula, 'advmf phase' draws it, and "
        "'advmf train' compares trained networks with T3, from which it follows."
    ),
    derive=Scripted("t4_trainability"),
)
