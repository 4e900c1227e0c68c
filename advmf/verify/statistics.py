"""Statistics of a check: streaming moments, extrapolation in 1/N, and the decision with its error rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


class Running:
    """Mean and variance of columns of numbers that arrive in blocks (T. Chan, G. Golub, R. LeVeque, 1983).

    >>> running = Running(1)
    >>> for block in ([[1.0], [2.0]], [[6.0]]):
    ...     running.add(np.array(block))
    >>> running.count, running.mean.tolist(), running.variance.tolist()
    (3, [3.0], [7.0])
    """

    def __init__(self, columns: int) -> None:
        self.count = 0
        self.mean = np.zeros(columns)
        self._squares = np.zeros(columns)

    def add(self, block: np.ndarray) -> None:
        """Take in ``block`` of shape (count, columns)."""
        count, mean = len(block), block.mean(0)
        total = self.count + count
        delta = mean - self.mean
        self._squares += ((block - mean) ** 2).sum(0) + delta**2 * self.count * count / total
        self.mean = self.mean + delta * count / total
        self.count = total

    @property
    def variance(self) -> np.ndarray:
        """Unbiased sample variance; infinite for fewer than two numbers."""
        return self._squares / (self.count - 1) if self.count > 1 else np.full_like(self.mean, math.inf)

    @property
    def stderr(self) -> np.ndarray:
        """Standard error of the mean."""
        return np.sqrt(self.variance / self.count)


@dataclass(frozen=True)
class Rung:
    """Mean and standard error over ``nets`` networks of width ``N``."""

    N: int
    nets: int
    mean: float
    stderr: float


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error, the degrees of freedom of that error, and how well the fit describes the rungs.

    ``fit_p`` is the p-value of the rungs' deviations from the fit, 1 where nothing is left over to test.
    """

    value: float
    stderr: float
    dof: float
    fit_p: float = 1.0


def combine(rungs: Sequence[Rung], degree: int, order: int = 0) -> Estimate:
    """The value at 1/N = 0 of a polynomial in 1/N of ``degree`` fitted to the rungs; degree 0 averages them.

    The weights are the numbers of networks over N^(2 order), for means that were multiplied by N^order; they are fixed beforehand:
    weights estimated from skewed samples would bias the fit. The
    standard error follows from the rungs' own errors, its degrees of freedom from Welch and Satterthwaite.
    Needs more rungs than ``degree``.

    >>> rungs = [Rung(N, 100, 1 + 8/N, 0.01) for N in (64, 128, 256, 512)]
    >>> round(combine(rungs, 1).value, 9)
    1.0
    """
    if len(rungs) <= degree:
        raise ValueError(f"A polynomial of degree {degree} needs more than {degree} widths; got {len(rungs)}.")
    h = np.array([1 / rung.N for rung in rungs])
    mean, stderr = np.array([r.mean for r in rungs]), np.array([r.stderr for r in rungs])
    basis = np.vander(h / h.max(), degree + 1, increasing=True)
    root = np.sqrt([r.nets for r in rungs]) * (h / h.max()) ** order
    solve = np.linalg.pinv(basis * root[:, None]) * root
    weights = solve[0]
    parts = (weights * stderr) ** 2
    if not parts.any():
        return Estimate(float(weights @ mean), 0.0, math.inf)
    dof = parts.sum() ** 2 / sum(part**2 / max(r.nets - 1, 1) for part, r in zip(parts, rungs))
    return Estimate(float(weights @ mean), float(np.sqrt(parts.sum())), float(dof), _fit_p(basis, solve, mean, stderr))


def _fit_p(basis: np.ndarray, solve: np.ndarray, mean: np.ndarray, stderr: np.ndarray) -> float:
    """P-value of the residuals: they have covariance M diag(stderr²) Mᵀ with M = 1 - basis solve."""
    spare = len(mean) - basis.shape[1]
    if spare == 0 or not np.isfinite(stderr).all():
        return 1.0
    project = np.eye(len(mean)) - basis @ solve
    residual, covariance = project @ mean, project * stderr**2 @ project.T
    return float(stats.chi2.sf(residual @ np.linalg.pinv(covariance, rcond=1e-9, hermitian=True) @ residual, spare))


@dataclass(frozen=True)
class Design:
    """The error rates that a check declares.

    ``alpha``: probability that a true claim is REFUTED. ``beta``: probability that a departure of relative size ``effect``
    (``effect_fourth`` for fourth moments and for coefficients of 1/N) goes unnoticed in a check that is not UNDERPOWERED.
    """

    alpha: float = 1e-3
    beta: float = 0.05
    effect: float = 0.15
    effect_fourth: float = 0.5

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not 0 < getattr(self, name) < 0.5:
                raise ValueError(f"{name} is an error rate and must lie in (0, 0.5); got {getattr(self, name)}.")
        for name in ("effect", "effect_fourth"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is a relative departure and must be positive; got {getattr(self, name)}.")


def quantile(rate: float, dof: float) -> float:
    """The upper ``rate`` quantile of Student's t."""
    return float(stats.t.isf(rate, dof)) if math.isfinite(dof) else float(stats.norm.isf(rate))


def resolution(estimate: Estimate, alpha: float, beta: float) -> float:
    """The departure that a test of size ``alpha`` finds with probability 1 - ``beta``."""
    return (quantile(alpha, estimate.dof) + quantile(beta, estimate.dof)) * estimate.stderr
