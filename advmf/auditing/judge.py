"""From samples of a quantity to a finding: its value, what was expected, and whether it departs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import nctdtrinc, ndtri, stdtrit
from scipy.stats import t

ROUNDING = 1e-5
"""Relative differences below this are rounding of float32 over a network's depth, and no departure."""
POWER = 0.95
"""The probability with which a departure of the least detectable size is found."""


@dataclass(frozen=True)
class Finding:
    """A ``quantity`` of a module at ``where`` (a node, or the whole module).

    ``value`` with its standard ``error`` is a mean over initialisations, or over images for a single module.
    ``expected`` is that of the declared law. ``score`` is the difference in standard errors, as of a normal variable,
    and ``departs`` says whether it counts at the level of the audit. A quantity that is only reported has no score.
    ``least`` is the smallest relative departure that such an audit finds with probability :data:`POWER`, by its
    standard error.
    """

    quantity: str
    where: str
    value: float
    error: float
    expected: float
    score: float = math.nan
    departs: bool = False
    least: float = math.nan

    @property
    def tested(self) -> bool:
        """Whether the quantity was tested."""
        return not math.isnan(self.score)

    @property
    def ratio(self) -> float:
        """The value over the expected one."""
        return self.value / self.expected if self.expected else math.nan


@dataclass(frozen=True)
class Sample:
    """The values of a quantity in initialisations of a module, and in networks of the declared law."""

    quantity: str
    where: str
    values: Sequence[float]
    expected: float
    reference: Sequence[float] = ()
    """Values in networks of the declared law; where there are several initialisations and ``exact``, not needed."""
    known: float | None = None
    """The standard error of a single value, where it is known; 0 where no chance is in it."""
    exact: bool = False
    """Whether ``expected`` is the mean by theory, at every width."""
    error: float | None = None
    """The standard error over images, of a single module."""
    tested: bool = True


def find(samples: Sequence[Sample], alpha: float) -> list[Finding]:
    """The findings of samples, tested together: some sound quantity departs with probability at most ``alpha``
    (Bonferroni)."""
    share = alpha / max(sum(sample.tested for sample in samples), 1)
    return [_finding(sample, share) for sample in samples]


@dataclass(frozen=True)
class Difference:
    """The ``difference`` of a mean from what was expected, with its standard ``error`` of so many degrees of
    ``freedom``: infinitely many where it is known."""

    difference: float
    error: float
    freedom: float

    @property
    def score(self) -> float:
        """As of a normal variable: with the tail probability of Student's t."""
        if not self.error:
            return math.copysign(math.inf, self.difference) if self.difference else 0.0
        score = self.difference / self.error
        if math.isinf(self.freedom):
            return score
        tail = t.logsf(abs(score), self.freedom)
        return math.copysign(float(-ndtri(math.exp(tail))) if tail > -700 else 37.0, score)

    def least(self, share: float) -> float:
        """The smallest true difference that departs with probability :data:`POWER`, at a level of ``share``."""
        if math.isinf(self.freedom):
            return -float(ndtri(share / 2) + ndtri(1 - POWER)) * self.error
        return float(nctdtrinc(self.freedom, 1 - POWER, -stdtrit(self.freedom, share / 2))) * self.error


def _finding(sample: Sample, share: float) -> Finding:
    values = np.asarray(sample.values, float)
    mean, count = float(values.mean()), len(values)
    spread = float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    error = sample.error if sample.error is not None and count == 1 else spread
    if sample.known:
        error = sample.known / math.sqrt(count)
    found = _difference(sample, mean, count, spread)
    rounding = ROUNDING * (abs(sample.expected) if found.error else 1.0)
    least = max(found.least(share), rounding) / (abs(sample.expected) or (1.0 if not found.error else math.nan))
    about = Finding(sample.quantity, sample.where, mean, error, sample.expected, least=least)
    if not sample.tested:
        return about
    score = 0.0 if abs(mean - sample.expected) <= rounding else found.score
    return replace(about, score=score, departs=bool(abs(score) > -ndtri(share / 2)))


def _difference(sample: Sample, mean: float, count: int, spread: float) -> Difference:
    """The difference from the expectation, with its standard error."""
    if sample.known is not None:
        return Difference(mean - sample.expected, sample.known / math.sqrt(count), math.inf)
    if sample.exact and count > 1:
        return Difference(mean - sample.expected, spread, count - 1)
    other = np.asarray(sample.reference, float)
    own, difference = float(other.var(ddof=1)), mean - float(other.mean())
    if count == 1:  # one more value of the reference's law
        return Difference(difference, math.sqrt(own * (1 + 1 / len(other))), len(other) - 1)
    parts = (spread**2, own / len(other))
    total = sum(parts)
    freedom = total**2 / (parts[0] ** 2 / (count - 1) + parts[1] ** 2 / (len(other) - 1)) if total else math.inf
    return Difference(difference, math.sqrt(total), freedom)
