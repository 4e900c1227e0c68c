"""What a claim about a probability or a quantile says of networks of each width, in numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from advmf.claim import RHS, Claim, Equation, Regime, Relation
from advmf.errors import ArgumentError
from advmf.events import Event, event_of, quantity
from advmf.observables import Probability, Quantile
from advmf.simulate.estimate import Single, measurable
from advmf.symbols import N
from advmf.verify.searches import trusted
from advmf.verify.values import value

TAILS = (Probability, Quantile)
"""The left-hand sides that are checked by counting networks."""


@dataclass(frozen=True)
class Tail:
    """A share of networks, or a quantile of their numbers, and what it should be at each of the ``widths``. The last
    width decides.

    ``product`` is measured, one number for each network. The event holds where ``sign`` times that number is above the
    threshold of the width, or equal to it if the event is ``closed``. A quantile has no thresholds. It has ``deltas``:
    the probabilities with which it is exceeded. ``high`` says whether ``sign`` times the measured number is known not
    to be too high, ``low`` whether it is known not to be too low. ``scale`` is the unit of departures.
    """

    label: str
    product: Single
    predicted: Mapping[int, float]
    scale: Mapping[int, float]
    exact: bool
    states: bool
    sign: int
    thresholds: Mapping[int, float]
    closed: bool
    deltas: Mapping[int, float]
    high: bool = True
    low: bool = True

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.predicted)

    @property
    def sizes(self) -> Mapping[int, float]:
        """What the measured numbers are compared with."""
        return self.predicted if self.deltas else self.thresholds


def scale_of(lhs: sp.Expr) -> sp.Expr:
    """The scale of a claim without equations: its right-hand side. For a probability it is the smaller of it and its
    complement."""
    return sp.Min(RHS, 1 - RHS) if isinstance(lhs, Probability) else sp.Abs(RHS)


def require_level(claim: Claim) -> None:
    """Raises ArgumentError for a law or an order of growth of a probability or a quantile."""
    sides = (claim.lhs, *(equation.lhs for equation in claim.equations))
    if claim.relation in (Relation.LAW, Relation.ORDER) and any(isinstance(side, TAILS) for side in sides):
        raise ArgumentError(
            f"{claim.name}: a probability or a quantile is checked by <=, >=, == or approx; got {claim.relation}."
        )


def tails(claim: Claim, equation: Equation, at: Mapping[str, float], widths: Sequence[int], states: bool) -> list[Tail]:
    """The tests of a probability or a quantile. An exact claim has a test of its own at every width. Else there is one
    test, which the widest networks decide.

    The list is empty where the units and directions of the event do not exist. Raises ArgumentError for an event that
    no network decides, for a number that is no probability strictly between 0 and 1, for a quantile that is compared
    with 0, and for a coefficient of 1/N.
    """
    require_level(claim)
    if equation.order:
        raise ArgumentError(f"{claim.name}: a probability or a quantile has no equation of order {equation.order}.")
    rising = sorted(widths)
    found = _of_event if isinstance(equation.lhs, Probability) else _of_quantile
    whole = found(claim, equation, at, rising, states)
    if not measurable(whole.product, int(at["d"]), int(at["K"])):
        return []
    if not whole.exact or len(rising) == 1:
        return [whole]
    return [_at(whole, width) for width in rising]


def of_matrices(claim: Claim, at: Mapping[str, float]) -> list[Tail]:
    """The test of a claim about Gaussian matrices. It has d in place of the width. Raises ArgumentError as
    :func:`tails` does."""
    own = Equation(str(claim.lhs), claim.subject, claim.rhs, scale_of(claim.lhs).xreplace({RHS: claim.rhs}), exact=True)
    return tails(claim, own, at, [int(at["d"])], states=True)


def at_widths(expr: sp.Expr, at: Mapping[str, float], widths: Sequence[int]) -> dict[int, float]:
    """The value of an expression at every width. Raises ArgumentError where it is not finite."""
    values = {}
    for width in widths:
        values[width] = value(expr, {**at, "N": width})
        if not math.isfinite(values[width]):
            raise ArgumentError(
                f"{expr} is {values[width]} at this point, which no simulation can be compared with; take a smaller L or sigma_w."
            )
    return values


def _of_event(claim: Claim, equation: Equation, at: Mapping[str, float], widths: Sequence[int], states: bool) -> Tail:
    event = event_of(equation.lhs)
    predicted, scale = (at_widths(side, at, widths) for side in (equation.rhs, equation.scale))
    exact = _exact(claim, equation)
    for width in widths if exact else widths[-1:]:
        _require_probability(claim.name, f"what {equation.lhs} is compared with", predicted[width], width)
    _require_scale(claim.name, predicted, scale)
    product, sign = _product(event.product, at), _sign(event, at, widths)
    thresholds = at_widths(event.threshold, at, widths)
    oriented = {width: sign * value for width, value in thresholds.items()}
    return Tail(
        equation.label, product, predicted, scale, exact, states, sign, oriented, event.closed, {},
        *_trust(product, sign, at),
    )  # fmt: skip


def _of_quantile(
    claim: Claim, equation: Equation, at: Mapping[str, float], widths: Sequence[int], states: bool
) -> Tail:
    product = _product(quantity(equation.lhs), at)
    predicted, scale, deltas = (
        at_widths(side, at, widths) for side in (equation.rhs, equation.scale, equation.lhs.args[1])
    )
    for width, delta in deltas.items():
        _require_probability(claim.name, f"delta of {equation.lhs}", delta, width)
    _require_scale(claim.name, predicted, scale)
    return Tail(
        equation.label, product, predicted, scale, _exact(claim, equation), states, 1, {}, False, deltas,
        *_trust(product, 1, at),
    )  # fmt: skip


def _at(whole: Tail, width: int) -> Tail:
    """The test at one width."""

    def own(values: Mapping[int, float]) -> dict[int, float]:
        return {width: values[width]} if values else {}

    return Tail(
        f"{whole.label} at N = {width}", whole.product, own(whole.predicted), own(whole.scale), True, whole.states,
        whole.sign, own(whole.thresholds), whole.closed, own(whole.deltas), whole.high, whole.low,
    )  # fmt: skip


def _exact(claim: Claim, equation: Equation) -> bool:
    return equation.exact or Regime.LARGE_WIDTH not in claim.regime


def _product(product: sp.Expr, at: Mapping[str, float]) -> Single:
    named = {s: sp.Float(at[s.name]) for s in product.free_symbols if s.name in at and s != N}
    return Single(product.subs(named))


def _sign(event: Event, at: Mapping[str, float], widths: Sequence[int]) -> int:
    """Whether the event is that the product is large (1) or small (-1), at all widths."""
    factors = set(map(_signum, at_widths(event.factor, at, widths).values()))
    if factors not in ({1}, {-1}):
        raise ArgumentError(
            f"The factor {event.factor} of {event.product} in an event must have one sign, and not be 0, at this point."
        )
    return (1 if event.above else -1) * factors.pop()


def _signum(value: float) -> int:
    return (value > 0) - (value < 0)


def _trust(product: Single, sign: int, at: Mapping[str, float]) -> tuple[bool, bool]:
    return trusted(sign * product.args[0], int(at["d"]), int(at["K"]))


def _require_probability(name: str, what: str, value: float, width: int) -> None:
    if not 0 < value < 1:
        raise ArgumentError(
            f"{name}: {what} is {value:g} at a width of {width}; a share of networks tells of probabilities strictly between 0 and 1. "
            "Give another point."
        )


def _require_scale(name: str, predicted: Mapping[int, float], scale: Mapping[int, float]) -> None:
    for width, size in scale.items():
        if size == 0:
            raise ArgumentError(
                f"{name}: a quantile that is compared with {predicted[width]:g} at a width of {width} has no scale to resolve a "
                "departure on; give another point, or claim the probability of the event."
            )
