"""The verdict on a probability or a quantile, by exact binomial tests at every width: no t test, and nothing is
extrapolated in 1/N."""

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

    ``found`` is what was measured; ``least`` is known to be no more than the true numbers, and ``most`` no less. None
    where that is not known: an attack may miss a maximum.
    """

    N: int
    found: np.ndarray
    least: np.ndarray | None
    most: np.ndarray | None

    @classmethod
    def of(cls, test: Tail, width: int, numbers: np.ndarray) -> Sample:
        """The numbers of networks, signed so that they are large where the event of the test holds."""
        signed = test.sign * numbers
        return cls(width, signed, signed if test.high else None, signed if test.low else None)


class Allowed(NamedTuple):
    """What a claim allows, ``top`` and ``bottom``, and the departures to exclude, from ``ceiling`` up and from
    ``floor`` down."""

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
    """The finding on a probability or a quantile, by the numbers at each of its widths; the widest decide.

    It is REFUTED where an exact binomial test at the first of the ``rates``, alpha, says so of what is sure: of what an
    attack has found, and not of what it may have missed. It is SUPPORTED where exact confidence limits at the second,
    beta, exclude departures of ``effect``, in units of the scale; and NOT_REFUTED where they exclude them of what was
    found, and no more is known.
    """
    alpha, beta = rates
    each = alpha if relation.bound else alpha / 2
    last = samples[-1]
    predicted, scale = test.predicted[last.N], abs(test.scale[last.N])
    if doubt:
        none = [Rung(sample.N, len(sample.found), math.nan, math.inf) for sample in samples]
        return undecided(test.label, predicted, none, doubt, alpha, effect)
    rungs = [_rung(test, sample, each) for sample in samples]
    slack, margin = tolerance * abs(predicted), effect * scale
    allowed = Allowed(predicted + slack, predicted + slack + margin, predicted - slack, predicted - slack - margin)
    found = _law(test, last.N, last.found)
    least, most = (None if side is None else _law(test, last.N, side) for side in (last.least, last.most))
    p_value = min(1.0, alpha / each * min(_p_values(least, most, relation, allowed)))
    if p_value < alpha:
        verdict, reason = Verdict.REFUTED, _beyond(found, relation, allowed)
    elif not _excluded(found, found, relation, allowed, beta):
        missed = alpha / each * min(_p_values(found, found, relation, allowed)) < alpha
        verdict, reason = (
            Verdict.UNDERPOWERED,
            MISSED if missed else f"{_outside(relation, allowed)} not excluded; use more {what}",
        )
    else:
        proven = _excluded(least, most, relation, allowed, beta)
        verdict, reason = (
            (Verdict.SUPPORTED if proven else Verdict.NOT_REFUTED),
            f"{_outside(relation, allowed)} excluded",
        )
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


def _p_values(least: Counted | None, most: Counted | None, relation: Relation, allowed: Allowed) -> tuple[float, float]:
    """Those of "no more than the top" and of "no less than the bottom", as far as the claim says so."""
    above = least.p_above(allowed.top) if least and relation.above else 1.0
    below = most.p_below(allowed.bottom) if most and relation.below else 1.0
    return above, below


def _excluded(least: Counted | None, most: Counted | None, relation: Relation, allowed: Allowed, rate: float) -> bool:
    """Whether departures are excluded on the sides that the claim speaks of. That a probability is at most 1 excludes
    nothing."""
    above = (
        most is not None
        and most.high(rate) <= allowed.ceiling
        and not (isinstance(most, Share) and allowed.ceiling >= 1)
    )
    below = (
        least is not None and least.low(rate) >= allowed.floor and not (isinstance(least, Share) and allowed.floor <= 0)
    )
    return (above or not relation.above) and (below or not relation.below)


def _resolution(found: Counted, relation: Relation, alpha: float, beta: float) -> float:
    """The departure that a test of size ``alpha`` finds with probability 1 - ``beta``."""
    above = found.high(alpha) - found.low(beta) if relation.above else 0.0
    below = found.high(beta) - found.low(alpha) if relation.below else 0.0
    return max(above, below)


def _counts(test: Tail, samples: Sequence[Sample], rungs: Sequence[Rung]) -> str:
    """What was counted at each width, and the exact limits of the probability or the quantile."""
    told = []
    for sample, rung in zip(samples, rungs):
        low, high = rung.interval or (-math.inf, math.inf)
        at = f" at N = {sample.N}" if len(samples) > 1 else ""
        told.append(f"{_law(test, sample.N, sample.found)}{at}, {low:.3g} to {high:.3g}")
    return "; ".join(told) + (", and the widest decide" if len(samples) > 1 else "")


def _beyond(found: Counted, relation: Relation, allowed: Allowed) -> str:
    above = relation.above and (not relation.below or found.value > allowed.top)
    return f"above {allowed.top:.3g}" if above else f"below {allowed.bottom:.3g}"


def _outside(relation: Relation, allowed: Allowed) -> str:
    """The departures that a check excludes."""
    sides = [f"{allowed.ceiling:.3g} and more"] if relation.above else []
    sides += [f"{allowed.floor:.3g} and less"] if relation.below else []
    return f"{' and '.join(sides)} {'is' if len(sides) == 1 else 'are'}"
