"""Moments of numbers that arrive in blocks: what is kept of the networks of one width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from advmf.verify.statistics import Rung


class Running:
    """Mean, variance and skewness of columns of numbers that arrive in blocks (T. Chan, G. Golub, R. LeVeque, 1983; P.
    Pébay, 2008).

    Every column is kept in units of a power of two near its largest number, so that squares and cubes overflow, or
    vanish, no sooner than the numbers do. ``lost`` counts the numbers of each column that are not finite. A column with
    any such number has no moments. With ``logs`` the moments of the logarithms of the numbers' sizes are kept too, for
    :attr:`spread`.

    >>> running = Running(1)
    >>> for block in ([[1.0], [2.0]], [[6.0]]):
    ...     running.add(np.array(block))
    >>> running.count, running.mean.tolist(), running.variance.tolist()
    (3, [3.0], [7.0])
    >>> Running.of(running.state).variance.tolist()
    [7.0]
    """

    def __init__(self, columns: int, logs: bool = True) -> None:
        self.count = 0
        self._logs = Running(columns, logs=False) if logs else None
        self.lost = np.zeros(columns, dtype=int)
        self._unit = np.full(columns, _SMALLEST)  # the exponent of two
        self._mean = np.zeros(columns)
        self._squares = np.zeros(columns)
        self._cubes = np.zeros(columns)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Running:
        """A copy that goes on from a ``state``, equal to the last bit."""
        running = cls(0, logs=False)
        running.count = state["count"]
        running._logs = cls.of(state["logs"]) if "logs" in state else None
        running.lost, running._unit = (np.array(state[name], dtype=int) for name in ("lost", "unit"))
        names = ("mean", "squares", "cubes")
        running._mean, running._squares, running._cubes = (np.array(state[n], dtype=float) for n in names)
        return running

    @property
    def state(self) -> dict[str, Any]:
        """The count and the moments, JSON-ready."""
        columns = {
            "lost": self.lost,
            "unit": self._unit,
            "mean": self._mean,
            "squares": self._squares,
            "cubes": self._cubes,
        }
        logs = {"logs": self._logs.state} if self._logs else {}
        return {"count": self.count, **{name: values.tolist() for name, values in columns.items()}, **logs}

    def add(self, block: np.ndarray) -> None:
        """Take in ``block`` of shape (count, columns)."""
        finite = np.isfinite(block)
        self.lost = self.lost + (~finite).sum(0)
        block = np.where(finite, block, 0.0)
        if self._logs:
            self._logs.add(_logarithms(block))
        largest = np.abs(block).max(0)
        self._measure_in(np.where(largest > 0, np.frexp(largest)[1], _SMALLEST))
        block = np.ldexp(block, -self._unit)
        a, b, mean = self.count, len(block), block.mean(0)
        total, delta = a + b, mean - self._mean
        squares, cubes = ((block - mean) ** 2).sum(0), ((block - mean) ** 3).sum(0)
        self._cubes += (
            cubes + delta**3 * a * b * (a - b) / total**2 + 3 * delta * (a * squares - b * self._squares) / total
        )
        self._squares += squares + delta**2 * a * b / total
        self._mean = self._mean + delta * b / total
        self.count = total

    def _measure_in(self, needed: np.ndarray) -> None:
        """Raise the columns' units to the ``needed`` ones."""
        unit = np.maximum(self._unit, needed)
        shift = self._unit - unit
        self._mean = np.ldexp(self._mean, shift)
        self._squares, self._cubes = np.ldexp(self._squares, 2 * shift), np.ldexp(self._cubes, 3 * shift)
        self._unit = unit

    def _column(self, values: np.ndarray, other: float = math.nan) -> np.ndarray:
        """``values`` where all numbers of the column were finite, and ``other`` elsewhere."""
        return np.where(self.lost == 0, values, other)

    @property
    def mean(self) -> np.ndarray:
        """The mean of every column."""
        return self._column(np.ldexp(self._mean, self._unit))

    @property
    def variance(self) -> np.ndarray:
        """Unbiased sample variance; infinite for fewer than two numbers, and where some are not finite."""
        if self.count < 2:
            return np.full_like(self._mean, math.inf)
        with np.errstate(over="ignore"):
            return self._column(np.ldexp(self._squares / (self.count - 1), 2 * self._unit), math.inf)

    @property
    def stderr(self) -> np.ndarray:
        """Standard error of the mean; infinite where the variance is unknown."""
        if self.count < 2:
            return np.full_like(self._mean, math.inf)
        return self._column(np.ldexp(np.sqrt(self._squares / (self.count - 1) / self.count), self._unit), math.inf)

    @property
    def skew(self) -> np.ndarray:
        """Sample skewness; 0 for columns that do not vary."""
        spread = np.sqrt(self._squares / max(self.count, 1))
        still = spread <= 1e-12 * np.abs(self._mean)
        return self._column(np.where(still, 0.0, self._cubes / max(self.count, 1) / np.where(still, 1.0, spread) ** 3))

    @property
    def spread(self) -> np.ndarray:
        """The standard deviation of the logarithms of the large numbers, and one standard error more.

        It is taken from a quantile two deviations above the mean, by E. Cornish and R. Fisher's expansion with the
        skewness of the logarithms. So numbers near zero, such as squares of normal ones, do not count: they spread the
        logarithms as well, and are no heavy tail. 0 for fewer than two numbers.
        """
        if self._logs is None or self.count < 2:
            return np.zeros_like(self._mean)
        deviation = np.sqrt(self._logs.variance) * (1 + 1 / math.sqrt(2 * self.count))
        skew = self._logs.skew + math.sqrt(6 / self.count)
        return self._column(deviation * np.maximum(0.0, 1 + 2 / 3 * skew))

    def rung(self, N: int, column: int = 0) -> Rung:
        """A column's mean, error and shape, as the :class:`Rung` of width N."""
        mean, stderr, skew, spread = (float(e[column]) for e in (self.mean, self.stderr, self.skew, self.spread))
        return Rung(N, self.count, mean, stderr, skew, int(self.lost[column]), spread)


def _logarithms(block: np.ndarray) -> np.ndarray:
    """The logarithms of the numbers' sizes. A zero gets the mean logarithm of the others."""
    there = block != 0
    logs = np.log(np.abs(block), where=there, out=np.zeros(block.shape))
    return np.where(there, logs, logs.sum(0) / np.maximum(there.sum(0), 1))


_SMALLEST = -1073
"""The exponent of the smallest number, as :func:`numpy.frexp` gives it. It is the unit of a column that is zero so
far."""
