"""What can be shown and checked: theorems, pairs of exponents, activations. No torch, so that listing is quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from advmf.claim import Claim
from advmf.errors import ArgumentError, one_of
from advmf.net import Net
from advmf.symbols import exponent
from advmf.theory.bound import linear_form, loss_bound
from advmf.theory.capacity import capacity, capacity_ratio
from advmf.theory.dynamics import euler_identity, half_life, share, variance_slope, weight_variance
from advmf.theory.finite_width import jacobian_norm, stream_fluctuation
from advmf.theory.growth import growth
from advmf.theory.norms import norm_factor, routes
from advmf.theory.spike import carries_mean
from advmf.theory.tangent import loss_decay
from advmf.theory.trainability import escape_time

PAIRS = tuple((p, q) for p in ("1", "2", "inf") for q in ("1", "2", "inf"))
"""The paper's (p, q)."""

ACTIVATIONS: dict[str, tuple[Any, Any]] = {
    "relu": (1, 0),
    "leaky_relu": (1, Fraction(1, 5)),
    "abs": (1, -1),
    "linear": (1, 1),
}
"""Slopes (u, v) by name."""

DEFAULT_ACTIVATIONS = ("relu", "leaky_relu")


LEFT_BY_ATTACKS = 0.03
"""What a slope is allowed where the norm factor is exact: what the attacks of a check leave is not, and up to 2 % was measured at (oo, oo)."""


def _slopes(net: Net, pairs: Sequence[tuple[str, str]]) -> list[Claim]:
    """Euler's identity and the slope of the weight variance, by the norm factor that is exact or else by its estimate; none where the
    stream carries a mean. Where paths lead around the trained matrix its share of J differs from network to network, least for p = oo, and
    only these pairs are resolved."""
    if carries_mean(net):
        return []
    chosen = [(p, q) for p, q in pairs if share(net)[0] == 1 or p in ("inf", "oo")]
    slopes = [variance_slope(net, p, q, _closest(p, q)) for p, q in chosen]
    return [euler_identity(net, p, q) for p, q in chosen] + [
        replace(slope, tolerance=slope.tolerance or LEFT_BY_ATTACKS) for slope in slopes
    ]


def _uniform(claim: Callable[..., Claim], net: Net, *given: str) -> list[Claim]:
    """A claim that takes one law of J(x) in all directions; none where the stream carries a mean."""
    return [] if carries_mean(net) else [claim(net, *given)]


def _closest(p: str, q: str) -> str:
    """The route to the norm factor that is exact, or else the estimate."""
    return next((route.name for route in routes(p, q) if route.rigour == "exact"), "estimate")


THEOREMS: dict[str, Callable[[Net, Sequence[tuple[str, str]]], list[Claim]]] = {
    "T1": lambda net, pairs: list(linear_form(net)),
    "T2": lambda net, pairs: [loss_bound(net, p, q) for p, q in pairs],
    "T3": _slopes,
    "T5": lambda net, pairs: [capacity(net)],
    "F1": lambda net, pairs: [stream_fluctuation(net)] if net.exact else [],
    "F2": lambda net, pairs: [jacobian_norm(net)] if net.exact else [],
}
"""Each theorem as a function from a net and pairs of exponents to claims; none where it says nothing of the net."""

MATRICES: dict[str, Callable[[Sequence[tuple[str, str]]], list[Claim]]] = {
    "beta": lambda pairs: [norm_factor(p, q) for p, q in pairs],
    "T6.d": lambda pairs: [growth(norm_factor(p, q), "d") for p, q in pairs],
    "T6.K": lambda pairs: [growth(norm_factor(p, q), "K") for p, q in pairs],
}
"""Statements about Gaussian matrices alone, as functions from pairs of exponents to claims."""

