"""The verdict on a probability or a quantile, by exact binomial tests at every width. There is no t test, and nothing
is extrapolated in 1/N."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from advmf.claim import Relation
from advmf.verify.binomial import Ranks, Share
from advmf.verify.judge import undecided
from advmf.verify.statistics import Design, Rung
from advmf.verify.tails import Tail
from advmf.verify.verdict import Finding, Verdict

Counted = Share | Ranks


@dataclass(frozen=True)
class Sample:
    """One number for each network of width ``N``, or for each matrix.

    ``found`` has the measured numbers. ``least`` has numbers known to be no more than the true ones, ``most`` numbers
    known to be no less. Either is None where nothing is known: an attack may miss a maximum.
    """

    N: int
    found: np.ndarray
    least: np.ndarray | None
    most: np.ndarray | None

    @classmethod
    def of(cls, test: Tail, width: int, numbers: np.ndarray) -> Sample:
        """The sample of one width. The numbers of the networks get a sign, so that they are large where the event of
        the test holds."""
        signed = test.sign * numbers
        return cls(width, signed, signed if test.high else None, signed if test.low else None)


class Allowed(NamedTuple):
    """The limits of a claim. It allows values from ``bottom`` to ``top``. To be excluded are values from ``ceiling`` up
    and from ``floor`` down."""

    top: float
    ceiling: float
    bottom: float
    floor: float


def effect_of(test: Tail, design: Design) -> float:
    """The departure that a check of networks must resolve."""
    return design.effect if test.deltas else design.effect_probability


def judge_counts(
    test: Tail,
    samples: Sequence[Sample],
    relation: Relation,
    tolerance: float,
    rates: tuple[float, float],
    effect: float,
    doubt: str = "",
    what: str = "nets",
) -> Finding:
    """The finding on a probability or a quantile, by the numbers at each of its widths. The widest networks decide.

    ``rates`` are alpha and beta, and ``effect`` is in units of the scale. REFUTED: an exact binomial test at alpha
    refutes the claim by what is sure. That is what an attack has found, and not what it may have missed. SUPPORTED:
    exact confidence limits at beta exclude departures of ``effect``. NOT_REFUTED: the limits exclude them for the
    numbers that were found, and no more is known. UNDERPOWERED: all else, and a claim that the widest networks refute
    by a departure that falls so fast with N that it may vanish.
    """
    alpha, beta = rates
    each = alpha if relation.bound else alpha / 2
    last = samples[-1]
    predicted, scale = test.predicted[last.N], abs(test.scale[last.N])
    if doubt:
        lost = [int((~np.isfinite(sample.found)).sum()) for sample in samples]
        none = [Rung(s.N, len(s.found), math.nan, math.inf, lost=count) for s, count in zip(samples, lost)]
        return undecided(test.label, predicted, none, doubt, alpha, effect)
    rungs = [_rung(test, sample, each) for sample in samples]
    slack, margin = tolerance * abs(predicted), effect * scale
    allowed = Allowed(predicted + slack, predicted + slack + margin, predicted - slack, predicted - slack - margin)
    found = _law(test, last.N, last.found)
    least, most = (None if side is None else _law(test, last.N, side) for side in (last.least, last.most))
    known, seen = Known(least, most, relation, allowed), Known(found, found, relation, allowed)
    verdict, reason = _decided(known, seen, alpha, beta, what)
    p_value = known.p_value
    if verdict is Verdict.REFUTED and (falls := _falling(test, rungs, slack)):
        verdict, reason, p_value = Verdict.UNDERPOWERED, f"{reason}, but {falls}", 1.0
    return Finding(
        test.label,
        verdict,
        found.value,
        found.stderr,
        predicted,
        (found.value - predicted) / scale,
        _resolution(found, relation, each, beta) / scale,
        tuple(rungs),
        f"{_counts(test, samples, rungs)}: {reason}",
        p_value,
        alpha,
        effect,
    )


@dataclass(frozen=True)
class Known:
    """What is known of a probability or a quantile, beside what is claimed of it. ``least`` is from numbers that are,
    if anything, too low, ``most`` from numbers that are, if anything, too high."""

    least: Counted | None
    most: Counted | None
    relation: Relation
    allowed: Allowed

    @property
    def p_value(self) -> float:
        """The p-value of the claim. An equality has twice the smaller of its two p-values."""
        above = self.least.p_above(self.allowed.top) if self.least and self.relation.above else 1.0
        below = self.most.p_below(self.allowed.bottom) if self.most and self.relation.below else 1.0
        return min(1.0, (1 if self.relation.bound else 2) * min(above, below))

    def excludes(self, rate: float) -> bool:
        """Whether departures are excluded on the sides that the claim speaks of. The mere fact that a probability lies
        between 0 and 1 excludes nothing."""
        most, least, (_, ceiling, _, floor) = self.most, self.least, self.allowed
        above = most is not None and most.high(rate) <= ceiling and not (isinstance(most, Share) and ceiling >= 1)
        below = least is not None and least.low(rate) >= floor and not (isinstance(least, Share) and floor <= 0)
        return (above or not self.relation.above) and (below or not self.relation.below)

    @property
    def outside(self) -> str:
        """The departures that a check excludes."""
        sides = [f"{self.allowed.ceiling:.3g} and more"] if self.relation.above else []
        sides += [f"{self.allowed.floor:.3g} and less"] if self.relation.below else []
        return f"{' and '.join(sides)} {'is' if len(sides) == 1 else 'are'}"


def _decided(known: Known, seen: Known, alpha: float, beta: float, what: str) -> tuple[Verdict, str]:
    """The verdict and its reason, by what is known for sure and by what was merely seen."""
    if known.p_value < alpha:
        high = known.relation.above and seen.most and seen.most.value > known.allowed.top
        return Verdict.REFUTED, f"above {known.allowed.top:.3g}" if high else f"below {known.allowed.bottom:.3g}"
    if known.excludes(beta):
        return Verdict.SUPPORTED, f"{known.outside} excluded"
    if seen.excludes(beta):
        return Verdict.NOT_REFUTED, f"{known.outside} excluded of what was found, and a search may miss a maximum"
    if seen.p_value < alpha:
        return Verdict.UNDERPOWERED, MISSED
    return Verdict.UNDERPOWERED, f"{known.outside} not excluded; use more {what}"


def _falling(test: Tail, rungs: Sequence[Rung], slack: float) -> str:
    """Whether a departure is seen to fall with N and may vanish. It may if it would be gone as N -> oo, falling as
    1/sqrt(N) from some width to the widest. Larger networks may then not have it."""
    last = rungs[-1]
    side = math.copysign(1.0, last.mean - test.predicted[last.N])
    after = side * (last.mean - test.predicted[last.N])
    for rung in rungs[:-1]:
        low, high = rung.interval or (-math.inf, math.inf)
        nearest, before = (side * (value - test.predicted[rung.N]) for value in (low if side > 0 else high, rung.mean))
        if nearest > after and after - (before - after) / (math.sqrt(last.N / rung.N) - 1) <= slack:
            return f"the departure falls from N = {rung.N} on, and may vanish; use larger N"
    return ""


MISSED = "beyond what is claimed, but this is about the best that a search found of a maximum, and refutes nothing on that side"


def _law(test: Tail, width: int, numbers: np.ndarray) -> Counted:
    if test.deltas:
        return Ranks(np.sort(numbers), test.deltas[width])
    threshold = test.thresholds[width]
    so = numbers >= threshold if test.closed else numbers > threshold
    return Share(int(so.sum()), len(numbers))


def _rung(test: Tail, sample: Sample, rate: float) -> Rung:
    law = _law(test, sample.N, sample.found)
    return Rung(sample.N, law.nets, law.value, law.stderr, interval=(law.low(rate), law.high(rate)))


def _resolution(found: Counted, relation: Relation, alpha: float, beta: float) -> float:
    """The departure that a test of size ``alpha`` finds with probability 1 - ``beta``."""
    above = found.high(alpha) - found.low(beta) if relation.above else 0.0
    below = found.high(beta) - found.low(alpha) if relation.below else 0.0
    return max(above, below)


def _counts(test: Tail, samples: Sequence[Sample], rungs: Sequence[Rung]) -> str:
    """The counts at each width, and the exact limits of the probability or the quantile."""
    told = []
    for sample, rung in zip(samples, rungs):
        low, high = rung.interval or (-math.inf, math.inf)
        at = f" at N = {sample.N}" if len(samples) > 1 else ""
        told.append(f"{_law(test, sample.N, sample.found)}{at}, {low:.3g} to {high:.3g}")
    return "; ".join(told) + (", and the widest decide" if len(samples) > 1 else "")
