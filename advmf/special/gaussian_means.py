"""Means of functions of one and of two Gaussian variables, to twelve digits; where these are out of reach, an error
gives the digits reached.

The functions are smooth between their kinks and grow at most like a power. The line is cut at the kinks, and at
distances from them that grow by the factor four: functions change where their argument is of order one, whatever the
variance. Each panel has a Gauss-Legendre rule, doubled until it settles.

The mean of a product f(a)g(b) is a series in the correlation, whose coefficients are those of the functions in
normalised Hermite polynomials (F. G. Mehler, 1866). Its rest after n terms is at most |c|**n times the root of the
product of both functions' remaining mean squares. This bound is computed. Where it is not small, as for kinks at a
correlation next to one, the plane is integrated panel by panel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from advmf.errors import AccuracyError
from advmf.special.elementary import gauss_legendre

Curve = Callable[[np.ndarray], np.ndarray]
"""A function of arrays (elements, points), each row with the parameters of its element."""

FAR = 10.0
"""The number of deviations from the mean at which the line is cut off; the density there is e**-50."""
DIGITS = 1e-12
"""The largest relative error that is accepted."""
_SETTLED = 1e-14
_TERMS = 96
"""The number of terms of the series."""
_POINTS = 1 << 21
"""The largest number of points at which functions are evaluated at once."""


def _grid(edges: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights (elements, points) of a rule on each of the panels between sorted edges (elements, panels +
    1)."""
    nodes, weights = gauss_legendre(count)
    low, half = edges[:, :-1, None], np.diff(edges)[..., None] / 2
    points, across = low + half * (nodes + 1), half * weights
    return points.reshape(len(edges), -1), np.broadcast_to(across, points.shape).reshape(len(edges), -1)


