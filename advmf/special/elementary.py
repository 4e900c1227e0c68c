"""The operations that array libraries have in common, and elementary functions that they lack."""

from __future__ import annotations

import math
from functools import cache
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np


class Ops(Protocol):
    """The array operations that this module requires of a backend, elementwise unless stated otherwise."""

    exp: Any
    log: Any
    log1p: Any
    erfc: Any
    lgamma: Any
    asin: Any
    sqrt: Any
    abs: Any
    clip: Any
    where: Any
    broadcast: Any  # (*arrays) -> arrays of one shape and of dtype float64
    like: Any  # (NumPy array, array) -> the first, in the library and on the device of the second
    numpy: Any  # array -> NumPy array, without its gradient
    tracked: Any  # array -> whether gradients with respect to it are wanted


@cache
def gauss_legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The nodes and weights of Gauss and Legendre's rule on [-1, 1], which cannot be written to."""
    rule = np.polynomial.legendre.leggauss(count)
    for array in rule:
        array.flags.writeable = False
    return rule


@cache
def numpy_ops() -> Any:
    """The :class:`Ops` of NumPy."""
    from scipy.special import erfc, gammaln

    return SimpleNamespace(
        exp=np.exp,
        log=np.log,
        log1p=np.log1p,
        erfc=erfc,
        lgamma=gammaln,
        asin=np.arcsin,
        sqrt=np.sqrt,
        abs=np.abs,
        clip=np.clip,
        where=np.where,
        broadcast=lambda *arrays: np.broadcast_arrays(*(np.asarray(a, dtype=float) for a in arrays)),
        like=lambda array, _: array,
        numpy=np.asarray,
        tracked=lambda _: False,
    )


def chi_mean(n: Any, ops: Any = None) -> Any:
    """E‖g_n‖_2 = sqrt(2) Gamma((n+1)/2)/Gamma(n/2), for n > 0 of any size."""
    ops = ops or numpy_ops()
    return math.sqrt(2) * ops.exp(log_gamma_ratio(n / 2, 0.5, ops))


def log_gamma_ratio(x: Any, h: float, ops: Any = None) -> Any:
    """ln Gamma(x + h) - ln Gamma(x) for x > 0, x + h > 0, without the cancellation of two large log-gammas.

    >>> from advmf.special import log_gamma_ratio
    >>> math.isclose(log_gamma_ratio(1e9, 2), math.log(1e9 * (1e9 + 1)), rel_tol=1e-15)
    True
    """
    ops = ops or numpy_ops()
    if h < 0:
        return -log_gamma_ratio(x + h, -h, ops)
    is_far = x > 20
    far, near = ops.where(is_far, x, 20.0), ops.where(is_far, 20.0, x)

    def stirling(x: Any) -> Any:
        i = (1 / x) ** 2
        return (1 / 12 - i * (1 / 360 - i * (1 / 1260 - i * (1 / 1680 - i * (1 / 1188 - i * 691 / 360360))))) / x

    series = h * ops.log(far) + (far + h - 0.5) * ops.log1p(h / far) - h + stirling(far + h) - stirling(far)
    return ops.where(is_far, series, ops.lgamma(near + h) - ops.lgamma(near))


def arc_cosine(c: Any, ops: Any = None) -> Any:
    """The arc-cosine kernel of degree one, (sqrt(1 - c**2) + (pi - acos c)*c)/pi, accurate also next to its zero at c =
    -1.

    A correlation outside [-1, 1] by no more than 1e-9, as by rounding, counts as +-1; NaN further outside.

    >>> from advmf.special import arc_cosine
    >>> arc_cosine([-1.0, 0.0, 1.0]).round(6).tolist()
    [0.0, 0.31831, 1.0]
    """
    ops = ops or numpy_ops()
    (c,) = ops.broadcast(c)
    return arc_cosine_rest(1 + ops.where(ops.abs(c) <= 1 + 1e-9, ops.clip(c, -1.0, 1.0), math.nan), 0.0, ops)


def arc_cosine_rest(a: Any, b: Any, ops: Any = None) -> Any:
    """The arc-cosine kernel of degree one at the correlation 1 - a + b, minus that correlation. It is small next to 1
    and keeps its digits there.

    It is for 0 <= a - b <= 2. A difference outside by no more than 1e-9, as by rounding, counts as the nearest end; NaN
    further outside. A difference within rounding of b counts as 0.

    >>> from advmf.special import arc_cosine_rest
    >>> round(float(arc_cosine_rest(1e-20, 0.0) / 1e-30), 12)  # next to 0 it is 2 sqrt(2)/(3 pi) (a - b)^(3/2)
    0.300105438719
    """
    ops = ops or numpy_ops()
    delta, angle = _angle(a, b, ops)
    square = angle**2
    series = 0.0
    for k in range(9, 0, -1):
        series = 2 * k / math.factorial(2 * k + 1) - square * series
    # sin - angle*cos, which falls as angle**3/3.
    far = ops.sqrt(delta * (2 - delta)) - angle * (1 - delta)
    return ops.where(angle < 1, angle * square * series, far) / math.pi


def arc_cosine_rest_slope(a: Any, b: Any, ops: Any = None) -> Any:
    """The slope of :func:`arc_cosine_rest`, acos(1 - a + b)/pi, on the same interval.

    >>> from advmf.special import arc_cosine_rest_slope
    >>> arc_cosine_rest_slope([0.0, 1.0, 2.0], 0.0).round(12).tolist()
    [0.0, 0.5, 1.0]
    """
    return _angle(a, b, ops or numpy_ops())[1] / math.pi


def _angle(a: Any, b: Any, ops: Any) -> tuple[Any, Any]:
    """delta = a - b and the angle whose cosine is 1 - delta, to its last digits next to 0 and pi."""
    a, b = ops.broadcast(a, b)
    delta = ops.where(a - b <= 2.0**-49 * b, ops.where(a - b >= -1e-9, 0.0, math.nan), a - b)
    delta = ops.where(delta <= 2 + 1e-9, ops.clip(delta, 0.0, 2.0), math.nan)
    near = delta < 1
    half = 2 * ops.asin(ops.sqrt(ops.where(near, delta, 2 - delta) / 2))
    return delta, ops.where(near, half, math.pi - half)
