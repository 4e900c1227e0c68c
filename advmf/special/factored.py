"""Gaussian matrices whose rows have the covariance Σ = diag(t²) + U Uᵀ, a diagonal matrix plus one of low rank.

A row is t ∘ g + U ζ for standard Gaussians g (d,) and ζ (r,). Given ζ its coordinates are independent, and so are the
columns of the matrix given all its ζ. That makes laws of its lp -> lq norm exact:

* q = oo: the norm is the largest of K independent ‖t ∘ g + U ζ‖_{p*}. At p = 1 its distribution is a mean over ζ of
  products. At p = oo it is found from its characteristic function, and at p = 2 from the eigenvalues of any Σ.
* (1, 2): the norm is the largest of the columns' lengths. Given the Gram matrix of the ζ they are independent, with
  noncentral chi laws.

At p = 1 and q < 2 the law of a column takes all numbers of ζ in each of K rows, which no rule of few nodes integrates.
Where p > 1 and q < oo the maximum is over two vectors, and no law is known to us. Relative errors are below 1e-3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from advmf.errors import AccuracyError
from advmf.special.profile_matrices import estimated_of_sizes

RANK = 2
"""The largest rank of U Uᵀ for which means over ζ are taken."""

NOTHING = 1e-8
"""Up to this share of it a matrix is a diagonal one plus one of low rank."""

_ROUNDS = 1000
"""Rounds of an iteration that converges geometrically."""
_STEP, _REACH = 0.4, 6.4
"""Nodes of a mean over a Gaussian, to this many standard deviations. Every second one gives the mean again, as a
check."""
_CHECKED = 1e-2
"""The largest relative difference of both. The finer rule has the square of the coarser one's error, or less."""
_POINTS = 120
"""Nodes of the integral over a distribution function."""
_DECAYED, _TERMS = 1e-13, 2**14
"""A cosine series ends where a characteristic function is below this, or after so many terms."""


def factors(sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The t² and U of a nearest diag(t²) + U Uᵀ, and what is left of Σ over its size, both in the Frobenius norm. U has
    the lowest rank that leaves nothing, or else :data:`RANK`.

    >>> import numpy as np
    >>> from advmf.special.factored import NOTHING, factors
    >>> t_sq, u, left = factors(np.diag([1.0, 2, 3, 4]) + np.outer([1, 2, 1, 2], [1, 2, 1, 2]))
    >>> t_sq.round(6).tolist(), (u * np.sign(u[0])).round(6).ravel().tolist(), left < NOTHING
    ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 1.0, 2.0], True)
    """
    for rank in range(1, RANK + 1):
        t_sq, u = _factors(sigma, rank)
        left = float(np.linalg.norm(sigma - np.diag(t_sq) - u @ u.T) / np.linalg.norm(sigma))
        if left < NOTHING:
            break
    return t_sq, u, left


def _factors(sigma: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """By leading eigenvectors of what the diagonal part leaves, again and again."""
    own = sigma.diagonal()
    t_sq = np.zeros_like(own)
    for _ in range(_ROUNDS):
        values, vectors = np.linalg.eigh(sigma - np.diag(t_sq))
        u = vectors[:, -rank:] * np.sqrt(np.maximum(values[-rank:], 0))
        before, t_sq = t_sq, np.clip(own - (u**2).sum(1), 0, None)
        if np.abs(t_sq - before).max() <= 1e-12 * own.max():
            break
    return t_sq, u


def _nodes(rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes (n, rank) of a mean over ζ of an even function, their weights, and those of the coarser rule."""
    line = np.arange(-round(_REACH / _STEP), round(_REACH / _STEP) + 1)
    places = np.stack(np.meshgrid(*[line] * rank, indexing="ij"), -1).reshape(-1, rank)
    first = np.array([next((v for v in row if v), 0) for row in places.tolist()])
    places, double = places[first >= 0], np.where(first > 0, 2.0, 1.0)[first >= 0]
    fine = double * np.exp(-((_STEP * places) ** 2).sum(1) / 2)
    coarse = np.where((places % 2 == 0).all(1), fine, 0.0)
    return _STEP * places, fine / fine.sum(), coarse / coarse.sum()


Rules = Callable[[np.ndarray], np.ndarray]
"""A function of points, (points,), whose values come by two rules, (2, points)."""


def _mean(top: float, below: Rules, what: str) -> float:
    """The mean of a number in [0, top], from its distribution function."""
    x, w = np.polynomial.legendre.leggauss(_POINTS)
    z = top * (1 + x) / 2
    fine, coarse = (top / 2 * float(w @ (1 - np.clip(each, 0, 1))) for each in below(z))
    if not abs(fine - coarse) <= _CHECKED * fine:
        raise AccuracyError(
            f"{what} is known to {abs(fine / coarse - 1):.1g} only: its part of low rank is too large beside the diagonal one. Take the "
            "mean of samples."
        )
    return fine