def _edges(centres: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Sorted edges (elements, any) of panels: the centres, and points at distances from them of powers of four times
    the scales."""
    with np.errstate(over="ignore"):
        levels = 1 + max(1, math.ceil(math.log(2 * FAR / max(float(scales.min(initial=FAR)), 1e-12), 4)))
        steps = 4.0 ** np.arange(levels)
        away = scales[..., None] * np.concatenate([-steps, [0.0], steps])
        found = (centres[..., None] + away).reshape(len(centres), -1)
    fixed = np.broadcast_to([-FAR, -5.0, -2.0, 2.0, 5.0, FAR], (len(centres), 6))
    return np.sort(np.clip(np.concatenate([found, fixed], 1), -FAR, FAR), 1)


def _density(z: np.ndarray) -> np.ndarray:
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _centres(kinks: np.ndarray, middle: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Where z ~ N(0, 1) meets the kinks (elements, any) of f(middle + deviation z), or zero where there are none."""
    places = kinks if kinks.shape[1] else np.zeros((len(middle), 1))
    return (places - middle[:, None]) / deviation[:, None]


def _line(
    f: Curve, middle: np.ndarray, deviation: np.ndarray, kinks: np.ndarray, scale: float = 1e-300
) -> tuple[np.ndarray, np.ndarray]:
    """E f(middle + deviation z) and E |f|, each (elements,). Errors are relative to E |f|, or to ``scale`` where that
    is larger."""
    centres = _centres(kinks, middle, deviation)
    edges = _edges(np.clip(centres, -1e9, 1e9), np.broadcast_to(1 / deviation[:, None], centres.shape))
    ends = (
        np.abs(f(middle[:, None] + deviation[:, None] * np.array([-FAR, FAR]))).max(1) * _density(np.array(FAR)) * FAR
    )
    before, worst = None, 0.0
    for count in (16, 24, 48, 96, 192, 768):
        z, weights = _grid(edges, count)
        weights = weights * _density(z)
        values = f(middle[:, None] + deviation[:, None] * z)
        mean, size = (values * weights).sum(1), (np.abs(values) * weights).sum(1)
        if before is not None:
            worst = float(np.max(np.abs(mean - before) / np.maximum(size, scale), initial=0.0))
            if worst <= _SETTLED:
                break
        before = mean
    beyond = float(np.max(ends / np.maximum(size, scale), initial=0.0))
    if not beyond <= DIGITS:
        raise AccuracyError(
            f"A function grows so fast that a Gaussian of deviation up to {deviation.max():.3g} has {beyond:.1e} of its mean beyond ten deviations. "
            "Activations are Lipschitz; give another one a closed form of it, or lower the variance."
        )
    if not worst <= DIGITS:  # also for NaN
        raise AccuracyError(
            f"A mean over a Gaussian of deviation up to {deviation.max():.3g} settles to {worst:.1e} of its size alone; {DIGITS:.0e} is needed. "
            "Give the activation a closed form of it, or lower the variance."
        )
    return mean, size


def normal_mean(f: Callable[..., Any], kinks: Callable[..., Any], Q: Any, *parameters: Any) -> np.ndarray:
    """E f(a) of a ~ N(0, Q): ``f(a, *parameters)`` is vectorised, and ``kinks(*parameters)`` is a tuple of the places
    of its kinks.

    Raises :class:`~advmf.errors.AccuracyError` where twelve digits are out of reach.

    >>> import numpy as np
    >>> normal_mean(lambda a: a**4, tuple, [0.0, 1.0, 2.0]).round(12)
    array([ 0.,  3., 12.])
    """
    shape, (variance, *given) = _flat(Q, *parameters)
    out = np.empty(variance.shape)
    for part in _parts(variance.size, 3000):
        rest = [x[part] for x in given]
        curve = _curve(f, rest)
        found = _broken(kinks, rest, variance[part].size)
        out[part] = np.nan
        usable = np.isfinite(variance[part]) & (variance[part] >= 0)
        deviation = np.sqrt(np.where(usable, variance[part], 1.0))
        zero = deviation == 0
        mean, _ = _line(curve, np.zeros_like(deviation), np.where(zero, 1.0, deviation), found)
        at_zero = curve(np.zeros((deviation.size, 1)))[:, 0]
        out[part] = np.where(usable, np.where(zero, at_zero, mean), np.nan)
    return out.reshape(shape)


def pair_mean(
    f: Callable[..., Any], g: Callable[..., Any], kinks: tuple[Callable[..., Any], Callable[..., Any]], Q: Any, R: Any, P: Any, *parameters: Any
) -> np.ndarray:  # fmt: skip
    """E f(a) g(b) of centred Gaussians of variances Q, R and covariance P; the functions as for :func:`normal_mean`.

    Raises :class:`~advmf.errors.AccuracyError` where twelve digits are out of reach.

    >>> import numpy as np
    >>> pair_mean(lambda a: a, lambda b: b**3, (tuple, tuple), 1.0, 4.0, [0.5, -2.0]).round(12)
    array([  6., -24.])
    """
    shape, (first, second, product, *given) = _flat(Q, R, P, *parameters)
    out = np.full(first.shape, np.nan)
    for part in _parts(first.size, 64 * _TERMS):
        rest = [x[part] for x in given]
        s, t = (np.sqrt(np.maximum(x[part], 0.0)) for x in (first, second))
        usable = np.isfinite(s) & np.isfinite(t) & np.isfinite(product[part])
        # At variance zero the variable is constant; a deviation that is negligible on the scale of the functions serves
        # for it.
        s, t = (np.where(usable & (x > 0), x, 1e-150) for x in (s, t))
        c = np.clip(np.where(usable, product[part] / (s * t), 0.0), -1.0, 1.0)
        curves = [_curve(f, rest), _curve(g, rest)]
        broken = [_broken(k, rest, s.size) for k in kinks]
        value, rest_bound, size = _series(curves, (s, t), broken, c)
        left = usable & ~(rest_bound <= DIGITS / 10 * size)
        for i in np.flatnonzero(left):
            row = [_curve(h, [x[i : i + 1] for x in rest]) for h in (f, g)]
            value[i] = _plane(row, s[i : i + 1], t[i : i + 1], [b[i : i + 1] for b in broken], c[i])
        out[part] = np.where(usable, value, np.nan)
    return out.reshape(shape)


def spread_mean(
    f: Callable[..., Any], g: Callable[..., Any], kinks: tuple[Callable[..., Any], Callable[..., Any]], Q: Any, R: Any, D: Any, *parameters: Any
) -> np.ndarray:  # fmt: skip
    """E (f(a) - f(b))² of centred Gaussians of variances Q and R with E (a - b)² = D, for a smooth f of slope g; the
    functions as for :func:`normal_mean`.

    For a small D it is the mean of the squared integral of g from b to a, in which nothing cancels. Raises
    :class:`~advmf.errors.AccuracyError` where eleven digits are out of reach.

    >>> import numpy as np
    >>> spread_mean(np.sin, np.cos, (tuple, tuple), 1.0, 1.0, [1e-12, 2.0])
    array([5.67667642e-13, 8.64664717e-01])
    """
    shape, (first, second, apart, *given) = _flat(Q, R, D, *parameters)
    apart = np.where(apart >= -DIGITS * (first + second), np.maximum(apart, 0.0), np.nan)  # rounding may put it below 0
    middle, tilt = (2 * first + 2 * second - apart) / 4, (first - second) / 4
    out = np.full(first.shape, np.nan)
    usable = np.isfinite(middle) & (first >= 0) & (second >= 0) & (apart >= 0)
    near = usable & (apart <= np.minimum(CLOSE, middle))  # where a and b are nearly opposite nothing cancels
    far = np.flatnonzero(usable & ~near)
    if far.size:
        moments, rest = (first[far], second[far]), [x[far] for x in given]
        squares = [normal_mean(lambda a, *b: f(a, *b) ** 2, kinks[0], q, *rest) for q in moments]
        both = pair_mean(f, f, (kinks[0], kinks[0]), *moments, (sum(moments) - apart[far]) / 2, *rest)
        out[far] = sum(squares) - 2 * both
    close = np.flatnonzero(near)
    for part in _parts(close.size, 1 << 15):
        at = close[part]
        zero = middle[at] == 0  # the constants a = b = 0
        root = np.where(zero, 1.0, np.sqrt(middle[at]))
        slant = tilt[at] / np.where(zero, 1.0, middle[at])
        left = np.sqrt(np.maximum(apart[at] / 4 - slant * tilt[at], 0.0))
        slope = _curve(g, [x[at] for x in given])
        found = [_squared_integral(slope, root, slant, left, *counts) for counts in ((16, 10, 4), (24, 16, 6))]
        error = float(np.max(np.abs(found[1] - found[0]) / np.maximum(found[1], 1e-300), initial=0.0))
        if not error <= 10 * DIGITS:
            raise AccuracyError(
                f"The mean square of a difference settles to {error:.1e} of its size alone; {10 * DIGITS:.0e} is needed. Functions that change "
                "on the scale of 1 reach that. Lower the variance or scale the activation."
            )
        out[at] = found[1]
    return out.reshape(shape)


CLOSE = 1e-3
"""The largest mean square of a difference a - b that is computed by integrals of slopes."""


def _squared_integral(
    g: Curve, root: np.ndarray, slant: np.ndarray, left: np.ndarray, panel: int, normal: int, steps: int
) -> np.ndarray:
    """E of the squared integral of g over [m - u, m + u], with m = root z, and u = slant m + left times another
    Gaussian."""
    z, weights = _grid(_edges(np.zeros((len(root), 1)), 1 / root[:, None]), panel)
    weights = weights * _density(z)
    nodes, masses = np.polynomial.hermite_e.hermegauss(normal)
    ways, shares = gauss_legendre(steps)
    m = (root[:, None] * z)[..., None, None]
    u = slant[:, None, None, None] * m + left[:, None, None, None] * nodes[:, None]
    values = g((m + u * ways).reshape(len(root), -1)).reshape(*z.shape, normal, steps)
    square = (u[..., 0] * (values @ shares)) ** 2
    return np.asarray(((square @ masses) * weights).sum(1) / math.sqrt(2 * math.pi))


def _series(
    curves: list[Curve], deviations: tuple[np.ndarray, np.ndarray], kinks: list[np.ndarray], c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sum over Hermite coefficients, the bound on its rest and the sum of the terms' magnitudes, each
    (elements,)."""
    (a, left), (b, right) = (_hermite(f, s, k) for f, s, k in zip(curves, deviations, kinks))
    powers = c[:, None] ** np.arange(_TERMS)
    terms = a * b * powers
    with np.errstate(invalid="ignore"):  # an infinite rest at correlation zero
        bound = np.sqrt(left * right) * np.abs(c) ** _TERMS
    return terms.sum(1), bound, np.abs(terms).sum(1)


def _hermite(f: Curve, deviation: np.ndarray, kinks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The coefficients (elements, terms) of f(deviation z) in normalised Hermite polynomials, and the part of E f² that
    they leave. It is infinite where the coefficients do not converge, so that they are not used."""
    centres = _centres(kinks, np.zeros_like(deviation), deviation)
    edges = _edges(np.clip(centres, -1e9, 1e9), np.broadcast_to(1 / deviation[:, None], centres.shape))
    before, settled = None, np.zeros(len(edges), bool)
    for count in (48, 96, 192):
        out, energy = _coefficients(f, deviation, *_grid(edges, count))
        if before is not None:
            settled = ((out - before) ** 2).sum(1) <= DIGITS**2 / 100 * energy
            if settled.all():
                break
        before = out
    # A difference of two sums has no more correct digits than the sums.
    return out, np.where(settled, np.maximum(energy - (out**2).sum(1), 1e-15 * energy), np.inf)


def _coefficients(f: Curve, deviation: np.ndarray, z: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The coefficients and E f² by one rule."""
    values = f(deviation[:, None] * z)
    weighted = values * weights * _density(z)
    out = np.empty((len(z), _TERMS))
    before, now = np.zeros_like(z), np.ones_like(z)
    for k in range(_TERMS):
        out[:, k] = (weighted * now).sum(1)
        before, now = now, (z * now - math.sqrt(k) * before) / math.sqrt(k + 1)
    return out, (values * weighted).sum(1)


def _plane(curves: list[Curve], s: np.ndarray, t: np.ndarray, kinks: list[np.ndarray], c: float) -> float:
    """E f(a) g(b) of one element: the mean over a of f(a) times the mean of g(b) given a."""
    f, g = curves
    spread = math.sqrt((1 - c) * (1 + c))
    centres, scales = [_centres(kinks[0], np.zeros(1), s)], [1 / s]
    if spread == 0:
        centres.append(_centres(kinks[1], np.zeros(1), t) * c)
        edges = _edges(
            np.concatenate(centres, 1), np.concatenate([np.full(x.shape, 1 / max(s[0], t[0])) for x in centres], 1)
        )
        both = [
            float((f(s[:, None] * z) * g(t[:, None] * c * z) * w * _density(z)).sum())
            for z, w in (_grid(edges, n) for n in (24, 48))
        ]
        return _settled(both, float(np.abs(both[1])) or 1.0, c)
    if c:
        # Next to a kink of g, the mean of g given a changes on the scale of the deviation of b given a.
        centres.append(_centres(kinks[1], np.zeros(1), t) / c)
        scales.append(np.minimum(1 / t, max(spread / abs(c), 1e-9)))
    edges = _edges(
        np.concatenate(centres, 1), np.concatenate([np.broadcast_to(x, y.shape) for x, y in zip(scales, centres)], 1)
    )
    found, size = [], 0.0
    _, scale = _line(g, np.zeros(1), t, kinks[1])
    for count in (16, 32):
        z, weights = (x[0] for x in _grid(edges, count))
        keep = weights > 0
        z, weights = z[keep], weights[keep]
        middle, deviation = t * c * z, np.full(z.shape, t[0] * spread)
        places = np.broadcast_to(kinks[1], (len(z), kinks[1].shape[1]))
        inner, _ = _line(
            lambda b: g(b.reshape(1, -1)).reshape(b.shape), middle, deviation, places, float(scale[0]) or 1e-300
        )
        outer = f((s[0] * z)[None])[0] * weights * _density(z)
        found.append(float((outer * inner).sum()))
        size = float(np.abs(outer * inner).sum())
    return _settled(found, size, c)


def _settled(found: list[float], size: float, c: float) -> float:
    """The last of two values; raises AccuracyError where they differ."""
    error = abs(found[1] - found[0]) / size if size else 0.0
    if not error <= DIGITS:
        raise AccuracyError(
            f"The mean of a product of functions of Gaussians of correlation {c:.6g} settles to {error:.1e} of its size alone; {DIGITS:.0e} is "
            "needed. Give the activation a closed form of it."
        )
    return found[1]


def _flat(*arrays: Any) -> tuple[tuple[int, ...], list[np.ndarray]]:
    """The common shape of arrays, and each array flattened to that shape."""
    full = np.broadcast_arrays(*(np.asarray(x, float) for x in arrays))
    return full[0].shape, [np.ascontiguousarray(x).ravel() for x in full]


def _parts(size: int, points: int) -> list[slice]:
    step = max(1, _POINTS // points)
    return [slice(i, i + step) for i in range(0, size, step)]


def _curve(f: Callable[..., Any], parameters: list[np.ndarray]) -> Curve:
    columns = [x[:, None] for x in parameters]

    def curve(points: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.broadcast_to(np.asarray(f(points, *columns), float), points.shape)

    return curve


def _broken(kinks: Callable[..., Any], parameters: list[np.ndarray], count: int) -> np.ndarray:
    """The places of the kinks, (elements, any). A kink that does not exist for the given parameters is put at zero,
    where it does no harm."""
    with np.errstate(all="ignore"):
        found = kinks(*parameters)
    if not len(found):
        return np.zeros((count, 0))
    places = np.stack([np.broadcast_to(np.asarray(x, float), (count,)) for x in found], 1)
    return np.where(np.isfinite(places), places, 0.0)
