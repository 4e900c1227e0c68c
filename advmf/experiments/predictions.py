"""What the claims say about the course of adversarial training on one image, beside which trained networks are held."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from advmf.claim import Claim, Relation
from advmf.emit.kernels import kernel
from advmf.errors import ArgumentError, DeclarationError
from advmf.nets import Net
from advmf.theorems.d1_capacity_rate import capacity_rate
from advmf.theorems.d2_water_filling import loss_life, training_flow
from advmf.theorems.t2_adversarial_loss import loss_bound
from advmf.theorems.t3_weight_variance import loss_decay
from advmf.theorems.t5_capacity import capacity_ratio
from advmf.theory.norms import closest

Stated = TypeVar("Stated")
FIRST = 1e-6
"""The share of the first step over which the slope of T5's ratio is taken."""


@dataclass(frozen=True)
class Predictions:
    """Claims as numbers at one point. ``None`` stands for a claim that the net or the pair (p, q) does not have.

    Rates are per unit of training time t, at t = 0: ``decay`` is -d ln L_adv/dt by T3.decay, ``rate`` is d ln C/dt by
    D1 and ``paper`` the same by T5. ``life`` is ∫ L_adv dt/L_adv(0), and ``end`` the time at which the loss is zero.
    For activations that are not linear the life is an upper bound, and ``bound`` is true. The last three are D2's
    curves at the times asked for: L_adv(t)/L_adv(0), C(t)/C(0) and the change of σ_w².
    """

    decay: float | None = None
    rate: float | None = None
    paper: float | None = None
    life: float | None = None
    bound: bool = False
    end: float | None = None
    loss: np.ndarray | None = None
    capacity: np.ndarray | None = None
    change: np.ndarray | None = None


UNKNOWN = Predictions()
"""What the claims say of training on several images: nothing."""


def predictions(net: Net, p: Any, q: Any, at: Mapping[str, Any], time: np.ndarray) -> Predictions:
    """The claims T3.decay, D1, T5 and D2 of a net at a point, and D2's curves at these times.

    β is exact where it can be, and else by the route ``estimate``.

    >>> import advmf as mf
    >>> net = mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 1)))
    >>> point = dict(N=100, L=2, d=4, K=2, eps=0.1, sigma_w=1.0, x_sq=1.0)
    >>> found = predictions(net, 2, 2, point, np.array([0.0, 0.1]))
    >>> round(found.rate / found.paper)  # N²/(K d)
    1250
    >>> float(found.rate * found.life)
    -1.0
    """
    route = closest(p, q)
    flow = _stated(lambda: training_flow(net, p, q))
    loss, capacity, variance, end = (getattr(flow, name, None) for name in ("loss", "capacity", "variance", "end"))
    life, ratio = (_stated(partial(claim, net, p, q, route)) for claim in (loss_life, capacity_ratio))
    decay, bound = _stated(lambda: loss_decay(net, p, q)), loss_bound(net, p, q, route)
    h = FIRST * float(time[-1])

    def number(claim: Claim | None, **more: Any) -> Any:
        if claim is None:
            return None
        f = kernel(claim)
        found = f(**{name: value for name, value in {**at, **more}.items() if name in f.arguments})
        return np.asarray(found, float) if np.ndim(found) else float(found)

    return Predictions(
        decay=None if decay is None else number(decay) / number(bound),
        rate=number(_stated(lambda: capacity_rate(net, p, q, route))),
        paper=None if ratio is None else (number(ratio, t=h) - 1) / h,
        life=number(life),
        bound=life is not None and life.relation is not Relation.EQUAL,
        end=number(end),
        loss=None if loss is None else number(loss, t=time) / number(loss, t=0.0),
        capacity=number(capacity, t=time),
        change=None if variance is None else number(variance, t=time) - number(variance, t=0.0),
    )


def _stated(claim: Callable[[], Stated]) -> Stated | None:
    """A claim, or None where the theorem says nothing of the net or the pair."""
    try:
        return claim()
    except (ArgumentError, DeclarationError):
        return None
