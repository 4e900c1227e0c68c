"""The lp -> lq norm of a Gaussian matrix whose columns have sizes of their own, as the pixels of an image have.

For t = √s and a standard Gaussian G of K rows the matrix is G diag(t). At p = 1 its norm is the largest of independent
column norms t_j ‖g_K‖_q, and at q = oo the largest of K independent norms ‖t ∘ g_d‖_{p*}. Both laws are known by
convolution. Elsewhere the norm is estimated, as that of equal columns is (:mod:`advmf.special.comparison`).
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from advmf.errors import DomainError
from advmf.special.comparison import Side, conjugate, corner, corrected, largest, maxima
from advmf.special.extremes import mixed_law, nodes_of, norm_law
from advmf.special.profiles import each, mean_norm
from advmf.special.spectral import spectral_norm

Sizes = tuple[tuple[float, ...], tuple[int, ...]]
"""The distinct sizes t of the columns, and how many columns have each."""


def profile_extreme(K: Any, p: Any, q: Any, *code: Any) -> Any:
    """E‖G diag(√s)‖_{p -> q} for a standard Gaussian G of ``K`` rows and the profile s of a code, elementwise, where p
    = 1 or q = oo.

    Relative error below 1e-7. At q = oo, p > 1, each distinct value of s takes some tenths of a second. NaN for other
    exponents. Raises DomainError for a K that is no whole number >= 1.

    >>> from advmf.special import extreme_norm, profile_extreme
    >>> profile_extreme(3, 1, [1, 2], 1, 1, 4, 0).round(6) == extreme_norm(4, 3, [1, 2]).round(6)  # four equal columns
    array([ True,  True])
    """
    return each(lambda K, p, q, t, n: _extreme(K, p, q, _sizes(t, n)), (_whole(K), p, q), code)


def estimated_profile_norm(K: Any, p: Any, q: Any, *code: Any) -> Any:
    """An estimate of E‖G diag(√s)‖_{p -> q} for a standard Gaussian G of ``K`` rows and the profile s of a code,
    elementwise, for all p and q in [1, oo].

    It is that of :func:`estimated_norm`, by the comparison at typical vectors. What corrects it is computed for the
    profile at p = 1 and at q = oo (:func:`profile_extreme`), and at (2, 2) from the edge of the spectrum
    (:func:`singular_value`). In the rest of the corner p >= 2 >= q it is that of equal columns: at p = 2 as many as
    have an edge of the same relative width, and at p = oo (Σ t)²/Σ t². For equal columns both estimates are the same.
    It is no bound. NaN for exponents below 1; DomainError for a K that is no whole number >= 1.

    >>> from advmf.special import estimated_norm, estimated_profile_norm
    >>> estimated_profile_norm(3, 2, 1, 1, 1, 9, 0).round(6) == estimated_norm(3, 9, 2, 1).round(6)  # equal columns
    np.True_
    """
    return each(lambda K, p, q, t, n: _estimated(K, p, q, _sizes(t, n)), (_whole(K), p, q), code)


def of_sizes(K: int, p: float, q: float, t: np.ndarray) -> float:
    """E‖G diag(t)‖_{p -> q} for a standard Gaussian G of K rows, where p = 1 or q = oo."""
    return _extreme(float(K), p, q, _grouped(t))


def estimated_of_sizes(K: int, p: float, q: float, t: np.ndarray) -> float:
    """An estimate of E‖G diag(t)‖_{p -> q} for a standard Gaussian G of K rows (:func:`estimated_profile_norm`)."""
    return _estimated(float(K), p, q, _grouped(t))


def _grouped(t: np.ndarray) -> Sizes:
    """The distinct sizes, but for rounding, and the number of each; none that are next to nothing."""
    size, counts = np.unique((t / t.max()).round(13), return_counts=True)
    return _sizes(size[size > 0] * t.max(), counts[size > 0])


def _whole(K: Any) -> Any:
    rows = np.asarray(K, float)
    bad = ~((rows >= 1) & (rows < math.inf) & (rows == np.floor(rows)))
    if bad.any():
        raise DomainError(f"A matrix with a profile has a whole number K >= 1 of rows; got K = {rows[bad].flat[0]:g}.")
    return rows


def _sizes(t: np.ndarray, counts: np.ndarray) -> Sizes:
    return tuple(t.tolist()), tuple(counts.tolist())


@cache
def _extreme(K: float, p: float, q: float, sizes: Sizes) -> float:
    t, counts = map(np.array, sizes)
    if p == 1 and q == math.inf:
        return mean_norm(q, t, counts * round(K))
    if K == 1:
        return mean_norm(conjugate(p), t, counts)
    if p == 1:
        law = norm_law(round(K), q)
        low, z, weight = nodes_of(law)
        below = sum(count * law.log_cdf(z * t.max() / size) for size, count in zip(t, counts))
        return float(t.max() * (low - weight @ np.expm1(below)))
    if q < math.inf:
        return math.nan
    law = mixed_law(*sizes, conjugate(p))
    low, z, weight = nodes_of(law)
    return float(low - weight @ np.expm1(K * law.log_cdf(z)))


@cache
def _estimated(K: float, p: float, q: float, sizes: Sizes) -> float:
    t, counts = map(np.array, sizes)
    p, q = 1.0 if counts.sum() == 1 else p, math.inf if K == 1 else q  # all norms of a single number are equal
    if p == 1 or q == math.inf:
        return _extreme(K, p, q, sizes)

    def found(p: float, q: float) -> Any:
        ball = Side(p, t, counts, mean_norm(conjugate(p), t, counts))
        return maxima(ball, Side.alike(K, conjugate(q)))

    def known(p: float, q: float) -> float:
        return math.log(_extreme(K, p, q, sizes) / largest(found(p, q)))

    value, alike = singular_value(K, sizes)
    at_two = corner(K, alike, 2.0, q) - corner(K, alike, 2.0, 2.0) + math.log(value / largest(found(2.0, 2.0)))
    spread, share = round(float(counts @ t) ** 2 / float(counts @ t**2)), max(0.0, 1 - 2 / p)
    inside = (1 - share) * at_two + share * corner(K, spread, math.inf, q)
    borders = (known(1.0, q) if p < 2 else 0.0, known(p, math.inf) if q > 2 else 0.0)
    return corrected(found(p, q), *borders, inside)


@cache
def singular_value(K: float, sizes: Sizes) -> tuple[float, int]:
    """An estimate of the mean largest singular value of G diag(t), and the number of equal columns that have an edge of
    the same relative width.

    The spectrum of its square ends at the least value of z(u) = K/u + Σ t_i²/(1 - t_i² u) over 0 < u < 1/max t² (J. W.
    Silverstein and S. Choi, J. Multivariate Anal. 54, 1995), and the largest eigenvalue fluctuates there on the scale
    (z''/2)^{1/3} (N. El Karoui, Ann. Probab. 35, 2007). Of all matrices with equal columns the one with the same scale,
    relative to its edge, has the exact mean of :func:`spectral_norm`; the estimate is that mean, times the ratio of
    both edges. It is exact for equal columns.
    """
    from scipy.optimize import brentq

    s, counts = np.array(sizes[0]) ** 2, np.array(sizes[1])
    rise = lambda u: float((counts * (s / (1 - s * u)) ** 2).sum()) - K / u**2  # noqa: E731
    top = 1 / float(s.max())
    u = brentq(rise, top * 1e-9 / (1 + counts.sum()), top * (1 - 1e-12), xtol=1e-300, rtol=1e-14)
    edge = K / u + float((counts * s / (1 - s * u)).sum())
    curve = K / u**3 + float((counts * (s / (1 - s * u)) ** 3).sum())
    width = curve ** (1 / 3) / edge

    def of_equal(columns: float) -> float:
        a, b = math.sqrt(K), math.sqrt(columns)
        return (1 / a + 1 / b) ** (1 / 3) / (a + b)

    most = float(counts.sum())
    if of_equal(1.0) <= width:
        columns = 1.0
    elif of_equal(most) >= width * (1 - 1e-12):
        columns = most
    else:
        columns = brentq(lambda n: of_equal(n) - width, 1.0, most)
    low, high = math.floor(columns), math.ceil(columns)
    logs = [math.log(float(spectral_norm(K, n, 1)) / (math.sqrt(K) + math.sqrt(n))) for n in (low, high)]
    mean = math.exp(logs[0] + (columns - low) * (logs[1] - logs[0])) * math.sqrt(edge)
    return mean, round(columns)
