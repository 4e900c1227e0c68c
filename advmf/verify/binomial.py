"""Exact statistics of a share and of a quantile. The number of large ones among n independent numbers is binomial,
whatever their law."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special


def at_least(count: int, of: int, p: float) -> float:
    """The probability that a binomial number is ``count`` or more. It has ``of`` trials of probability ``p``.

    >>> at_least(1, 2, 0.5), at_least(0, 2, 0.5), at_least(3, 2, 0.5)
    (0.75, 1.0, 0.0)
    """
    if count <= 0 or count > of:
        return float(count <= 0)
    return float(special.betainc(count, of - count + 1, p))


def at_most(count: int, of: int, p: float) -> float:
    """The probability that a binomial number is ``count`` or less."""
    return at_least(of - count, of, 1 - p)


@dataclass(frozen=True)
class Share:
    """An event happened in ``count`` of ``nets`` independent numbers. The methods say what follows for its probability.

    >>> share = Share(3, 100)
    >>> share.value, round(share.low(0.025), 5), round(share.high(0.025), 5)
    (0.03, 0.00623, 0.08518)
    """

    count: int
    nets: int

    @property
    def value(self) -> float:
        return self.count / self.nets

    @property
    def stderr(self) -> float:
        """The standard error of the share. It is 0 for a share of 0 or 1, where only the limits tell the
        uncertainty."""
        return math.sqrt(self.value * (1 - self.value) / self.nets)

    def low(self, rate: float) -> float:
        """The lower confidence limit of C. Clopper and E. Pearson (1934). It lies above the true probability in at most
        ``rate`` of all samples."""
        return float(special.betaincinv(self.count, self.nets - self.count + 1, rate)) if self.count else 0.0

    def high(self, rate: float) -> float:
        """The upper confidence limit: below the true probability in at most ``rate`` of all samples."""
        count, of = self.count, self.nets
        return float(special.betainccinv(count + 1, of - count, rate)) if count < of else 1.0

    def p_above(self, limit: float) -> float:
        """The p-value of "the probability is at most ``limit``"."""
        return at_least(self.count, self.nets, min(max(limit, 0.0), 1.0))

    def p_below(self, limit: float) -> float:
        """The p-value of "the probability is at least ``limit``"."""
        return at_most(self.count, self.nets, min(max(limit, 0.0), 1.0))

    def __str__(self) -> str:
        return f"{self.count:,} of {self.nets:,}"


@dataclass(frozen=True)
class Ranks:
    """What independent ``numbers``, in rising order, say of the quantile that is exceeded with probability ``delta``.

    The quantile is the least x with P(number > x) <= delta. Nothing is supposed of the law: single values may have a
    probability of their own.

    >>> ranks = Ranks(np.arange(1.0, 1001.0), 0.1)
    >>> ranks.value, ranks.low(0.025), ranks.high(0.025)
    (900.0, 881.0, 919.0)
    """

    numbers: np.ndarray
    delta: float

    @property
    def nets(self) -> int:
        return len(self.numbers)

    @property
    def value(self) -> float:
        """The quantile of the sample: the least number such that at most the share ``delta`` of the sample lies above
        it."""
        return float(self.numbers[max(self.nets - math.floor(self.nets * self.delta) - 1, 0)])

    @property
    def stderr(self) -> float:
        """Half of the interval between two limits. Each limit is wrong as often as a normal number lies more than one
        standard error to one side."""
        rate = float(special.ndtr(-1.0))
        return (self.high(rate) - self.low(rate)) / 2

    def low(self, rate: float) -> float:
        """A lower limit: a number of the sample that is above the quantile in at most ``rate`` of all samples; -oo
        where there is none."""
        least = _first(lambda m: at_least(m, self.nets, self.delta) <= rate, self.nets + 1)
        return float(self.numbers[self.nets - least]) if 0 < least <= self.nets else -math.inf

    def high(self, rate: float) -> float:
        """An upper limit: a number of the sample that is below the quantile in at most ``rate`` of all samples; oo
        where there is none."""
        beyond = _first(lambda m: at_most(m, self.nets, self.delta) > rate, self.nets)
        return float(self.numbers[self.nets - beyond]) if beyond > 0 else math.inf

    def p_above(self, limit: float) -> float:
        """The p-value of "the quantile is at most ``limit``", by how many numbers are above the limit."""
        return at_least(int((self.numbers > limit).sum()), self.nets, self.delta)

    def p_below(self, limit: float) -> float:
        """The p-value of "the quantile is at least ``limit``"."""
        return at_most(int((self.numbers >= limit).sum()), self.nets, self.delta)

    def __str__(self) -> str:
        return f"of {self.nets:,}"


def _first(true: Callable[[int], bool], end: int) -> int:
    """The least whole number from 0 to ``end`` from which on the statement ``true`` holds. It must hold at the end."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if true(middle) else (middle + 1, high)
    return low
