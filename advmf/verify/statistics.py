"""Statistics of a check: extrapolation in 1/N, and the decision with its error rates."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special

from advmf.boundary import public
from advmf.errors import ArgumentError, DomainError


@dataclass(frozen=True)
class Rung:
    """Mean and standard error over ``nets`` networks of width ``N``, and the skewness of one network's number.

    A rung is what a check knows of one width of its ladder. ``lost`` counts the networks whose number is not finite. If
    there are any, the mean is NaN: the other networks say nothing of it. ``spread`` is the standard deviation of the
    logarithms of large numbers (``moments.Running.spread``). A share of networks, or a quantile, has the ``interval``
    between its exact limits. ``dof`` are the degrees of freedom of the standard error, if they are not nets - 1.
    """

    N: int
    nets: int
    mean: float
    stderr: float
    skew: float = 0.0
    lost: int = 0
    spread: float = 0.0
    interval: tuple[float, float] | None = None
    dof: float | None = None

    @property
    def freedom(self) -> float:
        """The degrees of freedom of the standard error."""
        return max(self.nets - 1, 1) if self.dof is None else self.dof

    @property
    def finite(self) -> bool:
        """Whether there is a mean, and a standard error of it."""
        return all(map(math.isfinite, (self.mean, self.stderr, self.skew))) and not self.lost

    def scaled(self, factor: float, shift: float = 0.0) -> Rung:
        """The rung of ``shift + factor x``."""
        skew = math.copysign(1.0, factor) * self.skew
        return replace(self, mean=shift + factor * self.mean, stderr=abs(factor) * self.stderr, skew=skew)

    @property
    def seen(self) -> float:
        """The part of the variance that is due to networks frequent enough to be in the sample, if the tail is
        log-normal. A part of less than a hundredth counts as 0, for it tells nothing of the rest.

        A log-normal number of spread s has most of its variance where its logarithm is about 2 s deviations above the
        mean. The largest of n numbers is where one in n is expected.

        >>> [round(Rung(8, 1000, 1.0, 0.1, spread=spread).seen, 3) for spread in (0.0, 0.5, 1.0, 1.5, 2.0)]
        [0.999, 0.982, 0.862, 0.536, 0.181]
        """
        part = float(special.ndtr(special.ndtri(1 - 1 / max(self.nets, 2)) - 2 * self.spread))
        return part if part >= 0.01 else 0.0

    def plus(self, rest: Rung) -> Rung:
        """The rung of a sum, one term of which was measured on these networks and the ``rest`` on others.

        Its degrees of freedom are those of the formula of Welch and Satterthwaite. The rest is the difference of two
        numbers that are close to each other, mostly tiny and of either sign, whose logarithms say nothing. It is rarely
        large where neither number is, and so it counts as spread like the first term. The ``spread`` of the sum is such
        that as much of its variance was seen as of both terms.

        >>> found = Rung(8, 100, 1.0, 0.3).plus(Rung(8, 20, 0.5, 0.4))
        >>> found.nets, found.mean, found.stderr, round(found.dof)
        (120, 1.5, 0.5, 44)
        """
        if self.stderr > 0:
            rest = replace(rest, spread=self.spread)
        both, nets, stderr = (self, rest), self.nets + rest.nets, math.hypot(self.stderr, rest.stderr)
        found = Rung(self.N, nets, self.mean + rest.mean, stderr, lost=self.lost + rest.lost)
        if not (0 < stderr < math.inf):
            return found
        share = [r.stderr / stderr for r in both]
        skew = math.sqrt(nets) * sum(part**3 * r.skew / math.sqrt(r.nets) for part, r in zip(share, both))
        whole = sum(part**2 / max(r.seen, 1e-6) for part, r in zip(share, both))
        spread = max(0.0, float(special.ndtri(1 - 1 / nets) - special.ndtri(1 / whole)) / 2)
        dof = 1 / sum(part**4 / r.freedom for part, r in zip(share, both))
        return replace(found, skew=skew, spread=spread, dof=dof)


CAUTION = 2.0
"""The factor on the sample skewness, for small samples of heavy tails understate it. tests/verify/test_calibration.py
measures its effect."""


ROUNDING = 1e-12
"""No mean is known to better than this, relatively, for a departure is the difference of computed numbers. Suppose that
a prediction is 10^20 times too large. The rounding of its last digits would leave residuals far beyond the standard
errors, and the rungs would seem to follow no law."""


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error, the degrees of freedom of that error, and how well the fit describes the rungs.

    ``fit_p`` is the p-value of the rungs' deviations from the fit, 1 where nothing is left over to test. ``skew`` is
    the skewness of the value itself, which falls with the root of the number of networks. ``other`` is the estimate by
    another law that the numbers leave open. The true value may lie anywhere between the two estimates, and is beyond a
    limit only if both are. The test that rules out laws uses half of the error rate, so that the other law is tested at
    the other half. ``hidden`` allows for networks that are too rare to have been seen (:attr:`Rung.seen`). It has the
    factors by which the standard error may then be larger: one for true values below the estimate, one for those above.
    """

    value: float
    stderr: float
    dof: float
    fit_p: float = 1.0
    skew: float = 0.0
    other: Estimate | None = None
    hidden: tuple[float, float] = (1.0, 1.0)

    @property
    def apart(self) -> float:
        """How far apart the laws that the numbers leave open put the value."""
        return abs(self.value - self.other.value) if self.other else 0.0

    @property
    def error(self) -> float:
        """The standard error, with the uncertainty of the law."""
        return math.hypot(self.stderr, self.apart)

    def p_above(self, limit: float) -> float:
        """The p-value of "the true value is at most ``limit``". It is the larger of two: by Student's t, and by t
        corrected for skewness.

        Attack maxima and products over depth are near log-normal. A sample without the rare large numbers has too low a
        mean, and too low a standard error. So t refutes true values from below far too often. The quantile q of t moves
        by skew (2 q² + 1)/6 to first order (F. Edgeworth's expansion of t; P. Hall, 1992, section 2.6). On the side of
        the long tail, where it would move inwards, it stays. Where the tail is so long that most of the variance was
        not seen, the standard error includes what is hidden.

        >>> round(Estimate(1.0, 0.5, 30).p_above(0.0), 6)
        0.027313
        >>> Estimate(1.0, 0.5, 30, skew=-0.5).p_above(0.0) > 0.05 > Estimate(1.0, 0.5, 30, skew=0.5).p_above(0.0)
        True
        """
        if not all(map(math.isfinite, (self.value, self.stderr, self.skew))):
            raise ArithmeticError(f"{self} is no number to be tested.")
        if self.other:
            return max(replace(self, other=None).p_above(limit), min(1.0, 2 * self.other.p_above(limit)))
        if self.stderr == 0:
            return 0.0 if self.value > limit else 1.0
        t, g = (self.value - limit) / self.stderr / self.hidden[0], CAUTION * max(0.0, -self.skew)
        if t > g / 6:  # undo q + g (2 q² + 1)/6
            t = (math.sqrt(1 + 4 / 3 * g * (t - g / 6)) - 1) / (2 / 3 * g) if g > 1e-6 else t
        return _sf(t, self.dof)

    def p_below(self, limit: float) -> float:
        """The p-value of "the true value is at least ``limit``"."""
        return self.mirrored.p_above(-limit)

    @property
    def mirrored(self) -> Estimate:
        """The estimate of minus the quantity."""
        other = self.other and self.other.mirrored
        less, more = self.hidden
        return replace(self, value=-self.value, skew=-self.skew, other=other, hidden=(more, less))

    def shifted(self, by: float) -> Estimate:
        """The estimate of the quantity plus a constant."""
        return replace(self, value=self.value + by, other=self.other and self.other.shifted(by))

    def reach(self, rate: float) -> float:
        """How far above a limit the value must be for :meth:`p_above` to fall to ``rate``. It is by this law alone,
        without ``other``."""
        q, g = quantile(rate, self.dof), CAUTION * max(0.0, -self.skew)
        return (q + g * (2 * q * q + 1) / 6) * self.stderr * self.hidden[0]


