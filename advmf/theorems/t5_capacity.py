"""T5: the capacity of a network, and how adversarial training reduces it.

The moments are those of :mod:`advmf.theory.capacity`.

Source: S. Kumano, H. Kera, T. Yamasaki, NeurIPS 2023, arXiv:2505.14021, reduction of the capacity; the moments are
derived here.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from advmf.boundary import public
from advmf.claim import Claim, Regime, Relation
from advmf.functions import Recursion
from advmf.nets import Net
from advmf.observables import Capacity, Expectation
from advmf.symbols import K, t
from advmf.theorems.scripted import Scripted
from advmf.theorems.selection import ALL, GROWING, IMAGES, PAIRS, RELU, rows
from advmf.theorems.t3_weight_variance import T3, training_claim
from advmf.theorems.theorem import ALIKE, PAPER, PAPER_POINT, Scale, Theorem, random_network
from advmf.theorems.wrong import deeper, twice
from advmf.theory.capacity import curvature
from advmf.theory.dynamics import clock, evolve, reduced
from advmf.theory.propagation import abbreviations
from advmf.theory.trained import require_trained, separated, trained


@public
def capacity(net: Net) -> Claim:
    """T5: E Σ_k (Σ_l ⟨W^l, ∂f_k/∂W^l⟩)² over the trained matrices, as N → ∞.

    Without biases C = K x_sq L² ω^L for the vanilla net and, with y = α σ_w², C = K x_sq L y ω^{L-2} (1 + L y) for the
    residual one; with biases or a carried mean it is a :class:`~advmf.functions.Recursion`. Raises ArgumentError for a
    net without a trained matrix.

    >>> import advmf as mf
    >>> mf.capacity(mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike()))).formula
    K*L**2*omega**L*x_sq
    """
    require_trained(net)
    return Claim(
        name="T5",
        lhs=Expectation(Capacity()),
        relation=Relation.EQUAL,
        formula=K * curvature(net, abbreviate=True),
        where=abbreviations(net),
        regime=Regime.LARGE_WIDTH,
        assumptions=random_network(net),
        source=f"{PAPER}, capacity; the moments are derived here",
        net=net,
    )


@public
def capacity_ratio(net: Net, p: object, q: object, route: str = "chevet", *, weight: object = 1) -> Claim:
    """The ratio of T5 after training for a time t to T5 at t = 0, from the variances of T3 put into :func:`capacity`.

    To first order (:func:`advmf.first_order`) its fall is proportional to L ε β/N. Arguments and errors are those of
    :func:`advmf.weight_variance`.

    >>> import advmf as mf
    >>> vanilla = mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 0)))
    >>> mf.capacity_ratio(vanilla, 2, 2, "leading").rhs.subs({mf.symbols.L: 2, mf.symbols.K: 1, mf.symbols.d: 1})
    exp(-4*eps*t/N)
    """
    found, merged = trained(net), reduced(net)
    paths = {z: path for z, path in evolve(net, clock(weight)).items() if merged[z] == z}
    general = curvature(separated(net)).subs(merged, simultaneous=True)
    ratio = general / found.declared(general)
    claim = training_claim(
        net,
        p,
        q,
        route,
        "at time t the weights are taken as Gaussian, of the variance of T3; the flow aligns them too, so that C falls faster from the start "
        "(capacity_rate)",
        name="T5.ratio",
        lhs=Expectation(Capacity(t)) / Expectation(Capacity()),
        relation=Relation.EQUAL,
        formula=ratio if ratio.has(Recursion) else sp.powsimp(ratio),
        source=f"{PAPER}, capacity; the moments are derived here",
    )
    return replace(claim, where={**paths, **claim.where})


def _states(net: Net, p: str, q: str, route: str) -> list[Claim]:
    return [capacity(net), *([] if T3.silent(net) else [capacity_ratio(net, p, q, route)])]


T5 = Theorem(
    name="T5",
    title="capacity: E sum_k (sum_l <W^l, d f_k/d W^l>)^2",
    source=PAPER,
    states=_states,
    tests=lambda net, pairs: [capacity(net)],
    wrong=lambda claim: [deeper(claim), twice(claim)],
    needs=(ALIKE,),
    derive=Scripted("t5_capacity"),
    selected={
        "quick": rows(((*ALL, *IMAGES[:1]), PAIRS)),
        "brief": rows((((GROWING, "relu"),), PAIRS)),
        "paper": rows((RELU, PAIRS)),
    },
    scales={
        "quick": Scale(
            L=2,
            d=8,
            K=512,
            widths=(128, 256, 1024, 2048),
            nets=(160, 560, 150, 840),
            at={"sigma_b": 0.0},
            effects={"effect": 0.05},
        ),
        "images": Scale(
            L=2,
            d=8,
            K=512,
            widths=(32, 64, 256, 512),
            nets=(400, 1900, 300, 1300),
            at={"sigma_b": 0.0},
            effects={"effect": 0.05},
        ),
        "paper": Scale(
            **PAPER_POINT,
            widths=(128, 256, 2048, 8192),
            nets=(2500, 7500, 11_000, 200),
            at={"sigma_b": 0.0},
            effects={"effect": 0.05},
        ),
    },
)
