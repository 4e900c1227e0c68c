"""Gaussian vectors and matrices whose columns have sizes of their own, given by the weights of paths through an image.

A *code* is a profile in numbers: the channels c of an image, its axes and sizes; the number of runs; and for each run
its copies, its number of terms, and for each term its weight, its number of maps, and for each map the taps, the
stride, the first position and whether the image is circular. The terms of a run are added up. A term averages over the
windows of its maps, one after the other, and multiplies by its weight. The profile s at a position is the sum over all
paths from there to the positions at the end, over the number of those at the end and times the number of positions. So
s is 1 for a run that changes nothing, and W^copies for one that multiplies by W.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from advmf.errors import DomainError


def profile(*code: float) -> tuple[np.ndarray, float]:
    """The profile s of a code, as an array of the image's sizes over its largest value, and the logarithm of that
    value. Raises DomainError for numbers that are no code.

    >>> from advmf.special import profile
    >>> code = (1, 1, 4, 1, 2, 1, 0.5, 1, 3, 1, -1, 0)  # two layers of three taps of four positions, zeros beyond
    >>> shares, log = profile(*code)
    >>> (shares * math.exp(log)).round(4).tolist()  # 5/9, 7/9, ... times 1/4
    [0.1389, 0.2222, 0.2222, 0.1389]
    """
    _, image, runs = _read(code)
    turns, sizes = list[Any](), image
    for copies, terms in runs:
        while copies:
            after = _after(sizes, terms[0][1], code)
            alike = copies if after == sizes else 1  # a copy that changes the sizes meets them alone
            turns.append((alike, terms, sizes))
            sizes, copies = after, copies - alike
    weights, log = np.full(sizes, 1.0 / math.prod(sizes)), math.log(math.prod(image))
    for copies, terms, at in reversed(turns):
        for _ in range(copies):
            weights = sum(weight * _back(weights, maps, at) for weight, maps in terms)
            largest = weights.max()
            if not 0 < largest < math.inf:
                return np.full(image, largest), 0.0
            weights, log = weights / largest, log + math.log(largest)
    largest = weights.max()
    return weights / largest, log + math.log(largest)


def positions_after(size: int, taps: int, stride: int, first: int, circular: int) -> int:
    """The number of positions along an axis after a map whose windows have so many ``taps`` and begin ``stride`` apart,
    at ``first``. Where the image is not circular it has as many zeros at its other side, and windows end within them.

    >>> [positions_after(28, 5, 1, first, 0) for first in (-2, 0)]
    [28, 24]
    """
    return size // stride if circular else (size - 2 * first - taps) // stride + 1


def _after(sizes: tuple[int, ...], maps: list[tuple[int, int, int, int]], code: tuple[float, ...]) -> tuple[int, ...]:
    """The sizes of an image after maps in turn. Raises DomainError for taps that do not fit on it."""
    for each in maps:
        sizes = tuple(positions_after(size, *each) for size in sizes)
        if min(sizes) < 1:
            raise DomainError(f"No code of a profile: {each[0]} taps do not fit on the image; got {code!r:.120}.")
    return sizes


def _read(code: tuple[float, ...]) -> tuple[int, tuple[int, ...], list[Any]]:
    """The channels, the sizes and the runs of a code. A run has copies and terms, a term its weight and maps."""
    rest = iter(code)

    def whole(least: int = 1) -> int:
        value = float(next(rest))
        if value != math.floor(value) or value < least:
            raise ValueError(f"{value:g} stands where a whole number >= {least} was expected")
        return int(value)

    try:
        channels, axes = whole(), whole()
        sizes = tuple(whole() for _ in range(axes))
        runs = []
        for _ in range(whole(0)):
            copies, terms = whole(0), []
            for _ in range(whole()):
                weight = float(next(rest))
                terms.append((weight, [(whole(), whole(), whole(-(10**6)), whole(0)) for _ in range(whole(0))]))
            runs.append((copies, terms))
        if left := len(list(rest)):
            raise ValueError(f"{left} numbers are left at its end")
    except (RuntimeError, StopIteration, OverflowError, ValueError) as error:
        what = str(error) if isinstance(error, ValueError) else "it ends too early"
        raise DomainError(f"No code of a profile: {what}; got {code!r:.120}. advmf.profile(net).code is one.") from None
    return channels, sizes, runs


def _back(weights: np.ndarray, maps: list[tuple[int, int, int, int]], sizes: tuple[int, ...]) -> np.ndarray:
    """The weights of the positions before the maps of a term, from those after them."""
    for axis, size in enumerate(sizes):
        matrix = np.eye(size)
        for taps, stride, first, circular in maps:
            after = np.zeros((positions_after(len(matrix), taps, stride, first, circular), len(matrix)))
            for j in range(len(after)):
                for place in range(j * stride + first, j * stride + first + taps):
                    if circular or 0 <= place < len(matrix):
                        after[j, place % len(matrix)] += 1 / taps
            matrix = after @ matrix
        weights = np.moveaxis(np.tensordot(weights, matrix, (axis, 0)), -1, axis)
    return weights


def profile_share(position: Any, *code: Any) -> Any:
    """s at a position of the image, counted from 0 in row-major order, elementwise over broadcast numbers. NaN for a
    position that the image does not have.

    >>> from advmf.special import profile_share
    >>> profile_share([0, 1], 1, 1, 4, 1, 2, 1, 0.5, 1, 3, 1, -1, 0).round(4).tolist()
    [0.1389, 0.2222]
    """
    arrays = np.broadcast_arrays(*(np.asarray(value, float) for value in (position, *code)))
    found = []
    for at, *numbers in zip(*(array.ravel().tolist() for array in arrays)):
        known = all(map(math.isfinite, numbers))
        shares, log = profile(*numbers) if known else (np.zeros(0), 0.0)
        found.append(shares.ravel()[int(at)] * math.exp(log) if at in range(shares.size) else math.nan)
    out = np.array(found).reshape(arrays[0].shape)
    return out if out.ndim else out[()]


def profile_radius(p: Any, *code: Any) -> Any:
    """The largest ‖√s ∘ η‖_2 over the ball ‖η‖_p <= 1, for the profile s of a code, elementwise over broadcast numbers.

    It is the largest √s for p <= 2, and ‖√s‖_{2p/(p-2)} beyond.

    >>> from advmf.special import profile_radius
    >>> profile_radius([1, 2, math.inf], 3, 1, 4, 0).tolist()  # the identity, on twelve coordinates
    [1.0, 1.0, 3.46410161513775...]
    """

    def radius(p: float, roots: np.ndarray, counts: np.ndarray) -> float:
        if p <= 2:
            return float(roots.max())
        power = 2.0 if p == math.inf else 2 * p / (p - 2)
        return float((counts @ roots**power) ** (1 / power))

    return each(radius, (p,), code)


def profile_norm(r: Any, *code: Any) -> Any:
    """E‖√s ∘ g‖_r for a standard Gaussian vector g and the profile s of a code, elementwise over broadcast numbers.

    With t = √s and S = sum t_i**r |g_i|**r the mean of S**a, a = 1/r, is 1/Gamma(2-a) * Integral phi''(x) x**(1-a) dx
    for phi(x) = E exp(-x*S), a product over the coordinates. All terms are positive. At r = oo it is the mean of the
    largest. Relative error below 1e-12; r = 1, 2 and oo are fast.

    >>> from advmf.special import profile_norm
    >>> profile_norm([1, 2, math.inf], 3, 1, 4, 0).round(6).tolist()  # the identity, on twelve coordinates
    [9.574615, 3.392761, 1.9583]
    """

    return each(mean_norm, (r,), code)


def mean_norm(r: float, t: np.ndarray, counts: np.ndarray) -> float:
    """E‖t ∘ g‖_r for the sizes t of coordinates, and how many have each."""
    if r == 1:
        return float(counts @ t * math.sqrt(2 / math.pi))
    return float((_euclidean if r == 2 else _largest if r == math.inf else _general)(r, t, counts))


def each(rule: Callable[..., float], leading: tuple[Any, ...], code: tuple[Any, ...]) -> Any:
    """A rule for the ``leading`` numbers, the distinct roots of a profile over the largest one, and their numbers of
    coordinates, times that root; equal rows of numbers are computed once. NaN for leading numbers below 1, and for a
    code that is not finite."""
    arrays = np.broadcast_arrays(*(np.asarray(value, float) for value in (*leading, *code)))
    rows, inverse = np.unique(np.stack([array.ravel() for array in arrays], 1), axis=0, return_inverse=True)
    found = np.full(len(rows), math.nan)
    for i, row in enumerate(rows.tolist()):
        first, numbers = row[: len(leading)], row[len(leading) :]
        if all(number >= 1 for number in first) and all(map(math.isfinite, numbers)):
            shares, log = profile(*numbers)
            roots, counts = np.unique(np.sqrt(shares).round(15), return_counts=True)
            found[i] = rule(*first, roots[roots > 0], counts[roots > 0] * round(numbers[0])) * math.exp(log / 2)
    out = found[inverse.reshape(-1)].reshape(arrays[0].shape)
    return out if out.ndim else out[()]


_STEP = 0.04
"""The spacing in the logarithm of a variable of integration."""


def _euclidean(_: float, t: np.ndarray, counts: np.ndarray) -> float:
    """r = 2: phi is the product of (1 + 2 x t**2)**(-1/2)."""
    x = np.exp(np.arange(-110, 110 + _STEP, _STEP))[:, None]
    u = t**2 / (1 + 2 * x * t**2)
    phi = np.exp(-np.log1p(2 * x * t**2) @ counts / 2)
    second = ((u @ counts) ** 2 + 2 * u**2 @ counts) * phi
    return float(_STEP * (second * x[:, 0] ** 1.5).sum() / math.gamma(1.5))


def _largest(_: float, t: np.ndarray, counts: np.ndarray) -> float:
    """The mean of the largest: Integral z dF(z) for F the product of erf(z/(t sqrt 2))."""
    from scipy.special import erf, erfc

    step = min(_STEP, 0.25 / (2 + 2 * math.log(counts.sum())))
    z = np.exp(np.arange(-40 + math.log(t.min()), math.log(40), step))[:, None]
    x = z / (t * math.sqrt(2))
    log_f = np.where(x < 0.5, np.log(np.maximum(erf(x), 1e-300)), np.log1p(-np.minimum(erfc(x), 0.9)))
    slope = np.exp(-(x**2) - log_f) / t * math.sqrt(2 / math.pi)
    return float(step * (z[:, 0] ** 2 * (slope @ counts) * np.exp(log_f @ counts)).sum())


def _general(r: float, t: np.ndarray, counts: np.ndarray) -> float:
    """Any other r, by trapezoidal rules in ln z, x = z**-r, and in w = ln(x |g|**r), as for equal sizes
    (:func:`advmf.special.gaussian_norm`)."""
    from scipy.special import erfc

    a = 1 / r
    spacing = min(_STEP, max(0.16 * a, 0.25 / (2 + 2 * math.log(counts.sum()))))
    top = math.log(40 + counts.sum() ** a) + 38 * a / (2 - a)
    z = np.exp(np.arange(-20 + math.log(t.min()), top, spacing))
    step = 2 * math.pi * min(math.pi / 2, math.pi / (4 * a)) / 42
    w = np.arange(max(-130.0, -38 - top / a), 3.9, step)
    mass = step * np.exp(w - np.exp(w))
    first, squares, second, log_phi = (np.zeros(len(z)) for _ in range(4))
    for size, count in zip(t, counts):
        x = (z / size)[:, None] * np.exp(a * w)
        density = math.sqrt(2 / math.pi) * np.exp(-x * x / 2) * x
        held = np.maximum(1 - erfc(x / math.sqrt(2)) @ mass, 1e-300)
        one, two = density @ mass / held, density @ (mass * np.exp(w)) / held
        log_phi += count * np.log(held)
        first, squares, second = first + count * one, squares + count * one**2, second + count * two
    terms = (second + a * (first**2 - squares)) * np.exp(log_phi) * z
    return float(spacing * terms.sum() / math.gamma(2 - a))
