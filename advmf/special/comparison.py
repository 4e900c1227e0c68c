"""The lp -> lq norm of a Gaussian matrix in the middle of the (p, q) square, by comparison with two Gaussian vectors.

For x in the unit ball of lp and y in that of the dual of lq, Slepian's inequality compares ``<y, G x> + |x| |y| z``
with ``|y| <g, x> + |x| <h, y>``, for Gaussian vectors g, h and a Gaussian number z (Y. Gordon, Israel J. Math. 50,
1985; J.-P. Kahane, Israel J. Math. 55, 1986). :func:`tilted_norm` is the bound that follows by exponential moments.
:func:`estimated_norm` solves the comparison at typical g and h, and corrects it by the values known exactly at the
borders of the square.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from advmf.special.elementary import chi_mean, numpy_ops
from advmf.special.extremes import extreme_norm
from advmf.special.gaussian_vectors import gaussian_norm
from advmf.special.spectral import spectral_norm

_ROUNDS = 2000
"""The largest number of alternations; they converge geometrically to a maximum."""

_REACH, _NODES = 13.0, 261
"""The integrals extend this many standard deviations to either side of their peaks, with this many nodes. Errors fall
as exp(-nodes)."""


def tilted_norm(K: Any, d: Any, p: Any, q: Any) -> Any:
    """An upper bound on E‖G‖_{p -> q} of a ``K x d`` standard Gaussian matrix, elementwise, for p in {2, oo} and q in
    {1, 2}.

    For these exponents the maximum is attained where x and y have fixed Euclidean lengths a and b, and for every m > 0

        E‖G‖ <= (ln E exp(m b ‖g_d‖_{p*}) + ln E exp(m a ‖g_K‖_q))/m - m a² b²/2,

    which is Chevet's inequality at m -> 0. The result is the least value over m; NaN for dimensions below 1 and for
    other exponents.

    >>> from advmf.special import tilted_norm
    >>> tilted_norm(50, 50, [2, float("inf")], [2, 1]).round(3).tolist()
    [14.071, 543.644]
    """
    return _elementwise(_tilted, K, d, p, q)


def _elementwise(rule: Callable[[float, float, float, float], float], *arrays: Any) -> Any:
    arrays = numpy_ops().broadcast(*arrays)
    values = [rule(*map(float, at)) for at in zip(*(array.flat for array in arrays))]
    return np.reshape(values, arrays[0].shape)[()]


@cache
def _tilted(K: float, d: float, p: float, q: float) -> float:
    if not (1 <= K < math.inf and 1 <= d < math.inf and p in (2, math.inf) and q in (1, 2)):
        return math.nan
    from scipy.optimize import minimize_scalar

    a, b = math.sqrt(d) if p == math.inf else 1.0, math.sqrt(K) if q == 1 else 1.0
    from_input = _log_moment_of_sum if p == math.inf else _log_moment_of_chi
    from_output = _log_moment_of_sum if q == 1 else _log_moment_of_chi

    def excess(log_s: float) -> float:
        s = math.exp(log_s)
        return (from_input(d, s / a) + from_output(K, s / b)) / s - s / 2

    # In terms of s = m a b: a minimum lies where the entropies, at most ln 2 per coordinate, balance s²/2.
    best = minimize_scalar(excess, bounds=(-3.0, math.log(20 + 2 * math.sqrt(K + d))), method="bounded").fun
    means = b * float(gaussian_norm(d, 1 if p == math.inf else 2)) + a * float(gaussian_norm(K, q))
    return means + a * b * min(float(best), 0.0)


def _log_moment_of_sum(n: float, s: float) -> float:
    """ln E exp(s(S - E S)) for the sum S of n half-normals: n (ln 2 Phi(s) + s²/2 - s sqrt(2/pi))."""
    from scipy.special import log_ndtr

    if s < 1e-3:  # cumulants of the half-normal law
        mean = math.sqrt(2 / math.pi)
        return n * s * s * (0.5 - 1 / math.pi + s * mean * (4 / math.pi - 1) / 6)
    return n * (math.log(2) + float(log_ndtr(s)) + s * s / 2 - s * math.sqrt(2 / math.pi))


def _log_moment_of_chi(n: float, s: float) -> float:
    """ln E exp(s(R - E R)) for R of the chi law with n degrees of freedom."""
    half = s / (2 * math.sqrt(n))
    top = math.sqrt(n) * math.exp(math.asinh(half))
    peaks = n * math.asinh(half) + s * top / 2 + math.log(_integral(n, s) / _integral(n, 0.0))
    return peaks - s * float(chi_mean(np.float64(n)))


def _integral(n: float, s: float) -> float:
    """Integral r**(n-1) exp(s r - r²/2) dr by the trapezoidal rule in t = ln r around its peak, at r² = n + s r."""
    rise = s * math.sqrt(n) * math.exp(math.asinh(s / (2 * math.sqrt(n))))
    width = _REACH / math.sqrt(2 * n + rise)
    t = np.linspace(-(1.5 * width if n > 50 else 1 + 40 / n), math.log1p(_REACH / math.sqrt(n + rise)), _NODES)
    e = np.expm1(t)
    return float(np.exp(-n * (e + e * e / 2 - t) - rise * e * e / 2).sum() * (t[1] - t[0]))


def estimated_norm(K: Any, d: Any, p: Any, q: Any) -> Any:
    """An estimate of E‖G‖_{p -> q} of a ``K x d`` standard Gaussian matrix, elementwise, for every p and q in [1, oo].

    It starts from the comparison's own maximum,

        F = max ‖y‖_2 <g, x> + ‖x‖_2 <h, y>   over ‖x‖_p <= 1, ‖y‖_{q*} <= 1,

    at typical vectors g and h: the mean order statistics of d and K half-normals, scaled to ‖g‖_{p*} = E‖g_d‖_{p*} and
    ‖h‖_q = E‖g_K‖_q. Its logarithm is corrected by a weighted mean of known corrections. These are known at p = 1 and
    at q = oo, where the norm is the largest of independent norms (:func:`extreme_norm`), and in the corner p >= 2 >= q,
    by :func:`tilted_norm` and the exact mean at p = q = 2 (:func:`spectral_norm`). The weights are the odds that x, or
    y, has a single nonzero coordinate, from the participation ratio of |x_i|^p: zero where p >= 2, infinite at p = 1.
    Of several local maxima, the one with the largest corrected value is taken.

    The estimate is no bound. NaN for exponents below 1; DomainError where a dimension is no whole number >= 1.
    """
    return _elementwise(_estimated, K, d, p, q)


@cache
def _estimated(K: float, d: float, p: float, q: float) -> float:
    if not (p >= 1 and q >= 1):
        return math.nan
    p, q = 1.0 if d == 1 else p, math.inf if K == 1 else q  # all norms of a single number are equal
    at_p1 = math.log(float(extreme_norm(d, K, q)) / largest(_maxima(K, d, 1.0, q)))
    at_q_inf = math.log(float(extreme_norm(K, d, conjugate(p))) / largest(_maxima(K, d, p, math.inf)))
    return corrected(_maxima(K, d, p, q), at_p1, at_q_inf, corner(K, d, p, q))


@dataclass(frozen=True)
class Maximum:
    """A local maximum of the comparison, with the odds that x, and that y, is a single coordinate."""

    value: float
    odds_x: float
    odds_y: float


def largest(maxima: list[Maximum]) -> float:
    """The largest value."""
    return max(each.value for each in maxima)


def corrected(maxima: list[Maximum], at_p1: float, at_q_inf: float, inside: float) -> float:
    """The largest value after correction: logarithms that are known at p = 1 and at q = oo, and one inside."""
    best = -math.inf
    for each in maxima:
        if math.inf in (each.odds_x, each.odds_y):
            correction = at_p1 if each.odds_x == math.inf else at_q_inf
        else:
            known = each.odds_x * at_p1 + each.odds_y * at_q_inf + inside
            correction = known / (each.odds_x + each.odds_y + 1)
        best = max(best, math.log(each.value) + correction)
    return math.exp(best)


def conjugate(r: float) -> float:
    return math.inf if r == 1 else 1.0 if r == math.inf else r / (r - 1)


def corner(K: float, d: float, p: float, q: float) -> float:
    """The correction for p >= 2 >= q, bilinear in t = 1 - 2/p and u = 2/q - 1 between the four corners; that of the
    nearest point for other exponents."""
    t, u = max(0.0, 1 - 2 / p), max(0.0, 2 / q - 1)

    def gain(p: float, q: float) -> float:
        return math.log(_tilted(K, d, p, q) / _maxima(K, d, p, q)[0].value)

    corners = product(((1 - t, 2.0), (t, math.inf)), ((1 - u, 2.0), (u, 1.0)))
    size = math.log(float(spectral_norm(K, d, 1)) / _tilted(K, d, 2.0, 2.0))
    return size + sum(a * b * gain(p, q) for (a, p), (b, q) in corners if a * b > 0)


@cache
def _maxima(K: float, d: float, p: float, q: float) -> list[Maximum]:
    return maxima(Side.alike(d, p), Side.alike(K, conjugate(q)))


def maxima(x: Side, y: Side) -> list[Maximum]:
    """The local maxima of the comparison.

    It is convex in x and in y. Each is replaced in turn by the maximiser of F linearised at the other, so F never
    falls.
    """
    starts = [(a, b) for a in x.starts() for b in y.starts()]
    xs, ys = (np.stack(side) for side in zip(*starts))
    value = np.zeros(len(starts))
    for _ in range(_ROUNDS):
        xs = x.maximiser(y.length(ys), y.along(ys), xs)
        ys = y.maximiser(x.length(xs), x.along(xs), ys)
        new = y.length(ys) * x.along(xs) + x.length(xs) * y.along(ys)
        if (new <= value * (1 + 1e-12)).all():
            break
        value = new
    return [Maximum(*each) for each in zip(value.tolist(), x.odds(xs).tolist(), y.odds(ys).tolist())]


class Side:
    """The unit ball of lp and a typical Gaussian vector, with one value for all coordinates of the same size and of
    about the same rank.

    ``sizes`` are the standard deviations of the coordinates, ``counts`` how many have each, and ``mean`` is the mean of
    the Gaussian vector's norm, in the dual of lp.
    """

    def __init__(self, p: float, sizes: np.ndarray, counts: np.ndarray, mean: float) -> None:
        self.p, dual = p, conjugate(p)
        ranked = [_order_statistics(float(count)) for count in counts]
        self.count = np.concatenate([count for count, _ in ranked])
        self.size = np.repeat(sizes, [len(count) for count, _ in ranked])
        self.g = np.concatenate([g for _, g in ranked]) * self.size
        self.g = self.g * mean / float(self.norm(self.g, dual))

    @classmethod
    def alike(cls, n: float, p: float) -> Side:
        """n coordinates of size one."""
        return cls(p, np.ones(1), np.array([n]), float(gaussian_norm(n, conjugate(p))))

    def starts(self) -> list[np.ndarray]:
        """The maximiser of <g, x> and, where the ball has corners, a coordinate vector too."""
        spike = np.zeros_like(self.g)
        spike[self.g.argmax()] = 1.0
        spread = self.dual(self.g[None])[0]
        return [spread] if self.p >= 2 else [spike] if self.p == 1 else [spread, spike]

    def norm(self, x: np.ndarray, r: float) -> np.ndarray:
        """The lr norms of rows."""
        top = x.max(-1, keepdims=True)
        return top[..., 0] * (1.0 if r == math.inf else (self.count * (x / top) ** r).sum(-1) ** (1 / r))

    def dual(self, z: np.ndarray) -> np.ndarray:
        """The x of norm 1 that maximises <z, x>, for rows of z >= 0."""
        top = z.max(-1, keepdims=True)
        if self.p == 1:
            return (np.arange(z.shape[-1]) == z.argmax(-1)[..., None]) * 1.0
        x = np.ones_like(z) if self.p == math.inf else (z / top) ** (1 / (self.p - 1))
        return x / self.norm(x, self.p)[..., None]

    def length(self, x: np.ndarray) -> np.ndarray:
        return self.norm(self.size * x, 2)

    def along(self, x: np.ndarray) -> np.ndarray:
        return (self.count * self.g * x).sum(-1)

    def maximiser(self, length: np.ndarray, along: np.ndarray, x: np.ndarray) -> np.ndarray:
        return self.dual(length[:, None] * self.g + (along / self.length(x))[:, None] * self.size**2 * x)

    def odds(self, x: np.ndarray) -> np.ndarray:
        """The odds that x is a single coordinate, from the participation ratio; 0 for p = 2, where no coordinate is
        preferred."""
        if self.p >= 2:
            return np.zeros(len(x))
        if self.p == 1:
            return np.full(len(x), math.inf)
        share = x**self.p
        ratio = (self.count * share**2).sum(-1) / (self.count * share).sum(-1) ** 2
        spread = (self.count * self.g**4).sum() / (self.count * self.g**2).sum() ** 2
        share = np.clip((ratio - spread) / (1 - spread), 0.0, 1.0) if spread < 1 else np.zeros(len(x))
        with np.errstate(divide="ignore"):
            return share / (1 - share)


def _order_statistics(n: float) -> tuple[np.ndarray, np.ndarray]:
    """The order statistics of n half-normals from the largest down, in groups that grow with rank: the size and the
    mean of each group."""
    from scipy.special import ndtri

    edges = [0.0]
    while edges[-1] < n:
        edges.append(min(n, edges[-1] + max(1.0, math.floor(edges[-1] / 16))))
    rank = np.array(edges)
    quantile = -ndtri(rank / (2 * n))
    density = np.exp(-quantile * quantile / 2) * math.sqrt(2 / math.pi)
    count = np.diff(rank)
    return count, n * np.diff(density) / count