def combine(rungs: Sequence[Rung], degree: int, order: int = 0, power: float = 1.0) -> Estimate:
    """The value at 1/N = 0 of a polynomial in 1/N^power of ``degree``, fitted to the rungs. Degree 0 averages them.

    The weights are the numbers of networks over N^(2 order), for means that were multiplied by N^order. They are fixed
    beforehand, for weights estimated from skewed samples would bias the fit. The standard error follows from the rungs'
    own errors, its degrees of freedom from the formula of Welch and Satterthwaite. There must be more rungs than
    ``degree``, and all must be finite (:attr:`Rung.finite`).

    >>> rungs = [Rung(N, 100, 1 + 8/N, 0.01) for N in (64, 128, 256, 512)]
    >>> round(combine(rungs, 1).value, 9)
    1.0
    """
    if len(rungs) <= degree:
        raise DomainError(f"A polynomial of degree {degree} needs more than {degree} widths; got {len(rungs)}.")
    weights, left = _fit(tuple(r.N for r in rungs), tuple(r.nets for r in rungs), degree, order, power)
    mean, stderr = np.array([r.mean for r in rungs]), np.array([r.stderr for r in rungs])
    unit = np.ldexp(1.0, np.frexp(np.abs(weights * stderr).max())[1] - 1)  # in which no square overflows or vanishes
    errors = weights * stderr / unit
    parts = errors**2
    if not parts.any():
        return Estimate(float(weights @ mean), 0.0, math.inf)
    dof = parts.sum() ** 2 / sum(part**2 / r.freedom for part, r in zip(parts, rungs))
    skew = errors**3 @ [r.skew / math.sqrt(r.nets) for r in rungs] / parts.sum() ** 1.5
    fit_p = _fit_p(left, len(rungs) - degree - 1, mean, stderr)
    error, hidden = float(unit * np.sqrt(parts.sum())), _hidden(rungs, errors)
    return Estimate(float(weights @ mean), error, float(dof), fit_p, float(skew), hidden=hidden)


