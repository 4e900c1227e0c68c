"""The proximal map of an operator norm, J_τ = argmin ½‖J - J_0‖_F² + τ‖J‖_{p->q}, and its mean over Gaussian matrices.

It lowers the largest parts of J_0 to a common level, as water fills a vessel, until their excess adds up to τ. For p =
q = 2 the parts are the singular values; for (1, q) the columns, for (p, oo) the rows. For these pairs gradient flow of
the norm, which moves J at rate 1, has arrived at J_τ at time τ: its faces only grow (M. Burger, G. Gilboa, M. Moeller,
L. Eckardt and D. Cremers, SIAM J. Imaging Sci. 9, 2016, for the condition).
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from advmf.errors import DomainError
from advmf.special.elementary import numpy_ops

TRACTABLE = ((2.0, 2.0), (1.0, 1.0), (1.0, 2.0), (1.0, math.inf), (2.0, math.inf), (math.inf, math.inf))
"""The pairs (p, q) whose proximal map is known, and is where the flow arrives."""

_NUMBERS, _MOST, _NEWTON = 2**20, 4096, 100
"""The numbers of a sample of Gaussian matrices, the most matrices in it, and the most steps to a level."""


def prox_norm(tau: Any, K: Any, d: Any, p: Any, q: Any) -> Any:
    """E ‖G_τ‖_{p->q} of the proximal map of a ``K x d`` standard Gaussian matrix, elementwise, ``tau >= 0``.

    The mean over a fixed sample of matrices, of up to 4096 of them and 2^20 numbers; its standard error is about 0.1 %
    of E ‖G‖. Raises DomainError for pairs outside :data:`TRACTABLE`, sizes that are no whole numbers >= 1 and tau < 0.

    >>> from advmf.special import prox_norm, spectral_norm
    >>> prox_norm([0, 10, 30], 5, 20, 2, 2).round(2), spectral_norm(5, 20, 1).round(2)
    (array([5.99, 2.31, 0.  ]), np.float64(5.99))
    """
    return _means(tau, K, d, p, q)[0]


def prox_square(tau: Any, K: Any, d: Any, p: Any, q: Any) -> Any:
    """E ‖G_τ‖_F² of the proximal map, K d at tau = 0; arguments, sample and errors are those of :func:`prox_norm`.

    Its derivative in tau is -2 E ‖G_τ‖_{p->q}, in the sample too.

    >>> from advmf.special import prox_square
    >>> prox_square([0, 10, 1000], 5, 20, 1, 2).round(1)
    array([100. ,  54.5,   0. ])
    """
    return _means(tau, K, d, p, q)[1]


def nuclear_norm(K: Any, d: Any) -> Any:
    """E ‖G‖_*, the sum of the singular values of a ``K x d`` standard Gaussian matrix, by the sample of
    :func:`prox_norm`. Raises DomainError for sizes that are no whole numbers >= 1.

    >>> from advmf.special import nuclear_norm
    >>> round(float(nuclear_norm(1, 1)), 1)  # sqrt(2/pi)
    0.8
    """
    K, d = numpy_ops().broadcast(K, d)
    _require_sizes(K, d)
    values = []
    for k, n in zip(K.flat, d.flat):
        s = singular_values(int(k), int(n))
        values.append(s.sum(1).mean() * math.sqrt(k * n / (s**2).sum(1).mean()))  # the mean square is K d
    return np.reshape(values, K.shape)[()]


def proximal_map(J: Any, tau: float, p: float, q: float) -> np.ndarray:
    """J_τ of one matrix J (K, d), for tau >= 0. Raises DomainError for pairs outside :data:`TRACTABLE`, a J that is no
    matrix of finite numbers, and tau < 0.

    >>> from advmf.special import proximal_map
    >>> proximal_map([[3.0, 0.0], [0.0, 1.0]], 1.5, 2, 2)
    array([[1.5, 0. ],
           [0. , 1. ]])
    """
    J, p, q = np.asarray(J, dtype=float), float(p), float(q)
    _require_pair(p, q)
    if J.ndim != 2 or not np.isfinite(J).all():
        raise DomainError(
            f"J must be a matrix (K, d) of finite numbers; got shape {J.shape}, {np.isfinite(J).sum()} finite."
        )
    _require_time(np.asarray(tau, dtype=float))
    if p != 1 and q == math.inf:
        return proximal_map(J.T, tau, 1, _dual(p)).T
    if q == 2 and p == 2:
        left, s, right = np.linalg.svd(J, full_matrices=False)
        return (left * np.minimum(s, level(s, tau))) @ right
    size = np.abs(J)
    if q == 1:
        return np.sign(J) * np.maximum(size - _thresholds(size.T[None], np.array([tau]))[0][0][None], 0)
    if q == math.inf:
        return np.clip(J, -(top := level(size.ravel(), tau)), top)
    length = np.linalg.norm(J, axis=0)
    return J * (np.minimum(length, level(length, tau)) / np.where(length > 0, length, 1))


def level(parts: np.ndarray, tau: Any) -> np.ndarray:
    """The level at which the excess of non-negative ``parts`` (..., n) above it adds up to ``tau`` (...); 0 if all
    together are less.

    >>> from advmf.special.proximal import level
    >>> float(level(np.array([3.0, 1.0]), 1.5)), float(level(np.array([3.0, 1.0]), 5.0))
    (1.5, 0.0)
    """
    sums = np.cumsum(-np.sort(-parts, axis=-1), axis=-1)
    counts = np.arange(1, parts.shape[-1] + 1)
    return np.maximum(((sums - np.asarray(tau)[..., None]) / counts).max(-1), 0.0)


def _thresholds(size: np.ndarray, tau: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For p = q = 1: how much each column's entries ``size`` (n, columns, entries) are lowered, for tau (n,), and the
    level of the columns' l1 norms.

    A column is lowered by the level of its entries for the sum ``top`` that is left of them. The sum over the columns
    is convex in ``top`` and linear between kinks, so that Newton's steps from 0 rise to the root and end there.
    """
    counts = np.arange(1, size.shape[-1] + 1)
    means, each = np.cumsum(-np.sort(-size, axis=-1), axis=-1) / counts, 1 / counts
    top = np.zeros(len(size))
    for _ in range(_NEWTON):
        values = means - top[:, None, None] * each
        best = values.argmax(-1)
        lowered = np.maximum(np.take_along_axis(values, best[..., None], -1)[..., 0], 0)
        slope = (each[best] * (lowered > 0)).sum(-1)
        excess = lowered.sum(-1) - tau
        move = np.where((excess > 0) & (slope > 0), excess / np.where(slope > 0, slope, 1), 0)
        if (move <= 1e-14 * top).all():
            break
        top = top + move
    return lowered, top