def largest_entry(K: int, t_sq: np.ndarray, u: np.ndarray) -> float:
    """E max |entry| of K independent rows: (p, q) = (1, oo).

    >>> import numpy as np
    >>> from advmf.special import extreme_norm
    >>> from advmf.special.factored import largest_entry
    >>> float(abs(largest_entry(3, np.ones(4), np.zeros((4, 1))) / extreme_norm(4, 3, np.inf) - 1)) < 1e-8
    True
    """
    from scipy.special import ndtr

    t, (zeta, *weights) = _roots(t_sq, u), _nodes(u.shape[1])
    m = zeta @ u.T
    size = np.sqrt(t_sq + (u**2).sum(1)).max()
    top = size * (math.sqrt(2 * math.log(2 * K * len(t))) + 7)

    def below(z: np.ndarray) -> np.ndarray:
        found = np.zeros((2, len(z)))
        for i, c in enumerate(z):
            inside = (ndtr((c - m) / t) - ndtr(-(c + m) / t)).prod(1)
            found[:, i] = [weight @ inside for weight in weights]
        return found**K

    return _mean(top, below, "The largest entry")


def largest_sum(K: int, t_sq: np.ndarray, u: np.ndarray) -> float:
    """E max ‖row‖_1 of K independent rows: (p, q) = (oo, oo).

    >>> import numpy as np
    >>> from advmf.special import extreme_norm
    >>> from advmf.special.factored import largest_sum
    >>> float(abs(largest_sum(3, np.ones(16), np.zeros((16, 1))) / extreme_norm(3, 16, 1) - 1)) < 1e-7
    True
    """
    t, (zeta, *weights) = _roots(t_sq, u), _nodes(u.shape[1])
    m = np.abs(zeta @ u.T)
    mean = math.sqrt(2 / math.pi) * float(np.sqrt(t_sq + (u**2).sum(1)).sum())
    top = mean + 8 * math.sqrt(float(t_sq.sum() + (np.abs(u).sum(0) ** 2).sum()))
    below = _distribution(lambda s: _mean_of_folded(s, m, t, weights), top)
    return _mean(top, lambda z: below(z) ** K, "The largest sum")


def largest_length(K: int, values: np.ndarray) -> float:
    """E max ‖row‖_2 of K independent rows, from the eigenvalues of Σ: (p, q) = (2, oo).

    >>> import numpy as np
    >>> from advmf.special import extreme_norm
    >>> from advmf.special.factored import largest_length
    >>> float(abs(largest_length(3, np.ones(16)) / extreme_norm(3, 16, 2) - 1)) < 1e-8
    True
    """
    top = math.sqrt(values.sum()) + 8 * math.sqrt(values.max())

    def phi(s: np.ndarray) -> np.ndarray:
        found = np.exp(-0.5 * np.log1p(-2j * s[:, None] * values).sum(1))
        return np.stack([found, found])

    below = _distribution(phi, top**2)
    return _mean(top, lambda z: below(z**2) ** K, "The largest length")


def largest_column(K: int, t_sq: np.ndarray, u: np.ndarray) -> float:
    """E max ‖column‖_2 of a matrix of K rows: (p, q) = (1, 2).

    >>> import numpy as np
    >>> from advmf.special import extreme_norm
    >>> from advmf.special.factored import largest_column
    >>> float(abs(largest_column(3, np.ones(4), np.zeros((4, 1))) / extreme_norm(4, 3, 2) - 1)) < 1e-8
    True
    """
    from scipy.special import chndtr

    gram, *weights = _gram(K, u)
    size = np.sqrt(t_sq + (u**2).sum(1)).max()
    top = size * (math.sqrt(K) + math.sqrt(2 * math.log(len(t_sq))) + 6)
    t_sq = _roots(t_sq, u) ** 2

    def below(z: np.ndarray) -> np.ndarray:
        found = np.stack([chndtr(c**2 / t_sq, K, gram / t_sq).prod(1) for c in z], 1)
        return np.stack([weight @ found for weight in weights])

    return _mean(top, below, "The largest column")