@lru_cache(maxsize=1024)
def _fit(
    widths: tuple[float, ...], nets: tuple[int, ...], degree: int, order: int, power: float
) -> tuple[np.ndarray, np.ndarray]:
    """The weights of the means in the value at 1/N = 0, and the matrix that gives what the fit leaves of them."""
    h = np.array([1 / N for N in widths])
    h = h / (h.max() or 1.0)  # of infinite width there is one rung, which has no fit
    basis = np.vander(h**power, degree + 1, increasing=True)
    root = np.sqrt(nets) * h**order
    solve = np.linalg.pinv(basis * root[:, None]) * root
    return solve[0], np.eye(len(h)) - basis @ solve


def _hidden(rungs: Sequence[Rung], errors: np.ndarray) -> tuple[float, float]:
    """The :attr:`Estimate.hidden` of a weighted sum of the rungs' means. ``errors`` are their standard errors times
    their weights, with the weights' signs."""
    parts = errors**2
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.where(parts == 0, 0.0, parts / [r.seen for r in rungs])
    tails = np.sign(errors) * np.sign([r.skew for r in rungs])
    less, more = (float(np.sqrt(np.where(tails == side, whole, parts).sum() / parts.sum())) for side in (-1, 1))
    return less, more


def _fit_p(project: np.ndarray, spare: int, mean: np.ndarray, stderr: np.ndarray) -> float:
    """P-value of the residuals: they have covariance M diag(stderr²) Mᵀ for the matrix M that gives them."""
    if spare == 0:
        return 1.0
    error = np.hypot(stderr, ROUNDING * np.abs(mean))
    unit = np.ldexp(1.0, np.frexp(error.max())[1] - 1)
    mean, error = mean / unit, error / unit
    residual, covariance = project @ mean, project * error**2 @ project.T
    return float(special.chdtrc(spare, residual @ np.linalg.pinv(covariance, rcond=1e-9, hermitian=True) @ residual))


@public
@dataclass(frozen=True)
class Design:
    """The error rates that a check declares, and the departures that it has to resolve.

    ``alpha``: probability that a true claim is REFUTED. ``beta``: probability that a departure of relative size
    ``effect`` (``effect_fourth`` for fourth moments and for coefficients of 1/N) goes unnoticed in a check that is not
    UNDERPOWERED. ``effect_probability`` is the effect for a probability, in units of the smaller of it and its
    complement.

    Raises DomainError for a rate outside (0, 0.5) and for an effect that is not positive, ArgumentError for what is no
    number.

    >>> import advmf as mf
    >>> strict = mf.Design(alpha=1e-4, effect=0.05)
    >>> strict.alpha, strict.beta
    (0.0001, 0.05)
    """

    alpha: float = 1e-3
    beta: float = 0.05
    effect: float = 0.15
    effect_fourth: float = 0.5
    effect_probability: float = 0.5

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not 0 < _real(name, getattr(self, name)) < 0.5:
                raise DomainError(f"{name} is an error rate and must lie in (0, 0.5); got {getattr(self, name)}.")
        for name in ("effect", "effect_fourth", "effect_probability"):
            if not 0 < _real(name, getattr(self, name)) < math.inf:
                raise DomainError(
                    f"{name} is a relative departure and must be positive and finite; got {getattr(self, name)}."
                )


def _real(name: str, value: Any) -> Any:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise ArgumentError(f"{name} of a Design is a real number; got {value!r:.80} of type {type(value).__name__}.")
    return value


def quantile(rate: float, dof: float) -> float:
    """The upper ``rate`` quantile of Student's t."""
    return -float(special.stdtrit(dof, rate) if math.isfinite(dof) else special.ndtri(rate))


def _sf(t: float, dof: float) -> float:
    return float(special.stdtr(dof, -t) if math.isfinite(dof) else special.ndtr(-t))


def resolution(estimate: Estimate, alpha: float, beta: float, sides: int = 1) -> float:
    """The departure that a test of size ``alpha`` finds with probability 1 - ``beta``. One of the ``sides`` means a
    departure above, two mean one on either side. It holds whichever of the laws that are left open is true."""
    each = (estimate, estimate.mirrored)[:sides]
    found = max(e.reach(alpha / sides) for e in each) + quantile(beta, estimate.dof) * estimate.stderr
    if estimate.other:
        found = max(found, resolution(estimate.other, alpha / 2, beta, sides)) + estimate.apart
    return found


def holm(p_values: Sequence[float], rate: float) -> list[bool]:
    """Which hypotheses of a family are rejected, by the rule of S. Holm (1979). With probability 1 - ``rate`` none of
    the rejected ones is true.

    The smallest p-value is tested at rate/m, the next at rate/(m - 1), and so on up to the first that is not rejected.
    The rule holds whatever the tests have in common. It never rejects fewer hypotheses than Bonferroni's rule.

    >>> holm([0.02, 0.5, 0.012, 0.001], 0.05)
    [True, False, True, True]
    """
    rejected = [False] * len(p_values)
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[i] > rate / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected
