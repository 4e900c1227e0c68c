"""Singular values against the law of V. A. Marchenko and L. A. Pastur (Math. USSR Sbornik 1, 1967)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

POINTS = 4001


@lru_cache(maxsize=64)
def distribution(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The squares of singular values of a matrix (rows, columns) with independent entries of variance 1/columns, as a
    grid, and the share of the min(rows, columns) values below each point of it.

    The density of the square x, for y = rows/columns <= 1, is sqrt((b - x)(x - a))/(2 pi y x) between a = (1 - sqrt y)²
    and b = (1 + sqrt y)². A wide and a tall matrix differ by a factor.
    """
    tall = rows > columns
    ratio = columns / rows if tall else rows / columns
    low, high = (1 - ratio**0.5) ** 2, (1 + ratio**0.5) ** 2
    # x = low + (high - low) sin²(t) makes the density smooth in t.
    t = np.linspace(0, np.pi / 2, POINTS)
    x = low + (high - low) * np.sin(t) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        density = (high - low) ** 2 * np.sin(t) ** 2 * np.cos(t) ** 2 / (np.pi * ratio * x)
    density = np.where(x > 0, density, (high - low) / (np.pi * ratio))
    below = np.concatenate(([0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(t))))
    return x * (rows / columns if tall else 1.0), below / below[-1]


def departures(squares: np.ndarray, rows: int, columns: int) -> tuple[float, float]:
    """Two numbers for the squares of the singular values of weights of variance 1/columns: the largest over the law's
    upper edge, and the largest distance between the shares below a point (Kolmogorov's).

    >>> generator = np.random.default_rng(0)
    >>> squares = np.linalg.svd(generator.normal(size=(200, 300)) / 300**0.5, compute_uv=False) ** 2
    >>> edge, distance = departures(squares, 200, 300)
    >>> abs(edge - 1) < 0.05, distance < 0.02
    (True, True)
    """
    grid, share = distribution(rows, columns)
    own = np.sort(squares)
    expected, count = np.interp(own, grid, share), len(own)
    steps = np.arange(count + 1) / count
    distance = max(np.abs(expected - steps[1:]).max(), np.abs(expected - steps[:-1]).max())
    return float(own[-1] / grid[-1]), float(distance)