def _gram(K: int, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """‖Z u_i‖² at nodes, for a standard Gaussian Z of K rows, and the weights of two rules, of which one has fewer
    nodes."""
    (fine, one), (coarse, other) = (_gram_rule(K, u, n) for n in (8, 6))
    none, nor = np.zeros_like(other), np.zeros_like(one)
    return np.concatenate([fine, coarse]), np.concatenate([one, none]), np.concatenate([nor, other])


def _gram_rule(K: int, u: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """By Bartlett's decomposition: Zᵀ Z is R Rᵀ, R lower triangular, with R_11² ~ χ²_K, R_21 ~ N(0, 1) and R_22² ~
    χ²_{K-1}."""
    from scipy.special import roots_genlaguerre, roots_hermitenorm

    def chi_square(k: int) -> tuple[np.ndarray, np.ndarray]:
        x, w = roots_genlaguerre(n, k / 2 - 1) if k else (np.zeros(1), np.ones(1))
        return 2 * x, w

    one, two = np.pad(u, [(0, 0), (0, 2 - u.shape[1])]).T
    rank_two = u.shape[1] == 2
    rules = chi_square(K), roots_hermitenorm(n) if rank_two else chi_square(0), chi_square(K - 1 if rank_two else 0)
    a, b, c = (grid.reshape(-1, 1) for grid in np.meshgrid(*(x for x, _ in rules), indexing="ij"))
    weights = np.einsum("i,j,k", *(w for _, w in rules)).ravel()
    return (np.sqrt(a) * one + b * two) ** 2 + c * two**2, weights / weights.sum()


def _roots(t_sq: np.ndarray, u: np.ndarray) -> np.ndarray:
    """t, or where it is next to nothing a hundredth of the largest size."""
    return np.sqrt(np.maximum(t_sq, 1e-4 * (t_sq + (u**2).sum(1)).max()))


def _mean_of_folded(s: np.ndarray, m: np.ndarray, t: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """The characteristic function of Σ_i |t_i g_i + m_i|, averaged over the nodes of m (n, d), by each rule."""
    from scipy.special import wofz

    found, shift = np.zeros((len(weights), len(s)), complex), m / t
    less = 0.5 * np.exp(-(shift**2) / 2)
    for i, at in enumerate(s):
        x = at * t
        whole = np.exp(1j * at * m - x**2 / 2)
        other = 2j * wofz((x + 1j * shift) / math.sqrt(2)).imag  # less that at -x, which is its conjugate
        value = (whole + less * other).prod(1)
        found[:, i] = [weight @ value for weight in weights]
    return found


def _distribution(phi: Rules, top: float) -> Rules:
    """The distribution function of a number in [0, top] from its characteristic function, as a cosine series (F. Fang
    and C. W. Oosterlee, SIAM J. Sci. Comput. 31, 2008)."""
    terms, k = [np.ones((2, 1), complex)], 1
    while np.abs(terms[-1][:, -1]).max() > _DECAYED and k < _TERMS:
        terms.append(phi(np.arange(k, k + 32) * math.pi / top))
        k += 32
    series = np.concatenate(terms, 1)[:, 1:].real
    order = np.arange(1, series.shape[1] + 1) * math.pi

    def below(z: np.ndarray) -> np.ndarray:
        waves = np.sin(np.outer(order, z / top)) / order[:, None]
        return np.asarray(z / top + 2 * series @ waves)

    return below


@cache
def _quantiles(n: int, K: int) -> np.ndarray:
    from scipy.special import gammaincinv

    return np.asarray(2 * gammaincinv(K / 2, (np.arange(n) + 0.5) / n))


def spiked_singular_value(K: int, values: np.ndarray) -> float:
    """An estimate of E‖J‖_{2 -> 2} for K independent rows of covariance Σ, from the eigenvalues of Σ.

    The two largest are taken apart. With A the largest eigenvalue of their part of J Jᵀ, whose law is that of a 2 x 2
    Wishart matrix, that of J Jᵀ is A + Σ λ_i/(1 - λ_i K/A) over the other eigenvalues λ_i, where it is beyond their
    spectrum (F. Benaych-Georges and R. R. Nadakuditi, Adv. Math. 227, 2011). Where eigenvalues are too close to be
    taken apart, the estimate of :func:`estimated_profile_norm` is larger, and is taken. For equal eigenvalues it is
    exact.

    >>> import numpy as np
    >>> from advmf.special import spectral_norm
    >>> from advmf.special.factored import spiked_singular_value
    >>> float(spiked_singular_value(3, np.ones(9)) / spectral_norm(3, 9, 1)).__round__(6)
    1.0
    """
    values = np.sort(values)[::-1]
    values = np.maximum(values, 1e-12 * values[0])
    together = estimated_of_sizes(K, 2, 2, np.sqrt(values))
    if len(values) < 3:
        return together
    rest = values[2:]
    bulk = estimated_of_sizes(K, 2, 2, np.sqrt(rest))
    a, b = (size * _quantiles(24, n) for size, n in ((values[0], K), (values[1], 1)))
    c = values[1] * _quantiles(24, K - 1) if K > 1 else np.zeros(1)
    a, b, c = (each.ravel() for each in np.meshgrid(a, b, c))
    A = (a + b + c + np.sqrt(np.maximum((a + b + c) ** 2 - 4 * a * c, 0))) / 2
    u = K / A
    beyond = (u < 1 / rest[0]) & (
        ((rest / (1 - np.outer(np.minimum(u, 0.999 / rest[0]), rest))) ** 2).sum(1) < K / u**2
    )
    outside = A + (rest / (1 - np.outer(np.where(beyond, u, 0.0), rest))).sum(1)
    return max(together, float(np.where(beyond, np.sqrt(outside), 0.0).clip(bulk).mean()))
