"""Norms of Gaussian matrices whose rows have a given covariance, as the rows of J(x) have at a given image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from advmf.boundary import public, whole
from advmf.budget import allow, machine_memory
from advmf.errors import ArgumentError, one_of
from advmf.special import factored, gaussian_norm, profile_matrices
from advmf.special.comparison import conjugate
from advmf.special.profiles import mean_norm
from advmf.symbols import exponent

ROUTES = ("chevet", "extremal", "estimate")
"""The routes to a mean norm."""
APART = 3
"""Eigenvectors of Σ(x) that a bound may take apart."""
_ROUNDS = 1000
"""Rounds of an iteration that converges geometrically."""
_LAWS: dict[tuple[float, float], Callable[[int, np.ndarray, np.ndarray], float]] = {
    (1, math.inf): factored.largest_entry,
    (math.inf, math.inf): factored.largest_sum,
    (1, 2): factored.largest_column,
}
"""The laws for a diagonal matrix plus one of low rank, by their pairs (p, q)."""


@public
@dataclass(frozen=True)
class ImageMetric:
    """Σ(x) of an image: ``diagonal`` (d,) and, where it is no diagonal matrix, all of it as ``matrix`` (d, d).

    ``kind`` is "identity" where all pixels are alike, "profile" where Σ(x) is diagonal, else "dense".
    """

    diagonal: np.ndarray
    matrix: np.ndarray | None = None

    @property
    def kind(self) -> str:
        """The form of Σ(x)."""
        if self.matrix is not None:
            return "dense"
        return "identity" if np.ptp(self.diagonal) <= 1e-12 * self.diagonal.max() else "profile"

    @public
    def dense(self) -> np.ndarray:
        """Σ(x) as an array (d, d).

        >>> import numpy as np, advmf as mf
        >>> mf.image_metric(mf.conv(1, 0, image=(1, 3)), np.ones(3), L=1, sigma_w=2**0.5, sigma_b=0).dense().round(3)
        array([[0.333, 0.   , 0.   ],
               [0.   , 0.333, 0.   ],
               [0.   , 0.   , 0.333]])
        """
        return np.diag(self.diagonal) if self.matrix is None else self.matrix

    @property
    def root(self) -> np.ndarray:
        """A matrix R (d, d) with R Rᵀ = Σ(x)."""
        if self.matrix is None:
            return np.diag(np.sqrt(self.diagonal))
        values, vectors = np.linalg.eigh(self.matrix)
        return vectors * np.sqrt(np.maximum(values, 0.0))

    @public
    def beta(self, p: object, q: object, K: int, route: str = "chevet") -> float:
        """E‖J‖_{p -> q} for K independent rows N(0, Σ(x)), by a route; by default an upper bound.

        ``chevet`` is Chevet's inequality: K**max(0, 1/q - 1/2) E‖√Σ g‖_{p*} + max_{‖η‖_p <= 1} √(ηᵀ Σ η) E‖g_K‖_q, or
        less: the leading eigenvectors v of Σ may be taken apart, which add √λ ‖v‖_{p*} E‖g_K‖_q each, and the least sum
        counts.

        The mean is exact for p in {2, oo}; at p = 1 entries are taken for independent, which only raises it (Z. Šidák,
        J. Amer. Statist. Assoc. 62, 1967), and for other p it is Jensen's bound. The maximum is exact for p in {1, 2},
        and for p >= 2 if no entry of Σ is negative; otherwise Σ is replaced by its absolute values for p > 2, and by
        its largest eigenvalue for p < 2.

        ``extremal`` is exact, to 1e-3: for every (p, oo) and (1, q) where Σ is diagonal; at (2, oo) for every Σ; and at
        (1, oo), (oo, oo) and (1, 2) where Σ is a diagonal matrix plus one of rank two at most
        (:mod:`advmf.special.factored`). ``estimate`` is no bound, and mostly within 3 %. It has all pairs where Σ is
        diagonal, and otherwise those of ``extremal``, for the nearest such matrix, and (2, 2). For other pairs
        :meth:`sampled` is the mean itself.

        Raises DomainError for exponents outside [1, oo], ArgumentError for an unknown route, or one that does not
        apply, and unless K is a whole number, DomainError for K < 1, and AccuracyError where the part of low rank is
        too large beside the diagonal one.

        >>> import numpy as np, advmf as mf
        >>> x = np.random.default_rng(0).normal(size=64)
        >>> at = {"L": 2, "sigma_w": 2**0.5, "sigma_b": 0.3}
        >>> flat, pool = (mf.image_metric(mf.conv(1, 0, head=head), x, **at) for head in ("flatten", "pool"))
        >>> flat.kind, pool.kind, round(flat.beta(2, 2, 4), 3), round(pool.beta(2, 2, 4), 3)
        ('identity', 'dense', 1.231, 0.302)
        >>> mean, error = pool.sampled(1, "inf", 4, samples=3000)
        >>> bool(abs(pool.beta(1, "inf", 4, "estimate") - mean) < 0.01 * mean + 3 * error)
        True
        """
        one_of("route", route, ROUTES)
        (p, q), K = (float(exponent(e, name)) for e, name in ((p, "p"), (q, "q"))), whole("K", K)
        if route != "chevet":
            return self._by_law(p, q, K, route)
        bounds, apart, rest = [self._chevet(p, q, K)], 0.0, self.dense()
        for size, vector in self._leading():
            rest = rest - size * np.outer(vector, vector)
            apart += math.sqrt(size) * float(np.linalg.norm(vector, conjugate(p)) * gaussian_norm(K, q))
            bounds.append(apart + ImageMetric(np.maximum(rest.diagonal(), 0.0), rest)._chevet(p, q, K))
        return min(bounds)

    def _by_law(self, p: float, q: float, K: int, route: str) -> float:
        """The exact mean or its estimate; raises ArgumentError where there is none."""
        if self.matrix is None:
            if route == "estimate" or p == 1 or q == math.inf:
                rule = profile_matrices.of_sizes if route == "extremal" else profile_matrices.estimated_of_sizes
                return float(rule(K, p, q, np.sqrt(self.diagonal)))
        elif (p, q) == (2, math.inf):
            return factored.largest_length(K, self._values)
        elif (p, q) == (2, 2) and route == "estimate":
            return factored.spiked_singular_value(K, self._values)
        elif law := _LAWS.get((p, q)):
            t_sq, u, left = factored.factors(self.matrix)
            if route == "estimate" or left < factored.NOTHING:
                return law(K, t_sq, u)
            raise ArgumentError(
                f"The route extremal at ({p:g}, {q:g}) is for a diagonal Σ plus one of rank {factored.RANK} at most; {left:.1%} of this one is left. "
                "Take 'estimate', or .sampled."
            )
        raise ArgumentError(
            f"The route {route} does not apply at ({p:g}, {q:g}) for a Σ of kind {self.kind}. Take 'chevet', or .sampled for the mean."
        )

    @property
    def _values(self) -> np.ndarray:
        """The eigenvalues of Σ, without what rounding leaves of those that vanish."""
        values = np.linalg.eigvalsh(self.dense())
        return np.maximum(values, 1e-12 * values[-1])

    def _leading(self) -> list[tuple[float, np.ndarray]]:
        """The largest eigenvalues of a dense Σ, with their vectors."""
        if self.matrix is None:
            return []
        values, vectors = np.linalg.eigh(self.matrix)
        return [(float(v), vector) for v, vector in zip(values[::-1][:APART], vectors.T[::-1]) if v > 0]

    def _chevet(self, p: float, q: float, K: int) -> float:
        return float(K ** max(0.0, 1 / q - 0.5) * self._length(p) + self._reach(p) * gaussian_norm(K, q))

    def _length(self, p: float) -> float:
        """E‖√Σ g‖_{p*}, or a bound on it."""
        values = np.linalg.eigvalsh(self.matrix) if p == 2 and self.matrix is not None else self.diagonal
        roots = np.sqrt(values[values > 1e-14 * values.max()])
        if not len(roots):
            return 0.0
        if p in (1, 2, math.inf) or self.matrix is None:
            return mean_norm(conjugate(p), roots, np.ones(len(roots)))
        r = conjugate(p)
        moment = math.sqrt(2) * (math.gamma((r + 1) / 2) / math.sqrt(math.pi)) ** (1 / r)
        return float((roots**r).sum() ** (1 / r) * moment)

    def _reach(self, p: float) -> float:
        """The largest √(ηᵀ Σ η) over ‖η‖_p <= 1, or a bound on it."""
        if p <= 2:
            diagonal = p == 1 or self.matrix is None
            return math.sqrt(max(0.0, float(self.diagonal.max() if diagonal else np.linalg.eigvalsh(self.dense())[-1])))
        sizes = np.abs(self.dense())
        if p == math.inf:
            return math.sqrt(sizes.sum())
        eta = np.full(len(sizes), len(sizes) ** (-1 / p))
        for _ in range(_ROUNDS):  # by concavity in η^p this converges to the maximum
            before, eta = eta, (sizes @ eta + 1e-300) ** (1 / (p - 1))
            eta /= (eta**p).sum() ** (1 / p)
            if np.abs(eta - before).max() < 1e-13:
                break
        return math.sqrt(eta @ sizes @ eta)

    @public
    def sampled(self, p: object, q: object, K: int, *, samples: int = 200, seed: int = 0) -> tuple[float, float]:
        """The mean of ‖J‖_{p -> q} over ``samples`` matrices of K independent rows N(0, Σ(x)), and its standard error.

        As ε -> 0 and N -> oo it is the mean adversarial loss at x over ε. Norms are those of
        :func:`advmf.simulate.operator_norm`: exact for p = 1, q = oo and (2, 2), and found by a search elsewhere.

        Raises DomainError for exponents outside [1, oo], ArgumentError or DomainError unless ``K`` is a whole number >=
        1 and ``samples`` one >= 2; MemoryBudgetError where the matrices do not fit.

        >>> import numpy as np, advmf as mf
        >>> net = mf.conv(1, 0, image=(1, 9), head="pool")
        >>> found = mf.image_metric(net, np.arange(9.0) - 4, L=2, sigma_w=2**0.5, sigma_b=0.3)
        >>> mean, error = found.sampled(2, 2, 3)
        >>> mean < found.beta(2, 2, 3), error < 0.05 * mean
        (True, True)
        """
        import torch

        from advmf.simulate.opnorm import operator_norm

        pair = [float(exponent(e, name)) for e, name in ((p, "p"), (q, "q"))]
        K, samples, d = whole("K", K), whole("samples", samples, 2), len(self.diagonal)
        allow(8 * 4 * samples * K * d, machine_memory(), f"samples={samples} matrices of {K} x {d}", "Lower samples")
        rows = np.random.default_rng(whole("seed", seed, 0)).standard_normal((samples, K, d)) @ self.root.T
        norms = operator_norm(torch.from_numpy(rows), *pair).value.numpy()
        return float(norms.mean()), float(norms.std(ddof=1) / math.sqrt(samples))
