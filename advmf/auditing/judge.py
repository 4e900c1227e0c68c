"""From samples of a quantity to a finding: its value, what was expected, and whether it departs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

ROUNDING = 1e-5
"""Relative differences below this are rounding of float32 over a network's depth, and no departure."""


@dataclass(frozen=True)
class Finding:
    """A ``quantity`` of a module at ``where`` (a node, or the whole module).

    ``value`` with its standard ``error`` is a mean over initialisations, or over images for a single module.
    ``expected`` is that of the declared law. ``score`` is the difference in standard errors, as of a normal variable,
    and ``departs`` says whether it counts at the level of the audit. A quantity that is only reported has no score.
    """

    quantity: str
    where: str
    value: float
    error: float
    expected: float
    score: float = math.nan
    departs: bool = False

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
    """The standard error of a single value, where it is known."""
    exact: bool = False
    """Whether ``expected`` is the mean by theory, at every width."""
    error: float | None = None
    """The standard error over images, of a single module."""
    tested: bool = True


def find(samples: Sequence[Sample], alpha: float) -> list[Finding]:
    """The findings of samples, tested together: some sound quantity departs with probability at most ``alpha``
    (Bonferroni)."""
    tests = sum(sample.tested for sample in samples)
    level = norm.isf(alpha / (2 * max(tests, 1)))
    return [_finding(sample, level) for sample in samples]


def _finding(sample: Sample, level: float) -> Finding:
    values = np.asarray(sample.values, float)
    mean, count = float(values.mean()), len(values)
    spread = float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    error = sample.error if sample.error is not None and count == 1 else spread
    if sample.known is not None:
        error = sample.known / math.sqrt(count)
    if not sample.tested:
        return Finding(sample.quantity, sample.where, mean, error, sample.expected)
    score = _score(sample, mean, count, spread)
    if abs(mean - sample.expected) <= ROUNDING * abs(sample.expected):
        score = 0.0
    return Finding(sample.quantity, sample.where, mean, error, sample.expected, score, bool(abs(score) > level))


def _score(sample: Sample, mean: float, count: int, spread: float) -> float:
    """The difference from the expectation as a normal score."""
    if sample.known is not None:
        return (mean - sample.expected) / (sample.known / math.sqrt(count)) if sample.known else math.inf
    if sample.exact and count > 1:
        return _normal((mean - sample.expected) / spread if spread else math.inf, count - 1)
    other = np.asarray(sample.reference, float)
    own = float(other.var(ddof=1))
    if count == 1:  # one more value of the reference's law
        width = math.sqrt(own * (1 + 1 / len(other)))
        return _normal((mean - float(other.mean())) / width if width else math.inf, len(other) - 1)
    parts = (spread**2, own / len(other))
    total = sum(parts)
    if not total:
        return math.inf
    freedom = total**2 / (parts[0] ** 2 / (count - 1) + parts[1] ** 2 / (len(other) - 1))
    return _normal((mean - float(other.mean())) / math.sqrt(total), freedom)


def _normal(score: float, freedom: float) -> float:
    """The normal score with the tail probability of a Student's t."""
    tail = t.logsf(abs(score), freedom)
    return math.copysign(float(norm.isf(math.exp(tail))) if tail > -700 else 37.0, score)