STATEMENTS: dict[str, Callable[[Net, str, str, str], list[Claim]]] = {
    "T1": lambda net, p, q, route: list(linear_form(net)),
    "T2": lambda net, p, q, route: [loss_bound(net, p, q, route)],
    "T3": lambda net, p, q, route: [
        *_uniform(euler_identity, net, p, q),
        *_uniform(variance_slope, net, p, q, route),
        *_uniform(weight_variance, net, p, q, route),
        *_uniform(half_life, net, p, q, route),
        *(_uniform(loss_decay, net, p, q) if {str(exponent(p)), str(exponent(q))} <= {"1", "2", "oo"} else []),
    ],
    "T4": lambda net, p, q, route: _uniform(escape_time, net, p, q, route),
    "T5": lambda net, p, q, route: [capacity(net), *_uniform(capacity_ratio, net, p, q, route)],
    "T6": lambda net, p, q, route: [
        growth(claim, size)
        for claim in (loss_bound(net, p, q), *_uniform(variance_slope, net, p, q))
        for size in ("d", "K")
    ],
    "F1": lambda net, p, q, route: THEOREMS["F1"](net, ()),
    "F2": lambda net, p, q, route: THEOREMS["F2"](net, ()),
    "beta": lambda net, p, q, route: [norm_factor(p, q, route)],
    "T6.d": lambda net, p, q, route: [growth(norm_factor(p, q), "d")],
    "T6.K": lambda net, p, q, route: [growth(norm_factor(p, q), "K")],
}
"""All that can be shown, for a net, a pair and a route to β; what a check can measure at t = 0 is in the other tables."""

TITLES = {
    "T1": "linear-like form: f(x) = J(x)x + a(x), laws of J and a",
    "T2": "adversarial loss: at most eps beta omega^(L/2)",
    "T3": "adversarial training: d|W|^2/dt = -2 share L_adv, and the slope of the weight variance",
    "T4": "trainability: the time at which omega(t)^L leaves the band from m to M",
    "T5": "capacity: E sum_k (sum_l <W^l, d f_k/d W^l>)^2",
    "beta": "norm factor: the mean norm of a Gaussian matrix, by its best route",
    "T6": "dimensions: how the loss and the slope of the weight variance grow with d and K",
    "T6.d": "dimensions: how the norm factor grows with the input dimension",
    "T6.K": "dimensions: how the norm factor grows with the output dimension",
    "F1": "finite width: E Q_L^2 of the last stream, exact at every N",
    "F2": "finite width: E |J|_{2->2} to first order in 1/N",
}


PARTS = {"T6": ("T6.d", "T6.K")}
"""Theorems that are checked by their parts."""

UNCHECKED = {
    "T4": "it is about the course of training, and a check measures networks at t = 0. 'advmf show T4' gives its formula, 'advmf phase' "
    "draws it, and 'advmf train' compares trained networks with T3, from which it follows."
}
"""Why a statement has no check."""


def silence(theorem: str, net: Net) -> str:
    """Why a theorem says nothing of a net."""
    if theorem in ("T3", "T4"):
        return f"{theorem} says nothing of {net.name}: the stream carries a mean, and J(x) is larger along x than across it"
    return f"{theorem} says nothing of {net.name}: its moment rules are not exact at finite width"


def choose(kind: str, wanted: Sequence[str], known: Mapping[str, Any], default: tuple[str, ...]) -> tuple[str, ...]:
    """The names that are wanted, or the default for none; raises ArgumentError for one that is not known."""
    return tuple(dict.fromkeys(one_of(kind, name, known) for name in wanted)) or default


def checkable(theorems: Sequence[str]) -> tuple[str, ...]:
    """What a check of these theorems checks, all that there is for none: T6 by its parts.

    Raises ArgumentError for a name that is not known, and for a theorem that can be shown but not checked.

    >>> checkable(["t2", "T6"])
    ('T2', 'T6.d', 'T6.K')
    """
    found: list[str] = []
    for name in choose("theorem", theorems, STATEMENTS, (*THEOREMS, *MATRICES)):
        if name in UNCHECKED:
            raise ArgumentError(f"{name} is not checked: {UNCHECKED[name]}")
        found += PARTS.get(name, (name,))
    return tuple(dict.fromkeys(found))


def pairs_of(p: str | None, q: str | None) -> list[tuple[str, str]]:
    """The pairs that --p and --q choose: the paper's values for what is not given.

    >>> pairs_of("3", None)
    [('3', '1'), ('3', '2'), ('3', 'inf')]
    """
    return [(a, b) for a in ([p] if p else ["1", "2", "inf"]) for b in ([q] if q else ["1", "2", "inf"])]