@cache
def singular_values(K: int, d: int) -> np.ndarray:
    """Singular values of Gaussian matrices (n, min(K, d)): a bidiagonal matrix of chi variables has the law of those of
    a Gaussian one (I. Dumitriu and A. Edelman, J. Math. Phys. 43, 2002)."""
    m, big = min(K, d), max(K, d)
    count, draw = _count(m * m), np.random.default_rng(0)
    matrix = np.zeros((count, m, m))
    place = np.arange(m)
    matrix[:, place, place] = np.sqrt(draw.chisquare(big - place, (count, m)))
    if m > 1:
        below = place[1:]
        matrix[:, below, below - 1] = np.sqrt(draw.chisquare(m - below, (count, m - 1)))
    return np.linalg.svd(matrix, compute_uv=False)


@cache
def _parts(K: int, d: int, p: float, q: float) -> np.ndarray:
    """The parts of a sample of matrices (n, parts), or for p = q = 1 and its mirror (n, columns, entries)."""
    if (p, q) == (2.0, 2.0):
        return singular_values(K, d)
    (vectors, length), r = ((d, K), q) if p == 1 else ((K, d), _dual(p))
    draw = np.random.default_rng(0)
    if r == 2:
        return np.sqrt(draw.chisquare(length, (_count(vectors), vectors)))
    sample = np.abs(draw.standard_normal((_count(vectors * length), vectors, length)))
    return sample if r == 1 else sample.reshape(len(sample), -1)


def _count(numbers: int) -> int:
    """The number of matrices of a sample, by the numbers of each."""
    return max(4, min(_MOST, _NUMBERS // numbers))


def _mean(tau: float, K: int, d: int, p: float, q: float) -> tuple[float, float]:
    """The means of the level and of the square."""
    parts = _parts(K, d, p, q)
    times = np.full(len(parts), tau)
    if parts.ndim == 2:
        top = level(parts, times)
        rest = np.minimum(parts, top[:, None])
    else:
        lowered, top = _thresholds(parts, times)
        rest = np.maximum(parts - lowered[..., None], 0)
    # The mean square of the sample is made K d, so that the square is exact at tau = 0, and its slope everywhere.
    scale = K * d * len(parts) / float((parts**2).sum())
    return scale * float(top.mean()), scale * float((rest**2).sum()) / len(parts)


def _means(*given: Any) -> tuple[Any, Any]:
    tau, K, d, p, q = numpy_ops().broadcast(*given)
    _require_sizes(K, d)
    _require_time(tau)
    for pair in {(float(a), float(b)) for a, b in zip(p.flat, q.flat)}:
        _require_pair(*pair)
    found = [_mean(float(s), int(k), int(n), float(a), float(b)) for s, k, n, a, b in
             zip(tau.flat, K.flat, d.flat, p.flat, q.flat)]  # fmt: skip
    norms, squares = (np.reshape(values, tau.shape)[()] for values in zip(*found))
    return norms, squares


def _dual(p: float) -> float:
    return 1.0 if p == math.inf else p / (p - 1)


def _require_time(tau: np.ndarray) -> None:
    if not (tau >= 0).all():
        raise DomainError(f"The proximal map takes tau >= 0; got {tau[~(tau >= 0)][0]:g}.")


def _require_sizes(K: np.ndarray, d: np.ndarray) -> None:
    for name, sizes in (("K", K), ("d", d)):
        bad = ~((sizes >= 1) & (sizes < math.inf) & (sizes == np.floor(sizes)))
        if bad.any():
            raise DomainError(f"A K x d matrix takes whole K, d >= 1; got {name} = {sizes[bad][0]:g}.")


def _require_pair(p: float, q: float) -> None:
    if (p, q) not in TRACTABLE:
        raise DomainError(
            f"The proximal map of the norm from l{p:g} to l{q:g} is not known: norms with p > 1 and q < oo other than (2, 2) are NP-hard, and at "
            "(1, q) and (p, oo) gradient flow turns the columns or rows unless they have an l1, l2 or loo norm. Take (2, 2), (1, 1), (1, 2), "
            "(1, oo), (2, oo) or (oo, oo)."
        )
